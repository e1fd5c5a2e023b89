"""Between graphs as all networks have them and models of the package ``sevenn``."""

from typing import Any, Self

import torch

from mlip_bench.potentials.networks import derivatives
from mlip_bench.potentials.networks.graphs import Graphs
from mlip_bench.potentials.networks.network import Network, Output
from mlip_bench.potentials.sevennet import convolution
from mlip_bench.potentials.sevennet.heads import GRADIENT_FORCE
from mlip_bench.potentials.sevennet.package import AtomGraphSequential, keys

# Our order xx yy zz yz xz xy from sevenn's xx yy zz xy yz zx; the sign changes as well.
FROM_SEVENN = [0, 1, 2, 4, 5, 3]


def data_of(graphs: Graphs) -> dict[str, torch.Tensor]:
    """Return what models of sevenn take of graphs."""
    return {
        keys.NODE_FEATURE: graphs.numbers,
        keys.ATOMIC_NUMBERS: graphs.numbers,
        keys.EDGE_IDX: torch.stack([graphs.centres, graphs.neighbours]),
        keys.EDGE_VEC: graphs.vectors,
        keys.CELL_VOLUME: graphs.volumes,
        keys.NUM_ATOMS: graphs.n_atoms,
        keys.BATCH: graphs.structure,
    }


class SevenNetwork(Network):
    """A model of sevenn, which differentiates its energy for itself unless it has direct heads."""

    def __init__(self, model: AtomGraphSequential):
        super().__init__()
        model.set_is_batch_data(True)
        self.model = model

    def forward(self, graphs: Graphs) -> Output:
        """Translate graphs, and what the model says of them."""
        derives = torch.is_grad_enabled() or self.model.key_grad is not None
        # On its way the model derives by positions alone: its forces.
        with torch.set_grad_enabled(derives), derivatives.alone(derivatives.POSITIONS):
            output = self.model(data_of(graphs))
        energies = output[keys.ATOMIC_ENERGY].reshape(-1)
        # Without a single edge there is nothing to differentiate by, and sevenn leaves the forces out.
        if keys.PRED_FORCE not in output:
            return Output(energies, energies.new_zeros(len(energies), 3), energies.new_zeros(len(graphs), 6))
        stresses = -output[keys.PRED_STRESS][:, FROM_SEVENN]
        return Output(energies, output[keys.PRED_FORCE], stresses, output.get(GRADIENT_FORCE))

    def ready(self) -> Self:
        """Return the network with tables of weights on a CPU."""
        self.eval()
        if next(self.parameters()).device.type != "cpu":
            return self
        return type(self)(convolution.tabulated(self.model)).eval()

    @property
    def n_parameters(self) -> int:
        """The number of trained weights that predictions depend on."""
        model: Any = self.model
        return super().n_parameters - convolution.n_unused(model)
