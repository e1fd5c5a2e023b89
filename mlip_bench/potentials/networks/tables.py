"""Functions of a distance as tables: cubic splines of what networks compute anew for every edge."""

from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from scipy.interpolate import CubicSpline

INTERVALS = 256
"""Of a table of smooth functions: with so many single precision rounds more than the splines miss."""

CLOSEST = 1e-4
"""Least distance (Å) at which functions are evaluated; some divide by it."""

FAST = {"nsz", "arcp", "contract", "reassoc"}


def tabulated(
    functions: Callable[[torch.Tensor], torch.Tensor],
    cutoff: float,
    number: torch.dtype,
    intervals: int = INTERVALS,
) -> tuple[np.ndarray, float]:
    """Return the table of functions (n_distances, n_functions), and its spacing in Å, for ``interpolate``.

    ``number`` is the precision that they are computed and kept in.
    """
    distances = np.linspace(0, cutoff, intervals + 1)
    with torch.no_grad():
        values = functions(torch.tensor(np.maximum(distances, CLOSEST), dtype=number)).double().numpy()
    spline = CubicSpline(distances, values)
    nodes = np.stack([spline(distances), spline(distances, 1) * cutoff / intervals], axis=1)
    kind = np.float64 if number == torch.float64 else np.float32
    return np.ascontiguousarray(nodes, kind), cutoff / intervals


@njit(cache=True, fastmath=FAST, nogil=True)
def interpolate(length: float, table: np.ndarray, spacing: float, order: int, out: np.ndarray) -> None:
    """Write the weights at a distance, or for ``order`` 1 their derivatives by it: cubic Hermite.

    The table (node, value and slope times spacing, weight) has one node more than intervals.
    """
    one = table.dtype.type(1)
    node = min(int(length / spacing), len(table) - 2)
    t = length / spacing - node
    start, end = table[node], table[node + 1]
    if order == 0:
        zeroth, by_step, by_start, by_end = one, t * t * (3 - 2 * t), t * (t - 1) * (t - 1), t * t * (t - 1)
    else:
        zeroth, by_step = one * 0, 6 * t * (1 - t) / spacing
        by_start, by_end = (3 * t * t - 4 * t + 1) / spacing, (3 * t * t - 2 * t) / spacing
    left, slope, right = one * by_step, one * by_start, one * by_end
    for k in range(np.uint64(len(out))):
        step = end[0, k] - start[0, k]
        out[k] = zeroth * start[0, k] + left * step + slope * start[1, k] + right * end[1, k]
