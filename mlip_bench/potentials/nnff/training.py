r"""Training of the networks by torch: invariants first, then the forces themselves; Adam, then L-BFGS.

In the first stage the networks learn what a rotation leaves alone, the projections of the forces on the axes,
:math:`S_k = F · A_k` with the loss :math:`⟨(S_k - F^{ref} · A_k)^2⟩`; in the second the forces,
:math:`⟨|F - F^{ref}|^2⟩` (staggered training, Mailoa et al., doi:10.1038/s42256-019-0098-0). Without epochs
for the first it is end to end. Adam goes through structures in small batches, with a learning rate that rises
over the first steps and falls along a cosine; L-BFGS takes all at once, in rounds, and ends when patience
does. What is kept has the least error on the structures held out, where there are such.
"""

import json
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mlip_bench.errors import UserError
from mlip_bench.potentials.nnff.networks import Network

# Share of the steps over which the learning rate rises, and its last value, relative to the largest.
WARM_UP = 0.1
LAST_RATE = 1e-3

# L-BFGS starts afresh after so many iterations, and errors are looked at.
ITERATIONS_PER_ROUND = 25
LBFGS_MEMORY = 40

# A killed training goes on from a state that is at most so old.
CHECKPOINT_SECONDS = 20

# Edges whose terms are taken at once by L-BFGS and where errors are taken.
EDGES_AT_ONCE = 200_000


@dataclass(frozen=True)
class Schedule:
    """How to train."""

    hidden: Sequence[int]
    invariant_epochs: int
    epochs: int
    batch: int
    learning_rate: float
    lbfgs_iterations: int
    patience: int


@dataclass(frozen=True)
class Samples:
    """Structures one after the other, as the networks see them; axes, terms and forces are scaled.

    An atom's force is Σ_k c_k R_k with the readouts R of its own axes, and Σ_f d_f t_f u of its edges, with
    the coefficients d of the neighbour at their other end. For moments R are the axes A; for ranked ones
    R = A (AᵀA + ε 1)⁻¹, and outputs are the projections themselves.
    """

    species: np.ndarray
    """(n_atoms,)"""
    first_atom: np.ndarray
    """(n_structures + 1,): where the atoms of each structure begin."""
    first_edge: np.ndarray
    """(n_structures + 1,): where the edges of each structure begin."""
    inputs: torch.Tensor
    """(n_atoms, n_inputs), of zero mean and unit variance."""
    axes: torch.Tensor
    """(n_atoms, n_axes, 3)"""
    readout: torch.Tensor
    """(n_atoms, n_axes, 3)"""
    forces: torch.Tensor
    """(n_atoms, 3)"""
    centres: torch.Tensor
    """(n_edges,): the atoms that are pulled."""
    neighbours: torch.Tensor
    """(n_edges,): the atoms that pull."""
    units: torch.Tensor
    """(n_edges, 3): from the one to the other."""
    terms: torch.Tensor
    """(n_edges, n_terms): the neighbour's radial functions of this edge, filled up with zeros."""
    columns: torch.Tensor
    """(n_edges, n_terms): which of the neighbour's radial functions they are."""
    are_projections: bool
    """Whether outputs are the projections themselves."""


class Batch(NamedTuple):
    """Places of the atoms and edges of some structures, and of both ends of the edges among these atoms."""

    atoms: torch.Tensor
    edges: torch.Tensor
    centres: torch.Tensor
    neighbours: torch.Tensor
    structures: torch.Tensor
    """(n_atoms,): the place of each atom's structure among these."""
    n_atoms: torch.Tensor
    """(n_structures,)"""


@dataclass
class State:
    """How far a training is, and the best of it, but for networks and optimiser."""

    epochs: int = 0
    steps: int = 0
    """Of Adam."""
    iterations: int = 0
    """Of L-BFGS."""
    error: float = np.inf
    """The last one."""
    unimproved: int = 0
    """Rounds of L-BFGS since the error was last improved."""
    best_error: float = np.inf
    best: list[torch.Tensor] = field(default_factory=list)
    """The weights with the least error so far; none before the second stage."""


class Trainer:
    """The networks of all elements, and the samples that they learn from.

    ``n_inputs``, ``n_axes`` and ``n_pulls`` are those of each element; ``held_out`` says which structures are
    for validation. Where predictions have no net force (``remove_net_force``), training has none either.
    """

    def __init__(
        self,
        samples: Samples,
        held_out: np.ndarray,
        n_inputs: Sequence[int],
        n_axes: Sequence[int],
        n_pulls: Sequence[int],
        schedule: Schedule,
        seed: int,
        remove_net_force: bool,
    ):
        self._samples, self._schedule = samples, schedule
        self._remove_net_force = remove_net_force
        self._n_inputs, self._n_axes, self._n_pulls = n_inputs, n_axes, n_pulls
        self._device = samples.inputs.device
        self._generator = np.random.default_rng([seed, 2])
        drawn = torch.Generator().manual_seed(seed)
        self.networks = torch.nn.ModuleList(
            _network((n_in, *schedule.hidden, n_own + n_told), drawn)
            for n_in, n_own, n_told in zip(n_inputs, n_axes, n_pulls, strict=True)
        ).to(self._device)
        self._learning = np.flatnonzero(~held_out) if not held_out.all() else np.arange(len(held_out))
        watched = np.flatnonzero(held_out) if not held_out.all() else np.array([], int)
        self._watched = watched if len(watched) else self._learning
        self._optimiser = torch.optim.Adam(self.networks.parameters(), lr=schedule.learning_rate)
        self._state = State()

    # -- what the networks say -------------------------------------------------------------------------

    def _batch(self, structures: np.ndarray) -> Batch:
        samples = self._samples
        atoms = _ranges(samples.first_atom, structures)
        edges = self._tensor(_ranges(samples.first_edge, structures))
        place = np.zeros(len(samples.species), np.int64)
        place[atoms] = np.arange(len(atoms))
        places = self._tensor(place)
        n_atoms = np.diff(samples.first_atom)[structures]
        return Batch(
            self._tensor(atoms),
            edges,
            places[samples.centres[edges]],
            places[samples.neighbours[edges]],
            self._tensor(np.repeat(np.arange(len(structures)), n_atoms)),
            self._tensor(n_atoms),
        )

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=self._device)

    def _outputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return coefficients of own axes (n_atoms, n_axes), and of what neighbours are told, filled up."""
        species = self._samples.species[batch.atoms.cpu().numpy()]
        inputs = self._samples.inputs[batch.atoms]
        own = inputs.new_zeros(len(inputs), self._samples.axes.shape[1])
        told = inputs.new_zeros(len(inputs), max(self._n_pulls))
        for kind, network in enumerate(self.networks):
            mine = self._tensor(np.flatnonzero(species == kind))
            found = network(inputs[mine, : self._n_inputs[kind]])
            n_own, n_told = self._n_axes[kind], self._n_pulls[kind]
            own = own.index_put((mine,), _filled(found[:, :n_own], own.shape[1]))
            told = told.index_put((mine,), _filled(found[:, n_own : n_own + n_told], told.shape[1]))
        return own, told

    def _forces(self, batch: Batch, own: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Return forces (n_atoms, 3) of a batch."""
        samples = self._samples
        forces = torch.einsum("ak,akx->ax", own, samples.readout[batch.atoms])
        if told.shape[1]:
            coefficients = told[batch.neighbours].gather(1, samples.columns[batch.edges])
            pulls = (coefficients * samples.terms[batch.edges]).sum(1)
            forces = forces.index_add(0, batch.centres, pulls[:, None] * samples.units[batch.edges])
        if not self._remove_net_force:
            return forces
        net = forces.new_zeros(len(batch.n_atoms), 3).index_add(0, batch.structures, forces)
        return forces - (net / batch.n_atoms[:, None])[batch.structures]

    def _squares(self, batch: Batch, invariant: bool) -> torch.Tensor:
        """Return the sum of the square errors of forces, or of projections of an atom's mean axis."""
        samples = self._samples
        own, told = self._outputs(batch)
        if not invariant:
            return ((self._forces(batch, own, told) - samples.forces[batch.atoms]) ** 2).sum()
        axes = samples.axes[batch.atoms]
        wanted = torch.einsum("akx,ax->ak", axes, samples.forces[batch.atoms])
        found = own
        if not samples.are_projections:
            found = torch.einsum("akx,ax->ak", axes, self._forces(batch, own, told))
        return 3 * ((found - wanted) ** 2).sum() / axes.shape[1]

    def error(self) -> float:
        """Return the root mean square error of a force component in validation, in the trainer's unit."""
        with torch.no_grad():
            batches = [self._batch(part) for part in self._parts(self._watched)]
            square = sum(float(self._squares(batch, invariant=False)) for batch in batches)
        return float(np.sqrt(square / (3 * sum(len(batch.atoms) for batch in batches))))

    def _parts(self, structures: np.ndarray) -> list[np.ndarray]:
        """Cut structures into parts of so many edges."""
        return _cut(structures, np.diff(self._samples.first_edge), EDGES_AT_ONCE)

    # -- learning --------------------------------------------------------------------------------------

    def train(self, checkpoint: Path | None, tell: Callable[[float, str, float], None]) -> None:
        """Train as scheduled; a killed training goes on from the folder ``checkpoint`` to the same result.

        ``tell`` is told the share that is done, what was done, and the error. Raises :class:`UserError` where
        errors are not finite from the start.
        """
        self._restore(checkpoint)
        schedule, state, kept = self._schedule, self._state, time.monotonic()
        n_epochs = schedule.invariant_epochs + schedule.epochs
        total = n_epochs + schedule.lbfgs_iterations
        while not self._is_done():
            if state.epochs < n_epochs:
                self._epoch()
                self._look(is_final=state.epochs > schedule.invariant_epochs)
                what = f"epoch {state.epochs}"
            else:
                if state.iterations == 0:
                    self._put_best()
                self._round(min(ITERATIONS_PER_ROUND, schedule.lbfgs_iterations - state.iterations))
                improved = self._look(is_final=True)
                state.unimproved = 0 if improved else state.unimproved + 1
                what = f"L-BFGS {state.iterations}"
            tell((state.epochs + state.iterations) / total, what, state.error)
            if checkpoint is not None and time.monotonic() - kept > CHECKPOINT_SECONDS:
                self._keep(checkpoint)
                kept = time.monotonic()
        if not state.best:
            raise UserError(
                f"the errors of the training are not finite at a learning rate of {schedule.learning_rate:g};"
                " look for structures with huge forces, or lower nnff.learning_rate"
            )
        self._put_best()

    def _is_done(self) -> bool:
        """Return whether nothing is left to do, or nothing helps."""
        schedule, state = self._schedule, self._state
        if state.epochs < schedule.invariant_epochs + schedule.epochs:
            return False
        return (
            state.iterations >= schedule.lbfgs_iterations
            or state.unimproved * ITERATIONS_PER_ROUND >= schedule.patience
            or (state.iterations > 0 and not np.isfinite(state.error))
        )

    def _look(self, is_final: bool) -> bool:
        """Keep the networks where they are the best so far; the first stage alone is never kept."""
        state = self._state
        state.error = self.error()
        if not is_final or not state.error < state.best_error:
            return False
        state.best_error = state.error
        state.best = [weight.detach().clone() for weight in self.networks.parameters()]
        return True

    def _put_best(self) -> None:
        """Give the networks the weights with the least error so far, if there are any."""
        with torch.no_grad():
            for weight, value in zip(self.networks.parameters(), self._state.best, strict=False):
                weight.copy_(value)

    def _epoch(self) -> None:
        """Go through all structures once, in steps of Adam."""
        schedule, epoch = self._schedule, self._state.epochs
        n_epochs = schedule.invariant_epochs + schedule.epochs
        sizes = np.diff(self._samples.first_atom)
        n_batches = max(1, len(_cut(self._learning, sizes, schedule.batch)))
        order = self._generator.permutation(self._learning)
        for part in _cut(order, sizes, schedule.batch):
            for group in self._optimiser.param_groups:
                group["lr"] = schedule.learning_rate * _rate(self._state.steps / (n_epochs * n_batches))
            batch = self._batch(part)
            self._optimiser.zero_grad()
            loss = self._squares(batch, epoch < schedule.invariant_epochs) / (3 * len(batch.atoms))
            loss.backward()
            self._optimiser.step()
            self._state.steps += 1
        self._state.epochs += 1

    def _round(self, n_iterations: int) -> None:
        """Take some iterations of L-BFGS on all structures, from the weights of now."""
        batches = [self._batch(part) for part in self._parts(self._learning)]
        n_components = 3 * sum(len(batch.atoms) for batch in batches)
        optimiser = torch.optim.LBFGS(
            self.networks.parameters(),
            max_iter=n_iterations,
            history_size=LBFGS_MEMORY,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            total = torch.zeros((), dtype=torch.float64, device=self._device)
            for batch in batches:
                part = self._squares(batch, invariant=False) / n_components
                part.backward()
                total += part.detach()
            return total

        optimiser.step(loss)
        self._state.iterations += n_iterations

    # -- going on later --------------------------------------------------------------------------------

    def _keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "training.partial.pt"
        content = {
            "networks": self.networks.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": json.dumps(self._generator.bit_generator.state),
            "state": vars(self._state),
        }
        torch.save(content, partial)
        partial.replace(folder / "training.pt")

    def _restore(self, folder: Path | None) -> None:
        """Bring everything back to what was kept, if anything was."""
        if folder is None or not (folder / "training.pt").is_file():
            return
        path = folder / "training.pt"
        try:
            kept = torch.load(path, map_location=self._device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(f"{path}: not the state of a training; remove it to start over") from error
        self.networks.load_state_dict(kept["networks"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._generator.bit_generator.state = json.loads(kept["generator"])
        self._state = State(**kept["state"])

    def network(self, kind: int, kept: np.ndarray) -> Network:
        """Return the network of one element, whose own axes are ``kept``."""
        numbers = [weight.detach().cpu().numpy() for weight in self.networks[kind].parameters()]
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


def _filled(values: torch.Tensor, n_columns: int) -> torch.Tensor:
    """Return values (n, m) with columns of zeros behind."""
    return torch.nn.functional.pad(values, (0, n_columns - values.shape[1]))


def _ranges(first: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return all places of the parts ``which``, one part after the other."""
    return np.concatenate([np.empty(0, np.int64), *(np.arange(first[i], first[i + 1]) for i in which)])


def _cut(structures: np.ndarray, sizes: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut structures into parts of about this size each, in their order."""
    ends = np.cumsum(sizes[structures])
    n_parts = max(1, min(len(structures), round(int(ends[-1]) / size)))
    bounds = np.searchsorted(ends, np.linspace(0, int(ends[-1]), n_parts + 1)[1:-1])
    return [part for part in np.split(structures, bounds) if len(part)]


def _rate(done: float) -> float:
    """Return the learning rate, relative to the largest, when a share of the steps is done."""
    if done < WARM_UP:
        return max(done / WARM_UP, LAST_RATE)
    falling = 0.5 * (1 + np.cos(np.pi * min(1.0, (done - WARM_UP) / (1 - WARM_UP))))
    return LAST_RATE + (1 - LAST_RATE) * float(falling)
