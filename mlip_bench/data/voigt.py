"""Stress as a vector of six and as a matrix: the one place that knows the order xx yy zz yz xz xy."""

import numpy as np


def to_matrix(voigt: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix (3, 3) of a vector (6,)."""
    return np.asarray(voigt)[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]


def from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Return the vector (6,) of a symmetric matrix (3, 3)."""
    return np.asarray(matrix)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
