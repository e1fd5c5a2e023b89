"""Test structures that are training structures in another cell: supercells, other axes, rotated, reordered.

Each atom is described by the distances of its neighbours, sorted, for each element of theirs: no choice of
cell, axes or order changes them, and they follow small movements steadily. Structures are the same where
their atoms have the same neighbours, in the same shares. A mirror image is the same, as its energy is.
"""

from collections.abc import Iterator, Sequence
from math import gcd
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from matscipy.neighbours import neighbour_list
from scipy.spatial import cKDTree

# Neighbours are looked at up to this distance (Å), and so many of each element; up to the lesser one first,
# which most structures differ by, and which takes a fifth of the time.
REACH, LESSER_REACH, NEIGHBOURS = 6.0, 3.5, 40

# Distances of the same structures differ by less than this (Å): in the mean over atoms and neighbours, and
# in that over the neighbours of one atom. Noise of 1e-3 Å in the positions makes about 2e-3 Å of either.
SAME_ON_AVERAGE, SAME_AROUND_ATOM = 3e-3, 6e-3

# Volumes per atom differ by less than this share.
SAME_VOLUME = 1e-3

# Of a test structure so many of training, the likest, are looked at in full.
MOST_LIKE = 10

# Structures that are described, at most: as many take some seconds.
MOST_TRAIN, MOST_TEST = 4000, 1000


class Search(NamedTuple):
    """What was found, and among which."""

    found: list[int]
    """Indices of the test structures that are the same matter as a training structure."""
    one_in_train: int
    """Of very many structures that may be the same, every so many are looked at."""
    one_in_test: int


def in_training(train: Sequence[Atoms], test: Sequence[Atoms]) -> Search:
    """Look for test structures that are the same matter as a training structure."""
    kinds: dict[tuple, tuple[list[int], list[int]]] = {}
    for side, structures in enumerate((train, test)):
        for index, atoms in enumerate(structures):
            kinds.setdefault(_kind(atoms), ([], []))[side].append(index)
    shared = {kind: sides for kind, sides in kinds.items() if all(sides)}
    partners = [_partners(train, test, *sides) for sides in shared.values()]
    one_in_train, one_in_test = (
        -(-sum(len(sides[side]) for sides in partners) // most) or 1
        for side, most in ((0, MOST_TRAIN), (1, MOST_TEST))
    )
    found: list[int] = []
    for sides in partners:
        trained, tested = sides[0][::one_in_train], sides[1][::one_in_test]
        described: dict[int, _Surroundings] = {}
        for index, places in _alike([train[one] for one in trained], [test[one] for one in tested]):
            for place in places:
                if place not in described:
                    described[place] = _Surroundings(train[trained[place]], REACH)
            one = _Surroundings(test[tested[index]], REACH)
            if any(one.same_as(described[place]) for place in places):
                found.append(tested[index])
    return Search(sorted(found), one_in_train, one_in_test)


def _alike(train: Sequence[Atoms], test: Sequence[Atoms]) -> Iterator[tuple[int, list[int]]]:
    """Yield places of test structures, and of those in training whose nearest neighbours are as far."""
    if not train or not test:
        return
    tree = cKDTree([_Surroundings(atoms, LESSER_REACH).mean for atoms in train])
    for index, atoms in enumerate(test):
        mean = _Surroundings(atoms, LESSER_REACH).mean
        limit = SAME_ON_AVERAGE * np.sqrt(len(mean))
        apart, places = tree.query(mean, k=range(1, MOST_LIKE + 1), distance_upper_bound=limit)
        if np.isfinite(apart[0]):
            yield index, places[np.isfinite(apart)].tolist()


def _kind(atoms: Atoms) -> tuple:
    """Return composition, in least whole numbers, and number of periodic directions."""
    elements, counts = np.unique(atoms.numbers, return_counts=True)
    return (tuple(elements.tolist()), tuple((counts // gcd(*counts.tolist())).tolist()), int(atoms.pbc.sum()))


def _partners(
    train: Sequence[Atoms], test: Sequence[Atoms], trained: list[int], tested: list[int]
) -> tuple[list[int], list[int]]:
    """Return those whose volume per atom some structure on the other side has, too."""
    of_train = np.array([_log_volume(train[index]) for index in trained])
    of_test = np.array([_log_volume(test[index]) for index in tested])
    kept = []
    for members, own, other in ((trained, of_train, of_test), (tested, of_test, of_train)):
        others = np.sort(other)
        low, high = (np.searchsorted(others, own + shift) for shift in (-SAME_VOLUME, SAME_VOLUME))
        kept.append([members[place] for place in np.flatnonzero(high > low)])
    return kept[0], kept[1]


def _log_volume(atoms: Atoms) -> float:
    return float(np.log(atoms.get_volume() / len(atoms))) if atoms.pbc.all() else 0.0


class _Surroundings:
    """Sorted distances around each atom of a structure, Å."""

    def __init__(self, atoms: Atoms, reach: float):
        elements, kinds = np.unique(atoms.numbers, return_inverse=True)
        first, second, distances = neighbour_list(
            "ijd", positions=atoms.positions, cell=complete_cell(atoms.cell), pbc=atoms.pbc, cutoff=reach
        )
        # Each neighbour's place in the row of its atom, among those of its element.
        group = first * len(elements) + kinds[second]
        order = np.lexsort((distances, group))
        group, distances = group[order], distances[order]
        place = np.arange(len(group)) - np.searchsorted(group, group)
        near = place < NEIGHBOURS
        rows = np.full((len(atoms) * len(elements), NEIGHBOURS), reach)
        rows[group[near], place[near]] = distances[near]
        rows = rows.reshape(len(atoms), -1)
        self._of_element = [rows[kinds == kind] for kind in range(len(elements))]
        self.mean = np.concatenate([part.mean(axis=0) for part in self._of_element])

    def same_as(self, other: "_Surroundings") -> bool:
        """Tell whether each atom has its like in the other structure, and the shares are the same."""
        if np.square(self.mean - other.mean).mean() > SAME_ON_AVERAGE**2:
            return False
        limit = SAME_AROUND_ATOM * np.sqrt(self._of_element[0].shape[1])
        return all(
            bool((cKDTree(one).query(two)[0] < limit).all() and (cKDTree(two).query(one)[0] < limit).all())
            for one, two in zip(self._of_element, other._of_element, strict=True)
        )
