"""Fitting of the networks to energies and forces: data, epochs, validation."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlip_bench.data import structures as reference
from mlip_bench.potentials.base import Progress
from mlip_bench.potentials.nnp import kernel
from mlip_bench.potentials.nnp.geometry import Neighbourhood, Tables
from mlip_bench.potentials.nnp.training import Kalman, Network

# How often the state of training is written (s): of large networks it is a hundred megabytes.
CHECKPOINT_SECONDS = 15.0

# Candidates drawn for each force component that is trained on; those with large errors are preferred.
CANDIDATES_PER_FORCE = 3


@dataclass
class Sample:
    """One structure, ready for training: inputs, their derivatives, and what to reproduce."""

    species: np.ndarray
    inputs: np.ndarray
    """(n_atoms, n_inputs), scaled."""
    jacobian: np.ndarray
    """(n_edges, 3, n_inputs): derivatives of the inputs of i by the position of j, for edges i→j."""
    centres: np.ndarray
    neighbours: np.ndarray
    incoming: list[np.ndarray]
    """For each atom the edges that end at it."""
    outgoing: np.ndarray
    """(n_atoms, 3, n_inputs): the sum of the jacobian over the edges of each atom."""
    energy: float
    """Reference energy without the baseline, in the trainer's unit."""
    forces: np.ndarray


@dataclass
class Scaling:
    """Least and largest value of each input on the training data, per element."""

    low: list[np.ndarray]
    high: list[np.ndarray]

    @property
    def factors(self) -> list[np.ndarray]:
        """What scales each input to 0..1; a constant input keeps its unit."""
        return [
            1 / np.where(high > low, high - low, 1.0) for low, high in zip(self.low, self.high, strict=True)
        ]


def raw_descriptors(atoms: Atoms, tables: Tables) -> tuple[Neighbourhood, np.ndarray, np.ndarray]:
    """Return neighbourhood, functions (n_atoms, n) and derivatives (n_edges, 3, n) of one structure."""
    around = Neighbourhood(tables.elements, tables.cutoff)
    vectors = around.update(atoms)
    values, jacobian = kernel.values_and_jacobian(
        around.first,
        around.neighbours,
        around.species,
        vectors,
        around.start,
        around.triples,
        around.pair,
        tables.cutoff,
        tables.etas,
        tables.shapes,
        tables.radial,
        tables.angular,
        tables.blocks,
        max(tables.n_inputs),
    )
    return around, values, jacobian


def scaling(raw: Sequence[tuple[Neighbourhood, np.ndarray, np.ndarray]], tables: Tables) -> Scaling:
    """Find the range of each input over all atoms of each element."""
    low, high = [], []
    for species, n_inputs in enumerate(tables.n_inputs):
        rows = np.concatenate([values[around.species == species, :n_inputs] for around, values, _ in raw])
        low.append(rows.min(0))
        high.append(rows.max(0))
    return Scaling(low, high)


class Trainer:
    """Networks of all elements, one Kalman filter, and the samples that it learns from.

    Energies are counted in units of ``force_unit`` · Å, so that forces and energies are of order one.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        validation: Sequence[Sample],
        networks: list[Network],
        energy_weight: float,
        force_fraction: float,
        batch: int,
        kalman: dict[str, Any],
        generator: np.random.Generator,
    ):
        self.samples, self.validation, self.networks = samples, validation, networks
        self._energy_weight, self._force_fraction, self._batch = energy_weight, force_fraction, batch
        self._generator = generator
        sizes = [network.n_weights for network in networks]
        self._slices = [slice(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
        self.filter = Kalman(sum(sizes), **kalman)

    @property
    def weights(self) -> np.ndarray:
        """All weights of all elements."""
        return np.concatenate([network.weights for network in self.networks])

    @weights.setter
    def weights(self, values: np.ndarray) -> None:
        for network, part in zip(self.networks, self._slices, strict=True):
            network.weights = values[part].copy()

    def epoch(self) -> None:
        """Take all energies and a share of the force components once, in random order."""
        observations = [(index, -1) for index in range(len(self.samples))]
        for index, sample in enumerate(self.samples):
            observations += [(index, component) for component in self._components(sample)]
        order = self._generator.permutation(len(observations))
        weights = self.weights
        for begin in range(0, len(order), self._batch):
            chosen = [observations[k] for k in order[begin : begin + self._batch]]
            rows = [self._observe(*which) for which in chosen]
            gradients = np.array([gradient for _, gradient in rows]).T
            errors = np.array([error for error, _ in rows])
            weights = weights + self.filter.update(gradients, errors)
            self.weights = weights
        self.filter.epoch += 1

    def _components(self, sample: Sample) -> list[int]:
        """Draw force components of a structure, preferring those with errors above its mean."""
        n_components = sample.forces.size
        wanted = self._generator.binomial(n_components, self._force_fraction)
        if wanted == 0:
            return []
        _, forces = self.predict(sample)
        errors = np.abs(forces - sample.forces).ravel()
        n_drawn = min(n_components, CANDIDATES_PER_FORCE * wanted)
        candidates = self._generator.choice(n_components, n_drawn, replace=False)
        large = candidates[errors[candidates] > errors.mean()]
        small = candidates[errors[candidates] <= errors.mean()]
        return np.concatenate([large, small])[:wanted].tolist()

    def _observe(self, index: int, component: int) -> tuple[float, np.ndarray]:
        """Return error and gradient by all weights of the energy per atom (-1) or of a force component."""
        sample = self.samples[index]
        gradient = np.zeros(self.filter.n_weights)
        if component < 0:
            n_atoms = len(sample.species)
            total = 0.0
            for species, (network, part) in enumerate(zip(self.networks, self._slices, strict=True)):
                inputs = sample.inputs[sample.species == species, : network.n_inputs]
                total += float(network.energies(inputs)[0].sum())
                gradient[part] = network.energy_gradient(inputs)
            scale = self._energy_weight / n_atoms
            return scale * (sample.energy - total), scale * gradient
        atom, axis = divmod(component, 3)
        edges = sample.incoming[atom]
        involved = np.append(sample.centres[edges], atom)
        directions = np.concatenate([-sample.jacobian[edges, axis], sample.outgoing[atom, axis][None]])
        force = 0.0
        for species, (network, part) in enumerate(zip(self.networks, self._slices, strict=True)):
            mine = sample.species[involved] == species
            if mine.any():
                value, gradient[part] = network.slope_gradient(
                    sample.inputs[involved[mine], : network.n_inputs], directions[mine, : network.n_inputs]
                )
                force += value
        return float(sample.forces[atom, axis] - force), gradient

    def predict(self, sample: Sample) -> tuple[float, np.ndarray]:
        """Return energy and forces (n_atoms, 3) of a sample, in the trainer's units."""
        slopes = np.zeros_like(sample.inputs)
        energy = 0.0
        for species, network in enumerate(self.networks):
            mine = sample.species == species
            outputs, gradient = network.energies(sample.inputs[mine, : network.n_inputs])
            slopes[mine, : network.n_inputs] = gradient
            energy += float(outputs.sum())
        pulls = np.einsum("exf,ef->ex", sample.jacobian, slopes[sample.centres])
        forces = np.einsum("axf,af->ax", sample.outgoing, slopes)
        np.add.at(forces, sample.neighbours, -pulls)
        return energy, forces

    def errors(self, samples: Sequence[Sample]) -> tuple[float, float]:
        """Return the RMS errors of energy per atom and force over samples, in the trainer's units."""
        energy, force, count = 0.0, 0.0, 0
        for sample in samples:
            predicted, forces = self.predict(sample)
            energy += ((predicted - sample.energy) / len(sample.species)) ** 2
            force += float(((forces - sample.forces) ** 2).sum())
            count += forces.size
        return (energy / len(samples)) ** 0.5, (force / count) ** 0.5

    def train(
        self, epochs: int, patience: int, unit: float, checkpoint: Path | None, progress: Progress
    ) -> int:
        """Run epochs; keep the weights of least validation error; stop after ``patience`` without a better.

        The error is the product of the RMS errors of energy and force. Returns the best epoch. With a
        ``checkpoint`` folder the state is kept there, and training goes on from it.
        """
        keeper = _Keeper(checkpoint)
        best = keeper.restore(self) or Best(np.inf, self.weights, 0)
        watched = self.validation or self.samples
        while self.filter.epoch < epochs and self.filter.epoch - best.epoch < patience:
            self.epoch()
            epoch = self.filter.epoch
            energy, force = self.errors(watched)
            if energy * force < best.error:
                best = Best(energy * force, self.weights, epoch)
            keeper.keep(self, best)
            progress(
                epoch / epochs,
                f"epoch {epoch}: {1e3 * unit * energy:.2f} meV/atom, {1e3 * unit * force:.0f} meV/Å",
            )
        self.weights = best.weights
        return best.epoch

    def state(self) -> dict[str, Any]:
        """Return all that later epochs depend on."""
        return {
            "weights": self.weights,
            "covariance": self.filter.covariance,
            "epoch": self.filter.epoch,
            "generator": json.dumps(self._generator.bit_generator.state),
        }

    def set_state(self, state: Any) -> None:
        """Go back to a state."""
        self.weights = state["weights"]
        self.filter.covariance = state["covariance"]
        self.filter.epoch = int(state["epoch"])
        self._generator.bit_generator.state = json.loads(str(state["generator"]))


@dataclass
class Best:
    """The weights of least validation error so far."""

    error: float
    weights: np.ndarray
    epoch: int


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
            best_weights=best.weights,
            best_epoch=best.epoch,
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
            return Best(float(state["best_error"]), state["best_weights"], int(state["best_epoch"]))


def make_sample(
    atoms: Atoms,
    raw: tuple[Neighbourhood, np.ndarray, np.ndarray],
    ranges: Scaling,
    baseline: float,
    unit: float,
) -> Sample:
    """Scale the descriptors of a structure and attach its reference values."""
    around, values, jacobian = raw
    low, factor = np.zeros((len(ranges.low), values.shape[1])), np.ones((len(ranges.low), values.shape[1]))
    for species, (least, scale) in enumerate(zip(ranges.low, ranges.factors, strict=True)):
        low[species, : len(least)], factor[species, : len(scale)] = least, scale
    centres = np.repeat(np.arange(len(atoms)), np.diff(around.first))
    scaled = (jacobian * factor[around.species[centres]][:, None, :]).astype(np.float32)
    outgoing = np.zeros((len(atoms), 3, values.shape[1]))
    np.add.at(outgoing, centres, scaled)
    order = np.argsort(around.neighbours, kind="stable")
    ends = np.searchsorted(around.neighbours[order], np.arange(len(atoms) + 1))
    return Sample(
        species=around.species,
        inputs=(values - low[around.species]) * factor[around.species],
        jacobian=scaled,
        centres=centres,
        neighbours=around.neighbours,
        incoming=[order[ends[a] : ends[a + 1]] for a in range(len(atoms))],
        outgoing=outgoing,
        energy=(reference.energy(atoms) - baseline) / unit,
        forces=reference.forces(atoms) / unit,
    )
