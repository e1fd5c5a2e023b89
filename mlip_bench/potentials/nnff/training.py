r"""Training of the networks by torch: invariants first, then the forces themselves; Adam, then L-BFGS.

In the first stage the networks learn what a rotation leaves alone, the projections of the forces on the axes,
:math:`S_k = F · A_k` with the loss :math:`⟨(S_k - F^{ref} · A_k)^2⟩`; in the second the forces,
:math:`⟨|F - F^{ref}|^2⟩` (staggered training, Mailoa et al., doi:10.1038/s42256-019-0098-0). Without epochs
for the first it is end to end. Adam goes through structures in small batches, with a learning rate that rises
over the first steps and falls along a cosine; L-BFGS takes all at once, in rounds, and ends when patience
does. What is kept has the least error on the structures held out, where there are such.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from mlip_bench.potentials.nnff.networks import Network

# Share of the steps over which the learning rate rises, and its last value, relative to the largest.
WARM_UP = 0.1
LAST_RATE = 1e-3

# L-BFGS starts afresh after so many iterations, and errors are looked at.
ITERATIONS_PER_ROUND = 25
LBFGS_MEMORY = 40

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


class Trainer:
    """The networks of all elements, and the samples that they learn from.

    ``n_inputs``, ``n_axes`` and ``n_pulls`` are those of each element; ``held_out`` says which structures are
    for validation.
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
    ):
        self._samples, self._schedule = samples, schedule
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
        self._best = (np.inf, self._state())

    # -- what the networks say -------------------------------------------------------------------------

    def _batch(self, structures: np.ndarray) -> Batch:
        samples = self._samples
        atoms = _ranges(samples.first_atom, structures)
        edges = self._tensor(_ranges(samples.first_edge, structures))
        place = np.zeros(len(samples.species), np.int64)
        place[atoms] = np.arange(len(atoms))
        places = self._tensor(place)
        return Batch(
            self._tensor(atoms), edges, places[samples.centres[edges]], places[samples.neighbours[edges]]
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
        if told.shape[1] == 0:
            return forces
        coefficients = told[batch.neighbours].gather(1, samples.columns[batch.edges])
        pulls = (coefficients * samples.terms[batch.edges]).sum(1)
        return forces.index_add(0, batch.centres, pulls[:, None] * samples.units[batch.edges])

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

    def train(self, tell: Callable[[float, str, float], None]) -> None:
        """Train as scheduled; ``tell`` is told the share that is done, what was done, and the error."""
        schedule = self._schedule
        total = schedule.invariant_epochs + schedule.epochs + schedule.lbfgs_iterations
        done = 0
        for done, error in enumerate(self._by_adam(), start=1):
            self._look(error, is_final=done > schedule.invariant_epochs)
            tell(done / total, f"epoch {done}", error)
        if schedule.epochs:
            self._restore(self._best[1])
        unimproved = 0
        for iterations in range(0, schedule.lbfgs_iterations, ITERATIONS_PER_ROUND):
            self._round(min(ITERATIONS_PER_ROUND, schedule.lbfgs_iterations - iterations))
            error = self.error()
            unimproved = 0 if self._look(error, is_final=True) else unimproved + 1
            tell((done + iterations) / total, f"L-BFGS {iterations + ITERATIONS_PER_ROUND}", error)
            if unimproved * ITERATIONS_PER_ROUND >= schedule.patience or not np.isfinite(error):
                break
        self._restore(self._best[1])

    def _look(self, error: float, is_final: bool) -> bool:
        """Keep the networks where they are the best so far; the first stage alone is never kept."""
        if is_final and error < self._best[0]:
            self._best = (error, self._state())
            return True
        return False

    def _by_adam(self) -> Iterator[float]:
        """Go through all structures once and again; yield the error after each epoch."""
        schedule = self._schedule
        n_epochs = schedule.invariant_epochs + schedule.epochs
        sizes = np.diff(self._samples.first_atom)
        n_batches = max(1, len(_cut(self._learning, sizes, schedule.batch)))
        optimiser = torch.optim.Adam(self.networks.parameters(), lr=schedule.learning_rate)
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / (n_epochs * n_batches)))
        for epoch in range(n_epochs):
            order = self._generator.permutation(self._learning)
            for part in _cut(order, sizes, schedule.batch):
                batch = self._batch(part)
                optimiser.zero_grad()
                loss = self._squares(batch, epoch < schedule.invariant_epochs) / (3 * len(batch.atoms))
                loss.backward()
                optimiser.step()
                rate.step()
            yield self.error()

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

    def _state(self) -> list[torch.Tensor]:
        return [weight.detach().clone() for weight in self.networks.parameters()]

    def _restore(self, state: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self.networks.parameters(), state, strict=True):
                weight.copy_(value)

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
