"""What a worker of Dask does for us: one task in a pinned child, and saying how far it is.

A worker keeps the structures of the data, and files that hyper-parameters name, and nothing else beyond a
task. A task ends where Dask does not want it any more: its client let go of it, or is gone.
"""

import contextlib
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

from distributed import Status, Worker, get_worker

from mlip_bench.errors import is_disk_full
from mlip_bench.run import archive, child
from mlip_bench.run.perform import perform
from mlip_bench.run.store import KEPT_ONCE, Stopped, Store, Work
from mlip_bench.run.tasks import Task

# In the folder of a worker, and in that of the temporary files of its machine.
OURS = "mlip-bench"

# Of a worker that will not hand over what it does.
ENDING = {Status.closing, Status.closed, Status.failed}


class WorkerFull(Exception):
    """The disk of this worker is full."""


@dataclass(frozen=True)
class Order:
    """What a worker needs to know of a task, beside the task."""

    work: Work
    """The folders of the client, to work in where the worker sees them."""
    reads: bytes | None
    """Archive, below the client's store, of the state of the fit and of what other tasks left that this one
    reads; None where the worker sees the store."""
    cores: list[int]
    modules: list[str]
    checkpoint_s: float
    """How often a checkpoint is told (s)."""
    timeout_s: float | None


@dataclass(frozen=True)
class News:
    """How far a task is, and now and then its checkpoint where that has changed since it was last told."""

    share: float
    message: str
    checkpoint: bytes | None


class _Running(threading.Event):
    """A task at work here. As an event it says that the task shall end: nobody wants it any more."""

    def __init__(self, name: str, order: Order, checkpoint: Path):
        super().__init__()
        self._worker, self._name = get_worker(), name
        self._checkpoint = None if order.reads is None else checkpoint
        self._checkpoint_s, self._told_at = order.checkpoint_s, time.monotonic()
        self._told: dict[str, int] = {}
        self._share, self._message = 0.0, ""

    def is_set(self) -> bool:
        """Tell whether the task shall end."""
        task = self._worker.state.tasks.get(self._name)
        return self._worker.status in ENDING or task is None or task.state != "executing"

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for so long (s), and tell whether the task shall end."""
        super().wait(timeout)
        return self.is_set()

    def progress(self, share: float, message: str) -> None:
        """Keep how far the task is."""
        self._share, self._message = share, message

    def news(self) -> News:
        """Say how far the task is."""
        is_due = time.monotonic() - self._told_at > self._checkpoint_s
        return News(self._share, self._message, self._changed() if is_due else None)

    def _changed(self) -> bytes | None:
        """Return the checkpoint where it has changed; what is being written is told the next time."""
        if self._checkpoint is None:
            return None
        with contextlib.suppress(OSError):
            files = archive.files_in(self._checkpoint)
            written = {name: path.stat().st_mtime_ns for name, path in files.items()}
            if written != self._told:
                content = archive.pack(files)
                self._told, self._told_at = written, time.monotonic()
                return content
        return None


_running: dict[str, _Running] = {}


def receive(files: bytes, dask_worker: Worker) -> None:
    """Keep structures and files, an archive with the names that a store has for them."""
    with _full_disk_said():
        archive.unpack(files, _folder(dask_worker))


def news(name: str) -> News | None:
    """Say how far the task of a name is; None where it is not at work."""
    running = _running.get(name)
    return None if running is None else running.news()


def work(name: str, task: Task, order: Order) -> bytes | None:
    """Do a task, called ``name``, and return the archive of its files; None where it worked in place.

    Raises :class:`child.ChildFailed` where it fails, :class:`Stopped` where nobody wants it any more, and
    :class:`WorkerFull`.
    """
    # A nanny's worker may have no children, lest they outlive it: ours end with it, by themselves.
    multiprocessing.current_process().daemon = False
    child.preload(order.modules)
    with _full_disk_said(), _place(order) as here:
        running = _running[name] = _Running(name, order, here.checkpoint)
        try:
            # One machine can have several workers, and they several clients.
            machine = Store(Path(tempfile.gettempdir()) / f"{OURS}-{getuser()}")
            with machine.machine(task.alone, running):
                child.run_in_child(
                    perform,
                    *(task, here, len(order.cores)),
                    cores=order.cores,
                    progress=running.progress,
                    stop=running,
                    timeout_s=order.timeout_s,
                )
        except child.ChildFailed as failure:
            if running.is_set():
                raise Stopped from failure
            raise
        finally:
            del _running[name]
        return None if order.reads is None else archive.pack(archive.files_in(here.folder))


@contextlib.contextmanager
def _full_disk_said() -> Iterator[None]:
    """Turn a full disk into an error that the client does not take for one of its own."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise WorkerFull from error
        raise


@contextlib.contextmanager
def _place(order: Order) -> Iterator[Work]:
    """Give the folders to work in: the client's, or some that have all that the task reads."""
    if order.reads is None:
        yield order.work
        return
    own = _folder(get_worker())
    own.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=own))
    try:
        store = Store(folder / "store").folder
        for name in KEPT_ONCE:
            (own / name).mkdir(exist_ok=True)
            (store / name).symlink_to(own / name)
        archive.unpack(order.reads, store)
        here = Work(store, folder / "result", store / order.work.checkpoint.relative_to(order.work.store))
        here.folder.mkdir()
        here.checkpoint.mkdir(parents=True, exist_ok=True)
        yield here
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(worker: Worker) -> Path:
    """Return the folder of a worker, which Dask removes with it."""
    return Path(worker.local_directory) / OURS
