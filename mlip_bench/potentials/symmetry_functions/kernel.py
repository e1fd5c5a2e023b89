"""Numba kernels: symmetry functions of all atoms, and energy, forces and virial, linear in the atoms.

Everything is a function of squared edge lengths. An edge is a directed pair i→j; a triple of centre i is a
pair of its edges a (i→j) and b (i→k) with the edge c (j→k) that closes it. Per edge, exponential times
cutoff is computed once for each η; a triple then needs products only:

    G3 = 2^(1-ζ) Σ (1 + λ cos θ)^ζ  W_η(a) W_η(b) W_η(c),   W_η(e) = exp(-η (r_e - R_s)²) f_c(r_e)

Wide functions go without W(c). Integer powers are taken by multiplication. Gradients by r² are collected
per edge and turned into forces at the end, so that every term is Newton's third law by construction.
"""

import numpy as np
from numba import njit

# Everything that lets loops be vectorised, but no assumption that would hide a NaN.
FAST = {"nsz", "arcp", "contract", "reassoc"}

# Inputs are scaled to 0..1 on the training data; rounding may leave that range by this much.
RANGE_TOLERANCE = 1e-9


@njit(cache=True, nogil=True)
def is_near(vector: np.ndarray, near: float) -> bool:
    """Tell whether an edge is shorter than ``near``."""
    return vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2 < near * near


@njit(cache=True, nogil=True)
def count_triples(first: np.ndarray, vectors: np.ndarray, near: float, reach: float) -> np.ndarray:
    """Return where each centre's triples start, (n_atoms + 1,): near edges that close within reach."""
    n_atoms = len(first) - 1
    start = np.zeros(n_atoms + 1, np.int64)
    for i in range(n_atoms):
        count = 0
        for a in range(first[i], first[i + 1]):
            if not is_near(vectors[a], near):
                continue
            for b in range(a + 1, first[i + 1]):
                if not is_near(vectors[b], near):
                    continue
                x = vectors[b, 0] - vectors[a, 0]
                y = vectors[b, 1] - vectors[a, 1]
                z = vectors[b, 2] - vectors[a, 2]
                if x * x + y * y + z * z < reach * reach:
                    count += 1
        start[i + 1] = start[i] + count
    return start


@njit(cache=True, nogil=True)
def fill_triples(
    first: np.ndarray,
    neighbours: np.ndarray,
    shifts: np.ndarray,
    vectors: np.ndarray,
    near: float,
    reach: float,
    start: np.ndarray,
) -> np.ndarray:
    """Return the edges (a, b, c) of each triple, (3, n_triples); c is found by neighbour and cell shift."""
    triples = np.empty((3, start[-1]), np.int32)
    for i in range(len(first) - 1):
        p = start[i]
        for a in range(first[i], first[i + 1]):
            j = neighbours[a]
            if not is_near(vectors[a], near):
                continue
            for b in range(a + 1, first[i + 1]):
                if not is_near(vectors[b], near):
                    continue
                x = vectors[b, 0] - vectors[a, 0]
                y = vectors[b, 1] - vectors[a, 1]
                z = vectors[b, 2] - vectors[a, 2]
                if x * x + y * y + z * z < reach * reach:
                    triples[0, p] = a
                    triples[1, p] = b
                    triples[2, p] = -1
                    for c in range(first[j], first[j + 1]):
                        if (
                            neighbours[c] == neighbours[b]
                            and shifts[c, 0] == shifts[b, 0] - shifts[a, 0]
                            and shifts[c, 1] == shifts[b, 1] - shifts[a, 1]
                            and shifts[c, 2] == shifts[b, 2] - shifts[a, 2]
                        ):
                            triples[2, p] = c
                            break
                    p += 1
    return triples


@njit(cache=True, error_model="numpy", nogil=True)
def cutoff_function(kind: int, alpha: float, r: float, cutoff: float) -> tuple[float, float]:
    """Return f_c and its derivative by r; ``kind`` is a number of ``functions.Switch``."""
    if r >= cutoff:
        return 0.0, 0.0
    if kind == 2 or kind == 3:
        scale = 1.0 if kind == 2 else 1.0 / np.tanh(1.0) ** 3
        t = np.tanh(1.0 - r / cutoff)
        return scale * t**3, -3.0 * scale * t * t * (1.0 - t * t) / cutoff
    width = cutoff * (1.0 - alpha)
    x = (r - alpha * cutoff) / width
    if x <= 0.0 or kind == 0:
        return 1.0, 0.0
    if kind == 1:
        return 0.5 * (np.cos(np.pi * x) + 1.0), -0.5 * np.pi / width * np.sin(np.pi * x)
    if kind == 4:
        rest = 1.0 - x * x
        value = np.exp(1.0 - 1.0 / rest)
        return value, -2.0 * x / (rest * rest) * value / width
    if kind == 5:
        return 1.0 + x**2 * (2.0 * x - 3.0), 6.0 * x * (x - 1.0) / width
    if kind == 6:
        return 1.0 + x**3 * (x * (15.0 - 6.0 * x) - 10.0), -30.0 * (x * (x - 1.0)) ** 2 / width
    if kind == 7:
        value = 1.0 + x**4 * (x * (x * (20.0 * x - 70.0) + 84.0) - 35.0)
        return value, 140.0 * (x * (x - 1.0)) ** 3 / width
    value = 1.0 + x**5 * (x * (x * (x * (315.0 - 70.0 * x) - 540.0) + 420.0) - 126.0)
    return value, -630.0 * (x * (x - 1.0)) ** 4 / width


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def edge_tables(
    vectors: np.ndarray, cutoffs: np.ndarray, kind: tuple[int, float], etas: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return per edge r², 1/r, f_c for each cutoff and W for each η, both with derivatives by r²."""
    n_edges = len(vectors)
    square, inverse = np.empty(n_edges), np.empty(n_edges)
    switch, d_switch = np.empty((len(cutoffs), n_edges)), np.empty((len(cutoffs), n_edges))
    weight, d_weight = np.empty((len(etas), n_edges)), np.empty((len(etas), n_edges))
    for e in range(n_edges):
        square[e] = vectors[e, 0] ** 2 + vectors[e, 1] ** 2 + vectors[e, 2] ** 2
        inverse[e] = 1.0 / np.sqrt(square[e])
    for c in range(len(cutoffs)):
        for e in range(n_edges):
            value, by_r = cutoff_function(kind[0], kind[1], square[e] * inverse[e], cutoffs[c])
            switch[c, e] = value
            d_switch[c, e] = 0.5 * inverse[e] * by_r
    for g in range(len(etas)):
        eta, shift, c = etas[g, 0], etas[g, 1], int(etas[g, 2])
        for e in range(n_edges):
            gauss = np.exp(-eta * square[e])
            if shift != 0.0:
                gauss = np.exp(-eta * (square[e] * inverse[e] - shift) ** 2)
            weight[g, e] = gauss * switch[c, e]
            d_weight[g, e] = gauss * (d_switch[c, e] - eta * (1.0 - shift * inverse[e]) * switch[c, e])
    return square, inverse, switch, d_switch, weight, d_weight


@njit(cache=True, nogil=True)
def closing_tables(
    weight: np.ndarray, d_weight: np.ndarray, etas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return W of the edge that closes a triple and its derivative: 1 and 0 for wide functions."""
    if not np.any(etas[:, 3] > 0.0):
        return weight, d_weight
    closing, d_closing = weight.copy(), d_weight.copy()
    for g in range(len(etas)):
        if etas[g, 3] > 0.0:
            closing[g], d_closing[g] = 1.0, 0.0
    return closing, d_closing


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def powers(
    cosines: np.ndarray, m: int, lam: float, zeta: float, value: np.ndarray, slope: np.ndarray
) -> None:
    """Set value = 2^(1-ζ) (1 + λ cos)^ζ and slope, its derivative by the cosine, for the first m entries."""
    factor = 2.0 ** (1.0 - zeta)
    whole = int(zeta)
    if whole != zeta:
        for p in range(m):
            base = max(1.0 + lam * cosines[p], 0.0)
            rest = factor * base ** (zeta - 1.0)
            value[p] = rest * base
            slope[p] = zeta * lam * rest
        return
    for p in range(m):
        slope[p] = factor
        value[p] = 1.0 + lam * cosines[p]
    # slope becomes factor · base^(ζ-1) by binary powers; value holds the base's square, fourth, ...
    rest = whole - 1
    while rest > 0:
        if rest & 1:
            for p in range(m):
                slope[p] *= value[p]
        rest >>= 1
        if rest > 0:
            for p in range(m):
                value[p] *= value[p]
    for p in range(m):
        value[p] = slope[p] * (1.0 + lam * cosines[p])
        slope[p] *= whole * lam


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def select_triples(
    begin: int,
    end: int,
    triples: np.ndarray,
    pair: np.ndarray,
    wanted: int,
    square: np.ndarray,
    inverse: np.ndarray,
    cutoff: float,
    wide: bool,
    chosen: np.ndarray,
    cosines: np.ndarray,
) -> int:
    """Keep the triples of one pair of elements whose three edges are within the cutoff; return how many.

    The closing edge may be of any length where ``wide``.
    """
    m = 0
    limit = cutoff * cutoff
    for p in range(begin, end):
        a, b, c = triples[0, p], triples[1, p], triples[2, p]
        if square[a] < limit and square[b] < limit and (wide or square[c] < limit) and pair[p] == wanted:
            chosen[0, m], chosen[1, m], chosen[2, m] = a, b, c
            m += 1
    for p in range(m):
        a, b, c = chosen[0, p], chosen[1, p], chosen[2, p]
        cosines[p] = 0.5 * (square[a] + square[b] - square[c]) * inverse[a] * inverse[b]
    return m


@njit(cache=True, error_model="numpy", nogil=True)
def activate(kind: int, sums: np.ndarray, slopes: np.ndarray) -> None:
    """Turn sums into values of an activation function, numbered as ``training.ACTIVATIONS``; set slopes."""
    for a in range(len(sums)):
        x = sums[a]
        if kind == 0:
            value = np.tanh(x)
            slope = 1.0 - value * value
        elif kind == 1:
            value, slope = x, 1.0
        elif kind == 2 or kind == 7:
            value = 1.0 / (1.0 + np.exp(-x))
            slope = value * (1.0 - value)
            if kind == 7:
                value, slope = 1.0 - value, -slope
        elif kind == 3:
            value = max(x, 0.0) + np.log1p(np.exp(-abs(x)))
            slope = 1.0 / (1.0 + np.exp(-x))
        elif kind == 4:
            value, slope = max(x, 0.0), 1.0 if x > 0.0 else 0.0
        elif kind == 5:
            value = np.exp(-0.5 * x * x)
            slope = -x * value
        elif kind == 6:
            value, slope = np.cos(x), -np.sin(x)
        elif kind == 8:
            value = np.exp(-x)
            slope = -value
        else:
            value, slope = x * x, 2.0 * x
        sums[a], slopes[a] = value, slope


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def network_gradient(
    values: np.ndarray,
    w1: np.ndarray,
    b1: np.ndarray,
    w2: np.ndarray,
    b2: np.ndarray,
    w3: np.ndarray,
    b3: float,
    first_kind: int,
    second_kind: int,
    gradient: np.ndarray,
) -> float:
    """Return the output of a network of two hidden layers and set its gradient by the inputs."""
    h1, h2, d1 = np.empty(len(b1)), np.empty(len(b2)), np.zeros(len(b1))
    s1, s2 = np.empty(len(b1)), np.empty(len(b2))
    for a in range(len(b1)):
        total = b1[a]
        for f in range(len(values)):
            total += w1[a, f] * values[f]
        h1[a] = total
    activate(first_kind, h1, s1)
    output = b3
    for a in range(len(b2)):
        total = b2[a]
        for f in range(len(b1)):
            total += w2[a, f] * h1[f]
        h2[a] = total
    activate(second_kind, h2, s2)
    for a in range(len(b2)):
        output += w3[a] * h2[a]
        outer = w3[a] * s2[a]
        for f in range(len(b1)):
            d1[f] += outer * w2[a, f]
    gradient[:] = 0.0
    for a in range(len(b1)):
        inner = d1[a] * s1[a]
        for f in range(len(values)):
            gradient[f] += inner * w1[a, f]
    return output


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def radial_values(
    begin: int,
    end: int,
    kinds: np.ndarray,
    radial: np.ndarray,
    square: np.ndarray,
    inverse: np.ndarray,
    switch: np.ndarray,
    values: np.ndarray,
) -> None:
    """Set the radial functions of one centre: rows of ``radial`` are element, η, R_s, cutoff."""
    for f in range(len(radial)):
        total, c = 0.0, int(radial[f, 3])
        for e in range(begin, end):
            if kinds[e] == radial[f, 0]:
                d = square[e] * inverse[e] - radial[f, 2]
                total += np.exp(-radial[f, 1] * d * d) * switch[c, e]
        values[f] = total


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def radial_gradients(
    begin: int,
    end: int,
    kinds: np.ndarray,
    radial: np.ndarray,
    square: np.ndarray,
    inverse: np.ndarray,
    switch: np.ndarray,
    d_switch: np.ndarray,
    outer: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Add the gradient by r² of Σ_f outer_f G_f of one centre's radial functions."""
    for f in range(len(radial)):
        c = int(radial[f, 3])
        for e in range(begin, end):
            if kinds[e] == radial[f, 0]:
                d = square[e] * inverse[e] - radial[f, 2]
                gauss = outer[f] * np.exp(-radial[f, 1] * d * d)
                gradient[e] += gauss * (d_switch[c, e] - radial[f, 1] * d * inverse[e] * switch[c, e])


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def triple_weights(
    m: int, chosen: np.ndarray, table: np.ndarray, closing: np.ndarray, products: np.ndarray
) -> None:
    """Set products = W(a) W(b) W(c) of the chosen triples for one η."""
    for p in range(m):
        products[p] = table[chosen[0, p]] * table[chosen[1, p]] * closing[chosen[2, p]]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def spread_gradient(
    m: int,
    chosen: np.ndarray,
    weight: np.ndarray,
    d_weight: np.ndarray,
    closing: np.ndarray,
    d_closing: np.ndarray,
    by_weight: np.ndarray,
    by_cosine: np.ndarray,
    cosines: np.ndarray,
    inverse: np.ndarray,
    gradient: np.ndarray,
    of_closing: np.ndarray,
) -> None:
    """Add to the three edges of each triple what derivatives by W_η products and by the cosine give by r².

    What the closing edge gets goes into ``of_closing``, which may be ``gradient`` itself.
    """
    for p in range(m):
        a, b, c = chosen[0, p], chosen[1, p], chosen[2, p]
        by_a, by_b, by_c = 0.0, 0.0, 0.0
        for g in range(len(weight)):
            wa, wb, wc = weight[g, a], weight[g, b], closing[g, c]
            outer = by_weight[g, p]
            by_a += outer * d_weight[g, a] * wb * wc
            by_b += outer * wa * d_weight[g, b] * wc
            by_c += outer * wa * wb * d_closing[g, c]
        half = 0.5 * inverse[a] * inverse[b]
        gradient[a] += by_a + by_cosine[p] * (half - 0.5 * cosines[p] * inverse[a] * inverse[a])
        gradient[b] += by_b + by_cosine[p] * (half - 0.5 * cosines[p] * inverse[b] * inverse[b])
        of_closing[c] += by_c - by_cosine[p] * half


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def spread_to_centre(
    m: int,
    chosen: np.ndarray,
    vectors: np.ndarray,
    weight: np.ndarray,
    closing: np.ndarray,
    d_closing: np.ndarray,
    by_weight: np.ndarray,
    by_cosine: np.ndarray,
    inverse: np.ndarray,
    gradients: np.ndarray,
) -> None:
    """Add to both edges of each triple's centre what the closing edge gives, as the difference of the two.

    ``gradients`` (n_edges, 3) are those of the energy of the centre.
    """
    for p in range(m):
        a, b, c = chosen[0, p], chosen[1, p], chosen[2, p]
        by_c = -0.5 * by_cosine[p] * inverse[a] * inverse[b]
        for g in range(len(weight)):
            by_c += by_weight[g, p] * weight[g, a] * weight[g, b] * d_closing[g, c]
        for x in range(3):
            pull = 2.0 * by_c * (vectors[b, x] - vectors[a, x])
            gradients[a, x] -= pull
            gradients[b, x] += pull


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def fill_block(
    block: np.ndarray,
    begin: int,
    end: int,
    triples: np.ndarray,
    pair: np.ndarray,
    angles: np.ndarray,
    shapes: np.ndarray,
    cutoff: float,
    square: np.ndarray,
    inverse: np.ndarray,
    weight: np.ndarray,
    closing: np.ndarray,
    wide: bool,
    chosen: np.ndarray,
    cosines: np.ndarray,
    products: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
) -> int:
    """Prepare one pair of elements: its triples, a product per η, a power per shape; return how many triples.

    ``block`` is (pair, first function, last function + 1); ``begin`` and ``end`` bound the centre's triples.
    """
    m = select_triples(begin, end, triples, pair, block[0], square, inverse, cutoff, wide, chosen, cosines)
    for g in range(len(weight)):
        triple_weights(m, chosen, weight[g], closing[g], products[g])
    last = -1
    for f in range(block[1], block[2]):
        q = angles[f, 2]
        if q != last:
            powers(cosines, m, shapes[q, 0], shapes[q, 1], value[q], slope[q])
            last = q
    return m


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def block_values(
    block: np.ndarray, m: int, angles: np.ndarray, products: np.ndarray, value: np.ndarray, values: np.ndarray
) -> None:
    """Set the angular functions of one block."""
    for f in range(block[1], block[2]):
        g, q = angles[f, 1], angles[f, 2]
        total = 0.0
        for p in range(m):
            total += products[g, p] * value[q, p]
        values[f] = total


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def block_gradients(
    block: np.ndarray,
    m: int,
    angles: np.ndarray,
    products: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    outer: np.ndarray,
    by_weight: np.ndarray,
    by_cosine: np.ndarray,
) -> None:
    """Set the derivatives of Σ_f outer_f G_f by the products of W and by the cosine, for each triple."""
    by_weight[:, :m] = 0.0
    by_cosine[:m] = 0.0
    for f in range(block[1], block[2]):
        g, q, t = angles[f, 1], angles[f, 2], outer[f]
        for p in range(m):
            by_weight[g, p] += t * value[q, p]
            by_cosine[p] += t * products[g, p] * slope[q, p]


@njit(cache=True, nogil=True)
def most_triples(start: np.ndarray) -> int:
    """Return the largest number of triples of a centre."""
    most = 0
    for i in range(len(start) - 1):
        most = max(most, start[i + 1] - start[i])
    return most


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def evaluate(
    atoms: tuple[int, int],
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    start: np.ndarray,
    triples: np.ndarray,
    pair: np.ndarray,
    cutoffs: np.ndarray,
    switch_kind: tuple[int, float],
    etas: np.ndarray,
    shapes: np.ndarray,
    radial: tuple[np.ndarray, ...],
    angular: tuple[np.ndarray, ...],
    blocks: tuple[np.ndarray, ...],
    offsets: tuple[np.ndarray, ...],
    scales: tuple[np.ndarray, ...],
    layers: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, int, int], ...],
    gradients: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return energies per atom, forces (n_atoms, 3), virial (3, 3), and how many inputs left their range.

    These are of a range of atoms, and zero for others.
    ``radial[s]`` has rows (element, η, R_s, index of cutoff) and ``angular[s]`` rows (pair of elements, index
    of η, index of shape), sorted by pair and shape, for centres of species s; ``blocks[s]`` has a row (pair,
    begin, end) for each pair; ``shapes`` has rows (λ, ζ) and ``etas`` rows (η, R_s, index of cutoff,
    1 where wide). Inputs are (G - offset) · scale; ``layers`` are w1, b1, w2, b2, w3, b3 and the numbers of
    the two activation functions. The virial is Σ r ⊗ F, positive in compression. To ``gradients`` the
    derivatives of each centre's energy by the vectors of its edges are added; it is empty where nobody wants
    them.
    """
    square, inverse, switch, d_switch, weight, d_weight = edge_tables(vectors, cutoffs, switch_kind, etas)
    closing, d_closing = closing_tables(weight, d_weight, etas)
    cutoff, wide = cutoffs[-1], bool(np.any(etas[:, 3] > 0.0))
    kinds = species[neighbours]
    gradient = np.zeros(len(vectors))
    by_centre = len(gradients) > 0
    of_closing = np.zeros(len(vectors)) if by_centre else gradient
    energies, outside = np.zeros(len(species)), np.zeros(len(species), np.int64)
    most = most_triples(start)
    chosen, cosines = np.empty((3, most), np.int32), np.empty(most)
    products, by_weight = np.empty((len(etas), most)), np.empty((len(etas), most))
    value, slope = np.empty((len(shapes), most)), np.empty((len(shapes), most))
    by_cosine = np.empty(most)
    for i in range(atoms[0], atoms[1]):
        kind = species[i]
        mine, angles, parts = radial[kind], angular[kind], blocks[kind]
        begin, end, n_radial, m = first[i], first[i + 1], len(mine), 0
        inputs = np.empty(n_radial + len(angles))
        radial_values(begin, end, kinds, mine, square, inverse, switch, inputs)
        for part in parts:
            m = fill_block(
                part, start[i], start[i + 1], triples, pair, angles, shapes, cutoff, square, inverse, weight,
                closing, wide, chosen, cosines, products, value, slope,
            )  # fmt: skip
            block_values(part, m, angles, products, value, inputs[n_radial:])
        for f in range(len(inputs)):
            inputs[f] = (inputs[f] - offsets[kind][f]) * scales[kind][f]
            if inputs[f] < -RANGE_TOLERANCE or inputs[f] > 1.0 + RANGE_TOLERANCE:
                outside[i] += 1
        outer = np.empty(len(inputs))
        w1, b1, w2, b2, w3, b3, first_kind, second_kind = layers[kind]
        energies[i] = network_gradient(inputs, w1, b1, w2, b2, w3, b3, first_kind, second_kind, outer)
        for f in range(len(inputs)):
            outer[f] *= scales[kind][f]
        radial_gradients(begin, end, kinds, mine, square, inverse, switch, d_switch, outer, gradient)
        for part in parts:
            if len(parts) > 1:  # with a single pair of elements the block is still there
                m = fill_block(
                    part, start[i], start[i + 1], triples, pair, angles, shapes, cutoff, square, inverse,
                    weight, closing, wide, chosen, cosines, products, value, slope,
                )  # fmt: skip
            block_gradients(part, m, angles, products, value, slope, outer[n_radial:], by_weight, by_cosine)
            spread_gradient(
                m, chosen, weight, d_weight, closing, d_closing, by_weight, by_cosine, cosines, inverse,
                gradient, of_closing,
            )  # fmt: skip
            if by_centre:
                spread_to_centre(
                    m, chosen, vectors, weight, closing, d_closing, by_weight, by_cosine, inverse, gradients
                )
    if by_centre:
        # Only of the own atoms' edges: the others are written by other threads.
        for e in range(first[atoms[0]], first[atoms[1]]):
            for x in range(3):
                gradients[e, x] += 2.0 * gradient[e] * vectors[e, x]
        for e in range(len(vectors)):
            gradient[e] += of_closing[e]
    forces, virial = edge_forces(first, neighbours, vectors, gradient)
    return energies, forces, virial, outside


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def edge_forces(
    first: np.ndarray, neighbours: np.ndarray, vectors: np.ndarray, gradient: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn gradients by r² of directed edges into forces (n_atoms, 3) and the virial (3, 3)."""
    n_atoms = len(first) - 1
    forces, virial = np.zeros((n_atoms, 3)), np.zeros((3, 3))
    for i in range(n_atoms):
        for e in range(first[i], first[i + 1]):
            j = neighbours[e]
            for x in range(3):
                pull = 2.0 * gradient[e] * vectors[e, x]
                forces[i, x] += pull
                forces[j, x] -= pull
                for y in range(3):
                    virial[x, y] -= pull * vectors[e, y]
    return forces, virial


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def radial_jacobian(
    begin: int,
    end: int,
    kinds: np.ndarray,
    radial: np.ndarray,
    vectors: np.ndarray,
    square: np.ndarray,
    inverse: np.ndarray,
    switch: np.ndarray,
    d_switch: np.ndarray,
    jacobian: np.ndarray,
) -> None:
    """Add the derivatives of one centre's radial functions by the positions of its neighbours."""
    for f in range(len(radial)):
        c = int(radial[f, 3])
        for e in range(begin, end):
            if kinds[e] == radial[f, 0]:
                d = square[e] * inverse[e] - radial[f, 2]
                gauss = np.exp(-radial[f, 1] * d * d)
                by_square = gauss * (d_switch[c, e] - radial[f, 1] * d * inverse[e] * switch[c, e])
                for x in range(3):
                    jacobian[e, x, f] += 2.0 * by_square * vectors[e, x]


@njit(cache=True, fastmath=FAST, error_model="numpy")
def block_jacobian(
    block: np.ndarray,
    m: int,
    angles: np.ndarray,
    vectors: np.ndarray,
    inverse: np.ndarray,
    weight: np.ndarray,
    d_weight: np.ndarray,
    closing: np.ndarray,
    d_closing: np.ndarray,
    chosen: np.ndarray,
    cosines: np.ndarray,
    products: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    n_radial: int,
    jacobian: np.ndarray,
) -> None:
    """Add the derivatives of one block of angular functions by the positions of the neighbours."""
    for p in range(m):
        a, b, c = chosen[0, p], chosen[1, p], chosen[2, p]
        half = 0.5 * inverse[a] * inverse[b]
        cos_a = half - 0.5 * cosines[p] * inverse[a] * inverse[a]
        cos_b = half - 0.5 * cosines[p] * inverse[b] * inverse[b]
        for f in range(block[1], block[2]):
            g, q = angles[f, 1], angles[f, 2]
            wa, wb, wc = weight[g, a], weight[g, b], closing[g, c]
            power, bent = value[q, p], products[g, p] * slope[q, p]
            by_a = 2.0 * (d_weight[g, a] * wb * wc * power + bent * cos_a)
            by_b = 2.0 * (wa * d_weight[g, b] * wc * power + bent * cos_b)
            by_c = 2.0 * (wa * wb * d_closing[g, c] * power - bent * half)
            for x in range(3):
                across = by_c * (vectors[b, x] - vectors[a, x])
                jacobian[a, x, n_radial + f] += by_a * vectors[a, x] - across
                jacobian[b, x, n_radial + f] += by_b * vectors[b, x] + across


@njit(cache=True, fastmath=FAST, error_model="numpy")
def values_and_jacobian(
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    start: np.ndarray,
    triples: np.ndarray,
    pair: np.ndarray,
    cutoffs: np.ndarray,
    switch_kind: tuple[int, float],
    etas: np.ndarray,
    shapes: np.ndarray,
    radial: tuple[np.ndarray, ...],
    angular: tuple[np.ndarray, ...],
    blocks: tuple[np.ndarray, ...],
    n_functions: int,
    derive: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the functions (n_atoms, n_functions) and their derivatives (n_edges, 3, n_functions), Å⁻¹.

    The derivative of edge i→j is that of the functions of i by the position of j; the one by the position of
    i itself is minus the sum over the edges of i. Without ``derive`` no
    derivatives are taken, and none returned.
    """
    square, inverse, switch, d_switch, weight, d_weight = edge_tables(vectors, cutoffs, switch_kind, etas)
    closing, d_closing = closing_tables(weight, d_weight, etas)
    cutoff, wide = cutoffs[-1], bool(np.any(etas[:, 3] > 0.0))
    kinds = species[neighbours]
    values = np.zeros((len(species), n_functions))
    jacobian = np.zeros((len(vectors) if derive else 0, 3, n_functions))
    most = most_triples(start)
    chosen, cosines = np.empty((3, most), np.int32), np.empty(most)
    products = np.empty((len(etas), most))
    value, slope = np.empty((len(shapes), most)), np.empty((len(shapes), most))
    for i in range(len(species)):
        mine, angles = radial[species[i]], angular[species[i]]
        begin, end, n_radial = first[i], first[i + 1], len(mine)
        radial_values(begin, end, kinds, mine, square, inverse, switch, values[i])
        if derive:
            radial_jacobian(begin, end, kinds, mine, vectors, square, inverse, switch, d_switch, jacobian)
        for part in blocks[species[i]]:
            m = fill_block(
                part, start[i], start[i + 1], triples, pair, angles, shapes, cutoff, square, inverse, weight,
                closing, wide, chosen, cosines, products, value, slope,
            )  # fmt: skip
            block_values(part, m, angles, products, value, values[i, n_radial:])
            if derive:
                block_jacobian(
                    part, m, angles, vectors, inverse, weight, d_weight, closing, d_closing, chosen, cosines,
                    products, value, slope, n_radial, jacobian,
                )  # fmt: skip
    return values, jacobian
