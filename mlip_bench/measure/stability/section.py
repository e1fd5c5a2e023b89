"""Dynamics that hold in the report: a row per potential and temperature."""

from mlip_bench.measure.stability import MEASURE
from mlip_bench.section import tables
from mlip_bench.section.evidence import Evidence, wide
from mlip_bench.section.parts import Column, Section, Table

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
    return [Section("Dynamics that hold", [table(evidence)], place=60, warnings=on_explosions(evidence))]


def on_explosions(evidence: Evidence) -> list[str]:
    """Say of which potentials dynamics exploded, and where."""
    rows = evidence.by_group(MEASURE.name)
    exploded = rows[(rows["metric"] == "exploded") & (rows["value"] > 0)]
    return [
        f"Dynamics of {name} exploded at {', '.join(own['group'])}."
        for name, own in exploded.groupby("potential", sort=False)
    ]


def table(evidence: Evidence) -> Table:
    """What molecular dynamics did at each temperature."""
    frame = wide(evidence.by_group(MEASURE.name), ["potential", "group"])
    frame = frame.set_axis([f"{potential}: {temperature}" for potential, temperature in frame.index])
    note = (
        "Exploded: 1 where it did, after the time it held. A run cut short by its time limit held for less."
    )
    return tables.plain("stability", "potential: temperature", frame, COLUMNS, note)
