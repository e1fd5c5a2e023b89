"""Tasks: fits, measurements, their parts, and learning curves, each with the key of all that decides it.

A task carries no data, only the hashes by which the store has it, so it can be sent to any process or machine
that sees the store.
"""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlip_bench.hardware import cpu_name, device_name
from mlip_bench.measure import BY_GROUP, MEASURES, Value, errors, fit, learning, metric
from mlip_bench.measure.base import Options
from mlip_bench.potentials import family
from mlip_bench.potentials.base import DESCRIPTION
from mlip_bench.results import Row, read_rows, versions
from mlip_bench.run.contents import TASK_ROWS, digest, installed
from mlip_bench.run.inputs import Data, PotentialPlan

FIT = "fit"

# Hexadecimal digits of a key: enough that no two tasks of the world share one.
KEY_DIGITS = 32


@dataclass(frozen=True, eq=False)
class Task:
    """Something to be done once: its kind, and all that decides its result."""

    @property
    def kind(self) -> str:
        """The kind of task."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What the user reads: ``fit gap``."""
        raise NotImplementedError

    @cached_property
    def decides(self) -> dict[str, Any]:
        """All that decides the result, and nothing else."""
        raise NotImplementedError

    @cached_property
    def key(self) -> str:
        """The hash of all that decides the result."""
        return digest(self.decides)[:KEY_DIGITS]

    @property
    def families(self) -> tuple[str, ...]:
        """The families that it works with."""
        return ()

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return False

    @property
    def needs(self) -> tuple["Task", ...]:
        """The tasks that have to be finished before."""
        return ()

    @property
    def parts(self) -> tuple["Part", ...]:
        """Those of them that have no rows, and work side by side."""
        return ()

    @property
    def structures(self) -> tuple[str, ...]:
        """The hashes of the structures that it reads in the store."""
        return ()

    @property
    def files(self) -> Mapping[str, tuple[Path, str]]:
        """The files that it reads and hyper-parameters name: path and SHA-256, by the hyper-parameter."""
        return {}

    @property
    def reads_files(self) -> bool:
        """Whether it reads other files beside the store, of the machine that it was planned on."""
        return False

    @property
    def alone(self) -> bool:
        """Whether nothing else may work on the machine meanwhile."""
        return False

    @property
    def cores(self) -> int:
        """On how many cores it works, where it is alone."""
        return 1

    @property
    def resumable(self) -> bool:
        """Whether it keeps its state in a checkpoint and goes on from there."""
        return False

    def verify(self, folder: Path) -> None:
        """Raise :class:`ValueError` where a folder does not hold what this task asks for."""


@dataclass(frozen=True, eq=False)
class PotentialTask(Task):
    """A fit or a measurement of a potential: what leaves rows."""

    @property
    def fit(self) -> "Fit":
        """The fit of the potential."""
        raise NotImplementedError

    @property
    def on_gpu(self) -> bool:
        """Whether the potential does."""
        return self.fit.device != "cpu"

    @property
    def structures(self) -> tuple[str, ...]:
        """Those of its data."""
        return self.fit.data.structures

    @property
    def families(self) -> tuple[str, ...]:
        """That of the potential."""
        return (self.fit.potential.family,)

    @property
    def revision(self) -> int:
        """Of the code that gives the numbers, beside that of the family."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What the user reads: ``fit gap``."""
        return f"{self.kind} {self.fit.potential.name}"

    def verify(self, folder: Path) -> None:
        """Raise :class:`ValueError` where the rows in a folder are not of this task."""
        rows = read_rows(folder / TASK_ROWS)
        of = {(row.measure.removesuffix(BY_GROUP), row.family, row.hypers_sha256, row.seed) for row in rows}
        asked = (self.kind, self.fit.potential.family, self.fit.potential.sha256, self.fit.seed)
        if of - {asked}:
            raise ValueError(f"rows of {sorted(map(str, of))} were written where {asked} was asked for")

    def rows(self, folder: Path) -> list[Row]:
        """Return the rows of the finished task, under the names that this run has."""
        data, name = self.fit.data, self.fit.potential.name
        return [
            dataclasses.replace(
                row,
                system=data.system,
                dataset=data.name,
                dataset_sha256=data.sha256,
                potential=name,
                seed=self.fit.seed,
                n_train=self.fit.n_train,
            )
            for row in read_rows(folder / TASK_ROWS)
        ]

    def failure(self, message: str, started: str, wall_s: float) -> Row:
        """Return the row of the task where it failed."""
        return self._row(None, message, started, wall_s, threads=0, n_parameters=None)

    def success(
        self, values: Sequence[Value], started: str, wall_s: float, threads: int, n_parameters: int | None
    ) -> list[Row]:
        """Return the rows of the task where it gave these values."""
        return [self._row(value, value.error, started, wall_s, threads, n_parameters) for value in values]

    def _row(
        self,
        value: Value | None,
        error: str | None,
        started: str,
        wall_s: float,
        threads: int,
        n_parameters: int | None,
    ) -> Row:
        by_group = BY_GROUP if value is not None and value.group is not None else ""
        potential, data = self.fit.potential, self.fit.data
        return Row(
            system=data.system,
            dataset=data.name,
            dataset_sha256=data.sha256,
            potential=potential.name,
            family=potential.family,
            hypers_sha256=potential.sha256,
            n_parameters=n_parameters,
            seed=self.fit.seed,
            measure=self.kind + by_group,
            metric=value.metric if value else "",
            split=value.split if value else None,
            value=value.value if value and value.error is None else None,
            unit=metric(self.kind, value.metric).unit if value else "",
            device=device_name(self.fit.device),
            threads=threads,
            cpu=cpu_name(),
            versions=versions(),
            started=started,
            wall_s=wall_s,
            error=error,
            n_atoms=value.n_atoms if value else None,
            group=value.group if value else None,
            spread=value.spread if value else None,
            note=value.note if value else None,
            implementation=value.implementation if value else None,
            revision=self.revision,
            family_revision=family(potential.family).revision,
            low=value.low if value else None,
            high=value.high if value else None,
            n_train=self.fit.n_train,
        )


@dataclass(frozen=True, eq=False)
class Fit(PotentialTask):
    """The fit of one potential, or the reading of one that is not fitted."""

    potential: PotentialPlan
    data: Data
    seed: int
    device: str
    trust: bool = False

    @property
    def kind(self) -> str:
        """The kind of task."""
        return FIT

    @property
    def fit(self) -> "Fit":
        """Itself."""
        return self

    @property
    def content(self) -> tuple[str, str]:
        """What is fitted, to whatever data: the family and the SHA-256 of the hyper-parameters."""
        return self.potential.family, self.potential.sha256

    @property
    def n_train(self) -> int | None:
        """Structures that it is fitted to; None of a potential that is read."""
        return self.data.n_train if self.potential.source is None else None

    @property
    def revision(self) -> int:
        """Of what is measured of a fit."""
        return fit.REVISION

    @property
    def resumable(self) -> bool:
        """Long fits are."""
        return self.potential.source is None

    @property
    def files(self) -> Mapping[str, tuple[Path, str]]:
        """Those that a fit begins with."""
        return self.potential.files if self.potential.source is None else {}

    @property
    def reads_files(self) -> bool:
        """What is not fitted is read."""
        return self.potential.source is not None

    @cached_property
    def decides(self) -> dict[str, Any]:
        """All that decides the potential; one that is read owes nothing to data and seed."""
        kind = family(self.potential.family)
        decides = {
            "task": FIT,
            "family": self.potential.family,
            "revision": [kind.revision, self.revision],
            "packages": installed(kind.packages),
            "potential": self.potential.content,
            "device": self.device,
        }
        if self.potential.source is not None:
            return decides
        return decides | {"train": self.data.train, "seed": self.seed if kind.stochastic else None}

    def verify(self, folder: Path) -> None:
        """Raise :class:`ValueError` where a folder does not hold this potential with its rows."""
        if self.potential.source is None:
            super().verify(folder)
        saved = json.loads((folder / DESCRIPTION).read_text())
        asked = json.loads(json.dumps(self.potential.resolved()))
        if saved["family"] != self.potential.family or (
            self.potential.source is None and saved["hypers"] != asked
        ):
            raise ValueError(
                f"{saved['family']} with {saved['hypers']} was saved where {asked} was asked for"
            )


@dataclass(frozen=True, eq=False)
class Measurement(PotentialTask):
    """One measurement of a fitted potential."""

    of: Fit
    measure: str
    preset: str
    options: Options = field(default_factory=dict)
    timed_on: tuple[str, str] | None = None
    """Processor and device, where a timing is not made on this machine."""
    n_cores: int = 1
    """On which it is timed."""

    @property
    def kind(self) -> str:
        """The measure."""
        return self.measure

    @property
    def label(self) -> str:
        """What the user reads: ``cost snap on 2 cores``."""
        return super().label + (f" on {self.n_cores} cores" if self.n_cores > 1 else "")

    @property
    def cores(self) -> int:
        """As many as it is timed on."""
        return self.n_cores

    @property
    def fit(self) -> Fit:
        """The fit of what is measured."""
        return self.of

    @property
    def needs(self) -> tuple[Task, ...]:
        """The fit, and its parts."""
        return (self.of, *self.parts)

    @cached_property
    def parts(self) -> tuple["Part", ...]:
        """What is done side by side, where the measure has parts of such a potential."""
        parts, kind = MEASURES[self.measure].parts, family(self.of.potential.family)
        if parts is None or not (kind.conservative or parts.of_direct_forces):
            return ()
        if parts.of_fitted and self.of.potential.source is not None:
            return ()
        return tuple(Part(self, options) for options in parts.split(self.options, kind))

    @property
    def revision(self) -> int:
        """Of the measure."""
        return MEASURES[self.measure].revision

    @property
    def alone(self) -> bool:
        """Whether nothing else may work on the machine meanwhile."""
        return MEASURES[self.measure].alone

    @cached_property
    def decides(self) -> dict[str, Any]:
        """All that decides the numbers: a timing belongs to its machine, everything else travels."""
        measure, data = MEASURES[self.measure], self.of.data
        decides: dict[str, Any] = {
            "task": self.measure,
            "fit": self.of.key,
            "revision": self.revision,
            "packages": installed(measure.packages),
        }
        if measure.of_crystal:
            decides |= {"crystal": data.crystal, "reference": data.reference}
        elif self.alone:
            decides |= {"sample": data.sample}
        elif measure.of_training:
            decides |= {"train": data.train}
            if measure.of_sample:
                decides |= {"sample": data.sample}
        else:
            decides |= {"train": data.train, "test": data.test}
        if self.alone:
            processor, device = self.timed_on or (cpu_name(), device_name(self.of.device))
            decides |= {"processor": processor, "device": device, "threads": self.n_cores}
            decides |= {"named": data.named is not None}
        if measure.by_preset:
            decides |= {"preset": self.preset}
        if self.options:
            decides |= {"options": self.options}
        return decides


@dataclass(frozen=True, eq=False)
class Curve(PotentialTask):
    """The learning curve of a potential: the law through its errors over the number of structures."""

    of: Fit
    """The fit to all of the data, whose name it has."""
    points: tuple[Measurement, ...]
    """The errors that it is fitted to, of one potential and one test set."""

    @property
    def kind(self) -> str:
        """What its rows are rows of."""
        return learning.REPORTED.name

    @property
    def fit(self) -> Fit:
        """The fit to all of the data."""
        return self.of

    @property
    def needs(self) -> tuple[Task, ...]:
        """The errors."""
        return self.points

    @property
    def families(self) -> tuple[str, ...]:
        """None: it computes with errors alone."""
        return ()

    @property
    def on_gpu(self) -> bool:
        """It never is."""
        return False

    @property
    def structures(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def revision(self) -> int:
        """Of the law."""
        return learning.REVISION

    @cached_property
    def decides(self) -> dict[str, Any]:
        """The errors, how many structures each is of, and to how many the law is continued."""
        return {
            "task": self.kind,
            "revision": self.revision,
            "packages": installed(learning.PACKAGES),
            "points": [[point.key, point.fit.data.n_train] for point in self.points],
            "n_train": self.of.data.n_train,
        }


def curves(tasks: Sequence[PotentialTask], measured: Collection[PotentialTask]) -> list[Curve]:
    """Return the learning curves of potentials with fits to shares of the data, of errors that are measured.

    Fits with the same hyper-parameters are one curve; through too few points there is none.
    """
    fits = [task for task in tasks if isinstance(task, Fit)]
    drawn = {one.content for one in fits if one.potential.share is not None}
    found = []
    for content in dict.fromkeys(one.content for one in fits if one.content in drawn):
        whole = [one for one in fits if one.content == content and one.potential.share is None]
        points = {
            task.key: task
            for task in tasks
            if isinstance(task, Measurement)
            and task.kind == errors.MEASURE.name
            and task.fit.content == content
            and task in measured
        }
        if whole and learning.is_enough([point.fit.data.n_train for point in points.values()]):
            found.append(Curve(whole[0], tuple(points.values())))
    return found


@dataclass(frozen=True, eq=False)
class Part(Task):
    """A part of a measurement, which has no rows of its own: kept by its options, whatever the others are."""

    of: Measurement
    options: Options

    @property
    def kind(self) -> str:
        """The measure."""
        return self.of.kind

    @property
    def name(self) -> str:
        """What it is called within the measurement: ``seed 3``."""
        parts = MEASURES[self.of.measure].parts
        assert parts is not None
        return parts.name(self.options)

    @property
    def label(self) -> str:
        """What the user reads: ``conductivity snap, seed 3``."""
        return f"{self.of.label}, {self.name}"

    @cached_property
    def decides(self) -> dict[str, Any]:
        """All that decides what it leaves: as of the measurement, with its own options."""
        return self.of.decides | {"task": f"part of {self.of.measure}", "options": self.options}

    @property
    def families(self) -> tuple[str, ...]:
        """That of the potential."""
        return self.of.families

    @property
    def on_gpu(self) -> bool:
        """Whether the potential is."""
        return self.of.on_gpu

    @property
    def needs(self) -> tuple[Task, ...]:
        """The fit."""
        return (self.of.fit,)

    @property
    def structures(self) -> tuple[str, ...]:
        """Those of the measurement."""
        return self.of.structures

    @property
    def resumable(self) -> bool:
        """It keeps its state."""
        return True
