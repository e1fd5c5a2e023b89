"""Ridge regression of energies, forces and stresses from accumulated normal equations.

Rows come one structure at a time and only their products are kept, so memory does not grow with the
number of structures. One set of products is kept per cross-validation fold; the ridge parameter is the
one with the least held-out error on the training data.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy import linalg

from mlip_bench.data import structures as reference

# Ridge parameters tried, relative to the largest eigenvalue of the scaled normal matrix. Below the
# smallest, rounding of the products (1e-16) would be fitted; above the largest, errors only grow.
RIDGES = 10.0 ** np.arange(-13, -4)

# Used where there are too few structures to cross-validate: in the middle, on a logarithmic scale.
RIDGE_WITHOUT_VALIDATION = 1e-10


@dataclass
class Products:
    """Sums over rows of one quantity: AᵀA (k, k), Aᵀb (k,), bᵀb, and the number of rows."""

    matrix: np.ndarray
    vector: np.ndarray
    square: float = 0.0
    count: int = 0

    def add(self, rows: np.ndarray, targets: np.ndarray) -> None:
        """Add rows (n, k) with their targets (n,)."""
        self.matrix += rows.T @ rows
        self.vector += rows.T @ targets
        self.square += float(targets @ targets)
        self.count += len(targets)

    def mean_square(self, coefficients: np.ndarray) -> float:
        """Return the mean squared residual of these rows."""
        fitted = coefficients @ (self.matrix @ coefficients - 2 * self.vector)
        return max(fitted + self.square, 0.0) / self.count


class NormalEquations:
    """Products per fold and per quantity, and the ridge solution that cross-validates best.

    Parameters
    ----------
    weights : factor on the rows of each quantity, for example ``{"energy": 300, "forces": 1}``.
    """

    def __init__(self, weights: dict[str, float]):
        self.weights = weights
        self._folds: dict[int, dict[str, Products]] = {}

    def add(self, fold: int, quantity: str, rows: np.ndarray, targets: np.ndarray) -> None:
        """Add the rows (n, k) of one quantity of one structure, unweighted, with targets (n,)."""
        if self.weights[quantity] == 0:
            return
        products = self._folds.setdefault(fold, {})
        if quantity not in products:
            n_columns = rows.shape[1]
            products[quantity] = Products(np.zeros((n_columns, n_columns)), np.zeros(n_columns))
        products[quantity].add(rows, targets)

    def solve(self) -> tuple[np.ndarray, float]:
        """Return the coefficients (k,) and the ridge parameter chosen.

        With B = DᵀAᵀWAD the normal matrix scaled to unit diagonal, the coefficients are
        D (B + ρ λ_max 1)⁻¹ DᵀAᵀWb, where ρ is the ridge parameter.
        """
        ridge = self._cross_validated_ridge() if len(self._folds) > 1 else RIDGE_WITHOUT_VALIDATION
        return self._decompose(list(self._folds)).coefficients(ridge), ridge

    def _cross_validated_ridge(self) -> float:
        """Return the ridge of least held-out error: the product over quantities, so free of units."""
        errors: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(RIDGES)))
        for held_out, products in self._folds.items():
            solver = self._decompose([fold for fold in self._folds if fold != held_out])
            for index, ridge in enumerate(RIDGES):
                coefficients = solver.coefficients(ridge)
                for quantity, product in products.items():
                    errors[quantity][index] += product.mean_square(coefficients)
        score = sum(np.log(np.maximum(error, np.finfo(float).tiny)) for error in errors.values())
        return float(RIDGES[int(np.argmin(score))])

    def _decompose(self, folds: Sequence[int]) -> "_Ridge":
        matrix: np.ndarray | float = 0.0
        vector: np.ndarray | float = 0.0
        for fold in folds:
            for quantity, products in self._folds[fold].items():
                matrix = matrix + self.weights[quantity] ** 2 * products.matrix
                vector = vector + self.weights[quantity] ** 2 * products.vector
        return _Ridge(np.asarray(matrix), np.asarray(vector))


class _Ridge:
    """The eigenvalues of one scaled normal matrix, which give the solution for any ridge."""

    def __init__(self, matrix: np.ndarray, vector: np.ndarray):
        diagonal = np.diag(matrix)
        # A column without data keeps its zero coefficient.
        self._scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1)), 0)
        scaled = matrix * self._scale[:, None] * self._scale
        self._values, self._vectors = linalg.eigh(scaled, driver="evd", overwrite_a=True)
        self._projected = self._vectors.T @ (vector * self._scale)

    def coefficients(self, ridge: float) -> np.ndarray:
        """Return the coefficients (k,) for one ridge parameter."""
        values = np.maximum(self._values, 0) + ridge * self._values[-1]
        return self._scale * (self._vectors @ (self._projected / values))


def stratified_folds(structures: Sequence[Atoms], n_folds: int, seed: int) -> list[int]:
    """Return the fold of each structure: every group is spread evenly, at random, over the folds."""
    generator = np.random.default_rng(seed)
    members: dict[str, list[int]] = defaultdict(list)
    for index, atoms in enumerate(structures):
        members[reference.group(atoms)].append(index)
    shuffled = [index for name in sorted(members) for index in generator.permutation(members[name])]
    fold = np.empty(len(structures), dtype=int)
    fold[shuffled] = np.arange(len(structures)) % n_folds
    return fold.tolist()
