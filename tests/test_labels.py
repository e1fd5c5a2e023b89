"""Labels of a frame: the keys they are taken from, their units and signs, and what is said of the others."""

import re

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from command import mlip_bench
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data import keys, pressure, reference, voigt
from mlip_bench.data.dataset import own_data
from mlip_bench.data.files import read_structures
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.data.reference_values import take
from mlip_bench.errors import UserError
from mlip_bench.potentials import family, family_names

ENERGY, STRESS = -7.25, np.array([0.01, -0.02, 0.03, 0.004, -0.005, 0.006])
FORCES = np.array([[0.1, 0.2, -0.3], [-0.1, -0.2, 0.3]])


def copper():
    atoms = bulk("Cu", a=3.6).repeat((2, 1, 1))
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def frame(**values):
    """Return two atoms of copper with values under keys; those of two rows of three are per atom."""
    atoms = copper()
    for key, value in values.items():
        per_atom = np.shape(value) in ((2, 3), (2,))
        (atoms.arrays if per_atom else atoms.info)[key] = np.array(value) if per_atom else value
    return atoms


def labels(atoms, **options):
    """Return energy, forces and stress that are taken from a frame."""
    taken = take(atoms, ReadingOptions(**options)).atoms
    return reference.energy(taken), reference.forces(taken), reference.stress(taken)


def assert_taken(found, energy=ENERGY, forces=FORCES, stress=STRESS):
    assert found[0] == pytest.approx(energy)
    np.testing.assert_allclose(found[1], forces)
    if stress is None:
        assert found[2] is None
    else:
        np.testing.assert_allclose(found[2], stress, atol=1e-12)


def written(path, *frames):
    """Write frames of extended XYZ as people's scripts do, without ASE's opinion on the keys."""
    with path.open("w") as file:
        for atoms in frames:
            per_atom = [key for key in atoms.arrays if key not in ("numbers", "positions")]
            columns = "".join(f":{key}:R:{np.size(atoms.arrays[key][0])}" for key in per_atom)
            values = " ".join(f'{key}="{plain(value)}"' for key, value in atoms.info.items())
            cell = f'Lattice="{plain(atoms.cell.array)}" ' if atoms.cell.any() else ""
            pbc = " ".join("FT"[int(periodic)] for periodic in atoms.pbc)
            file.write(f'{len(atoms)}\n{cell}Properties=species:S:1:pos:R:3{columns} {values} pbc="{pbc}"\n')
            for index, symbol in enumerate(atoms.symbols):
                numbers = [atoms.positions[index], *(atoms.arrays[key][index] for key in per_atom)]
                file.write(f"{symbol} {' '.join(map(plain, numbers))}\n")
    return path


def plain(value):
    return value if isinstance(value, str) else " ".join(f"{number:.12g}" for number in np.ravel(value))


# -- one prefix for all labels of a frame ----------------------------------------------------------------


@st.composite
def spelt(draw, prefix, name):
    """A label's key as somebody may write it: capitals, separator, prefix before or behind."""
    separator = draw(st.sampled_from(["_", "-", ""]))
    parts = [prefix, name] if draw(st.booleans()) else [name, prefix]
    key = separator.join(parts)
    return draw(st.sampled_from([key, key.upper(), key.lower(), key.title()]))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_a_reference_is_read_under_any_spelling_and_before_bare_names(data):
    prefix = data.draw(st.sampled_from([prefix for prefix in keys.PREFIXES if prefix]))
    names = {
        "energy": st.sampled_from(["energy", "totenergy", "free_energy", "total_energy"]),
        "forces": st.sampled_from(["forces", "force"]),
        "stress": st.sampled_from(["stress", "virial", "virials"]),
    }
    energy, forces, stress = (
        data.draw(spelt(prefix, data.draw(name)), label=label) for label, name in names.items()
    )
    atoms = frame(**{energy: ENERGY, forces: FORCES})
    virial = "virial" in stress.casefold()
    atoms.info[stress] = -STRESS * atoms.get_volume() if virial else STRESS
    if data.draw(st.booleans(), label="a model's own beside it"):
        atoms.calc = SinglePointCalculator(atoms, energy=9.0, forces=FORCES + 9, stress=STRESS + 9)
        atoms.info["virial"] = np.full(6, 9.0)
    assert_taken(labels(atoms))


@settings(deadline=None, max_examples=40)
@given(st.permutations(["REF_energy", "energy", "dft_energy", "target_energy"]), st.data())
def test_the_order_of_keys_in_the_file_does_not_matter(order, data):
    atoms = frame(**{key: float(index) for index, key in enumerate(order)})
    for key in order:
        atoms.arrays[key.replace("energy", "forces")] = FORCES
    assert labels(atoms)[0] == order.index("REF_energy")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["mace", "gap", "nnp", "old", "dftb", "xtb", "MTP"]), st.sampled_from(["_", ""]))
def test_a_prefix_that_may_be_a_model_is_never_taken_by_itself(prefix, separator):
    atoms = frame(**{f"{prefix}{separator}energy": ENERGY, f"{prefix}{separator}forces": FORCES})
    with pytest.raises(
        UserError, match=rf"no energy; .*'{prefix}{separator}energy' is it, say so with --energy-key"
    ):
        labels(atoms)
    named = labels(atoms, energy_key=f"{prefix}{separator}energy")
    assert_taken(named, stress=None)


def test_keys_without_any_likeness_are_named():
    with pytest.raises(UserError, match=r"no energy; .*; its keys are 'E', 'F'"):
        labels(frame(E=ENERGY, F=FORCES))
    assert_taken(labels(frame(E=ENERGY, F=FORCES), energy_key="E", forces_key="F"), stress=None)


def test_a_gradient_is_not_taken_for_forces_and_said(tmp_path):
    atoms = frame(dft_total_energy=ENERGY, dft_total_gradient=-FORCES, dft_forces=FORCES)
    read = read_structures(written(tmp_path / "g.extxyz", atoms))
    np.testing.assert_allclose(reference.forces(read.structures[0]), FORCES)
    assert "not read, though by name a label: 'dft_total_gradient' (1 frame)" in read.notes


def test_bare_names_of_ase_come_before_others():
    atoms = frame(Energy=1.0, Forces=FORCES + 1, Virial=np.ones(6))
    atoms.calc = SinglePointCalculator(atoms, energy=ENERGY, forces=FORCES, stress=STRESS)
    assert_taken(labels(atoms))


@pytest.mark.parametrize(
    ("energy", "forces", "virial"),
    [("Energy", "Forces", "Virial"), ("ENERGY", "FORCE", "VIRIALS"), ("TotEnergy", "force", "virial")],
)
def test_bare_names_in_other_capitals(energy, forces, virial):
    atoms = frame(**{energy: ENERGY, forces: FORCES})
    atoms.info[virial] = -STRESS * atoms.get_volume()
    assert_taken(labels(atoms))


def test_stress_of_another_prefix_is_not_mixed_in():
    atoms = frame(REF_energy=ENERGY, REF_forces=FORCES, virial=STRESS)
    assert_taken(labels(atoms), stress=None)
    assert_taken(labels(atoms, stress_key="virial"), stress=-STRESS / atoms.get_volume())


def test_energy_and_forces_of_two_prefixes_are_refused():
    with pytest.raises(UserError, match="--energy-key REF_energy --forces-key forces"):
        labels(frame(REF_energy=ENERGY, forces=FORCES))
    with pytest.raises(
        UserError, match="'REF_energy' has no complete set of labels beside it, and 'energy' diff"
    ):
        labels(frame(REF_energy=ENERGY, energy=9.0, forces=FORCES))
    assert_taken(labels(frame(REF_energy=ENERGY, energy=ENERGY, forces=FORCES)), stress=None)
    asked = labels(frame(REF_energy=ENERGY, energy=9.0, forces=FORCES), energy_key="REF_energy")
    assert_taken(asked, stress=None)


def test_free_energy_comes_first_and_is_said(tmp_path):
    atoms = frame(energy=ENERGY + 0.5, free_energy=ENERGY, forces=FORCES)
    read = read_structures(written(tmp_path / "free.extxyz", atoms))
    assert reference.energy(read.structures[0]) == ENERGY
    assert any("'free_energy' is taken" in note and "0.5 eV" in note for note in read.notes)
    other = read_structures(tmp_path / "free.extxyz", ReadingOptions(energy_key="energy"))
    assert reference.energy(other.structures[0]) == ENERGY + 0.5


def test_a_named_key_brings_the_others_of_its_prefix():
    atoms = frame(my_energy=ENERGY, my_forces=FORCES, energy=9.0, forces=FORCES + 9)
    atoms.info["my_stress"] = STRESS
    assert_taken(labels(atoms, energy_key="my_energy"))


@pytest.mark.parametrize("option", ["energy", "forces", "stress"])
def test_a_named_key_that_is_missing_is_named_with_the_nearest(option, tmp_path):
    whole = frame(REF_energy=ENERGY, REF_forces=FORCES, REF_stress=STRESS)
    path = written(tmp_path / "some.extxyz", whole, whole)
    with pytest.raises(UserError, match=r"some.extxyz: 2 of 2 frames") as refused:
        read_structures(path, ReadingOptions(**{f"{option}_key": f"REF_{option}x"}))
    sentence = f"frames 1, 2: no key 'REF_{option}x' (--{option}-key) (did you mean 'REF_{option}'?)"
    assert sentence in str(refused.value)


# -- units, shapes and signs of stress -------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([*pressure.UNITS, pressure.VIRIAL]),
    st.sampled_from(["six", "nine", "matrix"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["stress", "virial"]),
    st.sampled_from(["", "REF_", "dft_"]),
)
def test_stress_in_any_unit_shape_and_sign(unit, shape, turned, minus, name, prefix):
    atoms = frame(**{f"{prefix}energy": ENERGY, f"{prefix}forces": FORCES})
    factor = 1 / atoms.get_volume() if unit == pressure.VIRIAL else pressure.UNITS[unit]
    sign = (-1) ** (turned + minus + (name == "virial"))
    given_as = sign * STRESS / factor
    matrix = voigt.to_matrix(given_as)
    atoms.info[f"{prefix}{name}"] = {"six": given_as, "nine": matrix.ravel(), "matrix": matrix}[shape]
    found = labels(atoms, stress_unit=f"{'-' * minus}{unit}", turn_stress=turned)
    assert_taken(found)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["stress", "virial", "REF_stress", "REF_virials"]), st.sampled_from(["six", "nine"]))
def test_stress_in_extended_xyz_is_read_as_it_stands(tmp_path_factory, name, shape):
    prefix = "REF_" if name.startswith("REF_") else ""
    atoms = frame(**{f"{prefix}energy": ENERGY, f"{prefix}forces": FORCES})
    value = -STRESS * atoms.get_volume() if "virial" in name else STRESS
    atoms.info[name] = value if shape == "six" else voigt.to_matrix(value)
    path = written(tmp_path_factory.mktemp("stress") / "my.extxyz", atoms)
    np.testing.assert_allclose(reference.stress(read_structures(path).structures[0]), STRESS, atol=1e-9)


@pytest.mark.parametrize("name", ["stress", "virial", "dft_stress"])
def test_a_matrix_that_is_not_symmetric_is_a_bad_frame(name, tmp_path):
    prefix = "dft_" if name.startswith("dft") else ""
    atoms = frame(**{f"{prefix}energy": ENERGY, f"{prefix}forces": FORCES})
    matrix = voigt.to_matrix(STRESS)
    matrix[0, 1] += 0.01
    atoms.info[name] = matrix * (atoms.get_volume() if name == "virial" else 1)
    path = written(tmp_path / "skew.extxyz", atoms)
    with pytest.raises(UserError, match=rf"skew.extxyz, frame 1: '{name}' is a matrix that is not symmetric"):
        read_structures(path)


@pytest.mark.parametrize("numbers", [1, 3, 5, 12])
def test_a_stress_of_another_shape_is_a_bad_frame(numbers):
    with pytest.raises(UserError, match=rf"'stress' has {numbers} numbers"):
        labels(frame(energy=ENERGY, forces=FORCES, stress=np.zeros(numbers)))


def test_stress_and_virial_that_disagree_are_said(tmp_path):
    atoms = frame(energy=ENERGY, forces=FORCES, stress=STRESS)
    agreeing = atoms.copy()
    agreeing.info["virial"] = -STRESS * atoms.get_volume()
    assert not any("agree" in note for note in read_structures(written(tmp_path / "a.xyz", agreeing)).notes)
    differing = atoms.copy()
    differing.info["virial"] = STRESS * atoms.get_volume()
    notes = read_structures(written(tmp_path / "b.xyz", differing)).notes
    assert any("'stress' and 'virial' do not agree in 1 frame" in note for note in notes)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["GPa", "kbar", "bar"]), st.floats(4.0, 150.0))
def test_a_stress_in_another_unit_is_refused_with_the_unit_it_looks_like(unit, gigapascal):
    value = gigapascal * units.GPa / pressure.UNITS[unit]
    atoms = frame(energy=ENERGY, forces=FORCES, stress=value * np.array([1, 0.9, 0.8, 0.1, 0, 0]))
    with pytest.raises(UserError, match=r"if it is in eV/A3; it looks like \w+.*--stress-unit") as refused:
        labels(atoms)
    assert unit in str(refused.value)
    found = labels(atoms, stress_unit=unit)[2]
    assert found[0] == pytest.approx(gigapascal * units.GPa)


def test_a_virial_under_the_key_of_a_stress_is_recognised():
    atoms = frame(energy=ENERGY, forces=FORCES, stress=np.full(6, 5.0))
    with pytest.raises(UserError, match="eV"):
        labels(atoms)
    np.testing.assert_allclose(labels(atoms, stress_unit="eV")[2], 5.0 / atoms.get_volume())


def test_a_wrong_unit_is_not_skipped_frame_by_frame(tmp_path):
    """In a file in kbar the small ones look right: leaving out the large ones would keep wrong labels."""
    small, large = (frame(energy=ENERGY, forces=FORCES, stress=np.full(6, value)) for value in (1e-3, 90.0))
    path = written(tmp_path / "kbar.extxyz", *[small, large] * 5)
    with pytest.raises(UserError, match=r"(?s)5 of 10 frames cannot be used.*--stress-unit"):
        read_structures(path, ReadingOptions(skip_bad=True))


@pytest.mark.parametrize("text", ["GPA", "gpa", "kBar", "kB", "eV/Ang^3", "eV/A**3", "eV/Å³", "-GPa", "ev"])
def test_spellings_of_units(text):
    unit, sign = pressure.parse_unit(text)
    assert unit in (*pressure.UNITS, pressure.VIRIAL)
    assert sign == (-1 if text.startswith("-") else 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stress_unit": "gpaa"}, r"--stress-unit gpaa: unknown \(did you mean 'GPa'"),
        ({"units": "atomc"}, r"--units atomc: unknown \(did you mean 'atomic'"),
        ({"elements": ("Mo", "Xx")}, "--elements: 'Xx' is no element"),
    ],
)
def test_options_that_make_no_sense(options, sentence):
    with pytest.raises(UserError, match=sentence):
        ReadingOptions(**options)


# -- what is said ----------------------------------------------------------------------------------------


def test_keys_taken_and_not_taken_are_said_once(tmp_path):
    one = frame(REF_energy=ENERGY, REF_forces=FORCES, energy=9.0, mace_stress=STRESS)
    two = frame(dft_energy=ENERGY, dft_force=FORCES, dft_virial=STRESS)
    notes = read_structures(written(tmp_path / "two.extxyz", one, one, two)).notes
    assert notes[0] == (
        "energy from 'REF_energy', forces from 'REF_forces', no stress (2 frames); "
        "energy from 'dft_energy', forces from 'dft_force', stress from 'dft_virial' (1 frame)"
    )
    (not_read,) = [note for note in notes if note.startswith("not read")]
    assert "'energy' (2 frames)" in not_read
    assert "'mace_stress' (2 frames)" in not_read


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["charge", "total_charge", "spin", "dft_dipole", "multiplicity"]),
    st.sampled_from(["magmoms", "initial_magmoms", "initial_charges", "REF_magmom", "bader_charges"]),
    st.booleans(),
)
def test_moments_and_charges_that_no_family_sees_are_said(tmp_path_factory, of_frame, of_atoms, silent):
    nothing = 1.0 if of_frame == "multiplicity" else 0.0
    values = {of_frame: nothing if silent else 2.0, of_atoms: np.zeros(2) if silent else np.ones(2)}
    path = written(
        tmp_path_factory.mktemp("spin") / "s.extxyz", frame(energy=ENERGY, forces=FORCES, **values)
    )
    found = [note for note in read_structures(path).notes if note.startswith("no family sees")]
    assert len(found) == (0 if silent else 1)
    assert silent or (f"'{of_frame}' (1 frame)" in found[0] and f"'{of_atoms}' (1 frame)" in found[0])


def test_forces_of_atoms_that_were_held_are_as_they_were_computed(tmp_path):
    atoms = copper()
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = SinglePointCalculator(atoms, energy=ENERGY, forces=FORCES)
    for name in ("held.traj", "held.extxyz", "held.db"):
        ase.io.write(tmp_path / name, atoms)
        (read,) = read_structures(tmp_path / name).structures
        np.testing.assert_allclose(reference.forces(read), FORCES, atol=1e-7)


def test_notes_of_training_and_test_are_said_once(tmp_path):
    train = written(tmp_path / "train.extxyz", frame(REF_energy=ENERGY, REF_forces=FORCES))
    test = written(tmp_path / "test.extxyz", frame(REF_energy=ENERGY, REF_forces=FORCES, charge=1.0))
    notes = own_data(train, test, 0, None).notes
    assert notes[0] == "energy from 'REF_energy', forces from 'REF_forces', no stress"
    assert notes[1].startswith("test: no family sees")
    assert notes[2].startswith("1 of 1 test structures are also in training")
    assert len(notes) == 3


# -- isolated atoms, large energies, open directions -----------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["IsolatedAtom", "isolated_atom", "Isolated atoms", "isolated", None]),
    st.sampled_from(["config_type", "group"]),
    st.floats(3.0, 20.0),
    st.sampled_from(["REF_energy", "energy", "dft_energy"]),
)
def test_an_isolated_atom_needs_no_forces(name, key, width, energy):
    atoms = Atoms("Cu", cell=[width] * 3, pbc=True, info={energy: -0.25})
    if name is not None:
        atoms.info[key] = name
    if name is None and width < reference.ISOLATED_WIDTH:
        with pytest.raises(UserError, match="no forces"):
            labels(atoms)
        return
    taken = take(atoms, ReadingOptions()).atoms
    assert reference.is_isolated_atom(taken)
    assert reference.energy(taken) == -0.25
    np.testing.assert_array_equal(reference.forces(taken), np.zeros((1, 3)))


def test_all_electron_energies_are_taken_with_a_word(tmp_path):
    atoms = frame(energy=-2 * 45_000.0, forces=FORCES)
    read = read_structures(written(tmp_path / "all.extxyz", atoms))
    assert reference.energy(read.structures[0]) == -90_000.0
    assert any("all-electron" in note for note in read.notes)
    with pytest.raises(UserError, match="check the unit"):
        read_structures(written(tmp_path / "joule.extxyz", frame(energy=-1e9, forces=FORCES)))


@settings(deadline=None, max_examples=20)
@given(st.tuples(st.booleans(), st.booleans(), st.booleans()), st.booleans())
def test_open_directions_need_no_cell_vector(tmp_path_factory, pbc, vacuum):
    cell = np.diag([5.0 if periodic or vacuum else 0.0 for periodic in pbc])
    atoms = Atoms("Cu2", [[0, 0, 0], [2.2, 0.1, 0.2]], cell=cell, pbc=pbc, info={"energy": ENERGY})
    atoms.arrays["forces"] = FORCES
    (read,) = read_structures(written(tmp_path_factory.mktemp("flat") / "f.extxyz", atoms)).structures
    assert read.pbc.tolist() == list(pbc)


@pytest.mark.parametrize("cell", [[[5, 0, 0], [0, 5, 0], [0, 0, 0]], [[5, 0, 0], [0, 5, 0], [5, 5, 0]]])
def test_a_periodic_direction_needs_a_cell_vector(cell, tmp_path):
    atoms = Atoms("Cu2", [[0, 0, 0], [2.2, 0.1, 0.2]], cell=cell, pbc=True, info={"energy": ENERGY})
    atoms.arrays["forces"] = FORCES
    with pytest.raises(
        UserError, match=r"frame 1: periodic along a cell vector that is zero, or lies in the plane"
    ):
        read_structures(written(tmp_path / "zero.extxyz", atoms))


TINY = {
    "snap": {"twojmax": 2},
    "qsnap": {"twojmax": 2},
    "gap": {"n_max": 3, "l_max": 2, "n_sparse": 15},
    "mtp": {"level": 4, "radial_basis_size": 4, "iterations": 1, "starts": 1},
    "nnp": {
        "radial_shifts": [0.0, 2.0],
        "zetas": [1.0],
        "hidden": [4, 4],
        "epochs": 1,
        "gauss_newton_steps": 1,
    },
    "nnff": {"radial_shifts": [0.0, 2.0], "zetas": [1.0], "hidden": [4, 4], "epochs": 1},
    "leignn": {"channels": 4, "layers": 2, "steps": 4, "double_precision": True},
    "leignn-gradient": {"channels": 4, "layers": 2, "steps": 4, "double_precision": True},
    "sevennet": {"channels": 4, "lmax": 1, "steps": 4, "double_precision": True},
    "sevennet-dfs": {"channels": 4, "lmax": 2, "steps": 4, "double_precision": True},
}


def emt(atoms):
    bare = atoms.copy()
    bare.calc = EMT()
    return reference.labelled(atoms, bare.get_potential_energy(), bare.get_forces(), None)


@pytest.fixture(scope="module")
def slabs_and_wires():
    """Copper as ASE builds slabs, third vector zero, and as a wire, two vectors zero."""
    generator = np.random.default_rng(1)
    frames = [fcc111("Cu", (2, 2, 2)) for _ in range(5)]
    frames += [
        Atoms("Cu4", 2.4 * np.outer(range(4), [1, 0, 0]), cell=[9.6, 0, 0], pbc=(1, 0, 0)) for _ in range(4)
    ]
    for atoms in frames:
        atoms.rattle(0.08, rng=generator)
    return [emt(atoms) for atoms in frames]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one, marks=pytest.mark.slow if one.startswith("sevennet") else ())
        for one in family_names()
    ],
)
def test_every_family_predicts_what_is_open_as_if_padded(name, slabs_and_wires):
    potential = family(name)(**TINY[name], cutoff=4.0).fit(slabs_and_wires)
    probes = [slabs_and_wires[0], slabs_and_wires[-1]]
    padded = []
    for atoms in probes:
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.complete(), pbc=atoms.pbc)
        copy.center(vacuum=9.0, axis=[axis for axis in range(3) if not copy.pbc[axis]])
        copy.pbc = True
        padded.append(copy)
    for found, same in zip(potential.predict(probes), potential.predict(padded), strict=True):
        assert found.energy == pytest.approx(same.energy, abs=1e-6, nan_ok=not potential.predicts_energy)
        np.testing.assert_allclose(found.forces, same.forces, atol=1e-6)
        assert found.stress is None or np.all(np.isnan(found.stress))


# -- bad frames, all at once -----------------------------------------------------------------------------


def bad_and_good(path, n_bad):
    """Write frames of which those with an even number are without forces, or overlap, or are not numbers."""
    frames = []
    for index in range(n_bad):
        close = frame(energy=ENERGY, forces=FORCES)
        close.positions[1] = close.positions[0] + 0.001 * (index + 1)
        kinds = [frame(energy=ENERGY), close, frame(energy=float("nan"), forces=FORCES)]
        frames += [frame(energy=ENERGY, forces=FORCES), kinds[index % 3]]
    return written(path, *frames)


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 30))
def test_all_bad_frames_are_listed_at_once(tmp_path_factory, n_bad):
    path = bad_and_good(tmp_path_factory.mktemp("bad") / "bad.extxyz", n_bad)
    with pytest.raises(UserError) as refused:
        read_structures(path)
    lines = str(refused.value).splitlines()
    assert lines[0] == f"{path}: {n_bad} of {2 * n_bad} frames cannot be used; --skip-bad leaves them out:"
    # Those of one reason together; each that overlaps has a distance of its own.
    assert len(lines) == 1 + 1 + (n_bad >= 3) + (n_bad + 1) // 3
    named = [int(number) for line in lines[1:] for number in re.findall(r"\d+", line.partition(":")[0])]
    assert sorted(named) == list(range(2, 2 * n_bad + 1, 2))
    assert re.match(r"  frames? 2.*: no forces", lines[1])
    read = read_structures(path, ReadingOptions(skip_bad=True))
    assert len(read.structures) == n_bad
    (note,) = [note for note in read.notes if note.startswith("left out")]
    assert f"{n_bad} of {2 * n_bad} frames" in note
    assert re.search(r"frames? 4.*: two atoms are", note)


def test_nothing_is_left_when_all_are_bad(tmp_path):
    path = written(tmp_path / "none.extxyz", frame(energy=ENERGY))
    with pytest.raises(UserError, match="no forces"):
        read_structures(path, ReadingOptions(skip_bad=True))


# -- the command line ------------------------------------------------------------------------------------


def test_options_reach_every_command_that_reads(tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        bare.info = {"my_energy": atoms.get_potential_energy(), "my_stress": -atoms.get_stress() / units.GPa}
        bare.arrays["my_forces"] = atoms.get_forces()
        frames.append(bare)
    written(tmp_path / "my.extxyz", *frames, Atoms("Cu2", [[0, 0, 0], [0.1, 0, 0]], info={"my_energy": 0.0}))
    options = ["--energy-key", "my_energy", "--stress-unit", "GPa", "--turn-stress", "--skip-bad"]
    shown = mlip_bench("data", "show", "--train", "my.extxyz", *options, folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "data: energy from 'my_energy', forces from 'my_forces', stress from 'my_stress'" in shown.stdout
    assert "data: stress read in GPa and its sign turned" in shown.stdout
    assert "data: left out: 1 of 13 frames that cannot be used:" in shown.stdout
    run = ["run", "--potential", "snap", "--train", "my.extxyz", "--preset", "quick", "--measure", "errors"]
    done = mlip_bench(*run, *options, "--out", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "data: energy from 'my_energy'" in done.stdout
    assert "stress read in GPa and its sign turned" in (tmp_path / "run" / "run.toml").read_text()
    assert "Energy from &#39;my_energy&#39;" in (tmp_path / "run" / "report.html").read_text()
    evaluated = mlip_bench(
        "evaluate", "run/potentials/snap", "--test", "my.extxyz", *options, folder=tmp_path
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "data: energy from 'my_energy'" in evaluated.stdout


def test_bad_frames_are_exit_code_2(tmp_path):
    bad_and_good(tmp_path / "bad.extxyz", 3)
    done = mlip_bench("run", "--potential", "snap", "--train", "bad.extxyz", folder=tmp_path)
    assert done.returncode == 2
    assert "3 of 6 frames cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_of_reading_are_for_own_data(tmp_path):
    done = mlip_bench(
        *("data", "show", "--system", "Mo", "--dataset", "embedded", "--stress-unit", "bar"), folder=tmp_path
    )
    assert done.returncode == 2
    assert "--stress-unit: for own data only" in done.stderr
