"""Reference values of one frame as its file has it: taken from its keys, in our units and signs."""

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from mlip_bench.data import keys, pressure
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.data.reference import is_isolated_atom, labelled
from mlip_bench.errors import UserError


class ImplausibleStress(UserError):
    """A stress that must be in another unit; where many frames have one, none of the file can be believed."""


class Taken(NamedTuple):
    """A structure with its reference values, and where they come from."""

    atoms: Atoms
    frame: dict[str, Any]
    keys: keys.Keys


def take(atoms: Atoms, options: ReadingOptions) -> Taken:
    """Return a structure with the labels of a frame attached; raises :class:`UserError` where it has none.

    An isolated atom needs no forces: nothing pulls at it. A structure without a volume has no stress.
    """
    frame = keys.values(atoms)
    bare = Atoms(
        atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=_described(atoms, frame)
    )
    alone = is_isolated_atom(bare)
    chosen = keys.choose(frame, options, needs_forces=not alone)
    energy = None if chosen.energy is None else _energy(frame[chosen.energy], chosen.energy)
    forces = (
        np.zeros((1, 3)) if chosen.forces is None else _forces(frame[chosen.forces], chosen.forces, len(bare))
    )
    stress = None
    if chosen.stress is not None and bare.cell.rank == 3:
        stress = _stress(frame[chosen.stress], chosen.stress, bare.get_volume(), options)
    return Taken(labelled(bare, energy, forces, stress), frame, chosen)


def disagreement(taken: Taken, options: ReadingOptions) -> str | None:
    """Return the key of a virial beside the stress that was taken, where the two do not agree.

    What is no virial at all agrees with nothing, and is no reason to lose the frame.
    """
    if (
        taken.keys.stress is None
        or keys.is_virial(taken.keys.stress)
        or "stress" not in taken.atoms.calc.results
    ):
        return None
    other = keys.same_prefix(taken.frame, taken.keys.stress, "virial")
    if other is None:
        return None
    volume = taken.atoms.get_volume()
    try:
        virial = -pressure.symmetric(taken.frame[other], other) / volume
    except UserError:
        return other
    stress = taken.atoms.calc.results["stress"] * (-1 if options.turn_stress else 1)
    scale = max(float(np.abs(stress).max()), pressure.LEAST)
    return other if np.abs(virial - stress).max() > pressure.ASYMMETRY * scale else None


def _described(atoms: Atoms, frame: dict[str, Any]) -> dict[str, Any]:
    """Return what a frame says of itself (group, comment), without what is a label or an array of atoms."""
    labels = set(keys.not_read(frame, ()))
    return {key: value for key, value in atoms.info.items() if key not in labels}


def _energy(value: Any, key: str) -> float:
    numbers = _numbers(value, key)
    if numbers.size != 1:
        raise UserError(f"'{key}' has {numbers.size} numbers; an energy is one")
    return float(numbers.reshape(()))


def _forces(value: Any, key: str, n_atoms: int) -> np.ndarray:
    numbers = _numbers(value, key)
    if numbers.size != 3 * n_atoms:
        raise UserError(f"'{key}': forces have shape {numbers.shape}, not ({n_atoms}, 3)")
    return numbers.reshape(n_atoms, 3)


def _numbers(value: Any, key: str) -> np.ndarray:
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise UserError(f"'{key}' is not made of numbers") from error


def _stress(value: Any, key: str, volume: float, options: ReadingOptions) -> np.ndarray:
    """Return a stress (6,) in eV/Å³ with ASE's sign from a stress or a virial, in the unit named."""
    given = pressure.symmetric(value, key)
    virial = keys.is_virial(key)
    unit, sign = pressure.parse_unit(options.stress_unit or (pressure.VIRIAL if virial else "eV/A3"))
    # A virial is positive in compression.
    sign *= (-1 if virial else 1) * (-1 if options.turn_stress else 1)
    factor = 1 / volume if unit == pressure.VIRIAL else pressure.UNITS[unit]
    pressure.refuse_asymmetric(value, factor, key)
    stress = sign * factor * given
    limit = pressure.LARGEST if options.stress_unit is None else pressure.LARGEST_OF_NAMED_UNIT
    if np.abs(stress).max() > limit:  # NaN is refused later, by name
        raise ImplausibleStress(_implausible(given, key, volume, unit, float(np.abs(stress).max())))
    return stress


def _implausible(given: np.ndarray, key: str, volume: float, unit: str, largest: float) -> str:
    likely = [other for other in pressure.looks_like(given, volume) if other != unit]
    if not likely:
        return (
            f"'{key}' reaches {largest / pressure.UNITS['GPa']:.3g} GPa if it is in {unit}; name its unit "
            "with --stress-unit, or remove the frame"
        )
    meaning = " (a virial, not divided by the volume)" if likely[0] == pressure.VIRIAL else ""
    others = f", or {' or '.join(likely[1:])}" if likely[1:] else ""
    return (
        f"'{key}' reaches {largest / pressure.UNITS['GPa']:.3g} GPa if it is in {unit}; it looks like "
        f"{likely[0]}{meaning}: give --stress-unit {likely[0]}{others}"
    )
