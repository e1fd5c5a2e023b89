"""What a measurement is: a function of a potential and a dataset that returns values.

Each measurement is one file in this folder with its metrics, their units and directions beside the code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlip_bench.data.dataset import Dataset
from mlip_bench.potentials.base import Potential, Progress


@dataclass(frozen=True)
class Metric:
    """Unit and meaning of one number; ``lower_is_better`` is None where neither direction is better."""

    unit: str
    description: str
    lower_is_better: bool | None = True


@dataclass(frozen=True)
class Value:
    """One measured number; ``spread`` is half the interquartile range of its repeats."""

    metric: str
    value: float
    split: str | None = None
    n_atoms: int | None = None
    group: str | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Subject:
    """What is measured, a folder that keeps what the report needs beside the values, and how thoroughly."""

    potential: Potential
    dataset: Dataset
    folder: Path
    preset: str = "standard"


@dataclass(frozen=True)
class Measure:
    """A named measurement of a fitted potential."""

    name: str
    metrics: dict[str, Metric]
    run: Callable[[Subject, Progress], list[Value]]
    alone: bool = False
    """True where nothing else of the run may work meanwhile, because time is measured."""
    by_preset: bool = False
    """True where the preset decides how thoroughly it is done."""
