"""Stress as files have it: units, shapes, and the unit that numbers look like.

Our own is eV/Å³ with ASE's sign, positive under tension, in the order xx yy zz yz xz xy.
"""

from functools import lru_cache

import numpy as np
from ase import units

from mlip_bench.data import voigt
from mlip_bench.errors import UserError, did_you_mean

# eV/Å³ of each unit; `eV` is a stress times the volume.
VIRIAL = "eV"
UNITS = {
    "eV/A3": 1.0,
    "Hartree/Bohr3": units.Hartree / units.Bohr**3,
    "Ry/Bohr3": units.Rydberg / units.Bohr**3,
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
    "MPa": 1e-3 * units.GPa,
    "bar": 1e-4 * units.GPa,
    "Pa": 1e-9 * units.GPa,
}

SPELLINGS = {
    "".join(spelling.casefold().split()): unit
    for unit, spellings in {
        "eV/A3": ("eV/A3", "eV/A^3", "eV/A**3", "eV/Å3", "eV/Å^3", "eV/Å**3", "eV/Å³", "eV/Ang3", "eV/Ang^3"),
        "Hartree/Bohr3": ("Hartree/Bohr3", "Hartree/Bohr^3", "Ha/Bohr3", "Ha/Bohr^3", "Ha/Bohr**3"),
        "Ry/Bohr3": ("Ry/Bohr3", "Ry/Bohr^3", "Ry/Bohr**3"),
        "kbar": ("kbar", "kB"),
        VIRIAL: (VIRIAL,),
    }.items()
    for spelling in spellings
} | {unit.casefold(): unit for unit in UNITS}

# Beyond this (eV/Å³) a stress component is taken for another unit: matter at some hundred GPa is rare.
LARGEST = 500 * units.GPa

# Where the user names the unit, components up to here (eV/Å³) are believed.
LARGEST_OF_NAMED_UNIT = 10 * LARGEST

# What a stress of condensed matter usually stays below (eV/Å³), and its largest component usually exceeds.
USUAL, LEAST = 200 * units.GPa, 0.01 * units.GPa

# A matrix is symmetric if its halves agree to this share of its largest component, or to this (eV/Å³).
ASYMMETRY, ASYMMETRY_EV = 0.01, 1e-5


@lru_cache
def parse_unit(text: str) -> tuple[str, float]:
    """Return a unit of ``UNITS`` or ``VIRIAL``, and the sign in front of it; raises :class:`UserError`."""
    sign = -1.0 if text.strip().startswith("-") else 1.0
    unit = SPELLINGS.get("".join(text.strip().lstrip("+-").casefold().split()))
    if unit is None:
        raise UserError(f"--stress-unit {text}: unknown{did_you_mean(text.strip('+- '), [*UNITS, VIRIAL])}")
    return unit, sign


def symmetric(values: object, key: str) -> np.ndarray:
    """Return a stress or virial (6,), in any unit, of 6 numbers in ASE's order or the 9 of a matrix."""
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise UserError(f"'{key}' is not made of numbers") from error
    if numbers.size == 6:
        return numbers.reshape(6)
    if numbers.size != 9:
        raise UserError(
            f"'{key}' has {numbers.size} numbers; a stress has 6 (xx yy zz yz xz xy) or the 9 of a matrix"
        )
    matrix = numbers.reshape(3, 3)
    return voigt.from_matrix((matrix + matrix.T) / 2)


def refuse_asymmetric(values: object, factor: float, key: str) -> None:
    """Raise :class:`UserError` for a matrix that is not symmetric; ``factor`` leads to eV/Å³."""
    matrix = np.asarray(values, dtype=float)
    if matrix.size != 9 or not np.all(np.isfinite(matrix)):
        return
    matrix = matrix.reshape(3, 3) * abs(factor)
    apart = np.abs(matrix - matrix.T).max()
    if apart > max(ASYMMETRY * np.abs(matrix).max(), ASYMMETRY_EV):
        raise UserError(f"'{key}' is a matrix that is not symmetric; repair the frame")


def looks_like(numbers: np.ndarray, volume: float) -> list[str]:
    """Return the units in which these numbers would be a usual stress, the likelier unit first."""
    largest = float(np.abs(numbers).max())
    factors = {unit: UNITS[unit] for unit in ("GPa", "kbar", "bar", "MPa", "Pa")} | {VIRIAL: 1 / volume}
    return [unit for unit, factor in factors.items() if LEAST <= largest * factor <= USUAL]
