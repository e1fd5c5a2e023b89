r"""The axes that forces are made of: vectors that turn with the structure.

**Moments** are sums over neighbours with the terms of the symmetry functions as weights, smooth because
these are. A radial function gives :math:`A_i = \sum_j g(r_{ij}) u_{ij}`, an angular function of one pair of
elements (b, c) with the terms :math:`t_{jk}` of its triples :math:`A_i = \sum_{jk} t_{jk} u_{ij}` with j of
element b, and another one with k of element c (their sum where b and c are the same). With channels
:math:`s_q(j)`, squashed principal components of the fingerprint of the neighbour, a radial function gives
:math:`A_i = \sum_j g(r_{ij}) s_q(j) u_{ij}`, too: the force of a neighbour depends on what is around it.
All vanish at a centre of inversion, and at every site whose symmetry allows no vector.

**Ranked** axes are the unit vectors to the nearest neighbours, by distance, as in Mailoa et al.
(doi:10.1038/s42256-019-0098-0; there "internal axes"). They jump where two neighbours change their ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy import linalg

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
class Channels:
    """What neighbours are told of each other: s_q = 2 tanh(z_q / 2), with z linear in the fingerprint."""

    offsets: list[np.ndarray]
    """(n_channels,) of each element."""
    slopes: list[np.ndarray]
    """(n_functions, n_channels) of each element."""

    @classmethod
    def learnt(cls, values: Sequence[np.ndarray], n_channels: int) -> "Channels":
        """Return the leading principal components, of unit variance, of each element's fingerprints.

        ``values`` are (n_atoms, n_functions) of each element. Where fingerprints have fewer directions, the
        rest of the channels is zero.
        """
        offsets, slopes = [], []
        for of_element in values:
            mean, width = of_element.mean(0), _widths(of_element)
            _, lengths, directions = linalg.svd((of_element - mean) / width, full_matrices=False)
            spread = lengths / np.sqrt(len(of_element))
            slope = np.zeros((of_element.shape[1], n_channels))
            n = int((spread[:n_channels] > SHORTEST * spread[0]).sum()) if spread[0] > 0 else 0
            slope[:, :n] = directions[:n].T / spread[:n] / width[:, None]
            # Which way a direction points is up to the decomposition; the largest part is made positive.
            slope *= np.sign(slope[np.abs(slope).argmax(0), np.arange(n_channels)] + (slope == 0).all(0))
            offsets.append(-mean @ slope)
            slopes.append(slope)
        return cls(offsets, slopes)

    def of(self, species: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return s of each atom, (n_atoms, n_channels)."""
        found = np.empty((len(species), len(self.offsets[0])))
        for kind, (offset, slope) in enumerate(zip(self.offsets, self.slopes, strict=True)):
            mine = species == kind
            found[mine] = 2 * np.tanh((values[mine][:, : len(slope)] @ slope + offset) / 2)
        return found


def _widths(values: np.ndarray) -> np.ndarray:
    width = values.std(0)
    return np.where(width > 0, width, 1.0)


@dataclass(frozen=True)
class Moments:
    """Moments of the neighbours: which there are of each element, and how they are computed."""

    layout: Tables
    channels: Channels | None = None

    @property
    def n_axes(self) -> tuple[int, ...]:
        """Number of axes of each element."""
        return tuple(
            own + self.n_channels * len(radial)
            for own, radial in zip(self._of_functions, self.layout.radial, strict=True)
        )

    @property
    def n_channels(self) -> int:
        """Number of channels of neighbours."""
        return 0 if self.channels is None else len(self.channels.offsets[0])

    @property
    def _of_functions(self) -> list[int]:
        """Return the number of axes of each element that go with its functions."""
        n_elements = len(self.layout.elements)
        counts = []
        for radial, blocks in zip(self.layout.radial, self.layout.blocks, strict=True):
            pairs, begins, ends = blocks.T
            sides = 1 + (pairs // n_elements != pairs % n_elements)
            counts.append(len(radial) + int((sides * (ends - begins)).sum()))
        return counts

    def __call__(self, around: Surroundings, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return functions (n_atoms, n_functions) and axes (n_atoms, n_axes, 3), filled up with zeros."""
        layout = self.layout
        edges = kernel.edges_with_weights(vectors, layout.cutoffs, layout.switch, layout.etas)
        values, axes = kernel.functions_and_axes(
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
        if self.channels is not None:
            kernel.axes_of_channels(
                around.first,
                around.neighbours,
                around.species,
                edges,
                layout.radial,
                self.channels.of(around.species, values),
                np.array(self._of_functions),
                axes,
            )
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

    def __call__(self, around: Surroundings, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return functions (n_atoms, n_functions) and axes (n_atoms, n_ranked, 3); missing ones are zero."""
        values, _ = Moments(self.layout)(around, vectors)
        axes, _ = kernel.nearest(around.first, vectors, self.layout.cutoff, self.n_ranked)
        return values, axes


Axes = Moments | Ranked


def described(axes: Axes, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return species (n_atoms,), functions and axes of one structure."""
    around = Surroundings(axes.layout.elements, axes.layout.cutoff)
    vectors = around.update(atoms)
    return around.species, *axes(around, vectors)


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
