"""Pairs of like frames: the same atoms a little moved or strained, wherever in the data they stand."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.data.duplicates import BLOCK, PROJECTED, Projection
from mlip_bench.data.geometry import atoms_key

# Pairs that are looked at, at most, half of them neighbours and half the nearest: more would say the same.
MOST_PAIRS = 3000

# Among so many frames of the same atoms, at most, the nearest is looked for.
MOST_SEARCHED = 30_000


def like_pairs(structures: Sequence[Atoms]) -> list[tuple[int, int]]:
    """Return indices of frames that may be alike: neighbours in file and in volume, and the nearest.

    Bounded in number and time, whatever the number of frames. Isolated atoms are left out.
    """
    classes: dict[bytes, list[int]] = {}
    for index, atoms in enumerate(structures):
        if not reference.is_isolated_atom(atoms):
            classes.setdefault(atoms_key(atoms), []).append(index)
    classes = {key: members for key, members in classes.items() if len(members) > 1}
    neighbours = {pair for members in classes.values() for pair in _neighbours(structures, members)}
    total = sum(map(len, classes.values()))
    nearest = set()
    for members in classes.values():
        n_asked = max(1, MOST_PAIRS // 2 * len(members) // total)
        nearest |= set(_nearest(structures, members, n_asked))
    return sorted({*_some(sorted(neighbours), MOST_PAIRS // 2), *_some(sorted(nearest), MOST_PAIRS // 2)})


def _some(members: Sequence, most: int) -> Sequence:
    """Return no more than ``most`` of the members, evenly spaced."""
    return members[:: -(-len(members) // most) or 1]


def _neighbours(structures: Sequence[Atoms], members: Sequence[int]) -> Iterator[tuple[int, int]]:
    volumes = [abs(np.linalg.det(structures[index].cell)) for index in members]
    by_volume = [members[place] for place in np.argsort(volumes, kind="stable")]
    for order in (members, by_volume):
        for pair in pairwise(order):
            yield min(pair), max(pair)


def _nearest(structures: Sequence[Atoms], members: Sequence[int], n_asked: int) -> Iterator[tuple[int, int]]:
    """Yield some frames of the same atoms, each with the one that is nearest to it, lower index first."""
    members = _some(members, MOST_SEARCHED)
    frames = [structures[index] for index in members]
    points = (Projection if frames[0].pbc.any() else _Distances)(len(frames[0]))(frames)
    sizes = np.square(points).sum(axis=1)
    asked = np.array(_some(range(len(members)), n_asked))
    for start in range(0, len(asked), BLOCK):
        places = asked[start : start + BLOCK]
        apart = sizes - 2 * points[places] @ points.T
        apart[np.arange(len(places)), places] = np.inf
        for place, other in zip(places.tolist(), np.argmin(apart, axis=1).tolist(), strict=True):
            pair = (members[place], members[other])
            yield min(pair), max(pair)


class _Distances:
    """Molecules as points of distances between their atoms, which no rotation changes."""

    def __init__(self, n_atoms: int):
        self._first, self._second = np.triu_indices(n_atoms, 1)
        if len(self._first) > PROJECTED**2:
            chosen = np.random.default_rng(0).choice(len(self._first), PROJECTED**2, replace=False)
            self._first, self._second = self._first[chosen], self._second[chosen]

    def __call__(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return the points, (n_structures, numbers)."""
        found = [
            np.linalg.norm(atoms.positions[self._first] - atoms.positions[self._second], axis=1).astype("f4")
            for atoms in structures
        ]
        return np.array(found)
