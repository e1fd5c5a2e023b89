"""Cost on several cores in a report: beside that on one, never in its front."""

import pandas as pd

from mlip_bench.measure.cost import MEASURE, ranking
from mlip_bench.section.parts import MISSING, Table

# The measure of these rows in a report.
SEVERAL = f"{MEASURE.name} on several cores"

# What is timed, and one of its timings.
TIMED = ["potential", "implementation"]
TIMING = [*TIMED, "n_atoms", "threads"]


def apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which those of more than one core belong to another measure."""
    several = (rows["measure"] == MEASURE.name) & (rows["threads"] > 1)
    return rows.assign(measure=rows["measure"].mask(several, SEVERAL))


def table(rows: pd.DataFrame) -> Table | None:
    """Return ratios to the ruler on several cores and speed-ups over one; None without such rows."""
    names = [ranking.METRIC, *map(ranking.metric_of, ranking.CALLED)]
    ratios = rows[rows["metric"].isin(names)].fillna({"implementation": ""})
    ratios = ratios.groupby(TIMING, sort=False)["value"].mean()
    several = ratios[ratios.index.get_level_values("threads") > 1]
    if several.empty:
        return None
    sizes = sorted({int(size) for size in several.index.get_level_values("n_atoms")})
    kinds = several.groupby([*TIMED, "threads"], sort=False).size().index
    cells = [
        [
            f"{potential}, {implementation}" if implementation else potential,
            str(threads),
            *(_cell(ratios, potential, implementation, size, threads) for size in sizes),
        ]
        for potential, implementation, threads in kinds
    ]
    note = (
        "Time per atom and step over that of the ruler on one core; in brackets how many times as fast as on "
        "one core. Kernels of mlip-bench have a thread on each core, LAMMPS's pair styles a rank of MPI."
    )
    headings = ["potential", "cores", *(f"{size} atoms (× ruler)" for size in sizes)]
    return Table(headings, cells, note=note, name="speed-up")


def _cell(ratios: pd.Series, potential: str, implementation: str, n_atoms: int, threads: int) -> str:
    several, one = (ratios.get((potential, implementation, n_atoms, cores)) for cores in (threads, 1))
    if several is None:
        return MISSING
    return f"{several:.3g} [{MISSING if one is None else f'{one / several:.2f}'}]"
