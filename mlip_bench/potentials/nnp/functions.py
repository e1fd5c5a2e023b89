r"""Atom-centred symmetry functions: what they are, and which ones to take where nobody says.

Radial (seeds/004 equation 1; Behler, doi:10.1063/1.3553717, equation 6) and narrow angular functions
(seeds/004 equation 3; the same paper, equation 8) of atom i, with the cosine cutoff f_c of equation 2:

.. math:: G_i = \sum_j e^{-η (r_{ij} - R_s)^2} f_c(r_{ij})

.. math:: G_i = 2^{1-ζ} \sum_{j<k} (1 + λ \cos θ_{ijk})^ζ e^{-η (r_{ij}^2 + r_{ik}^2 + r_{jk}^2)}
          f_c(r_{ij}) f_c(r_{ik}) f_c(r_{jk})

Each pair of neighbours counts once, as in n2p2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement


@dataclass(frozen=True, order=True)
class Radial:
    """A radial function of atoms of ``centre`` over neighbours of one element; η in Å⁻², R_s in Å."""

    eta: float
    shift: float
    centre: str
    neighbour: str


@dataclass(frozen=True, order=True)
class Angular:
    """A narrow angular function of ``centre`` over a pair of elements, in alphabetical order; η in Å⁻²."""

    eta: float
    zeta: float
    lam: int
    centre: str
    neighbours: tuple[str, str]


@dataclass(frozen=True)
class SymmetryFunctions:
    """The functions of all elements, with the one cutoff (Å) that they share.

    Their order is n2p2's: radial before angular, then by the neighbours' elements, η, and R_s or ζ and λ.
    """

    cutoff: float
    radial: tuple[Radial, ...]
    angular: tuple[Angular, ...]

    def radial_of(self, element: str) -> list[Radial]:
        """Return the radial functions of one element's atoms, in order."""
        mine = [function for function in self.radial if function.centre == element]
        return sorted(mine, key=lambda f: (f.eta, f.shift, f.neighbour))

    def angular_of(self, element: str) -> list[Angular]:
        """Return the angular functions of one element's atoms, in order."""
        mine = [function for function in self.angular if function.centre == element]
        return sorted(mine, key=lambda f: (f.eta, f.zeta, f.lam, f.neighbours))


def grid(
    elements: Sequence[str],
    cutoff: float,
    radial_etas: Sequence[float],
    radial_shifts: Sequence[float],
    angular_etas: Sequence[float],
    zetas: Sequence[float],
) -> SymmetryFunctions:
    """Return all combinations of the parameters, with λ = ±1, for every element and its neighbours."""
    radial = [
        Radial(eta, shift, centre, neighbour)
        for centre in elements
        for neighbour in elements
        for eta in radial_etas
        for shift in radial_shifts
    ]
    angular = [
        Angular(eta, zeta, lam, centre, pair)
        for centre in elements
        for pair in combinations_with_replacement(sorted(elements), 2)
        for eta in angular_etas
        for zeta in zetas
        for lam in (-1, 1)
    ]
    return SymmetryFunctions(cutoff, tuple(radial), tuple(angular))
