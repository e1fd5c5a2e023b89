"""Doing tasks, each once: ``submit(task) -> future``, in children of this process or on a cluster.

A task that the store has is not done again. Where tasks work is said by a kind of executor: here on shares of
the cores of this machine, side by side; what is timed works alone, on one core or as many as it is timed on,
when nothing else is left.
"""

import contextlib
import heapq
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from mlip_bench.hardware import available_cores, idlest
from mlip_bench.run import child
from mlip_bench.run.perform import modules, now, perform
from mlip_bench.run.store import Stopped, Store, Work
from mlip_bench.run.tasks import Task


class Watcher:
    """What an executor tells while it works; this one says nothing. The command line prints."""

    def expected(self, task: Task) -> None:
        """A task is to be done."""

    def started(self, task: Task) -> None:
        """A task has begun."""

    def moved(self, task: Task) -> None:
        """A task has lost its place, and will begin again at another."""

    def skipped(self, task: Task) -> None:
        """A task will not be done, because one that it needs failed."""

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


class Elsewhere(Exception):
    """The place at which a task worked is gone: it goes on at another."""


@dataclass(frozen=True)
class Done:
    """A finished task: its folder in the store, and whether it was there before."""

    folder: Path
    kept: bool


@dataclass(order=True)
class _Waiting:
    """A task that is to be done; those that were submitted first begin first."""

    number: int
    task: Task = field(compare=False)
    future: "Future[Done]" = field(compare=False)
    n_missing: int = field(compare=False)
    """Tasks that it needs and that are not finished."""
    begun: bool = field(default=False, compare=False)


class Executor(ABC):
    """Does tasks in the order of their needs; a context, which ends all of them when it is left.

    A kind of executor gives places, and does one task at a place. Methods that give places are called with
    the lock held.

    Parameters
    ----------
    timeout_s : the time that a task may take; None for no limit.
    fresh : do each task anew, whatever the store has.
    most : tasks that work side by side.
    """

    def __init__(
        self, store: Store, timeout_s: float | None, watcher: Watcher | None, fresh: bool, most: int
    ):
        self.store = store
        self._fresh = fresh
        self._watcher = watcher or Watcher()
        self._timeout_s = timeout_s
        self._ready: dict[tuple[bool, bool], list[_Waiting]] = {}
        self._futures: dict[str, Future[Done]] = {}
        self._numbers = count()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=most)

    @property
    @abstractmethod
    def jobs(self) -> int:
        """Tasks that work side by side."""

    @abstractmethod
    def _take_place(self, task: Task) -> Any | None:
        """Return a place for a task, taken until it is given back; None where there is none now."""

    @abstractmethod
    def _give_back(self, place: Any) -> None:
        """Let others have a place."""

    @abstractmethod
    def _work(self, task: Task, work: Work, place: Any) -> None:
        """Do a task at a place, and leave what it gives in the folder of ``work``.

        Raises :class:`child.ChildFailed` where it fails, :class:`Elsewhere` where the place is gone, and
        whatever stands against the work as a whole.
        """

    def _work_in_child(self, task: Task, work: Work, cores: list[int]) -> None:
        child.run_in_child(
            perform,
            *(task, work, len(cores)),
            cores=cores,
            progress=lambda share, message: self._watcher.progressed(task, share, message),
            stop=self._stop,
            timeout_s=self._timeout_s,
        )

    def _having(self, task: Task) -> "contextlib.AbstractContextManager[None]":
        """Return a context of what else must be had while a task works, before it begins."""
        return contextlib.nullcontext()

    def __enter__(self) -> "Executor":
        """Return the executor itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End what runs, without a row, and wait until nothing is left of it."""
        self.stop()
        self._pool.shutdown()

    def submit(self, task: Task, needs: Sequence[Task] = ()) -> "Future[Done]":
        """Do a task after those that it needs, which must have been submitted before.

        The future gives its folder, or raises :class:`TaskFailed`, :class:`NeedFailed`, ``CancelledError``
        where the executor was stopped first, and whatever stands against the work as a whole: a full disk.
        """
        with self._lock:
            if task.key in self._futures:
                return self._futures[task.key]
            future = self._futures[task.key] = Future()
        if self.has(task):
            future.set_result(Done(self.store.entry(task), kept=True))
            return future
        self._watcher.expected(task)
        waiting = _Waiting(next(self._numbers), task, future, len(needs))
        for need in needs:
            self._futures[need.key].add_done_callback(partial(self._need_ended, waiting))
        if not needs:
            self._make_ready(waiting)
        return future

    def stop(self) -> None:
        """End what runs, without a row, and begin nothing more; any thread may call this."""
        self._stop.set()
        self._begin_what_can()

    def has(self, task: Task) -> bool:
        """Tell whether a task need not be done."""
        return not self._fresh and self.store.has(task)

    def _need_ended(self, waiting: _Waiting, need: "Future[Done]") -> None:
        with self._lock:
            waiting.n_missing -= 1
            if waiting.future.done():
                return
            failed = need.cancelled() or need.exception() is not None
            if failed and not self._stop.is_set():
                self._watcher.skipped(waiting.task)
                waiting.future.set_exception(_need_failed(waiting.task, need))
            elif failed:
                _cancel(waiting.future)
            elif waiting.n_missing == 0:
                self._make_ready(waiting)

    def _make_ready(self, waiting: _Waiting) -> None:
        with self._lock:
            lane = waiting.task.alone, waiting.task.on_gpu
            heapq.heappush(self._ready.setdefault(lane, []), waiting)
        self._begin_what_can()

    def _begin_what_can(self) -> None:
        """Begin tasks for which there is a place, those that are timed when nothing else can begin."""
        with self._lock:
            for _, lane in sorted(self._ready.items()):
                while lane and self._stop.is_set():
                    _cancel(heapq.heappop(lane).future)
                while lane and (place := self._take_place(lane[0].task)) is not None:
                    self._pool.submit(self._run, heapq.heappop(lane), place)

    def _run(self, waiting: _Waiting, place: Any) -> None:
        try:
            result, error = self._do(waiting, place), None
        except BaseException as raised:
            result, error = None, raised
        with self._lock:
            self._give_back(place)
        if isinstance(error, Elsewhere):
            self._watcher.moved(waiting.task)
            self._make_ready(waiting)
        elif isinstance(error, Stopped):
            _cancel(waiting.future)
        elif error is not None:
            waiting.future.set_exception(error)
        else:
            waiting.future.set_result(result)  # type: ignore[arg-type]  # None only beside an error
        self._begin_what_can()

    def _do(self, waiting: _Waiting, place: Any) -> Done:
        """Do one task and keep it."""
        task = waiting.task
        if not self._fresh and self.store.is_damaged(task):
            self._watcher.noted(task, "what the store has of it is damaged; it is done anew")
        with (
            self._having(task),
            self.store.begin(task, self._stop, again=self._fresh, goes_on=waiting.begun) as work,
        ):
            waiting.begun = True
            if work is None:
                return Done(self.store.entry(task), kept=True)
            with self._told(task):
                self._work(task, work, place)
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


@dataclass(frozen=True)
class _Cores:
    """A place on this machine: the cores that a task works on, and the shares of them that it takes."""

    cores: list[int]
    shares: list[list[int]]


class LocalExecutor(Executor):
    """Does tasks in children of this process, ``jobs`` side by side, each on its share of the cores."""

    def __init__(
        self,
        store: Store,
        jobs: int = 1,
        timeout_s: float | None = None,
        watcher: Watcher | None = None,
        fresh: bool = False,
    ):
        cores = available_cores()
        self._jobs = max(1, min(jobs, len(cores)))
        self._free = [cores[index :: self._jobs] for index in reversed(range(self._jobs))]
        self._cores = cores
        super().__init__(store, timeout_s, watcher, fresh, self._jobs)

    @property
    def jobs(self) -> int:
        """Tasks that work side by side."""
        return self._jobs

    def _take_place(self, task: Task) -> _Cores | None:
        """Return a share of the cores; what is timed takes all shares, and works on its number of cores."""
        if not self._free or (task.alone and len(self._free) < self._jobs):
            return None
        if task.alone:
            shares, self._free = self._free, []
            return _Cores(idlest(self._cores)[: task.cores], shares)
        share = self._free[-1]
        if len(self._free) > 1:  # others on this machine may have the rest
            order = idlest(self._cores)
            share = min(self._free, key=lambda cores: sum(map(order.index, cores)) / len(cores))
        self._free.remove(share)
        return _Cores(share, [share])

    def _give_back(self, place: _Cores) -> None:
        self._free += place.shares

    def _having(self, task: Task) -> "contextlib.AbstractContextManager[None]":
        return self.store.machine(task.alone, self._stop)

    def _work(self, task: Task, work: Work, place: _Cores) -> None:
        self._work_in_child(task, work, place.cores)


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
