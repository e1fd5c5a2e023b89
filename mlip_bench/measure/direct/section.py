"""Direct against conservative forces in the report: one table, what it says in words, and its ratios.

A family with direct forces stands beside the conservative one that it names as its counterpart, where a run
has one potential of each. The ratios of the two SevenNets stand beside those of the slide that introduced
SevenNet-dFS: for Li6PS5Cl with 416 atoms, training 480 s against 302 s, inference 26.51 s against 130.15 s,
dynamics 2.96 s against 755.63 s.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlip_bench.measure import drift
from mlip_bench.measure.direct import MEASURE
from mlip_bench.measure.errors import ranking
from mlip_bench.potentials import family, family_names
from mlip_bench.results import TEST
from mlip_bench.section.drawing import Sketch, new_sketch, plain_numbers
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.looks import GUIDE, INK
from mlip_bench.section.parts import MISSING, Part, Plot, Section, Sentences, Table
from mlip_bench.section.tables import several

# The families of the slide: conservative, direct.
ON_SLIDE = ("sevennet", "sevennet-dfs")
SLIDE = {"fit_s": 302 / 480, "md_s_per_step": 755.63 / 2.96}
# The slide's cell has 416 atoms, as ours that comes first.
SLIDE_SINGLE_POINT = 130.15 / 26.51

# A ratio within this share of the slide's is called reproduced.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Quantity:
    """One row: its key among the rows of the run, how it is written, and whether its ratio means anything."""

    heading: str
    key: str
    spec: str
    factor: float = 1.0
    ratio: bool = False


ERRORS = (
    Quantity("test energy RMSE (meV/atom)", "energy_rmse", ".2f"),
    Quantity("test force RMSE (meV/Å)", "force_rmse", ".1f"),
    Quantity("test stress RMSE (GPa)", "stress_rmse", ".2f"),
    Quantity("training (s)", "fit_s", ".0f", ratio=True),
)
MEASURED = (
    Quantity("single point (ms)", "single_point_s", ".3g", 1e3, ratio=True),
    Quantity("MD step (ms)", "md_s_per_step", ".3g", 1e3, ratio=True),
    Quantity("memory of a single point (MiB)", "single_point_mib", ".0f", ratio=True),
    Quantity("curl of the forces, ‖J - Jᵀ‖ / ‖J‖", "curl", ".1e"),
    Quantity("net force per atom (meV/Å)", "net_force", ".1e"),
    Quantity("net torque on a cluster, per atom (meV)", "net_torque", ".1e"),
    Quantity("drift of the energy in NVE (meV/atom/ps)", "energy_drift", "+.1e"),
    Quantity("drift of the kinetic energy (meV/atom/ps)", "kinetic_drift", "+.1e"),
    Quantity("temperature at the end of NVE (K)", "nve_temperature", ".0f"),
)


@dataclass(frozen=True)
class Ratio:
    """Time or memory of the conservative over that of the direct network, and what the slide has."""

    label: str
    value: float
    slide: float | None = None


@dataclass(frozen=True)
class Pair:
    """Names of a conservative potential and of one with direct forces, and whether they are the slide's."""

    conservative: str
    direct: str
    on_slide: bool


def cautions(evidence: Evidence, potential: str) -> list[str]:
    """Say that the energy of a potential drifts."""
    rows = evidence.of(MEASURE.name)
    return drift.cautions(rows[rows["potential"] == potential])


def sections(evidence: Evidence) -> list[Section]:
    """Return the section, where the measure was taken of any potential."""
    if measured(evidence).empty:
        return []
    parts: list[Part] = [comparison(evidence)]
    if said := findings(evidence):
        parts.insert(0, Sentences(said))
    drawn = [pair for pair in pairs(evidence) if ratios(evidence, pair)]
    parts = [*(_plot(evidence, pair, index) for index, pair in enumerate(drawn)), *parts]
    return [Section("Direct against conservative forces", parts, place=70)]


def _plot(evidence: Evidence, pair: Pair, index: int) -> Plot:
    where = ": here (filled), on the slide (hollow)." if pair.on_slide else "."
    caption = f"Time and memory of {pair.conservative} over those of {pair.direct}{where}"
    name = f"direct-{index + 1}" if index else "direct"
    return Plot(name, caption, lambda: _draw(evidence, pair, name))


def measured(evidence: Evidence) -> pd.DataFrame:
    """Return a row per metric and number of atoms, and a column per potential in the order of the ranking."""
    rows = evidence.of(MEASURE.name)
    wide = rows.pivot_table(index=["metric", "n_atoms"], columns="potential", values="value", sort=False)
    return wide[evidence.ranked(wide.columns)]


def pairs(evidence: Evidence) -> list[Pair]:
    """Return the potentials that are set against each other: at most one pair of each two families.

    Of several pairs of the same families it is the one that is called by them, or none.
    """
    known = set(family_names())
    families = evidence.ranking["family"].loc[measured(evidence).columns]
    kinds = {str(name): family(of) for name, of in families.items() if of in known}
    found = [
        Pair(conservative, direct, (families[conservative], families[direct]) == ON_SLIDE)
        for direct, kind in kinds.items()
        for conservative, base in kinds.items()
        if not kind.conservative and kind.counterpart == base.family
    ]
    chosen = []
    for of_direct in dict.fromkeys(families[pair.direct] for pair in found):
        own = [pair for pair in found if families[pair.direct] == of_direct]
        by_family = [pair for pair in own if all(families[n] == n for n in (pair.conservative, pair.direct))]
        chosen += (by_family or own) if len(by_family or own) == 1 else []
    return chosen


def comparison(evidence: Evidence) -> Table:
    """All numbers of the measure with errors and training times, one column per potential."""
    names = list(map(str, measured(evidence).columns))
    compared, unfitted = pairs(evidence), ranking.without_stress(evidence)
    rows, marked = [], False
    for quantity, label, values in _rows(evidence):
        cells = [label]
        for name in names:
            is_marked = quantity.key == "stress_rmse" and name in unfitted and pd.notna(values[name])
            marked |= is_marked
            cells.append(_cell(values[name], quantity) + (ranking.UNFITTED if is_marked else ""))
        for pair in compared:
            ratio = values[pair.conservative] / values[pair.direct] if quantity.ratio else float("nan")
            cells.append("" if pd.isna(ratio) else f"{ratio:.2f}")
        rows.append(cells)
    heading = ["", *names, *(f"{pair.conservative} / {pair.direct}" for pair in compared)]
    note = _note(evidence, marked)
    return Table(heading, rows, note=note, name="direct", widths=(3, *[1] * (len(heading) - 1)))


def _cell(value: float, quantity: Quantity) -> str:
    return MISSING if pd.isna(value) else format(value * quantity.factor, quantity.spec)


def _note(evidence: Evidence, marked: bool) -> str:
    note = (
        "Times on one core, except training. J: derivatives of the forces by the positions, 0 curl for a "
        "gradient."
    )
    kinds = {name: family(name) for name in evidence.ranking["family"].unique() if name in family_names()}
    balanced = [name for name, kind in kinds.items() if hasattr(kind.Hypers, "remove_net_force")]
    if balanced:
        note += f" The net force is taken off by {several(balanced)} itself unless remove_net_force is off."
    return f"{note} {ranking.stress_note(evidence)}" if marked else note


def ratios(evidence: Evidence, pair: Pair) -> list[Ratio]:
    """The ratios of the conservative to the direct potential."""
    found: list[Ratio] = []
    slide = {**SLIDE, "single_point_s": SLIDE_SINGLE_POINT} if pair.on_slide else {}
    for quantity, label, values in _rows(evidence):
        value = values[pair.conservative] / values[pair.direct]
        if quantity.ratio and pd.notna(value):
            of_slide = slide.get(quantity.key)
            if quantity.key == "single_point_s":
                slide.pop(quantity.key, None)
            found.append(Ratio(label.rsplit(" (", 1)[0], float(value), of_slide))
    return found


def findings(evidence: Evidence) -> list[str]:
    """Say of each ratio of the slide whether this run has it too."""
    sentences = []
    both = [(pair, ratio) for pair in pairs(evidence) for ratio in ratios(evidence, pair)]
    for pair, ratio in both:
        if ratio.slide is None:
            continue
        verdict = "reproduced" if abs(ratio.value / ratio.slide - 1) <= TOLERANCE else "not reproduced"
        sentences.append(
            f"{ratio.label}: {pair.conservative} takes {ratio.value:.2f} times as long as {pair.direct}; "
            f"on the slide {ratio.slide:.2f} times: {verdict}."
        )
    if sentences:
        sentences.append(
            "A step of dynamics is a single point with a kept neighbour list, so leaving out the gradient "
            "gains there about what it gains in a single point; what else made 255 the slide does not say."
        )
    return sentences


def _rows(evidence: Evidence) -> list[tuple[Quantity, str, pd.Series]]:
    """Return quantity, label and the values of all potentials for each row."""
    wide = measured(evidence)
    found = []
    for quantity in ERRORS:
        # Where held-out errors decide, those on the test data stand beside them.
        key = f"{quantity.key}_{TEST}" if evidence.split != TEST else quantity.key
        if key in evidence.ranking:
            values = evidence.ranking[key].reindex(wide.columns)
            if values.notna().any():
                found.append((quantity, quantity.heading, values))
    for quantity in MEASURED:
        for key, n_atoms in wide.index:
            if key == quantity.key:
                name, _, unit = quantity.heading.partition(" (")
                label = f"{name}, {n_atoms:.0f} atoms" + (f" ({unit}" if unit else "")
                found.append((quantity, label, wide.loc[(key, n_atoms)]))
    return found


def _draw(evidence: Evidence, pair: Pair, name: str) -> Sketch:
    """Draw time and memory of the conservative potential over those of the direct one, and the slide's."""
    drawn = ratios(evidence, pair)
    sketch = new_sketch(name, 7.4, 0.9 + 0.32 * len(drawn))
    axes = sketch.canvas.subplots()
    places = range(len(drawn))
    look = evidence.style(evidence.ranking.at[pair.direct, "family"])
    for place, ratio in zip(places, drawn, strict=True):
        axes.plot([1, ratio.value], [place, place], color=GUIDE, linewidth=1.5, zorder=1)
        tip = f"{ratio.label}: {ratio.value:.2f} here"
        sketch.point(axes, ratio.value, place, tip, markersize=9, zorder=3, **look)
        if ratio.slide is not None:
            hollow = {"marker": "o", "markerfacecolor": "white", "markeredgecolor": INK}
            sketch.point(axes, ratio.slide, place, f"{ratio.label}: {ratio.slide:.2f} on the slide", **hollow)
    axes.axvline(1, color=INK, linewidth=1)
    axes.set(yticks=places, yticklabels=[ratio.label for ratio in drawn])
    axes.set_xlabel(f"{pair.conservative} over {pair.direct} (above 1: direct forces are cheaper)")
    axes.set_xscale("log")
    values = [1.0, *(r.value for r in drawn), *(r.slide for r in drawn if r.slide is not None)]
    axes.set_xlim(min(values) / 1.6, max(values) * 1.6)
    plain_numbers(axes.xaxis, np.log10(max(values) / min(values)))
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    return sketch
