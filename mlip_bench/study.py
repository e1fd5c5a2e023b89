"""A run: a plan of tasks, each done once and kept, in a folder that can be resumed.

A task (a fit, or a measurement of a fitted potential) is a function of picklable input, runs in a child
process, and leaves a folder named after the hash of all that decides its result. So a repeated command
does only what is missing, whatever ended the run before.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import tomli_w
from ase import Atoms

import mlip_bench
from mlip_bench.child import ChildFailed, available_cores, run_in_child
from mlip_bench.data.dataset import Dataset
from mlip_bench.data.reference import stress
from mlip_bench.errors import UserError
from mlip_bench.measure import BY_GROUP, MEASURES, Subject, Value, first_principles, metric
from mlip_bench.measure import fit as fitting
from mlip_bench.measure.base import CURVES
from mlip_bench.measure.errors import PREDICTIONS
from mlip_bench.potentials import Potential, family, load
from mlip_bench.potentials.base import DESCRIPTION as SAVED
from mlip_bench.potentials.base import Progress
from mlip_bench.results import (
    DESCRIPTION,
    DRAWN,
    PREDICTED,
    RESULTS,
    Row,
    cpu_name,
    device_name,
    read_rows,
    versions,
    write_atomically,
    write_rows,
)

POTENTIALS = "potentials"
TASKS = "tasks"
TASK_ROWS = "rows.jsonl"
FIT = "fit"


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

    @property
    def sha256(self) -> str:
        """SHA-256 of all hyper-parameters, defaults included, and of the files of one that is read."""
        if self.source is None:
            return _digest(self.resolved())
        return _digest([self.resolved(), {path.name: _file_digest(path) for path in _files_of(self.source)}])

    def resolved(self) -> dict[str, Any]:
        """Return all hyper-parameters, defaults included; raises UserError where one is wrong."""
        return dataclasses.asdict(family(self.family)(**self.hypers).hypers)

    def fits_stress(self, train: Sequence[Atoms]) -> bool | None:
        """Tell whether the fit uses stress, which ``train`` must have; None of what is read: nobody says."""
        if self.source is not None:
            return None
        fits = family(self.family)(**self.hypers).fits_stress
        return fits and any(stress(atoms) is not None for atoms in train)

    def read(self, trust: bool) -> Potential:
        """Read a potential that is not fitted, with the hyper-parameters that its file leaves open."""
        assert self.source is not None
        names = () if (self.source / SAVED).is_file() else family(self.family).set_on_reading
        hypers = self.resolved()
        return load(self.source, trust=trust, **{name: hypers[name] for name in names})


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

    def tasks(self, folder: Path) -> list["Task"]:
        """Return all tasks in the order in which their rows stand in the results."""
        return [
            Task(self, potential, measure, folder / TASKS)
            for potential in self.potentials
            for measure in (FIT, *self.measures)
        ]


@dataclass(frozen=True)
class Task:
    """A fit, or one measurement of a fitted potential."""

    plan: Plan = field(repr=False)
    potential: PotentialPlan
    measure: str
    store: Path

    @property
    def seed(self) -> int:
        """The seed of the fit."""
        return self.plan.seed if self.potential.seed is None else self.potential.seed

    @property
    def wall_s(self) -> float:
        """Seconds that a finished task took."""
        return max((row.wall_s for row in read_rows(self.folder / TASK_ROWS)), default=0.0)

    @property
    def alone(self) -> bool:
        """Whether nothing else of the run may work meanwhile."""
        return self.measure != FIT and MEASURES[self.measure].alone

    @property
    def of_crystal(self) -> bool:
        """Whether the dataset's crystal decides the result."""
        return self.measure != FIT and MEASURES[self.measure].of_crystal

    @property
    def _structure_sha256(self) -> str:
        """SHA-256 of the structure that decides the result, or ``any`` where none does."""
        if self.of_crystal:
            return self.plan.dataset.crystal_sha256
        return self.plan.dataset.sample_sha256 if self.alone else "any"

    @property
    def folder(self) -> Path:
        """Where the finished task is kept: a readable name and the hash of all that decides it."""
        decides = {
            "mlip_bench": mlip_bench.__version__,
            "dataset": self.plan.dataset.sha256,
            "family": self.potential.family,
            "hypers": self.potential.sha256,
            "seed": self.seed,
            "device": self.plan.device,
            "measure": self.measure,
            # A timing belongs to its machine; everything else travels.
            "cpu": cpu_name() if self.alone else "any",
            "crystal": self._structure_sha256,
        }
        if self.of_crystal:
            decides["reference"] = first_principles.digest(
                self.plan.dataset.system, self.plan.dataset.crystal
            )
        if self.measure != FIT and MEASURES[self.measure].by_preset:
            decides["preset"] = self.plan.preset
        return self.store / f"{self.potential.name}-{self.measure}-{_digest(decides)[:16]}"

    @property
    def checkpoint(self) -> Path:
        """Where a long fit keeps its state until it is done."""
        return self.folder.with_suffix(".checkpoint")

    @property
    def is_done(self) -> bool:
        """Whether the task has been finished, in this run or before."""
        return (self.folder / TASK_ROWS).is_file()

    @property
    def fit(self) -> "Task":
        """The fit of the same potential."""
        return dataclasses.replace(self, measure=FIT)

    @property
    def label(self) -> str:
        """What the user reads: ``fit gap``."""
        return f"{self.measure} {self.potential.name}"

    def rows(self) -> list[Row]:
        """Return the rows of a finished task, under the names that this run gives system and data."""
        system, dataset = self.plan.dataset.system, self.plan.dataset.name
        rows = read_rows(self.folder / TASK_ROWS)
        return [dataclasses.replace(row, system=system, dataset=dataset) for row in rows]

    def failure(self, message: str, started: str, wall_s: float) -> Row:
        """Return the row of a failed task."""
        return self._row(None, message, started, wall_s, threads=0, n_parameters=None)

    def success(
        self, values: Sequence[Value], started: str, wall_s: float, threads: int, n_parameters: int
    ) -> list[Row]:
        """Return the rows of a finished task."""
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
        return Row(
            system=self.plan.dataset.system,
            dataset=self.plan.dataset.name,
            dataset_sha256=self.plan.dataset.sha256,
            potential=self.potential.name,
            family=self.potential.family,
            hypers_sha256=self.potential.sha256,
            n_parameters=n_parameters,
            seed=self.seed,
            measure=self.measure + by_group,
            metric=value.metric if value else "",
            split=value.split if value else None,
            value=value.value if value and value.error is None else None,
            unit=metric(self.measure, value.metric).unit if value else "",
            device=device_name(self.plan.device),
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
        )


def perform(task: Task, partial: Path, threads: int, progress: Progress) -> None:
    """Do one task, in a child process, leaving its rows and files in the folder ``partial``."""
    started, start = _now(), time.perf_counter()
    # What backends leave in temporary files goes with the folder if this process is killed.
    tempfile.tempdir = str(partial)
    if task.measure == FIT and task.potential.source is not None:
        potential = task.potential.read(task.plan.trust)
        potential.save(partial)
        values = []
    elif task.measure == FIT:
        potential = family(task.potential.family)(**task.potential.hypers).on(task.plan.device)
        potential.trusting(task.plan.trust)
        values = fitting.fit(potential, task.plan.dataset, task.seed, partial, task.checkpoint, progress)
    else:
        potential = load(task.fit.folder).on(task.plan.device)
        fitted = task.potential.source is None
        subject = Subject(potential, task.plan.dataset, partial, task.plan.preset, fitted)
        values = MEASURES[task.measure].run(subject, progress)
    wall_s = time.perf_counter() - start
    write_rows(partial / TASK_ROWS, task.success(values, started, wall_s, threads, potential.n_parameters))


class Watcher:
    """What a run tells while it works; this one says nothing. The command line prints."""

    def started(self, task: Task) -> None:
        """A task has begun."""

    def progressed(self, task: Task, share: float, message: str) -> None:
        """A task has come so far."""

    def ended(self, task: Task, error: str | None) -> None:
        """A task is done, or has failed with this error."""


@dataclass
class Outcome:
    """What a run did: how many tasks it had to do, and which failed."""

    n_done: int = 0
    n_kept: int = 0
    failures: list[Row] = field(default_factory=list)


class Study:
    """Runs a plan in a folder; see the module's docstring.

    Parameters
    ----------
    jobs : fits and error measurements that run side by side, each on its share of the cores. Timings
        always run alone, on one core.
    """

    def __init__(self, plan: Plan, folder: Path, jobs: int = 1, watcher: Watcher | None = None):
        self.plan = plan
        self.folder = folder
        self.watcher = watcher or Watcher()
        self._cores = available_cores()
        self._jobs = max(1, min(jobs, len(self._cores)))
        self._tasks = plan.tasks(folder)
        self.outcome = Outcome()
        self._stop = threading.Event()

    def run(self) -> Outcome:
        """Do every task that is not done yet; write the results after each."""
        for leftover in (self.folder / TASKS).glob("*.partial"):
            shutil.rmtree(leftover)
        to_do = [task for task in self._tasks if not task.is_done]
        self.outcome.n_kept = len(self._tasks) - len(to_do)
        self._write_results()
        self._run_pool([task for task in to_do if not task.alone], self._jobs)
        self._run_pool([task for task in to_do if task.alone], 1)
        return self.outcome

    def stop(self) -> None:
        """End what runs, without a row, and start nothing more; another thread may call this."""
        self._stop.set()

    def _run_pool(self, tasks: list[Task], jobs: int) -> None:
        """Run tasks, ``jobs`` at a time, each after the fit that it needs."""
        free = self._core_sets(jobs, alone=bool(tasks) and tasks[0].alone)
        waiting, running = list(tasks), dict[Future[None], tuple[Task, list[int]]]()
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            try:
                while running or (waiting and not self._stop.is_set()):
                    if self._stop.is_set():
                        waiting.clear()
                    for task in self._ready(waiting)[: len(free)]:
                        waiting.remove(task)
                        cores = free.pop()
                        running[pool.submit(self._perform, task, cores)] = (task, cores)
                    if not running:
                        break  # what is left waits for a fit that failed
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        _, cores = running.pop(future)
                        free.append(cores)
                        future.result()
                        self._write_results()
            except BaseException:
                # The children do not see Ctrl-C: their threads end them, and then the pool can close.
                self._stop.set()
                raise

    def _ready(self, waiting: Sequence[Task]) -> list[Task]:
        return [task for task in waiting if task.measure == FIT or task.fit.is_done]

    def _core_sets(self, jobs: int, alone: bool) -> list[list[int]]:
        """Return the cores of each job; a timing gets the last one, away from core 0's interrupts."""
        if alone:
            return [[self._cores[-1]]]
        return [self._cores[index::jobs] for index in range(jobs)]

    def _perform(self, task: Task, cores: list[int]) -> None:
        """Do one task in a child process; a failure becomes a row."""
        self.watcher.started(task)
        started, start = _now(), time.perf_counter()
        partial = task.folder.with_suffix(".partial")
        partial.mkdir(parents=True, exist_ok=True)
        error = None
        try:
            run_in_child(
                perform,
                task,
                partial,
                len(cores),
                cores=cores,
                progress=lambda share, message: self.watcher.progressed(task, share, message),
                stop=self._stop,
            )
            partial.replace(task.folder)
            shutil.rmtree(task.checkpoint, ignore_errors=True)
            self.outcome.n_done += 1
        except ChildFailed as failure:
            if self._stop.is_set():
                return
            error = str(failure)
            wall_s = time.perf_counter() - start
            self.outcome.failures.append(task.failure(error, started, wall_s))
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self.watcher.ended(task, error)

    def _write_results(self) -> None:
        """Write the rows of all finished tasks, in the plan's order, and the potentials."""
        rows = [row for task in self._tasks if task.is_done for row in task.rows()]
        write_rows(self.folder / RESULTS, rows + self.outcome.failures)
        for task in self._tasks:
            if task.is_done:
                self._publish(task)

    def _publish(self, task: Task) -> None:
        """Show what a task left beside its rows under a plain name, by relative links.

        The potential becomes ``potentials/<name>``, the predictions ``predictions/<name>.npz``, and what a
        property's measurement draws ``curves/<name>-<measure>.npz``.
        """
        name = task.potential.name
        if task.measure == FIT:
            _link(self.folder / POTENTIALS / name, task.folder)
        elif (task.folder / PREDICTIONS).is_file():
            _link(self.folder / PREDICTED / f"{name}.npz", task.folder / PREDICTIONS)
        elif (task.folder / CURVES).is_file():
            _link(self.folder / DRAWN / f"{name}-{task.measure}.npz", task.folder / CURVES)


def _files_of(source: Path) -> list[Path]:
    """Return the files of a potential: those of its folder, or all that begin with its file's name."""
    files = source.rglob("*") if source.is_dir() else source.parent.glob(f"{source.stem}*")
    return sorted(path for path in files if path.is_file())


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _link(link: Path, target: Path) -> None:
    """Point a relative link at ``target``, replacing an older one as a whole."""
    link.parent.mkdir(exist_ok=True)
    relative = os.path.relpath(target, link.parent)
    if link.is_symlink() and os.readlink(link) == relative:
        return
    partial = link.with_name(f"{link.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(relative)
    partial.replace(link)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the run folder; a second run in it is a :class:`UserError`. A killed run lets go by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{folder}: another run is writing here; wait for it, or choose another folder with --out"
            ) from error
        yield


def forget(folder: Path) -> None:
    """Remove the finished tasks of a run folder; a folder that is no run's is left as it is."""
    if not (folder / DESCRIPTION).is_file():
        return
    shutil.rmtree(folder / TASKS, ignore_errors=True)
    for name in (POTENTIALS, PREDICTED, DRAWN):
        for link in (folder / name).glob("*"):
            if link.is_symlink():
                link.unlink()


def describe(plan: Plan, folder: Path, command: Sequence[str]) -> None:
    """Write ``run.toml``: everything that is needed to repeat the run."""
    dataset = plan.dataset
    content = {
        "command": " ".join(command),
        "preset": plan.preset,
        "seed": plan.seed,
        "device": plan.device,
        "measures": list(plan.measures),
        "dataset": {
            "name": dataset.name,
            "system": dataset.system,
            "sha256": dataset.sha256,
            "origin": dataset.origin,
            "level_of_theory": dataset.level_of_theory,
            "licence": dataset.licence,
            "citation": dataset.citation,
            "n_train": len(dataset.train),
            "n_test": len(dataset.test),
            "notes": list(dataset.notes),
            "reference": first_principles.is_of(dataset.system, dataset.crystal),
        },
        "hardware": {"cpu": cpu_name(), "cores": len(available_cores()), "platform": sys.platform},
        "versions": versions(),
        "potentials": {potential.name: _described(potential, dataset.train) for potential in plan.potentials},
    }
    write_atomically(folder / DESCRIPTION, tomli_w.dumps(content))


def _described(potential: PotentialPlan, train: Sequence[Atoms]) -> dict[str, Any]:
    """Return what ``run.toml`` says of a potential."""
    found = {
        "family": potential.family,
        "source": str(potential.source) if potential.source else None,
        "fits_stress": potential.fits_stress(train),
        "hypers": _without_none(potential.resolved()),
    }
    return _without_none(found)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
