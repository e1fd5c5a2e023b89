r"""The least squares of a sparse Gaussian process, one block of data after the other.

The coefficients b of the sparse points (subset of regressors; Foster et al., Journal of Machine Learning
Research 10, 857 (2009); Bartók, Csányi, doi:10.1002/qua.24927) minimise

.. math:: \sum_n \frac{(y_n - (K_{NM} b)_n)^2}{σ_n^2} + b^T K_{MM} b
          = \left| \begin{pmatrix} Σ^{-1} K_{NM} \\ U \end{pmatrix} b -
            \begin{pmatrix} Σ^{-1} y \\ 0 \end{pmatrix} \right|^2, \qquad U^T U = K_{MM} + j 1

with the jitter j. Products K_MN K_NM would square a condition number of 10^6 and more, so the rows go through
Householder reflections: beginning from U, every block of rows is folded into the triangular factor (TSQR,
Demmel et al., doi:10.1137/080731992). Memory is that of the factor and one block, for any number of rows.
"""

import time
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from scipy import linalg

# Columns that LAPACK reflects at once.
PANEL = 64

# By this much the jitter grows where rounding leaves the covariance of the sparse points indefinite.
JITTER_GROWTH = 10.0

CHECKPOINT_SECONDS = 15.0


class Triangle:
    """The triangular factor of all rows so far, the last column that of their targets."""

    def __init__(self, factor: np.ndarray, jitter: float, n_blocks: int = 0):
        self.factor = factor
        """(n_columns + 1, n_columns + 1), in Fortran's order."""
        self.jitter = jitter
        """The one that was needed."""
        self.n_blocks = n_blocks
        """How many blocks of rows it has taken."""

    @classmethod
    def of(cls, covariance: np.ndarray, jitter: float) -> Self:
        """Begin from the covariance of the sparse points, (n_columns, n_columns)."""
        n_columns = len(covariance)
        while True:
            upper, failed = linalg.lapack.dpotrf(covariance + jitter * np.eye(n_columns), clean=True)
            if failed == 0:
                break
            if not jitter < np.trace(covariance):
                raise RuntimeError("the covariance of the sparse points is not positive with any jitter")
            jitter *= JITTER_GROWTH
        factor = np.zeros((n_columns + 1, n_columns + 1), order="F")
        factor[:-1, :-1] = upper
        return cls(factor, jitter)

    def take(self, rows: np.ndarray) -> None:
        """Fold in rows (n, n_columns + 1) over σ, targets last, in Fortran's order; they are overwritten."""
        panel = min(PANEL, rows.shape[1])
        self.factor, _, _, failed = linalg.lapack.dtpqrt(
            0, panel, self.factor, rows, overwrite_a=True, overwrite_b=True
        )
        assert failed == 0
        self.n_blocks += 1

    def coefficients(self) -> np.ndarray:
        """Return b (n_columns,)."""
        return linalg.solve_triangular(self.factor[:-1, :-1], self.factor[:-1, -1], check_finite=False)


class Kept(NamedTuple):
    """The state of a fit."""

    triangle: Triangle
    points: list[np.ndarray]
    """The sparse points of each SOAP term."""


class Keeper:
    """Keeps a triangle and the sparse points in a folder, so that a killed fit goes on to the same result."""

    def __init__(self, folder: Path | None):
        self._file = None if folder is None else folder / "triangle.npz"
        self._kept = time.monotonic()

    def keep(self, triangle: Triangle, points: list[np.ndarray]) -> None:
        """Write the state, unless that was done a moment ago."""
        if self._file is None or time.monotonic() - self._kept < CHECKPOINT_SECONDS:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial.npz")
        np.savez(partial, *points, factor=triangle.factor, jitter=triangle.jitter, n_blocks=triangle.n_blocks)
        partial.replace(self._file)
        self._kept = time.monotonic()

    def read(self) -> Kept | None:
        """Return the state that was kept, if there is one."""
        if self._file is None or not self._file.is_file():
            return None
        with np.load(self._file) as state:
            points = [state[name] for name in state.files if name.startswith("arr_")]
            factor = np.asfortranarray(state["factor"])
            return Kept(Triangle(factor, float(state["jitter"]), int(state["n_blocks"])), points)
