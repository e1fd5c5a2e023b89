"""Energies, forces and stress of a file against each other: signs and units.

Between two like frames, the same atoms a little moved or strained, the energy changes by the work that is
done: by the trapezoidal rule ``ΔE = -½ Σ (F₁ + F₂)·Δx + ½ (V₁σ₁ + V₂σ₂):ε``. Over many pairs the ratio of
both sides is one. A ratio of minus one is a turned sign, and one of a known factor another unit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms, units

from mlip_bench.data import reference, voigt
from mlip_bench.data.geometry import atoms_key, displacement, rms, strain

# Like frames differ by no more than this: in the mean displacement (Å) and in the largest strain.
LARGEST_DISPLACEMENT = 0.5
LARGEST_STRAIN = 0.1
# A smaller strain leaves the cell as it is.
NO_STRAIN = 1e-5
# Work below this (eV per atom) says nothing.
LEAST_WORK = 1e-5

# Pairs that are looked at, at most: more would say the same.
MOST_PAIRS = 3000
LEAST_PAIRS = 5

# A finding needs energies that follow the work: this correlation, and this share of pairs (by their weight)
# whose ratio is within this factor of the median, with its sign.
LEAST_CORRELATION = 0.8
LEAST_AGREEMENT, AGREEMENT = 0.75, 2.0
# Ratios within this factor of one are right: real data are not converged, and pairs not infinitely near.
FORCES_TOLERANCE, STRESS_TOLERANCE = 1.6, 2.0
# A unit is named where the ratio is this near to its factor.
UNIT_TOLERANCE = 1.25

# What forces (per number in the file, eV/Å) and stress (eV/Å³) have to be multiplied by, by their unit.
FORCE_UNITS = {
    "Hartree/Bohr": units.Hartree / units.Bohr,
    "Rydberg/Bohr": units.Rydberg / units.Bohr,
    "Hartree/Å": units.Hartree,
    "eV/Bohr": 1 / units.Bohr,
    "kcal/mol/Å": units.kcal / units.mol,
    "kJ/mol/Å": units.kJ / units.mol,
    "meV/Å": 1e-3,
}
ENERGY_UNITS = {
    "Hartree": 1 / units.Hartree,
    "Rydberg": 1 / units.Rydberg,
    "kcal/mol": units.mol / units.kcal,
    "kJ/mol": units.mol / units.kJ,
    "meV": 1e3,
}
STRESS_UNITS = {
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
    "bar": units.bar,
    "MPa": 1e-3 * units.GPa,
    "Pa": units.Pascal,
}


@dataclass(frozen=True)
class Work:
    """What one pair of like frames says, eV per atom."""

    energy: float
    """Change of the energy."""
    of_forces: float
    of_stress: float
    """NaN where a frame has no stress."""
    strained: bool
    frames: tuple[int, int]
    """Their numbers in the list, from one."""
    n_atoms: int


@dataclass(frozen=True)
class Ratio:
    """By how much the energy changes per work, over pairs that agree on it."""

    value: float
    n_pairs: int
    frames: tuple[int, int]


def findings(structures: Sequence[Atoms]) -> list[str]:
    """Return a sentence on each quantity whose sign or unit does not fit the energies."""
    works = [work for work in _works(structures) if work is not None]
    fixed = [work for work in works if not work.strained]
    forces = _ratio(fixed, [work.energy for work in fixed], [work.of_forces for work in fixed])
    found = []
    factor = 1.0
    if forces is not None and _is_off(forces.value, FORCES_TOLERANCE):
        found.append(_on_forces(forces, {work.n_atoms for work in fixed}))
        factor = forces.value
    # Where forces do most of the work, the rest is what the trapezoidal rule leaves, not the stress.
    strained = [
        work
        for work in works
        if work.strained
        and np.isfinite(work.of_stress)
        and abs(factor * work.of_forces) < abs(work.energy - factor * work.of_forces)
    ]
    rest = [work.energy - factor * work.of_forces for work in strained]
    stress = _ratio(strained, rest, [work.of_stress for work in strained])
    if stress is not None and _is_off(stress.value, STRESS_TOLERANCE):
        found.append(_on_stress(stress))
    return found


def _works(structures: Sequence[Atoms]) -> Iterator[Work | None]:
    """Yield what each pair of neighbours says, in the order of the file and in that of the volume."""
    pairs = _pairs(structures)
    step = -(-len(pairs) // MOST_PAIRS) or 1
    for first, second in pairs[::step]:
        yield _work(structures, first, second)


def _pairs(structures: Sequence[Atoms]) -> list[tuple[int, int]]:
    classes: dict[bytes, list[int]] = {}
    for index, atoms in enumerate(structures):
        if not reference.is_isolated_atom(atoms):
            classes.setdefault(atoms_key(atoms), []).append(index)
    pairs = set()
    for members in classes.values():
        volumes = [abs(np.linalg.det(structures[index].cell)) for index in members]
        by_volume = [members[place] for place in np.argsort(volumes, kind="stable")]
        pairs |= {(min(pair), max(pair)) for order in (members, by_volume) for pair in pairwise(order)}
    return sorted(pairs)


def _work(structures: Sequence[Atoms], first: int, second: int) -> Work | None:
    """Return the changes between two frames, or None where they are too far apart."""
    one, two = structures[first], structures[second]
    n_atoms = len(one)
    strains = strain(one, two)
    largest = float(np.abs(strains).max())
    if largest > LARGEST_STRAIN:  # a small rotation does no work
        return None
    moved = displacement(one, two)
    if rms(moved) > LARGEST_DISPLACEMENT:
        return None
    of_forces = -0.5 * float(np.sum((reference.forces(one) + reference.forces(two)) * moved))
    return Work(
        energy=(reference.energy(two) - reference.energy(one)) / n_atoms,
        of_forces=of_forces / n_atoms,
        of_stress=_work_of_stress(one, two, strains) / n_atoms,
        strained=largest > NO_STRAIN,
        frames=(first + 1, second + 1),
        n_atoms=n_atoms,
    )


def _work_of_stress(one: Atoms, two: Atoms, strains: np.ndarray) -> float:
    stresses = [stress for stress in map(reference.stress, (one, two)) if stress is not None]
    if len(stresses) < 2 or not one.pbc.all():
        return float("nan")
    total = sum(
        atoms.get_volume() * voigt.to_matrix(stress)
        for atoms, stress in zip((one, two), stresses, strict=True)
    )
    return 0.5 * float(np.sum(total * 0.5 * (strains + strains.T)))


def _ratio(works: Sequence[Work], energies: Sequence[float], of_quantity: Sequence[float]) -> Ratio | None:
    """Return the ratio of energy to work where it is the same over the pairs, the median by their work."""
    energy, work = np.array(energies), np.array(of_quantity)
    # A quantity in another unit makes work of another size: what counts is that neither side is noise.
    telling = (np.abs(work) > 1e-2 * np.abs(work).max(initial=0.0)) & (np.abs(energy) > LEAST_WORK)
    places = np.flatnonzero(telling)
    if len(places) < LEAST_PAIRS:
        return None
    energy, work = energy[places], work[places]
    # Weights by the square root keep single large pairs from deciding.
    weight = np.sqrt(np.abs(energy * work))
    ratios = energy / work
    order = np.argsort(ratios)
    heaped = np.cumsum(weight[order])
    value = float(ratios[order][np.searchsorted(heaped, 0.5 * heaped[-1])])
    correlation = abs(energy @ work) / np.sqrt((energy @ energy) * (work @ work))
    relative = ratios / value
    agreement = weight[(relative > 1 / AGREEMENT) & (relative < AGREEMENT)].sum() / weight.sum()
    if correlation < LEAST_CORRELATION or agreement < LEAST_AGREEMENT:
        return None
    return Ratio(value, len(places), works[places[int(np.argmax(np.abs(energy)))]].frames)


def _is_off(ratio: float, tolerance: float) -> bool:
    return not 1 / tolerance < ratio < tolerance


def _nearest(ratio: float, factors: dict[str, float]) -> str | None:
    """Return the unit whose factor a ratio is near to, in size."""
    distances = {name: abs(np.log(abs(ratio) / factor)) for name, factor in factors.items()}
    name = min(distances, key=lambda name: distances[name])
    return name if distances[name] < np.log(UNIT_TOLERANCE) else None


def _over(ratio: Ratio, work: str) -> str:
    first, second = ratio.frames
    return (
        f"over {ratio.n_pairs} pairs of like frames (as {first} and {second}) the energy changes by "
        f"{ratio.value:.3g} times the work of the {work}, where 1 is right"
    )


def _on_forces(ratio: Ratio, sizes: set[int]) -> str:
    told = _over(ratio, "forces")
    sign = "the sign of the forces is turned; " if ratio.value < 0 else ""
    if not _is_off(abs(ratio.value), FORCES_TOLERANCE):
        return (
            f"{told}: the sign of the forces is turned; turn it in the file, or name others with --forces-key"
        )
    guesses = []
    of_forces, of_energy = _nearest(ratio.value, FORCE_UNITS), _nearest(ratio.value, ENERGY_UNITS)
    if of_forces:
        guesses.append(f"forces in {of_forces}")
    if of_energy:
        guesses.append(f"energies in {of_energy}")
    if len(sizes) == 1 and _nearest(ratio.value, {"atom": 1 / min(sizes)}):
        guesses.append("energies per atom")
    if not guesses:
        return f"{told}: {sign}they are of different calculations or units; see --energy-key and --forces-key"
    return (
        f"{told}: {sign}this looks like {' or '.join(guesses)}; convert to eV and eV/Å, or name others "
        + ("with --energy-key and --forces-key")
    )


def _on_stress(ratio: Ratio) -> str:
    told = _over(ratio, "stress")
    turned = "the sign of the stress is turned, --turn-stress mends it" if ratio.value < 0 else ""
    if not _is_off(abs(ratio.value), STRESS_TOLERANCE):
        return f"{told}: {turned}"
    unit = _nearest(ratio.value, STRESS_UNITS)
    if unit:
        rest = f"this looks like {unit}, not eV/Å³: --stress-unit {unit}"
    else:
        rest = (
            "the unit is another, see --stress-unit, or they are of different calculations, see --stress-key"
        )
    return f"{told}: {'; '.join(filter(None, (turned, rest)))}"
