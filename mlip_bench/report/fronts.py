"""What fronts of error against cost decide: what a family covers, and what to take.

The hyper-volume of a family is the share of the rectangle, log(cost) by error, that its points dominate; that
reaches from the least cost and no error to the largest cost and error of all families. Larger is better, 1 at
most (E. Zitzler and L. Thiele, IEEE Trans. Evol. Comput. 3, 257 (1999), doi:10.1109/4235.797969).
"""

import numpy as np
import pandas as pd

from mlip_bench.measure import cost_axes, error_axes
from mlip_bench.section.fronts import on_front, steps

__all__ = ["WITHIN", "families", "hypervolumes", "on_front", "recommended", "steps", "volume_key"]

# The recommendation is the cheapest potential whose first error is within this share of the best.
WITHIN = 0.2


def recommended(ranking: pd.DataFrame) -> str | None:
    """Return the cheapest potential within ``WITHIN`` of the least first error, or None without costs."""
    error, cost = error_axes()[0].metric, cost_axes()[0].metric
    known = ranking.dropna(subset=[error, cost])
    if known.empty:
        return None
    good = known[known[error] <= (1 + WITHIN) * known[error].min()]
    return str(good[cost].idxmin())


def hypervolumes(ranking: pd.DataFrame, metric: str) -> pd.Series:
    """Return the hyper-volume of each family for one error."""
    price = cost_axes()[0].metric
    known = ranking.dropna(subset=[price, metric])
    # A little room, so that the dearest and worst points count for something.
    largest = 1.05 * known[metric].max()
    low, high = np.log(known[price].min() / 1.05), np.log(known[price].max() * 1.05)
    found = {}
    for family, own in known.groupby("family"):
        prices, errors = steps(own[price], own[metric])
        # Each point covers from its cost to that of the next one what lies above its error.
        edges = np.append((np.log(prices) - low) / (high - low), 1.0)
        found[family] = float(np.sum(np.diff(edges) * (1 - errors / largest)))
    return pd.Series(found, dtype=float)


def volume_key(metric: str) -> str:
    """Return the column of :func:`families` that has the hyper-volumes of an error."""
    return f"{metric}_volume"


def families(ranking: pd.DataFrame) -> pd.DataFrame:
    """Return one row per family: number of sizes, least errors and cost, hyper-volumes; best first."""
    groups = ranking.groupby("family")
    metrics = [axis.metric for axis in error_axes()]
    least = {metric: groups[metric].min() for metric in (*metrics, cost_axes()[0].metric)}
    volumes = {volume_key(metric): hypervolumes(ranking, metric) for metric in metrics}
    frame = pd.DataFrame({"sizes": groups.size()} | least | volumes)
    return frame.sort_values(volume_key(metrics[0]), ascending=False)
