r"""Training of the networks: the Kalman filter, steps of Gauss and Newton on all data, validation, resuming.

The filter goes through many observations, one batch after the other, and finds good weights from bad ones.
What it leaves is a sum of squares over all observations near its minimum, where few steps of Gauss and Newton
with the damping of Levenberg and Marquardt (doi:10.1137/0111030) reach what other optimisers need hundreds
for: with gradients H of the observations and their errors ξ,

.. math:: (H H^T + λ \operatorname{diag} H H^T) δ = H ξ
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array, to_device
from scipy import linalg

from mlip_bench.potentials.base import Progress
from mlip_bench.potentials.nnp.kalman import N_PARTS, Kalman
from mlip_bench.potentials.nnp.networks import Network
from mlip_bench.potentials.nnp.samples import Samples

# How often the state of training is written (s): of large networks it is a hundred megabytes.
CHECKPOINT_SECONDS = 15.0

# Candidates drawn for each force component that is trained on; those with large errors are preferred.
CANDIDATES_PER_FORCE = 3

# Of steps of Gauss and Newton: the damping at the start, how it changes, and where it ends; what is added to
# the diagonal as a share of its largest element, so that weights without effect stay where they are.
FIRST_DAMPING, LESS_DAMPING, MORE_DAMPING = 1e-3, 0.2, 5.0
LEAST_DAMPING, MOST_DAMPING = 1e-9, 1e6
NO_EFFECT = 1e-8

# A step that lowers the squares by less than this share is the last one.
SMALLEST_GAIN = 5e-3

# Observations whose gradients are in memory at once, on each thread.
OBSERVATIONS_AT_ONCE = 96

# Atoms whose edges are taken at once: few enough that the arrays between stay in the processor's caches.
ATOMS_PER_CHUNK = 64


# What makes errors (m,) of some observations and their gradients (m, n_weights).
Observe = Callable[[np.ndarray], tuple[Any, Any]]


@dataclass(frozen=True)
class Schedule:
    """How long to train, and by what: epochs of the Kalman filter, then steps of Gauss and Newton."""

    epochs: int
    patience: int
    gauss_newton_steps: int
    energy_weight: float
    force_fraction: float
    batch: int


class Trainer:
    """Networks of all elements, and the samples that they learn from, one block of structures at a time.

    ``held_out`` says which structures of each block are for validation; where none is, all are.
    Energies are counted in units of ``force_unit`` · Å, so that forces and energies are of order one.
    """

    def __init__(
        self,
        blocks: Sequence[Samples],
        held_out: Sequence[np.ndarray],
        networks: list[Network],
        schedule: Schedule,
        kalman: Kalman,
        generator: np.random.Generator,
    ):
        self.networks, self.filter, self._schedule = networks, kalman, schedule
        self._generator = generator
        self._blocks = blocks
        self._for_training = [~mask for mask in held_out]
        validates = any(mask.any() for mask in held_out)
        self._for_validation = [mask if validates else np.ones_like(mask) for mask in held_out]
        self.steps, self.damping, self.gain = 0, FIRST_DAMPING, 1.0
        self._at = -1
        self._predicted: tuple[Any, Any] | None = None
        self._take(0)
        sizes = [network.n_weights for network in networks]
        self._slices = [slice(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
        self._xp = array_namespace(self.data.inputs)
        for network in networks:
            network.weights = self.array(network.weights)
        kalman.covariance = self.array(kalman.covariance)

    @property
    def weights(self) -> Any:
        """All weights of all elements."""
        return self._xp.concat([network.weights for network in self.networks])

    @weights.setter
    def weights(self, values: Any) -> None:
        for network, part in zip(self.networks, self._slices, strict=True):
            network.weights = values[part]
        self._predicted = None

    def _take(self, block: int) -> None:
        """Make one block of structures the data of now."""
        if block == self._at:
            return
        self.data, self._at = self._blocks[block], block
        self.training = np.flatnonzero(self._for_training[block])
        self.validation = np.flatnonzero(self._for_validation[block])
        self._predicted = None

    def _each(self, masks: list[np.ndarray]) -> Iterator[int]:
        """Take one after the other the blocks that a mask has something of, in order, when resumed too."""
        for block in [block for block, mask in enumerate(masks) if mask.any()]:
            self._take(block)
            yield block

    def array(self, values: np.ndarray) -> Any:
        """Return values in double precision where the samples are."""
        return self._xp.asarray(np.asarray(values, float), device=device(self.data.inputs))

    # -- what the networks say -------------------------------------------------------------------------

    def predict(self) -> tuple[Any, Any]:
        """Return energies (n_structures,) and forces (n_atoms, 3) of this block, in the trainer's units."""
        if self._predicted is None:
            self._predicted = self._predict()
        return self._predicted

    def _predict(self) -> tuple[Any, Any]:
        xp, data = self._xp, self.data
        outputs, slopes = xp.zeros_like(data.inputs[:, 0]), xp.zeros_like(data.inputs)
        for kind, network in enumerate(self.networks):
            mine = np.flatnonzero(data.species == kind)
            energies, gradient = network.energies(data.inputs[mine, : network.n_inputs])
            outputs[mine] = energies
            slopes[mine, : network.n_inputs] = gradient
        single = xp.astype(slopes, xp.float32)

        def pulls(edges: slice, _: slice) -> Any:
            return xp.einsum("exf,ef->ex", data.jacobian[edges], single[data.centres[edges]])

        per_edge = xp.concat([*self._over_chunks(pulls), xp.zeros_like(single[:1, :3])])
        forces = xp.einsum("axf,af->ax", data.outward[:-1], slopes[:-1])
        forces = forces - xp.sum(per_edge[data.incoming], axis=1)
        return xp.sum(outputs[data.members], axis=1), forces

    def _over_chunks(self, work: Callable[[slice, slice], Any]) -> list[Any]:
        """Do work for the edges of some atoms at a time, with all threads."""
        n_atoms = len(self.data.first_edge) - 1
        atoms = [
            slice(begin, min(begin + ATOMS_PER_CHUNK, n_atoms))
            for begin in range(0, n_atoms, ATOMS_PER_CHUNK)
        ]
        first = self.data.first_edge
        edges = [slice(int(first[part.start]), int(first[part.stop])) for part in atoms]
        run = self.filter.threads.map if self.filter.threads else map
        return list(run(work, edges, atoms))

    def errors(self) -> tuple[float, float]:
        """Return the RMS errors of energy per atom and force in validation, in the trainer's units."""
        xp, squares, counts = self._xp, np.zeros(2), np.zeros(2)
        for _ in self._each(self._for_validation):
            data, which = self.data, self.validation
            energies, forces = self.predict()
            per_atom = (energies[which] - data.energies[which]) / self.array(data.n_atoms[which])
            atoms = self._atoms(which)
            missed = forces[atoms] - data.forces[atoms]
            squares += [float(xp.sum(per_atom**2)), float(xp.sum(missed**2))]
            counts += [len(which), 3 * len(atoms)]
        energy, force = np.sqrt(squares / counts).tolist()
        return energy, force

    # -- the Kalman filter -----------------------------------------------------------------------------

    def epoch_of_all(self) -> None:
        """Take all blocks once, in random order."""
        wanted = [block for block, mask in enumerate(self._for_training) if mask.any()]
        for place in self._generator.permutation(len(wanted)):
            self._take(wanted[place])
            self.epoch(self.predict()[1])
        self.filter.epoch += 1

    def epoch(self, forces: Any) -> None:
        """Take all energies and a share of the force components of this block once, in random order.

        ``forces`` are those of now: components with large errors are preferred.
        """
        components = self._components(np.abs(_numpy(forces - self.data.forces)))
        observations = np.concatenate([-1 - self.training, components])
        order = self._generator.permutation(observations)
        for begin in range(0, len(order), self._schedule.batch):
            chosen = order[begin : begin + self._schedule.batch]
            rows = []
            if (chosen < 0).any():
                rows.append(self._observe_energies(-1 - chosen[chosen < 0]))
            if (chosen >= 0).any():
                rows.append(self._observe_forces(chosen[chosen >= 0]))
            errors = self._xp.concat([row[0] for row in rows])
            gradients = self._xp.concat([row[1] for row in rows])
            self.weights = self.weights + self.filter.update(gradients, errors)

    def _components(self, errors: np.ndarray) -> np.ndarray:
        """Draw force components (3 · atom + axis) of each structure, preferring errors above its mean."""
        drawn = []
        for index in self.training:
            atoms = self.data.members[index, : self.data.n_atoms[index]]
            mine = errors[atoms].ravel()
            wanted = self._generator.binomial(len(mine), self._schedule.force_fraction)
            n_drawn = min(len(mine), CANDIDATES_PER_FORCE * wanted)
            candidates = self._generator.choice(len(mine), n_drawn, replace=False)
            is_small = mine[candidates] <= mine.mean()
            chosen = candidates[np.argsort(is_small, kind="stable")][:wanted]
            drawn.append(3 * atoms[0] + chosen)
        return np.concatenate(drawn).astype(int)

    def _observe_energies(self, which: np.ndarray) -> tuple[Any, Any]:
        """Return weighted errors of energies per atom (m,) and their gradients by all weights."""
        data, xp = self.data, self._xp
        atoms = data.members[which][:, : data.n_atoms[which].max()]
        found, gradients = [], []
        for kind, network in enumerate(self.networks):
            share = self.array(data.species[atoms] == kind)
            energies, gradient = network.energy_gradients(data.inputs[atoms][..., : network.n_inputs], share)
            found.append(energies)
            gradients.append(gradient)
        scale = self._schedule.energy_weight / self.array(data.n_atoms[which])
        return scale * (data.energies[which] - sum(found)), scale[:, None] * xp.concat(gradients, axis=1)

    def _observe_forces(self, components: np.ndarray) -> tuple[Any, Any]:
        """Return errors of force components (m,) and their gradients by all weights."""
        data, xp = self.data, self._xp
        atoms, axes = np.divmod(components, 3)
        edges = data.incoming[atoms]
        involved = np.concatenate([data.centres[edges], atoms[:, None]], axis=1)
        pulls = -xp.astype(data.jacobian[edges, axes[:, None]], xp.float64)
        directions = xp.concat([pulls, data.outward[atoms, axes][:, None]], axis=1)
        inputs = data.inputs[involved]
        found, gradients = [], []
        for kind, network in enumerate(self.networks):
            mine = directions
            if len(self.networks) > 1:
                mine = directions * self.array(data.species[involved] == kind)[..., None]
            force, gradient = network.slope_gradients(
                inputs[..., : network.n_inputs], mine[..., : network.n_inputs]
            )
            found.append(force)
            gradients.append(gradient)
        return data.forces[atoms, axes] - sum(found), xp.concat(gradients, axis=1)

    # -- steps of Gauss and Newton ---------------------------------------------------------------------

    def squares(self) -> float:
        """Return the sum of the squared observations: forces, and weighted energies per atom."""
        xp, total = self._xp, 0.0
        for _ in self._each(self._for_training):
            data, which = self.data, self.training
            energies, forces = self.predict()
            scale = self._schedule.energy_weight / self.array(data.n_atoms[which])
            total += float(xp.sum((scale * (energies[which] - data.energies[which])) ** 2))
            total += float(xp.sum((forces - data.forces)[self._atoms(which)] ** 2))
        return total

    def gauss_newton(self) -> None:
        """Take one step from the weights of now, the first that lowers the squares, or none; set the gain."""
        xp, start, before = self._xp, self.weights, self.squares()
        matrix, vector = self.normal_equations()
        diagonal = xp.linalg.diagonal(matrix)
        diagonal = diagonal + NO_EFFECT * xp.max(diagonal)
        unit = xp.eye(len(vector), dtype=xp.float64, device=device(vector))
        while self.damping <= MOST_DAMPING:
            factor = xp.linalg.cholesky(matrix + self.damping * diagonal * unit)
            self.weights = start + _solved(factor, vector)
            self.gain = 1 - self.squares() / before
            if self.gain > 0:
                self.damping = max(LESS_DAMPING * self.damping, LEAST_DAMPING)
                return
            self.damping *= MORE_DAMPING
        self.weights, self.gain = start, 0.0

    def normal_equations(self) -> tuple[Any, Any]:
        """Return H Hᵀ (n_weights, n_weights) and H ξ (n_weights,) of all observations, by N_PARTS threads."""
        xp, n = self._xp, len(self.weights)
        matrix, vector = xp.zeros_like(self.filter.covariance), xp.zeros_like(self.weights)

        def summed(work: Sequence[tuple[Observe, np.ndarray]]) -> tuple[Any, Any]:
            square, product = xp.zeros((n, n), dtype=xp.float64, device=device(vector)), xp.zeros_like(vector)
            for observe, which in work:
                errors, gradients = observe(which)
                square += gradients.T @ gradients
                product += errors @ gradients
            return square, product

        run = self.filter.threads.map if self.filter.threads else map
        for _ in self._each(self._for_training):
            components = (3 * self._atoms(self.training)[:, None] + np.arange(3)).ravel()
            work: list[tuple[Observe, np.ndarray]]
            work = [(self._observe_energies, one) for one in _cut(self.training)]
            work += [(self._observe_forces, one) for one in _cut(components)]
            for square, product in run(summed, [work[first::N_PARTS] for first in range(N_PARTS)]):
                matrix += square
                vector += product
        return matrix, vector

    def _atoms(self, which: np.ndarray) -> np.ndarray:
        """Return the atoms of some structures of this block."""
        data = self.data
        return np.concatenate([data.members[index, : data.n_atoms[index]] for index in which])

    # -- the whole -------------------------------------------------------------------------------------

    def train(self, unit: float, checkpoint: Path | None, progress: Progress) -> int:
        """Train as scheduled; keep the weights of least validation error. Returns the best step.

        The error is the product of the RMS errors of energy and force, on the structures held out, or on all
        where none are. With a ``checkpoint`` folder the state is kept there, and training goes on from it.
        """
        schedule = self._schedule
        keeper = _Keeper(checkpoint)
        best = keeper.restore(self) or Best(np.inf, self.weights, 0)

        def look(best: Best, step: int, name: str) -> Best:
            energy, force = self.errors()
            done = self.filter.epoch + self.steps
            progress(
                min(1.0, done / (schedule.epochs + schedule.gauss_newton_steps)),
                f"{name}: {1e3 * unit * energy:.2f} meV/atom, {1e3 * unit * force:.0f} meV/Å",
            )
            return Best(energy * force, self.weights, step) if energy * force < best.error else best

        while not self.steps and self.filter.epoch < schedule.epochs:
            if self.filter.epoch - best.step >= schedule.patience:
                break
            self.epoch_of_all()
            best = look(best, self.filter.epoch, f"epoch {self.filter.epoch}")
            keeper.keep(self, best)
        if not self.steps:
            self.weights = best.weights
        while self.steps < schedule.gauss_newton_steps and self.gain >= SMALLEST_GAIN:
            self.gauss_newton()
            self.steps += 1
            best = look(best, self.filter.epoch + self.steps, f"Gauss-Newton {self.steps}")
            keeper.keep(self, best)
        self.weights = best.weights
        return best.step

    def state(self) -> dict[str, Any]:
        """Return all that later steps depend on."""
        return {
            "weights": _numpy(self.weights),
            "covariance": _numpy(self.filter.covariance),
            "epoch": self.filter.epoch,
            "steps": self.steps,
            "damping": self.damping,
            "gain": self.gain,
            "generator": json.dumps(self._generator.bit_generator.state),
        }

    def set_state(self, state: Any) -> None:
        """Go back to a state."""
        self.weights = self.array(state["weights"])
        self.filter.covariance = self.array(state["covariance"])
        self.filter.epoch, self.steps = int(state["epoch"]), int(state["steps"])
        self.damping, self.gain = float(state["damping"]), float(state["gain"])
        self._generator.bit_generator.state = json.loads(str(state["generator"]))


@dataclass
class Best:
    """The weights of least validation error so far."""

    error: float
    weights: Any
    step: int


class _Keeper:
    """Keeps the state of training in a folder, so that a killed fit goes on to the same result."""

    def __init__(self, folder: Path | None):
        self._file = None if folder is None else folder / "training.npz"
        self._kept = time.monotonic()

    def keep(self, trainer: Trainer, best: Best) -> None:
        """Write the state, unless that was done a moment ago."""
        if self._file is None or time.monotonic() - self._kept < CHECKPOINT_SECONDS:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial.npz")
        np.savez(
            partial,
            best_error=best.error,
            best_weights=_numpy(best.weights),
            best_step=best.step,
            **trainer.state(),
        )
        partial.replace(self._file)
        self._kept = time.monotonic()

    def restore(self, trainer: Trainer) -> Best | None:
        """Bring the trainer back to the state that was kept, if there is one."""
        if self._file is None or not self._file.is_file():
            return None
        with np.load(self._file) as state:
            trainer.set_state(state)
            weights = trainer.array(state["best_weights"])
            return Best(float(state["best_error"]), weights, int(state["best_step"]))


def _cut(observations: np.ndarray) -> list[np.ndarray]:
    """Cut observations into those that are taken at once."""
    return np.array_split(observations, -(-len(observations) // OBSERVATIONS_AT_ONCE))


def _solved(factor: Any, vector: Any) -> Any:
    """Return x of L Lᵀ x = vector by the triangles of L, for which the standard of arrays has no function."""
    if is_torch_array(vector):
        import torch

        return torch.cholesky_solve(vector[:, None], factor)[:, 0]
    return linalg.cho_solve((factor, True), vector, check_finite=False)


def _numpy(values: Any) -> np.ndarray:
    return np.asarray(to_device(values, "cpu"))
