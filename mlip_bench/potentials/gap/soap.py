r"""SOAP descriptors as ``gap_fit`` defines them: the tables that our kernels start from.

Around atom i the neighbours of one species, as Gaussians of width σ, are expanded in radial functions and
spherical harmonics (Bartók et al., doi:10.1103/PhysRevB.87.184115, equations 26 to 36; Zuo et al.,
doi:10.1021/acs.jpca.9b08723, equations 5 to 8):

.. math:: c_{nlm} = \sum_j f_{cut}(r_{ij}) \, h_{nl}(r_{ij}) \, Y_{lm}(\hat r_{ij}), \quad
          h_{nl}(r) = \sum_a e^{-α (r^2 + ρ_a^2)} \, i_l(2 α r ρ_a) \, T_{an}, \quad α = 1 / 2σ^2

with i_l the modified spherical Bessel functions. The radial functions are Gaussians of the same width at the
places ρ_a = (a - 1) ρ / n_max, ρ = cutoff + σ √(20 ln 10), made orthogonal: T = C⁻¹ L with
C_ab = exp(-α (ρ_a - ρ_b)²), and L Lᵀ their overlap ∫ g_a g_b r² dr.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg
from scipy.interpolate import CubicSpline
from scipy.special import erf, gammaln, ive

# Nodes of the splines per Å: forces then differ by less than 1e-6 eV/Å from those without splines.
NODES_PER_ANGSTROM = 200

# Exponent of the error that QUIP's places of the radial functions allow for.
BASIS_ERROR_EXPONENT = 10


@dataclass(frozen=True)
class Soap:
    """The SOAP descriptor of the atoms of one element; lengths in Å."""

    centre: int
    """Atomic number of the atoms that it describes."""
    species: tuple[int, ...]
    """Atomic numbers of the neighbours that have densities of their own, in the file's order."""
    cutoff: float
    cutoff_transition_width: float
    n_max: int
    l_max: int
    atom_sigma: float
    central_weight: float = 1.0
    """Weight of the atom itself in the density of its own species."""

    @property
    def dimensions(self) -> int:
        """Components of the power spectrum, with QUIP's last one that is always 0."""
        n = self.n_max * len(self.species)
        return n * (n + 1) // 2 * (self.l_max + 1) + 1

    @cached_property
    def table(self) -> np.ndarray:
        """Values and slopes times spacing of the radial functions, (nodes, 2, l · n_max + n)."""
        nodes = np.linspace(0, self.cutoff, int(np.ceil(NODES_PER_ANGSTROM * self.cutoff)) + 1)
        values = radial_functions(self, nodes)
        slopes = CubicSpline(nodes, values)(nodes, 1) * nodes[1]
        return np.ascontiguousarray(np.stack([values, slopes], axis=1))

    @cached_property
    def norms(self) -> np.ndarray:
        """Factors N_lm of the real spherical harmonics, so that Σ_m Y_lm² = 2l + 1; rows l² + l + m."""
        degree = np.repeat(np.arange(self.l_max + 1), 2 * np.arange(self.l_max + 1) + 1)
        order = np.abs(np.arange(len(degree)) - degree**2 - degree)
        ratio = np.exp(gammaln(degree - order + 1) - gammaln(degree + order + 1))
        return np.sqrt((2 * degree + 1) * ratio * np.where(order > 0, 2, 1))

    @cached_property
    def central(self) -> np.ndarray:
        """What the atom itself adds to c of l = 0, (species · n_max,)."""
        own = radial_functions(self, np.zeros(1))[0, : self.n_max]
        is_own = [self.central_weight * (number == self.centre) for number in self.species]
        return np.outer(is_own, own).ravel()


def radial_functions(soap: Soap, distances: np.ndarray) -> np.ndarray:
    """Return the radial functions without cutoff, (n_distances, l · n_max + n)."""
    alpha = 0.5 / soap.atom_sigma**2
    reach = soap.cutoff + soap.atom_sigma * np.sqrt(2 * BASIS_ERROR_EXPONENT * np.log(10))
    places = np.arange(soap.n_max) * reach / soap.n_max
    covariance = np.exp(-alpha * np.subtract.outer(places, places) ** 2)
    transform = linalg.solve(covariance, linalg.cholesky(_overlap(places, alpha), lower=True), assume_a="sym")
    x = 2 * alpha * np.multiply.outer(distances, places)
    gaussians = np.exp(-alpha * np.subtract.outer(distances, places) ** 2)
    positive = np.where(x > 0, x, 1)
    found = []
    for degree in range(soap.l_max + 1):
        # e⁻ˣ i_l(x); the Gaussian has taken the eˣ.
        bessel = np.sqrt(np.pi / (2 * positive)) * ive(degree + 0.5, positive)
        found.append((gaussians * np.where(x > 0, bessel, degree == 0)) @ transform)
    return np.concatenate(found, axis=1)


def _overlap(places: np.ndarray, alpha: float) -> np.ndarray:
    """Return ∫ r² exp(-α (r - ρ_a)²) exp(-α (r - ρ_b)²) dr from 0, up to a factor."""
    middle = 0.5 * np.add.outer(places, places)
    square = 2 * alpha * middle**2
    whole = np.sqrt(np.pi) * (1 + 2 * square) * (1 + erf(np.sqrt(square))) / (4 * (2 * alpha) ** 1.5)
    edge = middle * np.exp(-square) / (4 * alpha)
    return np.exp(-0.5 * alpha * np.subtract.outer(places, places) ** 2) * (whole + edge)
