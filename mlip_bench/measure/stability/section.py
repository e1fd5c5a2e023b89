"""Dynamics that hold in the report: a row per potential and temperature."""

import pandas as pd

from mlip_bench.measure.stability import MEASURE
from mlip_bench.section import tables
from mlip_bench.section.evidence import Evidence, wide
from mlip_bench.section.parts import Column, Section, Table, Term
from mlip_bench.section.terms import of_values

COLUMNS = (
    Column("held (ps)", "held_ps", ".2f"),
    Column("exploded", "exploded", ".0f"),
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
    return [Section("Dynamics that hold", [table(evidence)], place=60)]


# A share below this counts as this much.
LEAST_HELD = 0.01


def terms(evidence: Evidence) -> list[Term]:
    """Return the share of the dynamics that each potential held."""
    label = "share of the dynamics that held"
    values = _held(evidence)
    note = (
        "Share that held: of the longest simulation at each temperature, the mean; a run that its time limit "
        "cut short, and did not explode, counts as whole."
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
    frame = wide(rows, ["potential", "group"])
    held, exploded = (frame[key].unstack("group") for key in ("held_ps", "exploded"))
    share = (held / held.max()).where(exploded > 0, 1.0).where(held.notna())
    return share.mean(axis=1, skipna=False)


def table(evidence: Evidence) -> Table:
    """What molecular dynamics did at each temperature."""
    frame = wide(evidence.by_group(MEASURE.name), ["potential", "group"])
    frame = frame.set_axis([f"{potential}: {temperature}" for potential, temperature in frame.index])
    note = (
        "Exploded: 1 where it did, after the time it held. A run cut short by its time limit held for less."
    )
    return tables.plain("stability", "potential: temperature", frame, COLUMNS, note)
