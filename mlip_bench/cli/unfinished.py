"""An unfinished fit: its state stands beside the potential's folder, and the same command goes on from it."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlip_bench.child import ChildFailed
from mlip_bench.cli.printing import say
from mlip_bench.errors import UserError
from mlip_bench.measure.fit import SECONDS
from mlip_bench.results import write_atomically
from mlip_bench.study import sole_writer

DESCRIPTION = "fit.json"
STATE = "state"


def folder_of(out: Path) -> Path:
    """Return the folder that keeps the state of the fit whose potential goes to ``out``."""
    whole = Path(os.path.abspath(out))
    return whole.with_name(f"{whole.name}.checkpoint")


def file_digests(hypers: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the content of each file that hyper-parameters name."""
    files = {name: Path(value) for name, value in hypers.items() if isinstance(value, str) and value}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if path.is_file()
    }


@contextlib.contextmanager
def checkpoint(folder: Path, decides: Mapping[str, Any]) -> Iterator[Path]:
    """Give the folder in which a fit keeps its state; it is removed when the fit is done.

    ``decides`` is all that decides the result, as JSON knows it. Raises :class:`UserError` where the folder
    has the state of another fit, or another command works there. A fit that fails without any state leaves
    nothing.
    """
    description, state = folder / DESCRIPTION, folder / STATE
    with sole_writer(folder):
        if _has_state(state):
            _refuse_other(folder, decides)
            say(f"going on from where an interrupted fit of the same came to: {folder}")
        else:
            shutil.rmtree(state, ignore_errors=True)
        write_atomically(description, json.dumps(decides, indent=2) + "\n")
        state.mkdir(exist_ok=True)
        try:
            yield state
        except ChildFailed:
            if not _has_state(state):
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _has_state(state: Path) -> bool:
    """Tell whether a family left anything to go on from; the clock alone, or half a file, is nothing."""
    return state.is_dir() and any(
        entry.name != SECONDS and ".partial" not in entry.name for entry in state.iterdir()
    )


def _refuse_other(folder: Path, decides: Mapping[str, Any]) -> None:
    try:
        kept = json.loads((folder / DESCRIPTION).read_text())
        other = [name for name, value in decides.items() if kept.get(name) != value]
    except (OSError, ValueError, AttributeError):
        other = ["description"]
    if other:
        raise UserError(
            f"{folder}: has the state of another fit (other {', '.join(other)}); remove it to start over, or "
            "choose another --out"
        )
