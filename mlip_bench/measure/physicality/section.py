"""Physicality in the report: what was found in words, the curves in one figure, and every number."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from mlip_bench.measure import properties
from mlip_bench.measure.physicality import MEASURE
from mlip_bench.measure.physicality.limits import LIMITS
from mlip_bench.measure.physicality.pairs import NEAREST
from mlip_bench.results import BY_GROUP
from mlip_bench.section.drawing import Sketch, new_sketch
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.looks import GUIDE
from mlip_bench.section.parts import MISSING, Part, Plot, Section, Sentences, Table, Term
from mlip_bench.section.tables import several
from mlip_bench.section.terms import of_values

# Dimers of more pairs of elements are in the table alone.
MOST_PAIRS = 5

# What is drawn of energies: of dimers (eV), and of the crystal (eV/atom).
DIMER_ENERGIES = (-8.0, 16.0)
CRYSTAL_ENERGIES = (-2.0, 12.0)

# Changes of forces (meV/Å) from here up are drawn.
LEAST_CHANGE = 1e-6

COLUMNS = 3

# A potential without a finding is this much better than one with a single one: in ratios none is nothing.
NO_FINDING = 0.5

Curves = Mapping[str, np.ndarray]


def cautions(evidence: Evidence, potential: str) -> list[str]:
    """Say what a potential does that nothing made of atoms does."""
    rows = evidence.of(MEASURE.name)
    rows = rows[(rows["potential"] == potential) & (rows["metric"] == "unphysical") & rows["note"].notna()]
    return list(dict.fromkeys(rows.loc[rows["value"] > 0, "note"]))


def terms(evidence: Evidence) -> list[Term]:
    """Return how many numbers of each potential are beyond the limits of matter, the mean over seeds."""
    rows = evidence.of(MEASURE.name)
    values = rows[rows["metric"] == "unphysical"].groupby("potential")["value"].mean()
    note = "Findings against physics: those of the section on physicality; none counts as half a one."
    what = "findings against physics"
    return [of_values(values, "unphysical", what, what, floor=NO_FINDING, note=note)]


def sections(evidence: Evidence) -> list[Section]:
    """Return the section, where any potential was measured."""
    frame = measured(evidence)
    if frame.empty:
        return []
    said = findings(evidence)
    sentences = [f"{name}: {found or 'nothing unphysical was found'}." for name, found in said.items()]
    parts: list[Part] = [Sentences(sentences), table(evidence, frame)]
    if evidence.curves(MEASURE.name):
        parts.insert(1, Plot("physicality", _caption(evidence), lambda: _draw(evidence)))
    return [Section("Physicality", parts, 55, _warning(evidence))]


def _warning(evidence: Evidence) -> list[str]:
    """Return one sentence on how many potentials do what no matter does."""
    rows = evidence.of(MEASURE.name)
    rows = rows[rows["metric"] == "unphysical"]
    names = evidence.ranked(rows["potential"])
    having = evidence.ranked(rows.loc[rows["value"] > 0, "potential"])
    if not having:
        return []
    return [
        f"Something that no matter does was found of {several(having)} ({len(having)} of {len(names)} that "
        "were looked at): the section on physicality says what."
    ]


def measured(evidence: Evidence) -> pd.DataFrame:
    """Return a row per metric and group, a column per potential in the order of the ranking."""
    rows = evidence.rows[evidence.rows["measure"].str.removesuffix(BY_GROUP) == MEASURE.name]
    rows = rows.assign(group=rows["group"].fillna(""))
    of_seeds = rows.groupby(["metric", "group", "potential"], sort=False)["value"]
    found = of_seeds.agg(lambda values: _farthest(str(rows.at[values.index[0], "metric"]), values))
    wide = found.unstack("potential")
    places = list(MEASURE.metrics)
    order = sorted(wide.index, key=lambda one: places.index(one[0]))
    return wide.reindex(index=order, columns=evidence.ranked(wide.columns))


def _farthest(metric: str, values: pd.Series) -> float:
    """Return of several seeds the number farthest towards its limit, or their mean where it has none."""
    limit = LIMITS.get(metric)
    if limit is None:
        return float(values.mean())
    return float(values.max() if np.isfinite(limit.most) else values.min())


def findings(evidence: Evidence) -> dict[str, str]:
    """Say of each potential what it does that no matter does; of one without a finding nothing."""
    rows = evidence.of(MEASURE.name)
    rows = rows[rows["metric"] == "unphysical"]
    found = {}
    for name in evidence.ranked(rows["potential"]):
        notes = rows.loc[rows["potential"] == name, "note"].dropna()
        found[name] = "; ".join(dict.fromkeys(filter(None, "; ".join(notes).split("; "))))
    return found


def table(evidence: Evidence, frame: pd.DataFrame) -> Table:
    """All numbers, shaded where no potential of matter has them."""
    rows, shades = [], {}
    for place, (metric, group) in enumerate(frame.index):
        declared = MEASURE.metrics[metric]
        unit = "" if declared.unit == "1" else f" ({declared.unit})"
        cells = [f"{declared.description}{f', {group}' if group else ''}{unit}"]
        for column, value in enumerate(frame.iloc[place], 1):
            cells.append(MISSING if pd.isna(value) else f"{value:.3g}")
            if metric in LIMITS and pd.notna(value) and LIMITS[metric].is_passed(value, group):
                shades[place, column] = 3
        rows.append(cells)
    note = (
        "Shaded: no potential of matter has such a number. Distances are compared with the shortest of each "
        f"pair of elements in training. {MISSING}: not measured; see the failures."
    )
    if evidence.of(MEASURE.name)["seed"].nunique() > 1:
        note += " Of several seeds: the number farthest towards its limit; without a limit, the mean."
    headings = ["", *map(str, frame.columns)]
    widths = (4, *[2] * (len(headings) - 1))
    return Table(headings, rows, note=note, shades=shades, name="physicality", widths=widths)


def _drawn_pairs(evidence: Evidence) -> list[str]:
    curves = evidence.curves(MEASURE.name).values()
    keys = [key for one in curves for key in one if key.startswith("dimer ") and key.endswith(" distance")]
    return list(dict.fromkeys(key.removeprefix("dimer ").removesuffix(" distance") for key in keys))


def _caption(evidence: Evidence) -> str:
    pairs = _drawn_pairs(evidence)
    left = pairs[MOST_PAIRS:]
    caption = (
        "Dimers, above their atoms apart (grey: nearer than any two in training); the crystal compressed and "
        "dilated; the curvature of the energy along a line on which all atoms move; and what forces feel of "
        "one atom that moves. Of a potential without an energy a dimer's is the work of its forces."
    )
    return f"{caption} Not drawn: dimers of {', '.join(left)}." if left else caption


def _draw(evidence: Evidence) -> Sketch:
    """Draw all curves, a panel for each pair of elements and for each of the others."""
    pairs = _drawn_pairs(evidence)[:MOST_PAIRS]
    others = {"strain volume": _strain, "path place": _path, "response distance": _response}
    curves = evidence.curves(MEASURE.name)
    panels: list[Callable[[Evidence, Axes], None]] = [_dimer(pair) for pair in pairs]
    panels += [draw for key, draw in others.items() if any(key in one for one in curves.values())]
    columns = 2 if len(panels) <= 4 else COLUMNS
    n_rows = -(-len(panels) // columns)
    sketch = new_sketch("physicality", 7.4, 0.5 + 2.3 * n_rows)
    axes = sketch.canvas.subplots(n_rows, columns, squeeze=False).ravel()
    for place, panel in zip(axes, panels, strict=False):
        panel(evidence, place)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    lines = {line.get_label(): line for place in axes for line in place.get_lines()}
    shown = [lines[name] for name in curves if name in lines]
    sketch.canvas.legend(
        shown, [str(line.get_label()) for line in shown], loc="outside upper center", ncols=min(4, len(shown))
    )
    return sketch


def _dimer(pair: str) -> Callable[[Evidence, Axes], None]:
    def draw(evidence: Evidence, axes: Axes) -> None:
        rows = evidence.by_group(MEASURE.name)
        shortest = rows.loc[(rows["metric"] == "shortest") & (rows["group"] == pair), "value"]
        if len(shortest):
            axes.axvspan(NEAREST, shortest.iloc[0], color=GUIDE, alpha=0.2, linewidth=0)
        for name, curves in evidence.curves(MEASURE.name).items():
            if f"dimer {pair} distance" in curves:
                distances = curves[f"dimer {pair} distance"]
                energies = curves.get(f"dimer {pair} energy", _work(distances, curves[f"dimer {pair} force"]))
                axes.plot(distances, energies, label=name, **properties.line(evidence, name))
        axes.set(ylim=DIMER_ENERGIES, xlabel=f"distance of {pair} (Å)", ylabel="energy (eV)")

    return draw


def _work(distances: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """Return the work that brings two atoms together from the last distance, by the trapezoidal rule."""
    steps = np.diff(distances) * (forces[:-1] + forces[1:]) / 2
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)


def _strain(evidence: Evidence, axes: Axes) -> None:
    _lines(evidence, axes, "strain volume", "strain energy")
    axes.set(ylim=CRYSTAL_ENERGIES, xlabel="volume over the crystal's", ylabel="energy (eV/atom)")
    axes.axvline(1, color=GUIDE, linewidth=0.8)


def _path(evidence: Evidence, axes: Axes) -> None:
    _lines(evidence, axes, "path place", "path curvature")
    axes.set(xlabel="moved by (Å)", ylabel="curvature (eV/Å²/atom)")


def _response(evidence: Evidence, axes: Axes) -> None:
    for name, curves in evidence.curves(MEASURE.name).items():
        if "response distance" in curves:
            order = np.argsort(curves["response distance"], kind="stable")
            changes = np.maximum(curves["response change"][order], LEAST_CHANGE)
            look = properties.line(evidence, name)
            axes.plot(curves["response distance"][order], changes, label=name, marker=".", **look)
    axes.set(yscale="log", xlabel="distance from the atom (Å)", ylabel="change of forces (meV/Å)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _lines(evidence: Evidence, axes: Axes, x: str, y: str) -> None:
    for name, curves in evidence.curves(MEASURE.name).items():
        if x in curves:
            axes.plot(curves[x], curves[y], label=name, **properties.line(evidence, name))
