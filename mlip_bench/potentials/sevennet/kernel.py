r"""The messages of an equivariant network on a CPU: products of edges, summed at their receivers.

.. math:: M_{i,p,m_3,u} = \sum_{j} w_{ij,p,u} \sum_{m_1,m_2} C^p_{m_1 m_2 m_3}\, x_{j,m_1,u}\, Y_{ij,m_2}

with channel u, path p (a triple of degrees l1, l2, l3) and C the Wigner 3j symbols times the path's weight:
the "uvu" tensor product of e3nn and the sum over edges, without the messages of single edges in memory. All
derivatives are contractions of the same four-linear form T(g, x, Y, w) = Σ g·M, one argument left open.

An atom's features are one row: for each block of equal l component by component, so that channels lie side by
side. They are computed with as vectors (``lanes``); products of C and Y are made for eight edges at a time.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import load, store, total, zeros
from mlip_bench.potentials.networks.tables import interpolate

# Edges side by side, and channels: sixteen or eight at a time, and what is left of a row one by one.
EDGES = 8
MANY, SOME = 16, 8

ZERO, ONE = np.uint64(0), np.uint64(1)
WIDE, HALF = np.uint64(MANY), np.uint64(SOME)
SIDE = np.uint64(EDGES)

FAST = {"nsz", "arcp", "contract", "reassoc"}


class Order(NamedTuple):
    """The pairs (m1, m3) of all paths, sorted by rows of what they add to.

    For path p: the range ``first[p:p+2]`` of its rows. For a row: where its channels begin (``row``), and the
    range ``start[r:r+2]`` of what it is made of: a ``pair`` each, times the row that begins at ``other``.
    """

    first: np.ndarray
    row: np.ndarray
    start: np.ndarray
    pair: np.ndarray
    other: np.ndarray


class Paths(NamedTuple):
    """The products of a convolution, path by path.

    For path p: ``channels``, and ``weight_start`` of its weights. For a pair (m1, m3): its terms C Y
    (``coefficient`` and ``filter``, both (n_pairs, 2)): of real spherical harmonics at most two have C ≠ 0.
    ``forward`` adds rows of x to those of M, ``backward`` rows of M to those of x. Integers are unsigned:
    numba then leaves out its handling of negative indices.
    """

    channels: np.ndarray
    weight_start: np.ndarray
    filter: np.ndarray
    coefficient: np.ndarray
    forward: Order
    backward: Order


class Work(NamedTuple):
    """Memory for eight edges at once: Y, the pairs, and derivatives by the pairs, of eight in turn."""

    filters: np.ndarray
    pairs: np.ndarray
    by_pairs: np.ndarray


@njit(cache=True, fastmath=FAST, nogil=True)
def memory(filters: np.ndarray, paths: Paths) -> Work:
    """Return memory to work in, for filters (n_edges, n_filters)."""
    numbers = np.zeros((2, EDGES * len(paths.filter)), filters.dtype)
    return Work(np.zeros(EDGES * filters.shape[1], filters.dtype), numbers[0], numbers[1])


@njit(cache=True, fastmath=FAST, nogil=True)
def couple(filters: np.ndarray, edges: tuple[int, int], paths: Paths, work: Work) -> None:
    """Sum Y over m2 for every pair of up to eight edges, which lie side by side in ``work.pairs``."""
    for e in range(edges[0], edges[1]):
        for m in range(filters.shape[1]):
            work.filters[EDGES * m + e - edges[0]] = filters[e, m]
    for q in range(np.uint64(len(paths.filter))):
        first = load(work.filters, SIDE * paths.filter[q, 0], EDGES)
        second = load(work.filters, SIDE * paths.filter[q, 1], EDGES)
        pair = paths.coefficient[q, 0] * first + paths.coefficient[q, 1] * second
        store(work.pairs, SIDE * q, pair)


@njit(cache=True, fastmath=FAST, nogil=True)
def uncouple(filters: np.ndarray, edges: tuple[int, int], paths: Paths, work: Work) -> None:
    """Write the derivatives by Y of up to eight edges, from those by their pairs, which become 0 again."""
    work.filters[:] = 0
    for q in range(np.uint64(len(paths.filter))):
        pair = load(work.by_pairs, SIDE * q, EDGES)
        store(work.by_pairs, SIDE * q, zeros(pair))
        for term in range(np.uint64(2)):
            place = SIDE * paths.filter[q, term]
            store(work.filters, place, load(work.filters, place, EDGES) + paths.coefficient[q, term] * pair)
    for e in range(edges[0], edges[1]):
        for m in range(filters.shape[1]):
            filters[e, m] = work.filters[EDGES * m + e - edges[0]]


@njit(cache=True, fastmath=FAST, nogil=True)
def add_message(x: np.ndarray, w: np.ndarray, paths: Paths, pairs: np.ndarray, target: np.ndarray) -> None:
    """Add the message of one edge."""
    for p in range(np.uint64(len(paths.channels))):
        n = paths.channels[p]
        for u in range(ZERO, n - n % WIDE, WIDE):
            contract(p, u, MANY, w, pairs, x, paths, paths.forward, target)
        for u in range(n - n % WIDE, n - n % HALF, HALF):
            contract(p, u, SOME, w, pairs, x, paths, paths.forward, target)
        for u in range(n - n % HALF, n):
            contract(p, u, 1, w, pairs, x, paths, paths.forward, target)


@njit(cache=True, fastmath=FAST, nogil=True)
def contract(
    p: int,
    u: int,
    lanes: int,
    w: np.ndarray,
    pairs: np.ndarray,
    given: np.ndarray,
    paths: Paths,
    order: Order,
    added_to: np.ndarray,
) -> None:
    """Add w times the sum of pairs times ``given`` to each row of one path, for the channels from u."""
    weights = load(w, paths.weight_start[p] + u, lanes)
    for r in range(order.first[p], order.first[p + ONE]):
        row = order.row[r] + u
        found = zeros(weights)
        for k in range(order.start[r], order.start[r + ONE]):
            found = found + pairs[SIDE * order.pair[k]] * load(given, order.other[k] + u, lanes)
        store(added_to, row, load(added_to, row, lanes) + weights * found)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_gradient(
    x: np.ndarray,
    w: np.ndarray,
    g: np.ndarray,
    paths: Paths,
    pairs: np.ndarray,
    by_pairs: np.ndarray,
    dx: np.ndarray,
    dw: np.ndarray,
) -> None:
    """Derive T of one edge by x and pairs (added) and w (written)."""
    for p in range(np.uint64(len(paths.channels))):
        n = paths.channels[p]
        for u in range(ZERO, n - n % WIDE, WIDE):
            contract(p, u, MANY, w, pairs, g, paths, paths.backward, dx)
            add_path_gradient(p, u, MANY, x, w, g, paths, pairs, by_pairs, dw)
        for u in range(n - n % WIDE, n - n % HALF, HALF):
            contract(p, u, SOME, w, pairs, g, paths, paths.backward, dx)
            add_path_gradient(p, u, SOME, x, w, g, paths, pairs, by_pairs, dw)
        for u in range(n - n % HALF, n):
            contract(p, u, 1, w, pairs, g, paths, paths.backward, dx)
            add_path_gradient(p, u, 1, x, w, g, paths, pairs, by_pairs, dw)


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
    dw: np.ndarray,
) -> None:
    """Derive T by pairs (added) and w (written), for the channels from u of one path."""
    order = paths.forward
    weights = load(w, paths.weight_start[p] + u, lanes)
    by_weights = zeros(weights)
    for r in range(order.first[p], order.first[p + ONE]):
        by_message = load(g, order.row[r] + u, lanes)
        weighted, found = weights * by_message, zeros(weights)
        for k in range(order.start[r], order.start[r + ONE]):
            q = SIDE * order.pair[k]
            feature = load(x, order.other[k] + u, lanes)
            found = found + pairs[q] * feature
            by_pairs[q] += total(weighted * feature)
        by_weights = by_weights + by_message * found
    store(dw, paths.weight_start[p] + u, by_weights)


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
    """Add the messages of a range of edges to M (n_atoms, n_target), with weights from a table."""
    work, weights = memory(filters, paths), np.zeros(table.shape[2], features.dtype)
    for start in range(edges[0], edges[1], EDGES):
        stop = min(start + EDGES, edges[1])
        couple(filters, (start, stop), paths, work)
        for e in range(start, stop):
            interpolate(lengths[e], table, spacing, 0, weights)
            add_message(features[senders[e]], weights, paths, work.pairs[e - start :], sums[receivers[e]])


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
    """Derive T of a range of edges by x (added), Y and the distance (written), for the gradient g by M."""
    work, weights = memory(filters, paths), np.zeros(table.shape[2], features.dtype)
    by_weights = np.zeros_like(weights)
    for start in range(edges[0], edges[1], EDGES):
        stop = min(start + EDGES, edges[1])
        couple(filters, (start, stop), paths, work)
        for e in range(start, stop):
            pairs, by_pairs = work.pairs[e - start :], work.by_pairs[e - start :]
            i, j = receivers[e], senders[e]
            x, dx = features[j], by_features[j]
            interpolate(lengths[e], table, spacing, 0, weights)
            add_gradient(x, weights, gradient[i], paths, pairs, by_pairs, dx, by_weights)
            interpolate(lengths[e], table, spacing, 1, weights)
            by_lengths[e] = (weights * by_weights).sum()
        uncouple(by_filters, (start, stop), paths, work)
