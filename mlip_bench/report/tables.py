"""The tables of a report: headings with units, and cells as text, the same for HTML and PDF."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

import mlip_bench
from mlip_bench.report import fronts, ruler
from mlip_bench.report.content import AFTER_SHIFT, AS_IT_IS, Content

# Extrapolating structures listed for each potential, those with the largest share of atoms.
STRUCTURES_SHOWN = 10


# From light to strong; text stays readable on all of them, also in grey.
SHADE_COLORS = ("#FFF3D6", "#FFDD9E", "#F9B96B")


# Stands beside a stress error of a potential that was not fitted to stress.
UNFITTED = "†"

# The errors that a shift per element changes.
SHIFTED = ("energy_mae", "energy_rmse")


@dataclass(frozen=True)
class Table:
    """Headings, rows of text, and the rows to set in bold."""

    headings: list[str]
    rows: list[list[str]]
    emphasised: frozenset[int] = frozenset()
    note: str = ""
    families: tuple[str, ...] = ()
    """The family of each row, where rows are potentials: a page can switch it off."""
    shades: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """How much the cell in a row and column is shaded, from 0 to the number of ``SHADE_COLORS``."""


@dataclass(frozen=True)
class Column:
    """One column: heading with unit, key in the data, and how a number is written."""

    heading: str
    key: str
    spec: str = ".3g"


ERROR_COLUMNS = (
    Column("energy MAE (meV/atom)", "energy_mae", ".2f"),
    Column("energy RMSE (meV/atom)", "energy_rmse", ".2f"),
    Column("force MAE (meV/Å)", "force_mae", ".1f"),
    Column("force RMSE (meV/Å)", "force_rmse", ".1f"),
    Column("stress RMSE (GPa)", "stress_rmse", ".2f"),
)


def ranking(content: Content) -> Table:
    """The potentials by test force error, with cost and size."""
    columns = (
        *ERROR_COLUMNS,
        Column("cost (µs/atom/step)", "us_per_atom_step", ".1f"),
        Column("cost (× ruler)", "cost_ratio", ".2f"),
        Column("parameters", "n_parameters", ".0f"),
    )
    notes = ["Test errors. Bold: on the Pareto front of force error and cost.", ruler.note(content.rulers)]
    return _error_table("potential", content.ranking, columns, content, notes)


def families(content: Content) -> Table:
    """The families of a sweep by what their sizes cover."""
    columns = (
        Column("sizes", "sizes", ".0f"),
        Column("least force RMSE (meV/Å)", "force_rmse", ".1f"),
        Column("least energy RMSE (meV/atom)", "energy_rmse", ".2f"),
        Column("least cost (× ruler)", "cost_ratio", ".2f"),
        Column("hyper-volume (force)", "force_volume", ".3f"),
        Column("hyper-volume (energy)", "energy_volume", ".3f"),
    )
    table = _table("family", fronts.families(content.ranking), columns)
    note = (
        "Hyper-volume: share of the plane of log(cost) and error that the family's sizes dominate; larger is "
        "better, at most 1."
    )
    return Table(table.headings, table.rows, note=note)


def train_errors(content: Content) -> Table:
    """Errors on the training data."""
    notes = ["Errors on the training data."]
    return _error_table("potential", content.train_errors, ERROR_COLUMNS, content, notes)


def groups(content: Content) -> Table:
    """Test errors of each group of structures."""
    frame = content.by_group
    frame = frame[frame.index.get_level_values("potential").isin(content.shown)]
    potentials = frame.index.get_level_values("potential")
    frame = frame.set_axis([f"{group}: {potential}" for group, potential in frame.index])
    return _error_table("group: potential", frame, ERROR_COLUMNS, content, [], potentials)


def fits(content: Content) -> Table:
    """Time and memory of each fit."""
    columns = (Column("fit time (s)", "fit_s", ".1f"), Column("peak memory (MiB)", "peak_rss_mib", ".0f"))
    table = _table("potential", content.ranking, columns)
    threads = content.threads.get("fit")
    note = f"Threads given to each fit: {threads}."
    return Table(table.headings, table.rows, note=note, families=table.families)


def extrapolation(content: Content) -> Table:
    """The test structures with atoms in surroundings outside those of training."""
    shown = content.extrapolation.groupby("potential", sort=False).head(STRUCTURES_SHOWN)
    rows = [
        [
            row.potential,
            f"{row.structure} ({row.group})" if row.group else str(row.structure),
            f"{row.n_outside} of {row.n_atoms}",
        ]
        for row in shown.itertuples()
    ]
    left_out = len(content.extrapolation) - len(shown)
    note = "Numbers are places in the test data. These surroundings lie outside those of training."
    more = f" {left_out} more are not shown." if left_out else ""
    return Table(["potential", "test structure", "atoms that extrapolate"], rows, note=note + more)


STABILITY_COLUMNS = (
    Column("held (ps)", "held_ps", ".2f"),
    Column("exploded", "exploded", ".0f"),
    Column("largest force (eV/Å)", "largest_force", ".2f"),
    Column("smallest distance (Å)", "smallest_distance", ".2f"),
    Column("extrapolating atoms", "extrapolating_atoms", ".0f"),
    Column("drift in NVE (meV/atom/ps)", "energy_drift", "+.1e"),
)


def stability(content: Content) -> Table:
    """What molecular dynamics did at each temperature."""
    table = _table("potential: temperature", content.stability, STABILITY_COLUMNS)
    note = (
        "Exploded: 1 where it did, after the time it held. A run cut short by its time limit held for less."
    )
    return Table(table.headings, table.rows, note=note)


def failures(content: Content) -> Table:
    """The tasks that failed, each with its error."""
    return Table(["potential", "task", "error"], content.failures.astype(str).to_numpy().tolist())


def facts(content: Content) -> list[tuple[str, str]]:
    """What was run on what, as pairs of name and text."""
    run, dataset = content.run, content.run["dataset"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    notes = [" ".join(note.split()) for note in dataset.get("notes", [])]
    return [
        ("System", dataset["system"]),
        ("Data", f"{dataset['origin']} (SHA-256 {dataset['sha256'][:12]}...)"),
        *([("Reading it", ". ".join(f"{note[0].upper()}{note[1:]}" for note in notes))] if notes else []),
        ("Structures", f"{dataset['n_train']} training, {dataset['n_test']} test"),
        ("Level of theory", dataset["level_of_theory"]),
        ("Source", f"{dataset['citation']} ({dataset['licence']})"),
        ("Preset and seed", f"{run['preset']}, seed {run['seed']}"),
        ("Hardware", f"{run['hardware']['cpu']}, {run['hardware']['cores']} cores; {run['device']}"),
        ("Versions", versions),
    ]


def hypers(content: Content) -> Table:
    """The hyper-parameters of each potential."""
    rows = [
        [name, ", ".join(f"{key} = {_plain(value)}" for key, value in entry["hypers"].items())]
        for name, entry in content.run["potentials"].items()
    ]
    return Table(["potential", "hyper-parameters"], rows)


def repeat(content: Content) -> str:
    """The command that repeats the run."""
    return content.run["command"]


def footer() -> str:
    """Who made the report."""
    return f"Made by mlip-bench {mlip_bench.__version__}. Numbers: results.jsonl; settings: run.toml."


def _table(first: str, frame: pd.DataFrame, columns: tuple[Column, ...]) -> Table:
    having = [column for column in columns if column.key in frame and frame[column.key].notna().any()]
    rows = [
        [str(name), *(_number(row[column.key], column.spec) for column in having)]
        for name, row in frame.iterrows()
    ]
    families = tuple(frame["family"]) if "family" in frame else ()
    return Table([first, *(column.heading for column in having)], rows, families=families)


def _error_table(
    first: str,
    frame: pd.DataFrame,
    columns: tuple[Column, ...],
    content: Content,
    notes: list[str],
    potentials: Iterable[str] | None = None,
) -> Table:
    """Return a table of errors: stress that was not fitted is marked, and read potentials have two rows.

    ``potentials`` has the potential of each row, where it is not the row's name.
    """
    plain = _table(first, frame, columns)
    keys = [column.key for column in columns if column.heading in plain.headings]
    names = frame.index if potentials is None else potentials
    rows: list[list[str]] = []
    emphasised, families = set(), list[str]()
    for place, (name, cells) in enumerate(zip(names, plain.rows, strict=True)):
        row = frame.iloc[place]
        if "stress_rmse" in keys and name in content.without_stress and pd.notna(row["stress_rmse"]):
            cells[1 + keys.index("stress_rmse")] += UNFITTED
        if row.get("on_front", False):
            emphasised.add(len(rows))
        own = _with_shift(cells, keys, row)
        rows += own
        families += plain.families[place : place + 1] * len(own)
    if len(rows) > len(plain.rows):
        notes = [*notes, shift_note()]
    if any(cell.endswith(UNFITTED) for cells in rows for cell in cells):
        notes = [*notes, stress_note(content)]
    return Table(plain.headings, rows, frozenset(emphasised), " ".join(filter(None, notes)), tuple(families))


def _with_shift(cells: list[str], keys: list[str], row: pd.Series) -> list[list[str]]:
    """Return the row of a potential, and of one that was read a second with its energies after the shift."""
    if pd.isna(row.get("energy_rmse_shifted", np.nan)):
        return [cells]
    specs = {column.key: column.spec for column in ERROR_COLUMNS}
    after = [_number(row[f"{key}_shifted"], specs[key]) if key in SHIFTED else "" for key in keys]
    return [[f"{cells[0]}, {AS_IT_IS}", *cells[1:]], [f"{cells[0]}, {AFTER_SHIFT}", *after]]


def stress_note(content: Content) -> str:
    """Say what the mark of a stress means."""
    read = any("source" in entry for entry in content.run["potentials"].values())
    more = " What was read, not fitted here, has no mark: nothing says what it was fitted to." if read else ""
    return f"{UNFITTED} Stress of a potential that was not fitted to stress.{more}"


def shift_note() -> str:
    """Say what the two rows of a potential that was read are."""
    return (
        "A potential that was read may count energies from another zero: its energy errors stand as they are "
        "and after a shift per element, by least squares on the training data alone; all else is the same."
    )


def _number(value: Any, spec: str) -> str:
    return "–" if pd.isna(value) else format(float(value), spec)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {entry}" for key, entry in value.items()) + "}"
    return str(value)
