r"""What the bispectrum of one 2J is made of, as arrays for the kernels.

Momenta are doubled: j runs over 0, 1, ... 2J, and a matrix u^j has rows m' and columns m from 0 to j. With
the Cayley-Klein parameters a, b of a neighbour, row m' of u^j is the list of coefficients of a polynomial,

.. math:: u^j_{m'm} = N^j_{m'm}\,[t^m]\,(a^* - b^* t)^{j-m'} (b + a t)^{m'}, \quad
          N^j_{m'm} = \sqrt{\frac{(j-m)!\, m!}{(j-m')!\, m'!}},

so that each row is a row of u^{j-1} times (a* - b* t) or (b + a t) without any root (Varshalovich et al.,
Quantum Theory of Angular Momentum, section 4.8; the convention is that of Thompson et al.,
doi:10.1016/j.jcp.2014.12.018, equations 3 to 6). Rows with 2 m' <= j are enough:
u^j_{j-m',j-m} = (-1)^{m'-m} conj u^j_{m'm}.
"""

from functools import lru_cache
from math import comb, factorial, prod, sqrt
from typing import NamedTuple

import numpy as np

from mlip_bench.potentials.snap.components import triples


class Halves(NamedTuple):
    """The rows with 2 m' <= j of all u^j, one after the other; entries are numbered in this order."""

    start: np.ndarray
    """(n_rows,): where each row begins."""
    momentum: np.ndarray
    """(n_rows,): j; a row has j + 1 entries."""
    parent: np.ndarray
    """(n_rows,): the row that it is a multiple of; the first row is 1 and has none."""
    by_second: np.ndarray
    """(n_rows,): 0 for a multiple by a* - b* t, 1 for one by b + a t."""
    visited_first: np.ndarray
    """(n_rows,): 1 for the last of the children of its parent."""
    childless: np.ndarray
    """(n_rows,): 1 for a row without children."""
    seed: np.ndarray
    """(n_entries,): N times how often an entry counts in a sum over the whole matrix, in half of it."""


class Wholes(NamedTuple):
    """All entries of all u^j, by those of :class:`Halves`."""

    start: np.ndarray
    """(2J + 1,): where each matrix begins."""
    source: np.ndarray
    """(n_entries,): the entry that each is N times of, or of its conjugate."""
    real: np.ndarray
    """(n_entries,): the factor of the real part."""
    imaginary: np.ndarray
    """(n_entries,): the factor of the imaginary part."""
    diagonal: np.ndarray
    """(n_entries,): 1 on the diagonal, where the central atom itself counts."""


class Products(NamedTuple):
    """The coupled products z^j = (u^{j1} ⊗ u^{j2})^j of all j2 <= j1, in the half of :class:`Halves`."""

    momenta: np.ndarray
    """(n_products, 3): j1, j2, j."""
    start: np.ndarray
    """(n_products + 1,): where the entries of each begin."""
    target: np.ndarray
    """(n_entries,): the entry of :class:`Halves` that each stands at."""
    multiplicity: np.ndarray
    """(n_entries,): how often each counts in a sum over the whole matrix: 2, or 1 in the middle."""
    rows: np.ndarray
    """(n_products,): where the indices m of each begin in the three arrays that follow."""
    first: np.ndarray
    """m1 of the first term of m."""
    terms: np.ndarray
    """The number of terms of m: m1 from ``first`` on, m2 = m + (j1 + j2 - j) / 2 - m1."""
    coefficients: np.ndarray
    """Where the Clebsch-Gordan coefficients of these terms begin in ``coupling``."""
    coupling: np.ndarray
    """Clebsch-Gordan coefficients."""
    scale: np.ndarray
    """(n_products,): what each product is divided by: 1, or j + 1 where components are."""
    component: np.ndarray
    """(n_products,): the component that the product belongs to."""
    turned: np.ndarray
    """(n_products,): 0 where j is the momentum that it is contracted with in that component, 1 where j1 is,
    2 where j1 is and j2 is its first."""
    share: np.ndarray
    """(n_products,): the derivative of the component by u^j over z^j."""


class Tables(NamedTuple):
    """All of them."""

    halves: Halves
    wholes: Wholes
    products: Products


@lru_cache(maxsize=8)
def tables(twojmax: int, normalised: bool) -> Tables:
    """Return the tables of 2J; ``normalised`` divides components by j + 1 (LAMMPS's ``bnormflag``)."""
    starts = _starts(twojmax)
    return Tables(_halves(twojmax, starts), _wholes(twojmax, starts), _products(twojmax, starts, normalised))


def _starts(twojmax: int) -> dict[tuple[int, int], int]:
    """Return where each row (j, m') with 2 m' <= j begins, in order."""
    found, place = {}, 0
    for j in range(twojmax + 1):
        for row in range(j // 2 + 1):
            found[j, row] = place
            place += j + 1
    return found


def _halves(twojmax: int, starts: dict[tuple[int, int], int]) -> Halves:
    rows = list(starts)
    number = {row: index for index, row in enumerate(rows)}
    # The middle row of an even j has no row of its own in j - 1.
    second = [2 * row == j and j > 0 for j, row in rows]
    parents = [(max(j - 1, 0), row - by_second) for (j, row), by_second in zip(rows, second, strict=True)]
    last = {parent: index for index, parent in enumerate(parents)}
    return Halves(
        np.array(list(starts.values())),
        np.array([j for j, _ in rows]),
        np.array([number[parent] for parent in parents]),
        np.array(second, dtype=np.int64),
        np.array([int(last[parent] == index) for index, parent in enumerate(parents)]),
        np.array([int(j == twojmax) for j, _ in rows]),
        np.array([_norm(j, row, m) * _multiplicity(j, row, m) for j, row in rows for m in range(j + 1)]),
    )


def _norm(j: int, row: int, column: int) -> float:
    above = factorial(j - column) * factorial(column)
    return sqrt(above / (factorial(j - row) * factorial(row)))


def _multiplicity(j: int, row: int, column: int) -> int:
    """Return how often an entry counts: with its conjugate, alone in the middle, or not at all after it."""
    if 2 * row < j or column < j / 2:
        return 2
    return int(2 * column == j)


def _wholes(twojmax: int, starts: dict[tuple[int, int], int]) -> Wholes:
    source, real, imaginary, diagonal = [], [], [], []
    for j in range(twojmax + 1):
        for row in range(j + 1):
            for column in range(j + 1):
                mirrored = 2 * row > j
                r, c = (j - row, j - column) if mirrored else (row, column)
                norm = _norm(j, r, c) * ((-1) ** (row - column) if mirrored else 1)
                source.append(starts[j, r] + c)
                real.append(norm)
                imaginary.append(-norm if mirrored else norm)
                diagonal.append(float(row == column))
    sizes = np.cumsum([0] + [(j + 1) ** 2 for j in range(twojmax)])
    return Wholes(sizes, np.array(source), np.array(real), np.array(imaginary), np.array(diagonal))


def _products(twojmax: int, starts: dict[tuple[int, int], int], normalised: bool) -> Products:
    momenta = [
        (j1, j2, j)
        for j1 in range(twojmax + 1)
        for j2 in range(j1 + 1)
        for j in range(j1 - j2, min(twojmax, j1 + j2) + 1, 2)
    ]
    start, target, multiplicity = [0], [], []
    rows: list[int] = []
    first: list[int] = []
    terms: list[int] = []
    coefficients: list[int] = []
    coupling: list[float] = []
    for j1, j2, j in momenta:
        shift = (j1 + j2 - j) // 2
        for row in range(j // 2 + 1):
            for m in range(j + 1 if 2 * row < j else row + 1):
                target.append(starts[j, row] + m)
                multiplicity.append(_multiplicity(j, row, m))
        start.append(len(target))
        rows.append(len(first))
        for m in range(j + 1):
            ones = range(max(0, m + shift - j2), min(j1, m + shift) + 1)
            first.append(ones[0])
            terms.append(len(ones))
            coefficients.append(len(coupling))
            coupling += [clebsch_gordan(j1, m1, j2, m + shift - m1, j) for m1 in ones]
    number = {triple: index for index, triple in enumerate(triples(twojmax))}
    belongs = [_belongs(*one, normalised) for one in momenta]
    return Products(
        np.array(momenta),
        np.array(start),
        np.array(target),
        np.array(multiplicity, dtype=float),
        np.array(rows),
        np.array(first),
        np.array(terms),
        np.array(coefficients),
        np.array(coupling),
        np.array([j + 1.0 if normalised else 1.0 for _, _, j in momenta]),
        np.array([number[triple] for triple, _, _ in belongs]),
        np.array([turned for _, turned, _ in belongs]),
        np.array([share for _, _, share in belongs]),
    )


def _belongs(j1: int, j2: int, j: int, normalised: bool) -> tuple[tuple[int, int, int], int, float]:
    """Return the component of a product, how it is turned, and the derivative by u^j over z^j.

    Components over j + 1 do not depend on which of the three momenta is the last.
    """
    if j >= j1:
        return (j1, j2, j), 0, 1.0 + (j == j1) + (j == j2)
    share = 1.0 if normalised else (j1 + 1) / (j + 1)
    if j >= j2:
        return (j, j2, j1), 1, share * (1 + (j == j2))
    return (j2, j, j1), 2, share


def clebsch_gordan(j1: int, m1: int, j2: int, m2: int, j: int) -> float:
    """Return <j1 m1 j2 m2 | j m1+m2> of doubled momenta, with each m counted from 0.

    Racah's formula (Varshalovich et al., section 8.2, equation 3), its terms as products of binomials: sums
    of integers lose no digits.
    """
    one, two, three = (j1 + j2 - j) // 2, (j1 - j2 + j) // 2, (j2 - j1 + j) // 2
    m = m1 + m2 - one
    total = sum(
        (-1) ** k * comb(one, k) * comb(two, j1 - m1 - k) * comb(three, m2 - k)
        for k in range(min(one, j1 - m1, m2) + 1)
    )
    above = (j + 1) * prod(factorial(n) for n in (m, j - m, m1, j1 - m1, m2, j2 - m2))
    below = prod(factorial(n) for n in ((j1 + j2 + j) // 2 + 1, one, two, three))
    return total * sqrt(above / below)
