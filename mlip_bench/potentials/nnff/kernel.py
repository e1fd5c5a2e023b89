"""Numba kernels: symmetry functions and covariant axes of all atoms in one pass, without any derivative.

The functions are those of :mod:`mlip_bench.potentials.symmetry_functions`. Every term of a function is also
a term of an axis (:mod:`mlip_bench.potentials.nnff.axes`): what an edge or a triple adds to a fingerprint, it
adds to a vector times the unit vectors of its edges. Edges of a centre are gathered by element, triples by
pair of elements, so that all inner loops run over contiguous arrays.
"""

import numpy as np
from numba import njit

from mlip_bench.potentials.symmetry_functions.kernel import FAST, cutoff_function, most_triples


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def edges_with_weights(
    vectors: np.ndarray, cutoffs: np.ndarray, kind: tuple[int, float], etas: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return lengths r (n_edges,), unit vectors (n_edges, 3), f_c of each cutoff and W of each η by edge.

    W (n_edges, n_etas) is exp(-η (r - R_s)²) f_c(r): the factor of an edge in the angular functions.
    """
    n_edges = len(vectors)
    lengths, units = np.empty(n_edges), np.empty((n_edges, 3))
    switch, weight = np.zeros((n_edges, len(cutoffs))), np.zeros((n_edges, len(etas)))
    for e in range(n_edges):
        r = np.sqrt(vectors[e, 0] ** 2 + vectors[e, 1] ** 2 + vectors[e, 2] ** 2)
        lengths[e] = r
        for x in range(3):
            units[e, x] = vectors[e, x] / r
        if r < cutoffs[-1]:
            for c in range(len(cutoffs)):
                switch[e, c] = cutoff_function(kind[0], kind[1], r, cutoffs[c])[0]
            for g in range(len(etas)):
                away = r - etas[g, 1]
                weight[e, g] = np.exp(-etas[g, 0] * away * away) * switch[e, int(etas[g, 2])]
    return lengths, units, switch, weight


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _gather_edges(
    begin: int,
    end: int,
    kind: int,
    kinds: np.ndarray,
    cutoff: float,
    lengths: np.ndarray,
    units: np.ndarray,
    near: np.ndarray,
    which: np.ndarray,
) -> int:
    """Put r and unit vectors of a centre's edges to one element into rows of ``near``; return how many."""
    m = 0
    for e in range(begin, end):
        if kinds[e] == kind and lengths[e] < cutoff:
            which[m] = e
            near[0, m] = lengths[e]
            near[1, m], near[2, m], near[3, m] = units[e, 0], units[e, 1], units[e, 2]
            m += 1
    return m


@njit(cache=True, nogil=True)
def sorted_triples(
    start: np.ndarray, triples: np.ndarray, pair: np.ndarray, n_pairs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the triples (3, n_triples) of each centre by pair of elements, and where each pair begins.

    The beginnings are (n_atoms, n_pairs + 1).
    """
    n_atoms = len(start) - 1
    begins, ordered = np.empty((n_atoms, n_pairs + 1), np.int64), np.empty_like(triples)
    place = np.empty(n_pairs, np.int64)
    for i in range(n_atoms):
        begins[i, :] = 0
        for p in range(start[i], start[i + 1]):
            begins[i, pair[p] + 1] += 1
        begins[i, 0] = start[i]
        for one in range(n_pairs):
            begins[i, one + 1] += begins[i, one]
            place[one] = begins[i, one]
        for p in range(start[i], start[i + 1]):
            to = place[pair[p]]
            place[pair[p]] += 1
            for side in range(3):
                ordered[side, to] = triples[side, p]
    return ordered, begins


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _gather_triples(
    begin: int,
    end: int,
    triples: np.ndarray,
    first_kind: int,
    kinds: np.ndarray,
    inside: np.ndarray,
    units: np.ndarray,
    weight: np.ndarray,
    chosen: np.ndarray,
    product: np.ndarray,
    cosines: np.ndarray,
    sides: np.ndarray,
) -> int:
    """Put the triples of a pair of elements into contiguous arrays; return how many are within the cutoff.

    ``product`` (n_etas, m) is W(a) W(b) W(c), ``sides`` (6, m) the unit vectors of the edge to the first
    element of the pair and to the second.
    """
    m = 0
    for p in range(begin, end):  # without a branch: two of three triples of the list lie within its skin
        chosen[m] = p
        m += inside[triples[0, p]] & inside[triples[1, p]] & inside[triples[2, p]]
    for t in range(m):
        a, b, c = triples[0, chosen[t]], triples[1, chosen[t]], triples[2, chosen[t]]
        if kinds[a] != first_kind:
            a, b = b, a
        for g in range(len(product)):
            product[g, t] = weight[a, g] * weight[b, g] * weight[c, g]
        for x in range(3):
            sides[x, t], sides[3 + x, t] = units[a, x], units[b, x]
    for t in range(m):
        cosines[t] = sides[0, t] * sides[3, t] + sides[1, t] * sides[4, t] + sides[2, t] * sides[5, t]
    return m


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _powers(cosines: np.ndarray, m: int, lam: float, zeta: float, value: np.ndarray) -> None:
    """Set value = 2^(1-ζ) (1 + λ cos)^ζ for the first m entries: by squaring where ζ is a power of two."""
    doublings = np.log2(zeta)
    if doublings != np.floor(doublings):
        for p in range(m):
            value[p] = 2.0 ** (1.0 - zeta) * max(1.0 + lam * cosines[p], 0.0) ** zeta
        return
    for p in range(m):
        value[p] = 0.5 * (1.0 + lam * cosines[p])
    for _ in range(int(doublings)):
        for p in range(m):
            value[p] *= value[p]
    for p in range(m):
        value[p] *= 2.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _sums_of_edges(
    m: int, function: np.ndarray, near: np.ndarray, switched: np.ndarray, axis: np.ndarray
) -> float:
    """Return a radial function (row: element, η, R_s, cutoff) of a centre, and set the axis of its terms."""
    eta, shift = function[1], function[2]
    total, along_x, along_y, along_z = 0.0, 0.0, 0.0, 0.0
    for e in range(m):
        away = near[0, e] - shift
        term = np.exp(-eta * away * away) * switched[e]
        total += term
        along_x += term * near[1, e]
        along_y += term * near[2, e]
        along_z += term * near[3, e]
    axis[0], axis[1], axis[2] = along_x, along_y, along_z
    return total


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _sums_of_triples(
    m: int, product: np.ndarray, power: np.ndarray, sides: np.ndarray, begin: int, axis: np.ndarray
) -> float:
    """Return Σ product · power over triples, and set the axis with the unit vectors from row ``begin``."""
    total, along_x, along_y, along_z = 0.0, 0.0, 0.0, 0.0
    for p in range(m):
        term = product[p] * power[p]
        total += term
        along_x += term * sides[begin, p]
        along_y += term * sides[begin + 1, p]
        along_z += term * sides[begin + 2, p]
    axis[0], axis[1], axis[2] = along_x, along_y, along_z
    return total


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def functions_and_axes(
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    n_species: int,
    vectors: np.ndarray,
    triples: np.ndarray,
    begins: np.ndarray,
    cutoffs: np.ndarray,
    switch_kind: tuple[int, float],
    etas: np.ndarray,
    shapes: np.ndarray,
    radial: tuple[np.ndarray, ...],
    angular: tuple[np.ndarray, ...],
    blocks: tuple[np.ndarray, ...],
    n_functions: int,
    n_axes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the functions (n_atoms, n_functions) and the axes that go with them (n_atoms, n_axes, 3).

    Tables are those of :class:`mlip_bench.potentials.symmetry_functions.geometry.Tables`. A radial function
    has one axis, an angular function of two equal elements one, one of two different elements two. Rows are
    filled up with zeros.
    """
    lengths, units, switch, weight = edges_with_weights(vectors, cutoffs, switch_kind, etas)
    kinds = species[neighbours]
    values, axes = np.zeros((len(species), n_functions)), np.zeros((len(species), n_axes, 3))
    most, most_edges = most_triples(begins.ravel()), most_triples(first)
    inside = (lengths < cutoffs[-1]).astype(np.uint8)
    near, which, switched = np.empty((4, most_edges)), np.empty(most_edges, np.int64), np.empty(most_edges)
    chosen, product = np.empty(most + 1, np.int64), np.empty((len(etas), most))
    cosines, sides, power = np.empty(most), np.empty((6, most)), np.empty((len(shapes), most))
    for i in range(len(species)):
        mine, angles = radial[species[i]], angular[species[i]]
        m, last, last_cutoff = 0, -1, -1
        for f in range(len(mine)):
            if int(mine[f, 0]) != last:
                last, last_cutoff = int(mine[f, 0]), -1
                m = _gather_edges(
                    first[i], first[i + 1], last, kinds, cutoffs[-1], lengths, units, near, which
                )
            if int(mine[f, 3]) != last_cutoff:
                last_cutoff = int(mine[f, 3])
                for e in range(m):
                    switched[e] = switch[which[e], last_cutoff]
            values[i, f] = _sums_of_edges(m, mine[f], near, switched, axes[i, f])
        k = len(mine)
        for part in blocks[species[i]]:
            one, other = part[0] // n_species, part[0] % n_species
            m = _gather_triples(
                begins[i, part[0]], begins[i, part[0] + 1], triples, one, kinds, inside, units, weight,
                chosen, product, cosines, sides,
            )  # fmt: skip
            if one == other:
                for x in range(3):
                    for p in range(m):
                        sides[x, p] += sides[3 + x, p]
            last = -1
            for f in range(part[1], part[2]):
                g, q = angles[f, 1], angles[f, 2]
                if q != last:
                    _powers(cosines, m, shapes[q, 0], shapes[q, 1], power[q])
                    last = q
                values[i, len(mine) + f] = _sums_of_triples(m, product[g], power[q], sides, 0, axes[i, k])
                k += 1
                if one != other:
                    _sums_of_triples(m, product[g], power[q], sides, 3, axes[i, k])
                    k += 1
    return values, axes


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def axes_of_channels(
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    cutoffs: np.ndarray,
    switch_kind: tuple[int, float],
    radial: tuple[np.ndarray, ...],
    channels: np.ndarray,
    begins: np.ndarray,
    axes: np.ndarray,
) -> None:
    """Set the axes Σ_j g_f(r_ij) s_q(j) u_ij, from ``begins`` (n_elements,) on.

    ``channels`` s are (n_atoms, n_channels). Axes stand in the order of the radial functions of each element,
    channels next to each other.
    """
    n_channels = channels.shape[1]
    lengths, units, switch, _ = edges_with_weights(vectors, cutoffs, switch_kind, np.empty((0, 4)))
    kinds = species[neighbours]
    most_edges = most_triples(first)
    near, which = np.empty((4, most_edges)), np.empty(most_edges, np.int64)
    along, sums = np.empty((most_edges, 3 * n_channels)), np.empty(3 * n_channels)
    for i in range(len(species)):
        mine = radial[species[i]]
        m, last = 0, -1
        for f in range(len(mine)):
            if int(mine[f, 0]) != last:
                last = int(mine[f, 0])
                m = _gather_edges(
                    first[i], first[i + 1], last, kinds, cutoffs[-1], lengths, units, near, which
                )
                for e in range(m):
                    for q in range(n_channels):
                        for x in range(3):
                            along[e, 3 * q + x] = channels[neighbours[which[e]], q] * near[1 + x, e]
            sums[:] = 0.0
            for e in range(m):
                away = near[0, e] - mine[f, 2]
                term = np.exp(-mine[f, 1] * away * away) * switch[which[e], int(mine[f, 3])]
                for column in range(3 * n_channels):
                    sums[column] += term * along[e, column]
            for q in range(n_channels):
                for x in range(3):
                    axes[i, begins[species[i]] + f * n_channels + q, x] = sums[3 * q + x]


@njit(cache=True, nogil=True, error_model="numpy")
def nearest(
    first: np.ndarray, vectors: np.ndarray, cutoff: float, n_ranked: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors to the nearest neighbours (n_atoms, n_ranked, 3), by rank, and their edges.

    Where an atom has fewer within the cutoff, the rest are zeros, and their edges -1.
    """
    n_atoms = len(first) - 1
    axes, edges = np.zeros((n_atoms, n_ranked, 3)), np.full((n_atoms, n_ranked), -1)
    for i in range(n_atoms):
        begin, end = first[i], first[i + 1]
        squares = np.empty(end - begin)
        for e in range(begin, end):
            squares[e - begin] = vectors[e, 0] ** 2 + vectors[e, 1] ** 2 + vectors[e, 2] ** 2
        order = np.argsort(squares)
        for k in range(min(n_ranked, len(order))):
            square = squares[order[k]]
            if square >= cutoff * cutoff:
                break
            edges[i, k] = begin + order[k]
            for x in range(3):
                axes[i, k, x] = vectors[begin + order[k], x] / np.sqrt(square)
    return axes, edges
