"""Fronts of error against cost: the points that no other beats, cheaper (or as cheap) and better."""

import numpy as np
import pandas as pd


def on_front(cost: pd.Series, error: pd.Series) -> pd.Series:
    """Tell for each point whether no other is both cheaper (or as cheap) and better."""
    known = (cost.notna() & error.notna()).to_numpy()
    costs, errors = cost.to_numpy(float), error.to_numpy(float)
    order = np.argsort(costs[known])
    ordered = costs[known][order]
    # The least error of the first points of that order; of none it is infinite.
    least = np.minimum.accumulate([np.inf, *errors[known][order]])
    cheaper, as_cheap = (least[np.searchsorted(ordered, costs, side)] for side in ("left", "right"))
    return pd.Series(known & ~(cheaper <= errors) & ~(as_cheap < errors), index=cost.index, dtype=bool)


def steps(cost: pd.Series, error: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the front, from cheap to dear."""
    kept = on_front(cost, error)
    order = cost[kept].sort_values().index
    return cost[order].to_numpy(), error[order].to_numpy()
