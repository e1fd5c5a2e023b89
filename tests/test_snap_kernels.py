"""The kernels of SNAP and qSNAP against LAMMPS, keyword by keyword, and their gradients by edges."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from compute_snap import compute_snap

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.potentials import load
from mlip_bench.potentials.snap import QSNAP, SNAP
from mlip_bench.potentials.snap.components import equalised, n_components
from mlip_bench.potentials.snap.evaluation import Designer
from mlip_bench.potentials.stepping import Stepping

# Relative to the largest value, of energies, forces and stress: two codes in double precision.
PARITY = 1e-10

ELEMENTS = ("Mo", "Nb", "W")
RADII = {"Mo": 0.5, "Nb": 0.53, "W": 0.47}
WEIGHTS = {"Mo": 1.0, "Nb": 1.2, "W": 0.8}
INNER = {"sinner": {"Mo": 2.5, "Nb": 2.4, "W": 2.6}, "dinner": {"Mo": 0.3, "Nb": 0.2, "W": 0.4}}

KEYWORDS = {
    "even": {"twojmax": 6},
    "odd": {"twojmax": 5},
    "s only": {"twojmax": 0},
    "rfac0 and rmin0": {"twojmax": 4, "rfac0": 0.9, "rmin0": 1.0},
    "nearer than rmin0": {"twojmax": 3, "rmin0": 2.8},
    "bzeroflag": {"twojmax": 4, "bzeroflag": 1},
    "bnormflag": {"twojmax": 3, "bzeroflag": 1, "bnormflag": 1},
    "no switching": {"twojmax": 2, "switchflag": 0},
    "inner switching": {"twojmax": 4, **INNER},
    "zbl": {"twojmax": 3, "zbl": [1.5, 3.5]},
    "zbl beyond the cutoff": {"twojmax": 2, "zbl": [3.0, 6.0]},
    "chem": {"twojmax": 3, "chemflag": 1},
    "chem, own zero": {"twojmax": 2, "chemflag": 1, "bzeroflag": 1},
    "chem, all": {"twojmax": 3, "chemflag": 1, "bzeroflag": 1, "bnormflag": 1, "wselfallflag": 1, **INNER},
}


def made(family, elements=ELEMENTS, seed=1, **hypers):
    """A potential of random coefficients, of all elements as different as can be."""
    radii = {element: RADII[element] for element in elements}
    weights = {element: WEIGHTS[element] for element in elements}
    potential = family(**{"cutoff": 4.4, "radii": radii, "weights": weights} | hypers)
    potential.elements_ = tuple(elements)
    n_chemical = len(elements) * potential.hypers.chemflag
    n_linear = n_components(potential.hypers.twojmax, n_chemical, quadratic=False)
    n = n_components(potential.hypers.twojmax, n_chemical, potential.quadratic)
    coefficients = 0.01 * np.random.default_rng(seed).normal(size=(len(elements), 1 + n))
    coefficients[:, 1 + n_linear :] *= 0.01
    if n_chemical:
        coefficients = equalised(coefficients, potential.hypers.twojmax, n_chemical)
    potential._take(coefficients)
    return potential


def crystal(elements=ELEMENTS, seed=0, repeat=2):
    generator = np.random.default_rng(seed)
    atoms = bulk("Mo", "bcc", a=3.16, cubic=True).repeat(repeat)
    atoms.symbols = generator.choice(elements, len(atoms))
    atoms.set_cell(np.array(atoms.cell) + 0.1 * generator.normal(size=(3, 3)), scale_atoms=True)
    atoms.rattle(0.2, rng=generator)
    return atoms


def of_lammps(potential, atoms):
    """Energy, energies of atoms, forces and stress by LAMMPS's pair style."""
    with LammpsSession(potential.elements_) as session:
        energy, forces, stress = session.single_point(atoms, potential.lammps())
        session.command("compute of_atoms all pe/atom")
        session.command("run 0 post no")
        order = np.argsort(session.lmp.numpy.extract_atom("id")[: len(atoms)])
        energies = session.lmp.numpy.extract_compute("of_atoms", 1, 1)[: len(atoms)][order].copy()
    return energy, energies, forces, stress


def assert_same(potential, atoms):
    prediction = potential.predict([atoms])[0]
    energy, energies, forces, stress = of_lammps(potential, atoms)
    np.testing.assert_allclose(prediction.energy, energy, rtol=PARITY, atol=PARITY)
    np.testing.assert_allclose(prediction.energies, energies, rtol=PARITY, atol=PARITY)
    for mine, theirs in ((prediction.forces, forces), (prediction.stress, stress)):
        np.testing.assert_allclose(
            mine, theirs, rtol=0, atol=PARITY * max(np.abs(np.nan_to_num(theirs)).max(), 1)
        )


@pytest.mark.parametrize("family", [SNAP, QSNAP])
@pytest.mark.parametrize("kind", KEYWORDS)
def test_every_keyword_is_that_of_lammps(family, kind):
    assert_same(made(family, **KEYWORDS[kind]), crystal())


@pytest.mark.parametrize("name", ["Mo_Zuo_JPCA2020", "Si_Zuo_JPCA2020", "Si_Zuo_JPCA2020.quadratic"])
def test_published_potentials_are_those_of_lammps(name):
    potential = load(potentials_folder() / f"{name}.snapcoeff")
    atoms = bulk(name[:2], cubic=True).repeat(2)
    atoms.rattle(0.1, seed=1)
    assert_same(potential, atoms)


@pytest.mark.parametrize("twojmax", [1, 2, 7, 9, 12])
def test_every_momentum(twojmax):
    assert_same(made(SNAP, ELEMENTS[:1], twojmax=twojmax), crystal(ELEMENTS[:1]))


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Mo", "bcc", a=3.16),  # sees its own images
        bulk("Mo", "bcc", a=3.0).repeat((1, 1, 9)),
        Atoms("Mo", cell=[20, 20, 20], pbc=True),
        Atoms("MoNbW", positions=[[0, 0, 0], [2.3, 0, 0], [0, 2.2, 0.4]]),
        Atoms("MoNb", positions=[[0, 0, 0], [9.0, 0, 0]]),
        crystal(repeat=1),
    ],
    ids=["primitive", "needle", "alone in a box", "molecule", "beyond the cutoff", "two atoms"],
)
@pytest.mark.parametrize(
    "hypers", [{"twojmax": 4}, {"twojmax": 1, "chemflag": 1, "bzeroflag": 1}], ids=["plain", "chem"]
)
def test_structures_of_all_kinds(atoms, hypers):
    assert_same(made(QSNAP, **hypers), atoms)


def test_slab():
    atoms = crystal()
    atoms.pbc = (True, True, False)
    atoms.center(vacuum=3.0, axis=2)
    assert_same(made(SNAP, twojmax=4), atoms)


@pytest.mark.parametrize(
    "potential", [made(QSNAP, twojmax=3, zbl=[1.5, 3.5]), made(SNAP, twojmax=3, chemflag=1)]
)
def test_gradients_by_edges_are_those_of_the_energies_of_their_centres(potential):
    """Moving all atoms at once changes each energy by Σ g (v_neighbour - v_centre) over its own edges."""
    atoms = crystal(seed=4)
    velocities = np.random.default_rng(5).normal(size=(len(atoms), 3))
    step = potential._edge_stepper(Stepping())
    edges = step(atoms)
    relative = velocities[edges.neighbours] - velocities[edges.centres]
    rates = np.bincount(edges.centres, np.einsum("pa,pa->p", edges.gradients, relative), len(atoms))
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * 1e-5 * velocities
        energies.append(step(moved).prediction.energies)
    np.testing.assert_allclose(rates, (energies[0] - energies[1]) / 2e-5, atol=1e-6)
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, edges.centres, edges.gradients)
    np.subtract.at(forces, edges.neighbours, edges.gradients)
    np.testing.assert_allclose(edges.prediction.forces, forces, atol=1e-12)


DESIGNS = {kind: hypers for kind, hypers in KEYWORDS.items() if "zbl" not in kind}


@pytest.mark.parametrize("family", [SNAP, QSNAP])
@pytest.mark.parametrize("kind", DESIGNS)
def test_rows_of_a_fit_are_those_of_lammps(family, kind):
    """Each component by itself, also where others are equal to it and LAMMPS's pair style adds them up."""
    if family is QSNAP and "chem" in kind:
        potential = made(family, ELEMENTS[:2], **DESIGNS[kind] | {"twojmax": 2, "sinner": {}, "dinner": {}})
    else:
        potential = made(family, **DESIGNS[kind])
    atoms = crystal(potential.elements_, repeat=1).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=2)
    rows, expected = Designer(potential._model(), potential.quadratic)(atoms), compute_snap(potential, atoms)
    # LAMMPS turns the cell, so of the strain its trace is compared here, and all of it by the stress of fits.
    for mine, theirs in ((rows[:-6], expected[:-6]), (rows[-6:-3].sum(0), -expected[-6:-3].sum(0))):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=PARITY * np.abs(theirs).max())


@pytest.mark.parametrize("family", [SNAP, QSNAP])
def test_rows_times_coefficients_are_the_prediction(family):
    potential = made(family, twojmax=3)
    atoms = crystal()
    rows, prediction = (
        Designer(potential._model(), potential.quadratic)(atoms),
        potential._predict([atoms])[0],
    )
    energy, *rest = rows @ np.column_stack([np.zeros(3), potential.coefficients_]).ravel()
    assert energy == pytest.approx(prediction.energy, rel=PARITY)
    np.testing.assert_allclose(rest[:-6], prediction.forces.ravel(), atol=1e-9)
    np.testing.assert_allclose(np.array(rest[-6:]) / atoms.get_volume(), prediction.stress, atol=1e-11)


def test_a_kept_list_gives_what_a_new_one_gives():
    potential = made(QSNAP, twojmax=4, zbl=[1.5, 3.5])
    atoms, step = crystal(), potential._stepper(Stepping())
    for _ in range(5):
        one, other = step(atoms), potential._predict([atoms])[0]
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-12)
        atoms.rattle(0.03, seed=7)


def test_the_calculator_is_by_the_kernels():
    potential = made(SNAP, twojmax=4)
    atoms = crystal()
    atoms.calc = potential.calculator()
    prediction = potential.predict([atoms])[0]
    assert atoms.get_potential_energy() == pytest.approx(prediction.energy, abs=1e-12)
    np.testing.assert_allclose(atoms.get_stress(), prediction.stress, atol=1e-12)
    alone = Atoms("Mo", calculator=potential.calculator())
    with pytest.raises(PropertyNotImplementedError):
        alone.get_stress()


def test_coefficients_of_equal_components_are_read_as_their_mean(tmp_path):
    """LAMMPS's forces are the gradient of its energy only then; the energy is that of the file."""
    potential = made(SNAP, twojmax=3, chemflag=1)
    potential.coefficients_ = 0.01 * np.random.default_rng(8).normal(size=potential.coefficients_.shape)
    potential.lammps().write_files(tmp_path)
    atoms = crystal()
    with LammpsSession(ELEMENTS) as session:
        energy, forces, _ = session.single_point(atoms, potential.lammps())
    again = load(tmp_path / "potential.snapcoeff")
    assert any("components that are equal" in note for note in again.notes_)
    prediction = again.predict([atoms])[0]
    assert prediction.energy == pytest.approx(energy, abs=1e-10)
    assert np.abs(prediction.forces - forces).max() > 0.01
    assert_same(again, atoms)
    moved = [atoms.copy(), atoms.copy()]
    for sign, one in zip((1, -1), moved, strict=True):
        one.positions[3, 1] += sign * 1e-4
    high, low = again.predict(moved)
    assert prediction.forces[3, 1] == pytest.approx(-(high.energy - low.energy) / 2e-4, abs=1e-6)


def test_what_is_not_a_number_stays_none():
    potential = made(SNAP, twojmax=2)
    potential.coefficients_ = potential.coefficients_ * np.nan
    prediction = potential.predict([crystal()])[0]
    assert np.isnan(prediction.energy)
    assert np.isnan(prediction.forces).any()
