r"""Training of the networks by torch: invariants first, then the forces themselves; Adam, averaged weights.

Nothing of an atom depends on the network of another, so each element is trained on its own, in batches of
atoms. In the first stage the network learns what a rotation leaves alone, the projections of the force on the
axes, :math:`S_k = F · A_k` with the loss :math:`⟨(S_k - F^{ref} · A_k)^2⟩`; in the second the force,
:math:`⟨|F - F^{ref}|^2⟩` (staggered training, Mailoa et al., doi:10.1038/s42256-019-0098-0). Without epochs
for the first it is trained end to end. The learning rate rises over the first steps of all and falls along a
cosine to the end. What is validated and kept is a moving average of the weights, that of the epoch with the
least error on the atoms held out where there are such.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from mlip_bench.potentials.nnff.networks import Network

# Share of the steps over which the learning rate rises, and its last value, relative to the largest.
WARM_UP = 0.05
LAST_RATE = 1e-3

# The average forgets with this rate per step, so it is over some hundred steps.
AVERAGING = 0.99

# Atoms whose forces are computed at once where errors are taken.
AT_ONCE = 16384


@dataclass(frozen=True)
class Schedule:
    """How to train."""

    hidden: Sequence[int]
    invariant_epochs: int
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Atoms:
    """The atoms of one element: what the network sees of each, and what it is to say.

    ``readout`` turns outputs c into the force, F = Σ_k c_k R_k, and ``projector`` into the projections of the
    force on the axes, S = P c: for moments R = A and S = A F; ranked axes have R = A (AᵀA + ε 1)⁻¹ and S = c.
    """

    inputs: torch.Tensor
    """(n_atoms, n_inputs), of zero mean and unit variance."""
    axes: torch.Tensor
    """(n_atoms, n_axes, 3)."""
    readout: torch.Tensor
    """(n_atoms, n_axes, 3)."""
    forces: torch.Tensor
    """(n_atoms, 3), in the trainer's unit."""
    are_projections: bool
    """Whether outputs are the projections themselves."""

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, which: torch.Tensor | slice) -> "Atoms":
        inputs, axes, readout, forces = (
            one[which] for one in (self.inputs, self.axes, self.readout, self.forces)
        )
        return Atoms(inputs, axes, readout, forces, self.are_projections)

    def force(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return forces (n_atoms, 3) of outputs (n_atoms, n_axes)."""
        return torch.einsum("ak,akx->ax", outputs, self.readout)

    def projections(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the projections of the force on the axes, (n_atoms, n_axes)."""
        if self.are_projections:
            return outputs
        return torch.einsum("akx,ax->ak", self.axes, self.force(outputs))

    def loss(self, outputs: torch.Tensor, invariant: bool) -> torch.Tensor:
        """Return the mean square error of the projections, or of the force components."""
        if invariant:
            wanted = torch.einsum("akx,ax->ak", self.axes, self.forces)
            return ((self.projections(outputs) - wanted) ** 2).mean()
        return ((self.force(outputs) - self.forces) ** 2).mean()


@dataclass
class Training:
    """One element's network on its way; each call of ``epochs`` yields errors after one more."""

    atoms: Atoms
    held_out: Atoms
    schedule: Schedule
    seed: int
    module: torch.nn.Sequential = field(init=False)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self.module = _network(
            (self.atoms.inputs.shape[1], *self.schedule.hidden, self.atoms.axes.shape[1]), self._generator
        ).to(self.atoms.inputs.device)

    def epochs(self) -> Iterator[float]:
        """Train, and yield the root mean square error of the forces (held out, where there are) by epoch."""
        schedule = self.schedule
        n_batches = max(1, len(self.atoms) // schedule.batch)
        total = (schedule.invariant_epochs + schedule.epochs) * n_batches
        optimiser = torch.optim.AdamW(
            self.module.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / total))
        self._average = [weight.detach().clone() for weight in self.module.parameters()]
        self._best = (np.inf, self._average)
        for epoch in range(schedule.invariant_epochs + schedule.epochs):
            order = torch.randperm(len(self.atoms), generator=self._generator).to(self.atoms.inputs.device)
            for part in torch.tensor_split(order, n_batches):
                batch = self.atoms[part]
                optimiser.zero_grad()
                loss = batch.loss(self.module(batch.inputs), invariant=epoch < schedule.invariant_epochs)
                loss.backward()
                optimiser.step()
                rate.step()
                for mean, weight in zip(self._average, self.module.parameters(), strict=True):
                    mean.lerp_(weight.detach(), 1 - AVERAGING)
            error = self._error()
            if error <= self._best[0] or not len(self.held_out):
                self._best = (error, [mean.clone() for mean in self._average])
            yield error

    def _error(self) -> float:
        watched = self.held_out if len(self.held_out) else self.atoms
        square, layers = 0.0, self._average
        with torch.no_grad():
            for begin in range(0, len(watched), AT_ONCE):
                part = watched[slice(begin, begin + AT_ONCE)]
                missed = part.force(_applied(layers, part.inputs)) - part.forces
                square += float((missed**2).sum())
        return float(np.sqrt(square / watched.forces.numel()))

    def network(self, kept: np.ndarray) -> Network:
        """Return the network of the best epoch."""
        numbers = [mean.cpu().numpy() for mean in self._best[1]]
        return Network([weight.T.copy() for weight in numbers[::2]], numbers[1::2], kept)


def _network(sizes: Sequence[int], generator: torch.Generator) -> torch.nn.Sequential:
    """Return layers with tanh between; weights are drawn so that all sums have unit variance (Glorot)."""
    layers: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layer = torch.nn.Linear(n_in, n_out, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.normal_(std=(2 / (n_in + n_out)) ** 0.5, generator=generator)
            layer.bias.zero_()
        layers += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def _applied(weights: Sequence[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Return outputs of the layers whose weights and biases are given in turn."""
    values = inputs
    for layer in range(0, len(weights), 2):
        values = torch.nn.functional.linear(values, weights[layer], weights[layer + 1])
        values = values if layer == len(weights) - 2 else torch.tanh(values)
    return values


def _rate(done: float) -> float:
    """Return the learning rate, relative to the largest, when a share of the steps is done."""
    if done < WARM_UP:
        return max(done / WARM_UP, LAST_RATE)
    falling = 0.5 * (1 + np.cos(np.pi * min(1.0, (done - WARM_UP) / (1 - WARM_UP))))
    return LAST_RATE + (1 - LAST_RATE) * float(falling)
