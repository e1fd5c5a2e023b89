"""What a worker of Dask does for us: one task in a pinned child, and saying how far each is.

A worker keeps the structures of the data, and nothing else beyond a task. Who gave a task asks now and then
how it is; where nobody does for long, the client is gone, and its tasks end.
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

from distributed import Worker, get_worker

from mlip_bench.run import archive, child
from mlip_bench.run.perform import perform
from mlip_bench.run.plan import Task
from mlip_bench.run.store import STRUCTURES, Stopped, Store, Work

# In the folder of a worker, and in that of the temporary files of its machine.
OURS = "mlip-bench"


@dataclass(frozen=True)
class Order:
    """What a worker needs to know of a task, beside the task."""

    client: str
    work: Work
    """The folders of the client, to work in where the worker sees them."""
    in_place: bool
    needed: bytes
    """Archive of what other tasks left that this one reads."""
    checkpoint: bytes
    """Archive of the state of the fit."""
    cores: list[int]
    modules: list[str]
    timeout_s: float | None
    lease_s: float
    """The task ends where nobody has asked for it for this long: the client is gone."""


@dataclass(frozen=True)
class News:
    """How far a task is, and its checkpoint where that has changed since it was last told."""

    share: float
    message: str
    checkpoint: bytes | None


class _Running(threading.Event):
    """A task at work here. As an event it says that the task shall end: it is told so, or nobody asks."""

    def __init__(self, order: Order, checkpoint: Path):
        super().__init__()
        self.client, self._lease_s = order.client, order.lease_s
        self._checkpoint = None if order.in_place else checkpoint
        self._asked = time.monotonic()
        self._share, self._message = 0.0, ""
        self._told: dict[str, int] = {}

    def is_set(self) -> bool:
        """Tell whether the task shall end."""
        if time.monotonic() - self._asked > self._lease_s:
            self.set()  # for good: who asks again afterwards is told that it was ended
        return super().is_set()

    def progress(self, share: float, message: str) -> None:
        """Keep how far the task is."""
        self._share, self._message = share, message

    def news(self, with_checkpoint: bool) -> News:
        """Say how far the task is."""
        self._asked = time.monotonic()
        return News(self._share, self._message, self._changed() if with_checkpoint else None)

    def _changed(self) -> bytes | None:
        """Return the checkpoint where it has changed; what is being written is told the next time."""
        if self._checkpoint is None:
            return None
        with contextlib.suppress(OSError):
            files = archive.files_in(self._checkpoint)
            written = {name: path.stat().st_mtime_ns for name, path in files.items()}
            if written != self._told:
                content = archive.pack(files)
                self._told = written
                return content
        return None


_running: dict[str, _Running] = {}


def receive(structures: bytes, dask_worker: Worker) -> None:
    """Keep structures, an archive of files named by their hashes."""
    archive.unpack(structures, _folder(dask_worker) / STRUCTURES)


def news(client: str, with_checkpoints: bool) -> dict[str, News]:
    """Say how far the tasks of a client are, by what they are called here."""
    ours = [(name, one) for name, one in list(_running.items()) if one.client == client]
    return {name: one.news(with_checkpoints) for name, one in ours}


def stop(client: str) -> None:
    """End the tasks of a client."""
    for one in list(_running.values()):
        if one.client == client:
            one.set()


def work(name: str, task: Task, order: Order) -> bytes | None:
    """Do a task, called ``name``, and return the archive of its files; None where it worked in place.

    Raises :class:`child.ChildFailed` where it fails, :class:`Stopped` where it was ended, and
    :class:`OSError` where the disk is full.
    """
    # A nanny's worker may have no children, lest they outlive it: ours end with it, by themselves.
    multiprocessing.current_process().daemon = False
    child.preload(order.modules)
    with _place(order) as here:
        running = _running[name] = _Running(order, here.checkpoint)
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
        return None if order.in_place else archive.pack(archive.files_in(here.folder))


@contextlib.contextmanager
def _place(order: Order) -> Iterator[Work]:
    """Give the folders to work in: the client's, or some that have all that the task reads."""
    if order.in_place:
        yield order.work
        return
    own = _folder(get_worker())
    structures = own / STRUCTURES
    structures.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=own))
    try:
        here = Work(Store(folder / "store").folder, folder / "result", folder / "checkpoint")
        (here.store / STRUCTURES).symlink_to(structures)
        archive.unpack(order.needed, here.store)
        archive.unpack(order.checkpoint, here.checkpoint)
        here.folder.mkdir()
        yield here
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(worker: Worker) -> Path:
    """Return the folder of a worker, which Dask removes with it."""
    return Path(worker.local_directory) / OURS
