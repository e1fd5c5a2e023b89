"""The verdict: a score of each potential from what a profile weighs, with its interval, and the places.

The score is the weighted mean of logarithms,

    S_p = Σ_k w_k ln(x_pk / x_k) / Σ_k w_k,

where x_pk is number k of potential p (its inverse, where larger is better; at least the floor of the number)
and x_k the least of all potentials that have a score. It is shown as the factor e^S, a weighted geometric
mean of ratios: 1 is the best in everything that is weighed, and of two potentials one is worse by the ratio
of their factors, whatever others there are. The ends of its interval are the scores at the low ends and at
the high ends of all numbers: as if all erred together, the widest it can be. Two potentials are told apart
where their scores differ by more than √(a² + b²), a and b the reaches of their intervals towards each other.

A potential that lacks a number that is weighed has no score: without that number it would gain by what it
lacks. What no potential has is left out of all scores. ``templates/verdict.js`` is the same again.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlip_bench.measure import reported
from mlip_bench.report.profiles import Profile, check, is_shipped
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import MISSING, Table, Term
from mlip_bench.section.tables import MOST_NAMED, several

# A table on paper has no more potentials than this.
MOST_SHOWN = 12


@dataclass(frozen=True)
class Verdict:
    """What a profile makes of the numbers of a run."""

    profile: Profile
    terms: list[Term]
    """What is weighed and was measured."""
    table: pd.DataFrame
    """A row per potential with a score, best first: ``score``, ``low``, ``high`` (as logarithms), ``place``,
    and by metric the ratio of each number to the best."""
    lacking: dict[str, list[str]]
    """Potentials without a score, and the quantities that each lacks."""
    left_out: list[str]
    """Metrics that are weighed, and that no potential has."""

    @property
    def first(self) -> list[str]:
        """The potentials that may have the first place, best score first."""
        return [str(name) for name in self.table.index[self.table["best_place"] == 1]]

    @property
    def certain(self) -> bool:
        """Whether any number that is weighed has an interval."""
        return any(term.values["low"].notna().any() for term in self.terms)


def terms_of(evidence: Evidence) -> list[Term]:
    """Return all that measures declare, also what was not measured; what is of the fit comes last."""
    fit, *measures = reported()
    return [term for one in (*measures, fit) for term in one.terms(evidence)]


def of(evidence: Evidence, profile: Profile) -> Verdict:
    """Return the verdict of a profile."""
    terms = {term.metric: term for term in terms_of(evidence) if term.decides}
    if not is_shipped(profile):  # of one that ships, what another set of measures does not have is no mistake
        check(profile, terms)
    weighed = [term for metric, term in terms.items() if profile.weights.get(metric)]
    measured = [term for term in weighed if len(term.values)]
    left_out = [term.quantity for term in weighed if not len(term.values)]
    names = [str(name) for name in evidence.ranking.index]
    lacking = {name: [term.quantity for term in measured if name not in term.values.index] for name in names}
    scored = [name for name in names if measured and not lacking[name]]
    table = _scores(profile, measured, scored)
    without = {name: what for name, what in lacking.items() if what}
    return Verdict(profile, measured, table, without, left_out)


def _scores(profile: Profile, terms: list[Term], names: list[str]) -> pd.DataFrame:
    columns = ["score", "low", "high", "place", "best_place", *(term.metric for term in terms)]
    if not names:
        return pd.DataFrame(columns=columns)
    whole = sum(profile.weights[term.metric] for term in terms)
    found = pd.DataFrame(0.0, index=names, columns=["score", "low", "high"])
    ratios = {}
    for term in terms:
        share = profile.weights[term.metric] / whole
        value, low, high = logarithms(term, names)
        best = value.min()
        ratios[term.metric] = np.exp(value - best)
        for key, numbers in (("score", value), ("low", low), ("high", high)):
            found[key] += share * (numbers - best)
    found = found.assign(**ratios).sort_values("score", kind="stable")
    places = _places(found)
    return found.assign(place=[_range(*place) for place in places], best_place=[low for low, _ in places])[
        columns
    ]


def logarithms(term: Term, names: list[str]) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return ln x of each potential, and at the low and the high end of x; without an interval x itself."""
    values = term.values.loc[names]
    value = np.log(values["value"].clip(lower=term.floor))
    low, high = (np.log(values[end].clip(lower=term.floor)).fillna(value) for end in ("low", "high"))
    return (value, low, high) if term.lower_is_better else (-value, -high, -low)


def _places(found: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the best and the worst place that each potential may have."""
    score, low, high = (found[key].to_numpy() for key in ("score", "low", "high"))
    up, down = high - score, score - low
    # Row by row: of thousands of sizes, a matrix of all pairs would be large.
    better = [int(np.sum(score[i] - score > np.hypot(down[i], up))) for i in range(len(score))]
    worse = [int(np.sum(score - score[i] > np.hypot(up[i], down))) for i in range(len(score))]
    return [(1 + b, len(score) - w) for b, w in zip(better, worse, strict=True)]


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


# -- in words --------------------------------------------------------------------------------------------


def numbers(evidence: Evidence, name: str) -> str:
    """Say the errors and the cost of a potential, as far as it has them."""
    row = evidence.ranking.loc[name]
    said = [axis.say(row) for axis in (*evidence.errors, *evidence.costs[:1]) if pd.notna(row[axis.metric])]
    return ", ".join(said)


def sentence(evidence: Evidence, verdict: Verdict) -> str:
    """Say who is first, and who is not told from it."""
    name = verdict.profile.name
    if verdict.table.empty:
        return f"By {name}: no verdict, no potential has all that is weighed."
    first, *others = verdict.first
    said = [f"{one}, {_factor(verdict.table.loc[one])}" for one in others]
    equal = f" Not told from it: {_list(said)}." if said else ""
    score = _factor(verdict.table.loc[first])
    if len(verdict.table) == 1 and verdict.lacking:
        return f"By {name} only {first} has a score: {numbers(evidence, first)}."
    return f"Best by {name}: {first}, {numbers(evidence, first)}; score {score}.{equal}"


def _list(items: list[str]) -> str:
    """Join what has commas of its own, of many only the first."""
    more = len(items) - MOST_NAMED
    return "; ".join(items[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def remarks(verdict: Verdict) -> list[str]:
    """Say what is weighed, what is left out, and who has no score."""
    weights = ", ".join(f"{term.quantity} {verdict.profile.weights[term.metric]:g}" for term in verdict.terms)
    found = [
        f"Score: weighted geometric mean of the ratios to the best ({weights}); 1 is the best in everything. "
        "In brackets: where all numbers lie at the low, and at the high, ends of their 95 % intervals."
    ]
    exact = [term.quantity for term in verdict.terms if term.values["low"].isna().all()]
    if verdict.certain and exact:
        found.append(f"Taken as exact, they have no interval: {', '.join(exact)}.")
    if not verdict.certain and verdict.terms:
        found.append("No number that is weighed has an interval, so nobody knows which places are ties.")
    if verdict.left_out:
        left_out = ", ".join(verdict.left_out)
        found.append(f"Weighed, but not measured, or there is no reference for it, so left out: {left_out}.")
    found += [f"No score, it lacks {what}: {several(names)}." for what, names in _by_lack(verdict).items()]
    found += [term.note.strip() for term in verdict.terms if term.note]
    return list(dict.fromkeys(found))


def _by_lack(verdict: Verdict) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, what in verdict.lacking.items():
        found.setdefault(", ".join(what), []).append(name)
    return found


def _factor(row: pd.Series) -> str:
    factor, low, high = (math.exp(row[key]) for key in ("score", "low", "high"))
    return f"{factor:.2f}" if low == high else f"{factor:.2f} ({low:.2f} to {high:.2f})"


def table(verdict: Verdict) -> Table:
    """The places with every term: its ratio to the best."""
    rows = [
        [str(name), str(row["place"]), _factor(row), *(f"{row[term.metric]:.2f}" for term in verdict.terms)]
        for name, row in verdict.table.head(MOST_SHOWN).iterrows()
    ]
    headings = ["potential", "place", "score"]
    headings += [f"{term.quantity} × {verdict.profile.weights[term.metric]:g}" for term in verdict.terms]
    more = len(verdict.table) - len(rows)
    note = " ".join([*remarks(verdict), *([f"{more} more have a score."] if more > 0 else [])])
    return Table(headings, rows, note=note or MISSING, name="verdict")


def document(evidence: Evidence, verdict: Verdict) -> dict[str, object]:
    """Return the verdict for scripts."""
    return {
        "profile": verdict.profile.name,
        "weights": dict(verdict.profile.weights),
        "sentence": sentence(evidence, verdict),
        "first": verdict.first,
        "potentials": [
            {
                "potential": str(name),
                "place": row["place"],
                "score": math.exp(row["score"]),
                "low": math.exp(row["low"]),
                "high": math.exp(row["high"]),
                "ratios": {term.metric: float(row[term.metric]) for term in verdict.terms},
            }
            for name, row in verdict.table.iterrows()
        ],
        "without_score": verdict.lacking,
        "left_out": verdict.left_out,
        "remarks": remarks(verdict),
    }
