r"""What the heat flux takes of messages on a CPU, beside the messages themselves (``kernel``).

With the form T(g, x, Y, w) = Σ g·M of one edge, where g is the derivative of the energy by the sums of the
receiver: the power T(g, ẋ, Y, w) that the edge carries where the features of the sender change by ẋ, the
change T(·, ẋ, Y, w) + T(·, x, Ẏ, w) + T(·, x, Y, ẇ) of the message, and the derivative of T by x alone.
"""

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import load, store, total, zeros
from mlip_bench.potentials.networks.tables import interpolate
from mlip_bench.potentials.sevennet.kernel import (
    EDGES,
    FAST,
    HALF,
    MANY,
    ONE,
    SIDE,
    SOME,
    WIDE,
    ZERO,
    Paths,
    contract,
    couple,
    memory,
)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_tangents(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    gradient: np.ndarray,
    features: np.ndarray,
    feature_rates: np.ndarray,
    filters: np.ndarray,
    filter_rates: np.ndarray,
    lengths: np.ndarray,
    length_rates: np.ndarray,
    table: np.ndarray,
    spacing: float,
    paths: Paths,
    sum_rates: np.ndarray,
    powers: np.ndarray,
) -> None:
    """Add the rates of change of messages to those of M, and write the power of each edge (n_edges,)."""
    work, moving = memory(filters, paths), memory(filters, paths)
    weights = np.zeros(table.shape[2], features.dtype)
    weight_rates = np.zeros_like(weights)
    for start in range(edges[0], edges[1], EDGES):
        stop = min(start + EDGES, edges[1])
        couple(filters, (start, stop), paths, work)
        couple(filter_rates, (start, stop), paths, moving)
        for e in range(start, stop):
            i, j = receivers[e], senders[e]
            interpolate(lengths[e], table, spacing, 0, weights)
            interpolate(lengths[e], table, spacing, 1, weight_rates)
            for k in range(np.uint64(len(weights))):
                weight_rates[k] *= length_rates[e]
            given = gradient[i], features[j], feature_rates[j], weights, weight_rates
            pairs = work.pairs[e - start :], moving.pairs[e - start :]
            power = weights[0] * 0
            for p in range(np.uint64(len(paths.channels))):
                n = paths.channels[p]
                for u in range(ZERO, n - n % WIDE, WIDE):
                    power += add_path_tangent(p, u, MANY, given, pairs, paths, sum_rates[i])
                for u in range(n - n % WIDE, n - n % HALF, HALF):
                    power += add_path_tangent(p, u, SOME, given, pairs, paths, sum_rates[i])
                for u in range(n - n % HALF, n):
                    power += add_path_tangent(p, u, 1, given, pairs, paths, sum_rates[i])
            powers[e] = power


@njit(cache=True, fastmath=FAST, nogil=True)
def add_path_tangent(
    p: int,
    u: int,
    lanes: int,
    given: tuple[np.ndarray, ...],
    pairs: tuple[np.ndarray, ...],
    paths: Paths,
    sum_rates: np.ndarray,
) -> float:
    """Do so for the channels from u of one path of one edge, and return the power.

    ``given`` are g, x, ẋ, w, ẇ, and ``pairs`` what ``couple`` makes of Y and of Ẏ.
    """
    g, x, x_rate, w, w_rate = given
    still, moving = pairs
    order = paths.forward
    weights = load(w, paths.weight_start[p] + u, lanes)
    weight_rates = load(w_rate, paths.weight_start[p] + u, lanes)
    power = zeros(weights)
    for r in range(order.first[p], order.first[p + ONE]):
        row = order.row[r] + u
        found, by_features, by_filters = zeros(weights), zeros(weights), zeros(weights)
        for k in range(order.start[r], order.start[r + ONE]):
            q = SIDE * order.pair[k]
            feature, rate = load(x, order.other[k] + u, lanes), load(x_rate, order.other[k] + u, lanes)
            found = found + still[q] * feature
            by_features = by_features + still[q] * rate
            by_filters = by_filters + moving[q] * feature
        power = power + load(g, row, lanes) * by_features
        change = weights * (by_features + by_filters) + weight_rates * found
        store(sum_rates, row, load(sum_rates, row, lanes) + change)
    return total(weights * power)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_pulls(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    gradient: np.ndarray,
    vectors: np.ndarray,
    filters: np.ndarray,
    lengths: np.ndarray,
    table: np.ndarray,
    spacing: float,
    paths: Paths,
    pulls: np.ndarray,
) -> None:
    """Add Σ_p d_p ⊗ ∂T_p/∂x to the sender's ``pulls`` (n_atoms, 3, n_features)."""
    work, weights = memory(filters, paths), np.zeros(table.shape[2], filters.dtype)
    adjoint = np.zeros(pulls.shape[2], filters.dtype)
    for start in range(edges[0], edges[1], EDGES):
        stop = min(start + EDGES, edges[1])
        couple(filters, (start, stop), paths, work)
        for e in range(start, stop):
            i, j = receivers[e], senders[e]
            interpolate(lengths[e], table, spacing, 0, weights)
            adjoint[:] = 0
            pairs = work.pairs[e - start :]
            for p in range(np.uint64(len(paths.channels))):
                n = paths.channels[p]
                for u in range(ZERO, n - n % WIDE, WIDE):
                    contract(p, u, MANY, weights, pairs, gradient[i], paths, paths.backward, adjoint)
                for u in range(n - n % WIDE, n - n % HALF, HALF):
                    contract(p, u, SOME, weights, pairs, gradient[i], paths, paths.backward, adjoint)
                for u in range(n - n % HALF, n):
                    contract(p, u, 1, weights, pairs, gradient[i], paths, paths.backward, adjoint)
            for x in range(3):
                for k in range(len(adjoint)):
                    pulls[j, x, k] += vectors[e, x] * adjoint[k]
