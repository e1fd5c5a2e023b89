"""Two runs side by side: their rows in one folder, each potential under the name of its run."""

import dataclasses
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from mlip_bench.errors import UserError
from mlip_bench.results import (
    BY_GROUP,
    DESCRIPTION,
    DRAWN,
    PREDICTED,
    RESULTS,
    Row,
    file_name,
    read_rows,
    write_atomically,
    write_rows,
)

# What the report says of each run by itself.
OF_EACH = ("preset", "seed", "device", "hardware", "versions")


def merge(one: Path, other: Path, out: Path) -> None:
    """Write the rows, predictions and curves of two runs into ``out``.

    Runs on other data are refused: their errors do not compare. Runs on other machines are not: the report
    warns of it, and ratios to the ruler travel.
    """
    if out.resolve() in (one.resolve(), other.resolve()):
        raise UserError(f"{out}: one of the two runs is there; choose another folder with --out")
    labels = (one.name, other.name) if one.name != other.name else ("first", "second")
    folders = dict(zip(labels, (one, other), strict=True))
    runs = {label: _described(folder) for label, folder in folders.items()}
    if len({run["dataset"]["sha256"] for run in runs.values()}) > 1:
        raise UserError(f"{one} and {other}: runs on different data, so their errors do not compare")
    rows: list[Row] = []
    for label, folder in folders.items():
        own = read_rows(folder / RESULTS)
        rows += [dataclasses.replace(row, potential=_named(row.potential, label)) for row in own]
        predicted = {row.potential: _named(row.potential, label) for row in own}
        of_measures = {(row.potential, row.measure.removesuffix(BY_GROUP)) for row in own}
        drawn = {f"{name}-{measure}": f"{predicted[name]}-{measure}" for name, measure in of_measures}
        _copy(folder / PREDICTED, out / PREDICTED, predicted)
        _copy(folder / DRAWN, out / DRAWN, drawn)
    write_rows(out / RESULTS, rows)
    write_atomically(out / DESCRIPTION, tomli_w.dumps(_together(runs)))


def _described(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / DESCRIPTION).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{folder / DESCRIPTION}: cannot be read ({error})") from error


def _together(runs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return one description of the runs, by their labels: what they share, and beside it what is each's."""
    first, second = runs.values()
    options = {
        measure: chosen
        for measure, chosen in {**second.get("options", {}), **first.get("options", {})}.items()
        if all(run.get("options", {}).get(measure, chosen) == chosen for run in runs.values())
    }
    notes = [f"{label}: {note}" for label, run in runs.items() for note in run.get("notes", [])]
    return first | {
        "command": "; ".join(run["command"] for run in runs.values()),
        "options": options,
        "notes": notes,
        "runs": {label: {key: run[key] for key in OF_EACH if key in run} for label, run in runs.items()},
        "potentials": {
            _named(name, label): entry | {"run": label}
            for label, run in runs.items()
            for name, entry in run["potentials"].items()
        },
    }


def _named(potential: str, label: str) -> str:
    return f"{potential} ({label})"


def _copy(folder: Path, out: Path, names: Mapping[str, str]) -> None:
    """Copy the arrays of each name that has some, under its new name."""
    out.mkdir(parents=True, exist_ok=True)
    for old, new in names.items():
        path = folder / f"{file_name(old)}.npz"
        if path.is_file():
            shutil.copy(path, out / f"{file_name(new)}.npz")
