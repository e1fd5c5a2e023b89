"""Doing tasks on the workers of a Dask scheduler, which need not see a folder of ours.

A task is given to a worker that has a free slot. What it reads goes there with it, structures and files that
hyper-parameters name once to each worker; what it leaves comes back, is committed by the one store here, and
checkpoints come home now and then. So a worker that is gone costs what it did since then: the task goes on at
another. Nothing is waited for without looking now and then whether the worker is still there.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from threading import Event, Thread

from distributed.scheduler import KilledWorker

from mlip_bench.errors import UserError, is_disk_full
from mlip_bench.run import archive, child, dask_worker
from mlip_bench.run.dask_cluster import LOOK_SECONDS, Cluster
from mlip_bench.run.executor import Elsewhere, Executor, Watcher
from mlip_bench.run.losses import Losses, state_of
from mlip_bench.run.perform import modules
from mlip_bench.run.slots import Slot, Slots, Worker, resources
from mlip_bench.run.store import Stopped, Store, Work
from mlip_bench.run.tasks import Task

# Tasks at work at once, each with a thread here that waits for it.
MOST_AT_ONCE = 10_000

# What a finished task leaves is fetched from its worker in this time (s), or the worker counts as lost: Dask
# would wait for ever for one that is gone.
FETCH_SECONDS = 300.0


class DaskExecutor(Executor):
    """Does tasks on the workers of a cluster; see the module's docstring."""

    news_s = 10.0
    """How often tasks are asked how far they are (s)."""
    checkpoint_s = 120.0
    """How often checkpoints come home (s)."""

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
        self._losses = Losses()
        self._lost: Exception | None = None
        # Apart from each other: a new worker that takes long to answer hides none that is gone.
        actions = cluster.drop_lost, cluster.look
        self._threads = [Thread(target=self._repeat, args=(action,), daemon=True) for action in actions]
        for thread in self._threads:
            thread.start()

    @property
    def jobs(self) -> int:
        """Slots of the workers that there are now."""
        return max(1, sum(worker.n_slots for worker in self._cluster.usable))

    def __exit__(self, *exc: object) -> None:
        """End what runs here and at the workers."""
        super().__exit__(*exc)
        for thread in self._threads:
            thread.join()

    def _repeat(self, action: Callable[[], None]) -> None:
        """Do something again and again, until all is stopped; what goes wrong ends all tasks."""
        while not self._stop.wait(LOOK_SECONDS):
            try:
                action()
            except Exception as error:  # whatever it is, nobody else would tell those who wait
                if not isinstance(error, OSError):
                    self._lost = error
            self._begin_what_can()

    def _take_place(self, task: Task) -> Slot | None:
        error = self._cluster.error() or self._lost
        if error is not None:
            return Slot(None, [], error=error)
        return self._slots.take(task, self._cluster.usable, self._cluster.timed_on)

    def _give_back(self, place: Slot) -> None:
        self._slots.taken.discard(place)

    def _work(self, task: Task, work: Work, place: Slot) -> None:
        if place.error is not None:
            raise place.error
        if place.worker is None:
            self._work_in_child(task, work, place.cores)  # it reads files of this machine
            return
        self._losses.begin(task, state_of(work))
        try:
            found = self._fetch(task, work, place, place.worker)
        except (child.ChildFailed, UserError):
            raise
        except Exception as error:
            self._judge(error, task, work, place.worker)
            raise Elsewhere from error
        if found is not None:
            archive.unpack(found, work.folder)

    def _judge(self, error: Exception, task: Task, work: Work, worker: Worker) -> None:
        """Return where a task that met an error shall go on at another worker; raise what else it means."""
        if self._stop.is_set():
            raise Stopped from error
        lost = self._cluster.error()
        if lost is not None or (isinstance(error, OSError) and is_disk_full(error)):
            raise lost or error
        if isinstance(error, dask_worker.WorkerFull):
            worker.barred = "its disk is full"
            self._watcher.noted(task, f"worker {worker.name} gets no more tasks: {worker.barred}")
        elif worker.gone or isinstance(error, (OSError, KilledWorker, CancelledError, Stopped)):
            self._losses.count(task, state_of(work), worker.name)
            self._watcher.noted(task, f"worker {worker.name} is lost; it goes on at another")
        else:
            raise child.ChildFailed(f"{type(error).__name__}: {' '.join(str(error).split())}") from error

    def _fetch(self, task: Task, work: Work, place: Slot, worker: Worker) -> bytes | None:
        """Do a task at a worker, and return what came back; None where it worked in place."""
        self._send(worker, task)
        name, ended = f"{task.kind}-{task.key}-{uuid.uuid4().hex[:8]}", Event()
        reads = archive.files_below(self.store.folder, [*map(self.store.entry, task.needs), work.checkpoint])
        sent = None if worker.described.sees_store else archive.pack(reads)
        order = dask_worker.Order(work, sent, place.cores, self._modules, self.checkpoint_s, self._timeout_s)
        future = self._cluster.client.submit(
            dask_worker.work,
            *(name, task, order),
            key=name,
            workers=[worker.address],
            resources=resources(task),
            pure=False,
        )
        future.add_done_callback(lambda _: ended.set())
        heard = time.monotonic()
        try:
            while not ended.wait(min(LOOK_SECONDS, self.news_s)):
                if self._stop.is_set() or self._cluster.is_lost() or worker.gone:
                    raise CancelledError
                if time.monotonic() - heard > self.news_s:
                    self._hear(name, task, work, worker)
                    heard = time.monotonic()
            return future.result(timeout=FETCH_SECONDS)
        finally:
            future.cancel()  # what still works there ends by itself when it is not wanted

    def _hear(self, name: str, task: Task, work: Work, worker: Worker) -> None:
        """Hear how far a task is, and take its checkpoint home now and then."""
        run = self._cluster.client.run
        answers = run(dask_worker.news, name, workers=[worker.address], on_error="ignore")
        for news in filter(None, answers.values()):
            self._watcher.progressed(task, news.share, news.message)
            if news.checkpoint is not None:
                archive.unpack(news.checkpoint, work.checkpoint)

    def _send(self, worker: Worker, task: Task) -> None:
        """Send a worker the structures and files of a task that it has not got yet."""
        files = [self.store.put_file(*file) for file in task.files.values()]
        paths = {*map(self.store.structures_path, task.structures), *files}
        with worker.sending:
            lacking = paths - worker.has
            if lacking and not worker.described.sees_store:
                content = archive.pack({str(path.relative_to(self.store.folder)): path for path in lacking})
                self._cluster.client.run(dask_worker.receive, content, workers=[worker.address])
                worker.has |= lacking
