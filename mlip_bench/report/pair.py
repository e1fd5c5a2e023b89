"""Two runs side by side: their rows in one folder, each potential under the name of its run."""

import dataclasses
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from mlip_bench.errors import UserError
from mlip_bench.results import (
    BY_GROUP,
    DESCRIPTION,
    DRAWN,
    PREDICTED,
    RESULTS,
    file_name,
    read_rows,
    write_atomically,
    write_rows,
)


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
        predicted = {row.potential: _named(row.potential, label) for row in own}
        of_measures = {(row.potential, row.measure.removesuffix(BY_GROUP)) for row in own}
        drawn = {f"{name}-{measure}": f"{predicted[name]}-{measure}" for name, measure in of_measures}
        _copy(folder / PREDICTED, out / PREDICTED, predicted)
        _copy(folder / DRAWN, out / DRAWN, drawn)
    data = [run["dataset"]["sha256"] for run in runs]
    if data[0] != data[1]:
        raise UserError(f"{one} and {other}: runs on different data, so their errors do not compare")
    merged = runs[0] | {
        "command": "; ".join(run["command"] for run in runs),
        "potentials": {
            _named(name, label): entry | {"run": label}
            for run, label in zip(runs, labels, strict=True)
            for name, entry in run["potentials"].items()
        },
    }
    write_rows(out / RESULTS, rows)
    write_atomically(out / DESCRIPTION, tomli_w.dumps(merged))


def _named(potential: str, label: str) -> str:
    return f"{potential} ({label})"


def _copy(folder: Path, out: Path, names: Mapping[str, str]) -> None:
    """Copy the arrays of each name that has some, under its new name."""
    out.mkdir(parents=True, exist_ok=True)
    for old, new in names.items():
        path = folder / f"{file_name(old)}.npz"
        if path.is_file():
            shutil.copy(path, out / f"{file_name(new)}.npz")
