"""The figures of a report, as SVG with a tooltip on every point, and as PNG for print.

One colour and one marker per family everywhere: colours of Okabe and Ito, told apart by colour-blind
readers and in grey by their markers.
"""

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mlip_bench.report import direct, scaling
from mlip_bench.report.content import REFERENCE, Content

STYLES = {
    "nnp": ("#009E73", "^"),
    "gap": ("#D55E00", "s"),
    "snap": ("#56B4E9", "o"),
    "qsnap": ("#0072B2", "D"),
    "mtp": ("#CC79A7", "v"),
    "sevennet": ("#000000", "P"),
    "sevennet-dfs": ("#E69F00", "X"),
}
# Families of other packages take these in turn.
SPARE_STYLES = (("#7F7F7F", "<"), ("#8C564B", ">"), ("#B8A900", "p"))

# Errors that differ by more than this are drawn on a logarithmic axis.
WIDE_RANGE = 5.0

RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E7EB",
    "legend.frameon": False,
    "svg.fonttype": "path",
    # Names of groups and potentials are the user's: a dollar sign is a dollar sign.
    "text.parse_math": False,
}

# First principles, and several potentials of one family.
GREY = "#7B8794"
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))

PRINT_DPI = 200

# More points than this per parity panel only make the file large; a fixed random choice is drawn.
MOST_PARITY_POINTS = 1500

SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Figure:
    """One drawn figure."""

    name: str
    caption: str
    svg: str
    png: bytes
    width_in: float


@dataclass
class Sketch:
    """A figure being drawn: its canvas and the tooltip of each point."""

    name: str
    canvas: Canvas
    tips: dict[str, str] = field(default_factory=dict)

    def point(self, axes: Axes, x: float, y: float, tip: str, **style: Any) -> None:
        """Draw one marker that shows ``tip`` under the pointer."""
        (marker,) = axes.plot([x], [y], linestyle="none", **style)
        identifier = f"{self.name}-{len(self.tips)}"
        marker.set_gid(identifier)
        self.tips[identifier] = tip


def draw(content: Content) -> list[Figure]:
    """Draw every figure that the rows have data for."""
    drawers: tuple[tuple[str, Callable[[Content], tuple[Sketch, str] | None]], ...] = (
        ("front", _front),
        ("parameters", _parameters),
        ("parity", _parity),
        ("groups", _groups),
        ("phonons", _phonons),
        ("dispersion", _dispersion),
        ("eos", _eos),
        ("scaling", _scaling),
        ("direct", _direct),
    )
    figures = []
    with mpl.rc_context(RC):
        for _, drawer in drawers:
            drawn = drawer(content)
            if drawn is not None:
                figures.append(_finish(*drawn))
    return figures


def style(family: str) -> dict[str, Any]:
    """Return colour and marker of a family."""
    spare = SPARE_STYLES[sum(map(ord, family)) % len(SPARE_STYLES)]
    color, marker = STYLES.get(family, spare)
    return {"color": color, "marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.6}


# -- figures -------------------------------------------------------------------------------------------


def _front(content: Content) -> tuple[Sketch, str] | None:
    """Test error against cost, with the front of the points that no other beats in both."""
    ranking = content.ranking.dropna(subset=["cost_ratio", "force_rmse"])
    if ranking.empty:
        return None
    sketch = _sketch("front", 7.4, 3.3)
    panels = (("force_rmse", "test force RMSE (meV/Å)"), ("energy_rmse", "test energy RMSE (meV/atom)"))
    for axes, (metric, label) in zip(sketch.canvas.subplots(1, 2), panels, strict=True):
        _draw_front(axes, ranking, metric)
        for name, row in ranking.iterrows():
            tip = (
                f"{name}: {row[metric]:.3g} {label.split('(')[1][:-1]}, {row['cost_ratio']:.2f} ± "
                f"{row['cost_ratio_spread']:.2f} × ruler, {row['us_per_atom_step']:.0f} µs/atom/step, "
                f"{row['n_parameters']:.0f} parameters"
            )
            axes.errorbar(
                row["cost_ratio"],
                row[metric],
                xerr=row["cost_ratio_spread"],
                color=style(row["family"])["color"],
                linewidth=1,
            )
            sketch.point(
                axes, row["cost_ratio"], row[metric], tip, markersize=9, zorder=3, **style(row["family"])
            )
        axes.set(xlabel="cost per atom and MD step (× ruler, one core)", ylabel=label)
        _scales(axes, ranking["cost_ratio"], ranking[metric])
        _label_points(axes, ranking.index, ranking["cost_ratio"], ranking[metric])
    return sketch, (
        "Test error against cost. The line is the Pareto front: nothing measured is both cheaper and better "
        "than its points. Bars: half the interquartile range of the timed blocks. The ruler is the "
        "published linear SNAP of Mo, timed in the same process."
    )


def _draw_front(axes: Axes, ranking: pd.DataFrame, metric: str) -> None:
    ordered = ranking.sort_values(["cost_ratio", metric])
    best = ordered[metric].cummin()
    front = ordered[(ordered[metric] == best) & ~best.duplicated()]
    axes.plot(front["cost_ratio"], front[metric], color="#9AA5B1", linewidth=1.5, zorder=1)


def _parameters(content: Content) -> tuple[Sketch, str] | None:
    """Training and test error against the number of parameters."""
    ranking = content.ranking.dropna(subset=["force_rmse"])
    if ranking.empty:
        return None
    sketch = _sketch("parameters", 7.4, 3.1)
    panels = (("force_rmse", "force RMSE (meV/Å)"), ("energy_rmse", "energy RMSE (meV/atom)"))
    for axes, (metric, label) in zip(sketch.canvas.subplots(1, 2), panels, strict=True):
        both = pd.concat([ranking[metric], content.train_errors[metric]])
        for name, row in ranking.iterrows():
            train, test = content.train_errors.at[name, metric], row[metric]
            x = row["n_parameters"]
            look = style(row["family"])
            axes.plot([x, x], [train, test], color=look["color"], linewidth=1, zorder=1)
            hollow = look | {"markerfacecolor": "white", "markeredgecolor": look["color"]}
            sketch.point(
                axes, x, train, f"{name}, training: {train:.3g} ({x:.0f} parameters)", markersize=7, **hollow
            )
            sketch.point(
                axes, x, test, f"{name}, test: {test:.3g} ({x:.0f} parameters)", markersize=8, **look
            )
        axes.set(xlabel="number of parameters", ylabel=label)
        _scales(axes, ranking["n_parameters"], both)
        _label_points(axes, ranking.index, ranking["n_parameters"], ranking[metric])
    return sketch, "Training error (hollow) and test error (filled) against the number of parameters."


def _parity(content: Content) -> tuple[Sketch, str] | None:
    """Predicted against reference values of the test data, one row per potential."""
    if not content.predictions:
        return None
    names = [name for name in content.ranking.index if name in content.predictions]
    quantities = [("energy", "energy (meV/atom)"), ("force", "force (meV/Å)"), ("stress", "stress (GPa)")]
    quantities = [q for q in quantities if any(len(content.predictions[n][f"test_{q[0]}"]) for n in names)]
    sketch = _sketch("parity", 2.45 * len(quantities) + 0.1, 2.3 * len(names) + 0.1)
    grid = sketch.canvas.subplots(len(names), len(quantities), squeeze=False)
    for row, name in zip(grid, names, strict=True):
        look = style(content.ranking.at[name, "family"])
        for axes, (quantity, label) in zip(row, quantities, strict=True):
            _draw_parity(
                axes, content.predictions[name][f"test_{quantity}"], look["color"], quantity == "energy"
            )
            axes.set(xlabel=f"reference {label}", ylabel=f"{name} {label}")
    return sketch, (
        "Prediction against reference on the test data; energies relative to the mean reference. The line is "
        f"perfect agreement. At most {MOST_PARITY_POINTS} points per panel are drawn, chosen at random."
    )


def _draw_parity(axes: Axes, pairs: np.ndarray, color: str, relative: bool) -> None:
    if len(pairs) > MOST_PARITY_POINTS:
        chosen = np.random.default_rng(0).choice(len(pairs), MOST_PARITY_POINTS, replace=False)
        pairs = pairs[chosen]
    if len(pairs) == 0:
        return
    if relative:
        pairs = pairs - pairs[:, 0].mean()
    low, high = pairs.min(), pairs.max()
    axes.plot([low, high], [low, high], color="#9AA5B1", linewidth=1, zorder=1)
    axes.scatter(pairs[:, 0], pairs[:, 1], s=7, color=color, alpha=0.5, linewidths=0, rasterized=True)
    axes.locator_params(nbins=4)


def _groups(content: Content) -> tuple[Sketch, str] | None:
    """Test force error of each group of structures."""
    if content.by_group.empty:
        return None
    groups = list(content.by_group.index.get_level_values("group").unique())
    if len(groups) < 2:
        return None
    names = list(content.ranking.index)
    sketch = _sketch("groups", 7.4, 0.9 + 0.25 * len(groups) * len(names))
    panels = (("force_rmse", "test force RMSE (meV/Å)"), ("energy_rmse", "test energy RMSE (meV/atom)"))
    height = 0.8 / len(names)
    grid = sketch.canvas.subplots(1, 2, sharey=True)
    for axes, (metric, label) in zip(grid, panels, strict=True):
        for index, name in enumerate(names):
            values = content.by_group[metric].unstack("potential").reindex(groups)
            if name not in values:
                continue
            positions = np.arange(len(groups)) + height * (index - (len(names) - 1) / 2)
            color = style(content.ranking.at[name, "family"])["color"]
            axes.barh(positions, values[name], height=0.9 * height, color=color, label=name)
            for position, value in zip(positions, values[name], strict=True):
                if np.isfinite(value):
                    axes.text(value, position, f" {_short(value)}", va="center", fontsize=7)
        axes.set(yticks=range(len(groups)), yticklabels=groups, xlabel=label)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
    grid[0].invert_yaxis()
    sketch.canvas.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    return sketch, "Test errors of each group of structures."


def _phonons(content: Content) -> tuple[Sketch, str] | None:
    """One panel per potential with its dispersion over the reference's, and one of the reference alone."""
    drawn = _of_measure(content, "phonons")
    if not drawn:
        return None
    expected = dict(_expected(content, "phonons"))
    panels = [*expected, *drawn]
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    sketch = _sketch("phonons", 7.4, 0.5 + 2.3 * rows)
    grid = sketch.canvas.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, name in zip(grid.flat, panels, strict=False):
        for curves in expected.values():
            _draw_bands(axes, curves, color=GREY, linewidth=2.0)
        if name in drawn:
            color = style(content.ranking.at[name, "family"])["color"]
            _draw_bands(axes, drawn[name], color=color, linewidth=1.1)
        axes.set_title(name)
    for axes in grid[:, 0]:
        axes.set_ylabel("frequency (THz)")
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    grey = " Grey: DFT." if expected else " There is no reference for this crystal."
    return sketch, f"Phonon dispersion; imaginary frequencies are drawn below zero.{grey}"


def _dispersion(content: Content) -> tuple[Sketch, str] | None:
    """All dispersions in one panel, and their densities of states beside it."""
    drawn = _of_measure(content, "phonons")
    if not drawn:
        return None
    sketch = _sketch("dispersion", 7.4, 3.8)
    bands, states = sketch.canvas.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for name, curves in [*_expected(content, "phonons"), *drawn.items()]:
        look = _line(content, name)
        _draw_bands(bands, curves, **look)
        states.plot(curves["dos"], curves["dos_frequency"], label=name, **look)
    bands.set_ylabel("frequency (THz)")
    states.set_xlabel("states (1/THz/atom)")
    states.set_xlim(left=0)
    handles, names = states.get_legend_handles_labels()
    sketch.canvas.legend(handles, names, loc="outside upper center", ncols=min(len(names), 5))
    return sketch, "Phonon dispersion and density of states of all potentials."


def _draw_bands(axes: Axes, curves: Mapping[str, np.ndarray], **look: Any) -> None:
    """Draw a dispersion, segment by segment, over its own length, so that crystals of other sizes compare."""
    labels = curves["labels"]
    whole = curves["distance"] / curves["distance"].max()
    segments = np.split(np.arange(len(whole)), len(labels))
    ticks: dict[float, str] = {}
    for points, (first, last) in zip(segments, labels, strict=True):
        axes.plot(whole[points], np.sort(curves["frequency"][points], axis=1), **look)
        for place, label in ((whole[points[0]], _greek(first)), (whole[points[-1]], _greek(last))):
            place = round(float(place), 3)
            ticks[place] = label if ticks.get(place, label) == label else f"{ticks[place]}|{label}"
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlim(0, 1)
    axes.axhline(0, color="#1F2933", linewidth=0.6)


def _greek(label: str) -> str:
    return "Γ" if label == "G" else label


def _eos(content: Content) -> tuple[Sketch, str] | None:
    """Energy over volume of all potentials, each from its own minimum of energy."""
    drawn = _of_measure(content, "eos")
    if not drawn:
        return None
    sketch = _sketch("eos", 7.4, 3.4)
    axes = sketch.canvas.subplots()
    for name, curves in [*_expected(content, "eos"), *drawn.items()]:
        energies = 1e3 * (curves["energy"] - curves["minimum"][1])
        axes.plot(curves["volume"], energies, label=name, marker=".", **_line(content, name))
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy above the minimum (meV/atom)")
    sketch.canvas.legend(loc="outside right center")
    return sketch, "Energy over volume, above the minimum of each curve."


def _expected(content: Content, measure: str) -> list[tuple[str, Mapping[str, np.ndarray]]]:
    """Return the reference's name and curves, or nothing where there is none."""
    found = content.reference.get(measure)
    return [(REFERENCE, found.curves)] if found else []


def _line(content: Content, name: str) -> dict[str, Any]:
    """Return the line of a potential: its family's colour, with a dash of its own among several."""
    if name == REFERENCE:
        return {"color": GREY, "linewidth": 2.5}
    families = content.ranking["family"]
    place = list(families.index[families == families[name]]).index(name)
    color = style(families[name])["color"]
    return {"color": color, "linewidth": 1.1, "linestyle": DASHES[place % len(DASHES)]}


def _of_measure(content: Content, measure: str) -> dict[str, Mapping[str, np.ndarray]]:
    """Return the curves of each potential, in the order of the ranking."""
    return {
        str(name): content.curves[name, measure]
        for name in content.ranking.index
        if (name, measure) in content.curves
    }


def _scaling(content: Content) -> tuple[Sketch, str] | None:
    """Time per step against the number of atoms, with the power law of each potential."""
    if content.scaling.empty:
        return None
    sketch = _sketch("scaling", 7.4, 3.6)
    axes = sketch.canvas.subplots()
    families = content.scaling.drop_duplicates("potential").set_index("potential")["family"]
    for name, seconds in scaling.steps(content).iterrows():
        seconds = seconds.dropna()
        look = style(families[name])
        axes.plot(seconds.index, seconds, color=look["color"], linewidth=1.2, label=name, zorder=1)
        for n_atoms, value in seconds.items():
            per_atom = f"{1e6 * value / n_atoms:.1f} µs per atom"
            tip = f"{name}: {value:.3g} s per step, {n_atoms:.0f} atoms, {per_atom}"
            sketch.point(axes, n_atoms, value, tip, markersize=7, zorder=2, **look)
    axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel="time per MD step (s, one core)")
    sizes = scaling.steps(content).columns.to_numpy(dtype=float)
    axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    seconds = scaling.steps(content).to_numpy()
    _plain_numbers(axes.yaxis, np.log10(np.nanmax(seconds) / np.nanmin(seconds)))
    axes.minorticks_off()
    sketch.canvas.legend(loc="outside right center")
    return sketch, "Time per MD step over supercell sizes."


def _direct(content: Content) -> tuple[Sketch, str] | None:
    """Time and memory of the conservative network over those of the direct one, and the slide's."""
    ratios = direct.ratios(content)
    if not ratios:
        return None
    sketch = _sketch("direct", 7.4, 0.9 + 0.32 * len(ratios))
    axes = sketch.canvas.subplots()
    places = range(len(ratios))
    for place, ratio in zip(places, ratios, strict=True):
        axes.plot([1, ratio.value], [place, place], color="#9AA5B1", linewidth=1.5, zorder=1)
        tip = f"{ratio.label}: {ratio.value:.2f} here"
        sketch.point(axes, ratio.value, place, tip, markersize=9, zorder=3, **style("sevennet-dfs"))
        if ratio.slide is not None:
            hollow = {"marker": "o", "markerfacecolor": "white", "markeredgecolor": "#1F2933"}
            sketch.point(axes, ratio.slide, place, f"{ratio.label}: {ratio.slide:.2f} on the slide", **hollow)
    axes.axvline(1, color="#1F2933", linewidth=1)
    axes.set(yticks=places, yticklabels=[ratio.label for ratio in ratios])
    axes.set_xlabel("sevennet over sevennet-dfs (above 1: direct forces are cheaper)")
    axes.set_xscale("log")
    values = [1.0, *(r.value for r in ratios), *(r.slide for r in ratios if r.slide is not None)]
    axes.set_xlim(min(values) / 1.6, max(values) * 1.6)
    _plain_numbers(axes.xaxis, np.log10(max(values) / min(values)))
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    return (
        sketch,
        "Time and memory of sevennet over those of sevennet-dfs: here (filled), on the slide (hollow).",
    )


# -- shared --------------------------------------------------------------------------------------------


def _short(value: float) -> str:
    # Forces that vanish by symmetry leave rounding behind.
    return "0" if value < 1e-3 else f"{value:.3g}"


def _sketch(name: str, width: float, height: float) -> Sketch:
    return Sketch(name, Canvas(figsize=(width, height), layout="constrained"))


def _scales(axes: Axes, x: Iterable[float], y: Iterable[float]) -> None:
    """Make x logarithmic, and y where errors differ much; leave room around the points for their labels."""
    xs, ys = np.array(list(x), dtype=float), np.array(list(y), dtype=float)
    axes.set_xscale("log")
    axes.set_xlim(xs.min() / 1.6, xs.max() * 2.2)
    _plain_numbers(axes.xaxis, np.log10(xs.max() * 2.2 / (xs.min() / 1.6)))
    if ys.min() > 0 and ys.max() > WIDE_RANGE * ys.min():
        axes.set_yscale("log")
        axes.set_ylim(ys.min() / 1.4, ys.max() * 1.5)
        _plain_numbers(axes.yaxis, np.log10(ys.max() * 1.5 / (ys.min() / 1.4)))
    else:
        axes.set_ylim(0, ys.max() * 1.2)


def _plain_numbers(axis: Axis, decades: float) -> None:
    """Write 1, 2, 5, 10 instead of powers of ten."""
    steps = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _label_points(axes: Axes, names: Iterable[Any], x: Iterable[float], y: Iterable[float]) -> None:
    """Write each name beside its point, on the side that is free of other points."""
    points = [(str(name), float(a), float(b)) for name, a, b in zip(names, x, y, strict=True)]
    to_pixels = axes.transData.transform
    axes.figure.canvas.draw()
    placed = np.array([to_pixels((a, b)) for _, a, b in points])
    for index, (name, a, b) in enumerate(points):
        others = np.delete(placed, index, axis=0) - placed[index]
        near = others[np.abs(others[:, 1]) < 12] if len(others) else others
        blocked = bool(len(near) and ((near[:, 0] >= 0) & (near[:, 0] < 60)).any())
        offset, align = ((-7, 4), "right") if blocked else ((7, 4), "left")
        axes.annotate(name, (a, b), xytext=offset, textcoords="offset points", ha=align, fontsize=8.5)


def _finish(sketch: Sketch, caption: str) -> Figure:
    svg, png = io.StringIO(), io.BytesIO()
    with mpl.rc_context(RC | {"svg.hashsalt": sketch.name}):
        sketch.canvas.savefig(svg, format="svg", dpi=PRINT_DPI, metadata={"Date": None})
        sketch.canvas.savefig(png, format="png", dpi=PRINT_DPI)
    width = float(sketch.canvas.get_figwidth())
    return Figure(sketch.name, caption, _with_tips(svg.getvalue(), sketch), png.getvalue(), width)


def _with_tips(svg: str, sketch: Sketch) -> str:
    """Give each point its tooltip, and make identifiers unique among the figures of one page."""
    for prefix, uri in (("", SVG), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        tip = sketch.tips.get(element.get("id", ""))
        if tip is not None:
            element.set("class", "point")
            element.set("data-tip", tip)
            ElementTree.SubElement(element, f"{{{SVG}}}title").text = tip
    root.set("role", "img")
    root.set("width", "100%")
    root.attrib.pop("height", None)
    root.set("aria-label", sketch.name)
    text = ElementTree.tostring(root, encoding="unicode")
    for kind in ('id="', 'href="#', "url(#"):
        text = text.replace(kind, f"{kind}{sketch.name}_")
    return text.replace(f'id="{sketch.name}_{sketch.name}-', f'id="{sketch.name}-')
