"""Trajectories that are kept as they end, and what they gave: for the scripts beside this file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlip_bench.measure.base import Found
from mlip_bench.measure.conductivity import SERIES, observe
from mlip_bench.measure.conductivity.settings import Settings
from mlip_bench.potentials import Potential
from mlip_bench.results import write_atomically


def made(folder: Path) -> Path:
    """Return a folder that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def trajectory(potential: Potential, crystal: Atoms, settings: Settings, folder: Path) -> Path:
    """Return the file of a trajectory, recorded now if it is not there.

    A longer one goes on where a shorter one of the same seed ended.
    """
    path = made(folder) / f"{settings.seed}-{settings.length:g}ps-{SERIES}"
    if not path.is_file():
        state = made(folder / f"{settings.seed}-state")
        observed = observe(potential, crystal, settings, Told(), state)
        partial = path.with_name(f".{path.name}")
        np.savez_compressed(partial, **observed.arrays())
        partial.replace(path)
    return path


class Told:
    """Prints how far a trajectory has come, every twentieth."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, share: float, message: str) -> None:
        """Take the progress."""
        if int(20 * share) != self._last:
            self._last = int(20 * share)
            print(f"  {100 * share:3.0f} % {message}", flush=True)


def entry_of(found: Found, settings: Settings, **names: Any) -> dict[str, Any]:
    """Return what is kept of a conductivity."""
    entry = names | {
        "method": settings.method,
        "temperature_asked": settings.temperature,
        "length_ps": settings.length,
        "timestep_fs": settings.timestep,
    }
    for value in found.values:
        entry[value.metric] = None if value.error else value.value
        if value.metric == "kappa":
            entry |= {"spread": value.spread, "error": value.error, "note": value.note}
        elif value.spread is not None:
            entry[f"{value.metric}_spread"] = value.spread
    return entry


def keep(path: Path, entry: dict[str, Any], which: tuple[str, ...]) -> None:
    """Put an entry into a file in place of the one that is alike in ``which``."""
    kept = read(path)
    others = [one for one in kept if any(one.get(key) != entry[key] for key in which)]
    write_atomically(path, json.dumps([*others, entry], indent=1) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a file, none where it is not there."""
    return list(json.loads(path.read_text())) if path.is_file() else []
