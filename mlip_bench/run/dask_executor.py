"""Doing tasks on the workers of a Dask scheduler, which need not see a folder of ours.

A task is given to a worker that has a free slot. What it reads goes there with it, the structures of the data
once to each worker; what it leaves comes back, is committed by the one store here, and checkpoints come home
now and then. So a worker that is gone costs what it did since then: the task goes on at another.
"""

import hashlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

from distributed.scheduler import KilledWorker

from mlip_bench.errors import UserError, is_disk_full
from mlip_bench.hardware import available_cores
from mlip_bench.measure.fit import CLOCK
from mlip_bench.results import TASK
from mlip_bench.run import archive, child, dask_worker
from mlip_bench.run.dask_cluster import GPU, LOOK_SECONDS, TIMING, Cluster, Worker
from mlip_bench.run.dask_worker import Order
from mlip_bench.run.executor import Elsewhere, Executor, Watcher
from mlip_bench.run.perform import modules, perform
from mlip_bench.run.plan import Task
from mlip_bench.run.store import Stopped, Store, Work

# Workers that a task may kill without its checkpoint advancing.
MOST_DEATHS = 3

# A task whose client has not asked for so many times as long as usual ends: the client is gone.
LEASE = 12

# How long a task waits for a worker with a resource that none offers any more (s).
PATIENCE_SECONDS = 300.0

# Tasks at work at once, each with a thread here that waits for it.
MOST_AT_ONCE = 10_000


@dataclass(eq=False)
class _Place:
    """Cores of a worker; without a worker those of this machine, or the reason why there is no place."""

    worker: Worker | None
    cores: list[int]
    alone: bool = False
    on_gpu: bool = False
    error: Exception | None = None


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
        self._places: set[_Place] = set()
        self._errands: dict[str, _Errand] = {}
        self._deaths: dict[str, tuple[str, int]] = {}
        self._offered = {TIMING: -PATIENCE_SECONDS, GPU: -PATIENCE_SECONDS}
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

    # -- places ----------------------------------------------------------------------------------------

    def _take_place(self, task: Task) -> _Place | None:
        place = self._place_for(task)
        if place is not None:
            self._places.add(place)
        return place

    def _give_back(self, place: _Place) -> None:
        self._places.discard(place)

    def _place_for(self, task: Task) -> _Place | None:
        """Return a free place, or one that says why there will be none."""
        if self._lost is not None:
            return _Place(None, [], error=self._lost)
        if task.reads_files:
            is_free = not any(place.worker is None for place in self._places)
            return _Place(None, available_cores()[-1:]) if is_free else None
        wanted = [name for name, wants in ((TIMING, task.alone), (GPU, task.on_gpu)) if wants]
        for name in wanted:
            if time.monotonic() - self._offered[name] > PATIENCE_SECONDS:
                error = child.ChildFailed(f"no worker offers the resource '{name}'")
                return _Place(None, [], error=error)
        able = [worker for worker in self._cluster.usable if self._is_free(worker, task)]
        if not able:
            return None
        busy = Counter(place.worker for place in self._places)
        worker = max(able, key=lambda one: one.n_slots - busy[one])
        return _Place(worker, self._share(worker, task), task.alone, task.on_gpu)

    def _is_free(self, worker: Worker, task: Task) -> bool:
        """Tell whether a worker can begin a task; a timing has its machine alone."""
        own = [place for place in self._places if place.worker is worker]
        n_gpu = sum(place.on_gpu for place in own)
        if task.on_gpu and n_gpu >= worker.resources.get(GPU, 0):
            return False
        beside = [
            place
            for place in self._places
            if place.worker and place.worker.described.machine == worker.described.machine
        ]
        if task.alone:
            device = "cuda" if task.on_gpu else "cpu"
            return not beside and worker.times(device) == self._cluster.timed_on
        return len(own) < worker.n_slots and not any(place.alone for place in beside)

    def _share(self, worker: Worker, task: Task) -> list[int]:
        """Return the cores for a task: those that others on the machine use least; one for a timing."""
        cores = worker.described.cores
        if task.alone:
            return cores[-1:]
        same = [one for one in self._cluster.usable if one.described.machine == worker.described.machine]
        n_slots = sum(one.n_slots for one in same if set(one.described.cores) & set(cores))
        used = Counter(core for place in self._places if place.worker in same for core in place.cores)
        return sorted(cores, key=lambda core: (used[core], -core))[: max(1, len(cores) // n_slots)]

    # -- one task --------------------------------------------------------------------------------------

    def _work(self, task: Task, work: Work, place: _Place) -> None:
        if place.error is not None:
            raise place.error
        if place.worker is None:
            self._work_here(task, work, place)
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

    def _work_here(self, task: Task, work: Work, place: _Place) -> None:
        """Do a task that reads files of this machine in a child."""
        child.run_in_child(
            perform,
            *(task, work, len(place.cores)),
            cores=place.cores,
            progress=lambda share, message: self._watcher.progressed(task, share, message),
            stop=self._stop,
            timeout_s=self._timeout_s,
        )

    def _fetch(self, name: str, errand: _Errand, place: _Place) -> bytes | None:
        """Return what a task leaves at a worker, or None where it worked in place.

        Raises :class:`Elsewhere` where the worker is gone, or cannot do it.
        """
        task, worker = errand.task, errand.worker
        before = self._state(errand.work)
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
                self._count_death(errand, before)
                raise Elsewhere from error
            raise child.ChildFailed(f"{type(error).__name__}: {' '.join(str(error).split())}") from error

    def _result(self, name: str, errand: _Errand, place: _Place) -> bytes | None:
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
        needed = {
            f"{need.kind}/{need.key}/{name}": path
            for need in task.needs
            for name, path in archive.files_in(self.store.entry(need)).items()
        }
        return Order(
            client=self._cluster.name,
            work=work,
            in_place=in_place,
            needed=b"" if in_place else archive.pack(needed),
            checkpoint=b"" if in_place else archive.pack(archive.files_in(work.checkpoint)),
            cores=cores,
            modules=self._modules,
            lease_s=LEASE * self.news_s,
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

    def _state(self, work: Work) -> str:
        """Return a hash of the state of a fit; the clock beside it runs on by itself."""
        digest = hashlib.sha256()
        for name, path in archive.files_in(work.checkpoint).items():
            if name not in (TASK, CLOCK):
                digest.update(name.encode() + path.read_bytes())
        return digest.hexdigest()

    def _count_death(self, errand: _Errand, before: str) -> None:
        """Count a worker that was lost with a task that came no further; raises where it is one too many."""
        task, state = errand.task, self._state(errand.work)
        last, number = self._deaths.get(task.key, (before, 0))
        number = number + 1 if state == last else 0
        self._deaths[task.key] = state, number
        if number == MOST_DEATHS:
            raise child.ChildFailed(
                f"given up: {number} workers were lost with it, the last {errand.worker.name}, and it came "
                "no further"
            )
        self._watcher.noted(task, f"worker {errand.worker.name} is lost; it goes on at another")

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
        usable, kind = self._cluster.usable, self._cluster.timed_on
        if kind and any(kind in (worker.times("cpu"), worker.times("cuda")) for worker in usable):
            self._offered[TIMING] = time.monotonic()
        if any(GPU in worker.resources for worker in usable):
            self._offered[GPU] = time.monotonic()
        barred = [f"{worker.name}: {worker.barred}" for worker in self._cluster.workers.values()]
        if barred and not usable:
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
