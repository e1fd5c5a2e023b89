"""Properties of the crystal in the report: beside those of first principles, with deviations in per cent.

Each measurement of a property brings its rows, and its figures, to the one section.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlip_bench.measure import MEASURES, PROPERTIES, first_principles
from mlip_bench.measure.base import Found, Measure, Metric
from mlip_bench.results import BY_GROUP
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.looks import GREY
from mlip_bench.section.parts import MISSING, Part, Plot, Section, Table, Term
from mlip_bench.section.terms import of_values

# What the reference from first principles is called.
REFERENCE = "DFT"
NO_REFERENCE = "no reference"

# Deviations (%) above which a cell is shaded, lightly, more, and most.
SHADES = (2.0, 5.0, 10.0)

# What tells several potentials of one family apart.
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))


@dataclass(frozen=True)
class Property:
    """One row of the table."""

    measure: str
    metric: str
    group: str | None

    @property
    def declared(self) -> Metric:
        """What its measure says of the number."""
        return MEASURES[self.measure].metrics[self.metric]

    @property
    def label(self) -> str:
        """Description, group and unit."""
        group = f", {self.group}" if self.group else ""
        unit = "" if self.declared.unit == "1" else f" ({self.declared.unit})"
        return f"{self.declared.description}{group}{unit}"


def sections(
    evidence: Evidence, measure: Measure, plots: Sequence[Plot] = (), *, place: int
) -> list[Section]:
    """Return what a measurement brings to the section of properties: its rows, and its figures below."""
    frame = measured(evidence, measure)
    if frame.empty:
        return []
    parts: list[Part] = [table(evidence, measure.name, frame), *plots]
    return [Section("Properties of the crystal", parts, place=place)]


def measured(evidence: Evidence, measure: Measure) -> pd.DataFrame:
    """Return a row per metric and group, a column per potential with any property, as both are ordered."""
    plain = evidence.rows["measure"].str.removesuffix(BY_GROUP)
    names = evidence.ranked(evidence.rows.loc[plain.isin(PROPERTIES), "potential"])
    rows = evidence.rows[plain == measure.name]
    rows = rows.assign(group=rows["group"].fillna(""))
    cells = rows.groupby(["metric", "group", "potential"], sort=False)["value"]
    # Of a potential of several seeds one fit without the number, as it did not hold, leaves it without: the
    # mean of the others would flatter it.
    n_fits = {name: len(evidence.fits.get(name, (name,))) for name in names}
    wide = cells.mean().unstack("potential")
    wide = wide.where(cells.size().unstack("potential") >= wide.columns.map(n_fits))
    places = list(measure.metrics)
    order = [(places.index(metric), group) for metric, group in wide.index]
    return wide.reindex(columns=names).iloc[sorted(range(len(order)), key=order.__getitem__)]


def table(evidence: Evidence, measure: str, frame: pd.DataFrame) -> Table:
    """The numbers of a measurement: of first principles, then of each potential with its deviation."""
    reference = reference_of(evidence)
    rows, shades = [], {}
    for index, (metric, group) in enumerate(frame.index):
        which = Property(measure, metric, group or None)
        found = None if reference is None else reference.properties.get(measure)
        expected = _expected(found, which)
        cells = [which.label, _reference_cell(which, expected, reference is not None)]
        for column in range(len(frame.columns)):
            value = frame.iloc[index, column]
            cells.append(_cell(value, expected, which))
            shades[index, column + 2] = shade(deviation(value, expected, which))
        rows.append(cells)
    note = (
        "Each crystal was relaxed first, with the potential itself. In brackets: deviation from DFT in per "
        f"cent, shaded above 2, 5 and 10 %. {MISSING}: not measured, or it does not hold: see the failures. "
        f"{_provenance(reference)}"
    )
    headings = ["", REFERENCE, *map(str, frame.columns)]
    widths = (4, *[2] * (len(headings) - 1))
    return Table(headings, rows, note=note, shades=shades, name="properties", widths=widths)


# Deviations (%) below this are within what first principles differ by among themselves.
FLOOR = 1.0


def term(evidence: Evidence, measure: Measure, quantity: str) -> Term:
    """Return the mean deviation (%) from first principles of all that is compared of a measurement.

    A potential without one of these numbers has none: the mean of the others would flatter it.
    """
    frame, reference = measured(evidence, measure), reference_of(evidence)
    found = None if reference is None else reference.properties.get(measure.name)
    off = pd.DataFrame(
        {
            str(name): [
                deviation(value, _expected(found, which), which)
                for value, which in zip(frame[name], _properties(measure.name, frame), strict=True)
            ]
            for name in frame
        },
        dtype=float,
    )
    compared = off.dropna(how="all")
    values = compared.abs().mean(skipna=False) if len(compared) else pd.Series(dtype=float)
    label = f"mean deviation of {quantity} from {REFERENCE} (%)"
    return of_values(values, f"{measure.name}_deviation", quantity, label, floor=FLOOR)


def _properties(measure: str, frame: pd.DataFrame) -> list[Property]:
    """Return what the rows of :func:`measured` are of."""
    return [Property(measure, metric, group or None) for metric, group in frame.index]


def reference_of(evidence: Evidence) -> first_principles.Reference | None:
    """Return the reference of the crystal that the run measured."""
    dataset = evidence.run["dataset"]
    return first_principles.shipped(dataset["system"]) if dataset.get("reference") else None


def _provenance(reference: first_principles.Reference | None) -> str:
    """Say where the reference comes from, or that there is none."""
    if reference is None:
        return f"There is {NO_REFERENCE} for this crystal."
    return f"DFT: {reference.level_of_theory}; computed by the same measurements, see datasets/references."


def with_reference(evidence: Evidence, measure: str) -> dict[str, Mapping[str, np.ndarray]]:
    """Return the curves of a measurement: those of the reference, if there is one, and of each potential."""
    reference = reference_of(evidence)
    found = None if reference is None else reference.properties.get(measure)
    return {**({} if found is None else {REFERENCE: found.curves}), **evidence.curves(measure)}


def on_grey(curves: Mapping[str, Any]) -> str:
    """Say what is drawn in grey."""
    return f"Grey: {REFERENCE}." if REFERENCE in curves else "There is no reference for this crystal."


def line(evidence: Evidence, name: str) -> dict[str, Any]:
    """Return the line of a potential: its family's colour, with a dash of its own among several."""
    if name == REFERENCE:
        return {"color": GREY, "linewidth": 2.5}
    families = evidence.ranking["family"]
    place = list(families.index[families == families[name]]).index(name)
    color = evidence.color(families[name])
    return {"color": color, "linewidth": 1.1, "linestyle": DASHES[place % len(DASHES)]}


def beside_reference(measure: str, found: Found, expected: Found | None) -> Iterable[tuple[str, ...]]:
    """Return a row per number: what it is, the potential's, the reference's, and the deviation."""
    for value in found.values:
        which = Property(measure, value.metric, value.group)
        reference = _expected(expected, which)
        off = deviation(value.value, reference, which)
        spread = "" if value.spread is None else f" ± {_number(value.spread)}"
        yield (
            which.label,
            _number(value.value) + spread,
            _reference_cell(which, reference, expected is not None),
            MISSING if off is None else f"{off:+.1f} %",
        )


def deviation(value: float, expected: float | None, which: Property) -> float | None:
    """Return the deviation in per cent, or None where there is nothing to compare."""
    if expected is None or pd.isna(value) or not which.declared.compared:
        return None
    if abs(expected) <= which.declared.near_zero:
        return None
    return 100 * (value - expected) / abs(expected)


def shade(deviation: float | None) -> int:
    """Return how much a cell is shaded: 0 for not at all, up to ``len(SHADES)``."""
    return 0 if deviation is None else sum(abs(deviation) > limit for limit in SHADES)


def _expected(found: Found | None, which: Property) -> float | None:
    if found is None:
        return None
    try:
        return found.value(which.metric, which.group)
    except KeyError:
        return None


def _reference_cell(which: Property, expected: float | None, any_reference: bool) -> str:
    if expected is not None:
        return _number(expected)
    return MISSING if any_reference and not which.declared.compared else NO_REFERENCE


def _cell(value: float, expected: float | None, which: Property) -> str:
    off = deviation(value, expected, which)
    return _number(value) if off is None else f"{_number(value)} ({off:+.1f})"


def _number(value: float) -> str:
    if pd.isna(value):
        return MISSING
    if float(value).is_integer():
        return f"{value:.0f}"
    if abs(value) < 1e-3:
        return f"{value:.0e}"
    # Lattice constants agree to more digits than anything else.
    return f"{value:.4f}" if 1 <= abs(value) < 10 else f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
