"""Doing tasks, each once: ``submit(task) -> future``, in children of this process.

A task that the store has is not done again. Fits and the like work side by side, each on its share of the
cores; what is timed works alone, on one core, when nothing else is left to do.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlip_bench.hardware import available_cores
from mlip_bench.run import child
from mlip_bench.run.perform import modules, now, perform
from mlip_bench.run.plan import Task
from mlip_bench.run.store import Stopped, Store


class Watcher:
    """What an executor tells while it works; this one says nothing. The command line prints."""

    def started(self, task: Task) -> None:
        """A task has begun."""

    def progressed(self, task: Task, share: float, message: str) -> None:
        """A task has come so far."""

    def ended(self, task: Task, error: str | None) -> None:
        """A task is done, or has failed with this error."""

    def noted(self, task: Task, sentence: str) -> None:
        """Something is to be said of a task before it begins."""


class TaskFailed(Exception):
    """A task could not be done; the message is one line."""

    def __init__(self, task: Task, message: str, started: str, wall_s: float):
        super().__init__(message)
        self.task = task
        self.started = started
        self.wall_s = wall_s


class NeedFailed(Exception):
    """A task was not begun because one that it needs failed; the cause is why that did."""


@dataclass(frozen=True)
class Done:
    """A finished task: its folder in the store, and whether it was there before."""

    folder: Path
    kept: bool


@dataclass
class _Waiting:
    task: Task
    needs: Sequence["Future[Done]"]
    future: "Future[Done]"


class LocalExecutor:
    """Does tasks in children of this process; a context, which ends all of them when it is left.

    Parameters
    ----------
    jobs : tasks that work side by side, each on its share of the cores.
    timeout_s : the time that a task may take; None for no limit.
    fresh : do each task anew, whatever the store has.
    """

    def __init__(
        self,
        store: Store,
        jobs: int = 1,
        timeout_s: float | None = None,
        watcher: Watcher | None = None,
        fresh: bool = False,
    ):
        self.store = store
        self._fresh = fresh
        cores = available_cores()
        self.jobs = max(1, min(jobs, len(cores)))
        self._watcher = watcher or Watcher()
        self._timeout_s = timeout_s
        self._free = [cores[index :: self.jobs] for index in reversed(range(self.jobs))]
        self._last_core = cores[-1:]  # a timing stays away from core 0 and its interrupts
        self._waiting: list[_Waiting] = []
        self._futures: dict[str, Future[Done]] = {}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=self.jobs)

    def __enter__(self) -> "LocalExecutor":
        """Return the executor itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End what runs, without a row, and wait until no child is left."""
        self.stop()
        self._pool.shutdown()

    def submit(self, task: Task, needs: Sequence[Task] = ()) -> "Future[Done]":
        """Do a task after those that it needs, which must have been submitted before.

        The future gives its folder, or raises :class:`TaskFailed`, :class:`NeedFailed`, ``CancelledError``
        where the executor was stopped first, and whatever stands against the work as a whole: a full disk.
        """
        with self._lock:
            if task.key not in self._futures:
                future: Future[Done] = Future()
                self._futures[task.key] = future
                if self.has(task):
                    future.set_result(Done(self.store.entry(task), kept=True))
                else:
                    needed = [self._futures[need.key] for need in needs]
                    self._waiting.append(_Waiting(task, needed, future))
        self._begin_what_can()
        return self._futures[task.key]

    def stop(self) -> None:
        """End what runs, without a row, and begin nothing more; any thread may call this."""
        self._stop.set()
        self._begin_what_can()

    def has(self, task: Task) -> bool:
        """Tell whether a task need not be done."""
        return not self._fresh and self.store.has(task)

    def _begin_what_can(self) -> None:
        """Begin tasks for which there are cores, those that are timed when there is nothing else."""
        with self._lock:
            for waiting in list(self._waiting):
                if self._stop.is_set():
                    self._waiting.remove(waiting)
                    _cancel(waiting.future)
                elif failed := [need for need in waiting.needs if need.done() and _failed(need)]:
                    self._waiting.remove(waiting)
                    waiting.future.set_exception(_need_failed(waiting.task, failed[0]))
            ready = [one for one in self._waiting if all(need.done() for need in one.needs)]
            for waiting in [one for one in ready if not one.task.alone][: len(self._free)]:
                self._begin(waiting, self._free.pop())
            timed = [one for one in ready if one.task.alone]
            if timed and len(self._free) == self.jobs:
                self._begin(timed[0], None)

    def _begin(self, waiting: _Waiting, share: list[int] | None) -> None:
        """Do a task on a share of the cores; one that is timed takes all shares, and works on one core."""
        self._waiting.remove(waiting)
        shares = [share] if share is not None else list(self._free)
        if share is None:
            self._free.clear()
        cores = share or self._last_core
        self._pool.submit(self._run, waiting, cores, shares)

    def _run(self, waiting: _Waiting, cores: list[int], shares: list[list[int]]) -> None:
        try:
            result, error = self._do(waiting.task, cores), None
        except BaseException as raised:
            result, error = None, raised
        with self._lock:
            self._free += shares
        if isinstance(error, Stopped):
            _cancel(waiting.future)
        elif error is not None:
            waiting.future.set_exception(error)
        else:
            waiting.future.set_result(result)  # type: ignore[arg-type]  # None only beside an error
        self._begin_what_can()

    def _do(self, task: Task, cores: list[int]) -> Done:
        """Do one task in a child and keep it."""
        if not self._fresh and self.store.is_damaged(task):
            self._watcher.noted(task, "what the store has of it is damaged; it is done anew")
        with (
            self.store.machine(task.alone, self._stop),
            self.store.begin(task, self._stop, self._fresh) as work,
        ):
            if work is None:
                return Done(self.store.entry(task), kept=True)
            with self._told(task):
                child.run_in_child(
                    perform,
                    *(task, work, len(cores)),
                    cores=cores,
                    progress=lambda share, message: self._watcher.progressed(task, share, message),
                    stop=self._stop,
                    timeout_s=self._timeout_s,
                )
                self.store.commit(task, work)
        return Done(self.store.entry(task), kept=False)

    @contextlib.contextmanager
    def _told(self, task: Task) -> Iterator[None]:
        """Tell of a task's begin and end, and turn its failure into a :class:`TaskFailed`."""
        self._watcher.started(task)
        started, start = now(), time.perf_counter()
        try:
            yield
        except (child.ChildFailed, ValueError) as failure:
            if self._stop.is_set():
                raise Stopped from failure
            self._watcher.ended(task, str(failure))
            raise TaskFailed(task, str(failure), started, time.perf_counter() - start) from failure
        self._watcher.ended(task, None)


def prepare(tasks: Sequence[Task]) -> None:
    """Let the children of this process have loaded what these tasks import."""
    child.preload(modules(tasks))


def _cancel(future: "Future[Done]") -> None:
    future.cancel()
    future.set_running_or_notify_cancel()  # without it, who waits is not told


def _need_failed(task: Task, need: "Future[Done]") -> NeedFailed:
    failure = NeedFailed(task.label)
    failure.__cause__ = None if need.cancelled() else need.exception()
    return failure


def _failed(future: "Future[Done]") -> bool:
    return future.cancelled() or future.exception() is not None
