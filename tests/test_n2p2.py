"""Files of n2p2 and RuNNer against a plain NumPy implementation of what n2p2 does with them."""

import dataclasses
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from ase.units import Bohr, Hartree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlip_bench.cli import app
from mlip_bench.cli.choices import plan_files
from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.nnp.keywords import HONOURED, REFUSED, WITHOUT_EFFECT

CHARGE = {"H": 1, "O": 8, "Na": 11}
ACTIVATIONS = {
    "l": lambda x: x,
    "t": np.tanh,
    "s": lambda x: 0.5 + 0.5 * np.tanh(x / 2),
    "p": lambda x: np.log(1 + np.exp(x)),
    "g": lambda x: np.exp(-0.5 * x**2),
    "c": np.cos,
    "S": lambda x: 0.5 - 0.5 * np.tanh(x / 2),
}


@dataclass
class Files:
    """A potential as n2p2 sees it, in the units of its files."""

    functions: list[tuple]
    """(centre, 2, neighbour, η, R_s, r_c) or (centre, 3 or 9, neighbours, η, λ, ζ, r_c)."""
    statistics: dict[str, np.ndarray]
    """Per element minimum, maximum, mean and standard deviation of each function, in n2p2's order."""
    layers: dict[str, list[tuple[np.ndarray, np.ndarray]]]
    """Per element weights (n_out, n_in) and biases of each layer."""
    scaling: tuple[str, ...] = ("scale_symmetry_functions",)
    ends: tuple[float, float] = (0.0, 1.0)
    normalisation: tuple[float, float, float] | None = None
    """mean_energy, conv_energy, conv_length."""
    by_nodes: bool = False
    cutoff: tuple[int, float] = (1, 0.0)
    activations: tuple[str, ...] = ("t", "t", "l")
    offsets: tuple[tuple[str, float], ...] = ()
    head: str = ""
    bohr: bool = True


def in_order(functions, element):
    """n2p2 sorts by type, cutoff, η, then R_s, or ζ and λ, and by the neighbours' charges last."""

    def key(f):
        if f[1] == 2:
            return (2, f[5], f[3], f[4], CHARGE[f[2]])
        low, high = sorted(CHARGE[e] for e in f[2])
        return (f[1], f[6], f[3], f[5], f[4], low, high)

    return sorted((f for f in functions if f[0] == element), key=key)


def switch(kind, alpha, r, cutoff):
    x = (r - alpha * cutoff) / (cutoff - alpha * cutoff)
    value = {
        1: lambda: (np.cos(np.pi * x) + 1) / 2,
        2: lambda: np.tanh(1 - r / cutoff) ** 3,
        3: lambda: (np.tanh(1 - r / cutoff) / np.tanh(1)) ** 3,
        4: lambda: np.exp(1 - 1 / (1 - x**2)),
        5: lambda: (2 * x - 3) * x**2 + 1,
        6: lambda: ((15 - 6 * x) * x - 10) * x**3 + 1,
        7: lambda: (x * (x * (20 * x - 70) + 84) - 35) * x**4 + 1,
        8: lambda: (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1,
    }[kind]()
    if kind not in (2, 3):
        value = np.where(r.real < alpha * cutoff, 1, value)
    return np.where(r.real < cutoff, value, 0)


def function(files, f, vectors, kinds):
    """One symmetry function, from the vectors (n, 3) to the neighbours and their elements."""
    norm = files.normalisation[2] if files.normalisation else 1.0
    vectors, cutoff = vectors * norm, f[-1] * norm
    r = np.sqrt((vectors**2).sum(1))
    if f[1] == 2:
        mine = kinds == f[2]
        gauss = np.exp(-f[3] / norm**2 * (r[mine] - f[4] * norm) ** 2)
        return (gauss * switch(*files.cutoff, r[mine], cutoff)).sum()
    a, b = np.triu_indices(len(r), 1)
    low, high = f[2]
    mine = ((kinds[a] == low) & (kinds[b] == high)) | ((kinds[a] == high) & (kinds[b] == low))
    a, b = a[mine], b[mine]
    closing = np.sqrt(((vectors[a] - vectors[b]) ** 2).sum(1))
    cosine = (vectors[a] * vectors[b]).sum(1) / (r[a] * r[b])
    gauss = 1.0
    for distance in (r[a], r[b], closing) if f[1] == 3 else (r[a], r[b]):
        within = switch(*files.cutoff, distance, cutoff)
        gauss = gauss * np.exp(-f[3] / norm**2 * distance**2) * within
    base = 1 + f[4] * cosine
    power = np.where(base.real > 0, base, 1) ** f[5] * (base.real > 0)  # rounding may leave less than 0
    return 2 ** (1 - f[5]) * (power * gauss).sum()


def scaled(files, values, statistics):
    low, high, mean, sigma = statistics.T
    least, most = files.ends
    match files.scaling:
        case ():
            return values
        case ("center_symmetry_functions",):
            return values - mean
        case ("scale_symmetry_functions",):
            return least + (most - least) * (values - low) / (high - low)
        case ("scale_symmetry_functions_sigma",):
            return least + (most - least) * (values - mean) / sigma
    return least + (most - least) * (values - mean) / (high - low)


def energy(files, atoms, positions):
    """The energy (eV) for positions (Å), which may be complex: for derivatives by a complex step."""
    length, unit = (Bohr, Hartree) if files.bohr else (1.0, 1.0)
    symbols = np.array(atoms.get_chemical_symbols())
    largest = max(f[-1] for f in files.functions) * length
    centres, neighbours, shifts = neighbor_list("ijS", atoms, largest + 1e-6)
    vectors = (positions[neighbours] - positions[centres] + shifts @ atoms.cell.array) / length
    total = 0.0
    for atom, symbol in enumerate(symbols):
        mine = centres == atom
        kinds = symbols[neighbours[mine]]
        values = np.array(
            [function(files, f, vectors[mine], kinds) for f in in_order(files.functions, symbol)]
        )
        values = scaled(files, values, files.statistics[symbol])
        for (weights, bias), letter in zip(files.layers[symbol], files.activations, strict=True):
            sums = weights @ values + bias
            values = ACTIVATIONS[letter](sums / len(values) if files.by_nodes else sums)
        total += values[0]
    if files.normalisation:
        total = total / files.normalisation[1] + len(atoms) * files.normalisation[0]
    total += sum(dict(files.offsets).get(symbol, 0.0) for symbol in symbols)
    return unit * total


def force(files, atoms, atom, axis):
    positions = atoms.positions.astype(complex)
    positions[atom, axis] += 1e-30j
    return -energy(files, atoms, positions).imag / 1e-30


def written(files, folder, number=repr, lines=(), names=("H", "O")):
    """Write the folder; ``number`` writes a number, ``lines`` come between the keywords."""
    text = [files.head, f"number_of_elements {len(names)}", f"elements {' '.join(names)} ! in any order"]
    text += [f"atom_energy {e} {number(value)}" for e, value in files.offsets]
    text += [f"cutoff_type {files.cutoff[0]} {number(files.cutoff[1])}", *files.scaling, *lines]
    text += [f"scale_min_short {number(files.ends[0])}", f"scale_max_short {number(files.ends[1])}"]
    if files.normalisation:
        keys = ("mean_energy", "conv_energy", "conv_length")
        text += [f"{k}   {number(v)}  # by nnp-norm" for k, v in zip(keys, files.normalisation, strict=True)]
    text += ["normalize_nodes"] * files.by_nodes
    nodes = [len(bias) for _, bias in files.layers[names[0]][:-1]]
    text += [f"global_hidden_layers_short {len(nodes)}", f"global_nodes_short {' '.join(map(str, nodes))}"]
    text += [f"global_activation_short {' '.join(files.activations)}"]
    for centre, kind, near, *values in files.functions:
        near = near if kind == 2 else " ".join(near)
        text += [f"symfunction_short {centre} {kind} {near} {' '.join(map(number, values))} ! r_c last"]
    (folder / "input.nn").write_text("\n".join(text) + "\n")
    by_charge = sorted(names, key=CHARGE.get)
    (folder / "scaling.data").write_text(
        "# a header\n"
        + "".join(
            f"{place} {index} {' '.join(map(repr, row))}\n"
            for place, element in enumerate(by_charge, start=1)
            for index, row in enumerate(files.statistics[element].tolist(), start=1)
        )
    )
    for element in names:
        values = []
        for layer, (weights, bias) in enumerate(files.layers[element]):
            values += [f"{w!r} a 1 {layer} 1 {layer + 1} 1" for w in weights.T.ravel().tolist()]
            values += [f"{b!r} b 1 {layer + 1} 1" for b in bias.tolist()]
        path = folder / f"weights.{CHARGE[element]:03d}.data"
        path.write_text("# a header\n" + "\n".join(values) + "\n")
    return folder


def filled(functions, hidden, generator, names=("H", "O"), **others):
    """Random statistics and weights for some functions."""
    statistics, layers = {}, {}
    for element in names:
        n = sum(f[0] == element for f in functions)
        low = generator.uniform(0, 0.2, n)
        width = generator.uniform(0.5, 1.5, n)
        statistics[element] = np.column_stack(
            [low, low + width, low + 0.4 * width, generator.uniform(0.2, 0.5, n)]
        )
        sizes = (n, *hidden, 1)
        layers[element] = [
            (generator.normal(size=(b, a)) / np.sqrt(a), 0.3 * generator.normal(size=b))
            for a, b in pairwise(sizes)
        ]
    return Files(functions, statistics, layers, **others)


def water(n_molecules, edge, seed=0):
    generator = np.random.default_rng(seed)
    molecule = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    places = np.array([[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)])[:n_molecules]
    turns = [np.linalg.qr(generator.normal(size=(3, 3)))[0] for _ in places]
    positions = [molecule @ turn + edge * place for place, turn in zip(places, turns, strict=True)]
    cell = edge * (np.eye(3) + 0.03 * generator.normal(size=(3, 3)))
    return Atoms("OHH" * n_molecules, np.concatenate(positions), cell=cell, pbc=True)


def assert_same(files, potential, atoms, components, tolerance=1e-8):
    found = potential.predict([atoms])[0]
    assert found.energy == pytest.approx(energy(files, atoms, atoms.positions).real, abs=tolerance)
    expected = [force(files, atoms, atom, axis) for atom, axis in components]
    np.testing.assert_allclose([found.forces[c] for c in components], expected, atol=tolerance)


WATER = """\
###############################################################################
# Length unit     : Bohr
# Energy unit     : Ha
###############################################################################
epochs                          25             # Number of training epochs.
selection_mode                  2 10 1 15 2
memorize_symfunc_results
use_short_forces                               ! Use forces for training.
#repeated_energy_update
kalman_epsilon                  1.0E-2"""


def test_published_water_keywords_against_numpy(tmp_path):
    """The keywords of n2p2's water potential: normalised, centred, cutoff_type 2, types 2 and 3, 25-25."""
    functions = [
        (centre, 2, near, eta, shift, 12.0)
        for centre in "HO"
        for near in "HO"
        for eta, shift in zip(
            (0.001, 0.01, 0.03, 0.06, 0.15, 0.3, 0.6, 1.5), (0, 0, 0, 0, 1.9, 1.9, 1.9, 1.9), strict=True
        )
    ]
    functions += [
        ("H", 3, ("O", "H"), eta, lam, 4.0, 12.0) for eta in (0.01, 0.03, 0.07) for lam in (1.0, -1.0)
    ]
    functions += [("H", 3, ("O", "O"), 0.001, lam, 4.0, 12.0) for lam in (1.0, -1.0)]
    functions += [
        ("O", 3, pair, eta, lam, zeta, 12.0)
        for pair in (("O", "H"), ("H", "H"), ("O", "O"))
        for eta, zeta in ((0.001, 4.0), (0.03, 1.0))
        for lam in (1.0, -1.0)
    ]
    files = filled(
        functions,
        (25, 25),
        np.random.default_rng(1),
        scaling=("scale_symmetry_functions", "center_symmetry_functions"),
        normalisation=(-25.521343547039809, 242.65748255366972, 5.8038448995319847),
        cutoff=(2, 0.0),
        head=WATER,
    )
    potential = load(written(files, tmp_path))
    atoms = water(4, 5.0)
    assert_same(files, potential, atoms, [(0, 0), (0, 2), (1, 1), (5, 0)])
    assert potential.notes_ == ["units Bohr and Ha, as comments of the file say"]


RADIAL = st.tuples(st.just(2), st.sampled_from([0.05, 0.3, 1.1]), st.sampled_from([0.0, 0.7]))
ANGULAR = st.tuples(
    st.sampled_from([3, 9]),
    st.sampled_from([0.02, 0.2]),
    st.sampled_from([-1.0, 0.5, 1.0]),
    st.sampled_from([1.0, 2.5, 4.0]),
)


@st.composite
def files_and_forms(draw):
    """A potential of H and O and a way to write it."""
    functions = []
    for centre in "HO":
        functions.append((centre, 2, "H", 0.1, 0.0, draw(st.sampled_from([4.0, 6.0]))))
        for kind, eta, *rest in draw(st.lists(RADIAL | ANGULAR, min_size=1, max_size=4)):
            near = draw(st.sampled_from(["H", "O"] if kind == 2 else [("H", "O"), ("O", "H"), ("H", "H")]))
            functions.append((centre, kind, near, eta, *rest, draw(st.sampled_from([4.0, 6.5]))))
    hidden = draw(st.sampled_from([(3,), (4, 3)]))
    letters = st.sampled_from(sorted(ACTIVATIONS))
    files = filled(
        draw(st.permutations(functions)),
        hidden,
        np.random.default_rng(draw(st.integers(0, 99))),
        scaling=draw(
            st.sampled_from(
                [
                    (),
                    ("scale_symmetry_functions",),
                    ("center_symmetry_functions",),
                    ("center_symmetry_functions", "scale_symmetry_functions"),
                    ("scale_symmetry_functions_sigma",),
                ]
            )
        ),
        ends=draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.5, 2.0)])),
        normalisation=draw(st.sampled_from([None, (-5.0, 10.0, 3.0), (0.7, 0.2, 0.5)])),
        by_nodes=draw(st.booleans()),
        cutoff=draw(st.tuples(st.integers(1, 8), st.sampled_from([0.0, 0.3]))),
        activations=(*(draw(letters) for _ in hidden), "l"),
        offsets=draw(st.sampled_from([(), (("O", -75.0),), (("O", -3.0), ("H", 0.5))])),
    )
    files.bohr = draw(st.booleans())
    files.head = "" if files.bohr else draw(st.sampled_from(["# units: angstrom eV", "! UNITS : Ang eV"]))
    number = draw(st.sampled_from([repr, lambda x: f"{x:.17e}", lambda x: f"{x:.17E}".replace("E", "D")]))
    lines = draw(
        st.lists(st.sampled_from(["", "  # nothing", "epochs 3", "!epoch 3", "nnp_gen 2"]), unique=True)
    )
    names = draw(st.sampled_from([("H", "O"), ("O", "H")]))
    return files, number, lines, names


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files_and_forms())
def test_any_form_of_the_files_means_what_it_means_in_n2p2(tmp_path_factory, drawn):
    """Scaling, normalisation of data and nodes, cutoff and activation functions, forms of numbers."""
    files, number, lines, names = drawn
    folder = written(files, tmp_path_factory.mktemp("n2p2"), number, lines, names)
    potential = load(folder)
    atoms = water(2, 4.0)
    scale = Hartree if files.bohr else 1.0
    size = max(1.0, abs(energy(files, atoms, atoms.positions).real), scale * 30)
    assert_same(files, potential, atoms, [(0, 0), (1, 2)], tolerance=1e-10 * size)
    again = folder / "again"
    potential.save(again)
    ours, theirs = potential.predict([atoms])[0], load(again).predict([atoms])[0]
    assert theirs.energy == pytest.approx(ours.energy, abs=1e-10 * size)
    np.testing.assert_allclose(theirs.forces, ours.forces, atol=1e-10 * size)
    assert theirs.n_extrapolating == ours.n_extrapolating


SIMPLE = [
    *((c, 2, n, eta, 0.0, 6.0) for c in "HO" for n in "HO" for eta in (0.05, 0.4)),
    *((c, 3, p, 0.03, 1.0, 2.0, 6.0) for c in "HO" for p in combinations_with_replacement("HO", 2)),
]


@pytest.fixture
def simple():
    return filled(SIMPLE, (4, 3), np.random.default_rng(3))


def edited(folder, old, new):
    path = folder / "input.nn"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return folder


def test_functions_for_all_elements_at_once(simple, tmp_path):
    """RuNNer's global and element-wise lines stand for all combinations of elements."""
    folder = written(simple, tmp_path)
    atoms = water(2, 4.0)
    expected = load(folder).predict([atoms])[0].energy
    lines = folder.joinpath("input.nn").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("symfunction")]
    short = ["global_symfunction_short 2 0.05 0.0 6.0", "element_symfunction_short H 2 0.4 0.0 6.0"]
    short += ["element_symfunction_short O 2 0.4 0.0 6.0", "global_symfunction_short 3 0.03 1.0 2.0 6.0"]
    folder.joinpath("input.nn").write_text("\n".join(kept + short))
    assert load(folder).predict([atoms])[0].energy == pytest.approx(expected, abs=1e-12)


def test_equal_functions_keep_their_weights(tmp_path):
    """A function may stand twice, as in n2p2; each has its own weights."""
    files = filled([*SIMPLE, SIMPLE[0]], (4, 3), np.random.default_rng(5))
    assert_same(files, load(written(files, tmp_path)), water(2, 4.0), [(0, 1)])


def test_a_shift_of_angular_functions(simple, tmp_path):
    """The ninth word of type 3 in n2p2: kernels against torch."""
    from nnp_reference import energy_forces_stress

    folder = edited(written(simple, tmp_path), " 1.0 2.0 6.0 ", " 1.0 2.0 6.0 0.8 ")
    potential, atoms = load(folder), water(2, 4.0)
    expected, forces, _ = energy_forces_stress(potential, atoms)
    found = potential.predict([atoms])[0]
    assert found.energy == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(found.forces, forces.numpy(), atol=1e-9)
    assert {f.shift for f in potential.functions_.angular} == {0.8 * Bohr}
    potential.save(tmp_path / "again")
    assert load(tmp_path / "again").predict([atoms])[0].energy == pytest.approx(found.energy, abs=1e-9)


@pytest.mark.parametrize("letter", "ltsprgcSeh")
def test_activation_functions_agree_in_kernels_and_torch(letter, simple, tmp_path):
    from nnp_reference import energy_forces_stress

    files = dataclasses.replace(simple, activations=(letter, letter, "l"))
    potential, atoms = load(written(files, tmp_path)), water(1, 3.0)
    expected, forces, _ = energy_forces_stress(potential, atoms)
    for found in (potential.predict([atoms])[0], potential._in_batches([atoms], "cpu")[0]):
        assert found.energy == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(found.forces, forces.numpy(), atol=1e-9)


def test_units_by_option_and_as_the_file_says(simple, tmp_path):
    """The same numbers in Å and eV where nothing is said and the option says so; a wrong unit is refused."""
    folder = written(simple, tmp_path)
    assert "names no units; taken as bohr and hartree" in load(folder).notes_[0]
    in_ev = load(folder, units="angstrom-eV")
    assert_same(dataclasses.replace(simple, bohr=False), in_ev, water(2, 4.0), [(0, 0)])
    assert in_ev.hypers.units == "angstrom-eV"
    with pytest.raises(UserError, match="unknown unit 'furlong'"):
        load(folder, units="furlong-eV")
    with pytest.raises(UserError, match=r"nnp\.cutoff cannot be set for a file that is read"):
        load(folder, cutoff=3.0)


def test_the_command_prints_the_units(simple, tmp_path):
    folder = written(simple, tmp_path)
    out = CliRunner().invoke(app, ["export", str(folder), "--out", str(tmp_path / "out")]).output
    assert "taken as bohr and hartree" in out


@pytest.mark.parametrize("line", ["nnp_type 4", "nnp_generation 4G-HDNNP", "nnp_gen 3", "nn_type_short 2"])
def test_other_generations_are_refused_by_name(line, simple, tmp_path):
    """Before anything else that such a file has."""
    folder = edited(
        written(simple, tmp_path), "number_of_elements", f"ewald_prec 1e-6\n{line}\nnumber_of_elements"
    )
    with pytest.raises(UserError, match=rf"input\.nn, line 3: '{line}' is not supported"):
        load(folder)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(REFUSED)), st.sampled_from(["", " 1", " H 0.5"]))
def test_what_changes_the_physics_is_refused_by_name(tmp_path_factory, keyword, rest):
    files = filled(SIMPLE, (4, 3), np.random.default_rng(3))
    folder = written(files, tmp_path_factory.mktemp("n2p2"), lines=[keyword + rest])
    with pytest.raises(UserError, match=f"'{keyword}' is not supported"):
        load(folder)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(WITHOUT_EFFECT)), st.sampled_from(["", " 1", " 0.5 3 x"]))
def test_what_only_trains_is_passed_over(tmp_path_factory, keyword, rest):
    files = filled(SIMPLE, (4, 3), np.random.default_rng(3))
    folder = written(files, tmp_path_factory.mktemp("n2p2"), lines=[keyword + rest])
    assert load(folder).elements_ == ("H", "O")


def test_each_keyword_has_one_meaning():
    assert not HONOURED & WITHOUT_EFFECT
    assert not (HONOURED | WITHOUT_EFFECT) & set(REFUSED)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "cutoff_type 1 0.0",
            "cutof_type 1",
            r"'cutof_type' is a keyword of neither .*did you mean 'cutoff_type'",
        ),
        ("cutoff_type 1 0.0", "cutoff_type 9", "cutoff_type '9' is not supported"),
        ("cutoff_type 1 0.0", "cutoff_type 1 1.5", "must be from 0 to below 1"),
        ("cutoff_type 1 0.0", "cutoff_type 1\ncutoff_type 2", "'cutoff_type' stands twice"),
        ("scale_min_short 0.0", "scale_min_short zero", "'zero' is not a number"),
        ("scale_min_short 0.0", "mean_energy 1.0", "'mean_energy' without 'conv_energy'"),
        ("number_of_elements 2", "number_of_elements 3", "number_of_elements is 3, but 'elements' has 2"),
        ("elements H O", "elements H Ox", "'Ox' in 'elements' is no chemical element"),
        ("global_activation_short t t l", "global_activation_short t q l", "global_activation_short 'q'"),
        ("global_activation_short t t l", "global_activation_short t t t", "the output must be 'l'"),
        ("global_nodes_short 4 3", "global_nodes_short 4", "do not fit together"),
        ("symfunction_short H 2 H", "symfunction_short H 12 H", r"type 12 \(weighted\)"),
        ("symfunction_short H 2 H", "symfunction_short H 20 H", r"type 20 \(polynomial\)"),
        ("symfunction_short H 2 H", "symfunction_short H 2 Na", "'Na' is not among the elements"),
        ("symfunction_short H 2 H 0.05", "symfunction_short H 2 H", "with 2 parameters"),
        (" 1.0 2.0 6.0 ", " 1.5 2.0 6.0 ", "λ = 1.5"),
        ("scale_symmetry_functions\n", "", None),
    ],
)
def test_one_sentence_names_file_and_fault(old, new, message, simple, tmp_path):
    folder = edited(written(simple, tmp_path), old, new)
    if message is None:
        assert load(folder).elements_ == ("H", "O")
        return
    with pytest.raises(UserError, match=rf"input\.nn.*{message}"):
        load(folder)


def test_missing_and_broken_files_are_named(simple, tmp_path):
    folder = written(simple, tmp_path)
    (folder / "weights.008.data").rename(folder / "weights.8.data")
    with pytest.raises(UserError, match=r"weights\.008\.data: cannot be read"):
        load(folder)
    written(simple, tmp_path)
    scaling = folder / "scaling.data"
    scaling.write_text("\n".join(" ".join(line.split()[:5]) for line in scaling.read_text().splitlines()))
    edited(folder, "scale_symmetry_functions\n", "scale_symmetry_functions_sigma\n")
    with pytest.raises(UserError, match=r"scaling\.data: not all standard deviations of H are above 0"):
        load(folder)


def test_sigma_beside_scaling_is_said_to_be_without_effect(simple, tmp_path):
    """n2p2 looks at sigma last; the notes say so."""
    folder = written(simple, tmp_path, lines=["scale_symmetry_functions_sigma"])
    potential = load(folder)
    assert_same(simple, potential, water(1, 3.0), [(0, 0)])
    assert "scale_symmetry_functions_sigma is without effect" in potential.notes_[1]


def test_a_run_keeps_the_whole_folder(simple, tmp_path):
    """``file:folder/input.nn`` is its folder: name and key of a run then follow from all of its files."""
    folder = tmp_path / "water"
    folder.mkdir()
    written(simple, folder)
    (planned,) = plan_files([folder / "input.nn"], [], "cpu", {"nnp": {"units": "bohr-hartree"}}, False)
    assert (planned.name, planned.source) == ("water", folder)
