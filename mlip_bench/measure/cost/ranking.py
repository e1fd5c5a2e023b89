"""How cost stands on the first page of a report: the cheaper of two implementations, which is said."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlip_bench.results import KERNELS, LAMMPS
from mlip_bench.section.parts import Axis, Column

if TYPE_CHECKING:
    from mlip_bench.section.evidence import Evidence

METRIC = "cost_ratio"

# What each implementation is called after a number.
CALLED = {LAMMPS: "in LAMMPS's pair style", KERNELS: "by mlip-bench's kernels"}


def metric_of(implementation: str, metric: str = METRIC) -> str:
    """Return the name in a report of a metric by one implementation, of potentials that have two."""
    return f"{metric}_{implementation}"


COLUMNS = (
    Column("cost (µs/atom/step)", "us_per_atom_step", ".1f"),
    Column("cost (× ruler)", METRIC, ".2f"),
    Column("LAMMPS (× ruler)", metric_of(LAMMPS), ".2f"),
    Column("mlip-bench (× ruler)", metric_of(KERNELS), ".2f"),
)


def by(row: Mapping[str, Any]) -> str:
    """Say whose code the cost of a potential is that of, where it was timed both ways; else nothing."""
    ratios = {name: float(row.get(metric_of(name), math.nan)) for name in CALLED}
    if any(map(math.isnan, ratios.values())):
        return ""
    return f" {CALLED[min(ratios, key=lambda name: ratios[name])]}"


def remark(evidence: "Evidence") -> str:
    """Say what the ruler is, and what counts of potentials that were timed both ways."""
    found = " The ruler is the published linear SNAP of Mo, timed in the same process by LAMMPS's pair style."
    if evidence.ranking[metric_of(LAMMPS)].notna().any():
        found += " What LAMMPS has a pair style of was timed in it and by mlip-bench's kernels: the cheaper"
        found += " counts."
    return found


RATIO = Axis(
    METRIC,
    "cost",
    "cost (× ruler)",
    ".2f",
    say=lambda row: (
        f"{row[METRIC]:.2f} × ruler{by(row)} ({row['us_per_atom_step']:.0f} µs per atom and step)"
    ),
    tip=lambda row: (
        f"{row[METRIC]:.2f} ± {row['cost_ratio_spread']:.2f} × ruler{by(row)}, "
        f"{row['us_per_atom_step']:.0f} µs/atom/step"
    ),
    long_label="cost per atom and MD step (× ruler, one core)",
    alone=lambda row: f"{row['us_per_atom_step']:.0f} µs per atom and step on one core{by(row)}",
    bars="half the interquartile range of the timed blocks",
    remark=remark,
)
