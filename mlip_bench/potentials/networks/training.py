r"""Training of a network: Adam on the losses of :mod:`.losses`, averaged weights, steps of many cores.

Each core takes a part of the structures of a step, and derivatives add up. Half of the structures, others in
each step, are shown inverted: networks whose features have no parity, as those of many checkpoints, must
learn that F(-r) = -F(r). For all others it makes no difference.
"""

import copy
import pickle
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Progress
from mlip_bench.potentials.networks import derivatives
from mlip_bench.potentials.networks.averaging import MovingAverage, put
from mlip_bench.potentials.networks.batches import batches, shared
from mlip_bench.potentials.networks.graphs import Graphs, inverted, joined
from mlip_bench.potentials.networks.losses import Counts, Weights, loss, total
from mlip_bench.potentials.networks.network import Network
from mlip_bench.potentials.networks.schedule import Schedule

CHECKPOINT_SECONDS = 15.0
REPORTS = 25
"""How often errors are told, and the best weights looked for where structures are held out."""
WATCHED = 20
"""Training structures whose errors are told where none are held out."""
STRUCTURES_AT_ONCE = 8
"""Of those whose errors are told."""
GOOD_STEPS = 100
"""Steps between two copies of the training's state to go back to where a loss is not finite."""
LEAST_SHARE = 2.0**-6
"""Of the learning rate: a training that needs a smaller one has diverged."""

GradientsOfPart = tuple[float, list[torch.Tensor | None]]
"""The loss of a part, and its derivatives by the weights."""


@dataclass
class State:
    """Where a training stands."""

    step: int = 0
    seconds: float = 0.0
    rate_share: float = 1.0
    """Of the schedule's learning rate; halved where a loss was not finite."""
    reported: int = 0
    best: float = np.inf
    best_weights: dict[str, torch.Tensor] | None = None


class Trainer:
    """One training of a network, which :meth:`run` brings to its end.

    Graphs have values. The network ends with its averaged weights of least validation error: the product of
    the RMS errors of energy per atom and force on the structures ``held_out``. Where none are, the last
    weights are kept, and the errors told meanwhile are those of a few training structures.
    """

    def __init__(
        self,
        network: Network,
        graphs: Sequence[Graphs],
        held_out: Sequence[int],
        schedule: Schedule,
        seed: int,
        device: str,
        n_threads: int,
    ):
        kept_out = set(held_out)
        self._training = [one for index, one in enumerate(graphs) if index not in kept_out]
        self._watched = [graphs[index] for index in held_out] or self._training[
            :: -(-len(self._training) // WATCHED)
        ]
        self._chooses = bool(kept_out)
        self._costs = [len(one.centres) + len(one.numbers) for one in self._training]
        self._network, self._schedule, self._seed, self._device = network.to(device), schedule, seed, device
        self._n_parts = n_threads if device == "cpu" else 1
        self._weights = [one for one in network.parameters() if one.requires_grad]
        self._optimizer = torch.optim.Adam(self._weights, lr=schedule.learning_rate, fused=True)
        self._averaged = MovingAverage(network, schedule.averaging)
        self._state = State()
        self._good: dict[str, Any] = {}
        self.notes: list[str] = []
        """What the training did that was not asked for, one sentence each."""

    def run(self, checkpoint: Path | None, progress: Progress) -> None:
        """Train to the end; a killed training goes on from the folder ``checkpoint``.

        It comes to the same result, if the schedule is of steps and not of minutes.
        """
        self._restore(checkpoint)
        state, kept = self._state, time.monotonic()
        started = kept - state.seconds
        sizes = [len(one.numbers) for one in self._training]
        order = batches(sizes, self._schedule.atoms_per_step, self._seed, skipped=state.step)
        with ThreadPoolExecutor(self._n_parts, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            while (done := self._schedule.done(state.step, state.seconds)) < 1:
                self._step(next(order), done, pool, progress)
                state.seconds = time.monotonic() - started
                done = self._schedule.done(state.step, state.seconds)
                if int(done * REPORTS) > state.reported:
                    state.reported = int(done * REPORTS)
                    self._report(done, pool if self._device == "cpu" else None, progress)
                if checkpoint is not None and time.monotonic() - kept > CHECKPOINT_SECONDS:
                    self._keep(checkpoint)
                    kept = time.monotonic()
        put(self._averaged.weights if state.best_weights is None else state.best_weights, self._network)

    # -- one step --------------------------------------------------------------------------------------

    def _step(self, batch: list[int], done: float, pool: ThreadPoolExecutor, progress: Progress) -> None:
        state = self._state
        for group in self._optimizer.param_groups:
            group["lr"] = state.rate_share * self._schedule.rate(done)
        value = self._add_gradients(batch, self._schedule.weights(done), pool, progress)
        state.step += 1
        if not np.isfinite(value):
            self._go_back(done, progress)
            return
        if state.step % GOOD_STEPS == 1:
            self._remember()
        self._optimizer.step()
        self._averaged.update(state.step)

    def _add_gradients(
        self, batch: list[int], weights: Weights, pool: ThreadPoolExecutor, progress: Progress
    ) -> float:
        """Give the weights the derivatives of the loss of a batch, and return the loss.

        Where a GPU's memory does not hold a part there are twice as many from then on. Raises
        :class:`UserError` where it does not hold a single structure.
        """
        if not self._network.training:  # to go through all modules of a network takes a tenth of a small step
            self._network.train()
        while True:
            parts = self._parts_of(batch)
            try:
                found = self._gradients(parts, weights, pool)
                break
            except torch.OutOfMemoryError as error:
                if len(parts) == len(batch):
                    largest = max(int(part.n_atoms.max()) for part in parts)
                    raise UserError(
                        f"the memory of {self._device} is too small for {largest} atoms: {error}"
                    ) from error
                torch.cuda.empty_cache()
                self._n_parts = 2 * len(parts)
                share = self._schedule.done(self._state.step, self._state.seconds)
                progress(share, f"GPU memory is full: steps in {self._n_parts} parts from now on")
        for index, weight in enumerate(self._weights):
            given = [one for _, gradients in found if (one := gradients[index]) is not None]
            weight.grad = torch.stack(given).sum(0) if given else None
        return sum(value for value, _ in found)

    def _parts_of(self, batch: list[int]) -> list[Graphs]:
        """Return the structures of a step, half of them inverted, as one graph for each core."""
        signs = np.random.default_rng([self._seed, self._state.step]).choice([-1.0, 1.0], len(self._training))
        return [
            inverted(joined([self._training[one] for one in members]), torch.tensor(signs[members]))
            for members in shared(batch, self._costs, self._n_parts)
        ]

    def _gradients(
        self, parts: Sequence[Graphs], weights: Weights, pool: ThreadPoolExecutor
    ) -> list[GradientsOfPart]:
        """Return the loss of each part of a batch and its derivatives; they add up to those of the batch."""
        counts = total([Counts.of(part) for part in parts])

        def of_part(part: Graphs) -> GradientsOfPart:
            moved = part.to(self._device)
            value = loss(self._network(moved), moved, weights, counts)
            with derivatives.alone(derivatives.WEIGHTS):
                found = torch.autograd.grad(value, self._weights, allow_unused=True)
            return float(value.detach()), list(found)

        return list(pool.map(of_part, parts) if self._device == "cpu" else map(of_part, parts))

    # -- where a loss is not finite --------------------------------------------------------------------

    def _stateful(self) -> dict[str, Any]:
        return {"network": self._network, "averaged": self._averaged, "optimizer": self._optimizer}

    def _remember(self) -> None:
        self._good = copy.deepcopy({name: part.state_dict() for name, part in self._stateful().items()})

    def _go_back(self, done: float, progress: Progress) -> None:
        """Go back to the last good weights with half the learning rate."""
        state = self._state
        state.rate_share /= 2
        if state.rate_share < LEAST_SHARE:
            raise UserError(
                "the loss of the training is not finite, at a learning rate of "
                f"{state.rate_share * self._schedule.learning_rate:.2g} too; look for structures with huge "
                "forces, or lower the learning rate"
            )
        for name, good in self._good.items():  # none, where the very first loss was not finite
            self._stateful()[name].load_state_dict(copy.deepcopy(good))
        if not self.notes:
            told = f"the loss was not finite at step {state.step}: back to weights before it, half the rate"
            self.notes.append(told)
            progress(done, told)

    # -- errors on the way -----------------------------------------------------------------------------

    def _report(self, done: float, pool: Executor | None, progress: Progress) -> None:
        """Tell the errors of now, and keep the weights where they are the best so far."""
        state = self._state
        # One part for each core, and on a GPU parts as small as those of a step.
        n_parts = max(self._n_parts, len(self._watched) // STRUCTURES_AT_ONCE)
        with self._averaged.in_place_of(self._network):
            energy, force = errors(self._network, self._watched, self._device, pool, n_parts)
        if self._chooses and energy * force < state.best:
            state.best = energy * force
            state.best_weights = {name: value.clone() for name, value in self._averaged.weights.items()}
        progress(done, f"step {state.step}: {1e3 * energy:.2f} meV/atom, {1e3 * force:.0f} meV/Å")

    # -- going on later --------------------------------------------------------------------------------

    def _keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "training.partial.pt"
        states = {name: part.state_dict() for name, part in self._stateful().items()}
        torch.save(
            {"states": states, "good": self._good, "state": vars(self._state), "notes": self.notes}, partial
        )
        partial.replace(folder / "training.pt")

    def _restore(self, folder: Path | None) -> None:
        """Bring everything back to what was kept, if anything was."""
        if folder is None or not (folder / "training.pt").is_file():
            return
        path = folder / "training.pt"
        try:
            kept = torch.load(path, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(f"{path}: not the state of a training; remove it to start over") from error
        for name, part in self._stateful().items():
            part.load_state_dict(kept["states"][name])
        self._good, self.notes = kept["good"], kept["notes"]
        self._state = State(**kept["state"])


def errors(
    network: Network, graphs: Sequence[Graphs], device: str, pool: Executor | None = None, n_parts: int = 1
) -> tuple[float, float]:
    """Return the RMS errors of energy per atom (eV) and of force components (eV/Å)."""
    network.eval()
    costs = [len(one.centres) + len(one.numbers) for one in graphs]
    parts = [
        joined([graphs[one] for one in members]) for members in shared(range(len(graphs)), costs, n_parts)
    ]

    def squares(part: Graphs) -> tuple[float, float]:
        moved = part.to(device)
        with torch.no_grad():  # networks whose forces are a gradient turn it on for themselves
            output = network(moved)
        assert moved.energies is not None  # of graphs that are trained on
        assert moved.forces is not None
        missed = moved.sum_by_structure(output.energies.detach()) - moved.energies
        per_atom = ((missed / moved.n_atoms) ** 2).sum()
        return float(per_atom), float(((output.forces.detach() - moved.forces) ** 2).sum())

    found = list(map(squares, parts) if pool is None else pool.map(squares, parts))
    energy, force = (sum(one) for one in zip(*found, strict=True))
    n_components = 3 * sum(len(one.numbers) for one in graphs)
    return (energy / len(graphs)) ** 0.5, (force / n_components) ** 0.5
