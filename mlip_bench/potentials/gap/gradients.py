"""Numba kernels of the derivatives of power spectra by positions and strain: a fit needs them one by one.

Evaluation runs backwards from one energy (:mod:`.kernel`); the covariance of a force with each sparse point
needs ∂p/∂r itself. With A_bl = Σ_m Y_lm c_blm and B_bl = Σ_m (∇Y_lm) c_blm of the edge that moves, the
derivative of p_{ab l} by the far end r of an edge is T_ab + T_ba, where

    T_ab = h'_al(r) u A_bl + h_al(r) B_bl

so that its cost is that of the components alone. Where neighbours of one species move, only the components
change that have a function of this species: the others are left out. They stand by l; in each first the pairs
b ≤ a of the species' own functions, then the pairs of these with all others.
"""

import numpy as np
from numba import njit

from mlip_bench.potentials.gap.kernel import FAST, Around, Shape, degrees, room, see


def columns(n_max: int, l_max: int, n_species: int, channel: int) -> np.ndarray:
    """Return which components of the power spectrum neighbours of the species ``channel`` change."""
    own = range(channel * n_max, (channel + 1) * n_max)
    others = [b for b in range(n_species * n_max) if b not in own]
    pairs = [(a, b) for a in own for b in own if b <= a] + [(a, b) for a in own for b in others]
    high, low = np.array(pairs).max(axis=1), np.array(pairs).min(axis=1)
    places = (high * (high + 1) // 2 + low) * (l_max + 1)
    return (places[None, :] + np.arange(l_max + 1)[:, None]).ravel()


def factors(n_max: int, l_max: int, n_species: int) -> np.ndarray:
    """Return √((2 - δ_ab) / (2l + 1)) of each component of the power spectrum, the last one 0."""
    high, low = np.tril_indices(n_max * n_species)
    pairs = np.where(high == low, 1.0, 2.0)
    return np.append(np.sqrt(np.divide.outer(pairs, 2.0 * np.arange(l_max + 1) + 1)).ravel(), 0.0)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def set_slopes(shape: Shape, around: Around, slopes: np.ndarray) -> None:
    """Set the gradients of Y_lm by the ends of the edges, (3, lm, edges)."""
    legendre, azimuth, unit = around.legendre, around.azimuth, around.unit
    for degree in range(degrees(shape)):
        for m in range(-degree, degree + 1):
            lm, order, part = degree * degree + degree + m, abs(m), 0 if m >= 0 else 1
            row, norm = degree * (degree + 1) // 2 + order, shape.norms[lm]
            for e in range(around.limits[-1]):
                x, y, z = 0.0, 0.0, 0.0
                if order > 0:
                    share = norm * order * legendre[row, e]
                    re, im = azimuth[0, order - 1, e], azimuth[1, order - 1, e]
                    x = share * (re if part == 0 else im)
                    y = share * (-im if part == 0 else re)
                if order < degree:
                    z = norm * legendre[row + 1, e] * azimuth[part, order, e]
                along = x * unit[0, e] + y * unit[1, e] + z * unit[2, e]
                slopes[0, lm, e] = (x - along * unit[0, e]) * around.inverse[e]
                slopes[1, lm, e] = (y - along * unit[1, e]) * around.inverse[e]
                slopes[2, lm, e] = (z - along * unit[2, e]) * around.inverse[e]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_derivative(
    e: int,
    channel: int,
    c: np.ndarray,
    shape: Shape,
    around: Around,
    slopes: np.ndarray,
    contracted: np.ndarray,
    terms: np.ndarray,
    row: np.ndarray,
) -> None:
    """Add to ``row`` (3, columns) the derivative of p at the end of edge e by the position of its beginning.

    ``c`` (lm, functions) are the densities of the atom at the end. It sees the edge from the other side:
    harmonics change their sign by (-1)^l there, and their gradients by (-1)^(l + 1).
    """
    n_degrees = degrees(shape)
    n_max, n_functions = shape.table.shape[2] // n_degrees, c.shape[1]
    begin, end = channel * n_max, (channel + 1) * n_max
    column = 0
    for degree in range(n_degrees):
        sign = 1.0 if degree % 2 else -1.0
        contracted[:] = 0.0
        for lm in range(degree * degree, (degree + 1) * (degree + 1)):
            y, dx, dy, dz = around.y[lm, e], slopes[0, lm, e], slopes[1, lm, e], slopes[2, lm, e]
            for b in range(n_functions):
                contracted[0, b] += y * c[lm, b]
                contracted[1, b] += dx * c[lm, b]
                contracted[2, b] += dy * c[lm, b]
                contracted[3, b] += dz * c[lm, b]
        for a in range(n_max):
            value = sign * around.radial[degree * n_max + a, e]
            slope = sign * around.d_radial[degree * n_max + a, e]
            for x in range(3):
                along = slope * around.unit[x, e]
                for b in range(n_functions):
                    terms[x, a, b] = along * contracted[0, b] + value * contracted[x + 1, b]
        n_own = n_max * (n_max + 1) // 2
        n_all = n_own + n_max * (n_functions - n_max)
        for x in range(3):
            place = column
            for a in range(n_max):
                for b in range(a + 1):
                    row[x, place + b] += terms[x, a, begin + b] + terms[x, b, begin + a]
                place += a + 1
            for a in range(n_max):
                for b in range(begin):
                    row[x, place + b] += terms[x, a, b]
                place += begin
                for b in range(end, n_functions):
                    row[x, place + b - end] += terms[x, a, b]
                place += n_functions - end
        column += n_all


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def neighbour_rows(
    movers: np.ndarray,
    first: np.ndarray,
    neighbours: np.ndarray,
    kinds: np.ndarray,
    vectors: np.ndarray,
    shape: Shape,
    c: np.ndarray,
    channel: int,
    rows: np.ndarray,
    centres: np.ndarray,
    limits: np.ndarray,
) -> None:
    """Set the derivatives of the power spectra of atoms around each of ``movers`` by its position.

    ``rows`` (pairs, 3, columns) has one row for each atom that a mover is near, ``centres`` tells which, and
    those of mover k begin at ``limits[k]``. Neighbours of each atom are in order; ``kinds`` is 0 for those
    that count and below 0 for others. ``c`` (n_atoms, lm, functions) are densities. An atom's own images move
    with it: they are left out.
    """
    n_functions = c.shape[2]
    around = room(first, 1, shape)
    slopes = np.empty((3, c.shape[1], len(around.inverse)))
    contracted = np.empty((4, n_functions))
    terms = np.empty((3, shape.table.shape[2] // degrees(shape), n_functions))
    n = 0
    for place in range(len(movers)):
        j = movers[place]
        begin, end = first[j], first[j + 1]
        limits[place] = n
        see(vectors[begin:end], kinds[begin:end], shape, around)
        set_slopes(shape, around, slopes)
        before = -1
        for e in range(around.limits[-1]):
            i = neighbours[begin + around.inside[e]]
            if i == j:
                continue
            if i != before:
                rows[n] = 0.0
                centres[n] = i
                before = i
                n += 1
            add_derivative(e, channel, c[i], shape, around, slopes, contracted, terms, rows[n - 1])
    limits[len(movers)] = n


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def set_own_densities(
    moves: np.ndarray,
    here: np.ndarray,
    shape: Shape,
    around: Around,
    slopes: np.ndarray,
    by_c: np.ndarray,
) -> None:
    """Set the derivatives of c by the atom's own position, and by strain where there is room for it.

    ``by_c`` (3 or 9, functions, lm): x, y, z; then strain xx yy zz yz xz xy. ``here`` are the vectors of the
    atom's edges, and ``moves`` (edges,) is 0 for those to its own images.
    """
    n_degrees = degrees(shape)
    n_max = shape.table.shape[2] // n_degrees
    unit = around.unit
    strain = by_c.shape[0] > 3
    for s in range(len(around.limits) - 1):
        begin, end = around.limits[s], around.limits[s + 1]
        for degree in range(n_degrees):
            for n in range(n_max):
                f, row = degree * n_max + n, s * n_max + n
                radial, d_radial = around.radial[f], around.d_radial[f]
                for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                    y = around.y[lm]
                    x0, x1, x2 = 0.0, 0.0, 0.0
                    for e in range(begin, end):
                        along = d_radial[e] * y[e]
                        x0 -= moves[e] * (along * unit[0, e] + radial[e] * slopes[0, lm, e])
                        x1 -= moves[e] * (along * unit[1, e] + radial[e] * slopes[1, lm, e])
                        x2 -= moves[e] * (along * unit[2, e] + radial[e] * slopes[2, lm, e])
                    by_c[0, row, lm], by_c[1, row, lm], by_c[2, row, lm] = x0, x1, x2
                    if not strain:
                        continue
                    by_c[3:, row, lm] = 0.0
                    for e in range(begin, end):
                        along = d_radial[e] * y[e]
                        g0 = along * unit[0, e] + radial[e] * slopes[0, lm, e]
                        g1 = along * unit[1, e] + radial[e] * slopes[1, lm, e]
                        g2 = along * unit[2, e] + radial[e] * slopes[2, lm, e]
                        r = 1.0 / around.inverse[e]
                        by_c[3, row, lm] += r * unit[0, e] * g0
                        by_c[4, row, lm] += r * unit[1, e] * g1
                        by_c[5, row, lm] += r * unit[2, e] * g2
                        by_c[6, row, lm] += r * unit[1, e] * g2
                        by_c[7, row, lm] += r * unit[0, e] * g2
                        by_c[8, row, lm] += r * unit[0, e] * g1


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def own_rows(
    centres: np.ndarray,
    first: np.ndarray,
    neighbours: np.ndarray,
    kinds: np.ndarray,
    vectors: np.ndarray,
    shape: Shape,
    c: np.ndarray,
    out: np.ndarray,
) -> None:
    """Set the derivatives of the power spectrum of each centre by its own position, and by strain.

    ``out`` (n_centres, 3 or 9, components) has components in QUIP's order; ``c`` (n_centres, functions, lm)
    are the densities of the centres.
    """
    n_degrees = degrees(shape)
    n_functions = c.shape[1]
    n_species = n_functions // (shape.table.shape[2] // n_degrees)
    around = room(first, n_species, shape)
    slopes = np.empty((3, c.shape[2], len(around.inverse)))
    moves = np.empty(len(around.inverse))
    by_c = np.empty((out.shape[1], n_functions, c.shape[2]))
    for place in range(len(centres)):
        i = centres[place]
        begin, end = first[i], first[i + 1]
        here = vectors[begin:end]
        see(here, kinds[begin:end], shape, around)
        set_slopes(shape, around, slopes)
        for e in range(around.limits[-1]):
            moves[e] = 0.0 if neighbours[begin + around.inside[e]] == i else 1.0
        set_own_densities(moves, here, shape, around, slopes, by_c)
        for d in range(out.shape[1]):
            index = 0
            for a in range(n_functions):
                for b in range(a + 1):
                    for degree in range(n_degrees):
                        total = 0.0
                        for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                            total += by_c[d, a, lm] * c[place, b, lm] + c[place, a, lm] * by_c[d, b, lm]
                        total *= np.sqrt((1.0 if a == b else 2.0) / (2.0 * degree + 1.0))
                        out[place, d, index] = total
                        index += 1
            out[place, d, index:] = 0.0


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def along_spectra(rows: np.ndarray, spectra: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return p̂ · ∂p of rows (pairs, d, columns), (pairs, d); p̂ of pair k is ``spectra[centres[k]]``."""
    found = np.empty(rows.shape[:2])
    for k in range(len(rows)):
        unit = spectra[centres[k]]
        for d in range(rows.shape[1]):
            total = 0.0
            for column in range(rows.shape[2]):
                total += rows[k, d, column] * unit[column]
            found[k, d] = total
    return found


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_covariances(
    products: np.ndarray,
    along: np.ndarray,
    centres: np.ndarray,
    limits: np.ndarray,
    slopes: np.ndarray,
    values: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add Σ_i s_ik (p_k · ∂p_i) - v_ik (p̂_i · ∂p_i) over the pairs of each mover to ``out``.

    ``products`` (pairs, d, sparse) are p_k · ∂p_i and ``along`` (pairs, d) are p̂_i · ∂p_i. ``slopes`` (atoms,
    sparse) are ζ δ² (p̂ · p_k)^(ζ - 1) / |p|, and ``values`` these times p̂ · p_k.
    """
    for mover in range(len(limits) - 1):
        for k in range(limits[mover], limits[mover + 1]):
            slope, value = slopes[centres[k]], values[centres[k]]
            for d in range(products.shape[1]):
                product, target, share = products[k, d], out[mover, d], along[k, d]
                for column in range(len(slope)):
                    target[column] += slope[column] * product[column] - share * value[column]
