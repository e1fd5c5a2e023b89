"""One time of the ruler for all µs of a report.

A machine slows down and speeds up while it works, so the ruler beside one timing takes longer than beside
another. The ratio to the ruler does not feel that, a time does. So the µs that a report shows are the ratio
times one time of the ruler, the median of all timings of it on the same processor; rows stay as measured.
"""

from dataclasses import dataclass

import pandas as pd

from mlip_bench.md import boxes
from mlip_bench.measure.cost import MEASURE
from mlip_bench.measure.cost.timing import RULER_CRYSTAL

# What makes rows one timing, and what makes timings those of one processor.
TIMING = ["potential", "family", "hypers_sha256", "seed", "cpu", "device", "n_atoms", "implementation"]
PROCESSOR = ["cpu", "device"]


@dataclass(frozen=True)
class RulerTime:
    """The time of the ruler on one processor: µs per atom and step, the median of ``n_timings``."""

    cpu: str
    device: str
    us_per_atom_step: float
    n_timings: int


def times(good: pd.DataFrame) -> list[RulerTime]:
    """Return the time of the ruler on each processor that the cost was measured on."""
    rows = good[(good["measure"] == MEASURE.name) & (good["metric"] == "ruler_s_per_step")]
    rows = rows.dropna(subset=["n_atoms"])
    # The ruler has the same number of atoms, or the next larger one that fills cells of its crystal.
    n_atoms = rows["n_atoms"].map(
        {n: len(boxes.repeated_to(RULER_CRYSTAL, int(n))) for n in rows["n_atoms"].unique()}
    )
    groups = rows.assign(us=1e6 * rows["value"] / n_atoms).groupby(PROCESSOR, sort=False)["us"]
    return [RulerTime(cpu, device, float(us.median()), len(us)) for (cpu, device), us in groups]


def scaled(good: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with µs per atom and step that are the ratio times the time of the ruler.

    A timing without its ratio, or on a processor without a time of the ruler, stays as it was measured.
    """
    of_processor = {(ruler.cpu, ruler.device): ruler.us_per_atom_step for ruler in times(good)}
    rows = good[good["measure"] == MEASURE.name].fillna({"implementation": ""})
    ratios = rows[rows["metric"] == "cost_ratio"].drop_duplicates(TIMING).set_index(TIMING)
    here = rows[rows["metric"] == "us_per_atom_step"]
    one = [of_processor.get(key, float("nan")) for key in zip(here["cpu"], here["device"], strict=True)]
    found = ratios[["value", "spread"]].reindex(pd.MultiIndex.from_frame(here[TIMING])).set_axis(here.index)
    found = found.mul(pd.Series(one, index=here.index), axis=0)
    known = found.index[found["value"].notna()]
    good = good.copy()
    good.loc[known, ["value", "spread"]] = found.loc[known].astype(float)
    return good


def note(good: pd.DataFrame) -> str:
    """Say what the µs of a table are; nothing where the ruler was not timed."""
    rulers = times(good)
    if not rulers:
        return ""
    each = "; ".join(
        f"{ruler.us_per_atom_step:.1f} µs per atom and step, the median of {ruler.n_timings} "
        f"timing{'s' if ruler.n_timings > 1 else ''} on {ruler.cpu}"
        f"{'' if ruler.device == 'cpu' else f' beside {ruler.device}'}"
        for ruler in rulers
    )
    several = " of each processor" if len(rulers) > 1 else ""
    return f"µs: the ratio times one time of the ruler{several} ({each})."
