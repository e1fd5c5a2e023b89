"""Fronts of error against cost: the points that no other beats, cheaper (or as cheap) and better."""

import numpy as np
import pandas as pd


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
