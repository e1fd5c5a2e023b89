"""Neighbour lists, triples, and the tables of symmetry functions as the kernels want them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.potentials.symmetry_functions import kernel
from mlip_bench.potentials.symmetry_functions.functions import Angular, Radial, SymmetryFunctions


@dataclass(frozen=True)
class Tables:
    """Symmetry functions as arrays; species are numbered in the order of ``elements``."""

    elements: tuple[str, ...]
    cutoffs: np.ndarray
    """All cutoffs (Å), ascending."""
    switch: tuple[int, float]
    """Number of the cutoff function and its inner part α."""
    etas: np.ndarray
    """Rows (η, R_s, index of the cutoff, 1 for wide functions) of the angular functions."""
    shapes: np.ndarray
    radial: tuple[np.ndarray, ...]
    angular: tuple[np.ndarray, ...]
    blocks: tuple[np.ndarray, ...]
    """Per element rows (pair of elements, first angular function, last + 1)."""
    order: tuple[tuple[Radial | Angular, ...], ...]
    """The function behind each input of each element's network."""

    @property
    def cutoff(self) -> float:
        """The largest cutoff (Å)."""
        return float(self.cutoffs[-1])

    @property
    def wide(self) -> bool:
        """Whether there are functions of neighbours that are further apart than the cutoff."""
        return bool(self.etas[:, 3].any())

    @property
    def n_inputs(self) -> tuple[int, ...]:
        """Number of functions of each element."""
        return tuple(len(functions) for functions in self.order)


def tables(functions: SymmetryFunctions, elements: Sequence[str]) -> Tables:
    """Arrange the functions so that those that share a pair of elements and a shape stand together."""
    number = {element: index for index, element in enumerate(elements)}
    cutoffs = functions.cutoffs
    etas = sorted({_gaussian(function, cutoffs) for function in functions.angular})
    shapes = sorted({(function.lam, function.zeta) for function in functions.angular})
    radial, angular = [], []
    order: list[tuple[Radial | Angular, ...]] = []
    for element in elements:
        mine = sorted(
            (f for f in functions.radial if f.centre == element),
            key=lambda f: (number[f.neighbour], f.cutoff, f.eta, f.shift),
        )
        angles = sorted(
            (f for f in functions.angular if f.centre == element),
            key=lambda f: (_pair(f, number), shapes.index((f.lam, f.zeta)), f.eta, f.cutoff, f.shift, f.wide),
        )
        rows = [[number[f.neighbour], f.eta, f.shift, cutoffs.index(f.cutoff)] for f in mine]
        radial.append(np.array(rows, float).reshape(-1, 4))
        indices = [
            [_pair(f, number), etas.index(_gaussian(f, cutoffs)), shapes.index((f.lam, f.zeta))]
            for f in angles
        ]
        angular.append(np.array(indices, np.int64).reshape(-1, 3))
        order.append((*mine, *angles))
    return Tables(
        tuple(elements),
        np.array(cutoffs, float),
        (int(functions.switch), functions.alpha),
        np.array(etas, float).reshape(-1, 4),
        np.array(shapes, float).reshape(-1, 2),
        tuple(radial),
        tuple(angular),
        tuple(map(_blocks, angular)),
        tuple(order),
    )


def _blocks(angles: np.ndarray) -> np.ndarray:
    """Find where each pair of elements begins and ends in rows that are sorted by pair, (n_pairs, 3)."""
    pairs, begin = np.unique(angles[:, 0], return_index=True)
    return np.column_stack([pairs, begin, np.append(begin, len(angles))[1:]]).astype(np.int64).reshape(-1, 3)


def _gaussian(function: Angular, cutoffs: list[float]) -> tuple[float, float, int, int]:
    return function.eta, function.shift, cutoffs.index(function.cutoff), int(function.wide)


def _pair(function: Angular, number: dict[str, int]) -> int:
    low, high = sorted(number[element] for element in function.neighbours)
    return low * len(number) + high


class Neighbourhood(Edges):
    """Edges and triples of one structure: pairs of edges of a centre, with the edge that closes them.

    For ``wide`` functions any two neighbours are such a pair, and the list reaches to twice the cutoff.
    """

    def __init__(
        self, elements: Sequence[str], cutoff: float, skin: float | Stepping = 0.0, wide: bool = False
    ):
        super().__init__(elements, cutoff, skin)
        self._wide = wide

    @property
    def reach(self) -> float:
        """How far (Å) the list reaches, as it was built."""
        return (2 if self._wide else 1) * super().reach

    def _built(self, vectors: np.ndarray) -> None:
        # Slightly less, so that rounding never asks for a closing edge that the list lacks.
        closing = self.reach * (1 - 1e-9)
        near = super().reach if self._wide else np.inf
        self.start = kernel.count_triples(self.first, vectors, near, closing)
        self.triples = kernel.fill_triples(
            self.first, self.neighbours, self.shifts, vectors, near, closing, self.start
        )
        kinds = self.species[self.neighbours]
        one, other = kinds[self.triples[0]], kinds[self.triples[1]]
        self.pair = np.minimum(one, other) * self._n_elements + np.maximum(one, other)
