r"""What training makes small: Huber losses of energies, forces and stresses.

.. math:: L = w_E\, h(ΔE / N) + w_F\, h(ΔF) + w_S\, h(Δσ) + w_G\, h(-∇E - F)

with Huber's loss h, a mean over structures or components; E in eV, F in eV/Å and σ in kbar. w_G is for
networks that predict forces F directly, which are not the gradient of E.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ase import units

from mlip_bench.potentials.networks.graphs import Graphs
from mlip_bench.potentials.networks.network import Output

TO_KILOBAR = 10 / units.GPa
"""kbar of 1 eV/Å³."""


@dataclass(frozen=True)
class Weights:
    """Weights of the losses, and the error above which they grow linearly."""

    energy: float
    force: float
    stress: float
    gradient: float
    huber_delta: float


@dataclass(frozen=True)
class Counts:
    """What means are taken over: structures, components of forces, and of stresses that are known."""

    structures: int
    forces: int
    stresses: int

    @classmethod
    def of(cls, graphs: Graphs) -> "Counts":
        """Count what graphs have values of."""
        assert graphs.stresses is not None  # of graphs that are trained on
        known = int(torch.isfinite(graphs.stresses).sum())
        return cls(len(graphs), 3 * len(graphs.numbers), known)


def total(counts: Sequence[Counts]) -> Counts:
    """Add up the counts of parts of a step."""
    return Counts(
        sum(one.structures for one in counts),
        sum(one.forces for one in counts),
        sum(one.stresses for one in counts),
    )


def loss(output: Output, graphs: Graphs, weights: Weights, counts: Counts) -> torch.Tensor:
    """Return what graphs add to the loss of a step; parts of it add up, whatever their sizes."""
    assert graphs.energies is not None  # of graphs that are trained on
    assert graphs.forces is not None
    assert graphs.stresses is not None
    energies = graphs.sum_by_structure(output.energies)
    per_atom = (energies - graphs.energies) / graphs.n_atoms
    summed = weights.energy / counts.structures * _huber(per_atom, weights)
    summed = summed + weights.force / counts.forces * _huber(output.forces - graphs.forces, weights)
    known = torch.isfinite(graphs.stresses)
    if weights.stress and bool(known.any()):
        missed = TO_KILOBAR * (output.stresses[known] - graphs.stresses[known])
        summed = summed + weights.stress / counts.stresses * _huber(missed, weights)
    if weights.gradient and output.gradient is not None:
        missed = output.gradient - graphs.forces
        summed = summed + weights.gradient / counts.forces * _huber(missed, weights)
    return summed


def _huber(missed: torch.Tensor, weights: Weights) -> torch.Tensor:
    zeros = torch.zeros_like(missed)
    return torch.nn.functional.huber_loss(missed, zeros, reduction="sum", delta=weights.huber_delta)
