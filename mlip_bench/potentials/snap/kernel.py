"""Numba kernels of SNAP: densities of neighbours, their bispectrum, and both run backwards.

The adjoint form: the density U of an atom is summed over its neighbours once; the derivative Y of its energy
by U once; then each neighbour's matrices u are contracted with Y, backwards through the recursion that made
them, so that no derivative of u is ever made (equations 2 to 16 of Thompson et al.,
doi:10.1016/j.jcp.2014.12.018, give the bispectrum; ``tables`` the recursion). Eight neighbours of an atom
go side by side through the recursion, and eight atoms through the products of U; in all arrays
that are read as lanes (8, a literal) these eight are the last, fastest index.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import load, splat, store, total, zeros
from mlip_bench.potentials.snap.tables import Halves, Products, Tables, Wholes

# Everything that lets loops be vectorised, but no assumption that would hide a NaN.
FAST = {"nsz", "arcp", "contract", "reassoc"}

# Neighbours nearer than this (Å), squared, do not count, as in LAMMPS.
COINCIDENT = 1e-20


class Neighbourhood(NamedTuple):
    """Which neighbours count, and how: LAMMPS's keywords. Lengths in Å."""

    cutoffs: np.ndarray
    """(n_species, n_species): R_cut of each pair."""
    weights: np.ndarray
    """(n_species,): w of each neighbour."""
    inner: np.ndarray
    """(n_species, n_species, 2): middle and half width of the switching at short distance; or empty."""
    rfac0: float
    rmin0: float
    switched: bool
    n_channels: int
    """Densities that are kept apart: one for each species (``chemflag``), or 1."""
    self_in_all: bool
    """Whether the central atom counts in all of them."""


class Energy(NamedTuple):
    """The energy of an atom by its components, in eV."""

    linear: np.ndarray
    """β (n_species, n_components)."""
    quadratic: np.ndarray
    """α (n_species, n_components, n_components), symmetric; or empty."""
    zero: np.ndarray
    """(n_species, n_components): what is taken off the components."""


class Around(NamedTuple):
    """The neighbours of eight atoms, each of ``capacity`` places; rest places have weight 0."""

    capacity: int
    edge: np.ndarray
    """The edge at each place, -1 for none."""
    channel: np.ndarray
    """(8, capacity / 8): the density that eight neighbours belong to."""
    n_groups: np.ndarray
    """(8,): how many eights each atom has."""
    unit: np.ndarray
    """(3, places)."""
    inverse: np.ndarray
    """1/r."""
    angle: np.ndarray
    """(3, places): sine and cosine of θ0, and its derivative by r."""
    weight: np.ndarray
    """(2, places): f_c w, and its derivative by r."""
    pulls: np.ndarray
    """(5, places): the derivative of the energy by a, b (real and imaginary parts) and f_c w, over f_c w."""


@njit(cache=True, nogil=True)
def room(first: np.ndarray, n_channels: int) -> Around:
    """Return places for the neighbours of any eight atoms."""
    most = 0
    for i in range(len(first) - 1):
        most = max(most, first[i + 1] - first[i])
    capacity = 8 * (most // 8 + n_channels)
    places = 8 * capacity
    return Around(
        capacity,
        np.empty(places, np.int64),
        np.empty((8, capacity // 8), np.int64),
        np.zeros(8, np.int64),
        np.empty((3, places)),
        np.empty(places),
        np.empty((3, places)),
        np.empty((2, places)),
        np.empty((5, places)),
    )


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def gather(
    i: int,
    lane: int,
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    neighbourhood: Neighbourhood,
    around: Around,
) -> None:
    """Set the edges of an atom that count, channel by channel, each filled up to eights."""
    cutoffs = neighbourhood.cutoffs[species[i]]
    base = lane * around.capacity
    n = 0
    for channel in range(neighbourhood.n_channels):
        begin = n // 8
        for e in range(first[i], first[i + 1]):
            s = species[neighbours[e]]
            square = vectors[e, 0] ** 2 + vectors[e, 1] ** 2 + vectors[e, 2] ** 2
            counts = square < cutoffs[s] * cutoffs[s] and square > COINCIDENT
            if counts and (neighbourhood.n_channels == 1 or s == channel):
                around.edge[base + n] = e
                n += 1
        while n % 8 > 0:
            around.edge[base + n] = -1
            n += 1
        around.channel[lane, begin : n // 8] = channel
    around.n_groups[lane] = n // 8


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def sine(x: float) -> float:
    """Return sin x for |x| <= π/2: Taylor's series to x^21, whose rest is below rounding."""
    s = x * x
    series = 1.0 / 51090942171709440000.0
    series = series * s - 1.0 / 121645100408832000.0
    series = series * s + 1.0 / 355687428096000.0
    series = series * s - 1.0 / 1307674368000.0
    series = series * s + 1.0 / 6227020800.0
    series = series * s - 1.0 / 39916800.0
    series = series * s + 1.0 / 362880.0
    series = series * s - 1.0 / 5040.0
    series = series * s + 1.0 / 120.0
    series = series * s - 1.0 / 6.0
    return x + x * s * series


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def set_geometry(
    i: int,
    lane: int,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    neighbourhood: Neighbourhood,
    around: Around,
) -> None:
    """Set directions, angles and weights of the neighbours of an atom, with derivatives by r."""
    unit, inverse, angle, weight = around.unit, around.inverse, around.angle, around.weight
    cutoffs = neighbourhood.cutoffs[species[i]]
    rmin0 = neighbourhood.rmin0
    begin = lane * around.capacity
    end = begin + 8 * around.n_groups[lane]
    for k in range(begin, end):
        e = around.edge[k]
        if e < 0:
            unit[0, k], unit[1, k], unit[2, k], inverse[k] = 0.0, 0.0, 1.0, 1.0
            weight[0, k], weight[1, k] = 0.0, 1.0
        else:
            s = species[neighbours[e]]
            unit[0, k], unit[1, k], unit[2, k] = vectors[e, 0], vectors[e, 1], vectors[e, 2]
            weight[0, k] = neighbourhood.weights[s]
            weight[1, k] = np.pi / (cutoffs[s] - rmin0)
    for k in range(begin, end):
        r = np.sqrt(unit[0, k] ** 2 + unit[1, k] ** 2 + unit[2, k] ** 2)
        inverse[k] = 1.0 / r
        for x in range(3):
            unit[x, k] *= inverse[k]
        slope = weight[1, k]
        phase = slope * (r - rmin0)
        # LAMMPS takes sin θ0 as positive, so that below rmin0 it is the angle modulo π that counts.
        theta = neighbourhood.rfac0 * phase
        shifted = theta - np.pi * np.floor(theta / np.pi) - 0.5 * np.pi
        half = 0.5 * np.pi - np.abs(shifted)
        angle[0, k] = sine(half)
        angle[1, k] = -sine(shifted)
        angle[2, k] = neighbourhood.rfac0 * slope
        smooth, d_smooth = 1.0, 0.0
        if neighbourhood.switched and phase > 0.0:
            bent = phase - 0.5 * np.pi
            smooth = 0.5 * (1.0 - sine(bent))
            d_smooth = -0.5 * slope * sine(0.5 * np.pi - np.abs(bent))
        weight[1, k] = weight[0, k] * d_smooth
        weight[0, k] *= smooth
    if len(neighbourhood.inner) > 0:
        switch_inside(begin, end, neighbours, species, neighbourhood.inner[species[i]], around)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def switch_inside(
    begin: int, end: int, neighbours: np.ndarray, species: np.ndarray, inner: np.ndarray, around: Around
) -> None:
    """Switch weights off at short distance: 0 below middle - width, 1 above middle + width."""
    for k in range(begin, end):
        if around.edge[k] < 0:
            continue
        middle, width = inner[species[neighbours[around.edge[k]]]]
        away = (1.0 / around.inverse[k] - middle) / width
        if away >= 1.0:
            continue
        smooth, d_smooth = 0.0, 0.0
        if away > -1.0:
            smooth = 0.5 * (1.0 + np.sin(0.5 * np.pi * away))
            d_smooth = 0.25 * np.pi / width * np.cos(0.5 * np.pi * away)
        around.weight[1, k] = smooth * around.weight[1, k] + d_smooth * around.weight[0, k]
        around.weight[0, k] *= smooth


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def expand(k: int, around: Around, halves: Halves, u: np.ndarray) -> None:
    """Set f_c w u (without N) of eight neighbours, those from place k on: real, imaginary, of each entry."""
    sine_, cosine_ = around.angle[0], around.angle[1]
    s = load(sine_, k, 8)
    a_re = load(cosine_, k, 8)
    a_im = zeros(s) - s * load(around.unit[2], k, 8)
    b_re = s * load(around.unit[1], k, 8)
    b_im = zeros(s) - s * load(around.unit[0], k, 8)
    store(u, 0, load(around.weight[0], k, 8))
    store(u, 8, zeros(s))
    for row in range(1, len(halves.start)):
        if halves.by_second[row] == 0:
            p_re, p_im, q_re, q_im = a_re, zeros(s) - a_im, zeros(s) - b_re, b_im
        else:
            p_re, p_im, q_re, q_im = b_re, b_im, a_re, a_im
        source, out = 16 * halves.start[halves.parent[row]], 16 * halves.start[row]
        before_re, before_im = zeros(s), zeros(s)
        for _ in range(halves.momentum[row]):
            re, im = load(u, source, 8), load(u, source + 8, 8)
            store(u, out, p_re * re - p_im * im + q_re * before_re - q_im * before_im)
            store(u, out + 8, p_re * im + p_im * re + q_re * before_im + q_im * before_re)
            before_re, before_im = re, im
            source += 16
            out += 16
        store(u, out, q_re * before_re - q_im * before_im)
        store(u, out + 8, q_re * before_im + q_im * before_re)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def pull_back(
    k: int, around: Around, halves: Halves, u: np.ndarray, seeds: np.ndarray, by_u: np.ndarray
) -> None:
    """Set the derivative of the energy by a, b and f_c w of eight neighbours.

    ``u`` is what :func:`expand` made of them, ``seeds`` the derivative by it of a sum over neighbours, and
    ``by_u`` room of the same size.
    """
    s = load(around.angle[0], k, 8)
    a_re = load(around.angle[1], k, 8)
    a_im = zeros(s) - s * load(around.unit[2], k, 8)
    b_re = s * load(around.unit[1], k, 8)
    b_im = zeros(s) - s * load(around.unit[0], k, 8)
    by_a_re, by_a_im, by_b_re, by_b_im = zeros(s), zeros(s), zeros(s), zeros(s)
    for row in range(len(halves.start) - 1, 0, -1):
        parent = halves.parent[row]
        second = halves.by_second[row]
        if second == 0:
            p_re, p_im, q_re, q_im = a_re, zeros(s) - a_im, zeros(s) - b_re, b_im
        else:
            p_re, p_im, q_re, q_im = b_re, b_im, a_re, a_im
        given = seeds if halves.childless[row] else by_u
        so_far = seeds if halves.visited_first[row] else by_u
        at, to = 16 * halves.start[row], 16 * halves.start[parent]
        by_p_re, by_p_im, by_q_re, by_q_im = zeros(s), zeros(s), zeros(s), zeros(s)
        y_re, y_im = load(given, at, 8), load(given, at + 8, 8)
        for _ in range(halves.momentum[row]):
            z_re, z_im = load(given, at + 16, 8), load(given, at + 24, 8)
            re, im = load(u, to, 8), load(u, to + 8, 8)
            store(by_u, to, load(so_far, to, 8) + p_re * y_re + p_im * y_im + q_re * z_re + q_im * z_im)
            store(
                by_u, to + 8, load(so_far, to + 8, 8) + p_re * y_im - p_im * y_re + q_re * z_im - q_im * z_re
            )
            by_p_re = by_p_re + re * y_re + im * y_im
            by_p_im = by_p_im + re * y_im - im * y_re
            by_q_re = by_q_re + re * z_re + im * z_im
            by_q_im = by_q_im + re * z_im - im * z_re
            y_re, y_im = z_re, z_im
            at += 16
            to += 16
        if second == 0:
            by_a_re, by_a_im = by_a_re + by_p_re, by_a_im - by_p_im
            by_b_re, by_b_im = by_b_re - by_q_re, by_b_im + by_q_im
        else:
            by_b_re, by_b_im = by_b_re + by_p_re, by_b_im + by_p_im
            by_a_re, by_a_im = by_a_re + by_q_re, by_a_im + by_q_im
    store(around.pulls[0], k, by_a_re)
    store(around.pulls[1], k, by_a_im)
    store(around.pulls[2], k, by_b_re)
    store(around.pulls[3], k, by_b_im)
    store(around.pulls[4], k, load(by_u if len(halves.start) > 1 else seeds, 0, 8))


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_density(
    lane: int, around: Around, halves: Halves, u: np.ndarray, sums: np.ndarray, density: np.ndarray
) -> None:
    """Set the density of one atom, (channel, entry, real and imaginary part) in its lane."""
    n_entries = len(halves.seed)
    base = lane * around.capacity
    group = 0
    for channel in range(len(density) // (16 * n_entries)):
        sums[:] = 0.0
        while group < around.n_groups[lane] and around.channel[lane, group] == channel:
            expand(base + 8 * group, around, halves, u)
            for place in range(0, 16 * n_entries, 8):
                store(sums, place, load(sums, place, 8) + load(u, place, 8))
            group += 1
        start = 16 * n_entries * channel + lane
        for place in range(2 * n_entries):
            density[start + 8 * place] = total(load(sums, 8 * place, 8))


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def unfold(
    density: np.ndarray, central: np.ndarray, halves: Halves, wholes: Wholes, whole: np.ndarray
) -> None:
    """Set all entries of U of eight atoms, of (channel, lane) ``central`` with the atom itself in them."""
    n_entries, n_all = len(halves.seed), len(wholes.source)
    for channel in range(len(central) // 8):
        own = load(central, 8 * channel, 8)
        for f in range(n_all):
            source = 16 * (n_entries * channel + wholes.source[f])
            place = 16 * (n_all * channel + f)
            store(whole, place, wholes.real[f] * load(density, source, 8) + wholes.diagonal[f] * own)
            store(whole, place + 8, wholes.imaginary[f] * load(density, source + 8, 8))


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def multiply(
    one: int, other: int, whole: np.ndarray, wholes: Wholes, products: Products, z: np.ndarray
) -> None:
    """Set the coupled products of the densities of two channels (where each begins in ``whole``)."""
    out = 0
    like = load(whole, 0, 8)
    for product in range(len(products.momenta)):
        j1, j2, j = products.momenta[product]
        start1, start2 = one + 16 * wholes.start[j1], other + 16 * wholes.start[j2]
        shift = (j1 + j2 - j) // 2
        table = products.rows[product]
        scale = 1.0 / products.scale[product]
        for row in range(j // 2 + 1):
            last = j + 1 if 2 * row < j else row + 1
            row1 = products.first[table + row]
            n_rows = products.terms[table + row]
            of_rows = products.coefficients[table + row]
            for m in range(last):
                m1 = products.first[table + m]
                n_terms = products.terms[table + m]
                of_terms = products.coefficients[table + m]
                sum_re, sum_im = zeros(like), zeros(like)
                for r in range(n_rows):
                    place1 = start1 + 16 * ((row1 + r) * (j1 + 1) + m1)
                    place2 = start2 + 16 * ((row + shift - row1 - r) * (j2 + 1) + m + shift - m1)
                    part_re, part_im = zeros(like), zeros(like)
                    for t in range(n_terms):
                        c = products.coupling[of_terms + t]
                        re1, im1 = c * load(whole, place1, 8), c * load(whole, place1 + 8, 8)
                        re2, im2 = load(whole, place2, 8), load(whole, place2 + 8, 8)
                        part_re = part_re + re1 * re2 - im1 * im2
                        part_im = part_im + re1 * im2 + im1 * re2
                        place1 += 16
                        place2 -= 16
                    c = products.coupling[of_rows + r] * scale
                    sum_re, sum_im = sum_re + c * part_re, sum_im + c * part_im
                store(z, out, sum_re)
                store(z, out + 8, sum_im)
                out += 16


@njit(cache=True, error_model="numpy", nogil=True)
def multiply_all(
    n_channels: int, whole: np.ndarray, wholes: Wholes, products: Products, z: np.ndarray
) -> None:
    """Set the coupled products of the densities of all pairs of channels."""
    size, n = 16 * len(wholes.source), 16 * products.start[-1]
    for one in range(n_channels):
        for other in range(n_channels):
            begin = n * (one * n_channels + other)
            multiply(one * size, other * size, whole, wholes, products, z[begin : begin + n])


@njit(cache=True, nogil=True)
def central_atoms(begin: int, count: int, species: np.ndarray, neighbourhood: Neighbourhood) -> np.ndarray:
    """Return 1 in each (channel, lane) in which the atom itself counts, of eight atoms, else 0."""
    central = np.ones((neighbourhood.n_channels, 8))
    if neighbourhood.n_channels > 1 and not neighbourhood.self_in_all:
        for lane in range(count):
            central[:, lane] = 0.0
            central[species[begin + lane], lane] = 1.0
    return central.ravel()


@njit(cache=True, nogil=True)
def component_of(
    product: int, one: int, other: int, third: int, n_channels: int, n_triples: int, products: Products
) -> int:
    """Return the component to which a product of two channels, contracted with a third, belongs."""
    if products.turned[product] == 1:
        one, third = third, one
    elif products.turned[product] == 2:
        one, other, third = other, third, one
    return ((one * n_channels + other) * n_channels + third) * n_triples + products.component[product]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def contract(
    whole: np.ndarray,
    z: np.ndarray,
    n_channels: int,
    wholes: Wholes,
    products: Products,
    components: np.ndarray,
) -> None:
    """Set the components of eight atoms: the products contracted with the density of a third channel."""
    n_triples = len(components) // (8 * n_channels**3)
    like = load(whole, 0, 8)
    for pair in range(n_channels**2):
        for product in range(len(products.momenta)):
            if products.turned[product] > 0:
                continue
            first = pair * products.start[-1] + products.start[product]
            begin = wholes.start[products.momenta[product, 2]]
            n = products.start[product + 1] - products.start[product]
            for third in range(n_channels):
                place = 16 * (third * len(wholes.source) + begin)
                found = zeros(like)
                for k in range(n):
                    at = 16 * (first + k)
                    part = load(whole, place, 8) * load(z, at, 8)
                    part = part + load(whole, place + 8, 8) * load(z, at + 8, 8)
                    found = found + products.multiplicity[products.start[product] + k] * part
                    place += 16
                row = component_of(
                    product, pair // n_channels, pair % n_channels, third, n_channels, n_triples, products
                )
                store(components, 8 * row, found)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def energy_of(lane: int, s: int, energy: Energy, components: np.ndarray, slopes: np.ndarray) -> float:
    """Return the energy of the atom in a lane, of species s; set its derivative by the components."""
    n = energy.linear.shape[1]
    b = np.empty(n)
    for k in range(n):
        b[k] = components[8 * k + lane] - energy.zero[s, k]
    found = 0.0
    for k in range(n):
        slope = energy.linear[s, k]
        found += slope * b[k]
        if len(energy.quadratic) > 0:
            row, bent = energy.quadratic[s, k], 0.0
            for other in range(n):
                bent += row[other] * b[other]
            found += 0.5 * bent * b[k]
            slope += bent
        slopes[8 * k + lane] = slope
    return found


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def differentiate(
    z: np.ndarray, slopes: np.ndarray, n_channels: int, halves: Halves, products: Products, y: np.ndarray
) -> None:
    """Set Y (channel, entry, real and imaginary part) of eight atoms: the derivative of the energy by U."""
    n_triples = len(slopes) // (8 * n_channels**3)
    n_entries = len(halves.seed)
    y[:] = 0.0
    for pair in range(n_channels**2):
        for third in range(n_channels):
            for product in range(len(products.momenta)):
                row = component_of(
                    product, pair // n_channels, pair % n_channels, third, n_channels, n_triples, products
                )
                slope = products.share[product] * load(slopes, 8 * row, 8)
                at = 16 * (pair * products.start[-1] + products.start[product])
                for k in range(products.start[product], products.start[product + 1]):
                    to = 16 * (third * n_entries + products.target[k])
                    store(y, to, load(y, to, 8) + slope * load(z, at, 8))
                    store(y, to + 8, load(y, to + 8, 8) + slope * load(z, at + 8, 8))
                    at += 16


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def pull_back_atom(
    lane: int,
    around: Around,
    halves: Halves,
    u: np.ndarray,
    y: np.ndarray,
    seeds: np.ndarray,
    by_u: np.ndarray,
) -> None:
    """Set the derivatives of the energy of one atom by a, b and f_c w of its neighbours."""
    n_entries = len(halves.seed)
    base = lane * around.capacity
    like = load(u, 0, 8)
    channel = -1
    for group in range(around.n_groups[lane]):
        if around.channel[lane, group] != channel:
            channel = around.channel[lane, group]
            at = 16 * n_entries * channel + lane
            for k in range(n_entries):
                store(seeds, 16 * k, splat(halves.seed[k] * y[at + 16 * k], like))
                store(seeds, 16 * k + 8, splat(halves.seed[k] * y[at + 16 * k + 8], like))
        expand(base + 8 * group, around, halves, u)
        pull_back(base + 8 * group, around, halves, u, seeds, by_u)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def to_vectors(lane: int, around: Around) -> None:
    """Turn derivatives by a, b and f_c w into those by the vectors, in the first three rows of ``pulls``.

    a = cos θ0 - i sin θ0 z/r and b = sin θ0 (y - i x)/r.
    """
    unit, inverse, angle, weight, pulls = (
        around.unit, around.inverse, around.angle, around.weight, around.pulls,
    )  # fmt: skip
    begin = lane * around.capacity
    for k in range(begin, begin + 8 * around.n_groups[lane]):
        s, c = angle[0, k], angle[1, k]
        x, y, z = -pulls[3, k], pulls[2, k], -pulls[1, k]
        along = x * unit[0, k] + y * unit[1, k] + z * unit[2, k]
        by_r = angle[2, k] * (c * along - s * pulls[0, k]) + weight[1, k] * pulls[4, k]
        across = s * inverse[k]
        pulls[0, k] = by_r * unit[0, k] + across * (x - along * unit[0, k])
        pulls[1, k] = by_r * unit[1, k] + across * (y - along * unit[1, k])
        pulls[2, k] = by_r * unit[2, k] + across * (z - along * unit[2, k])


@njit(cache=True, error_model="numpy", nogil=True)
def add_edges(
    i: int,
    lane: int,
    neighbours: np.ndarray,
    vectors: np.ndarray,
    around: Around,
    forces: np.ndarray,
    virial: np.ndarray,
    gradients: np.ndarray,
) -> None:
    """Add the derivatives by the edges of atom i to forces, virial and, where it is wanted, ``gradients``."""
    begin = lane * around.capacity
    for k in range(begin, begin + 8 * around.n_groups[lane]):
        e = around.edge[k]
        if e < 0:
            continue
        j = neighbours[e]
        for x in range(3):
            pull = around.pulls[x, k]
            forces[i, x] += pull
            forces[j, x] -= pull
            for z in range(3):
                virial[z, x] -= vectors[e, z] * pull
            if len(gradients) > 0:
                gradients[e, x] += pull


@njit(cache=True, error_model="numpy", nogil=True)
def evaluate(
    atoms: tuple[int, int],
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    neighbourhood: Neighbourhood,
    energy: Energy,
    tables: Tables,
    energies: np.ndarray,
    forces: np.ndarray,
    virial: np.ndarray,
    gradients: np.ndarray,
) -> None:
    """Add energies (n_atoms,) in eV, forces (n_atoms, 3) and the virial Σ r ⊗ F (3, 3) of a range of atoms.

    ``gradients`` (n_edges, 3) takes the derivatives of the energy by the vectors; it is empty where nobody
    wants them.
    """
    halves, wholes, products = tables.halves, tables.wholes, tables.products
    n_channels, n_entries, n_components = neighbourhood.n_channels, len(halves.seed), energy.linear.shape[1]
    around = room(first, n_channels)
    u, sums = np.empty(16 * n_entries), np.empty(16 * n_entries)
    by_u, seeds = np.empty(16 * n_entries), np.empty(16 * n_entries)
    density, y = np.zeros(16 * n_entries * n_channels), np.empty(16 * n_entries * n_channels)
    whole = np.empty(16 * len(wholes.source) * n_channels)
    z = np.empty(16 * products.start[-1] * n_channels**2)
    components, slopes = np.empty(8 * n_components), np.zeros(8 * n_components)
    for begin in range(atoms[0], atoms[1], 8):
        count = min(8, atoms[1] - begin)
        for lane in range(count):
            i = begin + lane
            gather(i, lane, first, neighbours, species, vectors, neighbourhood, around)
            set_geometry(i, lane, neighbours, species, vectors, neighbourhood, around)
            add_density(lane, around, halves, u, sums, density)
        unfold(density, central_atoms(begin, count, species, neighbourhood), halves, wholes, whole)
        multiply_all(n_channels, whole, wholes, products, z)
        contract(whole, z, n_channels, wholes, products, components)
        for lane in range(count):
            energies[begin + lane] += energy_of(lane, species[begin + lane], energy, components, slopes)
        differentiate(z, slopes, n_channels, halves, products, y)
        for lane in range(count):
            pull_back_atom(lane, around, halves, u, y, seeds, by_u)
            to_vectors(lane, around)
            add_edges(begin + lane, lane, neighbours, vectors, around, forces, virial, gradients)
