"""Phonons in the report: rows of the table of properties, dispersions, and densities of states."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mlip_bench.measure import properties
from mlip_bench.measure.phonons import IMAGINARY, MEASURE
from mlip_bench.section.drawing import Sketch, new_sketch
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.looks import GREY, INK
from mlip_bench.section.parts import Chart, Line, Plot, Section, Term
from mlip_bench.section.terms import of_values

DEVIATION = "frequency_rms_deviation"


def sections(evidence: Evidence) -> list[Section]:
    """Return the rows and figures, where they were measured, and say which crystals are not stable."""
    plots = []
    if evidence.curves(MEASURE.name):
        expected = properties.REFERENCE in properties.with_reference(evidence, MEASURE.name)
        grey = " Grey: DFT." if expected else " There is no reference for this crystal."
        each = f"Phonon dispersion; imaginary frequencies are drawn below zero.{grey}"
        together = "Phonon dispersion and density of states of all potentials."
        plots = [
            Plot("phonons", each, lambda: _draw_each(evidence)),
            Plot("dispersion", together, lambda: _draw_together(evidence)),
        ]
    return [
        Section("", warnings=_unstable(evidence)),
        *properties.sections(evidence, MEASURE, plots, place=42),
    ]


# No phonons from first principles are surer than this (THz).
FLOOR = 0.02


def terms(evidence: Evidence) -> list[Term]:
    """Return the deviation of the frequencies from first principles."""
    rows = evidence.of(MEASURE.name)
    values = rows[rows["metric"] == DEVIATION].groupby("potential")["value"].mean()
    label = "RMS deviation of phonon frequencies (THz)"
    return [of_values(values, DEVIATION, "phonon frequencies", label, floor=FLOOR)]


def charts(evidence: Evidence, name: str) -> list[Chart]:
    """Return the dispersion of one potential, over that of first principles."""
    curves = properties.with_reference(evidence, MEASURE.name)
    if name not in curves or name == properties.REFERENCE:
        return []
    lines = []
    for whose in filter(curves.__contains__, (properties.REFERENCE, name)):
        whole, segments = _along(curves[whose])
        bands = np.sort(curves[whose]["frequency"], axis=1)
        # Between segments a line is interrupted.
        x = np.concatenate([[*whole[points], np.nan] for points in segments])
        for band in bands.T:
            y = np.concatenate([[*band[points], np.nan] for points in segments])
            lines.append(Line(x, y, grey=whose == properties.REFERENCE))
    ticks = list(_ticks(curves[name]).items())
    note = f"Imaginary frequencies are drawn below zero. {properties.on_grey(curves)}"
    return [Chart("Phonon dispersion", "", "frequency (THz)", lines=lines, x_ticks=ticks, note=note)]


def _unstable(evidence: Evidence) -> list[str]:
    rows = evidence.of(MEASURE.name)
    lowest = rows[(rows["metric"] == "lowest_frequency") & (rows["value"] < IMAGINARY)]
    return [
        f"{row.potential} has imaginary phonons (down to {row.value:.2f} THz): the crystal is not stable."
        for row in lowest.itertuples()
    ]


def _draw_each(evidence: Evidence) -> Sketch:
    """Draw a panel per potential with its dispersion over the reference's, and one of the reference alone."""
    panels = properties.with_reference(evidence, MEASURE.name)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    sketch = new_sketch("phonons", 7.4, 0.5 + 2.3 * rows)
    grid = sketch.canvas.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, (name, curves) in zip(grid.flat, panels.items(), strict=False):
        if properties.REFERENCE in panels:
            _draw_bands(axes, panels[properties.REFERENCE], color=GREY, linewidth=2.0)
        if name != properties.REFERENCE:
            color = evidence.color(evidence.ranking.at[name, "family"])
            _draw_bands(axes, curves, color=color, linewidth=1.1)
        axes.set_title(name)
    for axes in grid[:, 0]:
        axes.set_ylabel("frequency (THz)")
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    return sketch


def _draw_together(evidence: Evidence) -> Sketch:
    """Draw all dispersions in one panel, and their densities of states beside it."""
    sketch = new_sketch("dispersion", 7.4, 3.8)
    bands, states = sketch.canvas.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for name, curves in properties.with_reference(evidence, MEASURE.name).items():
        look = properties.line(evidence, name)
        _draw_bands(bands, curves, **look)
        states.plot(curves["dos"], curves["dos_frequency"], label=name, **look)
    bands.set_ylabel("frequency (THz)")
    states.set_xlabel("states (1/THz/atom)")
    states.set_xlim(left=0)
    handles, names = states.get_legend_handles_labels()
    sketch.canvas.legend(handles, names, loc="outside upper center", ncols=min(len(names), 5))
    return sketch


def _draw_bands(axes: Axes, curves: Mapping[str, np.ndarray], **look: Any) -> None:
    """Draw a dispersion, segment by segment, over its own length, so that crystals of other sizes compare."""
    whole, segments = _along(curves)
    for points in segments:
        axes.plot(whole[points], np.sort(curves["frequency"][points], axis=1), **look)
    ticks = _ticks(curves)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlim(0, 1)
    axes.axhline(0, color=INK, linewidth=0.6)


def _along(curves: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the places along the path, from 0 to 1, and those of each of its segments."""
    whole = curves["distance"] / curves["distance"].max()
    return whole, np.split(np.arange(len(whole)), len(curves["labels"]))


def _ticks(curves: Mapping[str, np.ndarray]) -> dict[float, str]:
    """Return the names of the points between segments, by their places."""
    whole, segments = _along(curves)
    ticks: dict[float, str] = {}
    for points, (first, last) in zip(segments, curves["labels"], strict=True):
        for place, label in ((whole[points[0]], _greek(first)), (whole[points[-1]], _greek(last))):
            place = round(float(place), 3)
            ticks[place] = label if ticks.get(place, label) == label else f"{ticks[place]}|{label}"
    return ticks


def _greek(label: str) -> str:
    return "Γ" if label == "G" else label
