"""Training data of the networks: scaled symmetry functions, their derivatives, and what to reproduce."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.potentials.symmetry_functions import kernel
from mlip_bench.potentials.symmetry_functions.geometry import Neighbourhood, Tables


class Descriptors(NamedTuple):
    """The symmetry functions of one structure."""

    species: np.ndarray
    first: np.ndarray
    """Where the edges of each atom begin, (n_atoms + 1,)."""
    neighbours: np.ndarray
    values: np.ndarray
    """(n_atoms, n)"""
    jacobian: np.ndarray
    """Derivatives, (n_edges, 3, n), single precision; no edges where only values were asked for."""


@dataclass
class Scaling:
    """Least and largest value of each input on the training data, per element."""

    low: list[np.ndarray]
    high: list[np.ndarray]

    @property
    def factors(self) -> list[np.ndarray]:
        """What scales each input to 0..1; a constant input keeps its unit."""
        return [
            1 / np.where(high > low, high - low, 1.0) for low, high in zip(self.low, self.high, strict=True)
        ]


def descriptors(atoms: Atoms, tables: Tables, derive: bool = True) -> Descriptors:
    """Compute the symmetry functions of one structure, and their derivatives unless ``derive`` is False."""
    around = Neighbourhood(tables.elements, tables.cutoff, wide=tables.wide)
    vectors = around.update(atoms)
    values, jacobian = kernel.values_and_jacobian(
        around.first,
        around.neighbours,
        around.species,
        vectors,
        around.start,
        around.triples,
        around.pair,
        tables.cutoffs,
        tables.switch,
        tables.etas,
        tables.shapes,
        tables.radial,
        tables.angular,
        tables.blocks,
        max(tables.n_inputs),
        derive,
    )
    single = jacobian.astype(np.float32)
    neighbours = around.neighbours if derive else np.empty(0, np.int64)
    return Descriptors(around.species, around.first, neighbours, values, single)


def scaling(raw: Sequence[Descriptors], tables: Tables) -> Scaling:
    """Find the range of each input over all atoms of each element."""
    low, high = [], []
    for species, n_inputs in enumerate(tables.n_inputs):
        rows = np.concatenate([one.values[one.species == species, :n_inputs] for one in raw])
        low.append(rows.min(0))
        high.append(rows.max(0))
    return Scaling(low, high)


@dataclass
class Samples:
    """Structures, their atoms and their edges i→j one after the other, edges by centre i.

    Atoms and edges end with a row of zeros, which the index tables use as padding. Arrays are of numpy, or of
    torch on a GPU (:meth:`on_torch`); index tables stay with numpy.
    """

    inputs: Any
    """(n_atoms + 1, n_inputs), scaled."""
    jacobian: Any
    """(n_edges + 1, 3, n_inputs), single precision: derivatives of the inputs of i by the position of j."""
    outward: Any
    """(n_atoms + 1, 3, n_inputs): the sum of the jacobian over the edges of each atom."""
    energies: Any
    """(n_structures,), in the trainer's unit."""
    forces: Any
    """(n_atoms, 3)."""
    n_atoms: np.ndarray
    """(n_structures,)"""
    species: np.ndarray
    """(n_atoms + 1,); -1 for the padding."""
    centres: np.ndarray
    """(n_edges + 1,)"""
    neighbours: np.ndarray
    """(n_edges,)"""
    first_edge: np.ndarray
    """(n_atoms + 1,): where each atom's edges begin."""
    members: np.ndarray
    """(n_structures, most atoms): the atoms of each structure."""
    incoming: np.ndarray
    """(n_atoms, most): the edges that end at each atom."""
    outgoing: np.ndarray
    """(n_atoms, most): the edges that begin at each atom."""

    @property
    def first_atom(self) -> np.ndarray:
        """(n_structures + 1,): where each structure's atoms begin."""
        return np.concatenate([[0], np.cumsum(self.n_atoms)])

    def on_torch(self, device: str) -> "Samples":
        """Return the same with its numbers as tensors on a device of torch."""
        import torch

        names = ("inputs", "jacobian", "outward", "energies", "forces")
        moved = {name: torch.as_tensor(getattr(self, name), device=device) for name in names}
        return Samples(**(vars(self) | moved))


def join(
    structures: Sequence[Atoms],
    raw: Sequence[Descriptors],
    ranges: Scaling,
    unit: float,
) -> Samples:
    """Join structures and their descriptors; energies and forces are in ``unit`` (eV, eV/Å)."""
    n_inputs = raw[0].values.shape[1]
    n_atoms = np.array([len(atoms) for atoms in structures])
    n_edges = np.array([len(one.neighbours) for one in raw])
    species = np.concatenate([one.species for one in raw])
    low, factor = np.zeros((len(ranges.low), n_inputs)), np.ones((len(ranges.low), n_inputs))
    for kind, (least, scale) in enumerate(zip(ranges.low, ranges.factors, strict=True)):
        low[kind, : len(least)], factor[kind, : len(scale)] = least, scale
    offsets = np.concatenate([[0], np.cumsum(n_atoms)[:-1]])
    counts = np.concatenate([np.diff(one.first) for one in raw])
    centres = np.repeat(np.arange(n_atoms.sum()), counts)
    neighbours = np.concatenate([one.neighbours + offset for one, offset in zip(raw, offsets, strict=True)])
    inputs = np.zeros((n_atoms.sum() + 1, n_inputs))
    inputs[:-1] = (np.concatenate([one.values for one in raw]) - low[species]) * factor[species]
    jacobian = np.zeros((n_edges.sum() + 1, 3, n_inputs), np.float32)
    outward = np.zeros((n_atoms.sum() + 1, 3, n_inputs))
    bounds = pairwise(np.concatenate([[0], np.cumsum(n_edges)]).tolist())
    for (begin, end), one in zip(bounds, raw, strict=True):
        jacobian[begin:end] = one.jacobian * factor[species[centres[begin:end]]][:, None, :]
    first_edge = np.concatenate([[0], np.cumsum(counts)])
    has_edges = np.flatnonzero(counts)
    if len(has_edges):
        outward[has_edges] = np.add.reduceat(jacobian[:-1], first_edge[has_edges], axis=0)
    forces = np.concatenate([reference.forces(atoms) for atoms in structures])
    energies = np.array([reference.energy(atoms) for atoms in structures])
    return Samples(
        inputs=inputs,
        jacobian=jacobian,
        outward=outward,
        energies=energies / unit,
        forces=forces / unit,
        n_atoms=n_atoms,
        species=np.append(species, -1),
        centres=np.append(centres, len(species)),
        neighbours=neighbours,
        first_edge=first_edge,
        members=_table(np.repeat(np.arange(len(structures)), n_atoms), len(structures)),
        incoming=_table(neighbours, len(species)),
        outgoing=_table(centres, len(species)),
    )


def _table(owners: np.ndarray, n_owners: int) -> np.ndarray:
    """Return for each owner the places where it stands in ``owners``, padded with the length of that."""
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=n_owners)
    table = np.full((n_owners, counts.max(initial=1)), len(owners))
    table[np.arange(table.shape[1]) < counts[:, None]] = order
    return table
