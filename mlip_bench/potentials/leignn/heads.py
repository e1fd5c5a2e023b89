r"""Heads of LEIGNN that give forces and stress directly.

.. math:: F_i = a_F\, W v_i, \quad
          σ = \frac{1}{V} \sum_i \Big\{ (a_{iso}\, s_i + b)\, 1
              + a_{aniso} \sum_j t_{ij} \big( u_{ij} ⊗ u_{ij} - \tfrac13 1 \big) \Big\}, \quad
          t_{ij} = \sum_k q_{i,k}\, (W g(d_{ij}))_k f(d_{ij})

with s_i and q_i networks of the scalars. The forces are those of Yang et al.
(doi:10.1038/s41524-025-01535-3), whose networks have no stress: that is ours, with the scales of SevenNet-dFS
(a_iso, b and a_aniso are taken from σV/N of the training data). A traceless tensor cannot be made of the
vectors of an atom, which vanish where its surroundings have an inversion centre: so it is made of the
directions of its edges.

The mean force is taken off each structure unless ``remove_net_force`` is off.
"""

from typing import Any

import torch

from mlip_bench.potentials.leignn import kernel
from mlip_bench.potentials.leignn.messages import Edges, Radial
from mlip_bench.potentials.networks.edge_ranges import arrays, over_edges
from mlip_bench.potentials.networks.graphs import Graphs
from mlip_bench.potentials.networks.scales import Scales

TENSORS = 8
"""Radial functions that the traceless part of the stress is made of."""

# xx yy zz yz xz xy of a product of two vectors.
FIRST, SECOND = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]


class EdgeTensors(torch.nn.Module):
    """The sum of traceless products of directions around each atom."""

    def __init__(self, radial: Radial, neighbours: float):
        super().__init__()
        self.radial = radial
        self.linear = torch.nn.Linear(radial.n, TENSORS, bias=False)
        torch.nn.init.xavier_uniform_(self.linear.weight, gain=neighbours**-0.5)

    def weights_at(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return the weights (n_lengths, TENSORS) at some lengths (Å)."""
        functions, envelope = self.radial(lengths)
        return self.linear(functions) * envelope[:, None]

    def forward(self, q: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Return Σ_j t_ij (u ⊗ u - 1/3) (n_atoms, 6), of q (n_atoms, TENSORS)."""
        functions, envelope = edges.radial(self.radial)
        t = (self.linear(functions) * q[edges.centres]).sum(1) * envelope
        u = edges.directions
        products = u[:, FIRST] * u[:, SECOND] - u.new_tensor([1, 1, 1, 0, 0, 0]) / 3
        return q.new_zeros(len(q), 6).index_add(0, edges.centres, t[:, None] * products)

    def tabulated(self) -> "TabulatedEdgeTensors":
        """Return the same with weights from tables."""
        return TabulatedEdgeTensors(self)


class TabulatedEdgeTensors(torch.nn.Module):
    """The same with fixed weights from cubic splines, on a CPU; without derivatives."""

    def __init__(self, source: EdgeTensors):
        super().__init__()
        self._table = source.radial.table(source.weights_at, source.linear.weight.dtype)

    def forward(self, q: torch.Tensor, edges: Edges) -> torch.Tensor:
        """Return Σ_j t_ij (u ⊗ u - 1/3) (n_atoms, 6)."""
        sums = q.new_zeros(len(q), 6)
        given: list[Any] = [edges.arrays[0], *arrays(q, edges.directions, edges.lengths), *self._table]
        over_edges(len(edges.lengths), [sums], lambda part, out: kernel.add_tensors(part, *given, *out))
        return sums


class DirectHeads(torch.nn.Module):
    """Forces (n_atoms, 3) in eV/Å and stresses (n_structures, 6) in eV/Å³, of scalars and vectors."""

    def __init__(self, radial: Radial, n: int, scales: Scales, remove_net_force: bool):
        super().__init__()
        self.force = torch.nn.Linear(n, 1, bias=False)
        half = max(n // 2, 1)
        self.scalars = torch.nn.Sequential(
            torch.nn.Linear(n, half), torch.nn.SiLU(), torch.nn.Linear(half, 1 + TENSORS)
        )
        self.tensors: Any = EdgeTensors(radial, scales.neighbours)
        self._scales, self._remove_net_force = scales, remove_net_force

    def forward(
        self, x: torch.Tensor, v: torch.Tensor, edges: Edges, graphs: Graphs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return forces and stresses of x (n_atoms, C) and v (n_atoms, 3, C)."""
        scales = self._scales
        forces = scales.force * self.force(v).squeeze(2)
        if self._remove_net_force:
            mean = graphs.sum_by_structure(forces) / graphs.n_atoms.to(forces.dtype)[:, None]
            forces = forces - mean[graphs.structure]
        scalars = self.scalars(x)
        normal = (scales.isotropic * scalars[:, :1] + scales.shift) * x.new_tensor([1.0, 1, 1, 0, 0, 0])
        virials = normal + scales.anisotropic * self.tensors(scalars[:, 1:], edges)
        return forces, graphs.sum_by_structure(virials) / graphs.volumes[:, None]

    def tabulated(self) -> "DirectHeads":
        """Return the heads with weights of edges from tables; they share all others."""
        made = self.__class__.__new__(self.__class__)
        made.__dict__ = self.__dict__ | {"_modules": dict(self._modules)}
        made.tensors = self.tensors.tabulated()
        return made
