r"""Sparse points: which atomic environments and distances of the training data a GAP is expanded in.

Environments are chosen by CUR decomposition (Mahoney, Drineas, doi:10.1073/pnas.0803205106), as ``gap_fit``
chooses them with ``sparse_method=cur_points``. With the singular vectors v of the matrix of all different
power spectra of an element, (environments, components), environment i is drawn with the probability

.. math:: p_i = \min\left(1, \frac{m}{r} \sum_{ξ=1}^{r} v_{iξ}^2\right)

for m sparse points, and r half of the number of singular values that are not 0. The matrix itself is never
made: its triangular factor is that of a few structures at a time, and the vectors follow from it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from scipy import linalg

from mlip_bench.potentials.gap.covariance import Map, neighbourhood, spectra
from mlip_bench.potentials.gap.soap import Soap

# Two environments are one where two sums over their components agree to this.
RESOLUTION = 1e-10

# Singular values below this are 0.
SMALLEST_SINGULAR_VALUE = 1e-13

# Rows that are collected before the triangular factor takes them.
ROWS = 4096


class Environments:
    """The different atomic environments of one element in some structures: their power spectra, on demand."""

    def __init__(self, soap: Soap, structures: Sequence[Atoms], run: Map):
        self._soap, self._structures, self._run = soap, structures, run
        self._kept: list[np.ndarray] = []
        """Of each structure, which of its atoms of the element are unlike all before."""
        self.factor = np.zeros((0, soap.dimensions))
        """R of the matrix of all power spectra (environments, components) = QR."""
        self._read()

    def __len__(self) -> int:
        return sum(len(kept) for kept in self._kept)

    def _all(self) -> Iterable[np.ndarray]:
        return self._run(self._of, self._structures)

    def _of(self, atoms: Atoms) -> np.ndarray:
        if self._soap.centre not in atoms.numbers:
            return np.empty((0, self._soap.dimensions))
        return spectra(self._soap, neighbourhood(atoms, self._soap.cutoff)).unit

    def _read(self) -> None:
        phases = np.arange(1, self._soap.dimensions + 1)
        sums = np.stack([np.sin(phases), np.cos(phases)], axis=1)
        known: set[tuple[int, int]] = set()
        waiting: list[np.ndarray] = []
        for found in self._all():
            kept = []
            for index, key in enumerate(np.round(found @ sums / RESOLUTION).astype(np.int64)):
                if (pair := (int(key[0]), int(key[1]))) not in known:
                    known.add(pair)
                    kept.append(index)
            self._kept.append(np.array(kept, dtype=int))
            waiting.append(found[self._kept[-1]])
            if sum(map(len, waiting)) > ROWS:
                self._take(waiting)
        self._take(waiting)

    def _take(self, waiting: list[np.ndarray]) -> None:
        (self.factor,) = linalg.qr(np.concatenate([self.factor, *waiting]), mode="r", check_finite=False)
        self.factor = self.factor[: self.factor.shape[1]]
        waiting.clear()

    def leverages(self) -> np.ndarray:
        """Return Σ v² / r of each environment, (environments,); they add up to 1."""
        _, singular, right = linalg.svd(self.factor)
        rank = max(1, int((singular > SMALLEST_SINGULAR_VALUE).sum()) // 2)
        to_left = right[:rank].T / singular[:rank]
        found = [
            np.square(one[kept] @ to_left).sum(axis=1)
            for one, kept in zip(self._all(), self._kept, strict=True)
        ]
        return np.concatenate(found) / rank

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        """Return the power spectra (chosen, components) of some environments, in order."""
        ends = np.cumsum([len(kept) for kept in self._kept])
        owners = np.searchsorted(ends, chosen, side="right")
        used = np.unique(owners)
        found = self._run(self._of, [self._structures[index] for index in used])
        rows = [
            one[self._kept[index]][chosen[owners == index] - (ends[index] - len(self._kept[index]))]
            for index, one in zip(used, found, strict=True)
        ]
        return np.concatenate(rows)


def of_environments(
    soap: Soap, structures: Sequence[Atoms], n_sparse: int, generator: np.random.Generator, run: Map = map
) -> np.ndarray:
    """Return the power spectra of the sparse points of an element, (n_sparse, components).

    There are fewer where the structures have fewer different environments.
    """
    environments = Environments(soap, structures, run)
    if len(environments) <= n_sparse:
        return environments[np.arange(len(environments))]
    probabilities = np.minimum(1, n_sparse * environments.leverages())
    ranks = np.argsort(generator.random(len(environments)) - probabilities, kind="stable")
    return environments[np.sort(ranks[:n_sparse])]


def of_distances(lengths: np.ndarray, n_sparse: int) -> np.ndarray:
    """Return the sparse points of a pair term (Å), (n_sparse,), evenly over the distances of the data.

    There are no more of them than different distances.
    """
    return np.linspace(lengths.min(), lengths.max(), min(n_sparse, len(lengths)))
