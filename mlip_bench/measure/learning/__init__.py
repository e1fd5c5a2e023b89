r"""Learning curves: the error on one test set against the number of training structures.

Fits to nested subsets of the training data (:func:`mlip_bench.data.splits.subset`) are tasks as all others;
here is the law through their errors,

.. math:: E(N) = a N^{-b},

or :math:`a N^{-b} + c` where the points say that it levels off, with intervals and what it gives for twice
the data: see :mod:`mlip_bench.measure.learning.law`. Nothing is chosen by it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mlip_bench.measure.base import Curves, Found, Metric, Reported, Value, beside
from mlip_bench.measure.errors.sums import Sums, of_split
from mlip_bench.measure.learning.law import Estimate, Series
from mlip_bench.results import TEST

REVISION = 2
"""Raised whenever what is fitted changes."""
PACKAGES: tuple[str, ...] = ("numpy", "scipy")
"""Distributions whose version decides the values."""

# A law with two constants goes through any two points.
FEWEST_POINTS = 3

# "Twice the data".
TIMES = 2

UNITS = {"energy": "meV/atom", "force": "meV/Å", "stress": "GPa"}
STATISTICS = {"rmse": ("squares", 0.5), "mae": ("absolutes", 1.0)}
ERRORS = {f"{quantity}_{how}": quantity for quantity in UNITS for how in STATISTICS}

METRICS = {
    f"{error}_{what}": Metric(unit or UNITS[quantity], f"{meaning} of {error}", lower_is_better)
    for error, quantity in ERRORS.items()
    for what, unit, meaning, lower_is_better in (
        ("exponent", "1", "b of the law a N^-b", False),
        ("factor", "", "a of the law, the error at one structure", None),
        ("offset", "", "c of the law, where the points have one", True),
        ("at_twice", "", "error that the law gives for twice the data", True),
        ("twice_over_all", "1", "factor on the error, by the law, that twice the data brings", True),
    )
}


@dataclass(frozen=True)
class Point:
    """A fit to so many structures, and what each test structure adds to its errors."""

    n_train: int
    sums: dict[str, Sums]

    @classmethod
    def read(cls, n_train: int, predictions: Path) -> Self:
        """Return the point of a fit whose predictions are in a file."""
        with np.load(predictions) as file:
            table = of_split(dict(file), TEST)
        found = {quantity: Sums.of(table, quantity) for quantity in UNITS}
        return cls(n_train, {quantity: sums for quantity, sums in found.items() if sums is not None})


def is_enough(numbers: Iterable[int]) -> bool:
    """Tell whether fits to these numbers of structures say how the error falls."""
    return len(set(numbers)) >= FEWEST_POINTS


def fitted(points: Sequence[Point], n_whole: int) -> Found:
    """Return the laws through the errors of fits, and what they were fitted to; ``n_whole`` is all the data.

    Where no law goes through an error, there are no values of it.
    """
    curves: Curves = {"n_train": np.array([point.n_train for point in points])}
    for quantity in UNITS:
        curves |= _common(points, quantity)
    values: list[Value] = []
    for error in ERRORS:
        series = series_of(curves, error)
        if series is not None:
            values += _values(series, error, n_whole)
    return Found(values, curves)


def _common(points: Sequence[Point], quantity: str) -> Curves:
    """Return the sums of the structures that every fit predicted, a row per fit."""
    every = [point.sums[quantity] for point in points if quantity in point.sums]
    if len(every) < len(points):
        return {}
    numbers = every[0].numbers
    for one in every[1:]:
        numbers = np.intersect1d(numbers, one.numbers)
    if not len(numbers):
        return {}
    kept = [one.among(numbers) for one in every]
    return {
        f"{quantity}_numbers": numbers,
        f"{quantity}_groups": kept[0].groups,
        f"{quantity}_counts": kept[0].counts,
        f"{quantity}_squares": np.stack([one.squares for one in kept]),
        f"{quantity}_absolutes": np.stack([one.absolutes for one in kept]),
    }


def series_of(curves: Curves, error: str) -> Series | None:
    """Return the errors over the number of structures; None where there are none, or one vanishes."""
    quantity, how = ERRORS[error], error.rsplit("_", 1)[1]
    what, power = STATISTICS[how]
    sums = curves.get(f"{quantity}_{what}")
    if sums is None or not (sums.sum(axis=1) > 0).all():
        return None
    return Series(
        n_train=curves["n_train"],
        numbers=curves[f"{quantity}_numbers"],
        groups=curves[f"{quantity}_groups"],
        counts=curves[f"{quantity}_counts"],
        sums=sums,
        power=power,
    )


def _values(series: Series, error: str, n_whole: int) -> list[Value]:
    """Return the constants of the law through an error, and what it gives for twice the data."""
    law = series.law
    values = [
        _value(f"{error}_exponent", law.exponent, series),
        _exponential(f"{error}_factor", law.log_factor, series),
        _exponential(f"{error}_at_twice", law.log_at(TIMES * n_whole), series),
        _exponential(f"{error}_twice_over_all", law.log_of_more(n_whole, TIMES), series),
    ]
    if law.log_offset is not None:
        values.append(_exponential(f"{error}_offset", law.log_offset, series))
    return values


def _value(metric: str, estimate: Estimate, series: Series) -> Value:
    low, high = series.interval(estimate) or (None, None)
    return Value(metric, estimate.value, split=TEST, low=low, high=high)


def _exponential(metric: str, estimate: Estimate, series: Series) -> Value:
    """Return a number whose logarithm was estimated."""
    ends = series.interval(estimate)
    low, high = (None, None) if ends is None else map(float, np.exp(ends))
    return Value(metric, float(np.exp(estimate.value)), split=TEST, low=low, high=high)


REPORTED = Reported("learning", METRICS, sections=beside(__name__), charts=beside(__name__, "charts"))
