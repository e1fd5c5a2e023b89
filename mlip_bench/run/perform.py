"""Doing a task, in a child process: what it leaves in the folder of its work."""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from functools import singledispatch
from pathlib import Path

import numpy as np

from mlip_bench.data.dataset import Dataset
from mlip_bench.measure import MEASURES, Subject, fit, learning
from mlip_bench.measure.base import CURVES
from mlip_bench.measure.errors import PREDICTIONS
from mlip_bench.potentials import Potential, family, load
from mlip_bench.potentials.base import Progress
from mlip_bench.results import read_rows, write_rows
from mlip_bench.run.contents import TASK_ROWS
from mlip_bench.run.store import Store, Work
from mlip_bench.run.tasks import Curve, Fit, Measurement, Part, Task


def perform(task: Task, work: Work, threads: int, progress: Progress) -> None:
    """Do a task, leaving its rows and files in the folder of ``work``."""
    # What backends leave in temporary files goes with the folder if this process is killed.
    with tempfile.TemporaryDirectory(prefix=".temporary-", dir=work.folder) as folder:
        tempfile.tempdir = folder
        try:
            do(task, work, threads, progress)
        finally:
            tempfile.tempdir = None


@singledispatch
def do(task: Task, work: Work, threads: int, progress: Progress) -> None:
    """Do a task of one kind; kinds that are not of a plan register their own."""
    raise TypeError(f"nothing is known of tasks of kind {task.kind}")


@do.register
def _(task: Fit, work: Work, threads: int, progress: Progress) -> None:
    started, start = now(), time.perf_counter()
    if task.potential.source is not None:
        potential = task.potential.read(task.trust)
        potential.save(work.folder)
        values = []
    else:
        store = Store(work.store)
        potential = _unfitted(task, store)
        train = store.structures(task.data.train)
        values = fit.fit(potential, train, task.seed, work.folder, work.checkpoint, progress)
    wall_s = time.perf_counter() - start
    rows = task.success(values, started, wall_s, threads, potential.n_parameters)
    write_rows(work.folder / TASK_ROWS, rows)


@do.register
def _(task: Measurement, work: Work, threads: int, progress: Progress) -> None:
    started, start = now(), time.perf_counter()
    of = subject(task, work)
    of = dataclasses.replace(of, parts=tuple(map(Store(work.store).entry, task.parts)))
    values = MEASURES[task.measure].measured(of, progress)
    wall_s = time.perf_counter() - start
    rows = task.success(values, started, wall_s, threads, of.potential.n_parameters)
    write_rows(work.folder / TASK_ROWS, rows)


@do.register
def _(task: Curve, work: Work, threads: int, progress: Progress) -> None:
    started, start = now(), time.perf_counter()
    folders = [Store(work.store).entry(point) for point in task.points]
    points = [
        learning.Point.read(point.fit.data.n_train, folder / PREDICTIONS)
        for point, folder in zip(task.points, folders, strict=True)
    ]
    found = learning.fitted(points, task.of.data.n_train)
    np.savez_compressed(work.folder / CURVES, **found.curves)  # type: ignore[arg-type]  # names are ours
    (n_parameters,) = {row.n_parameters for row in read_rows(folders[-1] / TASK_ROWS)}
    rows = task.success(found.values, started, time.perf_counter() - start, threads, n_parameters)
    write_rows(work.folder / TASK_ROWS, rows)


@do.register
def _(task: Part, work: Work, threads: int, progress: Progress) -> None:
    parts = MEASURES[task.of.measure].parts
    assert parts is not None
    of = subject(task.of, work)
    parts.run(dataclasses.replace(of, options=task.options, checkpoint=work.checkpoint), progress)


def copies(task: Task, store: Store) -> dict[str, Path]:
    """Return the copies in a store of files that hyper-parameters name, by the hyper-parameter.

    Raises :class:`UserError` where a file has changed since the task was planned, whose key would then lie.
    """
    return {name: store.put_file(path, sha256) for name, (path, sha256) in task.files.items()}


def subject(task: Measurement, work: Work) -> Subject:
    """Return what a measurement measures, from the store."""
    store = Store(work.store)
    potential = load(store.entry(task.fit)).on(task.fit.device)
    fitted = task.fit.potential.source is None
    return Subject(
        potential,
        dataset(task, store),
        work.folder,
        task.preset,
        fitted,
        task.options,
        unfitted=_unfitted(task.fit, store) if fitted else None,
        seed=task.fit.seed,
        cores=task.cores,
    )


def _unfitted(task: Fit, store: Store) -> Potential:
    """Return what a fit begins with."""
    potential = family(task.potential.family)(**task.potential.hypers).on(task.device)
    return potential.trusting(task.trust).reading(copies(task, store))


def dataset(task: Measurement, store: Store) -> Dataset:
    """Return what a measurement works on, from the store: all structures, or only the one that it needs."""
    data = task.fit.data
    one = data.crystal or data.named
    is_enough = one is not None and (task.alone or MEASURES[task.measure].of_crystal)
    return Dataset(
        name=data.name,
        system=data.system,
        train=[] if is_enough else store.structures(data.train),
        test=[] if is_enough or MEASURES[task.measure].of_training else store.structures(data.test),
        crystal=None if data.crystal is None else store.structures(data.crystal)[0],
        origin="the store",
        named=None if data.named is None else store.structures(data.named)[0],
    )


def now() -> str:
    """Return the time as rows have it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def modules(tasks: Sequence[Task]) -> list[str]:
    """Return the modules that the children of these tasks import."""
    families = {name for task in tasks for name in task.families}
    kinds = {type(task).__module__ for task in tasks}
    return [__name__, *sorted(kinds), *sorted(family(name).__module__ for name in families)]
