"""The screened repulsion of nuclei that a SNAP may stand on: LAMMPS's ``pair_style zbl``.

Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter (1985); LAMMPS's documentation of
``pair_style zbl`` has the switching. Two nuclei Z_i, Z_j at distance r repel with

    E(r) = Z_i Z_j e² / (4 π ε0 r) φ(r / a) + S(r),   a = 0.46850 Å / (Z_i^0.23 + Z_j^0.23)

where S is a constant below the inner cutoff and a polynomial above it that takes energy, force and its slope
to zero at the outer one.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

# e² / (4 π ε0) in eV Å, as LAMMPS has it in metal units.
COULOMB = 14.399645

# φ(x) = Σ_k amplitude exp(-decay x).
AMPLITUDES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
DECAYS = np.array([3.19980, 0.94229, 0.40290, 0.20162])

SCREENING_LENGTH = 0.46850  # Å
SCREENING_POWER = 0.23


class Repulsion(NamedTuple):
    """ZBL of all pairs of species."""

    inner: float
    """Where switching begins (Å)."""
    outer: float
    """Where the repulsion ends (Å)."""
    amplitudes: np.ndarray
    """(n_species, n_species, 4): of the exponentials, with the charges in them, eV Å."""
    decays: np.ndarray
    """(n_species, n_species, 4): of the exponentials, 1/Å."""
    switching: np.ndarray
    """(n_species, n_species, 3): S = constant + cubic t³ + quartic t⁴ with t = r - inner; eV and Å."""


def repulsion(charges: np.ndarray, inner: float, outer: float) -> Repulsion:
    """Return the repulsion of species with these nuclei, switched off between two distances (Å)."""
    powers = charges**SCREENING_POWER
    decays = DECAYS * ((powers[:, None] + powers) / SCREENING_LENGTH)[..., None]
    amplitudes = COULOMB * np.multiply.outer(np.outer(charges, charges), AMPLITUDES)
    # Energy at the outer cutoff, and its first two derivatives.
    terms = amplitudes * np.exp(-decays * outer)
    energy = terms.sum(-1) / outer
    slope = -(terms * (decays + 1 / outer)).sum(-1) / outer
    curvature = (terms * (decays**2 + 2 * decays / outer + 2 / outer**2)).sum(-1) / outer
    width = outer - inner
    cubic = (-3 * slope + width * curvature) / width**2
    quartic = (2 * slope - width * curvature) / width**3
    constant = -energy + width / 2 * slope - width**2 / 12 * curvature
    return Repulsion(inner, outer, amplitudes, decays, np.stack([constant, cubic / 3, quartic / 4], axis=-1))


@njit(cache=True, error_model="numpy", nogil=True)
def add_repulsion(
    atoms: tuple[int, int],
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    pairs: Repulsion,
    energies: np.ndarray,
    forces: np.ndarray,
    virial: np.ndarray,
    gradients: np.ndarray,
) -> None:
    """Add energies (n_atoms,) in eV, half of each pair at either atom, forces (n_atoms, 3), virial (3, 3).

    Of a range of atoms as centres.

    ``gradients`` (n_edges, 3) takes the derivatives by the vectors; it is empty where nobody wants them.
    """
    for i in range(atoms[0], atoms[1]):
        for e in range(first[i], first[i + 1]):
            square = vectors[e, 0] ** 2 + vectors[e, 1] ** 2 + vectors[e, 2] ** 2
            if square >= pairs.outer * pairs.outer:
                continue
            r, j = np.sqrt(square), neighbours[e]
            value, slope = pair_energy(r, species[i], species[j], pairs)
            energies[i] += 0.5 * value
            for x in range(3):
                pull = 0.5 * slope * vectors[e, x] / r
                forces[i, x] += pull
                forces[j, x] -= pull
                for z in range(3):
                    virial[z, x] -= vectors[e, z] * pull
                if len(gradients) > 0:
                    gradients[e, x] += pull


@njit(cache=True, error_model="numpy", nogil=True)
def pair_energy(r: float, one: int, other: int, pairs: Repulsion) -> tuple[float, float]:
    """Return the energy (eV) of two nuclei, and its derivative by their distance r (eV/Å)."""
    value, slope = 0.0, 0.0
    for k in range(4):
        term = pairs.amplitudes[one, other, k] * np.exp(-pairs.decays[one, other, k] * r) / r
        value += term
        slope -= term * (pairs.decays[one, other, k] + 1.0 / r)
    constant, cubic, quartic = pairs.switching[one, other]
    value += constant
    if r > pairs.inner:
        t = r - pairs.inner
        value += t**3 * (cubic + quartic * t)
        slope += t * t * (3.0 * cubic + 4.0 * quartic * t)
    return value, slope
