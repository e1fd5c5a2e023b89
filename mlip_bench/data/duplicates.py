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

from mlip_bench.data import reference, same_matter
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


def number_geometries(structures: Sequence[Atoms]) -> dict[int, int]:
    """Return the number of each structure's geometry, by the ``id()`` of the structure.

    Geometries are equal up to a translation, the choice of periodic images, a rotation of a periodic cell
    with its atoms, and the order of the atoms.
    """
    known: dict[tuple, list[tuple[Atoms, int]]] = {}
    numbers: dict[int, int] = {}
    for number, atoms in enumerate(structures):
        like = known.setdefault(_descriptor(atoms), [])
        equal = next((found for other, found in like if same_geometry(other, atoms)), None)
        if equal is None:
            like.append((atoms, number))
        numbers[id(atoms)] = number if equal is None else equal
    return numbers


def _descriptor(atoms: Atoms) -> tuple:
    """Return a key that equal geometries share: atoms, metric of the cell, and sizes of structure factors."""
    cell = effective_cell(atoms)
    weights = np.sqrt(atoms.numbers)
    base = np.exp(2j * np.pi * (np.linalg.inv(cell).T @ atoms.positions.T))  # (3, n_atoms)
    powers = np.array([np.ones_like(base), base, base.conj()])  # by component 0, 1, -1 of a wave
    terms = powers[WAVES[:, 0], 0] * powers[WAVES[:, 1], 1] * powers[WAVES[:, 2], 2]
    factors = np.abs(terms @ weights) / np.linalg.norm(weights)
    steps = np.floor((np.concatenate([(cell @ cell.T).ravel(), factors]) + ORIGIN) / STEP)
    return (np.sort(atoms.numbers).tobytes(), atoms.pbc.tobytes(), steps.astype(int).tobytes())


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


def _energy_of(atoms: Atoms) -> str:
    return f" ({reference.energy(atoms):.6g} eV)" if reference.has_energy(atoms) else ""


def on_repeated(structures: Sequence[Atoms], numbers: dict[int, int]) -> list[str]:
    """Return a sentence on duplicates, and one on equal geometries with other labels, where there are any.

    ``numbers`` are those of their geometries.
    """
    duplicates, conflicts, first_pair = 0, 0, ""
    seen: dict[int, tuple[int, Atoms]] = {}
    for index, atoms in enumerate(structures, start=1):
        first, other = seen.setdefault(numbers[id(atoms)], (index, atoms))
        if first == index:
            continue
        if same_labels(other, atoms):
            duplicates += 1
            continue
        conflicts += 1
        first_pair = first_pair or f"{first}{_energy_of(other)} and {index}{_energy_of(atoms)}"
    found = []
    if conflicts:
        found.append(
            f"of {len(structures)} structures, {conflicts} have the geometry of an earlier one with other "
            f"labels, first {first_pair}: states or settings that no potential can tell apart"
        )
    if duplicates:
        found.append(
            f"of {len(structures)} structures, {duplicates} are duplicates of an earlier one, with its labels"
        )
    return found


# -- training and test ----------------------------------------------------------------------------------


def on_leaks(
    train: Sequence[Atoms], test: Sequence[Atoms], numbers: dict[int, int], split_at_random: bool = False
) -> list[str]:
    """Return a sentence each on test structures that are in training, are so in another cell, or all but are.

    ``numbers`` are those of their geometries. Isolated atoms, which fix a zero, are left out.
    """
    known = {numbers[id(atoms)] for atoms in train}
    tested = [atoms for atoms in test if not reference.is_isolated_atom(atoms)]
    rest = [atoms for atoms in tested if numbers[id(atoms)] not in known]
    n_also = len(tested) - len(rest)
    near = nearness(train, rest)
    known_to_be_near = set(near.all_but_equal)
    others = [atoms for place, atoms in enumerate(rest) if place not in known_to_be_near]
    trained, _ = reference.split_off_isolated_atoms(train)
    search = same_matter.in_training(trained, others)
    found = []
    if n_also:
        found.append(
            f"{n_also} of {len(test)} test structures are also in training: their errors are those of a fit"
        )
    if search.found:
        found.append(
            f"{len(search.found)} of {len(test)} test structures are the same crystal or molecule as a "
            "training structure in another cell, rotated, or with its atoms in another order: their errors "
            "are those of a fit"
        )
    if search.one_in_train > 1 or search.one_in_test > 1:
        found.append(
            "training structures in another cell were looked for by samples: one in "
            f"{search.one_in_test} test structures among one in {search.one_in_train} of training"
        )
    if near.all_but_equal:
        found.append(
            f"{len(near.all_but_equal)} of {len(test)} test structures lie within {ALL_BUT_EQUAL} Å of a "
            "training structure (mean displacement of an atom)"
        )
    if near.correlated:
        found.append(
            f"{len(near.correlated)} of {len(test)} test structures lie {near.distance:.2f} Å from a "
            f"training structure, where {near.typical:.2f} Å is typical of the same atoms: as near as frames "
            f"of one trajectory are{'; --split blocks keeps such apart' if split_at_random else ''}"
        )
    return found


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
    project = Projection(len(train[trained[0]]))
    known = project([train[index] for index in trained])
    sizes = np.square(known).sum(axis=1)
    for start in range(0, len(tested), BLOCK):
        block = tested[start : start + BLOCK]
        points = project([test[index] for index in block])
        nearest = np.argmin(sizes - 2 * points @ known.T, axis=1)
        for index, place in zip(block, nearest.tolist(), strict=True):
            atoms, other = test[index], train[trained[place]]
            yield index, rms(displacement(other, atoms)), float(np.abs(strain(other, atoms)).max())


class Projection:
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
