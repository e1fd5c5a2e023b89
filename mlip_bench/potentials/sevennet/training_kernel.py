r"""What training takes of the messages of an equivariant network on a CPU (``kernel``).

The weights of an edge are linear in its radial functions, w = R W, and live only while the edge is computed
with: of all edges they would be the largest array of a step, made, read and derived several times over. For
the form T(g, x, Y, R W) of all edges there are its derivatives by x, Y and R, which forces are made of; by x,
R and W, which a loss asks for; and those of the first once more.
"""

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import load, store, total, zeros
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
    add_gradient,
    add_message,
    contract,
    couple,
    memory,
    uncouple,
)


@njit(cache=True, fastmath=FAST, nogil=True)
def weigh(radial: np.ndarray, maps: np.ndarray, weights: np.ndarray) -> None:
    """Write w = R W of one edge, from W (n_radial, n_weights)."""
    n = np.uint64(len(weights))
    whole = n - n % WIDE
    for k in range(ZERO, whole, WIDE):
        found = zeros(load(weights, k, MANY))
        for b in range(np.uint64(len(radial))):
            found = found + radial[b] * load(maps[b], k, MANY)
        store(weights, k, found)
    for k in range(whole, n):
        weights[k] = 0
        for b in range(np.uint64(len(radial))):
            weights[k] += radial[b] * maps[b, k]


@njit(cache=True, fastmath=FAST, nogil=True)
def unweigh(by_weights: np.ndarray, maps: np.ndarray, by_radial: np.ndarray) -> None:
    """Write the derivatives by R of one edge, from those by its weights."""
    n = np.uint64(len(by_weights))
    for b in range(np.uint64(len(by_radial))):
        found = zeros(load(maps[b], ZERO, SOME))
        for k in range(ZERO, n - n % HALF, HALF):
            found = found + load(by_weights, k, SOME) * load(maps[b], k, SOME)
        last = by_weights[0] * 0
        for k in range(n - n % HALF, n):
            last += by_weights[k] * maps[b, k]
        by_radial[b] = total(found) + last


@njit(cache=True, fastmath=FAST, nogil=True)
def add_outer(radial: np.ndarray, by_weights: np.ndarray, by_maps: np.ndarray) -> None:
    """Add the derivatives by W of one edge."""
    n = np.uint64(len(by_weights))
    whole = n - n % WIDE
    for b in range(np.uint64(len(radial))):
        for k in range(ZERO, whole, WIDE):
            store(by_maps[b], k, load(by_maps[b], k, MANY) + radial[b] * load(by_weights, k, MANY))
        for k in range(whole, n):
            by_maps[b, k] += radial[b] * by_weights[k]


@njit(cache=True, fastmath=FAST, nogil=True)
def add_messages(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    radial: np.ndarray,
    maps: np.ndarray,
    paths: Paths,
    sums: np.ndarray,
) -> None:
    """Add the messages of a range of edges to M (n_atoms, n_target)."""
    work, weights = memory(filters, paths), np.zeros(maps.shape[1], filters.dtype)
    for start in range(edges[0], edges[1], EDGES):
        stop = min(start + EDGES, edges[1])
        couple(filters, (start, stop), paths, work)
        for e in range(start, stop):
            weigh(radial[e], maps, weights)
            add_message(features[senders[e]], weights, paths, work.pairs[e - start :], sums[receivers[e]])


@njit(cache=True, fastmath=FAST, nogil=True)
def add_gradients(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    gradient: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    radial: np.ndarray,
    maps: np.ndarray,
    paths: Paths,
    by_features: np.ndarray,
    by_filters: np.ndarray,
    by_radial: np.ndarray,
) -> None:
    """Derive T of a range of edges by x (added), Y and R (written), for the gradient g by M."""
    work, weights = memory(filters, paths), np.zeros(maps.shape[1], filters.dtype)
    by_weights = np.zeros_like(weights)
    for start in range(edges[0], edges[1], EDGES):
        stop = min(start + EDGES, edges[1])
        couple(filters, (start, stop), paths, work)
        for e in range(start, stop):
            pairs, by_pairs = work.pairs[e - start :], work.by_pairs[e - start :]
            g, x, dx = gradient[receivers[e]], features[senders[e]], by_features[senders[e]]
            weigh(radial[e], maps, weights)
            add_gradient(x, weights, g, paths, pairs, by_pairs, dx, by_weights)
            unweigh(by_weights, maps, by_radial[e])
        uncouple(by_filters, (start, stop), paths, work)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_weight_gradients(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    gradient: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    radial: np.ndarray,
    maps: np.ndarray,
    paths: Paths,
    by_features: np.ndarray,
    by_maps: np.ndarray,
    by_radial: np.ndarray,
) -> None:
    """Do the same by x and W (added) and R (written)."""
    work, w = memory(filters, paths), np.zeros(maps.shape[1], filters.dtype)
    dw = np.zeros_like(w)
    for start in range(edges[0], edges[1], EDGES):
        stop = min(start + EDGES, edges[1])
        couple(filters, (start, stop), paths, work)
        for e in range(start, stop):
            pairs = work.pairs[e - start :]
            g, x, dx = gradient[receivers[e]], features[senders[e]], by_features[senders[e]]
            weigh(radial[e], maps, w)
            for p in range(np.uint64(len(paths.channels))):
                n = paths.channels[p]
                for u in range(ZERO, n - n % WIDE, WIDE):
                    add_weight_gradient(p, u, MANY, x, w, g, paths, pairs, dx, dw)
                for u in range(n - n % WIDE, n - n % HALF, HALF):
                    add_weight_gradient(p, u, SOME, x, w, g, paths, pairs, dx, dw)
                for u in range(n - n % HALF, n):
                    add_weight_gradient(p, u, 1, x, w, g, paths, pairs, dx, dw)
            unweigh(dw, maps, by_radial[e])
            add_outer(radial[e], dw, by_maps)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_weight_gradient(
    p: int,
    u: int,
    lanes: int,
    x: np.ndarray,
    w: np.ndarray,
    g: np.ndarray,
    paths: Paths,
    pairs: np.ndarray,
    dx: np.ndarray,
    dw: np.ndarray,
) -> None:
    """Derive T by x (added) and w (written), for the channels from u of one path of one edge."""
    contract(p, u, lanes, w, pairs, g, paths, paths.backward, dx)
    order = paths.forward
    by_weights = zeros(load(w, paths.weight_start[p] + u, lanes))
    for r in range(order.first[p], order.first[p + ONE]):
        found = zeros(by_weights)
        for k in range(order.start[r], order.start[r + ONE]):
            found = found + pairs[SIDE * order.pair[k]] * load(x, order.other[k] + u, lanes)
        by_weights = by_weights + load(g, order.row[r] + u, lanes) * found
    store(dw, paths.weight_start[p] + u, by_weights)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_second_gradients(
    edges: tuple[int, int],
    receivers: np.ndarray,
    senders: np.ndarray,
    gradient: np.ndarray,
    features: np.ndarray,
    filters: np.ndarray,
    radial: np.ndarray,
    maps: np.ndarray,
    on_features: np.ndarray,
    on_filters: np.ndarray,
    on_radial: np.ndarray,
    paths: Paths,
    by_gradient: np.ndarray,
    by_features: np.ndarray,
    by_maps: np.ndarray,
    by_radial: np.ndarray,
) -> None:
    """Derive S = T(g, a, Y, R W) + T(g, x, b, R W) + T(g, x, Y, c W) by g, x and W (added) and R (written).

    a, b and c (``on_features``, ``on_filters``, ``on_radial``) are the gradients of a loss by what
    ``add_gradients`` gives. Nothing asks for the derivative by Y, which depends on positions alone.
    """
    work, on_work = memory(filters, paths), memory(filters, paths)
    of_weights = np.zeros((4, maps.shape[1]), filters.dtype)
    w, on_w, by_w, by_on_w = of_weights[0], of_weights[1], of_weights[2], of_weights[3]
    for start in range(edges[0], edges[1], EDGES):
        stop = min(start + EDGES, edges[1])
        couple(filters, (start, stop), paths, work)
        couple(on_filters, (start, stop), paths, on_work)
        for e in range(start, stop):
            i, j = receivers[e], senders[e]
            weigh(radial[e], maps, w)
            weigh(on_radial[e], maps, on_w)
            given = features[j], w, gradient[i], on_features[j], on_w
            wanted = by_gradient[i], by_features[j], by_w, by_on_w
            of_pairs = work.pairs[e - start :], on_work.pairs[e - start :]
            for p in range(np.uint64(len(paths.channels))):
                n = paths.channels[p]
                for u in range(ZERO, n - n % WIDE, WIDE):
                    add_path_second_gradient(p, u, MANY, given, paths, of_pairs, wanted)
                for u in range(n - n % WIDE, n - n % HALF, HALF):
                    add_path_second_gradient(p, u, SOME, given, paths, of_pairs, wanted)
                for u in range(n - n % HALF, n):
                    add_path_second_gradient(p, u, 1, given, paths, of_pairs, wanted)
            unweigh(by_w, maps, by_radial[e])
            add_outer(radial[e], by_w, by_maps)
            add_outer(on_radial[e], by_on_w, by_maps)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_path_second_gradient(
    p: int,
    u: int,
    lanes: int,
    given: tuple[np.ndarray, ...],
    paths: Paths,
    of_pairs: tuple[np.ndarray, ...],
    wanted: tuple[np.ndarray, ...],
) -> None:
    """Do so for the channels from u of one path of one edge.

    ``given`` are x, w, g, a and c W, and ``wanted`` the derivatives by g, x (added), w and c W (written).
    ``of_pairs`` are what ``couple`` makes of Y and of b.
    """
    x, w, g, a, on_w = given
    dg, dx, dw, d_on_w = wanted
    pairs, on_pairs = of_pairs
    weights = load(w, paths.weight_start[p] + u, lanes)
    on_weights = load(on_w, paths.weight_start[p] + u, lanes)
    order = paths.backward
    for r in range(order.first[p], order.first[p + ONE]):
        row = order.row[r] + u
        found, on_found = zeros(weights), zeros(weights)
        for k in range(order.start[r], order.start[r + ONE]):
            q, by_message = SIDE * order.pair[k], load(g, order.other[k] + u, lanes)
            found = found + pairs[q] * by_message
            on_found = on_found + on_pairs[q] * by_message
        store(dx, row, load(dx, row, lanes) + weights * on_found + on_weights * found)
    order = paths.forward
    by_weights, by_on_weights = zeros(weights), zeros(weights)
    for r in range(order.first[p], order.first[p + ONE]):
        row = order.row[r] + u
        found, on_found = zeros(weights), zeros(weights)
        for k in range(order.start[r], order.start[r + ONE]):
            q = SIDE * order.pair[k]
            feature, on_feature = load(x, order.other[k] + u, lanes), load(a, order.other[k] + u, lanes)
            found = found + pairs[q] * feature
            on_found = on_found + pairs[q] * on_feature + on_pairs[q] * feature
        by_message = load(g, row, lanes)
        by_weights = by_weights + by_message * on_found
        by_on_weights = by_on_weights + by_message * found
        store(dg, row, load(dg, row, lanes) + weights * on_found + on_weights * found)
    store(dw, paths.weight_start[p] + u, by_weights)
    store(d_on_w, paths.weight_start[p] + u, by_on_weights)
