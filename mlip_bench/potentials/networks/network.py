"""What a network is to the training and prediction that families share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch

from mlip_bench.potentials.networks.graphs import Graphs


@dataclass(frozen=True)
class Output:
    """What a network says of graphs, in eV and Å; stresses in ASE's sign and order xx yy zz yz xz xy."""

    energies: torch.Tensor
    """Of the atoms (n_atoms,)."""
    forces: torch.Tensor
    """(n_atoms, 3)."""
    stresses: torch.Tensor
    """(n_structures, 6), anything where a structure has no volume."""
    gradient: torch.Tensor | None = None
    """-∇E (n_atoms, 3) beside forces that are predicted directly, where training asks for it."""


class Network(torch.nn.Module, ABC):
    """A torch module that gives the energies of atoms, and their forces and stresses, of any graphs."""

    @abstractmethod
    def forward(self, graphs: Graphs) -> Output:
        """Return what the network says of graphs, in train mode so that a loss of it can be derived."""

    def ready(self) -> Self:
        """Return the network as it predicts fastest; it may share weights with this one."""
        return self.eval()

    @property
    def n_parameters(self) -> int:
        """The number of trained weights that predictions depend on."""
        return sum(weights.numel() for weights in self.parameters() if weights.requires_grad)


def by_gradient(energies: torch.Tensor, graphs: Graphs, training: bool) -> Output:
    r"""Return energies (n_atoms,) with the forces and stresses that are their gradient.

    With g_p = ∂E/∂d_p of the edge vectors d_p, F_i = Σ_{p from i} g_p - Σ_{p to i} g_p and
    σ = Σ_p d_p ⊗ g_p / V. ``training`` keeps what a derivative of forces by weights needs. The vectors of the
    graphs must have been differentiable (``requires_grad``) when the energies were computed.
    """
    vectors = graphs.vectors
    (by_vectors,) = torch.autograd.grad(
        energies.sum(), vectors, create_graph=training, allow_unused=True, materialize_grads=True
    )
    forces = graphs.sum_by_centre(by_vectors).index_add(0, graphs.neighbours, by_vectors, alpha=-1)
    products = (vectors.detach()[:, :, None] * by_vectors[:, None]).flatten(1)
    virials = graphs.sum_by_structure(graphs.sum_by_centre(products))
    # xx yy zz, and the means of yz and zy, xz and zx, xy and yx.
    symmetric = (virials[:, [0, 4, 8, 5, 2, 1]] + virials[:, [0, 4, 8, 7, 6, 3]]) / 2
    return Output(energies, forces, symmetric / graphs.volumes[:, None])


class GradientNetwork(Network):
    """A network of which only the energies of atoms are its own; forces and stresses are their gradient."""

    @abstractmethod
    def energies(self, graphs: Graphs) -> torch.Tensor:
        """Return the energies of atoms (n_atoms,) in eV, which torch can differentiate by the vectors."""

    def forward(self, graphs: Graphs) -> Output:
        """Derive the energies, in train mode so that forces can be derived by weights."""
        with torch.enable_grad():
            graphs.vectors.requires_grad_()
            return by_gradient(self.energies(graphs), graphs, self.training)
