"""What a measurement is: a function of a potential and a dataset that returns values.

Each measurement is one file in this folder with its metrics, their units and directions beside the code.
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip_bench.data.base import Dataset
from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Potential, Progress

Curves = dict[str, np.ndarray]
"""What is drawn: arrays by name."""

# Room (Å) that the copies of a slab or molecule have to each other in dynamics, beside a margin of 4 Å.
ROOM = 6.0

# What a measurement draws is kept here, in the folder of its task.
CURVES = "curves.npz"


@dataclass(frozen=True)
class Metric:
    """Unit and meaning of one number; ``lower_is_better`` is None where neither direction is better."""

    unit: str
    description: str
    lower_is_better: bool | None = True


@dataclass(frozen=True)
class Value:
    """One measured number; ``spread`` is half the interquartile range of its repeats.

    One of several numbers that could not be measured is NaN, and ``error`` says why.
    """

    metric: str
    value: float
    split: str | None = None
    n_atoms: int | None = None
    group: str | None = None
    spread: float | None = None
    error: str | None = None
    note: str | None = None
    """What a reader must know of how a good value came about."""


@dataclass(frozen=True)
class Found:
    """The numbers and curves of a property, of a potential or of the reference."""

    values: list[Value]
    curves: Curves = field(default_factory=dict)

    def value(self, metric: str, group: str | None = None) -> float:
        """Return one number; raises KeyError where it was not measured."""
        for value in self.values:
            if value.metric == metric and value.group == group and value.error is None:
                return value.value
        raise KeyError(metric)

    @property
    def errors(self) -> list[str]:
        """Why some of the numbers could not be measured."""
        return [value.error for value in self.values if value.error is not None]


@dataclass(frozen=True)
class Subject:
    """What is measured, a folder that keeps what the report needs beside the values, and how thoroughly."""

    potential: Potential
    dataset: Dataset
    folder: Path
    preset: str = "standard"
    fitted: bool = True
    """False where the potential was read, and may count its energies from another zero than the data."""

    def crystal(self, measure: str) -> Atoms:
        """Return the crystal to measure; raises UserError where the data has none."""
        if self.dataset.crystal is None:
            raise UserError(
                f"{measure}: needs a crystal, periodic in three directions, and there is none; give one with "
                "--crystal"
            )
        return self.dataset.crystal

    def sample(self, measure: str) -> Atoms:
        """Return the structure to run dynamics on, in a periodic box; raises UserError of isolated atoms."""
        if self.dataset.sample is None:
            raise UserError(f"{measure}: the data has isolated atoms only; give a structure with --crystal")
        return in_periodic_box(self.dataset.sample, ROOM)

    def of_sample(self, values: Iterable[Value]) -> list[Value]:
        """Return values of dynamics; where they ran on no crystal, a note on each says on what."""
        on = self.dataset.on_copies
        if on is None:
            return list(values)
        return [
            dataclasses.replace(value, note="; ".join(filter(None, (value.note, on)))) for value in values
        ]

    def keep(self, found: Found) -> list[Value]:
        """Leave the curves of a property in the folder, and return its values."""
        if found.curves:
            np.savez_compressed(self.folder / CURVES, **found.curves)  # type: ignore[arg-type]  # names are ours
        return found.values


@dataclass(frozen=True)
class Measure:
    """A named measurement of a fitted potential."""

    name: str
    metrics: dict[str, Metric]
    run: Callable[[Subject, Progress], list[Value]]
    revision: int
    """Raised whenever a result changes: values of one revision are never taken for those of another."""
    packages: tuple[str, ...]
    """Distributions whose version decides the values, beside those of the potential."""
    alone: bool = False
    """True where nothing else of the run may work meanwhile, because dynamics are run and timed."""
    by_preset: bool = False
    """True where the preset decides how thoroughly it is done."""
    of_crystal: bool = False
    """True where a property of the dataset's crystal is measured, which decides the result."""
