"""What decides a result, as digests: files that a potential is read from, packages, and plain values."""

import hashlib
import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlip_bench.errors import UserError
from mlip_bench.results import TASK

TASK_ROWS = "rows.jsonl"

# Beside a published potential: what belongs to its coefficients, and files that define how they are used.
COMPANION = ".snapparam"
DEFINITIONS = (".snap", ".mod")

# Files (bytes) that are looked through for the names of others.
LARGEST_DEFINITION = 10_000_000


def installed(packages: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of distributions, None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in sorted(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def digest(value: object) -> str:
    """Return the SHA-256 of JSON content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digests(of: Path, files: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name within a folder, or beside a file."""
    folder = of if of.is_dir() else of.parent
    try:
        return {str(path.relative_to(folder)): digest_of_file(path) for path in sorted(files)}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error


def files_of(source: Path) -> list[Path]:
    """Return the files that a potential is read from: those of its folder, or one and what belongs to it.

    Beside a file these are its companions (``.snapparam`` of ``.snapcoeff``), definitions that name it
    (``.snap``, ``.mod``), and the files that any of these name.
    """
    if source.is_dir():
        own = [path for path in source.rglob("*") if path.is_file()]
        seen = [path for path in own if not any(part[0] == "." for part in path.relative_to(source).parts)]
        return [path for path in seen if path not in (source / TASK_ROWS, source / TASK)]
    beside = {path.name: path for path in source.parent.iterdir() if path.is_file()}
    definitions = [name for name in beside if name.endswith(DEFINITIONS)]
    definitions = [name for name in definitions if source.name in _words(beside[name])]
    found: set[str] = set()
    latest = {source.name, f"{source.stem}{COMPANION}", *definitions} & set(beside)
    while latest:
        found |= latest
        latest = {word for name in latest for word in _words(beside[name]) if word in beside} - found
    return [beside[name] for name in found]


def _words(path: Path) -> set[str]:
    """Return the words of a text file, and the values of its attributes; of a large or other file none."""
    if path.stat().st_size > LARGEST_DEFINITION:
        return set()
    return set(re.split(r"[\s\"'<>=]+", path.read_text(errors="replace")))


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
