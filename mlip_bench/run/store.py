"""A store of finished work, by the key of all that decides it: safe against crashes, shared by many runs.

A folder with one subfolder per kind of task (``fit``, ``errors``, ``trial``, ...) and in it, per key:

- ``<key>/`` a finished task: ``task.json`` (what decides it), its rows, and its files;
- ``<key>.lock`` held (flock) by who works on it, so that several runs, on several machines too, never do
  the same task twice and never remove each other's work;
- ``<key>.<who>.partial/`` where it is being written, renamed when it is whole and on the disk;
- ``<key>.checkpoint/`` the state of a long fit;
- ``<key>.jsonl`` a journal: one record per line, each on the disk before it counts.

Structures lie beside them once (``structures/<sha256>.traj``), however many tasks need them; so do files that
hyper-parameters name, where tasks work on other machines (``files/<sha256>/<name>``).
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ase import Atoms
from ase.io.trajectory import Trajectory

from mlip_bench.data.reference import fingerprint, geometry_fingerprint
from mlip_bench.errors import UserError
from mlip_bench.results import TASK, Journal, flush_to_disk, write_atomically
from mlip_bench.run.contents import digest_of_file

# Where finished work is kept, beside the folders of runs, unless another place is named.
STORE = "mlip-bench-store"

# Of the layout above; a store of another one is refused.
FORMAT = 1
FORMAT_FILE = "store.json"
# What a new disk has in its topmost folder.
LOST = "lost+found"
STRUCTURES, FILES = "structures", "files"
# What is kept once, by its content, however many tasks read it.
KEPT_ONCE = (STRUCTURES, FILES)

# Files of at most this many bytes are read again before a finished task is taken from the store.
READ_AGAIN = 1_000_000

# How often somebody who waits for a lock looks again (s).
POLL_SECONDS = 0.1

# What flock says where the file system has no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


class Keyed(Protocol):
    """What the store knows of a task."""

    @property
    def kind(self) -> str:
        """The name of the subfolder."""

    @property
    def key(self) -> str:
        """The hash of all that decides the result."""

    @property
    def decides(self) -> dict[str, Any]:
        """All that decides the result, as JSON."""

    @property
    def label(self) -> str:
        """What the user reads."""

    @property
    def resumable(self) -> bool:
        """Whether it keeps its state in a checkpoint and goes on from there."""

    def verify(self, folder: Path) -> None:
        """Raise :class:`ValueError` where a folder does not hold what this task asks for."""


@dataclass(frozen=True)
class Work:
    """A task that is being done: where its files go, and where a long fit keeps its state."""

    store: Path
    folder: Path
    checkpoint: Path


class Store:
    """Finished tasks in a folder, which is made where it does not exist; see the module's docstring.

    Raises :class:`UserError` for a store of another version of its layout, and where it cannot be used:
    it is not a folder, cannot be written, or its file system has no locks.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UserError(
                f"{folder}: not a folder, so it cannot be a store; name another with --store"
            ) from error
        self._check_format()
        with (self.folder / FORMAT_FILE).open() as file:
            lock(file.fileno(), self.folder / FORMAT_FILE, shared=True)  # says so where there are no locks

    def _check_format(self) -> None:
        path = self.folder / FORMAT_FILE
        if not path.is_file():
            # What begins with a dot is being written, by another run that begins at the same time.
            foreign = [one for one in self.folder.iterdir() if one.name[0] != "." and one.name != LOST]
            if foreign and not path.is_file():
                raise UserError(
                    f"{self.folder}: not empty, and not a store ({FORMAT_FILE} is missing); name another "
                    "folder with --store"
                )
            write_atomically(path, json.dumps({"format": FORMAT}) + "\n")
        try:
            found = json.loads(path.read_text())["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not the description of a store; name another folder with --store"
            ) from error
        if found != FORMAT:
            raise UserError(
                f"{self.folder}: a store of layout {found}, and this version reads layout {FORMAT}; name "
                "another folder with --store"
            )

    # -- finished tasks --------------------------------------------------------------------------------

    def entry(self, task: Keyed) -> Path:
        """Return the folder of a task, finished or not."""
        return self.folder / task.kind / task.key

    def has(self, task: Keyed) -> bool:
        """Tell whether a task is finished, and all that it left is there as it was written."""
        return _is_whole(self.entry(task))

    def is_damaged(self, task: Keyed) -> bool:
        """Tell whether there is something of a finished task that is not whole any more."""
        return self.entry(task).is_dir() and not self.has(task)

    @contextlib.contextmanager
    def begin(
        self, task: Keyed, stop: threading.Event, again: bool = False, goes_on: bool = False
    ) -> Iterator[Work | None]:
        """Hold a task and give a new folder to work in; None where another run finished it meanwhile.

        Who comes second waits. What is not committed inside is gone afterwards, except for the checkpoint.
        A finished task that is done ``again`` stays until the new one is committed; its checkpoint is gone,
        unless it ``goes_on`` from there. Raises :class:`Stopped` where ``stop`` is set while this waits.
        """
        entry = self.entry(task)
        with self._held(_beside(entry, ".lock"), stop):
            if self.has(task) and not again:
                shutil.rmtree(_beside(entry, ".checkpoint"), ignore_errors=True)
                yield None
                return
            if again and not goes_on:
                shutil.rmtree(_beside(entry, ".checkpoint"), ignore_errors=True)
            for leftover in entry.parent.glob(f"{task.key}.*.partial"):
                shutil.rmtree(leftover)  # of a run that was killed: who holds the lock is alone
            who = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            work = Work(self.folder, _beside(entry, f".{who}.partial"), _beside(entry, ".checkpoint"))
            work.folder.mkdir(parents=True)
            try:
                self._own_checkpoint(work, task)
                yield work
            finally:
                shutil.rmtree(work.folder, ignore_errors=True)

    def commit(self, task: Keyed, work: Work) -> None:
        """Keep what was written into the folder of ``work``, whole and on the disk, as the finished task.

        Raises :class:`ValueError` where it is not what the task asked for.
        """
        task.verify(work.folder)
        _write_description(work.folder, task)
        for path in sorted(work.folder.rglob("*")):
            flush_to_disk(path)
        flush_to_disk(work.folder)
        entry = self.entry(task)
        if entry.is_dir():  # damaged, or done again
            gone = _beside(entry, ".gone.partial")
            entry.rename(gone)
            work.folder.rename(entry)
            shutil.rmtree(gone)
        else:
            work.folder.rename(entry)
        flush_to_disk(entry.parent)
        shutil.rmtree(work.checkpoint, ignore_errors=True)

    def _own_checkpoint(self, work: Work, task: Keyed) -> None:
        """Mark the checkpoint as this task's; raises :class:`UserError` where it is another's."""
        if not task.resumable:
            return
        work.checkpoint.mkdir(exist_ok=True)
        for leftover in work.checkpoint.glob(".*.partial"):
            leftover.unlink()  # who holds the lock is alone
        if any(work.checkpoint.iterdir()) and not _is_description_of(work.checkpoint, task):
            raise UserError(
                f"{work.checkpoint}: does not belong to {task.label}; remove it and repeat the command"
            )
        _write_description(work.checkpoint, task)

    # -- journals --------------------------------------------------------------------------------------

    def labels(self, sha256: str) -> Journal:
        """Return the journal of the labels that were made with settings of this SHA-256."""
        return Journal(self.folder / "label" / f"{sha256}.jsonl")

    # -- structures ------------------------------------------------------------------------------------

    def put_structures(self, structures: Sequence[Atoms]) -> str:
        """Keep structures with their reference values once, and return the SHA-256 they are found by."""
        sha256 = _sha256(structures)
        path = self.structures_path(sha256)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
            try:
                with Trajectory(partial, "w") as file:
                    for atoms in structures:
                        file.write(_kept(atoms))
                flush_to_disk(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        return sha256

    def structures(self, sha256: str) -> list[Atoms]:
        """Return structures that were put; raises :class:`UserError` where the file is damaged."""
        path = self.structures_path(sha256)
        try:
            with Trajectory(path) as file:
                found = list(file)
        except Exception as error:  # a reader may raise anything on a broken file
            raise UserError(f"{path}: cannot be read ({error}); remove it and repeat the command") from error
        if _sha256(found) != sha256:
            raise UserError(f"{path}: damaged, its content is another than its name says; remove it")
        return found

    def structures_path(self, sha256: str) -> Path:
        """Return the file of structures, there or not."""
        return self.folder / STRUCTURES / f"{sha256}.traj"

    # -- files -----------------------------------------------------------------------------------------

    def put_file(self, path: Path, sha256: str) -> Path:
        """Keep a copy of a file, and return it.

        Raises :class:`UserError` where it is not there any more, or has another SHA-256.
        """
        kept = self.file_path(path.name, sha256)
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_name(f".{kept.name}.{socket.gethostname()}-{uuid.uuid4().hex}.partial")
            try:
                shutil.copyfile(path, partial)
                if digest_of_file(partial) != sha256:
                    raise UserError(f"{path}: changed since the command began; repeat it")
                flush_to_disk(partial)
                partial.replace(kept)
            except FileNotFoundError as error:
                raise UserError(f"{path}: not there any more; put it back and repeat the command") from error
            finally:
                partial.unlink(missing_ok=True)
        return kept

    def file_path(self, name: str, sha256: str) -> Path:
        """Return the copy of a file, there or not."""
        return self.folder / FILES / sha256 / name

    # -- locks -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def machine(self, alone: bool, stop: threading.Event) -> Iterator[None]:
        """Share this machine with other work on this store, or have it ``alone``, for a timing."""
        with self._held(self.folder / "machines" / f"{socket.gethostname()}.lock", stop, shared=not alone):
            yield

    @contextlib.contextmanager
    def _held(self, path: Path, stop: threading.Event, shared: bool = False) -> Iterator[None]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            while not lock(file.fileno(), path, shared):
                if stop.wait(POLL_SECONDS):
                    raise Stopped
            yield


class Stopped(Exception):
    """The run was stopped while it waited."""


def lock(descriptor: int, path: Path, shared: bool = False) -> bool:
    """Lock an open file and tell whether it worked; raises :class:`UserError` where there are no locks."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise UserError(
                f"{path.parent}: its file system has no locks ({error.strerror}), so two runs could spoil "
                "each other's work; choose a folder on another disk with --out and --store"
            ) from error
        raise
    return True


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the run folder; a second run in it is a :class:`UserError`. A killed run lets go by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with path.open("w") as file:
        if not lock(file.fileno(), path):
            raise UserError(
                f"{folder}: another run is writing here; wait for it, or choose another folder with --out"
            )
        yield


def _beside(entry: Path, ending: str) -> Path:
    return entry.with_name(entry.name + ending)


def _write_description(folder: Path, task: Keyed) -> None:
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": digest_of_file(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = {
        "label": task.label,
        "kind": task.kind,
        "key": task.key,
        "decides": task.decides,
        "commit": uuid.uuid4().hex,
        "files": files,
    }
    write_atomically(folder / TASK, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def commit_of(folder: Path) -> str:
    """Return what tells this result of a finished task from one of the same task that was done again."""
    return str(json.loads((folder / TASK).read_text())["commit"])


def _is_whole(folder: Path) -> bool:
    """Tell whether the files of a finished task are there as they were written; large ones by their size."""
    try:
        files = json.loads((folder / TASK).read_text())["files"]
        return all(
            (folder / name).stat().st_size == entry["bytes"]
            and (entry["bytes"] > READ_AGAIN or digest_of_file(folder / name) == entry["sha256"])
            for name, entry in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_description_of(folder: Path, task: Keyed) -> bool:
    try:
        found = json.loads((folder / TASK).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("key") == task.key and found.get("kind") == task.kind


def _sha256(structures: Sequence[Atoms]) -> str:
    """Return the hash of structures: of their reference values, too, where all have them."""
    if all(atoms.calc is not None for atoms in structures):
        return fingerprint(structures)
    geometries = "".join(map(geometry_fingerprint, structures))
    return hashlib.sha256(geometries.encode()).hexdigest()


def _kept(atoms: Atoms) -> Atoms:
    """Return a copy with what counts: geometry, reference values, and the names of its group."""
    notes = {key: str(atoms.info[key]) for key in ("group", "config_type") if key in atoms.info}
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=notes)
    copy.calc = atoms.calc
    return copy
