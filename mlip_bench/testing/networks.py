"""Networks of sevenn as functions of a graph, which the oracles of the heat flux take."""

import torch

from mlip_bench.potentials.sevennet.package import (
    AtomGraphSequential,
    ForceStressOutputFromEdge,
    keys,
)
from mlip_bench.testing.graphs import EnergiesOfAtoms, Graph


def energies_by(model: AtomGraphSequential) -> EnergiesOfAtoms:
    """Return a network's energies of atoms as a function of a graph; the network stays as it is."""

    def energies_of(graph: Graph) -> torch.Tensor:
        data = {
            keys.NODE_FEATURE: model.z_to_onehot_tensor[graph.numbers],
            keys.ATOMIC_NUMBERS: graph.numbers,
            keys.EDGE_IDX: torch.stack([graph.centres, graph.neighbours]),
            keys.EDGE_VEC: graph.vectors,
            keys.NUM_ATOMS: torch.tensor([len(graph.numbers)]),
            keys.BATCH: torch.zeros_like(graph.numbers),
        }
        for module in model.children():
            if not isinstance(module, ForceStressOutputFromEdge):
                data = module(data)
        return data[keys.ATOMIC_ENERGY].reshape(-1)

    return energies_of
