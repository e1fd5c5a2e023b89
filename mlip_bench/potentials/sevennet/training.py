r"""Training of an equivariant network: Huber losses of energy, forces and stress, Adam, averaged weights.

.. math:: L = w_E\, h(ΔE / N) + w_F\, h(ΔF) + w_S\, h(Δσ) + w_G\, h(-∇E - F)

with Huber's loss h, E in eV, F in eV/Å and σ in kbar, as sevenn counts them; w_G is for direct heads, whose
forces F are not the gradient of E. Forces come first: in the last quarter of the epochs w_E is larger, when
errors of forces no longer fall much. The learning rate rises over the first steps and falls along a cosine to
the end, so a run of any length ends with small steps. What is validated and kept is an exponential moving
average of the weights.

Half of the structures, others in each epoch, are shown inverted: networks whose features have no parity, as
those of many checkpoints, must learn that F(-r) = -F(r). For all others it makes no difference.
"""

import contextlib
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR

from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Progress
from mlip_bench.potentials.sevennet.heads import GRADIENT_FORCE
from mlip_bench.potentials.sevennet.package import (
    AtomGraphSequential,
    Batch,
    DataLoader,
    ForceLoss,
    LossDefinition,
    PerAtomEnergyLoss,
    StressLoss,
    keys,
)

CHECKPOINT_SECONDS = 15.0
WARM_UP = 0.02
"""Share of the steps over which the learning rate rises."""
LAST_RATE = 0.01
"""Learning rate of the last step, of the largest."""
WATCHED = 20
"""Training structures whose errors are told where none are held out."""
LATE = 0.75
"""Share of the epochs after which the energy has its later weight."""


@dataclass(frozen=True)
class Schedule:
    """How to train."""

    epochs: int
    batch: int
    learning_rate: float
    huber_delta: float
    energy_weight: float
    late_energy_weight: float
    force_weight: float
    stress_weight: float
    averaging: float
    gradient_weight: float = 0.0
    """Of the gradient of the energy, where direct heads give the forces."""

    def losses(self, done: float) -> list[tuple[LossDefinition, float]]:
        """Return sevenn's losses with their weights, when a share of the epochs is done."""
        weighted = [
            (PerAtomEnergyLoss(), self.energy_weight if done < LATE else self.late_energy_weight),
            (ForceLoss(), self.force_weight),
            (StressLoss(), self.stress_weight),
            (ForceLoss(pred_key=GRADIENT_FORCE), self.gradient_weight),
        ]
        used = [(loss, weight) for loss, weight in weighted if weight > 0]
        for loss, _ in used:
            loss.assign_criteria(torch.nn.HuberLoss(delta=self.huber_delta))
        return used

    def rate(self, done: float) -> float:
        """Return the learning rate, relative to the largest, when a share of the steps is done."""
        if done < WARM_UP:
            return max(done / WARM_UP, LAST_RATE)
        falling = 0.5 * (1 + np.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP)))
        return LAST_RATE + (1 - LAST_RATE) * float(falling)


class MovingAverage:
    """Exponential moving average of a model's weights, by their names.

    torch has one (``AveragedModel``), but it copies the model, and a copy of an e3nn model may have its
    buffers in another order, which torch then mixes up.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self._decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.named_parameters()}

    def update(self, model: torch.nn.Module) -> None:
        """Take the model's weights of now into the average."""
        for name, value in model.named_parameters():
            self.weights[name].lerp_(value.detach(), 1 - self._decay)

    @contextlib.contextmanager
    def in_place_of(self, model: torch.nn.Module) -> Iterator[None]:
        """Let a model have the averaged weights for a while."""
        own = {name: value.detach().clone() for name, value in model.named_parameters()}
        put(self.weights, model)
        yield
        put(own, model)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averaged weights."""
        return self.weights

    def load_state_dict(self, weights: dict[str, torch.Tensor]) -> None:
        """Go back to averaged weights."""
        self.weights = weights


def put(weights: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
    """Copy weights into a model."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(weights[name])


def train(
    model: AtomGraphSequential,
    graphs: Sequence[Any],
    held_out: Sequence[int],
    schedule: Schedule,
    seed: int,
    device: str,
    checkpoint: Path | None,
    progress: Progress,
) -> None:
    """Train a model in place; it ends with the averaged weights of least validation error.

    The error is the product of the RMS errors of energy per atom and force on the structures held out. Where
    none are, the last weights are kept, and the errors told meanwhile are those of a few training structures.
    A killed training goes on from ``checkpoint`` to the same result.
    """
    training = [one for index, one in enumerate(graphs) if index not in set(held_out)]
    watched = [graphs[index] for index in held_out] or training[:: -(-len(training) // WATCHED)]
    model.to(device)
    model.set_is_batch_data(True)
    optimizer = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], lr=schedule.learning_rate
    )
    averaged = MovingAverage(model, schedule.averaging)
    per_epoch = -(-len(training) // schedule.batch)
    n_steps = schedule.epochs * per_epoch
    scheduler = LambdaLR(optimizer, lambda step: schedule.rate(step / n_steps))
    parts = {"model": model, "averaged": averaged, "optimizer": optimizer, "scheduler": scheduler}
    first, best, best_weights = _restore(checkpoint, parts)
    kept, n_parts = time.monotonic(), 1
    for epoch in range(first, schedule.epochs):
        model.train()
        losses = schedule.losses(epoch / schedule.epochs)
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        for batch in DataLoader(training, schedule.batch, shuffle=True, generator=generator):
            invert_some(batch, generator)
            optimizer.zero_grad()
            if (needed := add_gradients(model, batch, losses, device, n_parts)) != n_parts:
                n_parts = needed
                progress(epoch / schedule.epochs, f"GPU memory is full: steps in {n_parts} parts from now on")
            optimizer.step()
            scheduler.step()
            averaged.update(model)
        with averaged.in_place_of(model):
            energy, force = errors(model, watched, schedule.batch, device)
        if energy * force < best or not len(held_out):
            best = energy * force
            best_weights = {name: value.clone() for name, value in averaged.weights.items()}
        if checkpoint is not None and time.monotonic() - kept > CHECKPOINT_SECONDS:
            _keep(checkpoint, parts, epoch + 1, best, best_weights)
            kept = time.monotonic()
        progress(
            (epoch + 1) / schedule.epochs,
            f"epoch {epoch + 1}: {1e3 * energy:.2f} meV/atom, {1e3 * force:.0f} meV/Å",
        )
    if best_weights:
        put(best_weights, model)


def invert_some(batch: Any, generator: torch.Generator) -> None:
    """Invert each structure of a batch (r to -r, F to -F) or leave it, at random."""
    signs = 2.0 * torch.randint(2, (batch.num_graphs, 1), generator=generator) - 1
    of_atoms = signs[batch[keys.BATCH]].to(batch[keys.FORCE].dtype)
    batch[keys.FORCE] = of_atoms * batch[keys.FORCE]
    batch[keys.EDGE_VEC] = of_atoms[batch[keys.EDGE_IDX][0]] * batch[keys.EDGE_VEC]


def add_gradients(
    model: AtomGraphSequential,
    batch: Any,
    losses: Sequence[tuple[LossDefinition, float]],
    device: str,
    n_parts: int,
) -> int:
    """Add the gradients of the weighted losses of a batch, taken in ``n_parts`` one after the other.

    Where the GPU's memory does not hold a part there are twice as many; returns how many it took. Raises
    :class:`UserError` where it does not hold a single structure.
    """
    while True:
        try:
            for part in _parts(batch, n_parts):
                output = model(part.to(device))
                total = sum(share * value for loss, share in losses
                            if (value := loss.get_loss(output, model)) is not None)  # fmt: skip
                # Without naming the weights, derivatives by positions would be taken as well.
                weights = [one for one in model.parameters() if one.requires_grad]
                (total * part.num_graphs / batch.num_graphs).backward(inputs=weights)
            return n_parts
        except torch.OutOfMemoryError as error:
            if n_parts >= batch.num_graphs:
                largest = int(batch[keys.NUM_ATOMS].max())
                raise UserError(
                    f"the memory of {device} is too small for {largest} atoms: {error}"
                ) from error
            model.zero_grad()
            torch.cuda.empty_cache()
            n_parts *= 2


def _parts(batch: Any, n_parts: int) -> list[Any]:
    if n_parts == 1:
        return [batch]
    graphs = batch.to_data_list()
    size = -(-len(graphs) // n_parts)
    return [Batch.from_data_list(graphs[start : start + size]) for start in range(0, len(graphs), size)]


def errors(model: torch.nn.Module, graphs: Sequence[Any], batch: int, device: str) -> tuple[float, float]:
    """Return the RMS errors of energy per atom (eV) and of force components (eV/Å)."""
    model.eval()
    energy, force, n_components = 0.0, 0.0, 0
    for one in DataLoader(list(graphs), batch):
        output = model(one.to(device))
        per_atom = (output[keys.PRED_TOTAL_ENERGY] - output[keys.ENERGY]) / output[keys.NUM_ATOMS]
        energy += float((per_atom.detach() ** 2).sum())
        missed = output[keys.PRED_FORCE].detach() - output[keys.FORCE]
        force += float((missed**2).sum())
        n_components += missed.numel()
    return (energy / len(graphs)) ** 0.5, (force / n_components) ** 0.5


def _keep(folder: Path, parts: dict[str, Any], epoch: int, best: float, best_weights: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "training.partial.pt"
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"states": states, "epoch": epoch, "best": best, "best_weights": best_weights}, partial)
    partial.replace(folder / "training.pt")


def _restore(folder: Path | None, parts: dict[str, Any]) -> tuple[int, float, dict[str, Any]]:
    """Bring all parts back to what was kept; return the epoch to begin with, least error, and its weights."""
    if folder is None or not (folder / "training.pt").is_file():
        return 0, np.inf, {}
    path = folder / "training.pt"
    try:
        kept = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: not the state of a training; remove it to start over") from error
    for name, part in parts.items():
        part.load_state_dict(kept["states"][name])
    return kept["epoch"], kept["best"], kept["best_weights"]
