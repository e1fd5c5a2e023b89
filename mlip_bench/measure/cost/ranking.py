"""How cost stands on the first page of a report."""

from mlip_bench.section.parts import Axis, Column

COLUMNS = (
    Column("cost (µs/atom/step)", "us_per_atom_step", ".1f"),
    Column("cost (× ruler)", "cost_ratio", ".2f"),
)

RATIO = Axis(
    "cost_ratio",
    "cost",
    "cost (× ruler)",
    ".2f",
    say=lambda row: f"{row['cost_ratio']:.2f} × ruler ({row['us_per_atom_step']:.0f} µs per atom and step)",
    tip=lambda row: (
        f"{row['cost_ratio']:.2f} ± {row['cost_ratio_spread']:.2f} × ruler, {row['us_per_atom_step']:.0f} "
        "µs/atom/step"
    ),
    long_label="cost per atom and MD step (× ruler, one core)",
    alone=lambda row: f"{row['us_per_atom_step']:.0f} µs per atom and step on one core",
    bars="half the interquartile range of the timed blocks",
    remark=lambda evidence: " The ruler is the published linear SNAP of Mo, timed in the same process.",
)
