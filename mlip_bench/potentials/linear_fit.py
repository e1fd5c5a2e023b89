"""Ridge regression of energies, forces and stresses from accumulated normal equations.

Rows come one structure at a time and only their products are kept, so memory does not grow with the
number of structures. One set of products is kept per cross-validation fold; the ridge parameter is chosen by
the held-out errors on the training data, weighted as they are in the fit.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

# Ridge parameters tried, relative to the largest eigenvalue of the scaled normal matrix. The smallest is the
# rounding of the products; the largest damps every direction to half and more, and leaves nothing to fit.
RIDGES = 10.0 ** np.arange(-15, 1)

# Used where there are too few structures to cross-validate: in the middle, on a logarithmic scale.
RIDGE_WITHOUT_VALIDATION = 1e-10

# Of ridges whose held-out errors cannot be told apart the largest is taken: their difference is below this
# share of its own standard error over the folds: with few structures the least alone jumps by many powers of
# ten. On nested folds of training data energies got better or stayed equal on seven of eight sets; forces of
# the embedded Mo set got worse (SNAP 364 to 389 meV/Å, qSNAP 181 to 228), traded for energies by the weights.
INDISTINCT = 0.5

# Share of the sum of squared references below which a held-out error is rounding of the products.
ROUNDING = 1e-14


@dataclass
class Products:
    """Sums over weighted rows: AᵀA (k, k), Aᵀb (k,) and bᵀb."""

    matrix: np.ndarray
    vector: np.ndarray
    square: float = 0.0

    def add(self, rows: np.ndarray, targets: np.ndarray) -> None:
        """Add rows (n, k) with their targets (n,)."""
        self.matrix += rows.T @ rows
        self.vector += rows.T @ targets
        self.square += float(targets @ targets)

    def squared_error(self, coefficients: np.ndarray) -> float:
        """Return the sum of squared residuals of these rows, never below their rounding."""
        fitted = coefficients @ (self.matrix @ coefficients - 2 * self.vector)
        return float(max(fitted + self.square, ROUNDING * self.square))


class NormalEquations:
    """Products per fold, and the ridge solution that cross-validates best.

    Parameters
    ----------
    weights : factor on the rows of each quantity, for example ``{"energy": 300, "forces": 1}``.
    not_deciding : quantities that are fitted like all others and have no say in the choice of the ridge.
    """

    def __init__(self, weights: dict[str, float], not_deciding: Collection[str] = ()):
        self.weights = weights
        self._not_deciding = frozenset(not_deciding)
        # By fold, and by whether the rows decide: a second matrix is kept only where some do not.
        self._folds: dict[int, dict[bool, Products]] = {}

    def add(self, fold: int, quantity: str, rows: np.ndarray, targets: np.ndarray) -> None:
        """Add the rows (n, k) of one quantity of one structure, unweighted, with targets (n,)."""
        weight = self.weights[quantity]
        if weight == 0:
            return
        products = self._folds.setdefault(fold, {})
        decides = quantity not in self._not_deciding
        if decides not in products:
            n_columns = rows.shape[1]
            products[decides] = Products(np.zeros((n_columns, n_columns)), np.zeros(n_columns))
        products[decides].add(weight * rows, weight * targets)

    def solve(self) -> tuple[np.ndarray, float]:
        """Return the coefficients (k,) and the ridge parameter chosen.

        With B = DᵀAᵀWAD the normal matrix scaled to unit diagonal, the coefficients are
        D (B + ρ λ_max 1)⁻¹ DᵀAᵀWb, where ρ is the ridge parameter.
        """
        errors = self._held_out_errors()
        ridge = _largest_indistinct(errors) if len(errors) > 1 else RIDGE_WITHOUT_VALIDATION
        return self._decompose(list(self._folds)).coefficients(ridge), ridge

    def _held_out_errors(self) -> np.ndarray:
        """Return the root of the weighted squared error of each fold that decides, (n_folds, n_ridges).

        The root, so that one fold with a strange structure does not decide alone.
        """
        found = []
        for held_out, products in self._folds.items():
            kept = [fold for fold in self._folds if fold != held_out]
            if True not in products or not kept:
                continue
            solver = self._decompose(kept)
            squares = [products[True].squared_error(solver.coefficients(ridge)) for ridge in RIDGES]
            found.append(np.sqrt(squares))
        return np.array(found)

    def _decompose(self, folds: Sequence[int]) -> "_Ridge":
        parts = [products for fold in folds for products in self._folds[fold].values()]
        matrix, vector = parts[0].matrix.copy(), parts[0].vector.copy()
        for products in parts[1:]:
            matrix += products.matrix
            vector += products.vector
        return _Ridge(matrix, vector)


def _largest_indistinct(errors: np.ndarray) -> float:
    """Return the largest ridge whose errors (n_folds, n_ridges) are as good as the least."""
    best = int(np.argmin(errors.sum(axis=0)))
    excess = errors - errors[:, [best]]
    noise = excess.std(axis=0, ddof=1) / np.sqrt(len(errors))
    good = excess.mean(axis=0) <= INDISTINCT * noise
    return float(RIDGES[max(index for index in range(best, len(RIDGES)) if good[index])])


def at_edge(ridge: float) -> str:
    """Say where a ridge parameter lies at an end of what is tried; empty elsewhere."""
    if ridge == RIDGES[0]:
        return (
            f"the ridge is the smallest tried, {ridge:g}, the limit of rounding: held-out errors ask for none"
        )
    if ridge == RIDGES[-1]:
        return (
            f"the ridge is the largest tried, {ridge:g}: the data cannot tell the coefficients; "
            "take fewer of them, or more structures"
        )
    return ""


class _Ridge:
    """The eigenvalues of one scaled normal matrix, which give the solution for any ridge.

    The matrix is overwritten: with many columns, one copy more may be too many.
    """

    def __init__(self, matrix: np.ndarray, vector: np.ndarray):
        diagonal = np.diag(matrix)
        # A column without data keeps its zero coefficient.
        self._scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1)), 0)
        scaled = matrix
        scaled *= self._scale[:, None]
        scaled *= self._scale
        self._values, self._vectors = linalg.eigh(scaled, driver="evd", overwrite_a=True)
        self._projected = self._vectors.T @ (vector * self._scale)
        # What the data does not determine stays zero: divided by a small ridge, its rounding would be large.
        rounding = len(diagonal) * np.finfo(float).eps * self._values[-1]
        self._projected[self._values < rounding] = 0.0

    def coefficients(self, ridge: float) -> np.ndarray:
        """Return the coefficients (k,) for one ridge parameter."""
        values = np.maximum(self._values, 0) + ridge * self._values[-1]
        return self._scale * (self._vectors @ (self._projected / values))
