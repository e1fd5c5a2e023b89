"""What each structure adds to an error: the sums that intervals and comparisons are drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

# Components of a stress.
N_STRESS = 6


@dataclass(frozen=True)
class Sums:
    """One row per structure, in the order of the data: what its deviations of one quantity sum up to."""

    numbers: np.ndarray
    """Its number in the data, from 1 (n,)."""
    groups: np.ndarray
    """Its group (n,)."""
    counts: np.ndarray
    """Components that are finite (n,); of none a structure is left out."""
    squares: np.ndarray
    """Sum of the squared deviations (n,), in the square of the unit of the error."""
    absolutes: np.ndarray
    """Sum of the absolute deviations (n,)."""

    @classmethod
    def of(cls, table: Mapping[str, np.ndarray], quantity: str) -> Self | None:
        """Return the sums of ``energy``, ``force`` or ``stress`` of a comparison.

        None where nobody knows which of its numbers belong to which structure: predictions that an earlier
        version kept.
        """
        numbers = structure_of_each(table, quantity)
        pairs = table[quantity]
        if numbers is None or len(numbers) != len(pairs):
            return None
        finite = np.isfinite(pairs).all(axis=1)
        deviations = pairs[finite, 1] - pairs[finite, 0]
        order, first, place = np.unique(numbers[finite], return_index=True, return_inverse=True)
        return cls(
            numbers=order,
            groups=table[f"{quantity}_group"][finite][first],
            counts=np.bincount(place).astype(float),
            squares=np.bincount(place, deviations**2),
            absolutes=np.bincount(place, np.abs(deviations)),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def among(self, numbers: np.ndarray) -> Self:
        """Return those of the structures with these numbers."""
        kept = np.isin(self.numbers, numbers)
        return type(self)(
            self.numbers[kept],
            self.groups[kept],
            self.counts[kept],
            self.squares[kept],
            self.absolutes[kept],
        )


def structure_of_each(table: Mapping[str, np.ndarray], quantity: str) -> np.ndarray | None:
    """Return the number of the structure that each row of a quantity is of; None where nobody knows."""
    structures = table.get("extrapolating")
    if structures is None:
        return None
    if quantity == "energy":
        return structures[:, 0]
    if quantity == "force":
        return np.repeat(structures[:, 0], 3 * structures[:, 1])
    having = table.get("stress_number")
    if having is None:  # an earlier version: known where all have a stress, or none
        having = structures[: len(table["stress"]) and len(structures), 0]
    return np.repeat(having, N_STRESS)


def of_split(kept: Mapping[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """Return the comparison of one split from the arrays that a measurement kept of all."""
    prefix = f"{split}_"
    return {key.removeprefix(prefix): values for key, values in kept.items() if key.startswith(prefix)}
