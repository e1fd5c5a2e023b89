r"""The axes that forces are made of: vectors that turn with the structure.

**Moments** are sums over neighbours with the terms of the symmetry functions as weights, smooth because
these are. A radial function gives :math:`A_i = \sum_j g(r_{ij}) u_{ij}`, an angular function of one pair of
elements (b, c) with the terms :math:`t_{jk}` of its triples :math:`A_i = \sum_{jk} t_{jk} u_{ij}` with j of
element b, and another one with k of element c (their sum where b and c are the same). They vanish at a centre
of inversion, and at every site whose symmetry allows no vector.

**Ranked** axes are the unit vectors to the nearest neighbours, by distance, as in Mailoa et al.
(doi:10.1038/s42256-019-0098-0; there "internal axes"). They jump where two neighbours change their ranks.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy import linalg

from mlip_bench.potentials.atom_ranges import over_atoms
from mlip_bench.potentials.nnff import kernel
from mlip_bench.potentials.symmetry_functions.geometry import Neighbourhood, Tables

MOMENTS, RANKED = "moments", "ranked"
KINDS = (MOMENTS, RANKED)

# Axes that are shorter than this share of the longest (root mean square over the training data) are left out:
# symmetry keeps them at zero, but for rounding.
SHORTEST = 1e-9

# Ranked axes whose least singular value is below this lie nearly in a plane.
NEARLY_COPLANAR = 0.1

# Of more atoms so many, drawn at random, decide which axes are kept.
MOST_ATOMS = 4000


class Surroundings(Neighbourhood):
    """Edges and triples of one structure, the triples of each centre by their pairs of elements."""

    def _built(self, vectors: np.ndarray) -> None:
        super()._built(vectors)
        n_pairs = self._n_elements**2
        self.by_pair, self.begins = kernel.sorted_triples(self.start, self.triples, self.pair, n_pairs)


@dataclass(frozen=True)
class Moments:
    """Moments of the neighbours: which there are of each element, and how they are computed."""

    layout: Tables

    @property
    def n_axes(self) -> tuple[int, ...]:
        """Number of axes of each element."""
        n_elements, counts = len(self.layout.elements), []
        for radial, blocks in zip(self.layout.radial, self.layout.blocks, strict=True):
            pairs, begins, ends = blocks.T
            sides = 1 + (pairs // n_elements != pairs % n_elements)
            counts.append(len(radial) + int((sides * (ends - begins)).sum()))
        return tuple(counts)

    def __call__(self, around: Surroundings, edges: kernel.EdgeTables) -> tuple[np.ndarray, np.ndarray]:
        """Return functions (n_atoms, n_functions) and axes (n_atoms, n_axes, 3), filled up with zeros."""
        layout = self.layout

        def of_range(begin: int, end: int) -> tuple[np.ndarray, ...]:
            found: tuple[np.ndarray, ...] = kernel.functions_and_axes(
                (begin, end),
                around.first,
                around.neighbours,
                around.species,
                len(layout.elements),
                edges,
                around.by_pair,
                around.begins,
                len(layout.etas),
                layout.shapes,
                layout.radial,
                layout.angular,
                layout.blocks,
                max(layout.n_inputs),
                max(self.n_axes),
            )
            return found

        values, axes = over_atoms(len(around.species), around.stepping.threads, of_range)
        return values, axes


@dataclass(frozen=True)
class Ranked:
    """Unit vectors to the nearest neighbours, by rank."""

    layout: Tables
    n_ranked: int

    @property
    def n_axes(self) -> tuple[int, ...]:
        """Number of axes of each element."""
        return (self.n_ranked,) * len(self.layout.elements)

    def __call__(self, around: Surroundings, edges: kernel.EdgeTables) -> tuple[np.ndarray, np.ndarray]:
        """Return functions (n_atoms, n_functions) and axes (n_atoms, n_ranked, 3); missing ones are zero."""
        values, _ = Moments(self.layout)(around, edges)
        return values, kernel.nearest(around.first, edges, self.n_ranked)


Axes = Moments | Ranked


def edge_tables(layout: Tables, vectors: np.ndarray) -> kernel.EdgeTables:
    """Return what the kernels want to know of the edges (n_edges, 3) of one structure."""
    return kernel.edges_with_weights(vectors, layout.cutoffs, layout.switch, layout.etas)


def described(axes: Axes, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return species (n_atoms,), functions and axes of one structure."""
    around = Surroundings(axes.layout.elements, axes.layout.cutoff)
    edges = edge_tables(axes.layout, around.update(atoms))
    return around.species, *axes(around, edges)


def kept(axes: np.ndarray, n_axes: int) -> np.ndarray:
    """Return which axes (n_atoms, n, 3) to keep: all that do not vanish, or the ``n_axes`` that say most.

    These are the first columns of a QR decomposition with pivoting of the axes, each scaled to unit length:
    each is the one that those before it explain least.
    """
    lengths = np.sqrt((axes**2).mean(axis=(0, 2)))
    there = np.flatnonzero(lengths > SHORTEST * lengths.max(initial=0.0))
    if not n_axes or len(there) <= n_axes:
        return there
    columns = (axes[:, there] / lengths[there][:, None]).transpose(0, 2, 1).reshape(-1, len(there))
    _, pivots = linalg.qr(columns, mode="r", pivoting=True)
    return np.sort(there[pivots[:n_axes]])


def inverse(axes: np.ndarray, regularisation: float) -> np.ndarray:
    """Return (AᵀA + ε 1)⁻¹ Aᵀ of axes A (n_atoms, n, 3) as (n_atoms, 3, n).

    It turns projections on the axes into vectors. Vectors along which there is no axis are zero.
    """
    squares = np.einsum("akx,aky->axy", axes, axes) + regularisation * np.eye(3)
    return np.linalg.solve(squares, axes.transpose(0, 2, 1))


def n_nearly_coplanar(axes: np.ndarray) -> int:
    """Return in how many atoms the axes (n_atoms, n, 3) lie nearly in a plane."""
    if not len(axes):
        return 0
    return int((np.linalg.svd(axes, compute_uv=False)[:, -1] < NEARLY_COPLANAR).sum())
