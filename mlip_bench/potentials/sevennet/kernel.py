r"""The messages of an equivariant network on a CPU: products of edges, summed at their receivers.

.. math:: M_{i,p,m_3,u} = \sum_{j} w_{ij,p,u} \sum_{m_1,m_2} C^p_{m_1 m_2 m_3}\, x_{j,m_1,u}\, Y_{ij,m_2}

with channel u, path p (a triple of degrees l1, l2, l3) and C the Wigner 3j symbols times the path's weight:
the "uvu" tensor product of e3nn and the sum over edges, without the messages of single edges in memory. All
derivatives are contractions of the same four-linear form T(g, x, Y, w) = Σ g·M, one argument left open.

An atom's features are one row: for each block of equal l component by component, so that channels lie side by
side. They are computed with eight at a time (``lanes``), and what is left of a row one by one.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from mlip_bench.potentials.sevennet.lanes import LANES, load, store, total, zeros

ZERO, ONE, WIDE = np.uint64(0), np.uint64(1), np.uint64(LANES)

FAST = {"nsz", "arcp", "contract", "reassoc"}


class Paths(NamedTuple):
    """The products of a convolution, path by path, and for each the pairs (m1, m3) with their terms over m2.

    For path p: ``channels`` and ``weight_start`` of its weights, and the range ``pair_first[p:p+2]`` of its
    pairs. For a pair: where its rows of channels begin in x (``source``) and in M (``target``), and its terms
    C Y (``coefficient`` and ``filter``, both (n_pairs, 2)): of real spherical harmonics at most two have
    C ≠ 0. Integers are unsigned: numba then leaves out its handling of negative indices.
    """

    channels: np.ndarray
    weight_start: np.ndarray
    pair_first: np.ndarray
    source: np.ndarray
    target: np.ndarray
    filter: np.ndarray
    coefficient: np.ndarray


@njit(cache=True, fastmath=FAST, nogil=True)
def couple(filters: np.ndarray, paths: Paths, pairs: np.ndarray) -> None:
    """Sum Y over m2 for every pair of one edge."""
    for q in range(np.uint64(len(pairs))):
        first, second = filters[paths.filter[q, 0]], filters[paths.filter[q, 1]]
        pairs[q] = paths.coefficient[q, 0] * first + paths.coefficient[q, 1] * second


@njit(cache=True, fastmath=FAST, nogil=True)
def uncouple(pairs: np.ndarray, paths: Paths, filters: np.ndarray) -> None:
    """Write the derivative by Y of one edge, from that by its pairs."""
    filters[:] = 0
    for q in range(np.uint64(len(pairs))):
        filters[paths.filter[q, 0]] += paths.coefficient[q, 0] * pairs[q]
        filters[paths.filter[q, 1]] += paths.coefficient[q, 1] * pairs[q]


@njit(cache=True, fastmath=FAST, nogil=True)
def add_message(
    x: np.ndarray, filters: np.ndarray, w: np.ndarray, paths: Paths, pairs: np.ndarray, target: np.ndarray
) -> None:
    """Add the message of one edge; ``pairs`` is memory to work in."""
    couple(filters, paths, pairs)
    for p in range(np.uint64(len(paths.channels))):
        n = paths.channels[p]
        for u in range(ZERO, n - n % WIDE, WIDE):
            add_path_message(p, u, LANES, x, w, paths, pairs, target)
        for u in range(n - n % WIDE, n):
            add_path_message(p, u, 1, x, w, paths, pairs, target)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_path_message(
    p: int,
    u: int,
    lanes: int,
    x: np.ndarray,
    w: np.ndarray,
    paths: Paths,
    pairs: np.ndarray,
    target: np.ndarray,
) -> None:
    """Do so for the channels from u of one path."""
    weights = load(w, paths.weight_start[p] + u, lanes)
    for q in range(paths.pair_first[p], paths.pair_first[p + ONE]):
        row = paths.target[q] + u
        message = (pairs[q] * weights) * load(x, paths.source[q] + u, lanes)
        store(target, row, load(target, row, lanes) + message)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_gradient(
    x: np.ndarray,
    filters: np.ndarray,
    w: np.ndarray,
    g: np.ndarray,
    paths: Paths,
    pairs: np.ndarray,
    by_pairs: np.ndarray,
    dx: np.ndarray,
    by_filters: np.ndarray,
    dw: np.ndarray,
) -> None:
    """Derive T of one edge by x (added), Y and w (written); ``pairs`` and ``by_pairs`` are working memory."""
    couple(filters, paths, pairs)
    by_pairs[:] = 0
    for p in range(np.uint64(len(paths.channels))):
        n = paths.channels[p]
        for u in range(ZERO, n - n % WIDE, WIDE):
            add_path_gradient(p, u, LANES, x, w, g, paths, pairs, by_pairs, dx, dw)
        for u in range(n - n % WIDE, n):
            add_path_gradient(p, u, 1, x, w, g, paths, pairs, by_pairs, dx, dw)
    uncouple(by_pairs, paths, by_filters)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_path_gradient(
    p: int,
    u: int,
    lanes: int,
    x: np.ndarray,
    w: np.ndarray,
    g: np.ndarray,
    paths: Paths,
    pairs: np.ndarray,
    by_pairs: np.ndarray,
    dx: np.ndarray,
    dw: np.ndarray,
) -> None:
    """Do so for the channels from u of one path; ``by_pairs`` is added to."""
    weights = load(w, paths.weight_start[p] + u, lanes)
    by_weights = zeros(weights)
    for q in range(paths.pair_first[p], paths.pair_first[p + ONE]):
        row = paths.source[q] + u
        by_message = load(g, paths.target[q] + u, lanes)
        product = load(x, row, lanes) * by_message
        by_weights = by_weights + pairs[q] * product
        by_pairs[q] += total(weights * product)
        store(dx, row, load(dx, row, lanes) + (pairs[q] * weights) * by_message)
    store(dw, paths.weight_start[p] + u, by_weights)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_messages(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    weights: np.ndarray,
    paths: Paths,
    sums: np.ndarray,
) -> None:
    """Add the messages of a range of edges to M (n_atoms, n_target)."""
    pairs = np.zeros(len(paths.source), features.dtype)
    for e in range(edges[0], edges[1]):
        add_message(features[senders[e]], filters[e], weights[e], paths, pairs, sums[receivers[e]])


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


@njit(cache=True, fastmath=FAST, nogil=True)
def add_tabulated_messages(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    lengths: np.ndarray,
    table: np.ndarray,
    spacing: float,
    paths: Paths,
    sums: np.ndarray,
) -> None:
    """Do the same with weights from a table."""
    pairs, weights = np.zeros(len(paths.source), features.dtype), np.zeros(table.shape[2], features.dtype)
    for e in range(edges[0], edges[1]):
        interpolate(lengths[e], table, spacing, 0, weights)
        add_message(features[senders[e]], filters[e], weights, paths, pairs, sums[receivers[e]])


@njit(cache=True, fastmath=FAST, nogil=True)
def add_gradients(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    gradient: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    weights: np.ndarray,
    paths: Paths,
    by_features: np.ndarray,
    by_filters: np.ndarray,
    by_weights: np.ndarray,
) -> None:
    """Derive T of a range of edges by x (added), Y and w (written), for the gradient g by M."""
    pairs = np.zeros(len(paths.source), features.dtype)
    by_pairs = np.zeros_like(pairs)
    for e in range(edges[0], edges[1]):
        i, j = receivers[e], senders[e]
        x, dx = features[j], by_features[j]
        add_gradient(
            x, filters[e], weights[e], gradient[i], paths, pairs, by_pairs, dx, by_filters[e], by_weights[e]
        )


@njit(cache=True, fastmath=FAST, nogil=True)
def add_tabulated_gradients(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    gradient: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    lengths: np.ndarray,
    table: np.ndarray,
    spacing: float,
    paths: Paths,
    by_features: np.ndarray,
    by_filters: np.ndarray,
    by_lengths: np.ndarray,
) -> None:
    """Do the same with weights from a table, of which only Σ g·M by the distance is kept (written)."""
    pairs, weights = np.zeros(len(paths.source), features.dtype), np.zeros(table.shape[2], features.dtype)
    by_pairs, by_weights = np.zeros_like(pairs), np.zeros_like(weights)
    for e in range(edges[0], edges[1]):
        i, j = receivers[e], senders[e]
        x, dx = features[j], by_features[j]
        interpolate(lengths[e], table, spacing, 0, weights)
        add_gradient(
            x, filters[e], weights, gradient[i], paths, pairs, by_pairs, dx, by_filters[e], by_weights
        )
        interpolate(lengths[e], table, spacing, 1, weights)
        by_lengths[e] = (weights * by_weights).sum()


@njit(cache=True, fastmath=FAST, nogil=True)
def add_second_gradients(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    gradient: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    weights: np.ndarray,
    on_features: np.ndarray,
    on_filters: np.ndarray,
    on_weights: np.ndarray,
    paths: Paths,
    by_gradient: np.ndarray,
    by_features: np.ndarray,
    by_filters: np.ndarray,
    by_weights: np.ndarray,
) -> None:
    """Derive S = T(g, a, Y, w) + T(g, x, b, w) + T(g, x, Y, c) by g and x (added), Y and w (written).

    a, b and c (``on_features``, ``on_filters``, ``on_weights``) are the gradients of a loss by what
    ``add_gradients`` gives.
    """
    pairs = np.zeros(len(paths.source), features.dtype)
    on_pairs, by_pairs = np.zeros_like(pairs), np.zeros_like(pairs)
    for e in range(edges[0], edges[1]):
        i, j = receivers[e], senders[e]
        given = features[j], weights[e], gradient[i], on_features[j], on_weights[e]
        wanted = by_gradient[i], by_features[j], by_weights[e]
        couple(filters[e], paths, pairs)
        couple(on_filters[e], paths, on_pairs)
        by_pairs[:] = 0
        for p in range(np.uint64(len(paths.channels))):
            n = paths.channels[p]
            for u in range(ZERO, n - n % WIDE, WIDE):
                add_path_second_gradient(p, u, LANES, given, paths, pairs, on_pairs, by_pairs, wanted)
            for u in range(n - n % WIDE, n):
                add_path_second_gradient(p, u, 1, given, paths, pairs, on_pairs, by_pairs, wanted)
        uncouple(by_pairs, paths, by_filters[e])


@njit(cache=True, fastmath=FAST, nogil=True)
def add_path_second_gradient(
    p: int,
    u: int,
    lanes: int,
    given: tuple[np.ndarray, ...],
    paths: Paths,
    pairs: np.ndarray,
    on_pairs: np.ndarray,
    by_pairs: np.ndarray,
    wanted: tuple[np.ndarray, ...],
) -> None:
    """Do so for the channels from u of one path of one edge; ``given`` x, w, g, a, c and ``wanted`` g, x, w.

    Of ``by_pairs``, the derivative by what ``couple`` makes of Y, is added to.
    """
    x, w, g, a, c = given
    dg, dx, dw = wanted
    weights = load(w, paths.weight_start[p] + u, lanes)
    on_weights = load(c, paths.weight_start[p] + u, lanes)
    by_weights = zeros(weights)
    for q in range(paths.pair_first[p], paths.pair_first[p + ONE]):
        source, target = paths.source[q] + u, paths.target[q] + u
        feature, on_feature = load(x, source, lanes), load(a, source, lanes)
        by_message = load(g, target, lanes)
        mixed = pairs[q] * on_feature + on_pairs[q] * feature
        by_weights = by_weights + by_message * mixed
        by_pairs[q] += total(by_message * (weights * on_feature + on_weights * feature))
        store(dg, target, load(dg, target, lanes) + weights * mixed + (pairs[q] * on_weights) * feature)
        on_product = on_pairs[q] * weights + pairs[q] * on_weights
        store(dx, source, load(dx, source, lanes) + by_message * on_product)
    store(dw, paths.weight_start[p] + u, by_weights)
