"""Two runs side by side: their rows in one folder, each potential under the name of its run."""

import dataclasses
import shutil
import tomllib
from pathlib import Path

import tomli_w

from mlip_bench.errors import UserError
from mlip_bench.results import DESCRIPTION, DRAWN, PREDICTED, RESULTS, read_rows, write_atomically, write_rows


def merge(one: Path, other: Path, out: Path) -> None:
    """Write the rows, predictions and curves of two runs into ``out``.

    Runs on other data are refused: their errors do not compare. Runs on other machines are not: the report
    warns of it, and ratios to the ruler travel.
    """
    labels = (one.name, other.name) if one.name != other.name else ("first", "second")
    rows, runs = [], []
    for folder, label in zip((one, other), labels, strict=True):
        own = read_rows(folder / RESULTS)
        try:
            runs.append(tomllib.loads((folder / DESCRIPTION).read_text()))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"{folder / DESCRIPTION}: cannot be read ({error})") from error
        rows += [dataclasses.replace(row, potential=_named(row.potential, label)) for row in own]
        for kind in (PREDICTED, DRAWN):
            _copy(folder / kind, out / kind, {row.potential for row in own}, label)
    data = [run["dataset"]["sha256"] for run in runs]
    if data[0] != data[1]:
        raise UserError(f"{one} and {other}: runs on different data, so their errors do not compare")
    merged = runs[0] | {
        "command": "; ".join(run["command"] for run in runs),
        "potentials": {
            _named(name, label): entry
            for run, label in zip(runs, labels, strict=True)
            for name, entry in run["potentials"].items()
        },
    }
    write_rows(out / RESULTS, rows)
    write_atomically(out / DESCRIPTION, tomli_w.dumps(merged))


def _named(potential: str, label: str) -> str:
    return f"{potential} ({label})"


def _copy(folder: Path, out: Path, potentials: set[str], label: str) -> None:
    """Copy the files of each potential under its new name; the longest name that fits is a file's own."""
    out.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.npz"):
        owners = [name for name in potentials if path.stem == name or path.stem.startswith(f"{name}-")]
        if owners:
            name = max(owners, key=len)
            shutil.copy(path, out / f"{_named(name, label)}{path.stem[len(name) :]}.npz")
