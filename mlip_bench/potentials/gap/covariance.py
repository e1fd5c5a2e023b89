r"""Covariances of energies, forces and strain derivatives with the sparse points: the rows of a fit.

The energy is linear in the coefficients b of the sparse points. With k(i, k) = δ² (p̂_i · p_k)^ζ of atom i and
sparse point k (Bartók, Csányi, doi:10.1002/qua.24927, equations 22 to 35)

.. math:: E = \sum_k b_k \sum_i k(i, k), \qquad
          \frac{\partial E}{\partial r_j} = \sum_k b_k \sum_i ζ δ^2 (\hat p_i · p_k)^{ζ-1}
          \frac{1}{|p_i|} \left( p_k - (\hat p_i · p_k) \hat p_i \right) · \frac{\partial p_i}{\partial r_j}

and the same by strain. All sparse points at once are products of the matrices (pairs, components) and
(components, sparse points): nearly all of a fit's time. A pair term has columns of its own.

Structures come one by one, their atoms a few at a time on each thread; nothing of the size (data, sparse
points) is kept.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms

from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.gap import gradients, kernel, pairs
from mlip_bench.potentials.gap.files import Pair, Part
from mlip_bench.potentials.gap.soap import Soap

# Atoms whose forces are done at once: products of this many rows are large enough for BLAS, and small enough
# for the cache.
MOVERS = 8

STRAINS = 6
"""Components of a strain: xx yy zz yz xz xy."""

Map = Callable[[Callable, Iterable], Iterable]
"""``map``, or that of a pool of threads."""


class Neighbourhood(NamedTuple):
    """The edges of a structure within a cutoff, by centre, and for each centre by neighbour."""

    numbers: np.ndarray
    """Atomic number of each atom."""
    first: np.ndarray
    """Where the edges of each atom begin; the last one is their number."""
    centres: np.ndarray
    neighbours: np.ndarray
    vectors: np.ndarray
    """(n_edges, 3) in Å."""

    def within(self, cutoff: float) -> "Neighbourhood":
        """Return the edges shorter than a cutoff (Å)."""
        kept = np.square(self.vectors).sum(axis=1) < cutoff**2
        centres = self.centres[kept]
        first = np.searchsorted(centres, np.arange(len(self.numbers) + 1))
        return Neighbourhood(self.numbers, first, centres, self.neighbours[kept], self.vectors[kept])


def neighbourhood(atoms: Atoms, cutoff: float) -> Neighbourhood:
    """Return the edges of a structure."""
    edges = Edges([], cutoff)
    vectors = edges.update(atoms)
    order = np.lexsort((edges.neighbours, edges.centres))
    return Neighbourhood(
        atoms.numbers, edges.first, edges.centres[order], edges.neighbours[order], vectors[order]
    )


class Spectra(NamedTuple):
    """The atoms of one element in a structure."""

    centres: np.ndarray
    """Their indices."""
    densities: np.ndarray
    """(n_centres, functions, lm)."""
    unit: np.ndarray
    """p̂ (n_centres, components)."""
    lengths: np.ndarray
    """|p|."""


def shape_of(soap: Soap) -> kernel.Shape:
    """Return what a descriptor's densities are made of."""
    return kernel.Shape(soap.cutoff, soap.cutoff_transition_width, soap.table, soap.norms)


def kinds_of(soap: Soap, numbers: np.ndarray) -> np.ndarray:
    """Return which species of the descriptor each atomic number is, -1 for those that it does not see."""
    kinds = np.full(119, -1)
    kinds[list(soap.species)] = np.arange(len(soap.species))
    return kinds[numbers]


def spectra(soap: Soap, near: Neighbourhood) -> Spectra:
    """Return densities and power spectra of the atoms that a descriptor is of."""
    centres = np.flatnonzero(near.numbers == soap.centre)
    densities = np.empty((len(centres), len(soap.species) * soap.n_max, (soap.l_max + 1) ** 2))
    kinds = kinds_of(soap, near.numbers)[near.neighbours]
    kernel.densities(centres, near.first, kinds, near.vectors, shape_of(soap), soap.central, densities)
    unit = np.empty((len(centres), soap.dimensions))
    lengths = kernel.power_spectra(densities, soap.l_max, unit)
    return Spectra(centres, densities, unit, lengths)


def powers(products: np.ndarray, exponent: int) -> np.ndarray:
    """Return x^exponent by multiplications, which are exact where the power function is slow."""
    found = np.ones_like(products)
    for _ in range(exponent):
        found *= products
    return found


@dataclass(frozen=True)
class Channel:
    """What of the sparse points the neighbours of one species change."""

    columns: np.ndarray
    scale: np.ndarray
    """Factors of these components."""
    points: np.ndarray
    """The sparse points times these factors, (components, sparse points)."""


class Prepared(NamedTuple):
    """A structure, ready for the rows of its atoms."""

    near: Neighbourhood
    inside: Neighbourhood
    """The edges within the cutoff of the descriptors."""
    densities: np.ndarray
    """Of all atoms, (n_atoms, lm, functions)."""
    places: np.ndarray
    """Where each atom stands among those of its element."""
    spectra: list[Spectra]
    """By part, and so are the next two."""
    slopes: list[np.ndarray]
    """ζ δ² (p̂ · p_k)^(ζ - 1) / |p|, (n_centres, sparse points)."""
    values: list[np.ndarray]
    """These times p̂ · p_k."""
    energies: np.ndarray
    """Covariance of the energy of the structure with all sparse points, (n_columns,)."""


class Covariance:
    """The rows of structures.

    Parameters
    ----------
    parts : SOAP terms of all elements, with the same hyper-parameters.
    pair_terms : pair terms. The weights of all are those for coefficients b of 1: δ², for pairs times f_cut
        at the sparse points.
    """

    def __init__(self, parts: Sequence[Part], pair_terms: Sequence[Pair]):
        self._parts, self._pairs = list(parts), list(pair_terms)
        sizes = [len(part.weights) for part in self._parts] + [len(pair.weights) for pair in self._pairs]
        ends = np.cumsum([0, *sizes])
        self._slices = [slice(*ends[k : k + 2]) for k in range(len(sizes))]
        self.ends = ends[1:-1]
        """Where the columns of one term end and those of the next begin."""
        self.n_columns = int(ends[-1])
        self._soap = self._parts[0].soap
        self._reach = max([self._soap.cutoff] + [pair.cutoff for pair in self._pairs])
        self._shape = shape_of(self._soap)
        self._channels = [
            [_channel(part, index) for index in range(len(part.soap.species))] for part in self._parts
        ]
        self._buffers = threading.local()

    def of_sparse_points(self) -> np.ndarray:
        """Return the covariance of all sparse points with each other, (n_columns, n_columns)."""
        found = np.zeros((self.n_columns, self.n_columns))
        for part, where in zip(self._parts, self._slices, strict=False):
            found[where, where] = part.weights * powers(part.points @ part.points.T, part.zeta)
        for pair, where in zip(self._pairs, self._slices[len(self._parts) :], strict=True):
            away = np.subtract.outer(pair.points, pair.points) / pair.theta
            smooth, _ = pairs.smooth_cutoff(pair.points, pair.cutoff, pair.width)
            found[where, where] = pair.weights * smooth[:, None] * np.exp(-0.5 * away**2)
        return found

    def prepare(self, atoms: Atoms) -> Prepared:
        """Return what all rows of a structure start from."""
        near = neighbourhood(atoms, self._reach)
        inside = near.within(self._soap.cutoff)
        n_functions = len(self._soap.species) * self._soap.n_max
        densities = np.zeros((len(atoms), (self._soap.l_max + 1) ** 2, n_functions))
        places, energies = np.zeros(len(atoms), np.int64), np.zeros(self.n_columns)
        found, slopes, values = [], [], []
        for part, where in zip(self._parts, self._slices, strict=False):
            one = spectra(part.soap, inside)
            places[one.centres] = np.arange(len(one.centres))
            densities[one.centres] = one.densities.transpose(0, 2, 1)
            products = one.unit @ part.points.T
            slope = powers(products, part.zeta - 1)
            energies[where] = part.weights * np.einsum("ik,ik->k", slope, products)
            slope *= part.zeta * part.weights / one.lengths[:, None]
            found.append(one)
            slopes.append(slope)
            values.append(products * slope)
        for pair, where in zip(self._pairs, self._slices[len(self._parts) :], strict=True):
            vectors = near.vectors[_counting(pair, near, np.arange(len(near.centres)))]
            energies[where] = pair_covariances(pair, vectors)[0].sum(axis=0)
        return Prepared(near, inside, densities, places, found, slopes, values, energies)

    def pieces(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the atoms whose forces are done at once: the part that they belong to, and their indices."""
        for index, part in enumerate(self._parts):
            atoms = np.flatnonzero(numbers == part.soap.centre)
            for begin in range(0, len(atoms), MOVERS):
                yield index, atoms[begin : begin + MOVERS]

    def of_atoms(
        self, ready: Prepared, species: int, movers: np.ndarray, with_strain: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of ∂E/∂r of some atoms of a part, (movers, 3, n_columns), and of their strain.

        That is their share of ∂E/∂ε (STRAINS, n_columns), empty where it is not asked for.
        """
        rows = np.zeros((len(movers), 3, self.n_columns))
        strain = np.zeros((STRAINS if with_strain else 0, self.n_columns))
        for index in range(len(self._parts)):
            self._add_neighbours(ready, index, species, movers, rows[:, :, self._slices[index]])
        self._add_own(
            ready, species, movers, rows[:, :, self._slices[species]], strain[:, self._slices[species]]
        )
        if self._pairs:
            self._add_pairs(ready.near, movers, rows, strain)
        return rows, strain

    def _add_neighbours(
        self, ready: Prepared, index: int, species: int, movers: np.ndarray, out: np.ndarray
    ) -> None:
        """Add what the atoms of one part feel of the movers."""
        part, near = self._parts[index], ready.inside
        channel = self._channels[index][self._channel_of(species)]
        kinds = np.where(near.numbers[near.neighbours] == part.soap.centre, 0, -1)
        most = sum(int((kinds[near.first[j] : near.first[j + 1]] == 0).sum()) for j in movers)
        rows = self._buffer("rows", (most, 3, len(channel.columns)))
        centres, limits = np.empty(most, np.int64), np.empty(len(movers) + 1, np.int64)
        gradients.neighbour_rows(
            movers, near.first, near.neighbours, kinds, near.vectors, self._shape, ready.densities,
            self._channel_of(species), rows, centres, limits,
        )  # fmt: skip
        n_pairs = int(limits[-1])
        if n_pairs == 0:
            return
        rows, centres = rows[:n_pairs], ready.places[centres[:n_pairs]]
        unit = ready.spectra[index].unit[:, channel.columns] * channel.scale
        products = self._buffer("products", (n_pairs, 3, len(part.weights)))
        np.matmul(rows.reshape(3 * n_pairs, -1), channel.points, out=products.reshape(3 * n_pairs, -1))
        along = gradients.along_spectra(rows, unit, centres)
        found = np.zeros((len(movers), 3, len(part.weights)))
        gradients.add_covariances(
            products, along, centres, limits, ready.slopes[index], ready.values[index], found
        )
        out += found

    def _add_own(
        self, ready: Prepared, index: int, movers: np.ndarray, out: np.ndarray, strain: np.ndarray
    ) -> None:
        """Add what the movers feel of their own position, and of strain where there is room for it."""
        part, near, one = self._parts[index], ready.inside, ready.spectra[index]
        places = ready.places[movers]
        rows = np.empty((len(movers), 3 + len(strain), part.soap.dimensions))
        kinds = kinds_of(part.soap, near.numbers)[near.neighbours]
        gradients.own_rows(
            movers, near.first, near.neighbours, kinds, near.vectors, self._shape,
            one.densities[places], rows,
        )  # fmt: skip
        # One product of two matrices, not one for each mover.
        flat = rows.reshape(-1, part.soap.dimensions) @ part.points.T
        products = flat.reshape(*rows.shape[:2], -1)
        along = gradients.along_spectra(rows, one.unit, places)
        found = np.zeros((len(movers), rows.shape[1], len(part.weights)))
        limits = np.arange(len(movers) + 1)
        gradients.add_covariances(
            products, along, places, limits, ready.slopes[index], ready.values[index], found
        )
        out += found[:, :3]
        strain += found[:, 3:].sum(axis=0)

    def _add_pairs(
        self, near: Neighbourhood, movers: np.ndarray, rows: np.ndarray, strain: np.ndarray
    ) -> None:
        """Add what the pair terms of the movers feel."""
        edges = np.concatenate([np.arange(near.first[j], near.first[j + 1]) for j in movers])
        owners = np.repeat(np.arange(len(movers)), np.diff(near.first)[movers])
        for pair, where in zip(self._pairs, self._slices[len(self._parts) :], strict=True):
            counts = _counting(pair, near, edges)
            vectors = near.vectors[edges[counts]]
            _, by_vectors = pair_covariances(pair, vectors)
            moved = near.neighbours[edges[counts]] != near.centres[edges[counts]]
            # Both directions of a pair pull at its atoms.
            np.add.at(rows[:, :, where], owners[counts][moved], -2 * by_vectors[moved])
            if len(strain):
                for row, (z, x) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
                    strain[row, where] += vectors[:, z] @ by_vectors[:, x]

    def _channel_of(self, index: int) -> int:
        return self._soap.species.index(self._parts[index].soap.centre)

    def _buffer(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return room for numbers that this thread has kept from before: fresh memory costs time."""
        size = int(np.prod(shape))
        kept = getattr(self._buffers, name, None)
        if kept is None or len(kept) < size:
            kept = np.empty(size)
            setattr(self._buffers, name, kept)
        return kept[:size].reshape(shape)


def _channel(part: Part, index: int) -> Channel:
    soap = part.soap
    columns = gradients.columns(soap.n_max, soap.l_max, len(soap.species), index)
    scale = gradients.factors(soap.n_max, soap.l_max, len(soap.species))[columns]
    return Channel(columns, scale, np.ascontiguousarray((part.points[:, columns] * scale).T))


def _counting(pair: Pair, near: Neighbourhood, edges: np.ndarray) -> np.ndarray:
    """Tell which of some edges a pair term is of."""
    one, other = near.numbers[near.centres[edges]], near.numbers[near.neighbours[edges]]
    is_short = np.square(near.vectors[edges]).sum(axis=1) < pair.cutoff**2
    return pair.counts(one, other) & is_short


def pair_covariances(pair: Pair, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariances of edges (n_edges, sparse points) and gradients (n_edges, 3, sparse points)."""
    lengths = np.linalg.norm(vectors, axis=1)
    smooth, slope = pairs.smooth_cutoff(lengths, pair.cutoff, pair.width)
    away = np.subtract.outer(lengths, pair.points)
    terms = pair.weights * np.exp(-0.5 * (away / pair.theta) ** 2)
    along = (slope[:, None] - smooth[:, None] * away / pair.theta**2) * terms
    return smooth[:, None] * terms, (vectors / lengths[:, None])[:, :, None] * along[:, None, :]
