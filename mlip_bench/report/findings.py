"""What the numbers decide, in words: the first lines of a report."""

from collections.abc import Iterable

import pandas as pd

from mlip_bench.report import cautions, fronts
from mlip_bench.results import HELD_OUT, TEST
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Axis
from mlip_bench.section.tables import about, several


def of(evidence: Evidence, first_by_verdict: str | None) -> list[str]:
    """Say which potential is best, which to take, which is cheapest, and which are on the front.

    What speaks against the one that a verdict puts first is said, too.
    """
    first, price = evidence.errors[0], evidence.costs[0]
    known = evidence.ranking.dropna(subset=[first.metric])
    if known.empty:
        return ["No potential was measured."]
    best = known.iloc[0]
    sentences = [_on_best(evidence, best), *_on_equals(evidence, known)]
    choice = fronts.recommended(known)
    if choice is not None and choice != best.name:
        chosen = known.loc[choice]
        errors = " and ".join(_said(evidence.errors, chosen))
        sentences.append(
            f"Cheapest within {100 * fronts.WITHIN:.0f} % of the best {first.quantity} error: {choice}, "
            f"{errors} at {price.say(chosen)}{_on_test(evidence, chosen)}."
        )
    for name in dict.fromkeys(filter(None, [first_by_verdict, choice])):
        if against := cautions.of(evidence, name):
            sentences.append(f"Caution with {name}: {'; '.join(against)}.")
    front = known[known["on_front"]].sort_values(price.metric)
    if len(front) > 1 and pd.notna(best[price.metric]):
        sentences.append(_on_cheapest(first, price, front.iloc[0], best))
    if not front.empty:
        names = ", ".join(map(str, front.index))
        sentences.append(
            f"On the Pareto front of {first.quantity} error and {price.quantity}, from cheap to dear: "
            f"{names}."
        )
    return sentences


def _on_best(evidence: Evidence, best: pd.Series) -> str:
    first, *others = evidence.errors
    statistic = "; ".join(filter(None, (first.statistic, _interval(first, best))))
    statistic = f" ({statistic})" if statistic else ""
    said = ", ".join([f"{first.say(best)}{statistic}", *_said(others, best)])
    on = "on structures held out from training" if evidence.split == HELD_OUT else "on the test data"
    return f"Smallest {first.quantity} error {on}: {best.name}, {said}{_on_test(evidence, best)}."


def _on_test(evidence: Evidence, row: pd.Series) -> str:
    """Say the test errors of what held-out errors chose."""
    errors = {f"{axis.metric}": row.get(f"{axis.metric}_{TEST}") for axis in evidence.errors}
    known = pd.Series({metric: value for metric, value in errors.items() if pd.notna(value)}, dtype=float)
    said = [axis.say(known) for axis in evidence.errors if axis.metric in known]
    return f"; on the test data, which chose nothing, {' and '.join(said)}" if said else ""


def _interval(error: Axis, row: pd.Series) -> str:
    """Say the interval of an error; nothing where it has none."""
    low, high = (row.get(f"{error.metric}_{end}") for end in ("low", "high"))
    return "" if pd.isna(low) else f"95 % interval {low:.3g} to {high:.3g}"


def _on_equals(evidence: Evidence, known: pd.DataFrame) -> list[str]:
    """Say which potentials the structures do not tell from the best, and how many would."""
    what = f"{evidence.split} structures"
    error = evidence.errors[0]
    if "needed" not in known:
        return []
    equal = known[known["needed"] > 0]
    untold = known.index[1:][known["p"].iloc[1:].isna()]
    if len(untold):
        return [f"Too few independent {what} to tell {several(untold)} from {known.index[0]}."]
    if equal.empty:
        return []
    nearest = equal.iloc[0]
    return [
        f"Not distinguishable from {known.index[0]} on these data, by {error.quantity} error: "
        f"{several(equal.index)}; {about(nearest['needed'])} {what} more would tell it from "
        f"{nearest.name}, if their errors differ by as much as they seem to."
    ]


def _said(errors: Iterable[Axis], row: pd.Series) -> list[str]:
    """Say the errors that a potential has: one that predicts forces alone has no other."""
    return [axis.say(row) for axis in errors if pd.notna(row[axis.metric])]


def _on_cheapest(error: Axis, price: Axis, cheapest: pd.Series, best: pd.Series) -> str:
    times = best[price.metric] / cheapest[price.metric]
    said = (price.alone or price.say)(cheapest)
    return (
        f"Cheapest: {cheapest.name}, {said}, {times:.1f} times cheaper than {best.name}, at "
        f"{error.say(cheapest)}."
    )
