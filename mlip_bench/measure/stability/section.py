"""Dynamics that hold in the report: a row per potential and temperature."""

import pandas as pd

from mlip_bench.measure import drift
from mlip_bench.measure.stability import MEASURE, durations_ps
from mlip_bench.section import tables
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Column, Section, Table, Term
from mlip_bench.section.terms import of_values

EXPLODED = "exploded"

# Of several seeds the worst is shown: one simulation in two that exploded is what matters.
WORST = {
    "held_ps": "min",
    EXPLODED: "sum",
    "largest_force": "max",
    "smallest_distance": "min",
    "extrapolating_atoms": "max",
    "energy_drift": "mean",
    "kinetic_drift": "mean",
}

COLUMNS = (
    Column("held (ps)", "held_ps", ".2f"),
    Column("exploded", EXPLODED, ".0f"),
    Column("largest force (eV/Å)", "largest_force", ".2f"),
    Column("smallest distance (Å)", "smallest_distance", ".2f"),
    Column("extrapolating atoms", "extrapolating_atoms", ".0f"),
    Column("drift of the energy in NVE (meV/atom/ps)", "energy_drift", "+.1e"),
    Column("drift of the kinetic energy (meV/atom/ps)", "kinetic_drift", "+.1e"),
)


def sections(evidence: Evidence) -> list[Section]:
    """Return the section, where dynamics were run."""
    if evidence.by_group(MEASURE.name).empty:
        return []
    return [Section("Dynamics that hold", [table(evidence)], place=60, warnings=on_explosions(evidence))]


def cautions(evidence: Evidence, potential: str) -> list[str]:
    """Say where dynamics of a potential exploded, or its energy drifts."""
    rows = evidence.by_group(MEASURE.name)
    rows = rows[rows["potential"] == potential]
    values = _of_fits(rows)
    found = []
    if EXPLODED in values:
        for group, fits in values.groupby("group", sort=False):
            exploded = fits[fits[EXPLODED] > 0]
            if len(exploded):
                of_several = f" of {len(exploded)} of {len(fits)} fits" if len(fits) > 1 else ""
                after = exploded["held_ps"].min()
                found.append(f"dynamics{of_several} exploded at {group} after {after:.3g} ps")
    return [*found, *drift.cautions(rows)]


def _of_fits(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per potential, temperature and fit, a column per metric."""
    return rows.pivot_table(
        index=["potential", "group", "seed"], columns="metric", values="value", sort=False
    )


def on_explosions(evidence: Evidence) -> list[str]:
    """Say of which potentials dynamics exploded, and where."""
    rows = evidence.by_group(MEASURE.name)
    exploded = rows[(rows["metric"] == "exploded") & (rows["value"] > 0)]
    return [
        f"Dynamics of {name} exploded at {', '.join(own['group'].unique())}."
        for name, own in exploded.groupby("potential", sort=False)
    ]


# A share below this counts as this much.
LEAST_HELD = 0.01


def terms(evidence: Evidence) -> list[Term]:
    """Return the share of the dynamics that each potential held."""
    label = "share of the dynamics that held"
    values = _held(evidence)
    note = (
        "Share that held: of the time asked for, the mean over temperatures; a simulation that its time "
        "limit cut short, and did not explode, counts as whole."
    )
    return [
        of_values(
            values,
            "held_share",
            "dynamics that hold",
            label,
            floor=LEAST_HELD,
            lower_is_better=False,
            note=note,
        )
    ]


def _held(evidence: Evidence) -> pd.Series:
    """Return the mean over temperatures; NaN where a potential was not simulated at each."""
    rows = evidence.by_group(MEASURE.name)
    if rows.empty:
        return pd.Series(dtype=float)
    values = _of_fits(rows)
    asked_ps = sum(durations_ps(str(evidence.run.get("preset"))))
    share = (values["held_ps"] / asked_ps).where(values[EXPLODED] > 0, 1.0)
    # Each fit counts at each temperature, and one that lacks a temperature makes the potential lack it.
    return share.unstack("group").mean(axis=1, skipna=False).groupby("potential").mean()


def table(evidence: Evidence) -> Table:
    """What molecular dynamics did at each temperature."""
    values = _of_fits(evidence.by_group(MEASURE.name))
    how = {metric: worst for metric, worst in WORST.items() if metric in values}
    frame = values.groupby(["potential", "group"], sort=False).agg(how)
    frame = frame.set_axis([f"{potential}: {temperature}" for potential, temperature in frame.index])
    note = (
        "Exploded: 1 where it did, after the time it held. A run cut short by its time limit held for less."
    )
    if evidence.fits:
        note += " Of several seeds: how many exploded, the worst of the rest, and the mean drift."
    return tables.plain("stability", "potential: temperature", frame, COLUMNS, note)
