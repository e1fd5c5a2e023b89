"""What every family must honour that has energies of atoms and a heat flux."""

import numpy as np
from ase import Atoms, units
from scipy.spatial.transform import Rotation

from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Potential
from mlip_bench.potentials.heat_flux import HeatFlux
from mlip_bench.testing.case import ROUNDING, Case, Check, Skipped

# Standard deviation of a velocity component (Å/fs): that of light atoms at some hundred kelvin.
SPEED = 5e-3

# Step of the differences (fs), in which atoms move by some 0.0005 Å, and their error relative to the flux:
# 1e-10 for smooth potentials, 2e-8 where energies come from splines.
STEP = 0.1
FINITE_DIFFERENCE = 1e-7

# Rounding of a flux, relative to its largest component: some 1e-15, and 4e-10 of kernel regression, in which
# large terms cancel.
FLUX_ROUNDING = 1e-8


def energies_of_atoms(case: Case) -> None:
    """Energies of atoms sum to the energy, are renumbered with the atoms, and repeat in a supercell."""
    atoms = case.probes[0]
    order = np.random.default_rng(0).permutation(len(atoms))
    prediction = case.predict(atoms)
    if prediction.energies is None and not case.family.conservative:
        raise Skipped(f"{case.family.family} gives no energies of atoms")
    energies = _energies(case, atoms)
    assert energies.shape == (len(atoms),)
    assert abs(energies.sum() - prediction.energy) < ROUNDING * len(atoms)
    np.testing.assert_allclose(_energies(case, atoms[order]), energies[order], atol=ROUNDING)
    np.testing.assert_allclose(_energies(case, atoms.repeat((2, 1, 1))), np.tile(energies, 2), atol=ROUNDING)


def flux_stepper_predicts_the_same(case: Case) -> None:
    """What is predicted on the way to a flux is what is predicted without."""
    _require_flux(case)
    stepper = case.potential.flux_stepper()
    for atoms in case.probes:
        found, expected = stepper.predict(atoms), case.predict(atoms)
        assert abs(found.energy - expected.energy) < ROUNDING * len(atoms)
        np.testing.assert_allclose(_given(found.energies), _given(expected.energies), atol=ROUNDING)
        np.testing.assert_allclose(found.forces, expected.forces, atol=ROUNDING)
        np.testing.assert_allclose(found.stress, expected.stress, atol=ROUNDING)


def flux_moves_the_energy(case: Case) -> None:
    """Of an isolated cluster the flux is the rate at which Σ r_i (E_i + m_i v_i²/2) changes."""
    _require_flux(case)
    periodic = case.probes[0]
    cluster = Atoms(periodic.numbers, periodic.positions)
    velocities = random_velocities(cluster)
    flux = case.potential.heat_flux(cluster, velocities)
    rate = rate_of_barycentre(case.potential, cluster, velocities, STEP)
    np.testing.assert_allclose(flux.total, rate, rtol=0, atol=FINITE_DIFFERENCE * largest(flux))


def flux_rotates(case: Case) -> None:
    """Rotating a structure and its velocities rotates the flux."""
    atoms, velocities, flux = _flux(case)
    matrix = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    rotated = atoms.copy()
    rotated.set_cell(np.array(atoms.cell) @ matrix.T)
    rotated.positions = atoms.positions @ matrix.T
    _assert_same_flux(
        case.potential.heat_flux(rotated, velocities @ matrix.T),
        HeatFlux(matrix @ flux.potential, matrix @ flux.convective),
    )


def flux_ignores_numbering_and_faces(case: Case) -> None:
    """Renumbering atoms, and moving them all across the cell's faces, leaves the flux."""
    atoms, velocities, flux = _flux(case)
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [1.234, -7.89, 0.456]
    moved.wrap()
    _assert_same_flux(case.potential.heat_flux(moved, velocities[order]), flux)


def flux_is_extensive(case: Case) -> None:
    """A supercell has as many times the flux."""
    atoms, velocities, flux = _flux(case)
    _assert_same_flux(
        case.potential.heat_flux(atoms.repeat((2, 1, 1)), np.tile(velocities, (2, 1))),
        HeatFlux(2 * flux.potential, 2 * flux.convective),
    )


def flux_is_linear_in_velocities(case: Case) -> None:
    """The potential part is the sum of W_j v_j."""
    atoms, velocities, flux = _flux(case)
    stepper = case.potential.flux_stepper()
    stepper.predict(atoms)
    by_velocities = stepper.flux_by_velocities()
    assert by_velocities.shape == (len(atoms), 3, 3)
    found = np.einsum("jab,jb->a", by_velocities, velocities)
    np.testing.assert_allclose(found, flux.potential, atol=FLUX_ROUNDING * largest(flux))


def flux_of_one_atom(case: Case) -> None:
    """A lone atom carries its energy along, and nothing else flows."""
    _require_flux(case)
    atoms, velocity = Atoms(case.potential.elements_[0]), np.array([[0.01, -0.02, 0.03]])
    flux = case.potential.heat_flux(atoms, velocity)
    kinetic = 0.5 * atoms.get_masses()[0] * ((velocity / units.fs) ** 2).sum()
    np.testing.assert_allclose(flux.potential, np.zeros(3), atol=ROUNDING)
    expected = (case.predict(atoms).energy + kinetic) * velocity[0]
    np.testing.assert_allclose(flux.convective, expected, rtol=FLUX_ROUNDING)


def flux_is_refused(case: Case) -> None:
    """Without velocities, and of forces that are no gradient, a flux is refused with a sentence."""
    atoms = case.probes[0]
    if not case.family.conservative:
        assert "directly" in _refusal(case.potential, atoms, random_velocities(atoms))
        return
    for velocities in (None, np.zeros((len(atoms) + 1, 3)), np.full((len(atoms), 3), np.nan)):
        assert "velocity" in _refusal(case.potential, atoms, velocities)


CHECKS: tuple[Check, ...] = (
    energies_of_atoms,
    flux_stepper_predicts_the_same,
    flux_moves_the_energy,
    flux_rotates,
    flux_ignores_numbering_and_faces,
    flux_is_extensive,
    flux_is_linear_in_velocities,
    flux_of_one_atom,
    flux_is_refused,
)


def random_velocities(atoms: Atoms) -> np.ndarray:
    """Return velocities (n_atoms, 3) in Å/fs, the same each time."""
    return SPEED * np.random.default_rng(0).normal(size=(len(atoms), 3))


def rate_of_barycentre(
    potential: Potential, cluster: Atoms, velocities: np.ndarray, step: float
) -> np.ndarray:
    """Return d/dt Σ r_i (E_i + m_i v_i²/2) (3,) in eV Å/fs of an isolated cluster, by central differences.

    They are of fourth order, with steps of ``step`` fs along a motion that begins with ``velocities``
    (n_atoms, 3) in Å/fs and the accelerations of the forces.
    """
    masses = cluster.get_masses()[:, None]
    acceleration = potential.predict([cluster])[0].forces / masses * units.fs**2

    def barycentre(time: float) -> np.ndarray:
        moved = cluster.copy()
        moved.positions += time * velocities
        energies = _given(potential.predict([moved])[0].energies)
        speeds = (velocities + time * acceleration) / units.fs
        kinetic = 0.5 * (masses * speeds**2).sum(axis=1)
        return (energies + kinetic) @ moved.positions

    near = barycentre(step) - barycentre(-step)
    far = barycentre(2 * step) - barycentre(-2 * step)
    return np.asarray((8 * near - far) / (12 * step))


def largest(flux: HeatFlux) -> float:
    """Return the largest component of either part of a flux."""
    return float(max(np.abs(flux.potential).max(), np.abs(flux.convective).max()))


def _require_flux(case: Case) -> None:
    if not case.family.conservative:
        raise Skipped(f"{case.family.family} predicts forces directly and has no heat flux")


def _flux(case: Case) -> tuple[Atoms, np.ndarray, HeatFlux]:
    """Return the first probe, velocities, and their flux."""
    _require_flux(case)
    atoms = case.probes[0]
    velocities = random_velocities(atoms)
    return atoms, velocities, case.potential.heat_flux(atoms, velocities)


def _energies(case: Case, atoms: Atoms) -> np.ndarray:
    return _given(case.predict(atoms).energies)


def _given(energies: np.ndarray | None) -> np.ndarray:
    assert energies is not None, "the family gives no energies of atoms"
    return energies


def _refusal(potential: Potential, atoms: Atoms, velocities: np.ndarray | None) -> str:
    try:
        potential.heat_flux(atoms, velocities)  # type: ignore[arg-type]  # what a caller may get wrong
    except UserError as error:
        return str(error)
    return ""


def _assert_same_flux(one: HeatFlux, other: HeatFlux) -> None:
    tolerance = FLUX_ROUNDING * largest(other)
    np.testing.assert_allclose(one.potential, other.potential, rtol=0, atol=tolerance)
    np.testing.assert_allclose(one.convective, other.convective, rtol=0, atol=tolerance)
