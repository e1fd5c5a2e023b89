"""SchNet of PyTorch Geometric as a family of potentials: everything that it takes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch_geometric.nn.models import SchNet as Model

from mlip_bench.potentials.networks.graphs import Graphs
from mlip_bench.potentials.networks.network import GradientNetwork
from mlip_bench.potentials.networks.potential import NetworkPotential, TrainingHypers
from mlip_bench.potentials.networks.scales import Scales


def edges_of(graphs: Graphs, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return senders and receivers (2, n_edges), and the lengths of edges (n_edges,)."""
    return torch.stack([graphs.neighbours, graphs.centres]), torch.linalg.norm(graphs.vectors, dim=1)


class Network(GradientNetwork):
    """The model with edges of ours, so that it knows of periodic cells; forces are the gradient."""

    def __init__(self, hypers: "SchNet.Hypers", scales: Scales):
        super().__init__()
        n, self._scale = hypers.channels, scales.force
        self.model = Model(n, n, hypers.layers, 32, hypers.cutoff, interaction_graph=edges_of)

    def energies(self, graphs: Graphs) -> torch.Tensor:
        """Return the energies of atoms: each is a molecule of its own for the model's last sum."""
        each = torch.arange(len(graphs.numbers), device=graphs.numbers.device)
        return self._scale * self.model(graphs.numbers, graphs, each).reshape(-1)


class SchNet(NetworkPotential):
    """Continuous-filter convolutions (Schütt et al., doi:10.1063/1.5019779)."""

    family: ClassVar[str] = "schnet"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("ase", "matscipy", "numpy", "torch", "torch-geometric")

    @dataclass(frozen=True)
    class Hypers(TrainingHypers):
        """Hyper-parameters of SchNet, and those of every training."""

        channels: int = 64
        """Features of an atom."""
        layers: int = 3
        """Layers of messages."""

    def _network(self, scales: Scales) -> Network:
        return Network(self.hypers, scales)
