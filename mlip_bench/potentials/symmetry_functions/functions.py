r"""Atom-centred symmetry functions: what they are, and which ones to take where nobody says.

Radial (Zuo et al., doi:10.1021/acs.jpca.9b08723, equation 1; Behler, doi:10.1063/1.3553717, equation 6) and
narrow angular functions (equations 3 and 8 of these papers) of atom i, with the cutoff function f_c
(equation 2):

.. math:: G_i = \sum_j e^{-η (r_{ij} - R_s)^2} f_c(r_{ij})

.. math:: G_i = 2^{1-ζ} \sum_{j<k} (1 + λ \cos θ_{ijk})^ζ e^{-η (r_{ij}^2 + r_{ik}^2 + r_{jk}^2)}
          f_c(r_{ij}) f_c(r_{ik}) f_c(r_{jk})

in which n2p2 knows a shift R_s of the three distances, too (0 in the paper).
Each pair of neighbours counts once, as in n2p2. Other cutoff functions than the cosine are those that
n2p2's files number (:class:`Switch`); each function may have a cutoff of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import combinations_with_replacement


class Switch(IntEnum):
    """Cutoff functions, numbered as ``cutoff_type`` in n2p2's files.

    With x = (r - α r_c) / (r_c - α r_c), and 1 below α r_c; the two hyperbolic ones have no α: x = r / r_c.
    """

    HARD = 0
    """1 up to the cutoff."""
    COSINE = 1
    """(cos πx + 1) / 2."""
    TANH_UNSCALED = 2
    """tanh³(1 - x)."""
    TANH = 3
    """tanh³(1 - x) / tanh³ 1."""
    EXPONENTIAL = 4
    """exp(1 - 1 / (1 - x²))."""
    POLYNOMIAL_1 = 5
    """1 + x² (2x - 3)."""
    POLYNOMIAL_2 = 6
    """1 + x³ (x (15 - 6x) - 10)."""
    POLYNOMIAL_3 = 7
    """1 + x⁴ (x (x (20x - 70) + 84) - 35)."""
    POLYNOMIAL_4 = 8
    """1 + x⁵ (x (x (x (315 - 70x) - 540) + 420) - 126)."""


@dataclass(frozen=True, order=True)
class Radial:
    """A radial function of atoms of ``centre`` over neighbours of one element; lengths in Å, η in Å⁻²."""

    cutoff: float
    eta: float
    shift: float
    centre: str
    neighbour: str


@dataclass(frozen=True, order=True)
class Angular:
    """An angular function of ``centre`` over a pair of elements, in alphabetical order.

    A wide one (the same paper, equation 9; only in files of others) goes without the factors of r_jk, so that
    the two neighbours may be up to two cutoffs apart.
    """

    cutoff: float
    eta: float
    zeta: float
    lam: float
    centre: str
    neighbours: tuple[str, str]
    shift: float = 0.0
    wide: bool = False


@dataclass(frozen=True)
class SymmetryFunctions:
    """The functions of all elements and the cutoff function that they share; ``alpha`` is its inner part."""

    radial: tuple[Radial, ...]
    angular: tuple[Angular, ...]
    switch: Switch = Switch.COSINE
    alpha: float = 0.0

    @property
    def cutoffs(self) -> list[float]:
        """All cutoffs (Å), ascending."""
        return sorted({f.cutoff for f in self.radial} | {f.cutoff for f in self.angular})

    def without(self, unwanted: set[Radial | Angular]) -> "SymmetryFunctions":
        """Return the functions that are not in a set."""
        return replace(
            self,
            radial=tuple(f for f in self.radial if f not in unwanted),
            angular=tuple(f for f in self.angular if f not in unwanted),
        )


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
        Radial(cutoff, eta, shift, centre, neighbour)
        for centre in elements
        for neighbour in elements
        for eta in radial_etas
        for shift in radial_shifts
    ]
    angular = [
        Angular(cutoff, eta, zeta, lam, centre, pair)
        for centre in elements
        for pair in combinations_with_replacement(sorted(elements), 2)
        for eta in angular_etas
        for zeta in zetas
        for lam in (-1.0, 1.0)
    ]
    return SymmetryFunctions(tuple(radial), tuple(angular))
