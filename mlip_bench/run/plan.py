"""What a run is to do: potentials, the tasks of each, and for every task the key of all that decides it.

Nothing is computed here and nothing is written: two plans with the same content have the same keys. A task
carries no data, only the hashes by which the store has it, so it can be sent to any process or machine that
sees the store.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ase import Atoms

from mlip_bench.data.dataset import Dataset
from mlip_bench.data.reference import is_isolated_atom, stress
from mlip_bench.data.splits import RANDOM, subset
from mlip_bench.errors import UserError
from mlip_bench.hardware import cpu_name, device_name
from mlip_bench.measure import BY_GROUP, MEASURES, Value, errors, first_principles, fit, learning, metric
from mlip_bench.measure.base import Options
from mlip_bench.potentials import Potential, family, load
from mlip_bench.potentials.base import DESCRIPTION
from mlip_bench.results import TASK, Row, read_rows, versions

FIT = "fit"
TASK_ROWS = "rows.jsonl"

# Beside a published potential: what belongs to its coefficients, and files that define how they are used.
COMPANION = ".snapparam"
DEFINITIONS = (".snap", ".mod")

# Files (bytes) that are looked through for the names of others.
LARGEST_DEFINITION = 10_000_000

# Hexadecimal digits of a key: enough that no two tasks of the world share one.
KEY_DIGITS = 32


@dataclass(frozen=True)
class PotentialPlan:
    """One potential: its name in the report, its family, and its hyper-parameters.

    It is fitted, or read from ``source``, a saved or published potential, and measured as it is.
    """

    name: str
    family: str
    hypers: Mapping[str, Any]
    source: Path | None = None
    seed: int | None = None
    """Of this potential, where it is not the plan's."""
    share: float | None = None
    """The share of the training data that it is fitted to, drawn by its seed; None for all of it."""

    @cached_property
    def content(self) -> dict[str, Any]:
        """All hyper-parameters, defaults included, files by their content, and those of one that is read.

        Raises :class:`UserError` where a hyper-parameter is wrong or a file cannot be read.
        """
        hypers = self.resolved()
        for name in family(self.family).file_hypers:
            if Path(hypers[name]).is_file():  # else the word is a name, of a model that ships
                hypers[name] = _digests(Path(hypers[name]), [Path(hypers[name])])
        return (
            hypers
            if self.source is None
            else {"hypers": hypers, "source": _digests(self.source, files_of(self.source))}
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content."""
        return digest(self.content)

    def resolved(self) -> dict[str, Any]:
        """Return all hyper-parameters, defaults included; raises UserError where one is wrong."""
        return dataclasses.asdict(family(self.family)(**self.hypers).hypers)

    def with_whole_paths(self) -> dict[str, Any]:
        """Return all hyper-parameters; files that they name are found from any folder."""
        hypers = self.resolved()
        for name in family(self.family).file_hypers:
            if Path(hypers[name]).is_file():
                hypers[name] = str(Path(hypers[name]).absolute())
        return hypers

    @property
    def files(self) -> dict[str, tuple[Path, str]]:
        """The files that hyper-parameters name: by the hyper-parameter, path and SHA-256 of the content."""
        hypers, content = self.resolved(), self.content
        if self.source is not None:
            content = content["hypers"]
        return {
            name: (path, content[name][path.name])
            for name in family(self.family).file_hypers
            if isinstance(content[name], dict) and (path := Path(hypers[name]))
        }

    def fits_stress(self, train: Sequence[Atoms]) -> bool | None:
        """Tell whether the fit uses stress, which ``train`` must have; None of what is read: nobody says."""
        if self.source is not None:
            return None
        fits = family(self.family)(**self.hypers).fits_stress
        return fits and any(stress(atoms) is not None for atoms in train)

    def read(self, trust: bool) -> Potential:
        """Read a potential that is not fitted, with the hyper-parameters that its file leaves open."""
        assert self.source is not None
        names = () if (self.source / DESCRIPTION).is_file() else family(self.family).set_on_reading
        hypers = self.resolved()
        return load(self.source, trust=trust, **{name: hypers[name] for name in names})


@dataclass(frozen=True)
class Data:
    """A dataset as tasks know it: hashes by which the store has its structures, and its names."""

    system: str
    name: str
    sha256: str
    train: str
    test: str
    crystal: str | None
    named: str | None
    """The slab or molecule that the user named for dynamics."""
    sample: str | None
    """The structure that dynamics are run on."""
    reference: str
    """SHA-256 of the reference from first principles, or ``none``."""
    n_train: int
    """Structures in training, isolated atoms not counted."""
    subsets: Mapping[tuple[float, int], tuple[str, int]] = field(default_factory=dict)
    """Of subsets of the training data, by share and seed: the hash, and ``n_train``."""

    @property
    def structures(self) -> tuple[str, ...]:
        """The hashes of all structures."""
        every = (self.train, self.test, self.crystal, self.named)
        return tuple(dict.fromkeys(sha256 for sha256 in every if sha256 is not None))

    def subset(self, share: float, seed: int) -> "Data":
        """Return the same data with a share of the training structures; all else stays."""
        train, n_train = self.subsets[share, seed]
        return dataclasses.replace(self, train=train, n_train=n_train, subsets={})

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        put: Callable[[Sequence[Atoms]], str],
        subsets: Mapping[tuple[float, int], Sequence[Atoms]] = MappingProxyType({}),
    ) -> "Data":
        """Return what tasks know of a dataset; ``put`` keeps structures and returns their SHA-256."""
        return cls(
            system=dataset.system,
            name=dataset.name,
            sha256=dataset.sha256,
            train=put(dataset.train),
            test=put(dataset.test),
            crystal=None if dataset.crystal is None else put([dataset.crystal]),
            named=None if dataset.named is None else put([dataset.named]),
            sample=None if dataset.sample is None else put([dataset.sample]),
            reference=first_principles.digest(dataset.system, dataset.crystal),
            n_train=n_surroundings(dataset.train),
            subsets={drawn: (put(train), n_surroundings(train)) for drawn, train in subsets.items()},
        )


def n_surroundings(structures: Sequence[Atoms]) -> int:
    """Return how many structures there are, isolated atoms not counted: they only fix a zero."""
    return sum(not is_isolated_atom(atoms) for atoms in structures)


@dataclass(frozen=True)
class Plan:
    """Everything that decides the results of a run."""

    dataset: Dataset
    potentials: tuple[PotentialPlan, ...]
    measures: tuple[str, ...]
    seed: int = 0
    device: str = "cpu"
    preset: str = "standard"
    trust: bool = False
    """Let files that are read run code of their authors; it changes no result."""
    given: Mapping[str, Options] = field(default_factory=dict)
    """What the user chose of measures, by their names; the preset decides the rest."""
    timed_on: tuple[str, str] | None = None
    """Processor and device of timings, where they are not made on this machine."""
    cores: tuple[int, ...] = (1,)
    """The numbers of cores that measures of the cost are made on, each in rows of its own."""
    split: str = RANDOM
    """How shares of the training data are drawn."""
    limited: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By measure: the potentials that alone are measured, where these are not all."""
    profile: Mapping[str, Any] | None = None
    """What the report weighs, where that is not its default: name, description, and weights by metric."""

    def __post_init__(self) -> None:
        """Raise :class:`UserError` where two potentials have one name: their results would be mixed up.

        And where options are of no measure of the plan, or wrong.
        """
        options_of(self.measures, self.preset, self.given)
        seen: dict[str, PotentialPlan] = {}
        for potential in self.potentials:
            if potential.name in seen:
                raise UserError(f"two potentials of this run are called '{potential.name}'; name them apart")
            seen[potential.name] = potential

    def data(self, put: Callable[[Sequence[Atoms]], str]) -> Data:
        """Return what the tasks know of the data; ``put`` keeps structures and returns their SHA-256."""
        return Data.of(self.dataset, put, self.subsets)

    @cached_property
    def subsets(self) -> dict[tuple[float, int], list[Atoms]]:
        """The shares of the training data that potentials are fitted to, by share and seed.

        Raises :class:`UserError` where one is too small.
        """
        drawn = {(one.share, self._seed(one)) for one in self.potentials if one.share is not None}
        train = self.dataset.train
        return {(share, seed): subset(train, share, seed, self.split) for share, seed in sorted(drawn)}

    def _seed(self, potential: PotentialPlan) -> int:
        return self.seed if potential.seed is None else potential.seed

    def tasks(self, data: Data) -> list["PotentialTask"]:
        """Return all tasks in the order in which their rows stand in the results."""
        return [task for potential in self.potentials for task in self.tasks_of(potential, data)]

    def tasks_of(self, potential: PotentialPlan, data: Data) -> list["PotentialTask"]:
        """Return the tasks of one potential: the fit and then its measurements."""
        seed = self._seed(potential)
        own = data if potential.share is None else data.subset(potential.share, seed)
        fit = Fit(potential, own, seed, self.device, self.trust)
        options = self.options
        return [
            fit,
            *(
                Measurement(fit, measure, self.preset, options[measure], self.timed_on, cores)
                for measure in self.measures
                for cores in (self.cores if MEASURES[measure].on_cores else (1,))
                if potential.name in self.limited.get(measure, (potential.name,))
            ),
        ]

    @property
    def options(self) -> dict[str, Options]:
        """All options of each measure."""
        return options_of(self.measures, self.preset, self.given)


def options_of(measures: Sequence[str], preset: str, given: Mapping[str, Options]) -> dict[str, Options]:
    """Return all options of each measure: of the preset, and those that the user chose, by measure.

    Raises :class:`UserError` where one is wrong, or of a measure that is not among them.
    """
    for measure, chosen in given.items():
        if chosen and measure not in measures:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
            raise UserError(f"{names}: only with --measure {measure}")
    return {measure: MEASURES[measure].options(preset, given.get(measure, {})) for measure in measures}


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


def installed(packages: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of distributions, None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in sorted(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def digest(value: object) -> str:
    """Return the SHA-256 of JSON content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digests(of: Path, files: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name within a folder, or beside a file."""
    folder = of if of.is_dir() else of.parent
    try:
        return {str(path.relative_to(folder)): _digest_of_file(path) for path in sorted(files)}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error


def files_of(source: Path) -> list[Path]:
    """Return the files that a potential is read from: those of its folder, or one and what belongs to it.

    Beside a file these are its companions (``.snapparam`` of ``.snapcoeff``), definitions that name it
    (``.snap``, ``.mod``), and the files that any of these name.
    """
    if source.is_dir():
        own = [path for path in source.rglob("*") if path.is_file()]
        seen = [path for path in own if not any(part[0] == "." for part in path.relative_to(source).parts)]
        return [path for path in seen if path not in (source / TASK_ROWS, source / TASK)]
    beside = {path.name: path for path in source.parent.iterdir() if path.is_file()}
    definitions = [name for name in beside if name.endswith(DEFINITIONS)]
    definitions = [name for name in definitions if source.name in _words(beside[name])]
    found: set[str] = set()
    latest = {source.name, f"{source.stem}{COMPANION}", *definitions} & set(beside)
    while latest:
        found |= latest
        latest = {word for name in latest for word in _words(beside[name]) if word in beside} - found
    return [beside[name] for name in found]


def _words(path: Path) -> set[str]:
    """Return the words of a text file, and the values of its attributes; of a large or other file none."""
    if path.stat().st_size > LARGEST_DEFINITION:
        return set()
    return set(re.split(r"[\s\"'<>=]+", path.read_text(errors="replace")))


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
