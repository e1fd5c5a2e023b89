"""Which potentials the structures tell apart by their forces: a place, or a range of places, for each.

Two potentials are compared on the structures that both were predicted on: what is hard for one is hard for
the other, so their ratio is surer than either error. Each pair is told apart at 5 %, so of many pairs that
are equal one in twenty is told apart by chance.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations

import numpy as np
import pandas as pd

from mlip_bench.measure.errors import intervals
from mlip_bench.measure.errors.intervals import CONFIDENCE, Ratio, Scatter
from mlip_bench.measure.errors.sums import Sums, of_split

QUANTITY = "force"

# So many of the best are compared with each other: pairs of more would take minutes.
MOST_COMPARED = 100

Kept = Mapping[str, Sequence[Mapping[str, np.ndarray]]]
"""The arrays that were kept of each fit of a potential, one per seed, by its name."""


def between(one: Sequence[Sums], other: Sequence[Sums]) -> tuple[Ratio, Scatter]:
    """Return the ratio of two mean squares over the structures that all fits have, and the scatter of fits.

    Squares are means over the fits of a potential. Their scatter is that of the logarithms of their totals:
    of one fit alone nobody knows it, and there is none.
    """
    both = reduce(np.intersect1d, [sums.numbers for sums in (*one, *other)])
    sides = [[sums.among(both) for sums in fits] for fits in (one, other)]
    first, second = (np.mean([sums.squares for sums in side], axis=0) for side in sides)
    scatter = [Scatter.of([float(sums.squares.sum()) for sums in side]) for side in sides]
    return Ratio.of(first, second, sides[0][0].groups), scatter[0] + scatter[1]


def standing(kept: Kept, names: Sequence[str], split: str) -> pd.DataFrame:
    """Return one row per potential of ``names``, which begin with the least RMSE of the force.

    ``place`` says its place, or the range of those that it may have: ``1 to 3``. Of more than
    ``MOST_COMPARED`` potentials those with the least errors have places, and a range may end with ``or
    later``: nobody looked at whether others can be told from them. Beside the first of all:
    ``over_best``, the factor on its RMSE, with ``over_best_low`` and ``over_best_high``, the probability
    ``p`` of one as far from 1 by chance, and ``needed``, the structures more that would tell both apart.
    Nothing where predictions of one were not kept by structure: its place would be anybody's.
    """
    sums = {name: found for name in names if (found := sums_of(kept, name, split))}
    if len(sums) < len(names):
        return pd.DataFrame()
    best, *others = sums or [""]
    beside_best = {name: _beside_best(*between(sums[name], sums[best])) for name in others}
    places = _places({name: sums[name] for name in list(sums)[:MOST_COMPARED]}, len(sums))
    frame = pd.DataFrame.from_dict(beside_best, orient="index").reindex(index=list(sums), columns=COLUMNS)
    return frame.assign(place=pd.Series(places, dtype=object))


def _places(sums: Mapping[str, Sequence[Sums]], n_potentials: int) -> dict[str, str]:
    """Return the place of each of the best of so many potentials, or the range of those that it may have."""
    better = dict.fromkeys(sums, 0)
    worse = dict.fromkeys(sums, 0)
    for first, second in combinations(sums, 2):
        ratio, scatter = between(sums[second], sums[first])
        if intervals.p_value(ratio, scatter) <= 1 - CONFIDENCE:
            low, high = (first, second) if ratio.log > 0 else (second, first)
            worse[low] += 1
            better[high] += 1
    n_others = n_potentials - len(sums)
    return {name: _range(1 + better[name], len(sums) - worse[name], len(sums), n_others) for name in sums}


COLUMNS = ["over_best", "over_best_low", "over_best_high", "p", "needed"]


def sums_of(kept: Kept, name: str, split: str) -> list[Sums]:
    """Return the sums of forces of each fit; none where those of one were not kept by structure."""
    tables = [of_split(arrays, split) for arrays in kept.get(name, ())]
    found = [Sums.of(table, QUANTITY) if QUANTITY in table else None for table in tables]
    known = [sums for sums in found if sums is not None and len(sums)]
    return known if len(known) == len(found) else []


def _beside_best(ratio: Ratio, scatter: Scatter) -> dict[str, float]:
    """Return what is said of an RMSE beside the best; squares are in the ratio, so half its logarithm.

    Where one structure has most of an error, more structures of the same scatter would seem to be enough
    already: then nobody knows how many are ``needed``.
    """
    p = intervals.p_value(ratio, scatter)
    ends = intervals.interval(ratio, scatter.error, scatter.n_free) or (np.nan, np.nan)
    low, high = (float(np.exp(0.5 * end)) for end in ends)
    return {
        "over_best": float(np.exp(0.5 * ratio.log)),
        "over_best_low": low,
        "over_best_high": high,
        "p": p,
        "needed": 0.0 if p <= 1 - CONFIDENCE else intervals.still_needed(ratio, scatter) or np.nan,
    }


def _range(first: int, last: int, n_compared: int, n_others: int) -> str:
    if last == n_compared and n_others:
        return f"{first} or later"
    return str(first) if first == last else f"{first} to {last}"
