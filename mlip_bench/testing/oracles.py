r"""The heat flux by other routes than ours, written plainly: what a fast one is compared with.

All are slow, and take a potential as a function of a graph (:data:`.graphs.EnergiesOfAtoms`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from matscipy.neighbours import neighbour_list

from mlip_bench.testing.graphs import EnergiesOfAtoms, Neighbours, cell_of


@dataclass(frozen=True)
class Unfolded:
    """A crystal cut open: the atoms of the cell first, then the images within reach of them."""

    atoms: Atoms
    of: np.ndarray
    """The atom of the cell that each is an image of (n_unfolded,)."""


def unfold(atoms: Atoms, reach: float) -> Unfolded:
    """Return the atoms of a periodic cell with all images that are within ``reach`` (Å) of any of them."""
    neighbours, shifts = neighbour_list("jS", atoms, reach)
    images = np.unique(np.column_stack([neighbours, shifts]), axis=0)
    images = images[np.any(images[:, 1:] != 0, axis=1)]
    of = np.concatenate([np.arange(len(atoms)), images[:, 0]])
    positions = np.concatenate(
        [atoms.positions, atoms.positions[images[:, 0]] + images[:, 1:] @ np.array(atoms.cell)]
    )
    return Unfolded(Atoms(atoms.numbers[of], positions), of)


def unfolded_heat_flux(
    energies_of: EnergiesOfAtoms,
    atoms: Atoms,
    velocities: np.ndarray,
    cutoff: float,
    layers: int = 1,
    number: torch.dtype = torch.float64,
) -> np.ndarray:
    """Return the potential part (3,) of the heat flux in eV Å/fs by unfolding the cell.

    J = Σ_i Σ_j (r_i - r_j) (∂U_i/∂r_j · v_j), i over the cell and j over the atoms and images around it
    (Langer, Knoop, Carbogno, Scheffler and Rupp, doi:10.1103/PhysRevB.108.L100302), as the gradients of
    three barycentres Σ r_i U_i with r_i held fixed, and that of Σ U_i. ``atoms`` are periodic; velocities
    (n_atoms, 3) in Å/fs; ``layers`` is how many times messages are passed, each over ``cutoff`` (Å).
    """
    around = unfold(atoms, layers * cutoff)
    n_atoms = len(atoms)
    # A graph is slow to index in torch only for the list; positions are what is differentiated by.
    positions = torch.tensor(around.atoms.positions, dtype=number, requires_grad=True)
    graph = Neighbours(around.atoms, cutoff).graph(positions, cell_of(around.atoms, number))
    energies = energies_of(graph)[:n_atoms]
    fixed = positions.detach()
    moving = torch.tensor(velocities[around.of], dtype=number)
    flux = np.zeros(3)
    for axis in range(3):
        barycentre = (energies * fixed[:n_atoms, axis]).sum()
        flux[axis] = (_gradient(barycentre, positions) * moving).sum()
    power = (_gradient(energies.sum(), positions) * moving).sum(dim=1)
    return flux - (power @ fixed).numpy()


def hardy_heat_flux(
    energies_of: EnergiesOfAtoms,
    atoms: Atoms,
    velocities: np.ndarray,
    cutoff: float,
    number: torch.dtype = torch.float64,
) -> np.ndarray:
    """Return the potential part (3,) of the heat flux in eV Å/fs by Hardy's formula in the periodic cell.

    J = Σ_i Σ_j (r_i - r_j) (∂U_i/∂r_j · v_j), both over the cell, r_i - r_j to the nearest image (Hardy,
    doi:10.1103/PhysRev.132.168): right only where no energy reaches half of the cell. One gradient for
    each atom.
    """
    positions = torch.tensor(atoms.positions, dtype=number, requires_grad=True)
    energies = energies_of(Neighbours(atoms, cutoff).graph(positions, cell_of(atoms, number)))
    moving = torch.tensor(velocities, dtype=number)
    flux = np.zeros(3)
    for i in range(len(atoms)):
        power = (_gradient(energies[i], positions) * moving).sum(dim=1).numpy()
        flux -= power @ atoms.get_distances(i, range(len(atoms)), mic=True, vector=True)
    return flux


def _gradient(value: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value, by, retain_graph=True)[0]
