"""Figures of the test errors against what one pays with: a panel per error, a point per potential."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mlip_bench.section import fronts
from mlip_bench.section.drawing import Sketch, label_points, new_sketch, scales
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.looks import GUIDE
from mlip_bench.section.parts import Axis


def having(evidence: Evidence, key: str) -> pd.DataFrame:
    """Return the potentials that have a number and the first error."""
    if key not in evidence.ranking or not evidence.errors:
        return evidence.ranking.iloc[:0]
    return evidence.ranking.dropna(subset=[key, evidence.errors[0].metric])


def draw(evidence: Evidence, name: str, key: str, label: str, tip: Callable[[pd.Series], str]) -> Sketch:
    """Draw the errors against the number ``key``; ``tip`` says the rest beside a point."""
    ranking = having(evidence, key)
    sketch = new_sketch(name, 7.4, 3.7 if evidence.is_sweep else 3.3)
    panels = sketch.canvas.subplots(1, len(evidence.errors), squeeze=False)[0]
    known = ranking
    for axes, error in zip(panels, evidence.errors, strict=True):
        ranking = known.dropna(subset=[error.metric])
        axes.plot(*fronts.steps(ranking[key], ranking[error.metric]), color=GUIDE, linewidth=2.5, zorder=1)
        for potential, row in ranking.iterrows():
            text = f"{potential}: {error.tip(row)}, {tip(row)}"
            _draw_point(evidence, sketch, axes, row, key, error, text)
        axes.set(xlabel=label, ylabel=f"{evidence.split} {error.label}")
        ends = [
            ranking[f"{error.metric}_{end}"] for end in ("low", "high") if f"{error.metric}_{end}" in ranking
        ]
        scales(axes, ranking[key], pd.concat([ranking[error.metric], *ends]))
        if evidence.is_sweep:
            _draw_family_lines(evidence, sketch, axes, ranking, key, error.metric)
        else:
            label_points(axes, ranking.index, ranking[key], ranking[error.metric])
    if evidence.is_sweep:
        legend_of_families(evidence, sketch, known)
    return sketch


def on_lines(evidence: Evidence) -> str:
    """Say in a caption what the coloured lines are."""
    return " Coloured lines join what no other size of the same family beats." if evidence.is_sweep else ""


def remarks(evidence: Evidence) -> str:
    """Say in a caption what must be said of the errors."""
    return "".join(error.remark(evidence) for error in evidence.errors)


def legend_of_families(evidence: Evidence, sketch: Sketch, ranking: pd.DataFrame) -> None:
    """Write the families of what is drawn above a figure."""
    families = sorted(ranking["family"].unique())
    handles = [
        Line2D([], [], linestyle="none", markersize=7, **evidence.style(family)) for family in families
    ]
    sketch.canvas.legend(handles, families, loc="outside upper center", ncols=len(families))


def _draw_point(
    evidence: Evidence, sketch: Sketch, axes: Axes, row: pd.Series, key: str, error: Axis, tip: str
) -> None:
    """Draw one potential with its bars."""
    look = evidence.style(row["family"])
    at = row[key], row[error.metric]
    x_bar, y_bar = _reach(row, key), _reach(row, error.metric)
    bars = axes.errorbar(*at, xerr=x_bar, yerr=y_bar, color=look["color"], linewidth=1)
    for bar in bars[2]:
        sketch.own(bar, row["family"])
    size = 6 if evidence.is_sweep else 9
    sketch.point(axes, *at, tip, row["family"], markersize=size, zorder=3, **look)


def _reach(row: pd.Series, key: str) -> np.ndarray | None:
    """Return how far the bars of a number reach down and up (2, 1): its interval, or its spread."""
    value = row[key]
    low, high, spread = (row.get(f"{key}_{what}", np.nan) for what in ("low", "high", "spread"))
    if pd.notna(low):
        return np.array([[value - low], [high - value]]).clip(min=0.0)
    return None if pd.isna(spread) else np.full((2, 1), spread)


def _draw_family_lines(
    evidence: Evidence, sketch: Sketch, axes: Axes, ranking: pd.DataFrame, key: str, metric: str
) -> None:
    for family, own in ranking.groupby("family"):
        color = evidence.color(str(family))
        (line,) = axes.plot(*fronts.steps(own[key], own[metric]), color=color, linewidth=1, zorder=2)
        sketch.own(line, str(family))
