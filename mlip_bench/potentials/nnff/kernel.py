"""Numba kernels: symmetry functions and covariant axes of all atoms in one pass, without any derivative.

The functions are those of :mod:`mlip_bench.potentials.symmetry_functions`. Every term of a function is also
a term of an axis (:mod:`mlip_bench.potentials.nnff.covariant_axes`): what an edge or a triple adds to a
fingerprint, it adds to a vector times the unit vectors of its edges. Edges of a centre are gathered by
element, triples by pair of elements, so that all inner loops run over contiguous arrays.
"""

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import exponential, load, splat, store, total, zeros
from mlip_bench.potentials.symmetry_functions.kernel import FAST, cutoff_function, most_triples

# Numbers that are added up side by side; buffers end with whole lanes.
LANES = 8

EdgeTables = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""What :func:`edges_with_weights` returns."""


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def edges_with_weights(
    vectors: np.ndarray, cutoffs: np.ndarray, kind: tuple[int, float], etas: np.ndarray
) -> EdgeTables:
    """Return by edge whether it is within the cutoff, and for those that are what else is asked of them.

    That is r (n_edges,), unit vectors (n_edges, 3), f_c of each cutoff, and W of each η, which is
    exp(-η (r - R_s)²) f_c(r), the factor of an edge in the angular functions.
    """
    n_edges = len(vectors)
    inside, lengths, units = np.empty(n_edges, np.uint8), np.empty(n_edges), np.empty((n_edges, 3))
    switch, weight = np.empty((n_edges, len(cutoffs))), np.empty((n_edges, len(etas)))
    for e in range(n_edges):
        square = vectors[e, 0] ** 2 + vectors[e, 1] ** 2 + vectors[e, 2] ** 2
        inside[e] = square < cutoffs[-1] ** 2
        if not inside[e]:
            continue
        lengths[e] = np.sqrt(square)
        inverse = 1.0 / lengths[e]
        for x in range(3):
            units[e, x] = vectors[e, x] * inverse
        for c in range(len(cutoffs)):
            switch[e, c] = cutoff_function(kind[0], kind[1], lengths[e], cutoffs[c])[0]
        for g in range(len(etas)):
            away = lengths[e] - etas[g, 1]
            weight[e, g] = np.exp(-etas[g, 0] * away * away) * switch[e, int(etas[g, 2])]
    return inside, lengths, units, switch, weight


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _gather_edges(
    begin: int,
    end: int,
    kind: int,
    kinds: np.ndarray,
    inside: np.ndarray,
    lengths: np.ndarray,
    units: np.ndarray,
    near: np.ndarray,
    which: np.ndarray,
) -> int:
    """Put r and unit vectors of a centre's edges to one element into rows of ``near``; return how many."""
    m = 0
    for e in range(begin, end):
        if inside[e] and kinds[e] == kind:
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
def _radial_terms(
    m: int, function: np.ndarray, lengths: np.ndarray, switched: np.ndarray, terms: np.ndarray
) -> None:
    """Set the terms of a radial function (row: element, η, R_s, cutoff) of a centre's edges.

    ``switched`` is the cutoff function, and ends with zeros.
    """
    like = load(lengths, 0, LANES)
    back = splat(-function[2], like)
    for e in range(0, m, LANES):
        away = load(lengths, e, LANES) + back
        store(terms, e, exponential(-function[1] * (away * away)) * load(switched, e, LANES))


@njit(cache=True, nogil=True)
def _fill_up(m: int, terms: np.ndarray) -> None:
    """Set what is left of the last lanes of terms to zero."""
    for p in range(m, _whole_lanes(m)):
        terms[p] = 0.0


@njit(cache=True, nogil=True)
def _whole_lanes(m: int) -> int:
    """Return the next multiple of ``LANES``."""
    return (m + LANES - 1) // LANES * LANES


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _sums(
    m: int, terms: np.ndarray, factors: np.ndarray, sides: np.ndarray, begin: int, axis: np.ndarray
) -> float:
    """Return Σ terms · factors, and set the axis: that sum with three vectors of ``sides``.

    These begin at number ``begin``, and are as long as ``factors``. Terms end with zeros, and all else is
    finite there.
    """
    row = len(factors)
    one = load(terms, 0, LANES)
    total_of, along_x, along_y, along_z = zeros(one), zeros(one), zeros(one), zeros(one)
    for p in range(0, m, LANES):
        term = load(terms, p, LANES) * load(factors, p, LANES)
        total_of = total_of + term
        along_x = along_x + term * load(sides, begin * row + p, LANES)
        along_y = along_y + term * load(sides, (begin + 1) * row + p, LANES)
        along_z = along_z + term * load(sides, (begin + 2) * row + p, LANES)
    axis[0], axis[1], axis[2] = total(along_x), total(along_y), total(along_z)
    return total(total_of)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def functions_and_axes(
    atoms: tuple[int, int],
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    n_species: int,
    edges: EdgeTables,
    triples: np.ndarray,
    begins: np.ndarray,
    n_etas: int,
    shapes: np.ndarray,
    radial: tuple[np.ndarray, ...],
    angular: tuple[np.ndarray, ...],
    blocks: tuple[np.ndarray, ...],
    n_functions: int,
    n_axes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the functions (n_atoms, n_functions) and the axes that go with them (n_atoms, n_axes, 3).

    These are of a range of atoms, and zero for others.
    ``edges`` is what :func:`edges_with_weights` returns; tables are those of
    :class:`mlip_bench.potentials.symmetry_functions.geometry.Tables`. A radial function has one axis, an
    angular function of two equal elements one, of two different elements two. Rows are filled up with zeros.
    """
    inside, lengths, units, switch, weight = edges
    kinds = species[neighbours]
    values, axes = np.zeros((len(species), n_functions)), np.zeros((len(species), n_axes, 3))
    most, most_edges = _whole_lanes(most_triples(begins.ravel())), _whole_lanes(most_triples(first))
    near, which, switched = np.zeros((4, most_edges)), np.empty(most_edges, np.int64), np.zeros(most_edges)
    terms, ones = np.zeros(most_edges), np.ones(most_edges)
    chosen, product = np.empty(most + 1, np.int64), np.zeros((n_etas, most))
    cosines, sides, power = np.empty(most), np.zeros((6, most)), np.zeros((len(shapes), most))
    for i in range(atoms[0], atoms[1]):
        mine, angles = radial[species[i]], angular[species[i]]
        m, last, last_cutoff = 0, -1, -1
        for f in range(len(mine)):
            if int(mine[f, 0]) != last:
                last, last_cutoff = int(mine[f, 0]), -1
                m = _gather_edges(first[i], first[i + 1], last, kinds, inside, lengths, units, near, which)
            if int(mine[f, 3]) != last_cutoff:
                last_cutoff = int(mine[f, 3])
                for e in range(m):
                    switched[e] = switch[which[e], last_cutoff]
                _fill_up(m, switched)
            _radial_terms(m, mine[f], near[0], switched, terms)
            values[i, f] = _sums(m, terms, ones, near.reshape(-1), 1, axes[i, f])
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
            for g in range(n_etas):
                _fill_up(m, product[g])
            last = -1
            for f in range(part[1], part[2]):
                g, q = angles[f, 1], angles[f, 2]
                if q != last:
                    _powers(cosines, m, shapes[q, 0], shapes[q, 1], power[q])
                    last = q
                values[i, len(mine) + f] = _sums(m, product[g], power[q], sides.reshape(-1), 0, axes[i, k])
                k += 1
                if one != other:
                    _sums(m, product[g], power[q], sides.reshape(-1), 3, axes[i, k])
                    k += 1
    return values, axes


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_pushes(
    atoms: tuple[int, int],
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    edges: EdgeTables,
    radial: tuple[np.ndarray, ...],
    coefficients: np.ndarray,
    forces: np.ndarray,
) -> None:
    """Add to the forces of neighbours what each centre does to them: Σ_f d_f g_f(r) along the edge.

    Centres are a range of atoms.
    ``coefficients`` d (n_atoms, n_radial) are those of the centres, in the order of their radial functions; a
    positive one pulls the neighbour towards the centre. ``edges`` is what :func:`edges_with_weights` returns.
    """
    inside, lengths, units, switch, _ = edges
    kinds = species[neighbours]
    most_edges = _whole_lanes(most_triples(first))
    near, which, switched = np.zeros((4, most_edges)), np.empty(most_edges, np.int64), np.zeros(most_edges)
    pulls = np.zeros(most_edges)
    for i in range(atoms[0], atoms[1]):
        mine = radial[species[i]]
        m, last, last_cutoff = 0, -1, -1
        for f in range(len(mine)):
            if int(mine[f, 0]) != last:
                _give(m, which, neighbours, near, pulls, forces)
                last, last_cutoff = int(mine[f, 0]), -1
                m = _gather_edges(first[i], first[i + 1], last, kinds, inside, lengths, units, near, which)
                pulls[: _whole_lanes(m)] = 0.0
            if int(mine[f, 3]) != last_cutoff:
                last_cutoff = int(mine[f, 3])
                for e in range(m):
                    switched[e] = switch[which[e], last_cutoff]
                _fill_up(m, switched)
            _add_terms(m, mine[f], coefficients[i, f], near[0], switched, pulls)
        _give(m, which, neighbours, near, pulls, forces)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _add_terms(
    m: int, function: np.ndarray, factor: float, lengths: np.ndarray, switched: np.ndarray, sums: np.ndarray
) -> None:
    """Add the terms of a radial function of a centre's edges, times a factor."""
    like = load(lengths, 0, LANES)
    back = splat(-function[2], like)
    for e in range(0, m, LANES):
        away = load(lengths, e, LANES) + back
        term = exponential(-function[1] * (away * away)) * load(switched, e, LANES)
        store(sums, e, load(sums, e, LANES) + factor * term)


@njit(cache=True, nogil=True)
def _give(
    m: int, which: np.ndarray, neighbours: np.ndarray, near: np.ndarray, pulls: np.ndarray, forces: np.ndarray
) -> None:
    """Give the neighbours of a centre their pulls, against the unit vectors from it to them."""
    for e in range(m):
        j = neighbours[which[e]]
        for x in range(3):
            forces[j, x] -= pulls[e] * near[1 + x, e]


@njit(cache=True, nogil=True)
def nearest(first: np.ndarray, edges: EdgeTables, n_ranked: int) -> np.ndarray:
    """Return the unit vectors to the nearest neighbours (n_atoms, n_ranked, 3), by rank.

    Where an atom has fewer within the cutoff, the rest are zeros.
    """
    inside, lengths, units, _, _ = edges
    axes = np.zeros((len(first) - 1, n_ranked, 3))
    for i in range(len(first) - 1):
        near = first[i] + np.flatnonzero(inside[first[i] : first[i + 1]])
        order = near[np.argsort(lengths[near])]
        for k in range(min(n_ranked, len(order))):
            for x in range(3):
                axes[i, k, x] = units[order[k], x]
    return axes
