"""Rows of results: one JSON object per line, one row per measured number.

The keys are fixed (outside scripts read them): see :class:`Row`.
"""

import contextlib
import dataclasses
import fcntl
import filecmp
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_bench.errors import UserError

if TYPE_CHECKING:  # it takes half a second to import, which those who only write rows need not wait for
    import pandas as pd

# The files and folders of a run.
RESULTS = "results.jsonl"
DESCRIPTION = "run.toml"
POTENTIALS = "potentials"
PREDICTED = "predictions"
DRAWN = "curves"

# What describes a finished task in the store.
TASK = "task.json"

# Values of one group of structures go into rows of a measure of their own, so that a filter on measure
# and metric finds one row per split.
BY_GROUP = "-by-group"

# A name of a file can have this many bytes; what is appended to a name needs a few of them.
LONGEST_NAME = 200

# The splits of the data that rows of errors are of.
TRAIN, TEST, HELD_OUT = "train", "test", "held-out"

# Whose code dynamics run: LAMMPS's pair style, or that of the family here.
LAMMPS, KERNELS = "lammps", "mlip-bench"

# Packages whose version can change a result.
PACKAGES = (
    "mlip-bench-suite",
    "numpy",
    "scipy",
    "ase",
    "lammps",
    "quippy-ase",
    "numba",
    "matscipy",
    "motep",
    "phonopy",
    "spglib",
    "torch",
    "sevenn",
)


@dataclass(frozen=True)
class Row:
    """One measured number, or a failed task or part of one (``value`` None and ``error`` set)."""

    system: str
    dataset: str
    dataset_sha256: str
    potential: str
    family: str
    hypers_sha256: str
    n_parameters: int | None
    seed: int
    measure: str
    metric: str
    split: str | None
    value: float | None
    unit: str
    device: str
    threads: int
    cpu: str
    versions: dict[str, str]
    started: str
    """Start of the task, ISO 8601 with time zone."""
    wall_s: float
    error: str | None = None
    n_atoms: int | None = None
    group: str | None = None
    spread: float | None = None
    """Where a value is a median of repeats: half the interquartile range, in the value's unit."""
    note: str | None = None
    """What a reader must know of how a good value came about."""
    implementation: str | None = None
    """Of timed dynamics: ``lammps`` for LAMMPS's own pair style, ``mlip-bench`` for the code here; None in
    rows that are of neither, or older than this key."""
    revision: int | None = None
    """Revision of the measure's code that the value was measured with; None in rows older than this key."""
    family_revision: int | None = None
    """Revision of the family's code that the potential was fitted with; None likewise."""
    low: float | None = None
    """Lower end of the value's 95 % interval, in its unit; None where it has none, or in older rows."""
    high: float | None = None
    """Upper end of it."""
    n_train: int | None = None
    """Structures that the potential was fitted to, isolated atoms not counted; None of one that was read, or
    in older rows."""


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows so that the file is always whole; one that has these rows already is left alone."""
    write_atomically(
        path,
        (json.dumps(vars(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows),
    )


def read_rows(path: Path) -> list[Row]:
    """Read rows; a file that is not ours is a :class:`UserError`."""
    try:
        # By this sign alone: names may have others that end a line.
        lines = path.read_text(encoding="utf-8").split("\n")
        return [Row(**json.loads(line)) for line in lines if line]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); is this the folder of a run?") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a results file of this version ({error})") from error


def table(rows: Iterable[Row]) -> "pd.DataFrame":
    """Return the rows as a data frame with one column per key."""
    import pandas as pd

    columns = [field.name for field in dataclasses.fields(Row)]
    return pd.DataFrame([vars(row) for row in rows], columns=columns)


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or one part after the other, to a file that is never seen half-written.

    One that has this text already is left alone.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            for part in [text] if isinstance(text, str) else text:
                file.write(part.encode())
            file.flush()
            if path.is_file() and filecmp.cmp(partial, path, shallow=False):
                return
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk and survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_name(name: str) -> str:
    """Return a name as a file or folder can have it: without slashes or a leading dot, and not too long.

    Other names stay as they are, so that people find their files. Different names stay different.
    """
    plain = name.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    if plain.startswith("."):
        plain = "%2E" + plain[1:]
    if len(plain.encode()) <= LONGEST_NAME:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{plain.encode()[: LONGEST_NAME - 18].decode(errors='ignore')}~{digest}"


class Journal:
    """A file of records, one JSON object per line, that several processes append to.

    A record counts when it is on the disk. A last line that is not whole, of a process that was killed, is
    passed over, and cut off by the next that writes.
    """

    def __init__(self, path: Path):
        self.path = path

    def records(self) -> list[dict[str, Any]]:
        """Return all records; a line that is not one is a :class:`UserError`."""
        if not self.path.is_file():
            return []
        whole, newline, _ = self.path.read_text(errors="replace").rpartition("\n")
        found = []
        for number, line in enumerate(whole.split("\n") if newline else [], 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"{self.path}, line {number}: damaged ({error}); remove that line") from error
        return found

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold a name of this journal; another process that wants the same one waits."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.stem}.{name}.lock").open("a") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            yield

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record, and return when it is on the disk."""
        line = json.dumps(record, ensure_ascii=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            file.seek(0)
            whole = file.read().rfind(b"\n") + 1
            file.truncate(whole)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
