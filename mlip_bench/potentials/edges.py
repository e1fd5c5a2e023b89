"""Neighbour lists that are kept from step to step: what every family with its own kernels starts from."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from matscipy.neighbours import neighbour_list
from numba import njit

from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.potentials.stepping import Stepping


@njit(cache=True)
def edge_vectors(
    first: np.ndarray, neighbours: np.ndarray, shifts: np.ndarray, positions: np.ndarray, cell: np.ndarray
) -> np.ndarray:
    """Return the vectors (n_edges, 3) from each centre to its neighbours, in the cells that they are in."""
    vectors = np.empty((len(neighbours), 3))
    for i in range(len(first) - 1):
        for e in range(first[i], first[i + 1]):
            j = neighbours[e]
            for x in range(3):
                moved = positions[j, x] - positions[i, x]
                for y in range(3):
                    moved += shifts[e, y] * cell[y, x]
                vectors[e, x] = moved
    return vectors


class Edges:
    """The edges i→j of one structure, by centre; kept for later steps while the skin allows.

    A list made with cutoff + skin holds every pair within the cutoff as long as
    2 u + ‖F - 1‖ (cutoff + skin) < skin, with u the largest displacement beside the cell's deformation F.
    The skin is a number (Å), or that of how steps are done.
    """

    def __init__(self, elements: Sequence[str], cutoff: float, skin: float | Stepping = 0.0):
        self._numbers = np.zeros(119, np.int64)
        for index, element in enumerate(elements):
            self._numbers[atomic_numbers[element]] = index
        self._n_elements = len(elements)
        self.stepping = skin if isinstance(skin, Stepping) else Stepping(skin)
        self._cutoff, self._skin = cutoff, self.stepping.skin
        self._positions = np.empty((0, 3))
        self._cell = np.zeros((3, 3))
        self._atomic_numbers = np.empty(0, int)
        self._pbc = np.zeros(3, bool)

    @property
    def reach(self) -> float:
        """Cutoff and skin (Å) of the list as it was built."""
        return self._cutoff + self._skin

    def update(self, atoms: Atoms) -> np.ndarray:
        """Return the edge vectors (n_edges, 3) of the structure as it is now."""
        cell = np.array(atoms.cell)
        if not self._is_valid(atoms, cell):
            self._build(atoms, cell)
        return edge_vectors(self.first, self.neighbours, self.shifts, atoms.positions, cell)

    def _is_valid(self, atoms: Atoms, cell: np.ndarray) -> bool:
        if self._skin == 0 or self._skin != self.stepping.skin or self.stepping.always:
            return False
        if len(atoms) != len(self._positions):
            return False
        if not (np.array_equal(atoms.numbers, self._atomic_numbers) and np.array_equal(atoms.pbc, self._pbc)):
            return False
        return skin_used(self._positions, self._cell, atoms.positions, cell, self.reach) < self._skin

    def _build(self, atoms: Atoms, cell: np.ndarray) -> None:
        self._skin = self.stepping.skin
        self.stepping.n_builds += 1
        boxed = in_periodic_box(atoms, self.reach)
        centres, neighbours, shifts, vectors = neighbour_list("ijSD", boxed, self.reach)
        self.centres, self.neighbours = centres.astype(np.int64), neighbours.astype(np.int64)
        self.shifts = shifts.astype(np.int64)
        self.first = np.searchsorted(self.centres, np.arange(len(atoms) + 1))
        self.species = self._numbers[atoms.numbers]
        self._built(vectors)
        self._positions, self._cell = atoms.positions.copy(), cell
        self._atomic_numbers, self._pbc = atoms.numbers.copy(), atoms.pbc.copy()

    def _built(self, vectors: np.ndarray) -> None:
        """Derive from a new list (edge vectors (n_edges, 3)) what else a family keeps with it."""


def skin_used(
    before: np.ndarray, cell_before: np.ndarray, positions: np.ndarray, cell: np.ndarray, reach: float
) -> float:
    """Return how much (Å) of its skin a list has used up since atoms and cell were as ``before``."""
    deformation = np.eye(3)
    if not np.array_equal(cell, cell_before):
        if np.linalg.matrix_rank(cell_before) < 3:
            return np.inf  # nothing says how far atoms went along an open direction
        deformation = np.linalg.solve(cell_before, cell)
    moved = positions - before @ deformation
    largest = float(np.sqrt((moved**2).sum(1).max()))
    strain = float(np.linalg.norm(deformation - np.eye(3), 2))
    return 2 * largest + strain * reach
