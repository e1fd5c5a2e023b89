"""Structures to run dynamics on: a cell repeated to the size asked for, and its atoms moved at random."""

import numpy as np
from ase import Atoms

# How far (Å, standard deviation) atoms are moved at random, about as far as heat moves them.
RATTLE = 0.05


def repeated_to(atoms: Atoms, n_atoms: int) -> Atoms:
    """Repeat a cell, always along its shortest direction, until it has at least ``n_atoms`` atoms."""
    times = np.ones(3, dtype=int)
    lengths = atoms.cell.lengths()
    while len(atoms) * times.prod() < n_atoms:
        times[np.argmin(lengths * times)] += 1
    return atoms.repeat(tuple(int(time) for time in times))


def rattled(atoms: Atoms) -> Atoms:
    """Return a structure with its atoms moved at random (seed 0)."""
    moved = atoms.copy()
    moved.rattle(RATTLE, seed=0)
    return moved
