"""Doing tasks on the workers of a Dask scheduler, which need not see a folder of ours.

A task is given to a worker that has a free slot. What it reads goes there with it, the structures of the data
once to each worker; what it leaves comes back, is committed by the one store here, and checkpoints come home
now and then. So a worker that is gone costs what it did since then: the task goes on at another.
"""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

from distributed.scheduler import KilledWorker

from mlip_bench.errors import UserError, is_disk_full
from mlip_bench.run import archive, child, dask_worker
from mlip_bench.run.dask_cluster import LOOK_SECONDS, Cluster
from mlip_bench.run.dask_worker import Order
from mlip_bench.run.executor import Elsewhere, Executor, Watcher
from mlip_bench.run.losses import Losses, state_of
from mlip_bench.run.perform import modules
from mlip_bench.run.plan import Task
from mlip_bench.run.slots import GPU, TIMING, Slot, Slots, Worker
from mlip_bench.run.store import Stopped, Store, Work

# Tasks at work at once, each with a thread here that waits for it.
MOST_AT_ONCE = 10_000


@dataclass(eq=False)
class _Errand:
    """A task at a worker, and what is to be heard of it."""

    task: Task
    work: Work
    worker: Worker
    changed: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False


class DaskExecutor(Executor):
    """Does tasks on the workers of a cluster; see the module's docstring."""

    news_s = 10.0
    """How often tasks are asked how far they are (s)."""
    checkpoint_s = 120.0
    """How often checkpoints come home (s)."""
    lease_s = 120.0
    """A task ends where its client has not asked for so long (s): the client is gone."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        tasks: Sequence[Task],
        timeout_s: float | None = None,
        watcher: Watcher | None = None,
        fresh: bool = False,
    ):
        super().__init__(store, timeout_s, watcher, fresh, MOST_AT_ONCE)
        self._cluster = cluster
        self._modules = modules(tasks)
        self._slots = Slots()
        self._errands: dict[str, _Errand] = {}
        self._losses = Losses()
        self._lost: Exception | None = None
        self._kept = time.monotonic()
        # Apart from each other: a new worker that takes long to answer must not keep the others waiting.
        self._threads = [
            threading.Thread(target=self._repeat, args=arguments, daemon=True)
            for arguments in ((LOOK_SECONDS, self._look), (self.news_s, self._hear))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def jobs(self) -> int:
        """Slots of the workers that there are now."""
        return max(1, sum(worker.n_slots for worker in self._cluster.usable))

    def stop(self) -> None:
        """End what runs, without a row, and begin nothing more; any thread may call this."""
        super().stop()
        for errand in list(self._errands.values()):
            errand.changed.set()

    def __exit__(self, *exc: object) -> None:
        """End what runs here and at the workers, and let go of them."""
        super().__exit__(*exc)
        for thread in self._threads:
            thread.join()
        if not self._cluster.is_lost():
            self._cluster.ask(dask_worker.stop, self._cluster.name, workers=self._cluster.usable)

    def _take_place(self, task: Task) -> Slot | None:
        if self._lost is not None:
            return Slot(None, [], error=self._lost)
        return self._slots.take(task, self._cluster.usable, self._cluster.timed_on)

    def _give_back(self, place: Slot) -> None:
        self._slots.taken.discard(place)

    # -- one task --------------------------------------------------------------------------------------

    def _work(self, task: Task, work: Work, place: Slot) -> None:
        if place.error is not None:
            raise place.error
        if place.worker is None:
            self._work_in_child(task, work, place.cores)  # it reads files of this machine
            return
        name = f"{task.kind}-{task.key}-{uuid.uuid4().hex[:8]}"
        errand = self._errands[name] = _Errand(task, work, place.worker)
        try:
            found = self._fetch(name, errand, place)
        finally:
            with errand.lock:
                del self._errands[name]
                errand.is_over = True
        if found is not None:
            archive.unpack(found, work.folder)

    def _fetch(self, name: str, errand: _Errand, place: Slot) -> bytes | None:
        """Return what a task leaves at a worker, or None where it worked in place.

        Raises :class:`Elsewhere` where the worker is gone, or cannot do it.
        """
        task, worker = errand.task, errand.worker
        before = state_of(errand.work)
        try:
            self._send_structures(worker, task)
            return self._result(name, errand, place)
        except (child.ChildFailed, UserError):
            raise
        except Stopped as stopped:
            if self._stop.is_set():
                raise
            raise Elsewhere from stopped  # the worker had not been asked for long, and took us for gone
        except Exception as error:
            if self._cluster.is_lost():
                raise self._scheduler_gone() from error
            if isinstance(error, OSError) and is_disk_full(error):
                worker.barred = "its disk is full"
                self._watcher.noted(task, f"worker {worker.name} gets no more tasks: {worker.barred}")
                raise Elsewhere from error
            if worker.gone or isinstance(error, (OSError, KilledWorker, CancelledError)):
                self._losses.count(task, before, state_of(errand.work), worker.name)
                self._watcher.noted(task, f"worker {worker.name} is lost; it goes on at another")
                raise Elsewhere from error
            raise child.ChildFailed(f"{type(error).__name__}: {' '.join(str(error).split())}") from error

    def _result(self, name: str, errand: _Errand, place: Slot) -> bytes | None:
        """Do a task at a worker and return what came back."""
        task, worker = errand.task, errand.worker
        wanted = {TIMING: int(task.alone), GPU: int(task.on_gpu)}
        future = self._cluster.client.submit(
            dask_worker.work,
            *(name, task, self._order(errand, place.cores)),
            key=name,
            workers=[worker.address],
            resources={resource: number for resource, number in wanted.items() if number},
            pure=False,
        )
        try:
            future.add_done_callback(lambda _: errand.changed.set())
            errand.changed.wait()
            if self._stop.is_set():
                raise Stopped
            if worker.gone:
                raise CancelledError
            return future.result()
        finally:
            # What works on, or waits for a worker that is lost, is let go of as well.
            future.release() if future.done() else future.cancel()

    def _order(self, errand: _Errand, cores: list[int]) -> Order:
        task, work, in_place = errand.task, errand.work, errand.worker.described.sees_store
        needed = [self.store.entry(need) for need in task.needs]
        return Order(
            client=self._cluster.name,
            work=work,
            in_place=in_place,
            needed=b"" if in_place else archive.pack(archive.files_below(self.store.folder, needed)),
            checkpoint=b"" if in_place else archive.pack(archive.files_in(work.checkpoint)),
            cores=cores,
            modules=self._modules,
            lease_s=self.lease_s,
            timeout_s=self._timeout_s,
        )

    def _send_structures(self, worker: Worker, task: Task) -> None:
        """Send a worker the structures that it has not got yet."""
        with worker.sending:
            lacking = set(task.structures) - worker.has
            if worker.described.sees_store or not lacking:
                return
            paths = [self.store.structures_path(sha256) for sha256 in lacking]
            content = archive.pack({path.name: path for path in paths})
            self._cluster.client.run(dask_worker.receive, content, workers=[worker.address])
            worker.has |= lacking

    # -- what is heard ---------------------------------------------------------------------------------

    def _repeat(self, period_s: float, action: Callable[[], None]) -> None:
        """Do something again and again, until all is stopped; what goes wrong ends all tasks."""
        while not self._stop.wait(period_s):
            try:
                action()
            except Exception as error:  # whatever it is, nobody else would tell those who wait
                if self._cluster.is_lost():
                    self._lost = self._scheduler_gone()
                elif not isinstance(error, OSError) or is_disk_full(error):
                    self._lost = error
            self._begin_what_can()

    def _look(self) -> None:
        for worker in self._cluster.look():
            for errand in list(self._errands.values()):
                if errand.worker is worker:
                    errand.changed.set()
        barred = [f"{worker.name}: {worker.barred}" for worker in self._cluster.workers.values()]
        if barred and not self._cluster.usable:
            raise UserError(f"no worker is left that can work ({'; '.join(barred)}); free it and repeat")

    def _hear(self) -> None:
        """Hear how far the tasks are, and now and then take their checkpoints home."""
        with_checkpoints = time.monotonic() - self._kept > self.checkpoint_s
        if with_checkpoints:
            self._kept = time.monotonic()
        busy = list({errand.worker for errand in list(self._errands.values())})
        if not busy:
            return
        answers = self._cluster.ask(dask_worker.news, self._cluster.name, with_checkpoints, workers=busy)
        for name, news in [item for answer in answers.values() for item in answer.items()]:
            errand = self._errands.get(name)
            if errand is None:
                continue
            if news.message:
                self._watcher.progressed(errand.task, news.share, news.message)
            with errand.lock:
                if news.checkpoint is not None and not errand.is_over:
                    archive.unpack(news.checkpoint, errand.work.checkpoint)

    def _scheduler_gone(self) -> UserError:
        return UserError(
            f"the scheduler at {self._cluster.address} is gone; start it again and repeat the command, which "
            "goes on from here"
        )
