"""What every family must honour: shapes, symmetries, gradients, files, repeatability."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from scipy.spatial.transform import Rotation

from mlip_bench.data.reference import composition, forces, labelled, stress, with_zero
from mlip_bench.data.voigt import to_matrix
from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.base import Prediction
from mlip_bench.testing.case import ROUNDING, Case, Check

# Largest change of energies (eV per atom) and forces (eV/Å) where the zero of the training energies is moved:
# a fit by gradients follows the rounding of its targets.
ALL_ELECTRON = 7900.123
SHIFTED_ENERGY = 1e-5
SHIFTED_FORCE = 1e-4

# Error of a central difference with the steps below on forces (eV/Å) and stresses (eV/Å³).
FINITE_DIFFERENCE_FORCE = 1e-4
FINITE_DIFFERENCE_STRESS = 1e-5
DISPLACEMENT = 1e-3  # Å
STRAIN = 1e-4


def states_its_revision(case: Case) -> None:
    """The class says which revision its results are of, and which packages decide them."""
    revision = vars(case.family).get("revision")
    assert type(revision) is int, f"{case.family.__name__} has no 'revision: ClassVar[int]' of its own"
    assert revision >= 1
    packages = getattr(case.family, "packages", None)
    assert isinstance(packages, tuple), f"{case.family.__name__} has no 'packages: ClassVar[tuple[str, ...]]'"
    assert list(packages) == sorted(set(packages))
    assert all(isinstance(package, str) for package in packages)


def shapes(case: Case) -> None:
    """Energy is a number, forces are (n_atoms, 3), stress is (6,): finite where the family predicts them.

    What it does not predict is NaN, so that nobody takes it for a number.
    """
    for atoms, prediction in zip(case.probes, case.potential.predict(case.probes), strict=True):
        assert isinstance(prediction.energy, float)
        assert prediction.forces.shape == (len(atoms), 3)
        assert prediction.stress.shape == (6,)
        assert np.isfinite(prediction.forces).all()
        assert np.isfinite(prediction.energy) == case.potential.predicts_energy
        assert (np.isfinite(prediction.stress) == case.potential.predicts_stress).all()


def empty_list(case: Case) -> None:
    """No structures give no predictions."""
    assert case.potential.predict([]) == []


def one_atom(case: Case) -> None:
    """A lone atom has an energy, no force, and without a cell no stress."""
    symbol = case.potential.elements_[0]
    prediction = case.predict(Atoms(symbol))
    assert np.isfinite(prediction.energy) == case.potential.predicts_energy
    np.testing.assert_allclose(prediction.forces, np.zeros((1, 3)), atol=ROUNDING)
    assert np.isnan(prediction.stress).all()


def forces_are_gradient(case: Case) -> None:
    """Forces equal minus the central difference of the energy."""
    atoms = case.probes[0]
    forces = case.predict(atoms).forces
    for index in range(min(3, len(atoms))):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[index, axis] += sign * DISPLACEMENT
                energies.append(case.predict(moved).energy)
            numerical = -(energies[0] - energies[1]) / (2 * DISPLACEMENT)
            assert abs(forces[index, axis] - numerical) < FINITE_DIFFERENCE_FORCE


def stress_is_strain_derivative(case: Case) -> None:
    """Stress equals the derivative of the energy by strain over volume, in ASE's sign and order."""
    atoms = case.probes[0]
    stress = case.predict(atoms).stress
    for component, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * STRAIN / 2
            strain[j, i] += sign * STRAIN / 2
            strained = atoms.copy()
            strained.set_cell(np.array(atoms.cell) @ strain, scale_atoms=True)
            energies.append(case.predict(strained).energy)
        numerical = (energies[0] - energies[1]) / (2 * STRAIN * atoms.get_volume())
        assert abs(stress[component] - numerical) < FINITE_DIFFERENCE_STRESS


def rotation(case: Case) -> None:
    """Rotating a structure leaves the energy, and rotates forces and stress."""
    atoms = case.probes[0]
    matrix = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    rotated = atoms.copy()
    rotated.set_cell(np.array(atoms.cell) @ matrix.T)
    rotated.positions = atoms.positions @ matrix.T
    before, after = case.predict(atoms), case.predict(rotated)
    _assert_same_energy(before.energy, after.energy, ROUNDING * len(atoms))
    np.testing.assert_allclose(after.forces, before.forces @ matrix.T, atol=ROUNDING)
    np.testing.assert_allclose(
        to_matrix(after.stress), matrix @ to_matrix(before.stress) @ matrix.T, atol=ROUNDING
    )


def permutation(case: Case) -> None:
    """Renumbering atoms renumbers forces and nothing else."""
    atoms = case.probes[0]
    order = np.random.default_rng(0).permutation(len(atoms))
    before, after = case.predict(atoms), case.predict(atoms[order])
    _assert_same_energy(before.energy, after.energy, ROUNDING * len(atoms))
    np.testing.assert_allclose(after.forces, before.forces[order], atol=ROUNDING)
    np.testing.assert_allclose(after.stress, before.stress, atol=ROUNDING)


def translation(case: Case) -> None:
    """Moving all atoms, also across the cell's faces, changes nothing."""
    atoms = case.probes[0]
    moved = atoms.copy()
    moved.positions += [1.234, -7.89, 0.456]
    before, after = case.predict(atoms), case.predict(moved)
    _assert_same_energy(before.energy, after.energy, ROUNDING * len(atoms))
    np.testing.assert_allclose(after.forces, before.forces, atol=ROUNDING)


def extensivity(case: Case) -> None:
    """A supercell has as many times the energy, repeated forces, and the same stress."""
    atoms = case.probes[0]
    before, after = case.predict(atoms), case.predict(atoms.repeat((2, 1, 1)))
    _assert_same_energy(2 * before.energy, after.energy, ROUNDING * len(atoms))
    np.testing.assert_allclose(after.forces, np.tile(before.forces, (2, 1)), atol=ROUNDING)
    np.testing.assert_allclose(after.stress, before.stress, atol=ROUNDING)


def input_untouched(case: Case) -> None:
    """Predicting changes neither the structures nor their reference values."""
    bare = [atoms.copy() for atoms in case.probes]
    results = [copy.deepcopy(atoms.calc.results) if atoms.calc else {} for atoms in case.probes]
    case.potential.predict(case.probes)
    for atoms, same, before in zip(case.probes, bare, results, strict=True):
        assert atoms == same
        assert set(atoms.arrays) == set(same.arrays)
        for key, value in before.items():
            np.testing.assert_array_equal(atoms.calc.results[key], value)


def batch_equals_single(case: Case) -> None:
    """Predicting many at once gives what predicting one by one gives."""
    for atoms, together in zip(case.probes, case.potential.predict(case.probes), strict=True):
        _assert_same(case.predict(atoms), together)


def save_and_load(case: Case) -> None:
    """A saved potential, loaded again, is the same potential."""
    with tempfile.TemporaryDirectory() as folder:
        case.potential.save(Path(folder) / "saved")
        loaded = load(Path(folder) / "saved")
        assert type(loaded) is case.family
        assert loaded.hypers == case.potential.hypers
        assert loaded.n_parameters == case.potential.n_parameters
        for before, after in zip(
            case.potential.predict(case.probes), loaded.predict(case.probes), strict=True
        ):
            _assert_same(before, after)


def same_seed_same_result(case: Case) -> None:
    """Fitting again with the same seed gives the same potential."""
    again = case.fitted().predict(case.probes)
    for before, after in zip(case.potential.predict(case.probes), again, strict=True):
        _assert_same(before, after)


def fit_twice_equals_once(case: Case) -> None:
    """A second fit forgets the first, and does not change the training data."""
    copies = [atoms.copy() for atoms in case.train]
    potential = case.family(**case.hypers).fit(case.train[: len(case.train) // 2], seed=5)
    potential.fit(case.train, seed=1)
    assert list(case.train) == copies
    for before, after in zip(
        case.potential.predict(case.probes), potential.predict(case.probes), strict=True
    ):
        _assert_same(before, after)


def zero_of_the_energy(case: Case) -> None:
    """A zero of each element that lies as far off as all-electron energies do costs nothing."""
    elements = case.potential.elements_
    moved = -ALL_ELECTRON * (1 + np.arange(len(elements)))
    shifted = case.family(**case.hypers).fit(with_zero(case.train, elements, moved), seed=1)
    shifts = composition(case.probes, elements) @ moved
    before, after = case.potential.predict(case.probes), shifted.predict(case.probes)
    for one, other, shift in zip(before, after, shifts, strict=True):
        _assert_same_energy(one.energy, other.energy - shift, SHIFTED_ENERGY * len(one.forces))
        np.testing.assert_allclose(other.forces, one.forces, atol=SHIFTED_FORCE)


def foreign_element(case: Case) -> None:
    """A structure with an unknown element is refused with a sentence that names it."""
    foreign = next(symbol for symbol in ("Xe", "Rn") if symbol not in case.potential.elements_)
    message = ""
    try:
        case.predict(Atoms(foreign))
    except UserError as error:
        message = str(error)
    assert foreign in message


def calculator_agrees(case: Case) -> None:
    """The ASE calculator gives what ``predict`` gives."""
    atoms = case.probes[0].copy()
    atoms.calc = case.potential.calculator()
    prediction = case.predict(atoms)
    np.testing.assert_allclose(atoms.get_forces(), prediction.forces, atol=ROUNDING)
    if case.potential.predicts_energy:
        _assert_same_energy(atoms.get_potential_energy(), prediction.energy, ROUNDING * len(atoms))
    else:
        _assert_not_implemented(atoms.get_potential_energy)
    if case.potential.predicts_stress:
        np.testing.assert_allclose(atoms.get_stress(), prediction.stress, atol=ROUNDING)
    else:
        _assert_not_implemented(atoms.get_stress)


def data_without_energies(case: Case) -> None:
    """A family without an energy is fitted to forces alone, to the same; any other says that it cannot be."""
    bare = [labelled(atoms.copy(), None, forces(atoms), stress(atoms)) for atoms in case.train]
    if case.potential.predicts_energy:
        message = ""
        try:
            case.family(**case.hypers).fit(bare, seed=1)
        except UserError as error:
            message = str(error)
        assert "energies" in message
        return
    found = case.family(**case.hypers).fit(bare, seed=1).predict(case.probes)
    for before, after in zip(case.potential.predict(case.probes), found, strict=True):
        _assert_same(before, after)


CHECKS: tuple[Check, ...] = (
    states_its_revision,
    shapes,
    empty_list,
    one_atom,
    forces_are_gradient,
    stress_is_strain_derivative,
    rotation,
    permutation,
    translation,
    extensivity,
    input_untouched,
    batch_equals_single,
    save_and_load,
    same_seed_same_result,
    fit_twice_equals_once,
    zero_of_the_energy,
    foreign_element,
    calculator_agrees,
    data_without_energies,
)


def _assert_same(one: Prediction, other: Prediction) -> None:
    _assert_same_energy(one.energy, other.energy, ROUNDING * len(one.forces))
    np.testing.assert_allclose(one.forces, other.forces, atol=ROUNDING)
    np.testing.assert_allclose(one.stress, other.stress, atol=ROUNDING)


def _assert_same_energy(one: float, other: float, tolerance: float) -> None:
    """Two energies (eV) agree; NaN, of a family without energies, agrees with NaN."""
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def _assert_not_implemented(ask: Callable[[], object]) -> None:
    """The calculator raises for a property that the family does not predict, as ASE does."""
    try:
        ask()
    except PropertyNotImplementedError:
        return
    raise AssertionError(f"{ask} gives something that is not predicted")
