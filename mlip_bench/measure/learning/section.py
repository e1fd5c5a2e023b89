"""Learning curves in the report: what more data brings to each potential, beside what others reach today."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mlip_bench.measure.errors import MEASURE as ERRORS
from mlip_bench.measure.learning import (
    FEWEST_POINTS,
    REPORTED,
    TIMES,
    is_enough,
    series_of,
)
from mlip_bench.measure.learning.law import Series
from mlip_bench.results import TEST
from mlip_bench.section import against
from mlip_bench.section.drawing import Sketch, new_sketch, plain_numbers
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import MISSING, Axis, Chart, Line, Part, Plot, Section, Sentences, Table

HEADING = "Learning curves"

# Numbers of structures at which a law is drawn.
DRAWN_AT = 60

# Beside a panel's points this much room is left, as a factor.
ROOM = 1.3

# Potentials stand beside each other by this factor, so that their bars are told apart.
BESIDE = 1.025


def sections(evidence: Evidence) -> list[Section]:
    """Return the section, where any potential was fitted to shares of the data."""
    found = _Learnt(evidence)
    axes = [axis for axis in evidence.errors if not found.points(axis.metric).empty]
    if not axes:
        return []
    parts: list[Part] = [Sentences(sentences(found, axes[0])), _figure(found, axes)]
    parts += [table(found, axis) for axis in axes]
    return [Section(HEADING, parts, place=8)]


@dataclass(frozen=True)
class _Learnt:
    """The rows of a run that learning curves are made of."""

    evidence: Evidence

    @cached_property
    def names(self) -> Mapping[tuple[str, str], str]:
        """The name of each potential that was fitted to shares of the data, by family and hyper-parameters.

        In the order of the ranking; what failed on all of the data has the name of its first share.
        """
        of: dict[tuple[str, str], str] = {}
        for rows in (self.evidence.rows, self.evidence.partial):
            keys = zip(rows["family"], rows["hypers_sha256"], strict=True)
            for key, name in zip(keys, rows["potential"], strict=True):
                of.setdefault(key, str(name))
        learnt = set(
            zip(self.evidence.partial["family"], self.evidence.partial["hypers_sha256"], strict=True)
        )
        order = {name: place for place, name in enumerate(self.evidence.ranking.index)}
        return {key: of[key] for key in sorted(learnt, key=lambda key: order.get(of[key], len(order)))}

    def points(self, metric: str) -> pd.DataFrame:
        """Return the errors of fits on the test data: ``name``, family, n_train, value, low, high, seed."""
        rows = pd.concat([self.evidence.of(ERRORS.name), self.evidence.partial])
        rows = rows[(rows["measure"] == ERRORS.name) & (rows["metric"] == metric) & (rows["split"] == TEST)]
        keys = list(zip(rows["family"], rows["hypers_sha256"], strict=True))
        rows = rows.assign(name=[self.names.get(key) for key in keys]).dropna(subset=["name"])
        order = {name: place for place, name in enumerate(self.names.values())}
        return rows.sort_values(
            ["name", "n_train"], key=lambda own: own.map(order) if own.name == "name" else own, kind="stable"
        )

    def law(self, name: str, metric: str) -> pd.DataFrame:
        """Return what was fitted to an error of a potential: a row per constant, by its name."""
        rows = self.evidence.of(REPORTED.name)
        rows = rows[(rows["potential"] == name) & rows["metric"].str.startswith(f"{metric}_")]
        return rows.assign(what=rows["metric"].str.removeprefix(f"{metric}_")).set_index("what")

    def today(self, name: str, metric: str) -> float:
        """Return the error of the fit to all of the data, the mean over seeds; NaN without one."""
        rows = self.evidence.of(ERRORS.name)
        own = rows[(rows["potential"] == name) & (rows["metric"] == metric) & (rows["split"] == TEST)]
        return float(own["value"].mean()) if len(own) else np.nan

    def series(self, name: str, metric: str) -> Series | None:
        """Return the errors by structure that the law of a potential was fitted to."""
        curves = self._curves.get(name)
        return None if curves is None else series_of(dict(curves), metric)

    @cached_property
    def _curves(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        return self.evidence.curves(REPORTED.name)


# -- in words --------------------------------------------------------------------------------------------


def sentences(found: _Learnt, axis: Axis) -> list[str]:
    """Say of each potential whether more data or another family would help."""
    return [_sentence(found, axis, name) for name in found.names.values()]


def _sentence(found: _Learnt, axis: Axis, name: str) -> str:
    law, now = found.law(name, axis.metric), found.today(name, axis.metric)
    if law.empty:
        numbers = found.points(axis.metric)
        numbers = numbers.loc[numbers["name"] == name, "n_train"].unique()
        few = "" if is_enough(numbers) else f", fewer than {FEWEST_POINTS} numbers of structures"
        return f"{name}: no law through {len(numbers)} points{few}; give more fractions."
    if np.isnan(now):
        return f"{name}: no {axis.quantity} error of a fit to all of the data."
    then, factor = law.loc["at_twice"], law.loc["twice_over_all"]
    what = f"{axis.quantity} {axis.statistic}"
    begin = (
        f"twice the data would bring {what} from {_short(now)} to {_with_ends(then)} {then['unit']}, "
        f"by a factor of {_with_ends(factor)}"
    )
    if pd.isna(factor["high"]):
        begin += ", and nobody knows how surely"
    elif factor["high"] >= 1:
        begin = (
            f"whether twice the data would help is not distinguishable: {what} is {_short(now)} "
            f"{then['unit']}, and the law gives {_with_ends(then)}, a factor of {_with_ends(factor)}"
        )
    return f"{name}: {begin}; {_beside_best(found, axis, name)}."


def _beside_best(found: _Learnt, axis: Axis, name: str) -> str:
    """Say how a potential with twice the data stands to the best of the others with the data of today."""
    others = {other: found.today(other, axis.metric) for other in found.names.values() if other != name}
    others = {other: value for other, value in others.items() if np.isfinite(value)}
    if not others:
        return "there is no other potential to compare it with"
    best = min(others, key=lambda other: others[other])
    unit = f"{_short(others[best])} {found.law(name, axis.metric)['unit'].get('at_twice', '')}"
    ends = _against(found, axis, name, best)
    if ends is None:
        return f"{best} is at {unit} today, and nobody knows how surely that is another"
    low, high = ends
    better = found.today(name, axis.metric) < others[best]
    if high < 0:
        return (
            f"no other is better: {best} is next, at {unit} today"
            if better
            else f"more data: {best} is at {unit} today"
        )
    if low > 0:
        return f"another family: {best} is there already, at {unit} today"
    return f"not distinguishable then from {best}, which is at {unit} today"


def _against(found: _Learnt, axis: Axis, name: str, other: str) -> tuple[float, float] | None:
    """Return the interval of the logarithm of the error with twice the data over that of another today."""
    own, beside = found.series(name, axis.metric), found.series(other, axis.metric)
    if own is None or beside is None:
        return None
    both = np.intersect1d(own.numbers, beside.numbers)
    own, beside = own.among(both), beside.among(both)
    whole = found.points(axis.metric)["n_train"].max()
    of_all = beside.sums[beside.n_train == whole]
    if not len(of_all):
        return None
    return own.interval(own.law.log_at(TIMES * float(whole)), of_all.mean(axis=0))


# -- as a table ------------------------------------------------------------------------------------------


def table(found: _Learnt, axis: Axis) -> Table:
    """The law of each potential: error today, exponent, offset, and what twice the data would bring."""
    columns = ("exponent", "offset", "at_twice", "twice_over_all")
    rows = []
    for name in found.names.values():
        law, own = found.law(name, axis.metric), found.points(axis.metric)
        numbers = own.loc[own["name"] == name, "n_train"].astype(int)
        cells = [_with_ends(law.loc[key]) if key in law.index else MISSING for key in columns]
        if cells[1] == MISSING and not law.empty:
            cells[1] = "none seen"
        now = found.today(name, axis.metric)
        counted = ", ".join(map(str, sorted(set(numbers))))
        rows.append([name, counted, MISSING if np.isnan(now) else _short(now), *cells])
    unit = axis.label.split("(")[-1].rstrip(")")
    headings = [
        "potential",
        "structures",
        f"{axis.quantity} {axis.statistic} with all ({unit})",
        "exponent b",
        f"offset c ({unit})",
        f"with twice the data ({unit})",
        "factor by it",
    ]
    note = (
        "Error = a N^-b, or a N^-b + c where the points level off. In brackets: 95 % intervals, of the test "
        "structures and of the scatter of fits about the law; with twice the data that of one more fit. They "
        "hold as long as the law does. Fits to more structures count more, and scatter less."
    )
    families = tuple(family for family, _ in found.names)
    return Table(headings, rows, note=note, families=families, name=f"learning-{axis.quantity}")


def _with_ends(row: pd.Series) -> str:
    """Write a number with its interval, where it has one."""
    ends = "" if pd.isna(row["low"]) else f" ({_short(row['low'])} to {_short(row['high'])})"
    return f"{_short(row['value'])}{ends}"


def _short(value: float) -> str:
    """Write three digits, or all before the point."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


# -- as a figure -----------------------------------------------------------------------------------------


def _figure(found: _Learnt, axes: list[Axis]) -> Plot:
    caption = (
        "Test error against the number of structures that potentials were fitted to; smaller subsets are in "
        "the larger ones. Bars of points: 95 % intervals over the test structures, which are the same for "
        "all. Lines: power laws, dashed beyond the data; hollow: a fit to twice the data, with its 95 % "
        "interval. Families are drawn beside each other, and bars may leave a panel."
    )
    return Plot("learning", caption, lambda: _draw(found, axes), _numbers(found, axes))


def _numbers(found: _Learnt, axes: list[Axis]) -> Table:
    """The points that are drawn."""
    rows = [
        [
            *(str(row.name_), str(row.seed), f"{row.n_train:.0f}", axis.metric, f"{row.value:.6g}"),
            *(MISSING if pd.isna(end) else f"{end:.6g}" for end in (row.low, row.high)),
        ]
        for axis in axes
        for row in found.points(axis.metric).rename(columns={"name": "name_"}).itertuples()
    ]
    headings = ["potential", "seed", "structures", "error", "value", "low", "high"]
    return Table(headings, rows, name="learning-points")


def _draw(found: _Learnt, axes: list[Axis]) -> Sketch:
    sketch = new_sketch("learning", 7.4, 3.7)
    for panel, axis in zip(sketch.canvas.subplots(1, len(axes), squeeze=False)[0], axes, strict=True):
        points = found.points(axis.metric)
        whole = float(points["n_train"].max())
        least, most = points["value"].min(), points["value"].max()
        for place, (name, own) in enumerate(points.groupby("name", sort=False)):
            family, law = str(own["family"].iloc[0]), found.law(str(name), axis.metric)
            aside = BESIDE**place
            _draw_points(found.evidence, sketch, panel, family, str(name), own, aside)
            if not law.empty:
                _draw_law(found.evidence, sketch, panel, family, law["value"], own["n_train"], whole)
                _draw_end(found.evidence, sketch, panel, family, law.loc["at_twice"], TIMES * whole * aside)
                least = min(least, law.loc["at_twice", "value"])
        panel.set(xscale="log", yscale="log", xlabel="training structures", ylabel=f"test {axis.label}")
        panel.set_ylim(least / ROOM, most * ROOM)
        panel.set_xlim(points["n_train"].min() / ROOM, TIMES * whole * ROOM)
        for of, (low, high) in ((panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim())):
            plain_numbers(of, float(np.log10(high / low)))
    against.legend_of_families(found.evidence, sketch, found.points(axes[0].metric))
    return sketch


def _draw_points(
    evidence: Evidence,
    sketch: Sketch,
    panel: Axes,
    family: str,
    name: str,
    own: pd.DataFrame,
    aside: float,
) -> None:
    """Draw the errors of fits, with their intervals."""
    look, barred = evidence.style(family), own.dropna(subset=["low"])
    x = aside * barred["n_train"]
    sketch.segments(panel, (x, x), (barred["low"], barred["high"]), family, color=look["color"], linewidth=1)
    tips = [
        f"{name}: {_short(row.value)} ({row.n_train:.0f} structures, seed {row.seed})"
        for row in own.itertuples()
    ]
    sketch.points(panel, aside * own["n_train"], own["value"], tips, family, markersize=6, zorder=3, **look)


def _draw_law(
    evidence: Evidence,
    sketch: Sketch,
    panel: Axes,
    family: str,
    constants: pd.Series,
    n_train: pd.Series,
    whole: float,
) -> None:
    """Draw the law, and dashed where it is beyond the fits."""
    for low, high, style in (
        (n_train.min(), n_train.max(), "-"),
        (n_train.max(), TIMES * whole, "--"),
    ):
        x = np.geomspace(low, high, DRAWN_AT)
        y = _at(constants, x)
        (line,) = panel.plot(x, y, linestyle=style, color=evidence.color(family), linewidth=1.2, zorder=2)
        sketch.own(line, family)


def _at(constants: pd.Series, n_train: np.ndarray) -> np.ndarray:
    """Return the errors that a law gives."""
    return constants["factor"] * n_train ** -constants["exponent"] + constants.get("offset", 0.0)


def _draw_end(
    evidence: Evidence, sketch: Sketch, panel: Axes, family: str, then: pd.Series, x: float
) -> None:
    """Draw what the law gives for twice the data, hollow, with its interval."""
    look = evidence.style(family) | {"markerfacecolor": "white", "markeredgecolor": evidence.color(family)}
    if pd.notna(then["low"]):
        ends = np.array([then["low"]]), np.array([then["high"]])
        sketch.segments(panel, (np.array([x]),) * 2, ends, family, color=look["color"], linewidth=1)
    tip = f"{family}, twice the data: {_with_ends(then)}"
    sketch.points(panel, [x], [then["value"]], [tip], family, markersize=6, zorder=3, **look)


# -- of one potential ------------------------------------------------------------------------------------


def charts(evidence: Evidence, name: str) -> list[Chart]:
    """Return the learning curve of a potential for each error, with its law as far as twice the data."""
    found = _Learnt(evidence)
    if name not in found.names.values():
        return []
    every = [(axis, found.points(axis.metric)) for axis in evidence.errors]
    return [
        _opened(found, axis, own, name)
        for axis, points in every
        if len(own := points[(points["name"] == name) & points["value"].notna()])
    ]


def _opened(found: _Learnt, axis: Axis, own: pd.DataFrame, name: str) -> Chart:
    law, lines, note = found.law(name, axis.metric), [], "Errors on the test data."
    if not law.empty:
        x = np.geomspace(own["n_train"].min(), TIMES * own["n_train"].max(), DRAWN_AT)
        lines.append(Line(x, _at(law["value"], x)))
        note += f" Line: the law, as far as {TIMES:g} times the data."
    return Chart(
        f"Learning curve: {axis.quantity} {axis.statistic}",
        "training structures",
        f"test {axis.label}",
        own["n_train"].to_numpy(float),
        own["value"].to_numpy(float),
        [f"{_short(row.value)} ({row.n_train:.0f} structures, seed {row.seed})" for row in own.itertuples()],
        lines,
        logarithmic=True,
        note=note,
    )
