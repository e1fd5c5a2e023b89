"""Structures as graphs of atoms and edges in torch: many of them side by side are one graph."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.potentials.edges import Edges


@dataclass(frozen=True)
class Graphs:
    """One or more structures, atoms and edges numbered through; values only where they are trained on.

    Lengths are in Å, energies in eV, stresses in eV/Å³ in ASE's sign and order xx yy zz yz xz xy.
    """

    numbers: torch.Tensor
    """Atomic numbers (n_atoms,)."""
    structure: torch.Tensor
    """The structure that each atom is of (n_atoms,)."""
    n_atoms: torch.Tensor
    """Of each structure (n_structures,)."""
    centres: torch.Tensor
    """The atom that an edge starts from (n_edges,), in rising order."""
    neighbours: torch.Tensor
    """The atom that it leads to (n_edges,)."""
    vectors: torch.Tensor
    """From centre to neighbour (n_edges, 3)."""
    volumes: torch.Tensor
    """Of the cells (n_structures,), 1 where there is no three-dimensional one, and so no stress."""
    energies: torch.Tensor | None = None
    """(n_structures,)."""
    forces: torch.Tensor | None = None
    """(n_atoms, 3)."""
    stresses: torch.Tensor | None = None
    """(n_structures, 6), NaN where there is none."""

    def __len__(self) -> int:
        """Return the number of structures."""
        return len(self.n_atoms)

    def to(self, device: str | torch.device, number: torch.dtype | None = None) -> Self:
        """Return the graphs on a device, their real numbers as precise as ``number``."""

        def moved(values: torch.Tensor | None) -> torch.Tensor | None:
            if values is None:
                return None
            return values.to(device, number if values.is_floating_point() else None)

        values: dict[str, Any] = {field.name: moved(getattr(self, field.name)) for field in fields(self)}
        return type(self)(**values)

    def sum_by_structure(self, of_atoms: torch.Tensor) -> torch.Tensor:
        """Add up what atoms have (n_atoms, ...) in each structure (n_structures, ...)."""
        return of_atoms.new_zeros(len(self), *of_atoms.shape[1:]).index_add(0, self.structure, of_atoms)

    def sum_by_centre(self, of_edges: torch.Tensor) -> torch.Tensor:
        """Add up what edges have (n_edges, ...) at their centres (n_atoms, ...)."""
        return of_edges.new_zeros(len(self.numbers), *of_edges.shape[1:]).index_add(0, self.centres, of_edges)


def graph_of(atoms: Atoms, edges: Edges, cutoff: float) -> Graphs:
    """Return one structure, with the edges within ``cutoff`` of a list that is brought up to date."""
    vectors = edges.update(atoms)
    inside = np.flatnonzero((vectors**2).sum(1) < cutoff**2)
    return Graphs(
        numbers=torch.from_numpy(atoms.numbers.astype(np.int64)),
        structure=torch.zeros(len(atoms), dtype=torch.int64),
        n_atoms=torch.tensor([len(atoms)]),
        centres=torch.from_numpy(edges.centres[inside]),
        neighbours=torch.from_numpy(edges.neighbours[inside]),
        vectors=torch.from_numpy(vectors[inside]),
        # Of what has no volume there is no stress; NaN here would spread to the gradients of all others.
        volumes=torch.tensor([atoms.cell.volume if atoms.cell.rank == 3 else 1.0], dtype=torch.float64),
    )


def labelled_graph(atoms: Atoms, cutoff: float, number: torch.dtype = torch.float32) -> Graphs:
    """Return a structure with its reference values, in single precision if nothing else is said."""
    plain = graph_of(atoms, Edges([], cutoff), cutoff)
    stress = reference.stress(atoms)
    values: dict[str, Any] = {
        "energies": torch.tensor([reference.energy(atoms)]),
        "forces": torch.from_numpy(reference.forces(atoms)),
        "stresses": torch.from_numpy(np.full(6, np.nan) if stress is None else stress)[None],
    }
    return Graphs(**(vars(plain) | values)).to("cpu", number)


def joined(graphs: Sequence[Graphs]) -> Graphs:
    """Put graphs side by side into one."""
    if len(graphs) == 1:
        return graphs[0]
    sizes = [len(one.numbers) for one in graphs]
    first_atoms = np.cumsum([0, *sizes[:-1]]).tolist()
    first_structures = np.cumsum([0, *(len(one) for one in graphs[:-1])]).tolist()
    shifted = {"centres": first_atoms, "neighbours": first_atoms, "structure": first_structures}
    values: dict[str, Any] = {}
    for field in fields(Graphs):
        parts = [getattr(one, field.name) for one in graphs]
        if parts[0] is None:
            continue
        if field.name in shifted:
            parts = [part + first for part, first in zip(parts, shifted[field.name], strict=True)]
        values[field.name] = torch.cat(parts)
    return Graphs(**values)


def inverted(graphs: Graphs, signs: torch.Tensor) -> Graphs:
    """Return structures inverted (r to -r, F to -F) where their sign (n_structures,) is -1."""
    of_atoms = signs.to(graphs.vectors)[graphs.structure][:, None]
    assert graphs.forces is not None  # of graphs that are trained on
    turned = {
        "forces": of_atoms * graphs.forces,
        "vectors": of_atoms[graphs.centres] * graphs.vectors,
    }
    return Graphs(**(vars(graphs) | turned))
