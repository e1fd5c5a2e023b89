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

# Of more potentials than this only some say their numbers under the pointer: the page would be too large.
MOST_TOLD = 500

# Names of families in a row of a legend.
MOST_BESIDE = 7

# Intervals from few structures can be of any length: a panel goes on beyond its points by no more than this
# factor for them.
FARTHEST = 2.0


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
        for family, own in ranking.groupby("family", sort=False):
            told = told_of(evidence, own[key], own[error.metric])
            tips = [
                f"{name}: {error.tip(row)}, {tip(row)}" if is_told else ""
                for (name, row), is_told in zip(own.iterrows(), told, strict=True)
            ]
            _draw_points(evidence, sketch, axes, str(family), own, key, error.metric, tips)
        axes.set(xlabel=label, ylabel=f"{evidence.split} {error.label}")
        shown = _shown_ends(ranking, error.metric)
        scales(axes, ranking[key], pd.concat([ranking[error.metric], *shown]))
        if evidence.is_sweep:
            _draw_family_lines(evidence, sketch, axes, ranking, key, error.metric)
        else:
            label_points(sketch, axes, ranking.index, ranking[key], ranking[error.metric])
    if evidence.is_sweep:
        legend_of_families(evidence, sketch, known)
    return sketch


def told_of(evidence: Evidence, prices: pd.Series, errors: pd.Series) -> np.ndarray:
    """Tell which potentials of a family say their numbers under the pointer: of very many the best."""
    if len(evidence.ranking) <= MOST_TOLD:
        return np.ones(len(prices), bool)
    return np.asarray(fronts.on_front(prices, errors), bool)


def on_told(evidence: Evidence) -> str:
    """Say in a caption which points say nothing under the pointer."""
    if len(evidence.ranking) <= MOST_TOLD:
        return ""
    return (
        f" Of {len(evidence.ranking)} points only those that no other of their family beats say their "
        "numbers under the pointer; the tables have all."
    )


def on_cut(evidence: Evidence) -> str:
    """Say in a caption where bars are longer than what is seen of them."""
    for error in evidence.errors:
        known = evidence.ranking.dropna(subset=[error.metric])
        drawn, whole = (ends(known, error.metric) for ends in (_shown_ends, _ends))
        if any((one != other)[other.notna()].any() for one, other in zip(drawn, whole, strict=True)):
            return ' Bars that leave a panel go on; intervals stand under "How sure the errors are".'
    return ""


def on_lines(evidence: Evidence) -> str:
    """Say in a caption what the coloured lines are."""
    lines = " Coloured lines join what no other size of the same family beats." if evidence.is_sweep else ""
    return lines + on_told(evidence)


def remarks(evidence: Evidence) -> str:
    """Say in a caption what must be said of the errors."""
    return "".join(error.remark(evidence) for error in evidence.errors)


def legend_of_families(evidence: Evidence, sketch: Sketch, ranking: pd.DataFrame) -> None:
    """Write the families of what is drawn above a figure."""
    families = sorted(ranking["family"].unique())
    handles = [
        Line2D([], [], linestyle="none", markersize=7, **evidence.style(family)) for family in families
    ]
    n_rows = -(-len(families) // MOST_BESIDE)
    sketch.canvas.legend(
        handles, families, loc="outside upper center", ncols=-(-len(families) // max(1, n_rows))
    )


def _draw_points(
    evidence: Evidence,
    sketch: Sketch,
    axes: Axes,
    family: str,
    own: pd.DataFrame,
    key: str,
    metric: str,
    tips: list[str],
) -> None:
    """Draw the potentials of a family with their bars."""
    look, x, y = evidence.style(family), own[key], own[metric]
    for of, along_x in ((key, True), (metric, False)):
        low, high = _ends(own, of)
        barred = low.notna()
        if barred.any():
            across, up = ((low, high), (y, y)) if along_x else ((x, x), (low, high))
            across, up = ((one[barred], other[barred]) for one, other in (across, up))
            sketch.segments(axes, across, up, family, color=look["color"], linewidth=1)
    size = 6 if evidence.is_sweep else 9
    sketch.points(axes, x, y, tips, family, markersize=size, zorder=3, **look)


def _ends(own: pd.DataFrame, key: str) -> tuple[pd.Series, pd.Series]:
    """Return where the bars of a number end: at its interval, or else at its spread; NaN without either."""
    missing = pd.Series(np.nan, own.index)
    low, high, spread = (
        own.get(f"{key}_{what}", missing).astype(float) for what in ("low", "high", "spread")
    )
    value = own[key].astype(float)
    return low.where(low.notna(), value - spread), high.where(high.notna(), value + spread)


def _shown_ends(known: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.Series]:
    """Return where bars of errors end, or where the panel does."""
    low, high = _ends(known, metric)
    return low.clip(lower=known[metric].min() / FARTHEST), high.clip(upper=known[metric].max() * FARTHEST)


def _draw_family_lines(
    evidence: Evidence, sketch: Sketch, axes: Axes, ranking: pd.DataFrame, key: str, metric: str
) -> None:
    for family, own in ranking.groupby("family"):
        color = evidence.color(str(family))
        (line,) = axes.plot(*fronts.steps(own[key], own[metric]), color=color, linewidth=1, zorder=2)
        sketch.own(line, str(family))
