"""Training data of the networks: scaled symmetry functions, their derivatives, and what to reproduce."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.potentials.symmetry_functions.descriptors import Descriptors, Scaling


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
    )


def _table(owners: np.ndarray, n_owners: int) -> np.ndarray:
    """Return for each owner the places where it stands in ``owners``, padded with the length of that."""
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=n_owners)
    table = np.full((n_owners, counts.max(initial=1)), len(owners))
    table[np.arange(table.shape[1]) < counts[:, None]] = order
    return table
