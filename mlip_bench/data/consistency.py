"""Energies, forces and stress of a file against each other: signs and units.

Between two like frames, the same atoms a little moved or strained, the energy changes by the work that is
done: by the trapezoidal rule ``ΔE = -½ Σ (F₁ + F₂)·Δx + ½ (V₁σ₁ + V₂σ₂):ε``, where the strain ε moves atoms
with the cell and Δx is what remains. Over many pairs each kind of work has a factor by which the energy
follows it, and it is one. A factor of minus one is a turned sign, and one of a known size another unit; where
both kinds of work have the same wrong factor, the energies are wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms, units

from mlip_bench.data import reference, voigt
from mlip_bench.data.geometry import aligned, displacement, rms, strain
from mlip_bench.data.like_frames import like_pairs

# Like frames differ by no more than this: in the mean displacement (Å) and in the largest strain.
LARGEST_DISPLACEMENT = 0.5
LARGEST_STRAIN = 0.1
# A smaller strain leaves the cell as it is.
NO_STRAIN = 1e-5
# Work below this (eV per atom) says nothing.
LEAST_WORK = 1e-5
# Work below this is none in any unit.
LEAST_OF_ANY_UNIT = 1e-9
# Times that factors are found anew, with weights of the rests.
ROUNDS = 30

LEAST_PAIRS = 5
# Where the work of a strain is not known, pairs say something in which it moves neighbours (some 2.5 Å apart)
# by less than this share of what their atoms move.
SMALL_STRAIN, NEIGHBOUR = 0.5, 2.5

# A finding needs energies that follow the work: this correlation, and this share of pairs (by their weight)
# whose ratio is within this factor of the median, with its sign.
LEAST_CORRELATION = 0.8
LEAST_AGREEMENT, AGREEMENT = 0.75, 2.0
# The nearer of two pairs is the surer one: these shares are asked in turn, if they are so many pairs.
NEARER, LEAST_NEARER = (1.0, 0.5, 0.25), 20
# Logarithms of ratios are no further apart than this where their spread is looked at.
LARGEST_APART = 2.0
# Ratios within this factor of one are right: real data are not converged, and pairs not infinitely near.
FORCES_TOLERANCE, STRESS_TOLERANCE = 1.6, 2.0
# Both kinds of work have the same factor, that of the energy, if they agree to this.
SAME_FACTOR = 2.0
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
    strain: float
    """The largest component."""
    distance: float
    """Root mean square of how far the atoms move, Å."""
    frames: tuple[int, int]
    """Their numbers in the list, from one."""
    n_atoms: int


@dataclass(frozen=True)
class Ratio:
    """By how much the energy changes per work, over pairs that agree on it."""

    value: float
    spread: float
    """Mean distance of the logarithm of single ratios from that of the value."""
    n_pairs: int
    frames: tuple[int, int]

    def wider_than(self, other: "Ratio | None") -> bool:
        """Tell whether another one is known and spreads less."""
        return other is not None and other.spread < self.spread


def findings(structures: Sequence[Atoms]) -> list[str]:
    """Return a sentence on each quantity whose sign or unit does not fit the others."""
    found = [_work(structures, first, second) for first, second in like_pairs(structures)]
    works = [work for work in found if work is not None]
    factors = _factors(works)
    if factors.are_right():
        return []
    # Energies per atom of structures of several sizes have no common factor, but as those of all atoms.
    sizes = {work.n_atoms for work in works}
    whole = _factors([replace(work, energy=work.energy * work.n_atoms) for work in works])
    if len(sizes) > 1 and whole.are_right() and not factors.explain_better_than(whole):
        return [_on_energies_per_atom(whole)]
    return _sentences(factors, sizes)


@dataclass(frozen=True)
class Factors:
    """By how much the energy follows the work of forces and of stress; None where pairs do not tell."""

    forces: Ratio | None
    stress: Ratio | None

    def are_right(self) -> bool:
        """Tell whether one is known at least, and none is off."""
        known = [ratio for ratio in (self.forces, self.stress) if ratio is not None]
        return bool(known) and not self.forces_off() and not self.stress_off()

    def explain_better_than(self, other: "Factors") -> bool:
        """Tell whether these are those of a unit of energy, and spread less."""
        pairs = [(self.forces, other.forces), (self.stress, other.stress)]
        known = [(one, another) for one, another in pairs if one is not None]
        return bool(known) and all(
            _nearest(one.value, ENERGY_UNITS) is not None and not one.wider_than(another)
            for one, another in known
        )

    def forces_off(self) -> bool:
        """Tell whether the factor of the forces is not one."""
        return self.forces is not None and _is_off(self.forces.value, FORCES_TOLERANCE)

    def stress_off(self) -> bool:
        """Tell whether the factor of the stress is not one."""
        return self.stress is not None and _is_off(self.stress.value, STRESS_TOLERANCE)


def _sentences(factors: Factors, sizes: set[int]) -> list[str]:
    forces, stress = factors.forces, factors.stress
    if (
        forces is not None
        and stress is not None
        and factors.forces_off()
        and factors.stress_off()
        and not _is_off(forces.value / stress.value, SAME_FACTOR)
    ):
        return [_on_energies(forces, sizes)]
    found = []
    if forces is not None and factors.forces_off():
        found.append(_on_forces(forces, sizes, only=stress is not None and not factors.stress_off()))
    if stress is not None and factors.stress_off():
        found.append(_on_stress(stress, sizes, only=forces is not None and not factors.forces_off()))
    return found


def _factors(works: Sequence[Work]) -> Factors:
    """Return the factors that explain most pairs, each from those in which its work is the larger one."""
    known = [work for work in works if not work.strained or np.isfinite(work.of_stress)]
    of_forces, of_stress = _joint_factors(known)

    def parts(work: Work) -> tuple[float, float]:
        return of_forces * work.of_forces, of_stress * work.of_stress if work.strained else 0.0

    moved = [work for work in known if abs(parts(work)[0]) >= abs(parts(work)[1])]
    strained = [work for work in known if abs(parts(work)[0]) < abs(parts(work)[1])]
    forces = _ratio(
        moved, [work.energy - parts(work)[1] for work in moved], [work.of_forces for work in moved]
    )
    stress = _ratio(
        strained, [work.energy - parts(work)[0] for work in strained], [work.of_stress for work in strained]
    )
    if forces is None and stress is None:
        moved = [work for work in works if work.strain * NEIGHBOUR < SMALL_STRAIN * work.distance]
        forces = _ratio(moved, [work.energy for work in moved], [work.of_forces for work in moved])
    return Factors(forces, stress)


def _joint_factors(works: Sequence[Work]) -> tuple[float, float]:
    """Return the factors of forces and stress with the least sum of absolute rests, over their square root.

    By least squares with weights made anew from the rests; roots keep large pairs from deciding alone.
    """
    energy = np.array([work.energy for work in works])
    columns = np.array([[work.of_forces, work.of_stress if work.strained else 0.0] for work in works])
    factors = np.zeros(2)
    scales = np.abs(columns).max(axis=0, initial=0.0) if len(works) else np.zeros(2)
    there = np.flatnonzero(scales > LEAST_OF_ANY_UNIT)
    if not len(there) or len(works) < LEAST_PAIRS:
        return 1.0, 1.0
    columns = columns[:, there] / scales[there]
    sizes = np.abs(energy) + 0.1 * np.median(np.abs(energy)) + LEAST_WORK
    weights = 1 / sizes
    for _ in range(ROUNDS):
        roots = np.sqrt(weights)
        factors[there] = np.linalg.lstsq(columns * roots[:, None], energy * roots)[0] / scales[there]
        rest = np.abs(energy - columns @ (factors[there] * scales[there]))
        weights = 1 / np.sqrt(sizes) / np.maximum(rest, 1e-3 * sizes)
    return float(factors[0]), float(factors[1])


def _work(structures: Sequence[Atoms], first: int, second: int) -> Work | None:
    """Return the changes between two frames, or None where they are too far apart or have no energies."""
    one, two = structures[first], structures[second]
    n_atoms = len(one)
    if not (reference.has_energy(one) and reference.has_energy(two)):
        return None
    strains = strain(one, two)
    largest = float(np.abs(strains).max())
    if largest > LARGEST_STRAIN:  # a small rotation does no work
        return None
    moved, rotation = (displacement(one, two), np.eye(3)) if one.pbc.any() else aligned(one, two)
    distance = rms(moved)
    if distance > LARGEST_DISPLACEMENT:
        return None
    of_forces = -0.5 * float(np.sum((reference.forces(one) + reference.forces(two) @ rotation) * moved))
    return Work(
        energy=(reference.energy(two) - reference.energy(one)) / n_atoms,
        of_forces=of_forces / n_atoms,
        of_stress=_work_of_stress(one, two, strains) / n_atoms,
        strained=largest > NO_STRAIN,
        strain=largest,
        distance=distance,
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
    """Return the ratio of energy to work, of all pairs, or of the nearer ones if these alone agree on one."""
    energy, work = np.array(energies), np.array(of_quantity)
    # A quantity in another unit makes work of another size: what counts is that neither side is noise.
    telling = (np.abs(work) > 1e-2 * np.abs(work).max(initial=0.0)) & (np.abs(energy) > LEAST_WORK)
    places = np.flatnonzero(telling)
    by_distance = places[np.argsort([works[place].distance for place in places.tolist()], kind="stable")]
    for share in NEARER:
        chosen = by_distance[: round(share * len(places))]
        if len(chosen) < (LEAST_PAIRS if share == 1 else LEAST_NEARER):
            return None
        found = _agreed_ratio(energy[chosen], work[chosen])
        if found is not None:
            largest = int(chosen[np.argmax(np.abs(energy[chosen]))])
            return Ratio(*found, len(chosen), works[largest].frames)
    return None


def _agreed_ratio(energy: np.ndarray, work: np.ndarray) -> tuple[float, float] | None:
    """Return the median by work of the ratios, and their spread, where most are near to it."""
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
    apart = np.where(relative > 0, np.abs(np.log(np.maximum(relative, 1e-9))), np.inf)
    return value, float(np.minimum(apart, LARGEST_APART) @ weight / weight.sum())


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


def _on_energies(ratio: Ratio, sizes: set[int]) -> str:
    told = _over(ratio, "forces, and as much times that of the stress")
    sign = "the sign of the energies is turned; " if ratio.value < 0 else ""
    if not _is_off(abs(ratio.value), FORCES_TOLERANCE):
        return (
            f"{told}: the sign of the energies, or those of both forces and stress, are turned; turn them in "
            "the file (--turn-stress does so for the stress), or name others with --energy-key"
        )
    guesses = _units_of_energy(ratio, sizes)
    like = f"this looks like {' or '.join(guesses)}" if guesses else "the energies are in another unit"
    return f"{told}: {sign}{like}; convert them to eV of all atoms, or name others with --energy-key"


def _on_energies_per_atom(factors: Factors) -> str:
    ratio = factors.forces or factors.stress
    assert ratio is not None  # one is known
    first, second = ratio.frames
    return (
        f"over {ratio.n_pairs} pairs of like frames (as {first} and {second}) changes of the energy fit "
        "forces and stress if they are multiplied by the number of atoms: this looks like energies per atom; "
        "give those of all atoms, or name others with --energy-key"
    )


def _units_of_energy(ratio: Ratio, sizes: set[int]) -> list[str]:
    unit = _nearest(ratio.value, ENERGY_UNITS)
    found = [f"energies in {unit}"] if unit else []
    if sizes != {1} and len(sizes) == 1 and _nearest(ratio.value, {"atom": 1 / min(sizes)}):
        found.append("energies per atom")
    return found


def _on_forces(ratio: Ratio, sizes: set[int], only: bool) -> str:
    """``only`` says that the stress fits the energies, so that these are right."""
    told = _over(ratio, "forces")
    sign = "the sign of the forces is turned; " if ratio.value < 0 else ""
    if not _is_off(abs(ratio.value), FORCES_TOLERANCE):
        return (
            f"{told}: the sign of the forces is turned; turn it in the file, or name others with --forces-key"
        )
    unit = _nearest(ratio.value, FORCE_UNITS)
    guesses = [f"forces in {unit}"] if unit else []
    guesses += [] if only else _units_of_energy(ratio, sizes)
    if not guesses:
        return f"{told}: {sign}they are of different calculations or units; see --energy-key and --forces-key"
    return (
        f"{told}: {sign}this looks like {' or '.join(guesses)}; convert to eV and eV/Å, or name others "
        "with --energy-key and --forces-key"
    )


def _on_stress(ratio: Ratio, sizes: set[int], only: bool) -> str:
    """``only`` says that the forces fit the energies, so that these are right."""
    told = _over(ratio, "stress")
    turned = "the sign of the stress is turned, --turn-stress mends it" if ratio.value < 0 else ""
    if not _is_off(abs(ratio.value), STRESS_TOLERANCE):
        return f"{told}: {turned}"
    unit = _nearest(ratio.value, STRESS_UNITS)
    guesses = [f"this looks like {unit}, not eV/Å³: --stress-unit {unit}"] if unit else []
    guesses += [] if only else [f"this looks like {one}" for one in _units_of_energy(ratio, sizes)]
    rest = " or ".join(guesses) or (
        "the unit is another, see --stress-unit, or they are of different calculations, see --stress-key"
    )
    return f"{told}: {'; '.join(filter(None, (turned, rest)))}"
