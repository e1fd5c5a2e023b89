"""Numba kernel of fits: the columns of the least-squares problem that one structure gives.

A basis function is a product of few components of moment tensors. Its derivatives by them come from running
its own products backwards, and those times the derivatives of the components by the vectors to the neighbours
are its gradient. A radial coefficient c_{μβ} changes the components by N_{βk}, the moments with T_β in place
of f_μ; run forwards, and with them the derivatives of the whole energy backwards, that gives how these change
(forward over reverse), and the gradient with them.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from mlip_bench.potentials.lanes import load, store, total, zeros
from mlip_bench.potentials.mtp.kernel import (
    FAST,
    edges,
    functions,
    most_edges,
    multiply,
    multiply_back,
    set_monomials,
    tensor_moments,
)
from mlip_bench.potentials.mtp.tables import Branches, Indices

# Edges whose derivatives are side by side, and columns that go through the products side by side.
BLOCK = 16
COLUMNS = 16

# Atoms whose products are run side by side.
ATOMS = 8

# Sums over the edges of an atom: the derivative by its own position, and the stress.
SUMS = 9


class Surroundings(NamedTuple):
    """The edges of ATOMS atoms within the cutoff, and what fills up the last block."""

    counts: np.ndarray
    """(ATOMS,) those that count"""
    inside: np.ndarray
    """(ATOMS, n_edges) where they stand among all edges of their atom"""
    unit: np.ndarray
    """(ATOMS, 3, n_edges)"""
    inverse: np.ndarray
    """(ATOMS, n_edges) 1/r"""
    radial: np.ndarray
    """(ATOMS, β, n_edges) T_β, and in ``d_radial`` its derivative by r"""
    d_radial: np.ndarray
    value: np.ndarray
    """(ATOMS, μ, n_edges) f_μ, and in ``slope`` its derivative by r"""
    slope: np.ndarray
    monomials: np.ndarray
    """(ATOMS, n_monomials, n_edges) y_k"""


@njit(cache=True, nogil=True)
def blocks(n_edges: int) -> int:
    """Return how many blocks have room for so many edges."""
    return (n_edges + BLOCK - 1) // BLOCK


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def tangents(
    lane: int, basis: Indices, around: Surroundings, by_volume: np.ndarray, out: np.ndarray, sums: np.ndarray
) -> None:
    """Set the derivatives of the components by the vectors, (3 n_blocks, n_basic BLOCK), and their sums.

    Blocks come with their x, y and z; sums over edges are (n_basic BLOCK), of which SUMS count: those of the
    derivatives, and of the derivatives times the vectors over the volume in the order of Voigt.
    """
    basic_mu, basic_monomial, lower, powers = basis.basic_mu, basis.basic_monomial, basis.lower, basis.powers
    unit, inverse, monomials = around.unit[lane], around.inverse[lane], around.monomials[lane]
    value, slope, n_blocks = around.value[lane], around.slope[lane], blocks(around.counts[lane])
    for b in range(len(basic_mu)):
        mu, k = basic_mu[b], basic_monomial[b]
        degree, place = float(powers[0, k] + powers[1, k] + powers[2, k]), b * BLOCK
        sums[place : place + BLOCK] = 0.0
        for block in range(n_blocks):
            begin = block * BLOCK
            by_length = load(value[mu], begin, BLOCK) * load(inverse, begin, BLOCK)
            along = load(monomials[k], begin, BLOCK) * (load(slope[mu], begin, BLOCK) - degree * by_length)
            for x in range(3):
                found = load(unit[x], begin, BLOCK) * along
                below = lower[x, k]
                if below >= 0:
                    found = found + float(powers[x, k]) * (by_length * load(monomials[below], begin, BLOCK))
                store(out[3 * block + x], place, found)
                sums[place + x] += total(found)
                sums[place + 3 + x] += total(found * load(by_volume[x], begin, BLOCK))
                if x == 0:
                    sums[place + 8] += total(found * load(by_volume[1], begin, BLOCK))
                if x < 2:
                    sums[place + 7 - x] += total(found * load(by_volume[2], begin, BLOCK))


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def scalar_gradients(
    mapping: np.ndarray,
    times: np.ndarray,
    moments: np.ndarray,
    branches: Branches,
    adjoint: np.ndarray,
    out: np.ndarray,
) -> None:
    """Set the derivatives of basis functions by their components, as ``leaves`` are ordered, of ATOMS atoms.

    ``moments`` and ``adjoint`` are (n_moments ATOMS) flat, the second zero before and after; ``out`` is
    (ATOMS, n_leaves).
    """
    products, products_begin = branches.products, branches.products_begin
    leaves, leaves_begin = branches.leaves, branches.leaves_begin
    nothing = zeros(load(adjoint, 0, ATOMS))
    for s in range(len(mapping)):
        adjoint[mapping[s] * ATOMS : (mapping[s] + 1) * ATOMS] = 1.0
        for place in range(products_begin[s + 1] - 1, products_begin[s] - 1, -1):
            t = products[place]
            left, right = times[t, 0] * ATOMS, times[t, 1] * ATOMS
            outer = float(times[t, 2]) * load(adjoint, times[t, 3] * ATOMS, ATOMS)
            to_right = outer * load(moments, left, ATOMS)
            store(adjoint, right, load(adjoint, right, ATOMS) + to_right)
            to_left = outer * load(moments, right, ATOMS)
            store(adjoint, left, load(adjoint, left, ATOMS) + to_left)
        for place in range(leaves_begin[s], leaves_begin[s + 1]):
            leaf = leaves[place] * ATOMS
            for lane in range(ATOMS):
                out[lane, place] = adjoint[leaf + lane]
            store(adjoint, leaf, nothing)
        for place in range(products_begin[s], products_begin[s + 1]):
            store(adjoint, times[products[place], 3] * ATOMS, nothing)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def scatter(x: int, begin: int, ends: np.ndarray, gradient: np.ndarray, start: int, row: np.ndarray) -> None:
    """Take component x of a gradient by a block of vectors off the places of the neighbours in a row."""
    for e in range(begin, min(begin + BLOCK, len(ends))):
        row[np.uint32(1 + 3 * ends[e] + x)] -= gradient[start + e - begin]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def gather(i: int, sums: np.ndarray, row: np.ndarray) -> None:
    """Add sums over the edges of atom i to a row: its own derivative, and the stress."""
    last = len(row) - 6
    for x in range(3):
        row[1 + 3 * i + x] += sums[x]
    for x in range(6):
        row[last + x] += sums[3 + x]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def scalar_rows(
    i: int,
    ends: np.ndarray,
    gradients: np.ndarray,
    branches: Branches,
    tangent: np.ndarray,
    sums: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add the gradients of the basis functions of atom i to their rows."""
    leaves, leaves_begin = branches.leaves, branches.leaves_begin
    buffer, n_parts = np.empty(BLOCK), 3 * blocks(len(ends))
    for part in range(n_parts + 1):
        # The last part is the sums over edges.
        derivatives = sums if part == n_parts else tangent[part]
        for s in range(len(out)):
            # Two sums, so that one addition need not wait for the other.
            even, odd = zeros(load(buffer, 0, BLOCK)), zeros(load(buffer, 0, BLOCK))
            end = leaves_begin[s + 1]
            for place in range(leaves_begin[s], end - 1, 2):
                even = even + gradients[place] * load(derivatives, leaves[place] * BLOCK, BLOCK)
                odd = odd + gradients[place + 1] * load(derivatives, leaves[place + 1] * BLOCK, BLOCK)
            if (end - leaves_begin[s]) % 2:
                even = even + gradients[end - 1] * load(derivatives, leaves[end - 1] * BLOCK, BLOCK)
            store(buffer, 0, even + odd)
            if part == n_parts:
                gather(i, buffer, out[s])
            else:
                scatter(part % 3, part // 3 * BLOCK, ends, buffer, 0, out[s])


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def resolve(
    kinds: np.ndarray, radial: np.ndarray, monomials: np.ndarray, n_edges: int, out: np.ndarray
) -> None:
    """Set Σ_j T_β(r_ij) y_k(u_ij) for each species of j: the moments by radial basis, (species, β, k)."""
    out[:] = 0.0
    for e in range(n_edges):
        kind = kinds[e]
        for b in range(out.shape[1]):
            factor = radial[b, e]
            for k in range(out.shape[2]):
                out[kind, b, k] += factor * monomials[k, e]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def changes(
    first: int,
    n_functions: int,
    basis: Indices,
    resolved: np.ndarray,
    moments: np.ndarray,
    adjoint: np.ndarray,
    forwards: np.ndarray,
    backwards: np.ndarray,
) -> None:
    """Set how moments and adjoint change with COLUMNS radial coefficients from the ``first`` one on.

    Both are (n_moments COLUMNS) flat; coefficients count as (species of j, μ, β). All in single precision.
    """
    n_kinds, size = resolved.shape[0], resolved.shape[1]
    basic_mu, basic_monomial, times = basis.basic_mu, basis.basic_monomial, basis.times
    forwards[:] = 0.0
    backwards[:] = 0.0
    for lane in range(min(COLUMNS, n_kinds * n_functions * size - first)):
        column = first + lane
        other, mu, beta = column // (n_functions * size), column // size % n_functions, column % size
        for b in range(len(basic_mu)):
            if basic_mu[b] == mu:
                forwards[b * COLUMNS + lane] = resolved[other, beta, basic_monomial[b]]
    for t in range(len(times)):
        left, right, target = np.uint32(times[t, 0]), np.uint32(times[t, 1]), times[t, 3] * COLUMNS
        factor = np.float32(times[t, 2])
        by_left, by_right = factor * moments[right], factor * moments[left]
        of_left = load(forwards, times[t, 0] * COLUMNS, COLUMNS)
        of_right = load(forwards, times[t, 1] * COLUMNS, COLUMNS)
        store(forwards, target, load(forwards, target, COLUMNS) + (by_left * of_left + by_right * of_right))
    for t in range(len(times) - 1, -1, -1):
        left, right, target = np.uint32(times[t, 0]), np.uint32(times[t, 1]), np.uint32(times[t, 3])
        at_left, at_right = times[t, 0] * COLUMNS, times[t, 1] * COLUMNS
        factor = np.float32(times[t, 2])
        outer, of_target = factor * adjoint[target], load(backwards, times[t, 3] * COLUMNS, COLUMNS)
        # One after the other: left may be right.
        to_left = (factor * moments[right]) * of_target + outer * load(forwards, at_right, COLUMNS)
        store(backwards, at_left, load(backwards, at_left, COLUMNS) + to_left)
        to_right = (factor * moments[left]) * of_target + outer * load(forwards, at_left, COLUMNS)
        store(backwards, at_right, load(backwards, at_right, COLUMNS) + to_right)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def radial_rows(
    i: int,
    first: int,
    ends: np.ndarray,
    n_functions: int,
    by_volume: np.ndarray,
    is_kind: np.ndarray,
    radial: np.ndarray,
    d_radial: np.ndarray,
    along: np.ndarray,
    aside: np.ndarray,
    resolved: np.ndarray,
    basic_mu: np.ndarray,
    basic_monomial: np.ndarray,
    adjoint: np.ndarray,
    backwards: np.ndarray,
    tangent: np.ndarray,
    sums: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add what COLUMNS radial coefficients of atom i's species give to their rows, those of its energy too.

    The derivative of the energy by c_{μβ} is Σ_k p_{μk} N_{βk}, p the derivatives by the components; that of
    its gradient has the change of p, and the change of N, which is ``along`` and ``aside`` on each edge.
    """
    size, n_parts = len(radial), 3 * blocks(len(ends))
    buffer, own = np.empty(COLUMNS * BLOCK, np.float32), np.zeros(SUMS, np.float32)
    for part in range(n_parts + 1):
        weigh(backwards, sums if part == n_parts else tangent[part], len(basic_mu), buffer)
        begin, x = part // 3 * BLOCK, part % 3
        for lane in range(min(COLUMNS, len(out) - first)):
            row, column = out[first + lane], first + lane
            other, mu, beta = column // (n_functions * size), column // size % n_functions, column % size
            if part == n_parts:
                gather(i, buffer[lane * BLOCK :], row)
                for b in range(len(basic_mu)):
                    if basic_mu[b] == mu:
                        row[0] += adjoint[b] * resolved[other, beta, basic_monomial[b]]
                continue
            direct = load(d_radial[beta], begin, BLOCK) * load(along[3 * mu + x], begin, BLOCK)
            direct = direct + load(radial[beta], begin, BLOCK) * load(aside[3 * mu + x], begin, BLOCK)
            direct = direct * load(is_kind[other], begin, BLOCK)
            own[:] = 0.0
            own[x] = total(direct)
            own[3 + x] = total(direct * load(by_volume[x], begin, BLOCK))
            if x == 0:
                own[8] = total(direct * load(by_volume[1], begin, BLOCK))
            if x < 2:
                own[7 - x] = total(direct * load(by_volume[2], begin, BLOCK))
            gather(i, own, row)
            store(buffer, lane * BLOCK, load(buffer, lane * BLOCK, BLOCK) + direct)
            scatter(x, begin, ends, buffer, lane * BLOCK, row)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def weigh(backwards: np.ndarray, derivatives: np.ndarray, n_basic: int, out: np.ndarray) -> None:
    """Set the sums over components of what their derivatives change by, times their own, for each column."""
    for lane in range(0, COLUMNS, 4):
        nothing = zeros(load(out, 0, BLOCK))
        one, two, three, four = nothing, nothing, nothing, nothing
        for b in range(n_basic):
            of, place = load(derivatives, b * BLOCK, BLOCK), b * COLUMNS + lane
            one = one + backwards[place] * of
            two = two + backwards[place + 1] * of
            three = three + backwards[place + 2] * of
            four = four + backwards[place + 3] * of
        store(out, lane * BLOCK, one)
        store(out, (lane + 1) * BLOCK, two)
        store(out, (lane + 2) * BLOCK, three)
        store(out, (lane + 3) * BLOCK, four)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def pulls(
    lane: int,
    basis: Indices,
    around: Surroundings,
    adjoint: np.ndarray,
    along: np.ndarray,
    aside: np.ndarray,
) -> None:
    """Set Σ_k p_k y_k times the unit vector, and Σ_k p_k ∂y_k by the vector: (3 μ + x, n_edges)."""
    basic_mu, basic_monomial, lower, powers = basis.basic_mu, basis.basic_monomial, basis.lower, basis.powers
    unit, inverse, monomials = around.unit[lane], around.inverse[lane], around.monomials[lane]
    n_blocks = blocks(around.counts[lane])
    along[:, : n_blocks * BLOCK] = 0.0
    aside[:, : n_blocks * BLOCK] = 0.0
    for b in range(len(basic_mu)):
        mu, k = basic_mu[b], basic_monomial[b]
        degree = float(powers[0, k] + powers[1, k] + powers[2, k])
        for begin in range(0, n_blocks * BLOCK, BLOCK):
            over = load(inverse, begin, BLOCK)
            one = adjoint[b] * load(monomials[k], begin, BLOCK)
            for x in range(3):
                row, below = 3 * mu + x, lower[x, k]
                inward = one * load(unit[x], begin, BLOCK)
                store(along[row], begin, load(along[row], begin, BLOCK) + inward)
                change = load(aside[row], begin, BLOCK) - degree * (inward * over)
                if below >= 0:
                    factor = adjoint[b] * float(powers[x, k])
                    change = change + factor * (load(monomials[below], begin, BLOCK) * over)
                store(aside[row], begin, change)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def room_for(most: int, size: int, n_functions: int, n_monomials: int) -> Surroundings:
    """Return room for the edges of ATOMS atoms."""
    return Surroundings(
        np.zeros(ATOMS, np.int64),
        np.empty((ATOMS, most), np.int64),
        np.empty((ATOMS, 3, most)),
        np.empty((ATOMS, most)),
        np.empty((ATOMS, size, most)),
        np.empty((ATOMS, size, most)),
        np.empty((ATOMS, n_functions, most)),
        np.empty((ATOMS, n_functions, most)),
        np.empty((ATOMS, n_monomials, most)),
    )


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def surround(
    lane: int,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    shape: tuple[float, float, float],
    coefficients: np.ndarray,
    basis: Indices,
    around: Surroundings,
    moments: np.ndarray,
) -> None:
    """Set the edges of one atom, and the components of its moment tensors, in its lane.

    ``neighbours`` and ``vectors`` are its own, ``shape`` is the scaling, least distance and cutoff, and the
    coefficients those of its species.
    """
    unit, inverse, radial = around.unit[lane], around.inverse[lane], around.radial[lane]
    d_radial, value, slope = around.d_radial[lane], around.value[lane], around.slope[lane]
    n, padded, _ = edges(
        vectors, shape[0], shape[1], shape[2], around.inside[lane], unit, inverse, radial, d_radial
    )
    around.counts[lane] = n
    kinds = species[neighbours[around.inside[lane, :n]]]
    functions(kinds, coefficients, radial, n, value)
    functions(kinds, coefficients, d_radial, n, slope)
    whole = blocks(n) * BLOCK
    # Edges that count for nothing; some of them are there already.
    for e in range(padded, whole):
        inverse[e] = 0.0
        unit[:, e] = 0.0
        radial[:, e] = 0.0
        d_radial[:, e] = 0.0
    for e in range(n, whole):
        value[:, e] = 0.0
        slope[:, e] = 0.0
    set_monomials(whole, basis.parents, basis.axes, unit, around.monomials[lane])
    tensor_moments(n, basis.basic_mu, basis.basic_monomial, value, around.monomials[lane], lane, moments)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def weigh_edges(
    kinds: np.ndarray,
    vectors: np.ndarray,
    volume: float,
    n_blocks: int,
    by_volume: np.ndarray,
    is_kind: np.ndarray,
) -> None:
    """Set vectors over the volume (3, n_edges), and for each species 1 where a neighbour is of it."""
    by_volume[:, : n_blocks * BLOCK] = 0.0
    is_kind[:, : n_blocks * BLOCK] = 0.0
    for e in range(len(vectors)):
        is_kind[kinds[e], e] = 1.0
        for x in range(3):
            by_volume[x, e] = vectors[e, x] / volume


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def radial_columns(
    i: int,
    lane: int,
    ends: np.ndarray,
    species: np.ndarray,
    basis: Indices,
    around: Surroundings,
    by_volume: np.ndarray,
    is_kind: np.ndarray,
    moments: np.ndarray,
    adjoint: np.ndarray,
    tangent: np.ndarray,
    sums: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add what atom i gives to the rows of its species' radial coefficients, (species of j, μ, β) flat.

    In single precision: these rows say where to search, and how well that fits is told by the others.
    """
    single = np.float32
    n_functions, most, n_parts = around.value.shape[1], around.value.shape[2], 3 * blocks(len(ends))
    resolved = np.empty((len(is_kind), around.radial.shape[1], len(basis.parents)))
    along, aside = np.empty((3 * n_functions, most)), np.empty((3 * n_functions, most))
    resolve(species[ends], around.radial[lane], around.monomials[lane], len(ends), resolved)
    pulls(lane, basis, around, adjoint, along, aside)
    forwards = np.empty(len(moments) * COLUMNS, single)
    backwards = np.empty(len(moments) * COLUMNS, single)
    of_moments = (resolved.astype(single), moments.astype(single), adjoint.astype(single))
    of_edges = (
        by_volume.astype(single),
        is_kind.astype(single),
        around.radial[lane].astype(single),
        around.d_radial[lane].astype(single),
        along.astype(single),
        aside.astype(single),
    )
    of_parts = (tangent[:n_parts].astype(single), sums.astype(single))
    for column in range(0, len(out), COLUMNS):
        changes(column, n_functions, basis, *of_moments, forwards, backwards)
        radial_rows(
            i, column, ends, n_functions, *of_edges, of_moments[0], basis.basic_mu, basis.basic_monomial,
            adjoint, backwards, *of_parts, out,
        )  # fmt: skip


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def rows(
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    volume: float,
    scaling: float,
    least: float,
    cutoff: float,
    coefficients: np.ndarray,
    linear: np.ndarray,
    mapping: np.ndarray,
    with_radial: bool,
    basis: Indices,
    branches: Branches,
) -> np.ndarray:
    """Return the columns of the least-squares problem of one structure, each as a row.

    The columns are the basis functions (``mapping``) and then the derivatives by the radial coefficients at
    the linear ones given, flat (zero unless ``with_radial``); each has the energy, the forces (3 n_atoms) and
    the stress (6) of the structure.
    """
    n_atoms, n_kinds, n_scalars = len(species), coefficients.shape[0], len(mapping)
    out = np.zeros((n_scalars + coefficients.size, 1 + 3 * n_atoms + 6))
    most = blocks(most_edges(first)) * BLOCK
    around = room_for(most, coefficients.shape[3], coefficients.shape[2], len(basis.parents))
    by_volume, is_kind = np.empty((3, most)), np.empty((n_kinds, most))
    moments, adjoint = np.empty((len(linear), ATOMS)), np.empty((len(linear), ATOMS))
    tangent, sums = (
        np.empty((3 * blocks(most), len(basis.basic_mu) * BLOCK)),
        np.empty(len(basis.basic_mu) * BLOCK),
    )
    gradients, room = np.empty((ATOMS, len(branches.leaves))), np.zeros(len(linear) * ATOMS)
    n_columns = coefficients[0].size
    for start in range(0, n_atoms, ATOMS):
        moments[:] = 0.0
        n_lanes = min(ATOMS, n_atoms - start)
        for lane in range(n_lanes):
            begin, end = first[start + lane], first[start + lane + 1]
            surround(
                lane, neighbours[begin:end], species, vectors[begin:end], (scaling, least, cutoff),
                coefficients[species[start + lane]], basis, around, moments,
            )  # fmt: skip
        multiply(basis.times, moments)
        scalar_gradients(mapping, basis.times, moments.reshape(moments.size), branches, room, gradients)
        if with_radial:
            for m in range(len(linear)):
                adjoint[m] = linear[m]
            multiply_back(basis.times, moments, adjoint)
        for lane in range(n_lanes):
            i = start + lane
            mine = first[i] + around.inside[lane, : around.counts[lane]]
            ends = neighbours[mine]
            weigh_edges(species[ends], vectors[mine], volume, blocks(len(ends)), by_volume, is_kind)
            tangents(lane, basis, around, by_volume, tangent, sums)
            for s in range(n_scalars):
                out[s, 0] += moments[mapping[s], lane]
            scalar_rows(i, ends, gradients[lane], branches, tangent, sums, out[:n_scalars])
            if with_radial:
                begin = n_scalars + species[i] * n_columns
                radial_columns(
                    i, lane, ends, species, basis, around, by_volume, is_kind, moments[:, lane].copy(),
                    adjoint[:, lane].copy(), tangent, sums, out[begin : begin + n_columns],
                )  # fmt: skip
    return out
