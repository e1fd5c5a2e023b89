"""What a measurement is: a function of a potential and a dataset that returns values.

Each measurement is one folder here, with its metrics, their units and directions beside the code, and in
``section.py`` what the report says and shows of it.
"""

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from mlip_bench.data.base import Dataset
from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Potential, Progress
from mlip_bench.section.parts import Axis, Chart, Column, Section, Term

if TYPE_CHECKING:
    import pandas as pd

    from mlip_bench.section.evidence import Evidence

Curves = dict[str, np.ndarray]
"""What is drawn: arrays by name."""

Options = Mapping[str, Any]
"""What a user can choose of a measurement, by name, as JSON has it."""

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
    compared: bool = True
    """False where a property is not set against first principles in per cent: it says something of the
    calculation rather than of the crystal, or is a deviation already."""
    near_zero: float = 0.0
    """Of a property: where first principles have no more than this, a share of it says nothing."""


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
    low: float | None = None
    """With ``high``: the ends of its 95 % interval, where it has one."""
    high: float | None = None
    implementation: str | None = None
    """Whose code was timed: see :class:`mlip_bench.results.Row`."""


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
    options: Options = field(default_factory=dict)
    parts: tuple[Path, ...] = ()
    """The folders of the measurement's parts, in order, where it has any."""
    unfitted: Potential | None = None
    """A potential with the same hyper-parameters that was not fitted; None of one that was read."""
    seed: int = 0
    """Of its fit."""
    cores: int = 1
    """On how many cores it is timed."""
    checkpoint: Path | None = None
    """A folder in which a part keeps its state and goes on from there."""

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


def beside(package: str, function: str = "sections") -> Callable[..., Any]:
    """Return a function of a package's module ``section``, which is imported when a report is made.

    Tables and figures bring libraries that no measurement needs.
    """
    return lambda *given: getattr(importlib.import_module(f"{package}.section"), function)(*given)


@dataclass(frozen=True)
class Reported:
    """Numbers of fitted potentials by name, and what a report says of them."""

    name: str
    metrics: dict[str, Metric]
    sections: Callable[["Evidence"], list[Section]] = field(default=lambda evidence: [], kw_only=True)
    """The sections of the report, from what a run found; none where it has nothing to say."""
    ranked: bool = field(default=False, kw_only=True)
    """True where each potential has one of each number (or one per split, of which the test data's counts):
    these stand in the ranking that every section sees."""
    errors: tuple[Axis, ...] = field(default=(), kw_only=True)
    """The metrics, those of ``ranked``, that are errors on the first page; the first ranks the potentials."""
    costs: tuple[Axis, ...] = field(default=(), kw_only=True)
    """The metrics that are what a potential costs; the first is set against the errors on the first page."""
    columns: tuple[Column, ...] = field(default=(), kw_only=True)
    """What it brings to the table of the ranking."""
    note: Callable[["Evidence"], str] = field(default=lambda evidence: "", kw_only=True)
    """What it says below that table."""
    terms: Callable[["Evidence"], list[Term]] = field(default=lambda evidence: [], kw_only=True)
    """The numbers of potentials that a verdict can weigh, also those that nothing was measured of: a profile
    may name them."""
    charts: Callable[["Evidence", str], list[Chart]] = field(
        default=lambda evidence, potential: [], kw_only=True
    )
    """What is drawn of one potential, by its name, when a reader opens it."""
    treated: Callable[["Evidence", str], str] = field(default=lambda evidence, family: "", kw_only=True)
    """What it did with the potentials of a family, in plain words: others may have been treated otherwise."""
    cautions: Callable[["Evidence", str], list[str]] = field(
        default=lambda evidence, potential: [], kw_only=True
    )
    """What speaks against a potential, by its name, and must be said before anybody takes it."""
    told: frozenset[str] = field(default=frozenset(), kw_only=True)
    """The metrics whose notes its own section says in full: the notes of the first page leave them out."""
    compared: Callable[["Evidence"], "pd.DataFrame"] | None = field(default=None, kw_only=True)
    """What sets potentials against each other: columns more for the ranking, a row per potential."""
    adjusted: Callable[["pd.DataFrame"], "pd.DataFrame"] = field(default=lambda rows: rows, kw_only=True)
    """The rows of a run as a report shows them, where that is not as they were measured."""


@dataclass(frozen=True)
class Parts:
    """Work that a measurement draws on: parts that are done side by side, and each kept as it is finished."""

    split: Callable[[Options, type[Potential]], Sequence[Options]]
    """The options of each part, from those of the measurement and the family: they decide what it leaves."""
    name: Callable[[Options], str]
    """What the user reads of a part: ``seed 3``."""
    run: Callable[[Subject, Progress], None]
    """Do the part that the subject's options describe, and leave files in its folder."""
    of_direct_forces: bool = False
    """False where a potential with direct forces has no parts, and the measurement says why."""
    of_fitted: bool = False
    """True where a potential that was read has no parts, and the measurement says why."""


@dataclass(frozen=True)
class Measure(Reported):
    """A named measurement of a fitted potential."""

    run: Callable[[Subject, Progress], list[Value]]
    revision: int
    """Raised whenever a result changes: values of one revision are never taken for those of another."""
    packages: tuple[str, ...]
    """Distributions whose version decides the values, beside those of the potential."""
    alone: bool = False
    """True where nothing else of the run may work meanwhile, because dynamics are run and timed."""
    on_cores: bool = False
    """True where it is measured on as many cores as the user says, not on one."""
    by_preset: bool = False
    """True where the preset decides how thoroughly it is done."""
    of_training: bool = False
    """True where the training data alone is read, and decides the result."""
    of_sample: bool = False
    """True where, of what reads the training data, the structure that dynamics run on is measured, too."""
    of_crystal: bool = False
    """True where a property of the dataset's crystal is measured, which decides the result."""
    options: Callable[[str, Options], Options] = field(default=lambda preset, given: {})
    """All options, of a preset and of those that were given; raises UserError where one is wrong."""
    parts: Parts | None = None
    needs: frozenset[str] = frozenset()
    """What a potential must predict beside forces: ``energy``, ``stress``."""

    def impossible(self, kind: type[Potential]) -> str | None:
        """Say why it cannot be measured of a family; None where it can."""
        lacking = sorted(self.needs - kind.predicts)
        return f"not possible: {kind.family} predicts no {' and no '.join(lacking)}" if lacking else None

    def measured(self, subject: Subject, progress: Progress) -> list[Value]:
        """Return its values of a potential; where the family lacks what it needs, one that says so."""
        reason = self.impossible(type(subject.potential))
        if reason is None:
            return self.run(subject, progress)
        return [Value(next(iter(self.metrics)), np.nan, error=f"{self.name}: {reason}")]
