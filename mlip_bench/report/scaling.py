"""Cost over supercell sizes in the report, in the shape of table S11 of Zuo et al. and beside its numbers."""

import pandas as pd

from mlip_bench.report.content import Content
from mlip_bench.report.tables import Table

# Seconds per step of bcc Mo on one core of an i7-6850K (table S11 of doi:10.1021/acs.jpca.9b08723).
PUBLISHED_ATOMS = (432, 2000, 5488, 11664)
PUBLISHED = {
    "gap": (1.455, 6.711, 18.519, 38.461),
    "mtp": (0.069, 0.308, 0.843, 1.799),
    "nnp": (0.052, 0.236, 0.674, 1.439),
    "snap": (0.063, 0.294, 0.809, 1.701),
    "qsnap": (0.063, 0.299, 0.805, 1.730),
}
PUBLISHED_SYSTEM = "Mo"


def published_ratio(family: str, n_atoms: int) -> float | None:
    """Return the paper's time over that of its SNAP, the ruler here, at the same size."""
    if family not in PUBLISHED or n_atoms not in PUBLISHED_ATOMS:
        return None
    index = PUBLISHED_ATOMS.index(n_atoms)
    return PUBLISHED[family][index] / PUBLISHED["snap"][index]


def steps(content: Content) -> pd.DataFrame:
    """Return seconds per step, one row per potential and a column per number of atoms."""
    rows = content.scaling[content.scaling["metric"] == "s_per_step"]
    return rows.pivot_table(index="potential", columns="n_atoms", values="value", sort=False)


def table(content: Content) -> Table:
    """Seconds per step and ratios to the ruler at each size, exponents, memory."""
    scaling = content.scaling
    sizes = [int(size) for size in sorted(scaling.loc[scaling["metric"] == "s_per_step", "n_atoms"].unique())]
    system = content.run["dataset"]["system"]
    rows = []
    for name in scaling["potential"].unique():
        own = scaling[scaling["potential"] == name]
        cells = [_cell(own, size, system) for size in sizes]
        rows.append([str(name), *cells, _exponent(own), _memory(own), _stopped(own)])
    heading = [f"{size} atoms (s; × ruler)" for size in sizes]
    note = "Seconds per step as they were measured; ratio to the ruler beside them, which compares better."
    if system == PUBLISHED_SYSTEM:
        note += " In brackets: the ratio in table S11 of Zuo et al. at the same size."
    names = ["potential", *heading, "exponent", "memory (KiB per atom)", "not started"]
    return Table(names, rows, note=note)


def _cell(own: pd.DataFrame, size: int, system: str) -> str:
    found = own[own["n_atoms"] == size].set_index("metric")["value"]
    if "s_per_step" not in found:
        return "–"
    text = f"{found['s_per_step']:.3g}; {found['cost_ratio']:.2f}"
    published = published_ratio(own["family"].iloc[0], size) if system == PUBLISHED_SYSTEM else None
    return text if published is None else f"{text} [{published:.2f}]"


def _exponent(own: pd.DataFrame) -> str:
    rows = own[own["metric"] == "exponent"]
    return "–" if rows.empty else f"{rows['value'].iloc[0]:.3f} ± {rows['spread'].iloc[0]:.3f}"


def _memory(own: pd.DataFrame) -> str:
    rows = own[own["metric"] == "peak_kib_per_atom"]
    return "–" if rows.empty else f"{rows['value'].iloc[-1]:.1f}"


def _stopped(own: pd.DataFrame) -> str:
    for metric, text in (("stopped_by_time", "{:.0f} s"), ("stopped_by_memory", "{:.0f} MiB")):
        rows = own[own["metric"] == metric]
        if not rows.empty:
            return f"{rows['n_atoms'].iloc[0]:.0f} atoms: {text.format(rows['value'].iloc[0])}"
    return ""
