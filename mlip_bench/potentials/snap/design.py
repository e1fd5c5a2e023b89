"""Rows of the least squares of SNAP: bispectrum components, and their derivatives by positions and strain.

Here each component's derivative is wanted by itself, so the adjoint form does not do: the derivatives of u
along x, y and z go forwards through the recursion, eight neighbours side by side, and are contracted with the
products of U that are the derivative of a component (equation 16 of Thompson et al.,
doi:10.1016/j.jcp.2014.12.018).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import load, splat, store, zeros
from mlip_bench.potentials.snap.components import triples
from mlip_bench.potentials.snap.kernel import (
    FAST,
    Around,
    Neighbourhood,
    add_density,
    central_atoms,
    contract,
    expand,
    gather,
    multiply_all,
    room,
    set_geometry,
    unfold,
)
from mlip_bench.potentials.snap.tables import Halves, Products, Tables

# The two directions of each component of a strain, in the order xx yy zz yz xz xy.
STRAINS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class Parts(NamedTuple):
    """The derivative of each component by each of the three densities in it: a product of the other two."""

    product: np.ndarray
    """(n_triples, 3): which."""
    share: np.ndarray
    """(n_triples, 3): times what."""


def parts(tables: Tables) -> Parts:
    """Return the parts for the density of j, of j1 and of j2, in this order."""
    products = tables.products
    number = {tuple(momenta): place for place, momenta in enumerate(products.momenta.tolist())}
    found, share = [], []
    for j1, j2, j in triples(int(products.momenta.max())):
        turned = [number[j1, j2, j], number[j, j2, j1], number[j, j1, j2]]
        # Components over j + 1 do not depend on which of the three momenta is the last.
        normalised = products.scale[turned] / products.scale[turned[0]]
        found.append(turned)
        share.append(normalised * (j + 1) / (np.array([j, j1, j2]) + 1))
    return Parts(np.array(found), np.array(share))


class Slopes(NamedTuple):
    """Room for derivatives of eight neighbours along x, y and z."""

    turns: np.ndarray
    """(15, 8): of a, b (real and imaginary parts) and f_c w, direction first."""
    u: np.ndarray
    """(3, 16 entries): of f_c w u."""
    products: np.ndarray
    """(pairs of channels, products, 3, 8): contracted with each product."""
    components: np.ndarray
    """(n_components, 3, 8): of the components."""


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def set_turns(first: int, around: Around, turns: np.ndarray) -> None:
    """Set the derivatives of a = cos θ0 - i sin θ0 z/r, b = sin θ0 (y - i x)/r and f_c w, from place on."""
    unit = around.unit
    for lane in range(8):
        k = first + lane
        s, c, bend = around.angle[0, k], around.angle[1, k], around.angle[2, k]
        across = s * around.inverse[k]
        for d in range(3):
            along = c * bend * unit[d, k] - across * unit[d, k]
            turns[5 * d, lane] = -s * bend * unit[d, k]
            turns[5 * d + 1, lane] = -along * unit[2, k] - (across if d == 2 else 0.0)
            turns[5 * d + 2, lane] = along * unit[1, k] + (across if d == 1 else 0.0)
            turns[5 * d + 3, lane] = -along * unit[0, k] - (across if d == 0 else 0.0)
            turns[5 * d + 4, lane] = around.weight[1, k] * unit[d, k]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def expand_slope(
    k: int, turns: np.ndarray, around: Around, halves: Halves, u: np.ndarray, out: np.ndarray
) -> None:
    """Set the derivative of what ``expand`` gives along one direction: that of each row by its parent's."""
    s = load(around.angle[0], k, 8)
    a_re = load(around.angle[1], k, 8)
    a_im = zeros(s) - s * load(around.unit[2], k, 8)
    b_re = s * load(around.unit[1], k, 8)
    b_im = zeros(s) - s * load(around.unit[0], k, 8)
    da_re, da_im = load(turns[0], 0, 8), load(turns[1], 0, 8)
    db_re, db_im = load(turns[2], 0, 8), load(turns[3], 0, 8)
    store(out, 0, load(turns[4], 0, 8))
    store(out, 8, zeros(s))
    for row in range(1, len(halves.start)):
        if halves.by_second[row] == 0:
            p_re, p_im, q_re, q_im = a_re, zeros(s) - a_im, zeros(s) - b_re, b_im
            dp_re, dp_im, dq_re, dq_im = da_re, zeros(s) - da_im, zeros(s) - db_re, db_im
        else:
            p_re, p_im, q_re, q_im = b_re, b_im, a_re, a_im
            dp_re, dp_im, dq_re, dq_im = db_re, db_im, da_re, da_im
        source, to = 16 * halves.start[halves.parent[row]], 16 * halves.start[row]
        so_far_re, so_far_im = zeros(s), zeros(s)
        for _ in range(halves.momentum[row]):
            re, im = load(u, source, 8), load(u, source + 8, 8)
            d_re, d_im = load(out, source, 8), load(out, source + 8, 8)
            store(out, to, so_far_re + p_re * d_re - p_im * d_im + dp_re * re - dp_im * im)
            store(out, to + 8, so_far_im + p_re * d_im + p_im * d_re + dp_re * im + dp_im * re)
            so_far_re = q_re * d_re - q_im * d_im + dq_re * re - dq_im * im
            so_far_im = q_re * d_im + q_im * d_re + dq_re * im + dq_im * re
            source += 16
            to += 16
        store(out, to, so_far_re)
        store(out, to + 8, so_far_im)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def contract_slopes(lane: int, z: np.ndarray, halves: Halves, products: Products, slopes: Slopes) -> None:
    """Contract the derivatives of eight neighbours' u with each product of the atom in a lane."""
    like = load(slopes.u[0], 0, 8)
    for pair in range(len(slopes.products)):
        at = 16 * pair * products.start[-1] + lane
        for product in range(len(products.momenta)):
            x, y, w = zeros(like), zeros(like), zeros(like)
            for k in range(products.start[product], products.start[product + 1]):
                entry = products.target[k]
                re = splat(halves.seed[entry] * z[at + 16 * k], like)
                im = splat(halves.seed[entry] * z[at + 16 * k + 8], like)
                x = x + re * load(slopes.u[0], 16 * entry, 8) + im * load(slopes.u[0], 16 * entry + 8, 8)
                y = y + re * load(slopes.u[1], 16 * entry, 8) + im * load(slopes.u[1], 16 * entry + 8, 8)
                w = w + re * load(slopes.u[2], 16 * entry, 8) + im * load(slopes.u[2], 16 * entry + 8, 8)
            store(slopes.products[pair, product, 0], 0, x)
            store(slopes.products[pair, product, 1], 0, y)
            store(slopes.products[pair, product, 2], 0, w)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def gather_components(channel: int, n_channels: int, where: Parts, slopes: Slopes) -> None:
    """Set the derivatives of the components by neighbours of one channel."""
    n_triples = len(where.product)
    components = slopes.components.reshape(len(slopes.components), -1)
    products = slopes.products.reshape(slopes.products.shape[0], slopes.products.shape[1], -1)
    components[:] = 0.0
    for row in range(len(components)):
        channels, triple = row // n_triples, row % n_triples
        one, other, third = (
            channels // n_channels**2,
            channels // n_channels % n_channels,
            channels % n_channels,
        )
        for part in range(3):
            if part == 0:
                own, pair = third, one * n_channels + other
            elif part == 1:
                own, pair = one, third * n_channels + other
            else:
                own, pair = other, third * n_channels + one
            if own == channel:
                source, share = products[pair, where.product[triple, part]], where.share[triple, part]
                # For arrays assigned to slices numba compiles its messages of wrong shapes (3 s).
                for k in range(len(source)):
                    components[row, k] += share * source[k]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_terms(factor: float, d: np.ndarray, b: np.ndarray, quadratic: bool, row: np.ndarray) -> None:
    """Add a derivative d (n_components,) of the components b as that of all terms of an energy to a row."""
    n = len(d)
    for k in range(n):
        row[k] += factor * d[k]
    if quadratic:
        place = n
        for k in range(n):
            row[place] += factor * b[k] * d[k]
            for other in range(k + 1, n):
                row[place + other - k] += factor * (d[k] * b[other] + b[k] * d[other])
            place += n - k


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_energy(b: np.ndarray, quadratic: bool, row: np.ndarray) -> None:
    """Add the terms of the energy of an atom with components b to a row; the first is the constant."""
    row[0] += 1.0
    add_terms(1.0, b, 0.5 * b, quadratic, row[1:])


@njit(cache=True, error_model="numpy", nogil=True)
def add_atom(
    i: int,
    lane: int,
    neighbours: np.ndarray,
    vectors: np.ndarray,
    b: np.ndarray,
    quadratic: bool,
    z: np.ndarray,
    u: np.ndarray,
    around: Around,
    tables: Tables,
    where: Parts,
    slopes: Slopes,
    rows: np.ndarray,
) -> None:
    """Add what the energy of atom i gives to the rows of forces and strain, in the columns of its species."""
    halves, n_atoms, n = tables.halves, (len(rows) - 7) // 3, len(b)
    n_channels = int(np.sqrt(len(slopes.products)) + 0.5)
    d, on_atom, strains = np.empty((3, n)), np.zeros((3, n)), np.zeros((6, n))
    for group in range(around.n_groups[lane]):
        place = lane * around.capacity + 8 * group
        expand(place, around, halves, u)
        set_turns(place, around, slopes.turns)
        for x in range(3):
            expand_slope(place, slopes.turns[5 * x : 5 * x + 5], around, halves, u, slopes.u[x])
        contract_slopes(lane, z, halves, tables.products, slopes)
        gather_components(around.channel[lane, group], n_channels, where, slopes)
        for k in range(8):
            e = around.edge[place + k]
            if e < 0:
                continue
            for x in range(3):
                for c in range(n):
                    d[x, c] = slopes.components[c, x, k]
                    on_atom[x, c] += d[x, c]
                add_terms(-1.0, d[x], b, quadratic, rows[1 + 3 * neighbours[e] + x])
            for strain in range(6):
                by, along = STRAINS[strain][0], vectors[e, STRAINS[strain][1]]
                for c in range(n):
                    strains[strain, c] += along * d[by, c]
    for x in range(3):
        add_terms(1.0, on_atom[x], b, quadratic, rows[1 + 3 * i + x])
    for strain in range(6):
        add_terms(1.0, strains[strain], b, quadratic, rows[1 + 3 * n_atoms + strain])


@njit(cache=True, error_model="numpy", nogil=True)
def design(
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    neighbourhood: Neighbourhood,
    zero: np.ndarray,
    quadratic: bool,
    tables: Tables,
    where: Parts,
) -> np.ndarray:
    """Return the rows (1 + 3 n_atoms + 6, n_species (1 + n_terms)) of one structure.

    They are what the coefficients, β0, β and α of each species in turn, are multiplied by to give the energy,
    the forces, and the derivative of the energy by strain (xx yy zz yz xz xy). ``zero`` (n_species,
    n_components) is taken off the components.
    """
    halves, wholes, products = tables.halves, tables.wholes, tables.products
    n_atoms, n_channels, n = len(species), neighbourhood.n_channels, zero.shape[1]
    n_terms = 1 + n + (n * (n + 1) // 2 if quadratic else 0)
    rows = np.zeros((7 + 3 * n_atoms, len(zero) * n_terms))
    around = room(first, n_channels)
    n_entries = len(halves.seed)
    u, sums = np.empty(16 * n_entries), np.empty(16 * n_entries)
    density = np.zeros(16 * n_entries * n_channels)
    whole = np.empty(16 * len(wholes.source) * n_channels)
    z = np.empty(16 * products.start[-1] * n_channels**2)
    components = np.empty(8 * n)
    slopes = Slopes(
        np.empty((15, 8)),
        np.empty((3, 16 * n_entries)),
        np.empty((n_channels**2, len(products.momenta), 3, 8)),
        np.empty((n, 3, 8)),
    )
    for begin in range(0, n_atoms, 8):
        count = min(8, n_atoms - begin)
        for lane in range(count):
            gather(begin + lane, lane, first, neighbours, species, vectors, neighbourhood, around)
            set_geometry(begin + lane, lane, neighbours, species, vectors, neighbourhood, around)
            add_density(lane, around, halves, u, sums, density)
        unfold(density, central_atoms(begin, count, species, neighbourhood), halves, wholes, whole)
        multiply_all(n_channels, whole, wholes, products, z)
        contract(whole, z, n_channels, wholes, products, components)
        for lane in range(count):
            s = species[begin + lane]
            own = rows[:, s * n_terms : (s + 1) * n_terms]
            b = components[lane::8] - zero[s]
            add_energy(b, quadratic, own[0])
            add_atom(
                begin + lane, lane, neighbours, vectors, b, quadratic, z, u, around, tables, where, slopes,
                own[:, 1:],
            )  # fmt: skip
    return rows
