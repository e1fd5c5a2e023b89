"""Numba kernels: moments of all atoms, and what follows from them: energy, forces, virial, and rows to fit.

A component of a moment tensor of atom i is m_{μk} = Σ_j f_μ(r_ij) y_k(u_ij), with y_k a monomial of the unit
vector u to the neighbour and f_μ = Σ_β c_{μβ} T_β(r) of Chebyshev polynomials times (r_cut - r)². All other
moments are sums of products of earlier ones; they are run through forwards for values and backwards for
derivatives. In molecular dynamics a few atoms go through the products side by side, so that each product is
one vector instruction.
"""

import numpy as np
from numba import njit

# Everything that lets loops be vectorised, but no assumption that would hide a NaN.
FAST = {"nsz", "arcp", "contract", "reassoc"}

# Atoms that go through the products side by side; more would leave the second cache.
LANES = 16

# Edges are padded with zeros to a multiple of this, so that loops over them have no remainder.
VECTOR = 8


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def edges(
    vectors: np.ndarray,
    scaling: float,
    least: float,
    cutoff: float,
    inside: np.ndarray,
    unit: np.ndarray,
    inverse: np.ndarray,
    radial: np.ndarray,
    d_radial: np.ndarray,
) -> tuple[int, int, int]:
    """Set unit vectors, 1/r, radial basis and its derivative by r of one atom's edges.

    Edges run along the last axis of each array; only those within the cutoff are kept, and ``inside`` is set
    to where they stand in ``vectors``. Returns how many they are without and with padding, and how many of
    them are shorter than ``least``, the distance below which the potential was never fitted.
    """
    size, n_edges, short = len(radial), 0, 0
    slope = 2.0 / (cutoff - least)
    for k in range(len(vectors)):
        square = vectors[k, 0] ** 2 + vectors[k, 1] ** 2 + vectors[k, 2] ** 2
        if square < cutoff * cutoff:
            inside[n_edges] = k
            n_edges += 1
    for e in range(n_edges):
        k = inside[e]
        r = np.sqrt(vectors[k, 0] ** 2 + vectors[k, 1] ** 2 + vectors[k, 2] ** 2)
        inverse[e] = 1.0 / r
        for x in range(3):
            unit[x, e] = vectors[k, x] * inverse[e]
        if r < least:
            short += 1
        gap = cutoff - r
        smooth, d_smooth = scaling * gap * gap, -2.0 * scaling * gap
        x = (r - least) * slope - 1.0
        before, now, d_before, d_now = 1.0, x, 0.0, slope
        radial[0, e], d_radial[0, e] = smooth, d_smooth
        for b in range(1, size):
            radial[b, e], d_radial[b, e] = now * smooth, d_now * smooth + now * d_smooth
            after, d_after = 2.0 * x * now - before, 2.0 * (slope * now + x * d_now) - d_before
            before, now, d_before, d_now = now, after, d_now, d_after
    padded = (n_edges + VECTOR - 1) // VECTOR * VECTOR
    for e in range(n_edges, padded):
        inside[e], inverse[e] = 0, 0.0
        unit[:, e] = 0.0
        radial[:, e] = 0.0
        d_radial[:, e] = 0.0
    return n_edges, padded, short


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def set_monomials(
    n_edges: int, parents: np.ndarray, axes: np.ndarray, unit: np.ndarray, out: np.ndarray
) -> None:
    """Set the monomials of the unit vectors, (n_monomials, n_edges)."""
    for e in range(n_edges):
        out[0, e] = 1.0
    for k in range(1, len(parents)):
        parent, axis = parents[k], axes[k]
        for e in range(n_edges):
            out[k, e] = out[parent, e] * unit[axis, e]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def functions(
    kinds: np.ndarray, coefficients: np.ndarray, radial: np.ndarray, n_edges: int, out: np.ndarray
) -> None:
    """Set f_μ = Σ_β c_{μβ} T_β on each edge; ``coefficients`` is (species of j, μ, β), of the centre's."""
    for mu in range(out.shape[0]):
        for e in range(n_edges):
            out[mu, e] = 0.0
        for b in range(radial.shape[0]):
            if len(coefficients) == 1:
                coefficient = coefficients[0, mu, b]
                for e in range(n_edges):
                    out[mu, e] += coefficient * radial[b, e]
            else:
                for e in range(n_edges):
                    out[mu, e] += coefficients[kinds[e], mu, b] * radial[b, e]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def most_edges(first: np.ndarray) -> int:
    """Return the largest number of edges of an atom, rounded up to whole vectors."""
    most = 0
    for i in range(len(first) - 1):
        most = max(most, first[i + 1] - first[i])
    return (most + VECTOR - 1) // VECTOR * VECTOR


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def tensor_moments(
    n_edges: int,
    basic_mu: np.ndarray,
    basic_monomial: np.ndarray,
    value: np.ndarray,
    monomials: np.ndarray,
    lane: int,
    out: np.ndarray,
) -> None:
    """Set the components of the moment tensors of one atom in its lane: sums of f_μ y_k over its edges."""
    for b in range(len(basic_mu)):
        mu, k, total = basic_mu[b], basic_monomial[b], 0.0
        for e in range(n_edges):
            total += value[mu, e] * monomials[k, e]
        out[b, lane] = total


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_forces(
    i: int,
    ends: np.ndarray,
    vectors: np.ndarray,
    gradient: np.ndarray,
    forces: np.ndarray,
    virial: np.ndarray,
) -> None:
    """Add what the gradient (3, n_edges) of atom i's energy gives to forces and virial."""
    for e in range(len(ends)):
        for x in range(3):
            pull = gradient[x, e]
            forces[i, x] += pull
            forces[ends[e], x] -= pull
            for y in range(3):
                virial[x, y] -= pull * vectors[e, y]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def multiply(times: np.ndarray, moments: np.ndarray) -> None:
    """Run the products forwards; ``moments`` is (n_moments, LANES), its components of tensors are set."""
    n_lanes = moments.shape[1]
    for t in range(len(times)):
        # Unsigned, so that no index is checked for counting from the end.
        left, right = moments[np.uint32(times[t, 0])], moments[np.uint32(times[t, 1])]
        factor, target = float(times[t, 2]), moments[np.uint32(times[t, 3])]
        for k in range(n_lanes):
            target[k] += factor * left[k] * right[k]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def multiply_back(times: np.ndarray, moments: np.ndarray, adjoint: np.ndarray) -> None:
    """Run the products backwards: ``adjoint`` holds the derivatives by the moments, (n_moments, LANES)."""
    n_lanes = moments.shape[1]
    for t in range(len(times) - 1, -1, -1):
        left, right = np.uint32(times[t, 0]), np.uint32(times[t, 1])
        factor, outer = float(times[t, 2]), adjoint[np.uint32(times[t, 3])]
        of_left, of_right = moments[left], moments[right]
        by_left, by_right = adjoint[left], adjoint[right]
        for k in range(n_lanes):
            by_right[k] += factor * outer[k] * of_left[k]
        for k in range(n_lanes):
            by_left[k] += factor * outer[k] * of_right[k]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def edge_gradient(
    n_edges: int,
    lane: int,
    basic_mu: np.ndarray,
    basic_monomial: np.ndarray,
    lower: np.ndarray,
    powers: np.ndarray,
    unit: np.ndarray,
    inverse: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    monomials: np.ndarray,
    adjoint: np.ndarray,
    weighted: np.ndarray,
    along: np.ndarray,
    out: np.ndarray,
) -> None:
    """Set the gradient (3, n_edges) of an atom's energy by the vectors to its neighbours.

    With q_k = Σ_μ (∂E/∂m_{μk}) f_μ on an edge it is (Σ q'_k y_k - Σ deg_k q_k y_k / r) u + Σ q_k ∇y_k / r.
    ``weighted`` (n_monomials, n_edges) is room for q.
    """
    for k in range(len(monomials)):
        for e in range(n_edges):
            weighted[k, e] = 0.0
    for e in range(n_edges):
        along[e] = 0.0
        out[0, e], out[1, e], out[2, e] = 0.0, 0.0, 0.0
    for b in range(len(basic_mu)):
        mu, k, outer = basic_mu[b], basic_monomial[b], adjoint[b, lane]
        for e in range(n_edges):
            weighted[k, e] += outer * value[mu, e]
            along[e] += outer * slope[mu, e] * monomials[k, e]
    for k in range(1, len(monomials)):
        degree = float(powers[0, k] + powers[1, k] + powers[2, k])
        for e in range(n_edges):
            along[e] -= degree * weighted[k, e] * monomials[k, e] * inverse[e]
        for x in range(3):
            power, below = float(powers[x, k]), lower[x, k]
            if below >= 0:
                for e in range(n_edges):
                    out[x, e] += power * weighted[k, e] * monomials[below, e]
    for x in range(3):
        for e in range(n_edges):
            out[x, e] = out[x, e] * inverse[e] + along[e] * unit[x, e]


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def evaluate(
    atoms: tuple[int, int],
    first: np.ndarray,
    neighbours: np.ndarray,
    species: np.ndarray,
    vectors: np.ndarray,
    scaling: float,
    least: float,
    cutoff: float,
    coefficients: np.ndarray,
    linear: np.ndarray,
    gradients: np.ndarray,
    parents: np.ndarray,
    axes: np.ndarray,
    lower: np.ndarray,
    powers: np.ndarray,
    basic_mu: np.ndarray,
    basic_monomial: np.ndarray,
    times: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return energies per atom, forces (n_atoms, 3), virial (3, 3), and each atom's edges that are too short.

    These are of a range of atoms, and zero for others.
    ``gradients`` takes the derivatives of the energy by the vectors, of those within the cutoff; it is empty
    where nobody wants them.

    ``coefficients`` is (species of i, species of j, μ, β); ``linear`` has the coefficient of each moment,
    zero for those that are no basis function. The virial is Σ r ⊗ F, positive in compression.
    """
    n_atoms, n_functions, size = len(species), coefficients.shape[2], coefficients.shape[3]
    energies, short = np.zeros(n_atoms), np.zeros(n_atoms, np.int64)
    forces, virial = np.zeros((n_atoms, 3)), np.zeros((3, 3))
    most = most_edges(first)
    unit, inverse, gradient = np.empty((LANES, 3, most)), np.empty((LANES, most)), np.empty((3, most))
    radial, d_radial = np.empty((size, most)), np.empty((size, most))
    monomials, weighted = np.empty((len(parents), most)), np.empty((len(parents), most))
    value, slope = np.empty((LANES, n_functions, most)), np.empty((LANES, n_functions, most))
    along, inside, counts = np.empty(most), np.empty((LANES, most), np.int64), np.zeros(LANES, np.int64)
    moments, adjoint = np.empty((len(linear), LANES)), np.empty((len(linear), LANES))
    for begin in range(atoms[0], atoms[1], LANES):
        moments[:] = 0.0
        n_lanes = min(LANES, atoms[1] - begin)
        for lane in range(n_lanes):
            i = begin + lane
            counts[lane], n, short[i] = edges(
                vectors[first[i] : first[i + 1]], scaling, least, cutoff, inside[lane], unit[lane],
                inverse[lane], radial, d_radial,
            )  # fmt: skip
            set_monomials(n, parents, axes, unit[lane], monomials)
            kinds = species[neighbours[first[i] + inside[lane, :n]]]
            functions(kinds, coefficients[species[i]], radial, n, value[lane])
            functions(kinds, coefficients[species[i]], d_radial, n, slope[lane])
            tensor_moments(n, basic_mu, basic_monomial, value[lane], monomials, lane, moments)
        multiply(times, moments)
        for m in range(len(linear)):
            adjoint[m] = linear[m]
            if linear[m] != 0.0:
                for lane in range(n_lanes):
                    energies[begin + lane] += linear[m] * moments[m, lane]
        multiply_back(times, moments, adjoint)
        for lane in range(n_lanes):
            i = begin + lane
            n = (counts[lane] + VECTOR - 1) // VECTOR * VECTOR
            set_monomials(n, parents, axes, unit[lane], monomials)
            edge_gradient(
                n, lane, basic_mu, basic_monomial, lower, powers, unit[lane], inverse[lane], value[lane],
                slope[lane], monomials, adjoint, weighted, along, gradient,
            )  # fmt: skip
            mine = first[i] + inside[lane, : counts[lane]]
            add_forces(i, neighbours[mine], vectors[mine], gradient, forces, virial)
            if len(gradients) > 0:
                for e in range(len(mine)):
                    for x in range(3):
                        gradients[mine[e], x] = gradient[x, e]
    return energies, forces, virial, short
