"""The messages of LEIGNN: by operations of torch in training, by kernels in prediction on a CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mlip_bench.potentials.leignn import kernel
from mlip_bench.potentials.networks.edge_ranges import arrays, over_edges
from mlip_bench.potentials.networks.graphs import Graphs
from mlip_bench.potentials.networks.tables import tabulated

Table = tuple[np.ndarray, float]

ENVELOPE = 5
"""Power with which the messages begin to vanish."""

INTERVALS_PER_GAUSSIAN = 16
"""Of tables: with so many single precision rounds more than the splines miss."""


class Radial(torch.nn.Module):
    r"""Radial functions of a distance d: Gaussians of u = d / cutoff, and the envelope that they end with.

    .. math:: g_k = \exp(-(u - c_k)^2 / 2 Δ^2), \quad
              f = 1 - \frac{(p+1)(p+2)}{2} u^p + p (p+2) u^{p+1} - \frac{p (p+1)}{2} u^{p+2}

    with centres c_k at a distance Δ from 0 to 1, and p = 5 (doi:10.48550/arXiv.2003.03123, eq. 8).
    """

    def __init__(self, cutoff: float, n: int):
        super().__init__()
        self._cutoff, self.n = cutoff, n

    def forward(self, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return functions (n_lengths, n) and envelope (n_lengths,) of lengths (Å)."""
        u = lengths / self._cutoff
        centres = torch.arange(self.n, dtype=u.dtype, device=u.device)
        functions = torch.exp(-0.5 * (u[:, None] * (self.n - 1) - centres) ** 2)
        p = ENVELOPE
        inside = 1 - u**p * ((p + 1) * (p + 2) / 2 - u * p * (p + 2) + u**2 * p * (p + 1) / 2)
        return functions, torch.where(u < 1, inside, torch.zeros_like(u))

    def table(self, weights: Callable[[torch.Tensor], torch.Tensor], number: torch.dtype) -> Table:
        """Tabulate linear maps of the radial functions: the narrower these are, the finer."""
        return tabulated(weights, self._cutoff, number, INTERVALS_PER_GAUSSIAN * self.n)


class Edges:
    """The edges of graphs: what messages of every layer take."""

    def __init__(self, graphs: Graphs):
        self.lengths = torch.linalg.norm(graphs.vectors, dim=1)
        self.directions = graphs.vectors / self.lengths[:, None]
        self.centres, self.neighbours = graphs.centres, graphs.neighbours
        on_cpu = graphs.vectors.device.type == "cpu"
        self.arrays = tuple(arrays(graphs.centres, graphs.neighbours)) if on_cpu else ()
        """Centres and neighbours as kernels take them."""
        self._functions: tuple[torch.Tensor, torch.Tensor] | None = None

    def radial(self, radial: Radial) -> tuple[torch.Tensor, torch.Tensor]:
        """Return radial functions and envelope, which are computed once for all layers."""
        if self._functions is None:
            self._functions = radial(self.lengths)
        return self._functions


class _TabulatedMessages(torch.autograd.Function):
    """M of h, v, u and the distances; ``table`` is the kernels' table of weights and its spacing."""

    @staticmethod
    def forward(ctx: Any, h: Any, v: Any, u: Any, r: Any, edges: Any, table: Table) -> torch.Tensor:
        ctx.save_for_backward(h, v, u, r)
        ctx.edges, ctx.table = edges, table
        sums = h.new_zeros(len(h), 4 * (h.shape[1] // 3))
        given: list[Any] = [*edges, *arrays(h, v, u, r), *table]
        over_edges(len(r), [sums], lambda part, out: kernel.add_messages(part, *given, *out))
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        h, v, u, r = ctx.saved_tensors
        by_h, by_v = torch.zeros_like(h), torch.zeros_like(v)
        by_u, by_r = torch.empty_like(u), torch.empty_like(r)
        given: list[Any] = [*ctx.edges, *arrays(gradient, h, v, u, r), *ctx.table]
        own: list[Any] = arrays(by_u, by_r)
        over_edges(len(r), [by_h, by_v], lambda part, out: kernel.add_gradients(part, *given, *out, *own))
        return by_h, by_v, by_u, by_r, None, None


class Messages(torch.nn.Module):
    """Sums of the messages of a layer, whose weights are a linear map of radial functions.

    Of the three blocks of weights the first, on vectors of the sender, is left out in the first layer, where
    these are zero (``with_vectors`` off).
    """

    def __init__(self, radial: Radial, n: int, with_vectors: bool, neighbours: float):
        super().__init__()
        self.radial, self._padding = radial, 0 if with_vectors else n
        self.linear = torch.nn.Linear(radial.n, 3 * n - self._padding)
        torch.nn.init.xavier_uniform_(self.linear.weight, gain=neighbours**-0.5)
        torch.nn.init.zeros_(self.linear.bias)

    def weights_at(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return the weights (n_lengths, 3 channels) at some lengths (Å), zeros where one is left out."""
        found = self._weights(*self.radial(lengths))
        return torch.nn.functional.pad(found, (self._padding, 0))

    def _weights(self, functions: torch.Tensor, envelope: torch.Tensor) -> torch.Tensor:
        return self.linear(functions) * (envelope[:, None] / 3**0.5)

    def forward(self, h: torch.Tensor, v: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Return M (n_atoms, 4 channels) of v and h (n_atoms, 3 channels), which may lack its first block."""
        n = v.shape[1] // 3
        products = self._weights(*edges.radial(self.radial)) * h[edges.neighbours]
        *of_vectors, of_directions, scalars = products.split(n, 1)
        vectors = of_directions[:, None] * edges.directions[:, :, None]
        for one in of_vectors:  # none in the first layer
            vectors = vectors + one[:, None] * v[edges.neighbours].unflatten(1, (3, n))
        messages = torch.cat([scalars, vectors.flatten(1)], 1)
        return v.new_zeros(len(v), 4 * n).index_add(0, edges.centres, messages)

    def tabulated(self) -> "TabulatedMessages":
        """Return the same with weights from tables."""
        return TabulatedMessages(self, self._padding)


class TabulatedMessages(torch.nn.Module):
    """Messages of fixed weights from cubic splines, on a CPU."""

    def __init__(self, source: Messages, padding: int):
        super().__init__()
        self._padding = padding
        self._table = source.radial.table(source.weights_at, source.linear.weight.dtype)

    def forward(self, h: torch.Tensor, v: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Return M (n_atoms, 4 channels)."""
        h = torch.nn.functional.pad(h, (self._padding, 0))
        return _TabulatedMessages.apply(h, v, edges.directions, edges.lengths, edges.arrays, self._table)
