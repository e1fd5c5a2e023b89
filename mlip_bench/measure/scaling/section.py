"""Cost over supercell sizes in the report, in the shape of table S11 of Zuo et al. and beside its numbers."""

import numpy as np
import pandas as pd

from mlip_bench.measure.cost import on_cores
from mlip_bench.measure.scaling import MEASURE
from mlip_bench.section.drawing import Sketch, new_sketch, plain_numbers
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import MISSING, Part, Plot, Section, Table

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


def sections(evidence: Evidence) -> list[Section]:
    """Return the section, where any size was timed."""
    rows = _rows(evidence)
    if rows.empty:
        return []
    parts: list[Part] = [table(evidence)]
    speed_up = on_cores.table(rows)
    if speed_up is not None:
        parts.append(speed_up)
    if not steps(rows).empty:
        caption = "Time per MD step over supercell sizes."
        parts.insert(0, Plot("scaling", caption, lambda: _draw(evidence)))
    return [Section("Cost over supercell sizes", parts, place=50)]


def _rows(evidence: Evidence) -> pd.DataFrame:
    """Return the rows of the measure in the order of the ranking, with whose they are in ``timed``.

    That is the potential, and where LAMMPS's pair style and our kernels were timed, which of the two; and
    the cores where there was more than one.
    """
    order = {name: place for place, name in enumerate(evidence.ranking.index)}
    rows = evidence.of(MEASURE.name)
    if rows.empty:
        return rows
    rows = rows.sort_values("potential", key=lambda names: names.map(order), kind="stable")
    twice = rows.groupby("potential")["implementation"].transform("nunique") > 1
    timed = rows["potential"].where(~twice, rows["potential"] + ", " + rows["implementation"].fillna(""))
    on = ", " + rows["threads"].astype(str) + " cores"
    return rows.assign(timed=timed.where(rows["threads"] < 2, timed + on))


def published_ratio(family: str, n_atoms: int) -> float | None:
    """Return the paper's time over that of its SNAP, the ruler here, at the same size."""
    if family not in PUBLISHED or n_atoms not in PUBLISHED_ATOMS:
        return None
    index = PUBLISHED_ATOMS.index(n_atoms)
    return PUBLISHED[family][index] / PUBLISHED["snap"][index]


def steps(rows: pd.DataFrame) -> pd.DataFrame:
    """Return seconds per step, one row for all that was timed and a column per number of atoms."""
    found = rows[rows["metric"] == "s_per_step"]
    return found.pivot_table(index="timed", columns="n_atoms", values="value", sort=False)


def table(evidence: Evidence) -> Table:
    """Seconds per step and ratios to the ruler at each size, exponents, memory."""
    measured = _rows(evidence)
    timed = measured.loc[measured["metric"] == "s_per_step", "n_atoms"]
    sizes = [int(size) for size in sorted(timed.unique())]
    system = evidence.run["dataset"]["system"]
    rows = []
    for name in measured["timed"].unique():
        own = measured[measured["timed"] == name]
        cells = [_cell(own, size, system) for size in sizes]
        rows.append([str(name), *cells, _exponent(own), _memory(own), _stopped(own)])
    heading = [f"{size} atoms (s; × ruler)" for size in sizes]
    note = "Seconds per step as they were measured; ratio to the ruler beside them, which compares better."
    if system == PUBLISHED_SYSTEM:
        note += " In brackets: the ratio in table S11 of Zuo et al. at the same size."
    names = ["potential", *heading, "exponent", "memory (KiB per atom)", "not started"]
    return Table(names, rows, note=note, name="scaling")


def _cell(own: pd.DataFrame, size: int, system: str) -> str:
    found = own[own["n_atoms"] == size].groupby("metric")["value"].mean()  # of several seeds
    if "s_per_step" not in found:
        return MISSING
    text = f"{found['s_per_step']:.3g}; {found['cost_ratio']:.2f}"
    published = published_ratio(own["family"].iloc[0], size) if system == PUBLISHED_SYSTEM else None
    return text if published is None else f"{text} [{published:.2f}]"


def _exponent(own: pd.DataFrame) -> str:
    rows = own[own["metric"] == "exponent"]
    return MISSING if rows.empty else f"{rows['value'].mean():.3f} ± {rows['spread'].mean():.3f}"


def _memory(own: pd.DataFrame) -> str:
    rows = own[own["metric"] == "peak_kib_per_atom"]
    largest = rows.loc[rows["n_atoms"] == rows["n_atoms"].max(), "value"]
    return MISSING if rows.empty else f"{largest.mean():.1f}"


def _stopped(own: pd.DataFrame) -> str:
    for metric, text in (("stopped_by_time", "{:.0f} s"), ("stopped_by_memory", "{:.0f} MiB")):
        rows = own[own["metric"] == metric]
        if not rows.empty:
            first = rows.loc[rows["n_atoms"].idxmin()]
            return f"{first['n_atoms']:.0f} atoms: {text.format(first['value'])}"
    return ""


def _draw(evidence: Evidence) -> Sketch:
    """Draw time per step against the number of atoms."""
    rows = _rows(evidence)
    sketch = new_sketch("scaling", 7.4, 3.6)
    axes = sketch.canvas.subplots()
    families = rows.drop_duplicates("timed").set_index("timed")["family"]
    times = steps(rows)
    for name, seconds in times.iterrows():
        seconds = seconds.dropna()
        look = evidence.style(families[name])
        axes.plot(seconds.index, seconds, color=look["color"], linewidth=1.2, label=name, zorder=1)
        for n_atoms, value in seconds.items():
            tip = f"{name}: {value:.3g} s per step, {n_atoms:.0f} atoms"
            sketch.point(axes, n_atoms, value, tip, markersize=7, zorder=2, **look)
    axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel="time per MD step (s)")
    sizes = times.columns.to_numpy(dtype=float)
    axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    whole = times.to_numpy()
    plain_numbers(axes.yaxis, np.log10(np.nanmax(whole) / np.nanmin(whole)))
    axes.minorticks_off()
    sketch.canvas.legend(loc="outside right center")
    return sketch
