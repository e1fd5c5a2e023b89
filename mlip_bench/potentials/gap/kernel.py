"""Numba kernels of SOAP: neighbour densities of atoms, their power spectra, and both run backwards.

The density of species s around atom i has the coefficients c_{s n lm} = Σ_j f_cut(r) h_{nl}(r) Y_lm(u), with
r and u the length and direction of the edge to neighbour j. From the derivative of the energy by them follow
the forces on all neighbours at once; nothing of the size (neighbours, components of the power spectrum) is
ever made.

Arrays that edges run along have them on the last axis, sorted by species; loops over them are vectorised.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import load, store, total, zeros

# Everything that lets loops be vectorised, but no assumption that would hide a NaN.
FAST = {"nsz", "arcp", "contract", "reassoc"}


class Shape(NamedTuple):
    """What a descriptor's densities are made of; lengths in Å."""

    cutoff: float
    width: float
    """Over which f_cut falls from 1 to 0."""
    table: np.ndarray
    """Values and slopes times spacing of h, evenly from 0 to the cutoff: (nodes, 2, l · n_max + n)."""
    norms: np.ndarray
    """N_lm of the spherical harmonics."""


class Around(NamedTuple):
    """The edges of one atom."""

    inside: np.ndarray
    """Where the edges within the cutoff stand among all of the atom."""
    limits: np.ndarray
    """Where those of each species begin; the last one is their number."""
    unit: np.ndarray
    inverse: np.ndarray
    """1/r."""
    radial: np.ndarray
    """f_cut h, (l · n_max + n, edges)."""
    d_radial: np.ndarray
    """Its derivative by r."""
    legendre: np.ndarray
    """Π_l^m in row l (l + 1) / 2 + m."""
    azimuth: np.ndarray
    """Real and imaginary part of (x + iy)^m, (2, m, edges)."""
    y: np.ndarray
    """Y_lm in row l² + l + m."""


class PairSum(NamedTuple):
    """A pair term: f_cut(r) Σ_k w_k exp(-(r - x_k)² / 2θ²); lengths in Å."""

    cutoff: float
    width: float
    """Over which f_cut falls from 1 to 0."""
    theta: float
    points: np.ndarray
    """x_k."""
    weights: np.ndarray
    """w_k (eV)."""


@njit(cache=True, nogil=True)
def room(first: np.ndarray, n_species: int, shape: Shape) -> Around:
    """Return arrays that hold the edges of any atom."""
    most = 1
    for i in range(len(first) - 1):
        most = max(most, first[i + 1] - first[i])
    n_functions, n_degrees = shape.table.shape[2], degrees(shape)
    return Around(
        np.empty(most, np.int64),
        np.empty(n_species + 1, np.int64),
        np.empty((3, most)),
        np.empty(most),
        np.empty((n_functions, most)),
        np.empty((n_functions, most)),
        np.empty((n_degrees * (n_degrees + 1) // 2, most)),
        np.empty((2, n_degrees, most)),
        np.empty((n_degrees * n_degrees, most)),
    )


@njit(cache=True, nogil=True)
def degrees(shape: Shape) -> int:
    """Return l_max + 1."""
    return int(np.sqrt(len(shape.norms)) + 0.5)


@njit(cache=True, nogil=True)
def see(vectors: np.ndarray, kinds: np.ndarray, shape: Shape, around: Around) -> None:
    """Set everything of the edges (vectors and species) of one atom."""
    gather(vectors, kinds, shape.cutoff, around.inside, around.limits)
    set_radial(vectors, shape, around)
    set_harmonics(shape, around)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def gather(
    vectors: np.ndarray, kinds: np.ndarray, cutoff: float, inside: np.ndarray, limits: np.ndarray
) -> None:
    """Set ``inside`` to the edges within the cutoff, by species; those of s begin at ``limits[s]``."""
    n = 0
    for s in range(len(limits) - 1):
        limits[s] = n
        for k in range(len(vectors)):
            square = vectors[k, 0] ** 2 + vectors[k, 1] ** 2 + vectors[k, 2] ** 2
            if kinds[k] == s and square < cutoff * cutoff:
                inside[n] = k
                n += 1
    limits[-1] = n


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def set_radial(vectors: np.ndarray, shape: Shape, around: Around) -> None:
    """Set unit vectors, 1/r, and f_cut h with its derivative by r, from cubic splines."""
    cutoff, width, table = shape.cutoff, shape.width, shape.table
    unit, inverse, radial, d_radial = around.unit, around.inverse, around.radial, around.d_radial
    spacing = cutoff / (len(table) - 1)
    for e in range(around.limits[-1]):
        k = around.inside[e]
        r = np.sqrt(vectors[k, 0] ** 2 + vectors[k, 1] ** 2 + vectors[k, 2] ** 2)
        inverse[e] = 1.0 / r
        for x in range(3):
            unit[x, e] = vectors[k, x] * inverse[e]
        smooth, d_smooth = 1.0, 0.0
        if r > cutoff - width:
            phase = np.pi * (r - cutoff + width) / width
            smooth, d_smooth = 0.5 * (1.0 + np.cos(phase)), -0.5 * np.pi / width * np.sin(phase)
        node = min(int(r / spacing), len(table) - 2)
        t = r / spacing - node
        s = 1.0 - t
        a, b = s * s * (1.0 + 2.0 * t), t * t * (3.0 - 2.0 * t)
        c, d = t * s * s, -t * t * s
        slope = 6.0 * t * s / spacing
        p, q = s * (1.0 - 3.0 * t) / spacing, t * (3.0 * t - 2.0) / spacing
        left, right = table[node], table[node + 1]
        for f in range(table.shape[2]):
            value = a * left[0, f] + b * right[0, f] + c * left[1, f] + d * right[1, f]
            change = slope * (right[0, f] - left[0, f]) + p * left[1, f] + q * right[1, f]
            radial[f, e] = smooth * value
            d_radial[f, e] = smooth * change + d_smooth * value


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def set_harmonics(shape: Shape, around: Around) -> None:
    """Set real spherical harmonics, and the factors that they are made of.

    Y_lm = N_lm Π_l^|m|(z) times Re (x + iy)^m, or Im (x + iy)^|m| for negative m, with Π_l^m the m-th
    derivative of Legendre's polynomial.
    """
    n_edges, l_max = around.limits[-1], degrees(shape) - 1
    unit, legendre, azimuth, y = around.unit, around.legendre, around.azimuth, around.y
    for e in range(n_edges):
        azimuth[0, 0, e], azimuth[1, 0, e] = 1.0, 0.0
        legendre[0, e] = 1.0
    for m in range(1, l_max + 1):
        for e in range(n_edges):
            re, im = azimuth[0, m - 1, e], azimuth[1, m - 1, e]
            azimuth[0, m, e] = unit[0, e] * re - unit[1, e] * im
            azimuth[1, m, e] = unit[0, e] * im + unit[1, e] * re
    for degree in range(1, l_max + 1):
        row, before = degree * (degree + 1) // 2, degree * (degree - 1) // 2
        for m in range(degree - 1):
            one, other = (2.0 * degree - 1.0) / (degree - m), (degree + m - 1.0) / (degree - m)
            earlier = (degree - 1) * (degree - 2) // 2 + m
            for e in range(n_edges):
                legendre[row + m, e] = (
                    one * unit[2, e] * legendre[before + m, e] - other * legendre[earlier, e]
                )
        for e in range(n_edges):
            last = (2.0 * degree - 1.0) * legendre[before + degree - 1, e]
            legendre[row + degree - 1, e] = unit[2, e] * last
            legendre[row + degree, e] = last
    for degree in range(l_max + 1):
        row, middle = degree * (degree + 1) // 2, degree * degree + degree
        for m in range(degree + 1):
            norm = shape.norms[middle + m]
            for e in range(n_edges):
                y[middle + m, e] = norm * legendre[row + m, e] * azimuth[0, m, e]
            if m > 0:
                for e in range(n_edges):
                    y[middle - m, e] = norm * legendre[row + m, e] * azimuth[1, m, e]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def densities(
    centres: np.ndarray,
    first: np.ndarray,
    kinds: np.ndarray,
    vectors: np.ndarray,
    shape: Shape,
    central: np.ndarray,
    out: np.ndarray,
) -> None:
    """Set c (n_centres, species · n, lm); ``central`` (species · n,) is what the atom itself adds to l = 0.

    ``kinds`` has the species of the neighbour at the end of each edge, below 0 for those that do not count.
    """
    n_degrees = degrees(shape)
    n_max = shape.table.shape[2] // n_degrees
    n_species = out.shape[1] // n_max
    around = room(first, n_species, shape)
    radial, y, limits = around.radial, around.y, around.limits
    for place in range(len(centres)):
        begin, end = first[centres[place]], first[centres[place] + 1]
        see(vectors[begin:end], kinds[begin:end], shape, around)
        for s in range(n_species):
            for n in range(0, n_max, 4):
                for degree in range(n_degrees):
                    f, several = degree * n_max + n, n + 4 <= n_max
                    for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                        if several:
                            four = products_of_four(f, lm, limits[s], limits[s + 1], radial, y)
                            for k in range(4):
                                out[place, s * n_max + n + k, lm] = four[k]
                        else:
                            for k in range(n_max - n):
                                total_of = 0.0
                                for e in range(limits[s], limits[s + 1]):
                                    total_of += radial[f + k, e] * y[lm, e]
                                out[place, s * n_max + n + k, lm] = total_of
        # For arrays assigned to slices numba compiles its messages of wrong shapes (3 s).
        for s in range(len(central)):
            out[place, s, 0] += central[s]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def products_of_four(
    f: int, lm: int, begin: int, end: int, radial: np.ndarray, y: np.ndarray
) -> tuple[float, float, float, float]:
    """Return the sums over edges of Y_lm with four radial functions, eight edges side by side."""
    row = radial.shape[1]
    flat, of_y = radial.reshape(-1), y.reshape(-1)
    one, at = f * row, lm * row
    last = begin + (end - begin) // 8 * 8
    a = zeros(load(of_y, at, 8))
    b, c, d = a, a, a
    for e in range(begin, last, 8):
        value = load(of_y, at + e, 8)
        a = a + value * load(flat, one + e, 8)
        b = b + value * load(flat, one + row + e, 8)
        c = c + value * load(flat, one + 2 * row + e, 8)
        d = d + value * load(flat, one + 3 * row + e, 8)
    first, second, third, fourth = total(a), total(b), total(c), total(d)
    for e in range(last, end):
        value_of = of_y[at + e]
        first += value_of * flat[one + e]
        second += value_of * flat[one + row + e]
        third += value_of * flat[one + 2 * row + e]
        fourth += value_of * flat[one + 3 * row + e]
    return first, second, third, fourth


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def power_spectra(c: np.ndarray, l_max: int, out: np.ndarray) -> np.ndarray:
    """Set the normalised power spectra (n_centres, components); return their lengths before.

    Components are p_{ab l} = Σ_m c_{a lm} c_{b lm} / √(2l + 1) for b ≤ a, times √2 where a ≠ b, in the order
    of QUIP: a outside, then b, then l; the last one is 0.
    """
    lengths = np.empty(len(c))
    for place in range(len(c)):
        index, square = 0, 0.0
        for a in range(c.shape[1]):
            for b in range(a + 1):
                for degree in range(l_max + 1):
                    total = 0.0
                    for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                        total += c[place, a, lm] * c[place, b, lm]
                    total *= np.sqrt((1.0 if a == b else 2.0) / (2.0 * degree + 1.0))
                    out[place, index] = total
                    square += total * total
                    index += 1
        lengths[place] = np.sqrt(square)
        for k in range(index):
            out[place, k] /= lengths[place]
        out[place, index:] = 0.0
    return lengths


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def kernel_sums(products: np.ndarray, weights: np.ndarray, zeta: int) -> np.ndarray:
    """Return Σ_k w_k x_k^ζ of each row x of ``products``, which becomes its derivative by x."""
    sums = np.empty(len(products))
    power = np.empty(products.shape[1])
    for place in range(len(products)):
        row = products[place]
        for k in range(len(weights)):
            power[k] = weights[k]
        for _ in range(zeta - 1):
            for k in range(len(row)):
                power[k] *= row[k]
        total = 0.0
        for k in range(len(row)):
            total += power[k] * row[k]
            row[k] = zeta * power[k]
        sums[place] = total
    return sums


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def pull_back_spectra(
    spectra: np.ndarray, lengths: np.ndarray, by_spectra: np.ndarray, c: np.ndarray, l_max: int
) -> np.ndarray:
    """Return the derivative by c, from that by the normalised power spectra."""
    by_c = np.zeros_like(c)
    for place in range(len(c)):
        along = 0.0
        for k in range(spectra.shape[1]):
            along += spectra[place, k] * by_spectra[place, k]
        index = 0
        for a in range(c.shape[1]):
            for b in range(a + 1):
                for degree in range(l_max + 1):
                    pull = (by_spectra[place, index] - along * spectra[place, index]) / lengths[place]
                    pull *= np.sqrt((1.0 if a == b else 2.0) / (2.0 * degree + 1.0))
                    for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                        by_c[place, a, lm] += pull * c[place, b, lm]
                        by_c[place, b, lm] += pull * c[place, a, lm]
                    index += 1
    return by_c


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def pull_back_harmonic(
    species: int, degree: int, m: int, norm: float, pull: np.ndarray, around: Around, by_unit: np.ndarray
) -> None:
    """Add the derivative of Σ pull · Y_lm by the unit vectors of a species; for negative m it has sines."""
    order, part = abs(m), 0 if m >= 0 else 1
    row = degree * (degree + 1) // 2 + order
    legendre, azimuth = around.legendre, around.azimuth
    for e in range(around.limits[species], around.limits[species + 1]):
        if order > 0:
            share = norm * pull[e] * order * legendre[row, e]
            re, im = azimuth[0, order - 1, e], azimuth[1, order - 1, e]
            by_unit[0, e] += share * (re if part == 0 else im)
            by_unit[1, e] += share * (-im if part == 0 else re)
        if order < degree:
            by_unit[2, e] += norm * pull[e] * legendre[row + 1, e] * azimuth[part, order, e]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def pull_back_radial(
    f: int,
    lm: int,
    begin: int,
    end: int,
    shares: np.ndarray,
    radial: np.ndarray,
    d_radial: np.ndarray,
    y: np.ndarray,
    pull: np.ndarray,
    by_length: np.ndarray,
) -> None:
    """Set ``pull`` to Σ_n shares_n h_n of edges, and add Y_lm Σ_n shares_n h_n' to ``by_length``.

    The functions are those from f on; eight edges go side by side.
    """
    row = radial.shape[1]
    values, slopes, of_y = radial.reshape(-1), d_radial.reshape(-1), y.reshape(-1)
    last = begin + (end - begin) // 8 * 8
    for e in range(begin, last, 8):
        along = zeros(load(of_y, e, 8))
        change = along
        for n in range(len(shares)):
            at = (f + n) * row + e
            along = along + shares[n] * load(values, at, 8)
            change = change + shares[n] * load(slopes, at, 8)
        store(pull, e, along)
        store(by_length, e, load(by_length, e, 8) + load(of_y, lm * row + e, 8) * change)
    for e in range(last, end):
        along_of, change_of = 0.0, 0.0
        for n in range(len(shares)):
            along_of += shares[n] * radial[f + n, e]
            change_of += shares[n] * d_radial[f + n, e]
        pull[e] = along_of
        by_length[e] += y[lm, e] * change_of


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def pull_back_densities(
    by_c: np.ndarray, shape: Shape, around: Around, by_unit: np.ndarray, by_length: np.ndarray
) -> None:
    """Set the derivatives of the energy by unit vectors and lengths from those by c (species · n, lm)."""
    n_degrees = degrees(shape)
    n_max = shape.table.shape[2] // n_degrees
    radial, d_radial, y = around.radial, around.d_radial, around.y
    pull, shares = np.empty(len(by_length)), np.empty(n_max)
    by_unit[:, : around.limits[-1]] = 0.0
    by_length[: around.limits[-1]] = 0.0
    for s in range(by_c.shape[0] // n_max):
        begin, end = around.limits[s], around.limits[s + 1]
        for degree in range(n_degrees):
            for m in range(-degree, degree + 1):
                lm = degree * degree + degree + m
                for n in range(n_max):
                    shares[n] = by_c[s * n_max + n, lm]
                pull_back_radial(degree * n_max, lm, begin, end, shares, radial, d_radial, y, pull, by_length)
                pull_back_harmonic(s, degree, m, shape.norms[lm], pull, around, by_unit)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_forces(
    centres: np.ndarray,
    first: np.ndarray,
    neighbours: np.ndarray,
    kinds: np.ndarray,
    vectors: np.ndarray,
    shape: Shape,
    by_c: np.ndarray,
    forces: np.ndarray,
    virial: np.ndarray,
    gradients: np.ndarray,
) -> None:
    """Add forces (n_atoms, 3) and virial -Σ r ⊗ dE/dr (3, 3) from the derivative of the energy by c.

    The derivatives by the vectors are added to ``gradients``, which is empty where nobody wants them.
    """
    n_max = shape.table.shape[2] // degrees(shape)
    around = room(first, by_c.shape[1] // n_max, shape)
    by_unit, by_length = np.empty_like(around.unit), np.empty_like(around.inverse)
    unit = around.unit
    for place in range(len(centres)):
        i = centres[place]
        here = vectors[first[i] : first[i + 1]]
        see(here, kinds[first[i] : first[i + 1]], shape, around)
        pull_back_densities(by_c[place], shape, around, by_unit, by_length)
        for e in range(around.limits[-1]):
            along = 0.0
            for x in range(3):
                along += unit[x, e] * by_unit[x, e]
            k = around.inside[e]
            j = neighbours[first[i] + k]
            for x in range(3):
                tangential = (by_unit[x, e] - along * unit[x, e]) * around.inverse[e]
                share = tangential + by_length[e] * unit[x, e]
                forces[i, x] += share
                forces[j, x] -= share
                for z in range(3):
                    virial[z, x] -= here[k, z] * share
                if len(gradients) > 0:
                    gradients[first[i] + k, x] += share


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_pairs(
    centres: np.ndarray,
    neighbours: np.ndarray,
    counts: np.ndarray,
    vectors: np.ndarray,
    pair: PairSum,
    energies: np.ndarray,
    forces: np.ndarray,
    virial: np.ndarray,
    gradients: np.ndarray,
) -> None:
    """Add energies (n_atoms,) in eV, forces (n_atoms, 3) and virial (3, 3) of a pair term.

    ``counts`` tells which of the edges count; there is one in each direction. ``gradients`` is as in
    :func:`add_forces`.
    """
    scale = 1.0 / pair.theta**2
    begin = pair.cutoff - pair.width
    for e in range(len(neighbours)):
        square = vectors[e, 0] ** 2 + vectors[e, 1] ** 2 + vectors[e, 2] ** 2
        if not counts[e] or square >= pair.cutoff * pair.cutoff:
            continue
        r = np.sqrt(square)
        total, slope = 0.0, 0.0
        for k in range(len(pair.points)):
            away = r - pair.points[k]
            share = pair.weights[k] * np.exp(-0.5 * scale * away * away)
            total += share
            slope -= scale * away * share
        smooth, d_smooth = 1.0, 0.0
        if r > begin:
            phase = np.pi * (r - begin) / pair.width
            smooth, d_smooth = 0.5 * (1.0 + np.cos(phase)), -0.5 * np.pi / pair.width * np.sin(phase)
        energies[centres[e]] += smooth * total
        along = (smooth * slope + d_smooth * total) / r
        for x in range(3):
            pull = along * vectors[e, x]
            forces[centres[e], x] += pull
            forces[neighbours[e], x] -= pull
            for z in range(3):
                virial[z, x] -= vectors[e, z] * pull
            if len(gradients) > 0:
                gradients[e, x] += pull
