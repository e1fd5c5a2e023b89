"""The figures of a report, as SVG with a tooltip on every point, and as PNG for print."""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mlip_bench.report import direct, fronts, scaling, tables
from mlip_bench.report.content import REFERENCE, Content, energy_error
from mlip_bench.report.drawing import (
    RC,
    Figure,
    Sketch,
    finish,
    label_points,
    new_sketch,
    plain_numbers,
    scales,
    style,
)

# More points than this per parity panel only make the file large; a fixed random choice is drawn.
MOST_PARITY_POINTS = 1500

# Letters of names that fit beside each other in the legend above a figure.
LETTERS_OF_LEGEND = 84

# What tells bars of one colour apart.
HATCHES = ("", "////", "....", "xxxx")

# First principles, and several potentials of one family.
GREY = "#7B8794"
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))


def draw(content: Content) -> list[Figure]:
    """Draw every figure that the rows have data for."""
    drawers: tuple[tuple[str, Callable[[Content], tuple[Sketch, str] | None]], ...] = (
        ("front", _front),
        ("training", _training),
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
                figures.append(finish(*drawn))
    return figures


# -- figures -------------------------------------------------------------------------------------------


def _front(content: Content) -> tuple[Sketch, str] | None:
    """Test error against cost, with the front of the points that no other beats in both."""
    label = "cost per atom and MD step (× ruler, one core)"
    drawn = _errors_against(content, "front", "cost_ratio", label, _tip_of_cost)
    if drawn is None:
        return None
    return drawn, (
        "Test error against cost. The grey line is the Pareto front: nothing measured is both cheaper and "
        f"better than its points.{_on_lines(content)} Bars: half the interquartile range of the timed blocks"
        f"{_on_seeds(content)}. The ruler is the published linear SNAP of Mo, timed in the same process."
        f"{_on_shift(content)}"
    )


def _training(content: Content) -> tuple[Sketch, str] | None:
    """Test error against the time of the fit."""
    drawn = _errors_against(content, "training", "fit_s", "time of the fit (s)", _tip_of_fit)
    if drawn is None:
        return None
    return drawn, f"Test error against the time of the fit.{_on_lines(content)}{_on_shift(content)}"


def _on_lines(content: Content) -> str:
    return " Coloured lines join what no other size of the same family beats." if content.is_sweep else ""


def _on_shift(content: Content) -> str:
    read = "energy_rmse_shifted" in content.ranking and content.ranking["energy_rmse_shifted"].notna().any()
    return " Energies of potentials that were read are drawn as they are, without a shift." if read else ""


def _on_seeds(content: Content) -> str:
    return ", and the spread over seeds" if content.ranking["force_rmse_spread"].notna().any() else ""


def _tip_of_cost(row: pd.Series) -> str:
    return (
        f"{row['cost_ratio']:.2f} ± {row['cost_ratio_spread']:.2f} × ruler, {row['us_per_atom_step']:.0f} "
        f"µs/atom/step, {row['n_parameters']:.0f} parameters"
    )


def _tip_of_fit(row: pd.Series) -> str:
    return f"fitted in {row['fit_s']:.0f} s, {row['n_parameters']:.0f} parameters"


def _errors_against(
    content: Content, figure: str, key: str, label: str, tip: Callable[[pd.Series], str]
) -> Sketch | None:
    """Draw force and energy error of the test data against something that one pays with."""
    if key not in content.ranking:
        return None
    ranking = content.ranking.dropna(subset=[key, "force_rmse"])
    if ranking.empty:
        return None
    sketch = new_sketch(figure, 7.4, 3.7 if content.is_sweep else 3.3)
    panels = (("force_rmse", "test force RMSE (meV/Å)"), ("energy_rmse", "test energy RMSE (meV/atom)"))
    for axes, (metric, error) in zip(sketch.canvas.subplots(1, 2), panels, strict=True):
        axes.plot(*fronts.steps(ranking[key], ranking[metric]), color="#9AA5B1", linewidth=2.5, zorder=1)
        unit = error.split("(")[1][:-1]
        for name, row in ranking.iterrows():
            found = energy_error(row, ".3g") if metric == "energy_rmse" else f"{row[metric]:.3g} {unit}"
            text = f"{name}: {found}, {tip(row)}"
            _draw_point(sketch, axes, row, key, metric, text, 6 if content.is_sweep else 9)
        axes.set(xlabel=label, ylabel=error)
        scales(axes, ranking[key], ranking[metric])
        if content.is_sweep:
            _draw_family_lines(sketch, axes, ranking, key, metric)
        else:
            label_points(axes, ranking.index, ranking[key], ranking[metric])
    if content.is_sweep:
        _legend_of_families(sketch, ranking)
    return sketch


def _draw_point(
    sketch: Sketch, axes: Axes, row: pd.Series, key: str, metric: str, tip: str, size: float
) -> None:
    """Draw one potential with its bars."""
    look = style(row["family"])
    spreads = [row.get(f"{name}_spread", np.nan) for name in (key, metric)]
    x_bar, y_bar = (None if pd.isna(spread) else spread for spread in spreads)
    bars = axes.errorbar(row[key], row[metric], xerr=x_bar, yerr=y_bar, color=look["color"], linewidth=1)
    for bar in bars[2]:
        sketch.own(bar, row["family"])
    sketch.point(axes, row[key], row[metric], tip, row["family"], markersize=size, zorder=3, **look)


def _draw_family_lines(sketch: Sketch, axes: Axes, ranking: pd.DataFrame, key: str, metric: str) -> None:
    for family, own in ranking.groupby("family"):
        color = style(str(family))["color"]
        (line,) = axes.plot(*fronts.steps(own[key], own[metric]), color=color, linewidth=1, zorder=2)
        sketch.own(line, str(family))


def _legend_of_families(sketch: Sketch, ranking: pd.DataFrame) -> None:
    families = sorted(ranking["family"].unique())
    handles = [Line2D([], [], linestyle="none", markersize=7, **style(family)) for family in families]
    sketch.canvas.legend(handles, families, loc="outside upper center", ncols=len(families))


def _parameters(content: Content) -> tuple[Sketch, str] | None:
    """Training and test error against the number of parameters."""
    ranking = content.ranking.dropna(subset=["force_rmse"])
    if ranking.empty:
        return None
    sketch = new_sketch("parameters", 7.4, 3.5 if content.is_sweep else 3.1)
    panels = (("force_rmse", "force RMSE (meV/Å)"), ("energy_rmse", "energy RMSE (meV/atom)"))
    for axes, (metric, label) in zip(sketch.canvas.subplots(1, 2), panels, strict=True):
        both = pd.concat([ranking[metric], content.train_errors[metric]])
        for name, row in ranking.iterrows():
            _draw_pair(sketch, axes, str(name), row, content.train_errors.at[name, metric], metric)
        axes.set(xlabel="number of parameters", ylabel=label)
        scales(axes, ranking["n_parameters"], both)
        if not content.is_sweep:
            label_points(axes, ranking.index, ranking["n_parameters"], ranking[metric])
    if content.is_sweep:
        _legend_of_families(sketch, ranking)
    return sketch, (
        "Training error (hollow) and test error (filled) against the number of parameters."
        f"{_on_shift(content)}"
    )


def _draw_pair(sketch: Sketch, axes: Axes, name: str, row: pd.Series, train: float, metric: str) -> None:
    """Draw training and test error of one potential, joined."""
    x, test, family = row["n_parameters"], row[metric], row["family"]
    look = style(family)
    (line,) = axes.plot([x, x], [train, test], color=look["color"], linewidth=1, zorder=1)
    sketch.own(line, family)
    hollow = look | {"markerfacecolor": "white", "markeredgecolor": look["color"]}
    for value, what, marker in ((train, "training", hollow), (test, "test", look)):
        tip = f"{name}, {what}: {value:.3g} ({x:.0f} parameters)"
        sketch.point(axes, x, value, tip, family, markersize=7, **marker)


def _parity(content: Content) -> tuple[Sketch, str] | None:
    """Predicted against reference values of the test data, one row per potential."""
    if not content.predictions:
        return None
    names = [name for name in content.shown if name in content.predictions]
    quantities = [("energy", "energy (meV/atom)"), ("force", "force (meV/Å)"), ("stress", "stress (GPa)")]
    quantities = [q for q in quantities if any(len(content.predictions[n][f"test_{q[0]}"]) for n in names)]
    if not quantities:
        return None
    sketch = new_sketch("parity", 2.45 * len(quantities) + 0.1, 2.45 * len(names) + 0.1)
    grid = sketch.canvas.subplots(len(names), len(quantities), squeeze=False)
    marked = False
    for row, name in zip(grid, names, strict=True):
        look = style(content.ranking.at[name, "family"])
        for axes, (quantity, label) in zip(row, quantities, strict=True):
            _draw_parity(
                axes, content.predictions[name][f"test_{quantity}"], look["color"], quantity == "energy"
            )
            axes.set(xlabel=f"reference {label}", ylabel=f"predicted {label}")
        row[0].set_title(name, loc="left")
        if name in content.without_stress and len(content.predictions[name]["test_stress"]):
            marked = True
            row[-1].set_title(f"{tables.UNFITTED} not fitted", loc="right")
    note = f" {tables.stress_note(content)}" if marked else ""
    return sketch, (
        "Prediction against reference on the test data; energies relative to the mean reference. The line is "
        f"perfect agreement. At most {MOST_PARITY_POINTS} points per panel are drawn, chosen at random.{note}"
        f"{_on_shift(content)}"
    )


def _draw_parity(axes: Axes, pairs: np.ndarray, color: str, relative: bool) -> None:
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
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
    names = content.shown
    sketch = new_sketch("groups", 7.4, 0.9 + 0.25 * len(groups) * len(names))
    panels = (("force_rmse", "test force RMSE (meV/Å)"), ("energy_rmse", "test energy RMSE (meV/atom)"))
    height = 0.8 / len(names)
    families = [content.ranking.at[name, "family"] for name in names]
    grid = sketch.canvas.subplots(1, 2, sharey=True)
    for axes, (metric, label) in zip(grid, panels, strict=True):
        for index, name in enumerate(names):
            values = content.by_group[metric].unstack("potential").reindex(groups)
            if name not in values:
                continue
            positions = np.arange(len(groups)) + height * (index - (len(names) - 1) / 2)
            look = {"color": style(families[index])["color"], "edgecolor": "white", "linewidth": 0}
            # Potentials of one family have its colour, so those after the first are hatched.
            hatch = HATCHES[families[:index].count(families[index]) % len(HATCHES)]
            axes.barh(positions, values[name], height=0.9 * height, hatch=hatch, label=name, **look)
            for position, value in zip(positions, values[name], strict=True):
                if np.isfinite(value):
                    axes.text(value, position, f" {_short(value)}", va="center", fontsize=7)
        axes.set(yticks=range(len(groups)), yticklabels=groups, xlabel=label)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
    grid[0].invert_yaxis()
    # As many in a row as the page is wide for.
    columns = max(1, min(len(names), LETTERS_OF_LEGEND // max(map(len, names))))
    sketch.canvas.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=columns)
    return sketch, f"Test errors of each group of structures.{_on_shift(content)}"


def _phonons(content: Content) -> tuple[Sketch, str] | None:
    """One panel per potential with its dispersion over the reference's, and one of the reference alone."""
    drawn = _of_measure(content, "phonons")
    if not drawn:
        return None
    expected = dict(_expected(content, "phonons"))
    panels = [*expected, *drawn]
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    sketch = new_sketch("phonons", 7.4, 0.5 + 2.3 * rows)
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
    sketch = new_sketch("dispersion", 7.4, 3.8)
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
    sketch = new_sketch("eos", 7.4, 3.4)
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
    sketch = new_sketch("scaling", 7.4, 3.6)
    axes = sketch.canvas.subplots()
    families = content.scaling.drop_duplicates("potential").set_index("potential")["family"]
    for name, seconds in scaling.steps(content).iterrows():
        seconds = seconds.dropna()
        look = style(families[name])
        axes.plot(seconds.index, seconds, color=look["color"], linewidth=1.2, label=name, zorder=1)
        for n_atoms, value in seconds.items():
            tip = f"{name}: {value:.3g} s per step, {n_atoms:.0f} atoms"
            sketch.point(axes, n_atoms, value, tip, markersize=7, zorder=2, **look)
    axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel="time per MD step (s, one core)")
    sizes = scaling.steps(content).columns.to_numpy(dtype=float)
    axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    seconds = scaling.steps(content).to_numpy()
    plain_numbers(axes.yaxis, np.log10(np.nanmax(seconds) / np.nanmin(seconds)))
    axes.minorticks_off()
    sketch.canvas.legend(loc="outside right center")
    return sketch, "Time per MD step over supercell sizes."


def _direct(content: Content) -> tuple[Sketch, str] | None:
    """Time and memory of the conservative network over those of the direct one, and the slide's."""
    ratios = direct.ratios(content)
    if not ratios:
        return None
    sketch = new_sketch("direct", 7.4, 0.9 + 0.32 * len(ratios))
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
    plain_numbers(axes.xaxis, np.log10(max(values) / min(values)))
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    return (
        sketch,
        "Time and memory of sevennet over those of sevennet-dfs: here (filled), on the slide (hollow).",
    )


def _short(value: float) -> str:
    # Forces that vanish by symmetry leave rounding behind.
    return "0" if value < 1e-3 else f"{value:.3g}"
