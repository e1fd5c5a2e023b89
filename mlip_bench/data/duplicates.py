"""Structures that occur more than once, and test structures whose like is in training.

A test structure that is also in training, or a step of a trajectory next to one that is, tells nothing of
structures that a potential has not seen.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from mlip_bench.data import structures as reference
from mlip_bench.data.geometry import atoms_key, displacement, effective_cell, rms, strain

# Atoms of equal geometries differ by less than this (Å): files have a few decimals.
EQUAL = 2e-3
# Labels of equal geometries differ by less than this (eV/atom, eV/Å) if they are of one calculation.
EQUAL_ENERGY, EQUAL_FORCE = 1e-4, 1e-2

# Structures nearer than this (Å, mean displacement of an atom) are all but equal.
ALL_BUT_EQUAL = 0.05
# Neighbours in a trajectory are nearer than this share of what is typical of the same atoms, and their cells
# differ less than this; beyond the distance (Å), the nearest is as far as chance may bring it.
CORRELATED, CORRELATED_DISTANCE = 0.5, 0.5
CORRELATED_STRAIN = 5e-3
# What is typical takes this many structures at least.
LEAST_FRAMES = 10

# Width of the steps in which descriptors are compared first; their origin is at no round number.
STEP, ORIGIN = 1e-2, 3.14159e-3

# Numbers to which positions are projected for the search of the nearest, and structures of a block of it.
PROJECTED, BLOCK = 64, 256

# One of each pair of opposite reciprocal vectors among the first.
WAVES = np.array([wave for wave in product((0, 1, -1), repeat=3) if wave > (0, 0, 0)])


class Nearness(NamedTuple):
    """How near the nearest training structures of the test structures are, where the data can tell."""

    all_but_equal: list[int]
    """Indices of test structures."""
    correlated: list[int]
    distance: float
    """Median of the correlated ones' distances to training, Å."""
    typical: float
    """Median of the distances of two training structures of the same atoms, Å."""


# -- equal geometries -----------------------------------------------------------------------------------


def equal_geometries(structures: Sequence[Atoms]) -> list[list[int]]:
    """Return the indices of the structures of each geometry that occurs more than once.

    Geometries are equal up to a translation, the choice of periodic images, a rotation of a periodic cell
    with its atoms, and the order of the atoms.
    """
    buckets: dict[tuple, list[list[int]]] = {}
    for index, atoms in enumerate(structures):
        groups = buckets.setdefault(_descriptor(atoms), [])
        for group in groups:
            if same_geometry(structures[group[0]], atoms):
                group.append(index)
                break
        else:
            groups.append([index])
    return sorted(group for groups in buckets.values() for group in groups if len(group) > 1)


def _descriptor(atoms: Atoms) -> tuple:
    """Return a key that equal geometries share: atoms, metric of the cell, and sizes of structure factors."""
    cell = effective_cell(atoms)
    weights = np.sqrt(atoms.numbers)
    base = np.exp(2j * np.pi * (atoms.positions @ np.linalg.inv(cell)))  # (n_atoms, 3)
    powers = np.stack([np.ones_like(base), base, base.conj()])  # by component 0, 1, -1 of a wave
    terms = powers[WAVES[:, 0], :, 0] * powers[WAVES[:, 1], :, 1] * powers[WAVES[:, 2], :, 2]
    factors = np.abs(terms @ weights) / np.linalg.norm(weights)
    metric = (cell @ cell.T)[np.triu_indices(3)]
    steps = np.floor((np.concatenate([metric, factors]) + ORIGIN) / STEP).astype(int)
    return (np.sort(atoms.numbers).tobytes(), atoms.pbc.tobytes(), steps.tobytes())


def same_geometry(first: Atoms, second: Atoms) -> bool:
    """Tell whether two structures of the same numbers of atoms are equal, whatever the order of the atoms."""
    if np.array_equal(first.numbers, second.numbers):
        moved = displacement(first, second)
        if np.linalg.norm(moved, axis=1).max() < EQUAL:
            return True
    return _same_in_other_order(first, second)


def _same_in_other_order(first: Atoms, second: Atoms) -> bool:
    """Lay an atom of the rarest element onto each of its like in turn, and see whether all others fit."""
    cell = effective_cell(first)
    lengths = np.linalg.norm(cell, axis=1)
    boxes = np.where(first.pbc, lengths, 0.0)  # in KD-trees, zero is open
    scaled = [atoms.positions @ np.linalg.inv(effective_cell(atoms)) * lengths for atoms in (first, second)]
    kinds, counts = np.unique(first.numbers, return_counts=True)
    rarest = kinds[np.argmin(counts)]
    anchor = scaled[0][first.numbers == rarest][0]
    trees = {
        kind: cKDTree(_wrapped(scaled[0][first.numbers == kind] - anchor, boxes), boxsize=boxes)
        for kind in kinds
    }
    for origin in scaled[1][second.numbers == rarest]:
        if all(
            _fits(trees[kind], _wrapped(scaled[1][second.numbers == kind] - origin, boxes)) for kind in kinds
        ):
            return True
    return False


def _fits(tree: cKDTree, positions: np.ndarray) -> bool:
    distances, places = tree.query(positions, distance_upper_bound=EQUAL)
    return bool(np.all(np.isfinite(distances)) and len(set(places.tolist())) == len(positions))


def _wrapped(positions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    periodic = boxes > 0
    wrapped = positions.copy()
    wrapped[:, periodic] %= boxes[periodic]
    wrapped[:, periodic] %= boxes[periodic]  # the remainder of a tiny negative number is the box itself
    return wrapped


def same_labels(first: Atoms, second: Atoms) -> bool:
    """Tell whether two structures of one geometry have the same energy and the same sizes of forces."""
    if abs(reference.energy(first) - reference.energy(second)) > EQUAL_ENERGY * len(first):
        return False
    sizes = [np.sort(np.linalg.norm(reference.forces(atoms), axis=1)) for atoms in (first, second)]
    return bool(np.abs(sizes[0] - sizes[1]).max() < EQUAL_FORCE)


def on_repeated(structures: Sequence[Atoms]) -> list[str]:
    """Return a sentence on duplicates, and one on equal geometries with other labels, where there are any."""
    duplicates, conflicts, first_pair = 0, 0, ""
    for group in equal_geometries(structures):
        first, *others = group
        for other in others:
            if same_labels(structures[first], structures[other]):
                duplicates += 1
                continue
            conflicts += 1
            if not first_pair:
                energies = [reference.energy(structures[index]) for index in (first, other)]
                first_pair = f"{first + 1} ({energies[0]:.6g} eV) and {other + 1} ({energies[1]:.6g} eV)"
    found = []
    if conflicts:
        found.append(
            f"of {len(structures)} structures, {conflicts} have the geometry of an earlier one with other labels, "
            f"first {first_pair}: states or settings that no potential can tell apart"
        )
    if duplicates:
        found.append(
            f"of {len(structures)} structures, {duplicates} are duplicates of an earlier one, with its labels"
        )
    return found


# -- training and test ----------------------------------------------------------------------------------


def on_leaks(train: Sequence[Atoms], test: Sequence[Atoms]) -> list[str]:
    """Return a sentence on test structures that are in training, and one on those that all but are."""
    also = also_in_training(train, test)
    rest = [
        atoms
        for index, atoms in enumerate(test)
        if index not in also and not reference.is_isolated_atom(atoms)
    ]
    near = nearness(train, rest)
    found = []
    if also:
        found.append(
            f"{len(also)} of {len(test)} test structures are also in training: "
            "their errors are those of a fit"
        )
    if near.all_but_equal:
        found.append(
            f"{len(near.all_but_equal)} of {len(test)} test structures lie within {ALL_BUT_EQUAL} Å of a "
            "training structure (mean displacement of an atom)"
        )
    if near.correlated:
        found.append(
            f"{len(near.correlated)} of {len(test)} test structures lie {near.distance:.2f} Å from a "
            f"training structure, where {near.typical:.2f} Å is typical of the same atoms: as near as frames of one "
            "trajectory are; --split blocks keeps such apart"
        )
    return found


def also_in_training(train: Sequence[Atoms], test: Sequence[Atoms]) -> set[int]:
    """Return the indices of the test structures, isolated atoms left out, whose geometry is in training."""
    known: dict[tuple, list[Atoms]] = {}
    for atoms in test:
        known.setdefault(_descriptor(atoms), [])
    for atoms in train:
        key = _descriptor(atoms)
        if key in known and not any(same_geometry(other, atoms) for other in known[key]):
            known[key].append(atoms)
    return {
        index
        for index, atoms in enumerate(test)
        if not reference.is_isolated_atom(atoms)
        and any(same_geometry(other, atoms) for other in known[_descriptor(atoms)])
    }


def nearness(train: Sequence[Atoms], test: Sequence[Atoms]) -> Nearness:
    """Compare each test structure with the nearest training structure of the same atoms in the same order."""
    classes: dict[bytes, tuple[list[int], list[int]]] = {}
    for side, structures in enumerate((train, test)):
        for index, atoms in enumerate(structures):
            classes.setdefault(atoms_key(atoms), ([], []))[side].append(index)
    equal, correlated, distances, scales = [], [], [], []
    for trained, tested in classes.values():
        if not trained or not tested:
            continue
        typical = _typical([train[index] for index in trained])
        for place, distance, cells_differ in _nearest(train, trained, test, tested):
            if cells_differ > CORRELATED_STRAIN:
                continue
            if distance < ALL_BUT_EQUAL:
                equal.append(place)
            if distance < min(CORRELATED * typical, CORRELATED_DISTANCE):
                correlated.append(place)
                distances.append(distance)
                scales.append(typical)
    middle = (float(np.median(distances)), float(np.median(scales))) if correlated else (0.0, 0.0)
    return Nearness(sorted(equal), sorted(correlated), *middle)


def _typical(structures: Sequence[Atoms]) -> float:
    """Return the median distance of two structures (Å), or zero where they are too few to tell."""
    if len(structures) < LEAST_FRAMES:
        return 0.0
    generator = np.random.default_rng(0)
    pairs = generator.integers(len(structures), size=(200, 2))
    return float(np.median([rms(displacement(structures[i], structures[j])) for i, j in pairs if i != j]))


def _nearest(
    train: Sequence[Atoms], trained: Sequence[int], test: Sequence[Atoms], tested: Sequence[int]
) -> Iterator[tuple[int, float, float]]:
    """Yield index, distance (Å) and largest strain of each of ``tested`` from its nearest in training.

    The nearest is found by projected positions, which keep distances to a tenth or so, then measured.
    """
    project = _Projection(len(train[trained[0]]))
    known = project([train[index] for index in trained])
    sizes = np.square(known).sum(axis=1)
    for start in range(0, len(tested), BLOCK):
        block = tested[start : start + BLOCK]
        points = project([test[index] for index in block])
        nearest = np.argmin(sizes - 2 * points @ known.T, axis=1)
        for index, place in zip(block, nearest.tolist(), strict=True):
            atoms, other = test[index], train[trained[place]]
            yield index, rms(displacement(other, atoms)), float(np.abs(strain(other, atoms)).max())


class _Projection:
    """Positions of structures of the same atoms as points whose distances are those of the structures.

    A coordinate in a periodic direction becomes a point on a circle, so that images are one; a random
    projection (Johnson and Lindenstrauss, doi:10.1090/conm/026/737400) keeps distances with few numbers.
    """

    def __init__(self, n_atoms: int):
        n_numbers = 6 * n_atoms + 9
        self._matrix = None
        if n_numbers > PROJECTED:
            generator = np.random.default_rng(0)
            self._matrix = generator.normal(size=(n_numbers, PROJECTED)).astype("f4") / np.sqrt(PROJECTED)

    def __call__(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return the points, (n_structures, numbers)."""
        blocks = [structures[start : start + BLOCK] for start in range(0, len(structures), BLOCK)]
        return np.concatenate([self._points(block) for block in blocks])

    def _points(self, structures: Sequence[Atoms]) -> np.ndarray:
        cells = np.array([effective_cell(atoms) for atoms in structures])
        positions = np.array([atoms.positions for atoms in structures])
        periodic = structures[0].pbc
        lengths = np.linalg.norm(cells, axis=2)[:, None, :]
        angles = 2 * np.pi * (positions @ np.linalg.inv(cells))
        circles = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        lines = np.stack([angles, np.zeros_like(angles)], axis=-1)
        coordinates = np.where(periodic[:, None], circles, lines) * (lengths / (2 * np.pi))[..., None]
        # A strain moves each atom by about the strain times the distance of neighbours, some 2.5 Å.
        shapes = cells.reshape(len(cells), 9) * (2.5 / lengths.mean()) * np.sqrt(positions.shape[1])
        points = np.concatenate([coordinates.reshape(len(cells), -1), shapes], axis=1).astype("f4")
        return points if self._matrix is None else points @ self._matrix
