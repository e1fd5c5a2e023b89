r"""The messages of LEIGNN on a CPU, summed at their receivers without those of single edges in memory.

With channel c, edge p from centre i to neighbour j of direction u, features h (three blocks of channels) and
vectors v of the neighbour, and weights w of the edge,

.. math:: M_{i,0,c} = \sum_p h_{2,c} w_{2,c}, \quad
          M_{i,x,c} = \sum_p (h_{0,c} w_{0,c} v_{x,c} + h_{1,c} w_{1,c} u_x)

A row has four blocks of channels: the scalar one, and x, y, z. All derivatives are contractions of the form
T(g, h, v, u, w) = Σ g·M, one argument left open; channels are computed with side by side (``lanes``).
"""

from typing import Any

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import load, store, total, zeros
from mlip_bench.potentials.networks.tables import interpolate

SIDE = 8
"""Channels side by side; what is left of a row is taken one by one."""

ZERO, ONE, TWO, THREE = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
EIGHT = np.uint64(SIDE)

FAST = {"nsz", "arcp", "contract", "reassoc"}


@njit(cache=True, fastmath=FAST, nogil=True)
def add_message(h: np.ndarray, v: np.ndarray, u: np.ndarray, w: np.ndarray, target: np.ndarray) -> None:
    """Add the message of one edge to a row."""
    n = np.uint64(len(h)) // THREE
    for c in range(ZERO, n - n % EIGHT, EIGHT):
        add_channels(h, v, u, w, target, n, c, SIDE)
    for c in range(n - n % EIGHT, n):
        add_channels(h, v, u, w, target, n, c, 1)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_channels(
    h: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    w: np.ndarray,
    target: np.ndarray,
    n: Any,
    c: Any,
    lanes: int,
) -> None:
    """Do so for some channels."""
    by_vector = load(h, c, lanes) * load(w, c, lanes)
    by_direction = load(h, n + c, lanes) * load(w, n + c, lanes)
    scalar = load(h, TWO * n + c, lanes) * load(w, TWO * n + c, lanes)
    store(target, c, load(target, c, lanes) + scalar)
    for x in range(THREE):
        row = (x + ONE) * n + c
        moved = by_vector * load(v, x * n + c, lanes) + u[x] * by_direction
        store(target, row, load(target, row, lanes) + moved)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_gradient(
    g: np.ndarray,
    h: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    w: np.ndarray,
    dh: np.ndarray,
    dv: np.ndarray,
    du: np.ndarray,
    dw: np.ndarray,
) -> None:
    """Derive T of one edge by h and v (added), u and w (written)."""
    n = np.uint64(len(h)) // THREE
    du[:] = 0
    for c in range(ZERO, n - n % EIGHT, EIGHT):
        add_channel_gradient(g, h, v, u, w, dh, dv, du, dw, n, c, SIDE)
    for c in range(n - n % EIGHT, n):
        add_channel_gradient(g, h, v, u, w, dh, dv, du, dw, n, c, 1)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_channel_gradient(
    g: np.ndarray,
    h: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    w: np.ndarray,
    dh: np.ndarray,
    dv: np.ndarray,
    du: np.ndarray,
    dw: np.ndarray,
    n: Any,
    c: Any,
    lanes: int,
) -> None:
    """Do so for some channels."""
    of_vector, of_direction = load(h, c, lanes), load(h, n + c, lanes)
    w_vector, w_direction = load(w, c, lanes), load(w, n + c, lanes)
    by_vector, by_direction = of_vector * w_vector, of_direction * w_direction
    on_vector, on_direction = zeros(of_vector), zeros(of_vector)
    for x in range(THREE):
        gx = load(g, (x + ONE) * n + c, lanes)
        on_vector = on_vector + gx * load(v, x * n + c, lanes)
        on_direction = on_direction + u[x] * gx
        store(dv, x * n + c, load(dv, x * n + c, lanes) + by_vector * gx)
        du[x] += total(by_direction * gx)
    on_scalar = load(g, c, lanes)
    of_scalar, w_scalar = load(h, TWO * n + c, lanes), load(w, TWO * n + c, lanes)
    store(dh, c, load(dh, c, lanes) + on_vector * w_vector)
    store(dh, n + c, load(dh, n + c, lanes) + on_direction * w_direction)
    store(dh, TWO * n + c, load(dh, TWO * n + c, lanes) + on_scalar * w_scalar)
    store(dw, c, on_vector * of_vector)
    store(dw, n + c, on_direction * of_direction)
    store(dw, TWO * n + c, on_scalar * of_scalar)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_second_gradient(
    given: tuple[np.ndarray, ...], on: tuple[np.ndarray, ...], wanted: tuple[np.ndarray, ...]
) -> None:
    """Derive S = Σ on·(what ``add_gradient`` gives) of one edge, by g, h and v (added), u and w (written).

    ``given`` are g, h, v, u, w; ``on`` the gradients of a loss by those of h, v, u, w; ``wanted`` the
    derivatives by g, h, v, u, w.
    """
    n = np.uint64(len(given[1])) // THREE
    wanted[3][:] = 0
    for c in range(ZERO, n - n % EIGHT, EIGHT):
        add_channel_second_gradient(given, on, wanted, n, c, SIDE)
    for c in range(n - n % EIGHT, n):
        add_channel_second_gradient(given, on, wanted, n, c, 1)


@njit(cache=True, fastmath=FAST, nogil=True)
def add_channel_second_gradient(
    given: tuple[np.ndarray, ...],
    on: tuple[np.ndarray, ...],
    wanted: tuple[np.ndarray, ...],
    n: Any,
    c: Any,
    lanes: int,
) -> None:
    """Do so for some channels.

    With a = h w, b = H w + W h (capitals: ``on``), S is b·(g·v, g·u, g_0) + a·(g·V, g·U, 0).
    """
    g, h, v, u, w = given
    on_h, on_v, on_u, on_w = on
    dg, dh, dv, du, dw = wanted
    h0, w0, oh0, ow0 = load(h, c, lanes), load(w, c, lanes), load(on_h, c, lanes), load(on_w, c, lanes)
    k = n + c
    h1, w1, oh1, ow1 = load(h, k, lanes), load(w, k, lanes), load(on_h, k, lanes), load(on_w, k, lanes)
    a0, a1 = h0 * w0, h1 * w1
    b0, b1 = oh0 * w0 + ow0 * h0, oh1 * w1 + ow1 * h1
    by_a0, by_a1, by_b0, by_b1 = zeros(h0), zeros(h0), zeros(h0), zeros(h0)
    for x in range(THREE):
        gx = load(g, (x + ONE) * n + c, lanes)
        vx, on_vx = load(v, x * n + c, lanes), load(on_v, x * n + c, lanes)
        by_b0 = by_b0 + gx * vx
        by_b1 = by_b1 + u[x] * gx
        by_a0 = by_a0 + gx * on_vx
        by_a1 = by_a1 + on_u[x] * gx
        row = (x + ONE) * n + c
        moved = b0 * vx + u[x] * b1 + a0 * on_vx + on_u[x] * a1
        store(dg, row, load(dg, row, lanes) + moved)
        store(dv, x * n + c, load(dv, x * n + c, lanes) + b0 * gx)
        du[x] += total(b1 * gx)
    store(dh, c, load(dh, c, lanes) + by_a0 * w0 + by_b0 * ow0)
    store(dw, c, by_a0 * h0 + by_b0 * oh0)
    store(dh, k, load(dh, k, lanes) + by_a1 * w1 + by_b1 * ow1)
    store(dw, k, by_a1 * h1 + by_b1 * oh1)
    k = TWO * n + c
    h2, w2, oh2, ow2 = load(h, k, lanes), load(w, k, lanes), load(on_h, k, lanes), load(on_w, k, lanes)
    g0 = load(g, c, lanes)
    store(dg, c, load(dg, c, lanes) + oh2 * w2 + ow2 * h2)
    store(dh, k, load(dh, k, lanes) + g0 * ow2)
    store(dw, k, g0 * oh2)


# -- ranges of edges -----------------------------------------------------------------------------------


@njit(cache=True, fastmath=FAST, nogil=True)
def add_messages(
    edges: tuple[int, int],
    centres: np.ndarray,
    neighbours: np.ndarray,
    h: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    w: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the messages of a range of edges to M (n_atoms, 4 channels)."""
    for e in range(edges[0], edges[1]):
        j = neighbours[e]
        add_message(h[j], v[j], u[e], w[e], sums[centres[e]])


@njit(cache=True, fastmath=FAST, nogil=True)
def add_tabulated_messages(
    edges: tuple[int, int],
    centres: np.ndarray,
    neighbours: np.ndarray,
    h: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    lengths: np.ndarray,
    table: np.ndarray,
    spacing: float,
    sums: np.ndarray,
) -> None:
    """Do the same with weights from a table."""
    weights = np.zeros(h.shape[1], h.dtype)
    for e in range(edges[0], edges[1]):
        j = neighbours[e]
        interpolate(lengths[e], table, spacing, 0, weights)
        add_message(h[j], v[j], u[e], weights, sums[centres[e]])


@njit(cache=True, fastmath=FAST, nogil=True)
def add_gradients(
    edges: tuple[int, int],
    centres: np.ndarray,
    neighbours: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    w: np.ndarray,
    dh: np.ndarray,
    dv: np.ndarray,
    du: np.ndarray,
    dw: np.ndarray,
) -> None:
    """Derive T of a range of edges by h and v (added), u and w (written)."""
    for e in range(edges[0], edges[1]):
        j = neighbours[e]
        add_gradient(g[centres[e]], h[j], v[j], u[e], w[e], dh[j], dv[j], du[e], dw[e])


@njit(cache=True, fastmath=FAST, nogil=True)
def add_tabulated_gradients(
    edges: tuple[int, int],
    centres: np.ndarray,
    neighbours: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    lengths: np.ndarray,
    table: np.ndarray,
    spacing: float,
    dh: np.ndarray,
    dv: np.ndarray,
    du: np.ndarray,
    by_lengths: np.ndarray,
) -> None:
    """Do the same with weights from a table, of which only T by the distance is kept (written)."""
    weights, by_weights = np.zeros(h.shape[1], h.dtype), np.zeros(h.shape[1], h.dtype)
    for e in range(edges[0], edges[1]):
        j = neighbours[e]
        interpolate(lengths[e], table, spacing, 0, weights)
        add_gradient(g[centres[e]], h[j], v[j], u[e], weights, dh[j], dv[j], du[e], by_weights)
        interpolate(lengths[e], table, spacing, 1, weights)
        by_lengths[e] = (weights * by_weights).sum()


@njit(cache=True, fastmath=FAST, nogil=True)
def add_second_gradients(
    edges: tuple[int, int],
    centres: np.ndarray,
    neighbours: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    w: np.ndarray,
    on_h: np.ndarray,
    on_v: np.ndarray,
    on_u: np.ndarray,
    on_w: np.ndarray,
    dg: np.ndarray,
    dh: np.ndarray,
    dv: np.ndarray,
    du: np.ndarray,
    dw: np.ndarray,
) -> None:
    """Derive what ``add_gradients`` gives, summed with ``on``, by g, h and v (added), u and w (written)."""
    for e in range(edges[0], edges[1]):
        i, j = centres[e], neighbours[e]
        given = (g[i], h[j], v[j], u[e], w[e])
        on = (on_h[j], on_v[j], on_u[e], on_w[e])
        add_second_gradient(given, on, (dg[i], dh[j], dv[j], du[e], dw[e]))


@njit(cache=True, fastmath=FAST, nogil=True)
def add_tensors(
    edges: tuple[int, int],
    centres: np.ndarray,
    q: np.ndarray,
    u: np.ndarray,
    lengths: np.ndarray,
    table: np.ndarray,
    spacing: float,
    sums: np.ndarray,
) -> None:
    """Add t (u ⊗ u - 1/3) of a range of edges, xx yy zz yz xz xy, with t = Σ q w and w from a table."""
    weights = np.zeros(q.shape[1], q.dtype)
    third = q.dtype.type(1) / q.dtype.type(3)
    for e in range(edges[0], edges[1]):
        i = centres[e]
        interpolate(lengths[e], table, spacing, 0, weights)
        t = (weights * q[i]).sum()
        x, y, z = u[e, 0], u[e, 1], u[e, 2]
        sums[i, 0] += t * (x * x - third)
        sums[i, 1] += t * (y * y - third)
        sums[i, 2] += t * (z * z - third)
        sums[i, 3] += t * y * z
        sums[i, 4] += t * x * z
        sums[i, 5] += t * x * y
