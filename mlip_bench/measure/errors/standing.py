"""Which potentials the structures tell apart by their forces: a place, or a range of places, for each.

Two potentials are compared on the structures that both were predicted on: what is hard for one is hard for
the other, so their ratio is surer than either error. Each pair is told apart at 5 %, so of many pairs that
are equal one in twenty is told apart by chance.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from mlip_bench.measure.errors import intervals
from mlip_bench.measure.errors.intervals import CONFIDENCE, Ratio
from mlip_bench.measure.errors.sums import Sums, of_split

QUANTITY = "force"

Kept = Mapping[str, Mapping[str, np.ndarray]]
"""The arrays that were kept of each potential, by its name."""


def between(one: Sums, other: Sums) -> Ratio:
    """Return the ratio of two mean squares over the structures that both have."""
    both = np.intersect1d(one.numbers, other.numbers)
    first, second = one.among(both), other.among(both)
    return Ratio.of(first.squares, second.squares, first.groups)


def standing(kept: Kept, names: Sequence[str], split: str) -> pd.DataFrame:
    """Return one row per potential of ``names``, which begin with the least RMSE of the force.

    ``place`` says its place, or the range of those that it may have: ``1 to 3``. Beside the first of them:
    ``over_best``, the factor on its RMSE, with ``over_best_low`` and ``over_best_high``, the probability
    ``p`` of one as far from 1 by chance, and ``needed``, the structures more that would tell both apart.
    Nothing where predictions of one were not kept by structure: its place would be anybody's.
    """
    sums = {name: found for name in names if (found := sums_of(kept, name, split)) is not None}
    if len(sums) < len(names):
        return pd.DataFrame()
    better = dict.fromkeys(sums, 0)
    worse = dict.fromkeys(sums, 0)
    beside_best: dict[str, dict[str, float]] = {}
    best = next(iter(sums), None)
    for first, second in combinations(sums, 2):
        ratio = between(sums[second], sums[first])
        p = intervals.p_value(ratio)
        if p <= 1 - CONFIDENCE:
            low, high = (first, second) if ratio.log > 0 else (second, first)
            worse[low] += 1
            better[high] += 1
        if first == best:
            beside_best[second] = _beside_best(ratio, p)
    places = {name: _range(1 + better[name], len(sums) - worse[name]) for name in sums}
    frame = pd.DataFrame.from_dict(beside_best, orient="index").reindex(index=list(sums), columns=COLUMNS)
    return frame.assign(place=pd.Series(places, dtype=object))


COLUMNS = ["over_best", "over_best_low", "over_best_high", "p", "needed"]


def sums_of(kept: Kept, name: str, split: str) -> Sums | None:
    """Return the sums of forces of a potential on a split; None where they were not kept by structure."""
    table = of_split(kept.get(name, {}), split)
    found = Sums.of(table, QUANTITY) if QUANTITY in table else None
    return found if found is not None and len(found) else None


def _beside_best(ratio: Ratio, p: float) -> dict[str, float]:
    """Return what is said of an RMSE beside the best; squares are in the ratio, so half its logarithm."""
    ends = intervals.interval(ratio) or (np.nan, np.nan)
    low, high = (float(np.exp(0.5 * end)) for end in ends)
    return {
        "over_best": float(np.exp(0.5 * ratio.log)),
        "over_best_low": low,
        "over_best_high": high,
        "p": p,
        "needed": 0.0 if p <= 1 - CONFIDENCE else intervals.still_needed(ratio),
    }


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
