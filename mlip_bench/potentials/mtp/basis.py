r"""The basis of moment tensor potentials of a level: which contractions there are, and how to compute them.

A basis function is a full contraction of one to four moment tensors M_{μ,ν} (Shapeev, doi:10.1137/15M1054183;
Novikov et al., doi:10.1088/2632-2153/abc9fe, equations 2 to 5). It is a multigraph: a node for each tensor,
an edge for each pair of contracted indices, so ν is the number of edges at a node. The level of a tensor is
2 + 4μ + ν, that of a contraction the sum over its tensors; a basis of level L has all contractions up to L.

They are computed as MLIP's files describe it: a list of products ``M[target] += factor · M[left] · M[right]``
of components, shared between all contractions. Which tensors are contracted first is chosen for each
contraction so that the fewest products are added.
"""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, permutations, product
from math import factorial, prod
from pathlib import Path

import numpy as np
import platformdirs

MAX_TENSORS = 4
"""Tensors in a contraction, as in MLIP's own bases."""

CUTS = 3
"""Cuts that are tried for each contraction; more give hardly fewer products and take much longer."""

FORMAT = 2
"""Of cached bases; to be raised when ``build`` gives other tables."""

Exponents = tuple[int, int, int]
"""Powers of x, y and z."""


@dataclass(frozen=True)
class Basis:
    """The tables of MLIP's files, under their names."""

    index_basic: np.ndarray
    """(n_basic, 4): μ and the powers of x, y, z of each component of the moment tensors."""
    index_times: np.ndarray
    """(n_times, 4): left, right, factor, target."""
    moments_count: int
    moment_mapping: np.ndarray
    """(n_scalar,): where the basis functions stand among the moments."""

    @property
    def level(self) -> int:
        """The level: the largest M_{0,ν} occurs contracted with itself, at 2 (2 + ν)."""
        degree = int(self.index_basic[self.index_basic[:, 0] == 0, 1:].sum(1).max())
        return 2 * (2 + degree) if len(self.moment_mapping) > 1 else 2

    @property
    def radial_functions(self) -> int:
        """The number of radial functions, one for each μ."""
        return int(self.index_basic[:, 0].max()) + 1


@dataclass(frozen=True)
class Tensor:
    """Some tensors, contracted with each other; indices may be left open.

    ``nodes`` has μ of each, ``edges[a][b]`` how many indices of a and b are contracted, and ``open`` the
    powers of x, y, z of each node's open indices: so this is one component.
    """

    nodes: tuple[int, ...]
    edges: tuple[tuple[int, ...], ...]
    open: tuple[Exponents, ...]

    @lru_cache(None)  # noqa: B019  # few enough, and asked for again and again
    def canonical(self) -> "Tensor":
        """Return the same component with its nodes in the one order that all equal ones share."""
        if len(self.nodes) == 1:
            return self
        return min(
            (self.ordered(order) for order in permutations(range(len(self.nodes)))),
            key=lambda other: (other.nodes, other.edges, other.open),
        )

    def ordered(self, order: tuple[int, ...]) -> "Tensor":
        """Return it with its nodes in another order, or some of its nodes only."""
        return Tensor(
            tuple(self.nodes[a] for a in order),
            tuple(tuple(self.edges[a][b] for b in order) for a in order),
            tuple(self.open[a] for a in order),
        )


def scalars(level: int) -> list[Tensor]:
    """Return all different full contractions up to a level, those of few tensors first."""
    found: dict[Tensor, None] = {}
    for n_nodes in range(1, MAX_TENSORS + 1):
        pairs = [(a, b) for a in range(n_nodes) for b in range(a)]
        for nodes in combinations_with_replacement(range(level // 4 + 1), n_nodes):
            n_edges = (level - sum(2 + 4 * mu for mu in nodes)) // 2
            for counts in _compositions(n_edges, len(pairs)):
                edges = [[0] * n_nodes for _ in range(n_nodes)]
                for (a, b), count in zip(pairs, counts, strict=True):
                    edges[a][b] = edges[b][a] = count
                tensor = Tensor(nodes, tuple(map(tuple, edges)), ((0, 0, 0),) * n_nodes)
                found[tensor.canonical()] = None
    return list(found)


def _compositions(most: int, n_parts: int) -> Iterator[tuple[int, ...]]:
    """Yield all tuples of that many numbers whose sum is at most ``most``; none where that is negative."""
    if most < 0:
        return
    if n_parts == 0:
        yield ()
        return
    for first in range(most + 1):
        for rest in _compositions(most - first, n_parts - 1):
            yield (first, *rest)


@lru_cache(None)
def monomials(degree: int) -> tuple[Exponents, ...]:
    """Return the powers of x, y, z of all monomials of a degree."""
    return tuple((a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1))


def _multiplicity(powers: Exponents) -> int:
    """Return how many index tuples give the same component."""
    return factorial(sum(powers)) // (factorial(powers[0]) * factorial(powers[1]) * factorial(powers[2]))


def _plus(one: Exponents, other: Exponents) -> Exponents:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


Products = dict[tuple[Tensor, Tensor], int]
"""Pairs of components, and how often their product occurs in the sum."""


@lru_cache(None)
def contraction(tensor: Tensor, left: tuple[int, ...], right: tuple[int, ...]) -> Products:
    """Write a component as a sum of products of components of two parts of its nodes."""
    crossing = [(a, b) for a in left for b in right if tensor.edges[a][b]]
    found: Products = {}
    for indices in product(*(monomials(tensor.edges[a][b]) for a, b in crossing)):
        opened = list(tensor.open)
        factor = 1
        for (a, b), powers in zip(crossing, indices, strict=True):
            opened[a], opened[b] = _plus(opened[a], powers), _plus(opened[b], powers)
            factor *= _multiplicity(powers)
        whole = Tensor(tensor.nodes, tensor.edges, tuple(opened))
        parts = sorted(
            (whole.ordered(left).canonical(), whole.ordered(right).canonical()),
            key=lambda part: (part.nodes, part.edges, part.open),
        )
        pair = (parts[0], parts[1])
        found[pair] = found.get(pair, 0) + factor
    return found


@lru_cache(None)
def _splits(edges: tuple[tuple[int, ...], ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return ways to cut the nodes of a graph into two parts: those over the fewest terms."""
    found = []
    for mask in range(1, 2 ** (len(edges) - 1)):
        left = tuple(a for a in range(len(edges)) if mask >> a & 1)
        right = tuple(a for a in range(len(edges)) if a not in left)
        n_terms = prod(len(monomials(edges[a][b])) for a in left for b in right)
        found.append((n_terms, left, right))
    return [(left, right) for _, left, right in sorted(found)[:CUTS]]


class _Builder:
    """Collects the components and products that the contractions need."""

    def __init__(self) -> None:
        self.basic: set[Tensor] = set()
        self.derived: dict[Tensor, Products] = {}

    def add(self, tensor: Tensor) -> None:
        """Make a component known by the cut of its nodes that adds the fewest products."""
        options = (self._missing(tensor, split) for split in _splits(tensor.edges))
        best = min(options, key=lambda missing: sum(map(len, missing.values())), default={})
        if len(tensor.nodes) == 1:
            self.basic.add(tensor)
        self.derived |= best
        for products in best.values():
            self.basic |= {part for pair in products for part in pair if len(part.nodes) == 1}

    def _missing(
        self, tensor: Tensor, split: tuple[tuple[int, ...], tuple[int, ...]]
    ) -> dict[Tensor, Products]:
        """Return what must be computed for a component by this cut, its parts before itself."""
        needed: dict[Tensor, Products] = {}
        products = contraction(tensor, *split)
        for pair in products:
            for part in pair:
                if len(part.nodes) > 1 and part not in self.derived and part not in needed:
                    needed |= self._cheapest(part)
        return needed | {tensor: products}

    def _cheapest(self, tensor: Tensor) -> dict[Tensor, Products]:
        options = (self._missing(tensor, split) for split in _splits(tensor.edges))
        return min(options, key=lambda missing: sum(map(len, missing.values())))


def build(level: int) -> Basis:
    """Work out the basis of a level."""
    wanted = scalars(level)
    builder = _Builder()
    for tensor in wanted:
        builder.add(tensor)
    # MLIP wants the components of the moment tensors first, by μ and ν.
    basic = [
        (mu, *powers)
        for mu in sorted({tensor.nodes[0] for tensor in builder.basic})
        for degree in range(max(sum(t.open[0]) for t in builder.basic if t.nodes[0] == mu) + 1)
        for powers in monomials(degree)
    ]
    place = {Tensor((mu,), ((0,),), ((a, b, c),)): index for index, (mu, a, b, c) in enumerate(basic)}
    times = []
    for tensor, products in builder.derived.items():
        place[tensor] = len(place)
        times += [
            (place[left], place[right], factor, place[tensor]) for (left, right), factor in products.items()
        ]
    return Basis(
        np.array(basic, dtype=np.int32),
        np.array(times, dtype=np.int32).reshape(-1, 4),
        len(place),
        np.array([place[tensor] for tensor in wanted], dtype=np.int32),
    )


def cached(level: int) -> Basis:
    """Return the basis of a level from the user's cache; work it out and put it there where it is missing."""
    path = Path(platformdirs.user_cache_dir("mlip-bench")) / f"mtp-basis-{level}-{FORMAT}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as kept:
        count = int(kept["moments_count"])
        return Basis(kept["index_basic"], kept["index_times"], count, kept["moment_mapping"])
    basis = build(level)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.{os.getpid()}.npz")
        np.savez(partial, **vars(basis))
        partial.replace(path)
    return basis
