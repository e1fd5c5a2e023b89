r"""Spherical harmonics of directions on a CPU, in e3nn's order and normalisation, with derivatives.

.. math:: Y_0 = 1, \quad Y_{l+1, m} = a_l \sum_{m' x} C^{l\,1\,l+1}_{m' x m}\, Y_{l m'}\, u_x

with u = r / |r|, C the Wigner 3j symbols and a_l such that |Y_l|² = 2 l + 1 ("component" in e3nn). The
recursion is a list of terms; run backwards it gives the derivative by u. e3nn's derivative clears an array
of all edges for each component, which took two fifths of a step of 2000 atoms.
"""

from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numba import njit

from mlip_bench.potentials.sevennet.package import SphericalEncoding, spherical_harmonics, wigner_3j

FAST = {"nsz", "arcp", "contract", "reassoc"}


class Terms(NamedTuple):
    """Y[target] += coefficient · Y[source] · u[axis], term by term; ``n`` components in all."""

    n: int
    target: np.ndarray
    source: np.ndarray
    axis: np.ndarray
    coefficient: np.ndarray


@cache
def terms(lmax: int, number: torch.dtype) -> Terms:
    """Tabulate the recursion up to ``lmax``; the sign of a_l is told by e3nn's value in one direction."""
    target, source, axis, coefficient = [], [], [], []
    direction = torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)
    for degree in range(lmax):
        symbols = wigner_3j(degree, 1, degree + 1, dtype=torch.float64)
        before, after = (
            spherical_harmonics(one, direction, normalize=True, normalization="component")
            for one in (degree, degree + 1)
        )
        raw = torch.einsum("abc,a,b->c", symbols, before, direction)
        symbols = (symbols * (raw @ after) / (raw @ raw)).numpy()
        symbols[np.abs(symbols) < 1e-12] = 0
        for one, x, other in np.argwhere(symbols):
            source.append(degree**2 + one)
            target.append((degree + 1) ** 2 + other)
            axis.append(x)
            coefficient.append(symbols[one, x, other])
    integers = (np.array(values, np.int64) for values in (target, source, axis))
    kind = np.float64 if number == torch.float64 else np.float32
    return Terms((lmax + 1) ** 2, *integers, np.array(coefficient, kind))  # type: ignore[call-arg]


@njit(cache=True, fastmath=FAST)
def direct(vector: np.ndarray, u: np.ndarray) -> float:
    """Write the direction of a vector; return its length."""
    length = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    for x in range(3):
        u[x] = vector[x] / length
    return length


@njit(cache=True, fastmath=FAST)
def recur(u: np.ndarray, table: Terms, y: np.ndarray) -> None:
    """Write Y of one direction."""
    y[:] = 0
    y[0] = 1
    for t in range(len(table.target)):
        y[table.target[t]] += table.coefficient[t] * y[table.source[t]] * u[table.axis[t]]


@njit(cache=True, fastmath=FAST)
def values(vectors: np.ndarray, table: Terms, y: np.ndarray) -> None:
    """Write Y (n_edges, n)."""
    u = np.empty(3, vectors.dtype)
    for e in range(len(vectors)):
        direct(vectors[e], u)
        recur(u, table, y[e])


@njit(cache=True, fastmath=FAST)
def gradients(gradient: np.ndarray, vectors: np.ndarray, table: Terms, by_vectors: np.ndarray) -> None:
    """Write the derivative of Σ gradient·Y by the vectors."""
    u, du, y = np.empty(3, vectors.dtype), np.empty(3, vectors.dtype), np.empty(table.n, vectors.dtype)
    g = np.empty_like(y)
    for e in range(len(vectors)):
        length = direct(vectors[e], u)
        recur(u, table, y)
        # For arrays assigned to slices numba compiles its messages of wrong shapes (3 s).
        for k in range(table.n):
            g[k] = gradient[e, k]
        du[:] = 0
        for back in range(len(table.target)):
            t = len(table.target) - 1 - back
            pull = table.coefficient[t] * g[table.target[t]]
            g[table.source[t]] += pull * u[table.axis[t]]
            du[table.axis[t]] += pull * y[table.source[t]]
        along = u[0] * du[0] + u[1] * du[1] + u[2] * du[2]
        for x in range(3):
            by_vectors[e, x] = (du[x] - along * u[x]) / length


@njit(cache=True, fastmath=FAST)
def tangents(moves: np.ndarray, vectors: np.ndarray, table: Terms, dy: np.ndarray) -> None:
    """Write how Y changes where the vectors change by ``moves``."""
    u, du, y = np.empty(3, vectors.dtype), np.empty(3, vectors.dtype), np.empty(table.n, vectors.dtype)
    for e in range(len(vectors)):
        length = direct(vectors[e], u)
        recur(u, table, y)
        along = u[0] * moves[e, 0] + u[1] * moves[e, 1] + u[2] * moves[e, 2]
        for x in range(3):
            du[x] = (moves[e, x] - along * u[x]) / length
        dy[e] = 0
        for t in range(len(table.target)):
            x, source = table.axis[t], table.source[t]
            dy[e, table.target[t]] += table.coefficient[t] * (dy[e, source] * u[x] + y[source] * du[x])


class _Values(torch.autograd.Function):
    """Y of vectors (n_edges, 3)."""

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, table: Terms) -> torch.Tensor:
        ctx.save_for_backward(vectors)
        ctx.save_for_forward(vectors)
        ctx.table = table
        found = vectors.new_empty(len(vectors), table.n)
        values(vectors.detach().numpy(), table, found.numpy())
        return found

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return _Gradients.apply(gradient, *ctx.saved_tensors, ctx.table), None

    @staticmethod
    def jvp(ctx: Any, moves: torch.Tensor, _: None) -> torch.Tensor:
        (vectors,) = ctx.saved_tensors
        found = vectors.new_empty(len(vectors), ctx.table.n)
        tangents(moves.contiguous().numpy(), vectors.detach().numpy(), ctx.table, found.numpy())
        return found


class _Gradients(torch.autograd.Function):
    """The derivative of Σ gradient·Y by the vectors; derived itself by the gradient only.

    Training derives forces by weights, never by positions: that derivative is NaN.
    """

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, vectors: torch.Tensor, table: Terms) -> torch.Tensor:
        ctx.save_for_backward(vectors)
        ctx.table = table
        found = torch.empty_like(vectors)
        gradients(gradient.detach().contiguous().numpy(), vectors.detach().numpy(), table, found.numpy())
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, moves: torch.Tensor) -> Any:
        (vectors,) = ctx.saved_tensors
        found = vectors.new_empty(len(vectors), ctx.table.n)
        tangents(moves.contiguous().numpy(), vectors.detach().numpy(), ctx.table, found.numpy())
        return found, torch.full_like(vectors, torch.nan), None


class Harmonics(SphericalEncoding):
    """sevenn's spherical harmonics, by our kernels where the vectors are on a CPU."""

    @classmethod
    def of(cls, source: SphericalEncoding) -> Self:
        """Take over an encoding of sevenn, of unit vectors in "component" normalisation."""
        made = cls.__new__(cls)
        made.__dict__ = source.__dict__
        return made

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        """Return Y (n_edges, (lmax + 1)²)."""
        if r.device.type != "cpu":
            return super().forward(r)
        return _Values.apply(r.contiguous(), terms(self.lmax, r.dtype))
