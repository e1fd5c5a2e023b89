"""The bispectrum components in LAMMPS's order, how many there are, and which of them are the same.

A component belongs to three angular momenta j1 >= j2, j >= j1; where the densities of elements are kept
apart (``chemflag``), to three elements as well, one for each. Where momenta are equal, components that only
exchange their elements are equal, and ``pair_style snap`` gives right forces only with equal coefficients.
"""

import numpy as np


def triples(twojmax: int) -> list[tuple[int, int, int]]:
    """Return twice the angular momenta j1, j2 and j of each component, in LAMMPS's order."""
    return [
        (first, second, third)
        for first in range(twojmax + 1)
        for second in range(first + 1)
        for third in range(first - second, min(twojmax, first + second) + 1, 2)
        if third >= first
    ]


def n_components(twojmax: int, n_chemical: int, quadratic: bool) -> int:
    """Return the number of bispectrum components, with their products where ``quadratic``.

    ``n_chemical`` is the number of elements whose densities are kept apart, 0 where they are not.
    """
    found = len(triples(twojmax)) * max(n_chemical, 1) ** 3
    return found + found * (found + 1) // 2 if quadratic else found


def equalised(coefficients: np.ndarray, twojmax: int, n_chemical: int) -> np.ndarray:
    """Return coefficients (n_elements, n_coefficients) in which equal components have equal ones.

    β0, β and, where there are more, the upper triangle of α: the energy is not changed.
    """
    groups = _groups(twojmax, n_chemical)
    n = len(groups)
    same = (groups[:, None] == groups).astype(float)
    mean = same / same.sum(axis=1)
    found = coefficients.copy()
    found[:, 1 : 1 + n] = coefficients[:, 1 : 1 + n] @ mean
    upper = np.triu_indices(n)
    for row, given in zip(found, coefficients[:, 1 + n :], strict=True):
        if len(given):
            matrix = np.zeros((n, n))
            matrix[upper] = given
            matrix += np.triu(matrix, 1).T
            row[1 + n :] = (mean @ matrix @ mean)[upper]
    return found


def _groups(twojmax: int, n_chemical: int) -> np.ndarray:
    """Return a number for each component, the same for those that are equal."""
    numbers: dict[tuple[tuple[int, int], ...], int] = {}
    return np.array(
        [
            numbers.setdefault(tuple(sorted(zip(momenta, elements, strict=True))), len(numbers))
            for elements in np.ndindex(*(max(n_chemical, 1),) * 3)
            for momenta in triples(twojmax)
        ]
    )
