"""Two atoms: far from all others, and pushed together in the structure that is measured.

A force along the line between two atoms is positive where they repel each other. Nuclei repel at short
distance, whatever the elements: J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions
in Solids (1985). Data seldom has such distances, so nothing but the form of a potential decides there.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from matscipy.neighbours import neighbour_list

from mlip_bench.measure.base import Curves, Found, Value
from mlip_bench.measure.physicality.curves import roughness
from mlip_bench.measure.physicality.limits import NOT_FINITE
from mlip_bench.potentials.base import Potential

Pair = tuple[str, str]
"""Two elements in alphabetical order."""

# Distances (Å) of two atoms: the first, and the steps of a dimer and of atoms pushed together.
NEAREST = 0.5
DIMER_STEP = 0.01
PUSHED_STEP = 0.05

# A dimer is taken apart as far as its potential reaches, or so far (Å).
FARTHEST = 12.0

# Pairs of elements are looked for within these distances (Å) in training, the farther one where none is
# within the nearer.
WITHIN = (3.0, 6.0)

# Forces (eV/Å) that are smaller have no sign.
NO_FORCE = 1e-3


def name_of(pair: Pair) -> str:
    """Return what a pair of elements is called."""
    return "-".join(pair)


def pairs_of(elements: Sequence[str]) -> list[Pair]:
    """Return all pairs of elements."""
    return list(itertools.combinations_with_replacement(sorted(elements), 2))


def shortest_distances(structures: Sequence[Atoms], elements: Sequence[str]) -> dict[Pair, float]:
    """Return the shortest distance (Å) of each pair of elements; none of a pair that is never near."""
    found: dict[Pair, float] = {}
    for within in WITHIN:
        missing = [pair for pair in pairs_of(elements) if pair not in found]
        for atoms in structures:
            symbols = set(atoms.get_chemical_symbols())
            if any(set(pair) <= symbols for pair in missing):
                for pair, distance in _shortest(atoms, within).items():
                    if pair in missing:
                        found[pair] = min(distance, found.get(pair, np.inf))
    return found


def _shortest(atoms: Atoms, within: float) -> dict[Pair, float]:
    cell = complete_cell(atoms.cell)  # directions without a vector are open: any vector across will do
    first, second, distances = neighbour_list(
        "ijd", positions=atoms.positions, cell=cell, pbc=atoms.pbc, cutoff=within
    )
    symbols = np.array(atoms.get_chemical_symbols())
    found = {}
    for pair in pairs_of(sorted(set(atoms.get_chemical_symbols()))):
        own = distances[(symbols[first] == pair[0]) & (symbols[second] == pair[1])]
        if len(own):
            found[pair] = float(own.min())
    return found


def turning_point(distances: np.ndarray, forces: np.ndarray, shortest: float) -> float:
    """Return the distance below ``shortest`` at which the force turns attractive; 0 where it never does.

    ``forces`` along the line (n,), positive where they repel, at increasing ``distances`` (n,). A well is no
    such turn, however near: two atoms may attract below ``shortest`` as long as they repel nearer still.
    """
    inside = distances <= shortest
    signs = _signs(forces[inside])
    attractive = signs < 0
    repels_farther = np.cumsum((signs > 0)[::-1])[::-1] > 0
    repels_nearer = np.cumsum(signs > 0) > 0
    wrong = attractive & (repels_farther | ~repels_nearer)
    return float(distances[inside][wrong].max()) if wrong.any() else 0.0


def wells(forces: np.ndarray) -> int:
    """Return the number of minima of the energy, from forces at increasing distances.

    Where they attract at the first distance, there is one in which two atoms meet.
    """
    signs = _signs(forces)
    signs = signs[signs != 0]
    if not len(signs):
        return 0
    return int((signs[0] < 0) + np.count_nonzero((signs[:-1] > 0) & (signs[1:] < 0)))


def _signs(forces: np.ndarray) -> np.ndarray:
    return np.where(np.abs(forces) < NO_FORCE, 0, np.sign(forces))


def dimers(potential: Potential, elements: Sequence[str], shortest: Mapping[Pair, float]) -> Found:
    """Return what two atoms far from all others do, for each pair of these elements."""
    end = min(potential.reach or FARTHEST, FARTHEST)
    distances = np.arange(NEAREST, end + 4 * DIMER_STEP, DIMER_STEP)
    found = [_dimer(potential, pair, distances, shortest.get(pair)) for pair in pairs_of(elements)]
    curves = {f"dimer {key}": array for one in found for key, array in one.curves.items()}
    return Found([value for one in found for value in one.values], curves)


def _dimer(potential: Potential, pair: Pair, distances: np.ndarray, shortest: float | None) -> Found:
    alone = sum(one.energy for one in potential.predict([Atoms(symbol) for symbol in pair]))
    both = [Atoms(pair, positions=[[0, 0, 0], [distance, 0, 0]]) for distance in distances]
    predictions = potential.predict(both)
    energies = np.array([one.energy for one in predictions]) - alone
    forces = np.array([one.forces[1, 0] - one.forces[0, 0] for one in predictions]) / 2
    name = name_of(pair)
    if not np.isfinite(forces).all():
        nearest = distances[~np.isfinite(forces)].max()
        reason = f"the force of {name} at {nearest:.2f} Å is {NOT_FINITE}"
        return Found([Value(metric, np.nan, group=name, error=reason) for metric in ("wells", "dimer_turn")])
    values = [Value("wells", wells(forces), group=name)]
    curves = {f"{name} distance": distances, f"{name} force": forces}
    known = distances >= (shortest or 0.0)
    values.append(Value("roughness", roughness(-forces[known], DIMER_STEP), group=name))
    values += _turn("dimer_turn", name, distances, forces, shortest)
    if potential.predicts_energy:
        curves[f"{name} energy"] = energies
        deepest = int(np.argmin(energies))
        values += [
            Value("bond_length", float(distances[deepest]), group=name),
            Value("bond_energy", float(-energies[deepest]), group=name),
        ]
        if shortest is not None:
            values.append(Value("wall", float(energies[distances <= shortest].max()), group=name))
    return Found(values, curves)


def _turn(
    metric: str, name: str, distances: np.ndarray, forces: np.ndarray, shortest: float | None
) -> list[Value]:
    if shortest is None:
        reason = f"no atoms {name} are within {WITHIN[-1]:g} Å of each other in training"
        return [Value(metric, np.nan, group=name, error=reason)]
    return [Value(metric, turning_point(distances, forces, shortest), group=name)]


def pushed(potential: Potential, atoms: Atoms, shortest: Mapping[Pair, float]) -> Found:
    """Return at which distance an atom of a structure attracts a neighbour that is pushed onto it.

    For each pair of elements the two atoms that are nearest to each other; all others stay where they are.
    """
    values: list[Value] = []
    curves: Curves = {}
    for pair, (first, second, vector) in _nearest(atoms).items():
        name, far = name_of(pair), float(np.linalg.norm(vector))
        distances = np.arange(NEAREST, far, PUSHED_STEP)
        moved = []
        for distance in distances:
            one = atoms.copy()
            one.positions[second] = one.positions[first] + vector / far * distance
            moved.append(one)
        between = [one.forces[second] - one.forces[first] for one in potential.predict(moved)]
        forces = np.array(between) @ vector / far / 2
        if not np.isfinite(forces).all():
            reason = f"the force of {name} pushed together is {NOT_FINITE}"
            values.append(Value("pushed_turn", np.nan, group=name, error=reason))
            continue
        values += _turn("pushed_turn", name, distances, forces, shortest.get(pair))
        curves |= {f"pushed {name} distance": distances, f"pushed {name} force": forces}
    return Found(values, curves)


def _nearest(atoms: Atoms) -> dict[Pair, tuple[int, int, np.ndarray]]:
    """Return the nearest two atoms of each pair of elements, and the vector (Å) from one to the other."""
    cell = complete_cell(atoms.cell)
    first, second, vectors = neighbour_list(
        "ijD", positions=atoms.positions, cell=cell, pbc=atoms.pbc, cutoff=WITHIN[-1]
    )
    symbols = np.array(atoms.get_chemical_symbols())
    distances = np.linalg.norm(vectors, axis=1)
    found = {}
    for pair in pairs_of(sorted(set(atoms.get_chemical_symbols()))):
        own = np.flatnonzero((symbols[first] == pair[0]) & (symbols[second] == pair[1]) & (first != second))
        if len(own):
            # Rounding does not decide between equal distances.
            one = own[np.argmin(np.round(distances[own], 6))]
            found[pair] = (int(first[one]), int(second[one]), vectors[one])
    return found
