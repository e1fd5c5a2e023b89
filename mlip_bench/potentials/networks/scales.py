"""Sizes of what a network is trained on, which its outputs are scaled by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.potentials.networks.graphs import Graphs


@dataclass(frozen=True)
class Scales:
    """Sizes of training data: energies (eV), lengths (Å), and what is per atom.

    The virial of an atom is σV/N in ASE's sign: ``shift`` is the mean of its normal components, ``isotropic``
    the RMS of what is left of them, ``anisotropic`` the RMS of the shear components.
    """

    force: float = 1.0
    """RMS of force components (eV/Å)."""
    neighbours: float = 1.0
    """Mean number of neighbours of an atom, at least 1."""
    isotropic: float = 1.0
    shift: float = 0.0
    anisotropic: float = 1.0


def scales_of(structures: Sequence[Atoms], graphs: Sequence[Graphs]) -> Scales:
    """Measure the scales of training data."""
    forces = np.concatenate([reference.forces(atoms).ravel() for atoms in structures])
    force = float(np.sqrt(np.mean(forces**2))) or 1.0
    n_edges, n_atoms = sum(len(one.centres) for one in graphs), sum(len(one.numbers) for one in graphs)
    neighbours = max(1.0, n_edges / n_atoms)
    virials = virials_of(structures)
    if not len(virials):
        return Scales(force, neighbours)
    shift = float(virials[:, :3].mean())
    isotropic = float(np.sqrt(np.mean((virials[:, :3] - shift) ** 2))) or 1.0
    anisotropic = float(np.sqrt(np.mean(virials[:, 3:] ** 2))) or 1.0
    return Scales(force, neighbours, isotropic, shift, anisotropic)


def virials_of(structures: Sequence[Atoms]) -> np.ndarray:
    """Return σV/N (n, 6) in eV of the structures that have a stress, in ASE's sign and order."""
    known = [
        stress * atoms.get_volume() / len(atoms)
        for atoms in structures
        if (stress := reference.stress(atoms)) is not None
    ]
    return np.array(known).reshape(-1, 6)
