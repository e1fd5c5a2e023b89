"""Properties of the crystal in the report: beside those of first principles, with deviations in per cent."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from mlip_bench.measure import MEASURES
from mlip_bench.measure.base import Found
from mlip_bench.report.content import REFERENCE, Content
from mlip_bench.report.tables import Table

NO_REFERENCE = "no reference"
MISSING = "–"

# Deviations (%) above which a cell is shaded, lightly, more, and most.
SHADES = (2.0, 5.0, 10.0)

# What says something of the calculation rather than of the crystal, or is a deviation already.
NOT_COMPARED = {
    "volume_change",
    "frequency_rms_deviation",
    "frequency_max_deviation",
    "free_energy",
    "free_energy_deviation",
    "lowest_frequency",
    "imaginary_share",
    "force_constant_asymmetry",
    "n_displacements",
}


# Values so small that a share of them says nothing: structures whose energies are all but the same.
NEAR_ZERO = {"structure_energy": 10.0}


@dataclass(frozen=True)
class Property:
    """One row of the table."""

    measure: str
    metric: str
    group: str | None

    @property
    def label(self) -> str:
        """Description, group and unit."""
        metric = MEASURES[self.measure].metrics[self.metric]
        group = f", {self.group}" if self.group else ""
        unit = "" if metric.unit == "1" else f" ({metric.unit})"
        return f"{metric.description}{group}{unit}"


def table(content: Content) -> Table:
    """All properties: a column of first principles, then one per potential with its deviation in per cent."""
    frame = content.properties
    rows, shades = [], {}
    for index, (measure, metric, group) in enumerate(frame.index):
        which = Property(measure, metric, group or None)
        expected = _expected(content.reference.get(measure), which)
        cells = [which.label, _reference_cell(which, expected, bool(content.reference))]
        for column in range(len(frame.columns)):
            value = frame.iloc[index, column]
            cells.append(_cell(value, expected, which))
            shades[index, column + 2] = shade(deviation(value, expected, which))
        rows.append(cells)
    note = (
        "Each crystal was relaxed first, with the potential itself. In brackets: deviation from DFT in per "
        f"cent, shaded above 2, 5 and 10 %. {MISSING}: not measured, or it does not hold: see the failures. "
    )
    return Table(
        ["", REFERENCE, *map(str, frame.columns)], rows, note=note + provenance(content), shades=shades
    )


def provenance(content: Content) -> str:
    """Say where the reference comes from, or that there is none."""
    if not content.reference:
        return f"There is {NO_REFERENCE} for this crystal."
    return f"DFT: {content.reference_level}; computed by the same measurements, see datasets/references."


def beside_reference(measure: str, found: Found, expected: Found | None) -> Iterable[tuple[str, ...]]:
    """Return a row per number: what it is, the potential's, the reference's, and the deviation."""
    for value in found.values:
        which = Property(measure, value.metric, value.group)
        reference = _expected(expected, which)
        off = deviation(value.value, reference, which)
        yield (
            which.label,
            _number(value.value),
            _reference_cell(which, reference, expected is not None),
            MISSING if off is None else f"{off:+.1f} %",
        )


def deviation(value: float, expected: float | None, which: Property) -> float | None:
    """Return the deviation in per cent, or None where there is nothing to compare."""
    if expected is None or pd.isna(value) or which.metric in NOT_COMPARED:
        return None
    if abs(expected) <= NEAR_ZERO.get(which.metric, 0.0):
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
    return MISSING if which.metric in NOT_COMPARED and any_reference else NO_REFERENCE


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
