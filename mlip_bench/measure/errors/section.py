"""Errors in the report: training against test, parity, groups of structures, extrapolation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mlip_bench.measure.errors import MEASURE, intervals, ranking
from mlip_bench.measure.errors.intervals import Scatter
from mlip_bench.measure.errors.standing import Kept, standing, sums_of
from mlip_bench.measure.errors.sums import of_split, structure_of_each
from mlip_bench.results import HELD_OUT, TEST
from mlip_bench.section import against, tables
from mlip_bench.section.drawing import Sketch, label_points, new_sketch, scales
from mlip_bench.section.evidence import Evidence, wide
from mlip_bench.section.looks import GUIDE
from mlip_bench.section.parts import MISSING, Axis, Chart, Part, Plot, Section, Table, Term
from mlip_bench.section.terms import of_ranking

# More points than this per parity panel only make the file large; a fixed random choice is drawn.
MOST_PARITY_POINTS = 1500

# Potentials in one figure of parity: more would not be readable on a page.
ROWS_OF_PARITY = 3

# Height (in) of a bar, and of a figure of bars at most.
BAR = 0.16
TALLEST = 7.0

# Extrapolating structures listed for each potential, those with the largest share of atoms.
STRUCTURES_SHOWN = 10

# Letters of names that fit beside each other in the legend above a figure.
LETTERS_OF_LEGEND = 84

# What tells bars of one colour apart.
HATCHES = ("", "////", "....", "xxxx")

QUANTITIES = (("energy", "energy (meV/atom)"), ("force", "force (meV/Å)"), ("stress", "stress (GPa)"))


def sections(evidence: Evidence) -> list[Section]:
    """Return the sections that the rows have data for."""
    found = [Section("", warnings=_warnings(evidence))]
    if certain := certainty(evidence):
        found.append(Section("How sure the errors are", [certain], place=9))
    if not evidence.of(MEASURE.name).empty:
        parts: list[Part] = [*_parameters(evidence), train_errors(evidence)]
        found.append(Section(f"Training against {evidence.split} error", parts, place=10))
    if quantities := _with_parity(evidence):
        found.append(Section("Parity", _parity(evidence, quantities), place=30))
    frame = errors_by_group(evidence)
    if not frame.empty:
        parts = [*_groups(evidence, frame), groups(evidence)]
        found.append(Section("Errors per group of structures", parts, place=31))
    outside = extrapolating(evidence)
    if not outside.empty:
        found.append(Section("Extrapolation", [extrapolation(outside)], place=32))
    return found


def compared(evidence: Evidence) -> pd.DataFrame:
    """Return the place of each potential by the first error, and what sets it beside the best."""
    names = evidence.ranking.dropna(subset=[ranking.FORCE.metric]).index
    return standing(_kept(evidence), list(map(str, names)), evidence.split)


def adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, of several seeds under one name with the scatter of fits in the intervals of errors.

    On the logarithm, to either side the root of the squares of both reaches: of the structures, and of the
    mean over fits.
    """
    errors = rows[rows["metric"].isin([column.key for column in ranking.COLUMNS]) & rows["group"].isna()]
    found = rows.copy()
    for _, own in errors.dropna(subset=["low", "high"]).groupby(["potential", "metric", "split"]):
        scatter = Scatter.of(own["value"].to_list())
        if scatter.error:
            value = own["value"].mean()
            for end, sign in (("low", -1), ("high", 1)):
                reach = np.hypot(np.log(own[end].mean() / value), scatter.reach)
                found.loc[own.index, end] = value * np.exp(sign * reach)
    return found


# Errors below these are those of first principles themselves.
FLOORS = {"energy": 0.1, "force": 1.0, "stress": 0.01}


def terms(evidence: Evidence) -> list[Term]:
    """Return the errors of the split that decides, and those on the test data, which only axes have."""
    found = []
    for column in ranking.COLUMNS:
        quantity, statistic = column.key.split("_")
        what = f"{quantity} error ({statistic.upper()})"
        floor, spec = FLOORS[quantity], column.spec
        note = _on_unfitted(evidence) if column.mark is not None else ""
        if evidence.split == TEST and evidence.is_sweep:
            note += " Test errors of sizes that were chosen by them flatter what was chosen."
        found.append(
            of_ranking(
                evidence,
                column.key,
                what,
                f"{evidence.split} {column.heading}",
                spec=spec,
                floor=floor,
                note=note,
            )
        )
        if evidence.split != TEST:
            key, label = f"{column.key}_{TEST}", f"{TEST} {column.heading}"
            found.append(
                of_ranking(evidence, key, f"{TEST} {what}", label, spec=spec, floor=floor, decides=False)
            )
    return found


def _on_unfitted(evidence: Evidence) -> str:
    """Say whose stress error is of a stress that was not fitted."""
    names = evidence.ranked(pd.Index(sorted(ranking.without_stress(evidence))))
    return f"Not fitted to stress: {tables.several(names)}." if names else ""


def _kept(evidence: Evidence) -> Kept:
    """Return the predictions whose errors decide, of each fit of each potential."""
    return evidence.of_each_fit(HELD_OUT if evidence.split == HELD_OUT else None)


def _warnings(evidence: Evidence) -> list[str]:
    return [*_on_extrapolation(evidence), *_on_places(evidence)]


def _on_places(evidence: Evidence) -> list[str]:
    """Say which potentials have no place, because nobody knows their errors by structure."""
    known = evidence.ranking.dropna(subset=[ranking.FORCE.metric])
    if "place" in known and (n_without := int(known["place"].isna().sum())):
        return [
            f"Only the {len(known) - n_without} potentials with the least errors have places; the "
            f"{n_without} others were compared with the best alone."
        ]
    if "place" in known or len(known) < 2:
        return []
    kept = _kept(evidence)
    without = [name for name in map(str, known.index) if not sums_of(kept, name, evidence.split)]
    return [
        f"Potentials are not compared with each other: predictions of {tables.several(without)} were not "
        "kept by structure (rows of an earlier version); the same command makes them."
    ]


def _on_extrapolation(evidence: Evidence) -> list[str]:
    rows = evidence.of(MEASURE.name)
    outside = rows[(rows["metric"] == "extrapolating_atoms") & (rows["split"] == "test")]
    if outside.empty:
        return []
    counts = [f"{row.potential} ({row.value:.0f})" for row in outside.itertuples()]
    return [
        "Atoms of the test data whose surroundings lie outside those of training, where a potential "
        f"extrapolates: {tables.several(counts)}."
    ]


# -- tables ----------------------------------------------------------------------------------------------


def training(evidence: Evidence) -> pd.DataFrame:
    """Return one row per potential, in the order of the ranking: errors on the training data."""
    rows = evidence.of(MEASURE.name)
    frame = wide(rows[rows["split"] == "train"], ["potential"])
    columns = list(dict.fromkeys([*frame.columns, ranking.FORCE.metric, ranking.ENERGY.metric]))
    return frame.reindex(index=evidence.ranked(rows["potential"]), columns=columns)


def train_errors(evidence: Evidence) -> Table:
    """Errors on the training data."""
    notes = ["Errors on the training data."]
    frame = training(evidence)
    return tables.of_potentials(evidence, "training-errors", "potential", frame, ranking.COLUMNS, notes)


def certainty(evidence: Evidence) -> Table | None:
    """Errors with their intervals, and each potential beside the best; None without intervals."""
    ranked = evidence.ranking
    having = [column for column in ranking.COLUMNS if column.key.endswith("_rmse")]
    having = [one for one in having if f"{one.key}_low" in ranked and ranked[f"{one.key}_low"].notna().any()]
    if not having:
        return None
    headings = ["potential", *(column.heading for column in having)]
    compares = "over_best" in ranked and ranked["over_best"].notna().any()
    if compares:
        headings += [
            f"{ranking.FORCE.quantity} error over the best",
            f"{evidence.split} structures to decide",
        ]
    rows = []
    marked = {column.key: column.mark.of(evidence) for column in having if column.mark is not None}
    for name, row in ranked.iterrows():
        cells = [str(name)]
        for column in having:
            mark = column.mark.sign if column.mark and str(name) in marked[column.key] else ""
            cells.append(_with_ends(row, column.key, column.spec, mark))
        rows.append([*cells, *([_with_ends(row, "over_best", ".2f"), _needed(row)] if compares else [])])
    note = (
        "In brackets: 95 % intervals over structures, drawn again within their groups (bootstrap-t on the "
        "logarithm). They hold for more structures of the same kinds, not for other kinds. "
    )
    if evidence.fits:
        note += (
            f"Of several seeds: means, with the scatter of the fits in the intervals "
            f"({tables.several(evidence.fits)}). "
        )
    marks = [
        one.mark for one in having if one.mark and any(one.mark.sign in cell for row in rows for cell in row)
    ]
    note += "".join(f"{mark.note(evidence)} " for mark in marks)
    if compares:
        note += (
            "Over the best: ratio of both RMSE on the same structures; to decide: how many structures more "
            f"would tell both apart with a probability of {100 * intervals.POWER:.0f} %, if the ratio is "
            "what it seems."
        )
    return Table(headings, rows, note=note, families=tuple(ranked["family"]), name="intervals")


def _with_ends(row: pd.Series, key: str, spec: str, mark: str = "") -> str:
    """Write a number with its mark, and the ends of its interval, where it has one."""
    value, low, high = (row.get(name, np.nan) for name in (key, f"{key}_low", f"{key}_high"))
    ends = "" if pd.isna(low) else f" ({low:{spec}} to {high:{spec}})"
    return tables.number(value, spec) + (mark if pd.notna(value) else "") + ends


def _needed(row: pd.Series) -> str:
    """Write how many structures more would tell a potential from the best."""
    needed = row.get("needed", np.nan)
    if pd.isna(needed):
        return MISSING
    if needed == 0:
        return "decided"
    return tables.about(needed)


def errors_by_group(evidence: Evidence) -> pd.DataFrame:
    """Return one row per group and potential: test errors."""
    rows = evidence.by_group(MEASURE.name)
    return wide(rows[rows["split"] == "test"], ["group", "potential"])


def groups(evidence: Evidence) -> Table:
    """Test errors of each group of structures."""
    frame = errors_by_group(evidence)
    frame = frame[frame.index.get_level_values("potential").isin(evidence.shown)]
    potentials = frame.index.get_level_values("potential")
    frame = frame.set_axis([f"{group}: {potential}" for group, potential in frame.index])
    return tables.of_potentials(
        evidence, "groups", "group: potential", frame, ranking.COLUMNS, potentials=potentials
    )


def extrapolating(evidence: Evidence) -> pd.DataFrame:
    """List the test structures in which atoms extrapolate, those with the largest share first."""
    found = []
    for name, kept in evidence.predictions.items():
        rows = kept.get("test_extrapolating", np.empty((0, 3), int))
        of_group = kept["test_energy_group"].tolist()
        found += [
            (name, number, group, n_outside, n_atoms)
            for (number, n_atoms, n_outside), group in zip(rows.tolist(), of_group, strict=False)
            if n_outside
        ]
    frame = pd.DataFrame(found, columns=["potential", "structure", "group", "n_outside", "n_atoms"])
    order = (-frame["n_outside"] / frame["n_atoms"]).sort_values(kind="stable").index
    return frame.loc[order].sort_values("potential", kind="stable")


def extrapolation(outside: pd.DataFrame) -> Table:
    """The test structures with atoms in surroundings outside those of training."""
    shown = outside.groupby("potential", sort=False).head(STRUCTURES_SHOWN)
    rows = [
        [
            row.potential,
            f"{row.structure} ({row.group})" if row.group else str(row.structure),
            f"{row.n_outside} of {row.n_atoms}",
        ]
        for row in shown.itertuples()
    ]
    left_out = len(outside) - len(shown)
    note = "Numbers are places in the test data. These surroundings lie outside those of training."
    more = f" {left_out} more are not shown." if left_out else ""
    headings = ["potential", "test structure", "atoms that extrapolate"]
    return Table(headings, rows, note=note + more, name="extrapolation", widths=(1, 2, 2), text=True)


# -- training and test error over the number of parameters -----------------------------------------------


def _parameters(evidence: Evidence) -> list[Plot]:
    if evidence.ranking[ranking.FORCE.metric].isna().all():
        return []
    caption = (
        f"Training error (hollow) and {evidence.split} error (filled) against the number of parameters."
        f"{against.on_told(evidence)}{ranking.on_shift(evidence)}"
    )
    return [Plot("parameters", caption, lambda: _draw_parameters(evidence))]


def _draw_parameters(evidence: Evidence) -> Sketch:
    measured = evidence.ranking.dropna(subset=[ranking.FORCE.metric])
    train = training(evidence).reindex(
        evidence.ranking.index
    )  # of what held-out errors left out, there is none
    sketch = new_sketch("parameters", 7.4, 3.5 if evidence.is_sweep else 3.1)
    panels = _panels(measured)
    for axes, error in zip(sketch.canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        both = pd.concat([measured[error.metric], train[error.metric]])
        for family, own in measured.dropna(subset=[error.metric]).groupby("family", sort=False):
            _draw_joined(evidence, sketch, axes, str(family), own, train[error.metric], error.metric)
        axes.set(xlabel="number of parameters", ylabel=error.label)
        scales(axes, measured["n_parameters"], both)
        if not evidence.is_sweep:
            labelled = measured.dropna(subset=[error.metric])
            label_points(sketch, axes, labelled.index, labelled["n_parameters"], labelled[error.metric])
    if evidence.is_sweep:
        against.legend_of_families(evidence, sketch, measured)
    return sketch


def _panels(frame: pd.DataFrame) -> list[Axis]:
    """Return the errors of force and energy, as far as a table has any."""
    axes = (ranking.FORCE, ranking.ENERGY)
    return [axis for axis in axes if axis.metric in frame and frame[axis.metric].notna().any()]


def _draw_joined(
    evidence: Evidence,
    sketch: Sketch,
    axes: Axes,
    family: str,
    own: pd.DataFrame,
    train: pd.Series,
    metric: str,
) -> None:
    """Draw training and test errors of the potentials of a family, joined."""
    look, x, both = evidence.style(family), own["n_parameters"], (train[own.index], own[metric])
    sketch.segments(axes, (x, x), both, family, color=look["color"], linewidth=1, zorder=1)
    told = against.told_of(evidence, x, own[metric])
    hollow = look | {"markerfacecolor": "white", "markeredgecolor": look["color"]}
    for values, what, marker in zip(both, ("training", evidence.split), (hollow, look), strict=True):
        there = values.notna()
        tips = [
            f"{name}, {what}: {values[name]:.3g} ({x[name]:.0f} parameters)" if is_told else ""
            for name, is_told in zip(own.index[there], told[there], strict=True)
        ]
        sketch.points(axes, x[there], values[there], tips, family, markersize=7, **marker)


# -- parity ----------------------------------------------------------------------------------------------

Quantities = Sequence[tuple[str, str]]


def _with_parity(evidence: Evidence) -> Quantities:
    """Return the quantities, and their labels, that any shown potential has predictions of."""
    kept = [evidence.predictions[name] for name in evidence.shown if name in evidence.predictions]
    pairs = {key: [one[f"test_{key}"] for one in kept] for key, _ in QUANTITIES}
    there = {key for key, found in pairs.items() if any(np.isfinite(one).all(axis=1).any() for one in found)}
    return [(key, label) for key, label in QUANTITIES if key in there]


def _parity(evidence: Evidence, quantities: Quantities) -> list[Part]:
    """Predicted against reference values of the test data, one row per potential, a few in each figure."""
    names = [name for name in evidence.shown if name in evidence.predictions]
    shares = np.array_split(np.array(names, dtype=object), -(-len(names) // ROWS_OF_PARITY))
    return [_parity_of(evidence, quantities, own.tolist(), number) for number, own in enumerate(shares)]


def _parity_of(evidence: Evidence, quantities: Quantities, names: Sequence[str], number: int) -> Plot:
    marked = any(_is_marked(evidence, name) for name in names)
    note = f" {ranking.stress_note(evidence)}" if marked else ""
    caption = (
        "Prediction against reference on the test data; energies relative to the mean reference. The line is "
        f"perfect agreement. At most {MOST_PARITY_POINTS} points per panel are drawn, chosen at random.{note}"
        f"{ranking.on_shift(evidence)}"
    )
    own_name = f"parity-{number + 1}" if number else "parity"
    return Plot(own_name, caption, lambda: _draw_parity(evidence, quantities, names, own_name))


def _is_marked(evidence: Evidence, name: str) -> bool:
    stress = evidence.predictions[name]["test_stress"]
    return name in ranking.without_stress(evidence) and bool(np.isfinite(stress).all(axis=1).any())


def _draw_parity(evidence: Evidence, quantities: Quantities, names: Sequence[str], own_name: str) -> Sketch:
    sketch = new_sketch(own_name, 7.4, 2.3 * len(names) + 0.1)
    grid = sketch.canvas.subplots(len(names), len(quantities), squeeze=False)
    for row, name in zip(grid, names, strict=True):
        color = evidence.color(evidence.ranking.at[name, "family"])
        for axes, (key, label) in zip(row, quantities, strict=True):
            pairs = evidence.predictions[name][f"test_{key}"]
            if not np.isfinite(pairs).all(axis=1).any():  # of what it does not predict
                axes.set_visible(False)
                continue
            _draw_pairs(axes, pairs, color, relative=key == "energy")
            axes.set(xlabel=f"reference {label}", ylabel=f"predicted {label}")
        shown = next((axes for axes in row if axes.get_visible()), row[0])
        shown.set_title(name, loc="left")
        if _is_marked(evidence, name):
            row[-1].set_title(f"{ranking.UNFITTED} not fitted", loc="right")
    return sketch


def _draw_pairs(axes: Axes, pairs: np.ndarray, color: str, relative: bool) -> None:
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if len(pairs) > MOST_PARITY_POINTS:
        chosen = np.random.default_rng(0).choice(len(pairs), MOST_PARITY_POINTS, replace=False)
        pairs = pairs[chosen]
    if len(pairs) == 0:
        return
    if relative:
        pairs = pairs - pairs[:, 0].mean()
    low, high = pairs.min(), pairs.max()
    axes.plot([low, high], [low, high], color=GUIDE, linewidth=1, zorder=1)
    axes.scatter(pairs[:, 0], pairs[:, 1], s=7, color=color, alpha=0.5, linewidths=0, rasterized=True)
    axes.locator_params(nbins=4)


# -- of one potential ------------------------------------------------------------------------------------

# Points of a chart: the largest deviations, and others by chance.
MOST_OPENED = 700
LARGEST = 100


def charts(evidence: Evidence, name: str) -> list[Chart]:
    """Return the parity of a potential, each point with its structure: of the test data, or else held out."""
    for split in (TEST, HELD_OUT):
        kept = evidence.predictions if split == TEST else evidence.curves(HELD_OUT)
        table = of_split(kept.get(name, {}), split)
        found = [_opened(table, key, label, split) for key, label in QUANTITIES if key in table]
        if any(one is not None for one in found):
            return [one for one in found if one is not None]
    return []


def _opened(table: Mapping[str, np.ndarray], key: str, label: str, split: str) -> Chart | None:
    """Return the parity of one quantity; None without finite numbers."""
    pairs = table[key]
    places = np.flatnonzero(np.isfinite(pairs).all(axis=1))
    if not len(places):
        return None
    n_all = len(places)
    if n_all > MOST_OPENED:
        order = places[np.argsort(-np.abs(np.diff(pairs[places], axis=1)[:, 0]), kind="stable")]
        others = np.random.default_rng(0).choice(order[LARGEST:], MOST_OPENED - LARGEST, replace=False)
        places = np.sort(np.concatenate([order[:LARGEST], others]))
    zero = pairs[:, 0][np.isfinite(pairs[:, 0])].mean() if key == "energy" else 0.0
    note = f"{split.capitalize()} data."
    if key == "energy":
        note += " Energies relative to the mean reference."
    if len(places) < n_all:
        note += (
            f" {len(places)} of {n_all} are drawn: the {LARGEST} largest deviations, and others by chance."
        )
    reference, predicted = (pairs[places] - zero).T
    return Chart(
        f"Parity: {label}",
        f"reference {label}",
        f"predicted {label}",
        reference,
        predicted,
        _tips(table, key, places),
        equal=True,
        note=note,
    )


def _tips(table: Mapping[str, np.ndarray], key: str, places: np.ndarray) -> list[str]:
    """Say of each point which structure and group it is of, and of a force which atom and component."""
    numbers, groups = structure_of_each(table, key), table[f"{key}_group"]
    if numbers is None or len(numbers) != len(table[key]):
        return [f"group {groups[place]}" if groups[place] else "" for place in places]
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    within = np.arange(len(numbers)) - first[which]
    components = {"force": "xyz", "stress": ("xx", "yy", "zz", "yz", "xz", "xy")}.get(key)
    found = []
    for place in places:
        said = [f"frame {numbers[place]}"]
        if groups[place]:
            said[0] += f" ({groups[place]})"
        if components is not None:
            atom, component = divmod(int(within[place]), len(components))
            said += [f"atom {atom}"] if key == "force" else []
            said.append(components[component])
        found.append(", ".join(said))
    return found


# -- groups of structures --------------------------------------------------------------------------------


def _groups(evidence: Evidence, frame: pd.DataFrame) -> list[Plot]:
    """Test errors of each group of structures, as bars, where there are several."""
    if frame.index.get_level_values("group").nunique() < 2:
        return []
    caption = f"Test errors of each group of structures.{ranking.on_shift(evidence)}"
    in_groups = list(frame.index.get_level_values("group").unique())
    n_figures = int(np.ceil(BAR * len(evidence.shown) * len(in_groups) / TALLEST))

    def plot(number: int, own: Sequence[str]) -> Plot:
        name = f"groups-{number}" if number > 1 else "groups"
        return Plot(name, caption, lambda: _draw_groups(evidence, frame, own, name))

    shares = np.array_split(np.array(in_groups, dtype=object), n_figures)
    return [plot(number, own.tolist()) for number, own in enumerate(shares, 1) if len(own)]


def _draw_groups(evidence: Evidence, frame: pd.DataFrame, in_groups: Sequence[str], own_name: str) -> Sketch:
    names = evidence.shown
    sketch = new_sketch(own_name, 7.4, 0.9 + max(0.25, BAR * len(names)) * len(in_groups))
    panels = _panels(frame)
    grid = sketch.canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, error in zip(grid, panels, strict=True):
        values = frame[error.metric].unstack("potential").reindex(in_groups)
        _draw_bars(evidence, axes, names, values)
        axes.set(yticks=range(len(in_groups)), yticklabels=in_groups, xlabel=f"test {error.label}")
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
    grid[0].invert_yaxis()
    # As many in a row as the page is wide for.
    columns = max(1, min(len(names), LETTERS_OF_LEGEND // max(map(len, names))))
    sketch.canvas.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=columns)
    return sketch


def _draw_bars(evidence: Evidence, axes: Axes, names: Sequence[str], values: pd.DataFrame) -> None:
    """Draw a bar per group and potential; ``values`` has a column per potential and a row per group."""
    height = 0.8 / len(names)
    families = [evidence.ranking.at[name, "family"] for name in names]
    for index, name in enumerate(names):
        if name not in values:
            continue
        positions = np.arange(len(values)) + height * (index - (len(names) - 1) / 2)
        look: dict[str, Any] = {
            "color": evidence.color(families[index]),
            "edgecolor": "white",
            "linewidth": 0,
        }
        # Potentials of one family have its colour, so those after the first are hatched.
        hatch = HATCHES[families[:index].count(families[index]) % len(HATCHES)]
        axes.barh(positions, values[name], height=0.9 * height, hatch=hatch, label=name, **look)
        for position, value in zip(positions, values[name], strict=True):
            if np.isfinite(value):
                axes.text(value, position, f" {_short(value)}", va="center", fontsize=7)


def _short(value: float) -> str:
    # Forces that vanish by symmetry leave rounding behind.
    return "0" if value < 1e-3 else f"{value:.3g}"
