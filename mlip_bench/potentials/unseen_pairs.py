"""Pairs of elements that are never within the cutoff of each other in training.

Nothing is learnt of these, whatever a potential says: a fit leaves their parameters as they were, or zero.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from mlip_bench.data.geometry import in_periodic_box

Pairs = tuple[tuple[str, str], ...]


def of(structures: Sequence[Atoms], elements: Sequence[str], cutoff: float) -> Pairs:
    """Return the pairs of elements, each in alphabetical order, of which no atoms are within the cutoff."""
    missing = {tuple(sorted(pair)) for pair in combinations_with_replacement(elements, 2)}
    for atoms in structures:
        present = set(atoms.get_chemical_symbols())
        if not any(present.issuperset(pair) for pair in missing):
            continue
        first, second = _neighbours(atoms, cutoff)
        symbols = np.array(atoms.get_chemical_symbols())
        missing -= {tuple(sorted(pair)) for pair in zip(symbols[first], symbols[second], strict=True)}
    return tuple((str(one), str(other)) for one, other in sorted(missing))


def n_atoms_of(atoms: Atoms, pairs: Pairs, cutoff: float) -> int:
    """Return how many atoms of a structure have a neighbour with which they are one of the pairs."""
    if not any({*pair} <= set(atoms.symbols) for pair in pairs):
        return 0
    first, second = _neighbours(atoms, cutoff)
    symbols = np.array(atoms.get_chemical_symbols())
    concerned = [
        index
        for index, one, other in zip(first, symbols[first], symbols[second], strict=True)
        if tuple(sorted((one, other))) in pairs
    ]
    return len(set(concerned))


def sentence(pairs: Pairs, cutoff: float) -> str:
    """Say which pairs a potential knows nothing of."""
    names = ", ".join("-".join(pair) for pair in pairs)
    return (
        f"no two atoms of {names} are within the cutoff of {cutoff:g} Å of each other in training, so "
        "nothing was learnt of them; atoms with such a neighbour count as extrapolating"
    )


def _neighbours(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    first, second = neighbour_list("ij", in_periodic_box(atoms, cutoff), cutoff)
    return first, second
