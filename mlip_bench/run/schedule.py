"""What is done in which order: a run does all tasks of a plan, a sweep what a budget pays for.

Both hand tasks to an executor, gather what came of them, and write the run folder after each.
"""

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from mlip_bench.potentials import presets
from mlip_bench.results import Row
from mlip_bench.run.executor import Done, Executor, NeedFailed, TaskFailed
from mlip_bench.run.folder import RunFolder
from mlip_bench.run.tasks import PotentialTask, curves

# Of many tasks the run folder is written again when this many times as long has passed as writing took.
WRITING_SHARE = 20


@dataclass
class Outcome:
    """What a run did: how many tasks it had to do, and which failed."""

    n_done: int = 0
    n_kept: int = 0
    failures: list[Row] = field(default_factory=list)

    @property
    def n_tasks(self) -> int:
        """The tasks that were done, finished before, or failed."""
        return self.n_done + self.n_kept + len(self.failures)


class Results:
    """What came of the tasks of a run so far, and the run folder that shows it."""

    def __init__(self, folder: Path):
        self._folder = RunFolder(folder)
        self._order: dict[PotentialTask, None] = {}
        self.finished: dict[PotentialTask, Path] = {}
        self.failed: dict[PotentialTask, Row] = {}
        self.outcome = Outcome()
        self._next_writing = 0.0

    def expect(self, tasks: Sequence[PotentialTask]) -> None:
        """Name tasks whose rows are to be shown, in this order, once they are there."""
        self._order |= dict.fromkeys(tasks)

    def drop(self, tasks: Sequence[PotentialTask]) -> None:
        """Show nothing of these tasks."""
        for task in tasks:
            self._order.pop(task, None)

    def take(self, task: PotentialTask, future: "Future[Done]") -> None:
        """Keep what came of a task; raises what stands against the run as a whole, such as a full disk."""
        try:
            done = future.result()
        except TaskFailed as failure:
            self.failed[task] = task.failure(str(failure), failure.started, failure.wall_s)
            self.outcome.failures.append(self.failed[task])
        except NeedFailed as failure:
            self._take_part(task, failure.__cause__)
        except CancelledError:
            pass
        else:
            self.finished[task] = done.folder
            self.outcome.n_kept += done.kept
            self.outcome.n_done += not done.kept

    def _take_part(self, task: PotentialTask, cause: BaseException | None) -> None:
        """Keep that a part of a task failed, which has no row of its own; of a fit, its own row says so."""
        if not isinstance(cause, TaskFailed):
            return
        part = {part.key: part for part in task.parts}.get(cause.task.key)
        if part is not None:
            self.failed[task] = task.failure(f"{part.name}: {cause}", cause.started, cause.wall_s)
            self.outcome.failures.append(self.failed[task])

    def write_if_due(self) -> None:
        """Write, unless that was done a moment ago and takes long: it grows with the tasks."""
        if time.monotonic() >= self._next_writing:
            self.write()

    def write(self) -> None:
        """Write the rows and files of all finished tasks, in order."""
        start = time.monotonic()
        shown = {task: self.finished[task] for task in self._order if task in self.finished}
        self._folder.write(shown, [row for task, row in self.failed.items() if task in self._order])
        now = time.monotonic()
        self._next_writing = now + WRITING_SHARE * (now - start)


def do(tasks: Sequence[PotentialTask], executor: Executor, results: Results) -> None:
    """Do tasks, and write the run folder as they end."""
    futures: dict[Future[Done], list[PotentialTask]] = {}
    ended: SimpleQueue[Future[Done]] = SimpleQueue()
    for task in tasks:  # two potentials of other names can be one task
        for part in task.parts:
            futures.setdefault(executor.submit(part, part.needs), [])
        futures.setdefault(executor.submit(task, task.needs), []).append(task)
    for future in futures:
        future.add_done_callback(ended.put)
    while True:
        while not ended.empty():
            _take(ended.get(), futures, results)
        # At once, too: rows of an earlier run do not stay beside the description of this one.
        results.write_if_due()
        if not futures:
            return
        _take(ended.get(), futures, results)


def _take(
    future: "Future[Done]", futures: "dict[Future[Done], list[PotentialTask]]", results: Results
) -> None:
    for task in futures.pop(future):
        results.take(task, future)
    refuse_to_go_on(future)


def refuse_to_go_on(future: "Future[Done]") -> None:
    """Raise what stands against the run as a whole where it came of a part."""
    with contextlib.suppress(TaskFailed, NeedFailed, CancelledError):
        future.result()


def run(tasks: Sequence[PotentialTask], executor: Executor, folder: Path) -> Outcome:
    """Do every task of a plan that is not done yet, long fits first: short ones fill the other cores."""
    results = Results(folder)
    results.expect(tasks)
    lengths = {name: _length(name) for name in {task.fit.potential.family for task in tasks}}
    in_order = sorted(tasks, key=lambda task: lengths[task.fit.potential.family], reverse=True)
    do(in_order, executor, results)
    through = curves(tasks, results.finished)
    results.expect(through)
    do(through, executor, results)
    results.write()
    return results.outcome


def _length(family: str) -> float:
    """Return how long the largest size of a family took (s): only the order counts."""
    return max((float(rung["seconds"]) for rung in presets.ladder(family)), default=0.0)
