"""How commands of several potentials do their work: folder, store, workers, and what they say of it."""

import contextlib
import dataclasses
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlip_bench.cli.arguments import LOCAL
from mlip_bench.cli.printing import SOMETHING_FAILED, complain, console, say, say_of_data
from mlip_bench.errors import UserError

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.cli.requests import DataRequest
    from mlip_bench.run.dask_cluster import Cluster
    from mlip_bench.run.executor import Executor
    from mlip_bench.run.inputs import PotentialPlan
    from mlip_bench.run.plan import Plan
    from mlip_bench.run.schedule import Outcome
    from mlip_bench.run.store import Store
    from mlip_bench.run.sweep import Size
    from mlip_bench.run.tasks import Task

# The folder in which a sweep leaves the potential that it recommends.
RECOMMENDED = "recommended"

# Where version 0.1 kept finished tasks, in the folder of a run.
OLD_TASKS = "tasks"


@dataclass(frozen=True)
class Work:
    """Where a command keeps what it does, and how it is to be done."""

    folder: Path
    """Of the run."""
    store: "Store"
    fresh: bool = False
    jobs: int | None = None
    """Tasks side by side on this machine; as many as it has use for where nobody says."""
    timeout_s: float | None = None
    """Of each task."""
    cluster: "Cluster | None" = None
    """Workers elsewhere, which do the tasks in place of this machine."""


def perform(plan: "Plan", request: "DataRequest", work: Work) -> None:
    """Do a plan and write its report."""
    from mlip_bench.report import build, content, is_current
    from mlip_bench.run import learning, schedule
    from mlip_bench.run.folder import describe

    folder, notes = work.folder, [*learning.notes(plan), *on_presets(plan)]
    for note in notes:
        say(note)
    tasks = plan.tasks(plan.data(work.store.put_structures))
    describe(plan, folder, command_line(), request.as_table(), notes)
    content.refuse_unknown_weights(folder)
    with working(work, tasks) as executor:
        outcome = schedule.run(tasks, executor, folder)
    say_taken(outcome.n_kept, outcome.n_tasks, work.store)
    say_notes(folder, plan.potentials)
    if not is_current(folder):
        build(folder)
    if plan.subsets:
        say_learnt(folder)
    say_report(folder)
    finish(outcome)


def perform_sweep(
    plan: "Plan",
    sizes: "Sequence[Size]",
    request: "DataRequest",
    work: Work,
    budget_s: float,
) -> None:
    """Do what a budget pays for, write the report, and export what it recommends."""
    from mlip_bench.report import build, content, is_current
    from mlip_bench.run.folder import describe
    from mlip_bench.run.inputs import Data
    from mlip_bench.run.schedule import Results
    from mlip_bench.run.sweep import Sweep, before_choice

    folder = work.folder
    data = Data.of(plan.dataset, work.store.put_structures)
    first = before_choice(plan)
    tasks = [task for size in sizes for task in first.tasks_of(size.potential, data)]
    with working(work, tasks) as executor:
        one = Sweep(plan, data, executor, Results(folder), budget_s, say)
        one.refuse_too_small(sizes)
        # Until it is known how far the budget goes: the rows of a sweep that is ended can be shown, too.
        every = dataclasses.replace(first, potentials=tuple(size.potential for size in sizes))
        describe(every, folder, command_line(), request.as_table())
        content.refuse_unknown_weights(folder)
        done = one.run(sizes)
    describe(done.plan, folder, command_line(), request.as_table(), done.notes)
    say_taken(done.outcome.n_kept, done.outcome.n_tasks, work.store)
    say_notes(folder, done.plan.potentials)
    for note in done.notes:
        say(note)
    if not is_current(folder):
        build(folder)
    recommend(folder)
    say_report(folder)
    finish(done.outcome)


@contextlib.contextmanager
def prepared(folder: Path, store: Path | None) -> "Iterator[Store]":
    """Hold the folder of a run, and give the store: the one named, or the one beside the folder."""
    from mlip_bench.run.store import STORE, Store, sole_writer

    if (folder / OLD_TASKS).is_dir():
        say(f"{folder / OLD_TASKS}: tasks of version 0.1, not used any more; remove it")
    kept = store or folder.absolute().parent / STORE
    if kept.resolve() in (folder.resolve(), *folder.resolve().parents) or folder.name == STORE:
        raise UserError(f"{folder}: that is the place of the store; choose another folder with --out")
    with sole_writer(folder):
        yield Store(kept)


@contextlib.contextmanager
def scheduled(
    scheduler: str, jobs: int | None, store: "Store", plan: "Plan | None" = None
) -> "Iterator[tuple[Cluster | None, Any]]":
    """Give the workers of a scheduler, and the plan with what they time on; no workers for this machine."""
    if scheduler == LOCAL:
        yield None, plan
        return
    from mlip_bench.cli.doctor import opened
    from mlip_bench.measure import MEASURES

    if jobs is not None:
        raise UserError("--jobs is for this machine; on a cluster each worker says how many it does at once")
    is_timed = plan is not None and any(MEASURES[name].alone for name in plan.measures)
    with opened(scheduler, store.folder, say) as cluster:
        cluster.wait_for_workers(plan.device if plan is not None and is_timed else None)
        yield cluster, plan and dataclasses.replace(plan, timed_on=cluster.timed_on)


@contextlib.contextmanager
def working(work: Work, tasks: "Sequence[Task]", quiet: bool = False) -> "Iterator[Executor]":
    """Give an executor that shows on the terminal what it does; ``quiet`` only what takes long."""
    from mlip_bench.cli.progress import watcher
    from mlip_bench.run.executor import Executor, LocalExecutor, Watcher, prepare

    prepare(tasks)
    watching: contextlib.AbstractContextManager[Watcher]
    watching = contextlib.nullcontext(Watcher()) if quiet else watcher(console, len(tasks))
    executor: Executor
    with watching as shown:
        if work.cluster is None:
            n_jobs = side_by_side(tasks, work.jobs, quiet)
            executor = LocalExecutor(work.store, n_jobs, work.timeout_s, shown, work.fresh)
        else:
            from mlip_bench.run.dask_executor import DaskExecutor

            executor = DaskExecutor(work.store, work.cluster, tasks, work.timeout_s, shown, work.fresh)
        with executor:
            yield executor


def side_by_side(tasks: "Sequence[Task]", jobs: int | None, every_core: bool) -> int:
    """Return how many tasks work at once on this machine where nobody says."""
    from mlip_bench.hardware import available_cores

    if jobs is not None:
        return jobs
    if any(task.on_gpu for task in tasks):
        return 1  # side by side they would share one card
    n_cores = len(available_cores())
    # Each fit or part on a core of its own, as far as there are any, and cores.
    n_fits = sum(not task.alone and not task.needs for task in tasks)
    n_parts = sum(len(task.parts) for task in tasks)
    return n_cores if every_core else min(n_cores, max(1, n_fits, n_parts))


def say_of(plan: "Plan") -> None:
    """Print what there is to be said of the data, and what the measures that run dynamics are done on."""
    from mlip_bench.measure import MEASURES

    data = plan.dataset
    say(f"data: {data.origin} ({len(data.train)} training, {len(data.test)} test)")
    say_of_data(data.notes)
    names = [name for name in plan.measures if MEASURES[name].alone]
    if names and data.on_copies is not None:
        say(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} timed {data.on_copies}")


def on_presets(plan: "Plan") -> list[str]:
    """Say of which potentials a preset says nothing, and what is taken in its place."""
    from mlip_bench.potentials import presets

    names: dict[str, list[str]] = {}
    for potential in plan.potentials:
        other = presets.fills_in(potential.family, plan.preset, plan.dataset.system)
        if potential.source is None and other is not None:
            names.setdefault(other, []).append(potential.name)
    return [
        f"Preset {plan.preset} has nothing of {plan.dataset.system} for {', '.join(having)}: the values of "
        f"{other} are taken; mlip-bench tune finds some."
        for other, having in names.items()
    ]


def say_taken(n_kept: int, n_tasks: int, store: "Store") -> None:
    """Print how many of the tasks of a command were finished before."""
    if n_kept and n_kept == n_tasks:
        say(f"nothing had to be done: all {n_kept} tasks were finished before ({store.folder})")
    elif n_kept:
        say(f"{n_kept} of {n_tasks} tasks were finished before ({store.folder})")


def say_report(folder: Path) -> None:
    """Print where the report is."""
    from mlip_bench.report import HTML, PDF

    say(f"report: {folder / HTML} and {PDF}")


def say_learnt(folder: Path) -> None:
    """Print what the report says of learning curves."""
    from mlip_bench.measure.learning.section import HEADING
    from mlip_bench.report import content
    from mlip_bench.section.parts import Sentences

    for section in content.read(folder).sections:
        for part in section.parts if section.heading == HEADING else ():
            for sentence in part.sentences if isinstance(part, Sentences) else ():
                say(sentence)


def recommend(folder: Path) -> None:
    """Leave the potential that the verdict puts first ready for LAMMPS in the folder of a sweep."""
    from mlip_bench.export import to_lammps
    from mlip_bench.potentials import load
    from mlip_bench.report import cautions, content, verdict
    from mlip_bench.results import POTENTIALS, file_name

    read = content.read(folder)
    name = next(iter(read.verdict.first), None)
    say(verdict.sentence(read.evidence, read.verdict))
    shutil.rmtree(folder / RECOMMENDED, ignore_errors=True)  # of an earlier choice nothing may stay
    if name is not None:
        against = "; ".join(cautions.of(read.evidence, name))
        caution = f"Caution with {name}: {against}." if against else ""
        to_lammps(load(folder / POTENTIALS / file_name(name)), folder / RECOMMENDED, caution)
        said = f"; but {against}" if against else ""
        say(f"recommended, for LAMMPS: {name}, {folder / RECOMMENDED}{said}")


def say_notes(folder: Path, potentials: "Iterable[PotentialPlan]") -> None:
    """Print what the fits of a run left out, assumed or clipped; what several have in common once."""
    from mlip_bench.potentials import notes
    from mlip_bench.results import POTENTIALS, file_name

    names: dict[str, list[str]] = {}
    for potential in potentials:
        for note in notes(folder / POTENTIALS / file_name(potential.name)):
            names.setdefault(note, []).append(potential.name)
    for note, having in names.items():
        say(f"{', '.join(having)}: {note}")


def finish(outcome: "Outcome") -> None:
    """Name what failed, and end with the exit code for it."""
    for failure in outcome.failures:
        complain(f"failed: {failure.measure} {failure.potential}: {failure.error}")
    if outcome.failures:
        raise typer.Exit(SOMETHING_FAILED)


def command_line() -> list[str]:
    """Return the command as it was typed, to be repeated."""
    return ["mlip-bench", *(shlex.quote(word) for word in sys.argv[1:])]
