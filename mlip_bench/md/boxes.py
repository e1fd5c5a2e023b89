"""Structures to run dynamics on: a cell repeated to the size asked for, and its atoms moved at random."""

import numpy as np
from ase import Atoms

# How far (Å, standard deviation) atoms are moved at random, about as far as heat moves them.
RATTLE = 0.05


def repeats(atoms: Atoms, n_atoms: int) -> np.ndarray:
    """Return how often (3,) to repeat a cell, always along its shortest direction, to ``n_atoms`` or more."""
    times = np.ones(3, dtype=int)
    lengths = atoms.cell.lengths()
    while len(atoms) * times.prod() < n_atoms:
        times[np.argmin(lengths * times)] += 1
    return times


def repeated_to(atoms: Atoms, n_atoms: int) -> Atoms:
    """Repeat a cell as :func:`repeats` says."""
    return atoms.repeat(tuple(map(int, repeats(atoms, n_atoms))))


def part_of_repeated(atoms: Atoms, n_atoms: int) -> tuple[Atoms, tuple[int, int, int]]:
    """Return an eighth of :func:`repeated_to`, or as small a part as halves make, and its own repeats."""
    times = repeats(atoms, n_atoms)
    own = np.where(times % 2 == 0, 2, 1)
    x, y, z = map(int, own)
    return atoms.repeat(tuple(map(int, times // own))), (x, y, z)


def rattled(atoms: Atoms) -> Atoms:
    """Return a structure with its atoms moved at random (seed 0)."""
    moved = atoms.copy()
    moved.rattle(RATTLE, seed=0)
    return moved
