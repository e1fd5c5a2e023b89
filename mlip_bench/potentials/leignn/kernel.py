r"""The messages of LEIGNN on a CPU, summed at their centres without those of single edges in memory.

With channel c, edge p from centre i to neighbour j of direction u, features h (three blocks of channels) and
vectors v of the neighbour, and weights w of the edge,

.. math:: M_{i,0,c} = \sum_p h_{2,c} w_{2,c}, \quad
          M_{i,x,c} = \sum_p (h_{0,c} w_{0,c} v_{x,c} + h_{1,c} w_{1,c} u_x)

A row has four blocks of channels: the scalar one, and x, y, z. Weights come from tables of distances. All
derivatives are contractions of the form T(g, h, v, u, w) = Σ g·M, one argument left open; channels are
computed with side by side (``lanes``).
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


# -- ranges of edges -----------------------------------------------------------------------------------


@njit(cache=True, fastmath=FAST, nogil=True)
def add_messages(
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
    """Add the messages of a range of edges to M (n_atoms, 4 channels), with weights from a table."""
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
    lengths: np.ndarray,
    table: np.ndarray,
    spacing: float,
    dh: np.ndarray,
    dv: np.ndarray,
    du: np.ndarray,
    by_lengths: np.ndarray,
) -> None:
    """Derive T of a range of edges by h and v (added), by u and the distance (written)."""
    weights, by_weights = np.zeros(h.shape[1], h.dtype), np.zeros(h.shape[1], h.dtype)
    for e in range(edges[0], edges[1]):
        j = neighbours[e]
        interpolate(lengths[e], table, spacing, 0, weights)
        add_gradient(g[centres[e]], h[j], v[j], u[e], weights, dh[j], dv[j], du[e], by_weights)
        interpolate(lengths[e], table, spacing, 1, weights)
        by_lengths[e] = (weights * by_weights).sum()


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
