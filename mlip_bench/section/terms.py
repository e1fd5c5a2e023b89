"""Numbers of potentials that a verdict can weigh: of the ranking, or what a measure makes of its rows."""

from typing import Any

import numpy as np
import pandas as pd

from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Term

ENDS = ("low", "high")


def of_ranking(evidence: Evidence, metric: str, quantity: str, label: str, **more: Any) -> Term:
    """Return a number that stands in the ranking, with its interval where it has one."""
    ranking = evidence.ranking
    missing = pd.Series(np.nan, ranking.index)
    keys = {"value": metric, **{end: f"{metric}_{end}" for end in ENDS}}
    found = pd.DataFrame({name: ranking.get(key, missing) for name, key in keys.items()}, dtype=float)
    return Term(metric, quantity, label, found.dropna(subset=["value"]), **more)


def of_values(values: pd.Series, metric: str, quantity: str, label: str, **more: Any) -> Term:
    """Return a number of each potential, without an interval."""
    known = values.dropna().astype(float)
    ends = dict.fromkeys(ENDS, pd.Series(np.nan, known.index))
    return Term(metric, quantity, label, pd.DataFrame({"value": known, **ends}, dtype=float), **more)
