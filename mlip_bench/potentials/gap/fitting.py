"""A fit by our kernels: sparse points, then the rows of all structures into one triangular factor.

The rows of the next block come on all threads while one of them folds in the last. BLAS has no threads of its
own, so the result does not depend on their number.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.potentials.base import Progress
from mlip_bench.potentials.bounded_map import bounded_map
from mlip_bench.potentials.gap import sparse
from mlip_bench.potentials.gap.covariance import MOVERS, STRAINS, Covariance, Prepared
from mlip_bench.potentials.gap.files import Pair, Part
from mlip_bench.potentials.gap.soap import Soap
from mlip_bench.potentials.gap.solve import Keeper, Triangle
from mlip_bench.potentials.memory import DOUBLE, expected_edges

# Rows that the triangular factor takes at once; structures stay whole.
ROWS_PER_BLOCK = 4096

# Share of a fit's time after which sparse points are chosen.
CHOSEN = 0.05

# Matrices of the size of the triangular factor that stand beside each other while it begins, and blocks of
# rows: one is folded in while the next is made.
FACTORS, BLOCKS = 3, 2


@dataclass(frozen=True)
class Sigmas:
    """Expected errors: what divides the rows."""

    energy: float
    """eV/atom; that of the energy of n atoms is √n of it, as in ``gap_fit``."""
    force: float
    """eV/Å."""
    virial: float
    """eV/atom, likewise; 0 leaves virials out."""
    jitter: float
    """Added to the diagonal of the covariance of the sparse points (eV²)."""


class Fit:
    """One fit, on a pool of threads.

    Parameters
    ----------
    structures : with energies that lack the zero.
    """

    def __init__(
        self,
        structures: Sequence[Atoms],
        sigmas: Sigmas,
        threads: ThreadPoolExecutor,
        keeper: Keeper,
        progress: Progress,
    ):
        self._structures, self._sigmas = structures, sigmas
        self._threads, self._run = threads, partial(bounded_map, threads)
        self._keeper, self._progress = keeper, progress

    def run(
        self, soaps: Sequence[Soap], zeta: int, delta: float, n_sparse: int, pairs: Sequence[Pair], seed: int
    ) -> tuple[list[Part], list[Pair], float]:
        """Return the terms with their fitted weights, and the jitter that was needed.

        ``pairs`` are the pair terms for coefficients of 1.
        """
        kept = self._keeper.read()
        points = self._points(soaps, n_sparse, seed) if kept is None else kept.points
        parts = [
            Part(soap, zeta, np.full(len(one), delta**2), one)
            for soap, one in zip(soaps, points, strict=True)
        ]
        covariance = Covariance(parts, pairs)
        triangle = (
            Triangle.of(covariance.of_sparse_points(), self._sigmas.jitter) if kept is None else kept.triangle
        )
        self._take_all(covariance, triangle, points)
        self._progress(1.0, "solving")
        found = iter(np.split(triangle.coefficients(), covariance.ends))
        fitted_parts = [replace(part, weights=part.weights * next(found)) for part in parts]
        fitted_pairs = [replace(pair, weights=pair.weights * next(found)) for pair in pairs]
        return fitted_parts, fitted_pairs, triangle.jitter

    def _points(self, soaps: Sequence[Soap], n_sparse: int, seed: int) -> list[np.ndarray]:
        generator, found = np.random.default_rng(seed), []
        for index, soap in enumerate(soaps):
            self._progress(CHOSEN * index / len(soaps), "choosing sparse points")
            found.append(sparse.of_environments(soap, self._structures, n_sparse, generator, self._run))
        return found

    def _take_all(self, covariance: Covariance, triangle: Triangle, points: list[np.ndarray]) -> None:
        """Fold in the rows of all structures that the triangle does not have yet."""
        blocks = self._blocks()
        sizes = np.cumsum([0] + [sum(map(self._n_rows, block)) for block in blocks])
        folding: Future[None] | None = None

        def fold(rows: np.ndarray) -> None:
            triangle.take(rows)
            self._keeper.keep(triangle, points)

        for number, block in list(enumerate(blocks))[triangle.n_blocks :]:
            done = sizes[number] / sizes[-1]
            self._progress(CHOSEN + (1 - CHOSEN) * done, f"covariance matrix {100 * done:.0f} %")
            rows = self._rows(covariance, block)
            if folding is not None:
                folding.result()
            folding = self._threads.submit(fold, rows)
        if folding is not None:
            folding.result()

    def _blocks(self) -> list[list[Atoms]]:
        """Return the structures in blocks of not many more rows than one takes at once."""
        blocks: list[list[Atoms]] = []
        room = 0
        for atoms in self._structures:
            if not blocks or self._n_rows(atoms) > room:
                blocks.append([])
                room = ROWS_PER_BLOCK
            blocks[-1].append(atoms)
            room -= self._n_rows(atoms)
        return blocks

    def _has_virial(self, atoms: Atoms) -> bool:
        return self._sigmas.virial > 0 and reference.stress(atoms) is not None

    def _n_rows(self, atoms: Atoms) -> int:
        return 1 + 3 * len(atoms) + STRAINS * self._has_virial(atoms)

    def _rows(self, covariance: Covariance, structures: Sequence[Atoms]) -> np.ndarray:
        """Return the rows of some structures with their targets in the last column, over σ."""
        ends = np.cumsum([self._n_rows(atoms) for atoms in structures])
        rows = np.zeros((ends[-1], covariance.n_columns + 1), order="F")
        ready = list(self._run(covariance.prepare, structures))
        own = [rows[end - self._n_rows(atoms) : end] for end, atoms in zip(ends, structures, strict=True)]
        pieces = [
            (index, species, movers)
            for index, atoms in enumerate(structures)
            for species, movers in covariance.pieces(atoms.numbers)
        ]

        def fill(piece: tuple[int, int, np.ndarray]) -> np.ndarray:
            index, species, movers = piece
            with_strain = self._has_virial(structures[index])
            found, strain = covariance.of_atoms(ready[index], species, movers, with_strain)
            places = (1 + 3 * movers[:, None] + np.arange(3)).ravel()
            own[index][places, :-1] = found.reshape(len(places), -1) / self._sigmas.force
            return strain

        for (index, _, _), strain in zip(pieces, self._run(fill, pieces), strict=True):
            if len(strain):
                own[index][-STRAINS:, :-1] += strain
        for atoms, mine, one in zip(structures, own, ready, strict=True):
            self._set_rest(atoms, mine, one)
        return rows

    def _set_rest(self, atoms: Atoms, rows: np.ndarray, ready: Prepared) -> None:
        """Set the row of the energy of a structure, and all its targets."""
        root, sigmas = np.sqrt(len(atoms)), self._sigmas
        rows[0, :-1] = ready.energies / (sigmas.energy * root)
        rows[0, -1] = reference.energy(atoms) / (sigmas.energy * root)
        rows[1 : 1 + 3 * len(atoms), -1] = -reference.forces(atoms).ravel() / sigmas.force
        if self._has_virial(atoms):
            stress = reference.stress(atoms)
            assert stress is not None  # of a structure with a virial
            rows[-STRAINS:, -1] = atoms.get_volume() * stress
            rows[-STRAINS:] /= sigmas.virial * root


def expected_bytes(
    structures: Sequence[Atoms], soap: Soap, n_sparse: int, n_columns: int, n_threads: int
) -> float:
    """Estimate the memory of a fit: factors, the rows of one block, and what each thread works with."""
    largest = max(len(atoms) for atoms in structures)
    n_atoms = largest + ROWS_PER_BLOCK / 3
    near = max(expected_edges(atoms, soap.cutoff) / len(atoms) for atoms in structures)
    of_pairs = 3 * MOVERS * near * (n_sparse + soap.dimensions)
    of_atoms = 2 * n_columns + 4 * soap.dimensions
    of_blocks = BLOCKS * 3 * n_atoms * n_columns + n_atoms * of_atoms
    numbers = FACTORS * n_columns**2 + of_blocks + n_threads * of_pairs
    return DOUBLE * numbers + DOUBLE * soap.dimensions * sparse.ROWS
