"""Fronts of error against cost: which points nothing beats, what a family covers, and what to take.

A point is on the front where no other is both cheaper (or as cheap) and better. The hyper-volume of a family
is the share of the rectangle, log(cost) by error, that its points dominate; that reaches from the least
cost and no error to the largest cost and error of all families. Larger is better, 1 at most (E. Zitzler and
L. Thiele, IEEE Trans. Evol. Comput. 3, 257 (1999), doi:10.1109/4235.797969).
"""

import numpy as np
import pandas as pd

# The recommendation is the cheapest potential whose force error is within this share of the best.
WITHIN = 0.2


def on_front(cost: pd.Series, error: pd.Series) -> pd.Series:
    """Tell for each point whether no other is both cheaper (or as cheap) and better."""
    return pd.Series(
        [
            bool(pd.notna(c) and pd.notna(e))
            and not bool((((cost < c) & (error <= e)) | ((cost <= c) & (error < e))).any())
            for c, e in zip(cost, error, strict=True)
        ],
        index=cost.index,
        dtype=bool,
    )


def steps(cost: pd.Series, error: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the front, from cheap to dear."""
    kept = on_front(cost, error)
    order = cost[kept].sort_values().index
    return cost[order].to_numpy(), error[order].to_numpy()


def recommended(ranking: pd.DataFrame) -> str | None:
    """Return the cheapest potential within ``WITHIN`` of the best force error, or None without costs."""
    known = ranking.dropna(subset=["force_rmse", "cost_ratio"])
    if known.empty:
        return None
    good = known[known["force_rmse"] <= (1 + WITHIN) * known["force_rmse"].min()]
    return str(good["cost_ratio"].idxmin())


def hypervolumes(ranking: pd.DataFrame, metric: str) -> pd.Series:
    """Return the hyper-volume of each family for one error."""
    known = ranking.dropna(subset=["cost_ratio", metric])
    # A little room, so that the dearest and worst points count for something.
    largest = 1.05 * known[metric].max()
    low, high = np.log(known["cost_ratio"].min() / 1.05), np.log(known["cost_ratio"].max() * 1.05)
    found = {}
    for family, own in known.groupby("family"):
        cost, error = steps(own["cost_ratio"], own[metric])
        # Each point covers from its cost to that of the next one what lies above its error.
        edges = np.append((np.log(cost) - low) / (high - low), 1.0)
        found[family] = float(np.sum(np.diff(edges) * (1 - error / largest)))
    return pd.Series(found, dtype=float)


def families(ranking: pd.DataFrame) -> pd.DataFrame:
    """Return one row per family: number of sizes, best errors, least cost, hyper-volumes; best first."""
    groups = ranking.groupby("family")
    frame = pd.DataFrame(
        {
            "sizes": groups.size(),
            "force_rmse": groups["force_rmse"].min(),
            "energy_rmse": groups["energy_rmse"].min(),
            "cost_ratio": groups["cost_ratio"].min(),
            "force_volume": hypervolumes(ranking, "force_rmse"),
            "energy_volume": hypervolumes(ranking, "energy_rmse"),
        }
    )
    return frame.sort_values("force_volume", ascending=False)
