"""Structures as graphs in torch, of which positions and cell can be varied."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from mlip_bench.potentials.edges import Edges


@dataclass(frozen=True)
class Graph:
    """Atoms and the edges between them, one in each direction, from centre to neighbour."""

    numbers: torch.Tensor
    """Atomic numbers (n_atoms,)."""
    centres: torch.Tensor
    """(n_edges,)."""
    neighbours: torch.Tensor
    """(n_edges,)."""
    vectors: torch.Tensor
    """From centre to neighbour (n_edges, 3), in Å."""


EnergiesOfAtoms = Callable[[Graph], torch.Tensor]
"""A potential: the energies of atoms (n_atoms,) in eV, which torch can differentiate by the vectors."""


class Neighbours:
    """Which atoms of a structure are connected, and across which faces of the cell, while they move."""

    def __init__(self, atoms: Atoms, cutoff: float):
        edges = Edges([], cutoff)
        edges.update(atoms)
        self.numbers = torch.from_numpy(atoms.numbers.astype(np.int64))
        self.centres, self.neighbours = torch.from_numpy(edges.centres), torch.from_numpy(edges.neighbours)
        self.shifts = torch.from_numpy(edges.shifts)

    def graph(self, positions: torch.Tensor, cell: torch.Tensor) -> Graph:
        """Return the graph of positions (n_atoms, 3) in a cell (3, 3), in Å."""
        vectors = positions[self.neighbours] - positions[self.centres] + self.shifts.to(cell.dtype) @ cell
        return Graph(self.numbers, self.centres, self.neighbours, vectors)


def cell_of(atoms: Atoms, number: torch.dtype = torch.float64) -> torch.Tensor:
    """Return the cell (3, 3) in Å, zero along open directions."""
    return torch.tensor(np.array(atoms.cell), dtype=number)
