"""SNAP and qSNAP by the kernels: what a potential is in arrays, and predictions of structures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from mlip_bench.potentials.atom_ranges import over_atoms
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.prediction import Prediction
from mlip_bench.potentials.snap import design, kernel
from mlip_bench.potentials.snap.components import triples
from mlip_bench.potentials.snap.kernel import Energy, Neighbourhood
from mlip_bench.potentials.snap.repulsion import Repulsion, add_repulsion, repulsion
from mlip_bench.potentials.snap.tables import Tables
from mlip_bench.potentials.stepping import Stepping


@dataclass(frozen=True)
class Model:
    """All of a potential but its coefficients, as the kernels take it."""

    elements: tuple[str, ...]
    cutoff: float
    """The largest of any pair (Å), ZBL included."""
    neighbourhood: Neighbourhood
    zero: np.ndarray
    """(n_elements, n_components): what is taken off the components."""
    tables: Tables
    repulsion: Repulsion | None


def zbl(elements: Sequence[str], cutoffs: Sequence[float]) -> Repulsion | None:
    """Return the repulsion of nuclei between an inner and an outer cutoff (Å); None without cutoffs."""
    if not cutoffs:
        return None
    charges = np.array([atomic_numbers[element] for element in elements], dtype=float)
    return repulsion(charges, *cutoffs)


def energy(coefficients: np.ndarray, zero: np.ndarray, quadratic: bool) -> Energy:
    """Return the energy by components from coefficients (n_elements, n): β and the upper triangle of α."""
    n_elements, n = zero.shape
    alpha = np.zeros((n_elements if quadratic else 0, n, n))
    upper = np.triu_indices(n)
    for matrix, given in zip(alpha, coefficients[:, n:], strict=False):
        matrix[upper] = given
        matrix += np.triu(matrix, 1).T
    return Energy(np.ascontiguousarray(coefficients[:, :n]), alpha, zero)


def isolated(twojmax: int, n_elements: int, chemical: bool, normalised: bool, in_all: bool) -> np.ndarray:
    """Return the components of an isolated atom of each element, (n_elements, n_components).

    Only the central atom counts, for which U is the unit matrix: j + 1, or 1 where components are divided by
    that. With densities of elements apart it is in its own, or in all of them.
    """
    alone = np.array([1.0 if normalised else third + 1.0 for _, _, third in triples(twojmax)])
    if not chemical:
        return np.tile(alone, (n_elements, 1))
    channels = np.full((n_elements, n_elements), float(in_all))
    np.fill_diagonal(channels, 1.0)
    return np.einsum("ea,eb,ec,k->eabck", channels, channels, channels, alone).reshape(n_elements, -1)


class Evaluator:
    """Predicts one structure after the other; keeps its neighbour list while the skin (Å) allows."""

    def __init__(self, model: Model, energy: Energy, skin: float | Stepping):
        self._model, self._energy = model, energy
        self._edges = Edges(model.elements, model.cutoff, skin)

    def __call__(self, atoms: Atoms) -> Prediction:
        """Predict energies (eV) without the zero, forces (eV/Å) and stress (eV/Å³, ASE's sign and order)."""
        return self._predict(atoms, self._edges.update(atoms), np.empty((0, 3)))

    def with_edges(self, atoms: Atoms) -> EdgeGradients:
        """Predict one structure, with the derivative of its energy by each edge."""
        edges = self._edges
        vectors = edges.update(atoms)
        gradients = np.zeros_like(vectors)
        prediction = self._predict(atoms, vectors, gradients)
        return EdgeGradients(prediction, edges.centres, edges.neighbours, vectors, gradients)

    def _predict(self, atoms: Atoms, vectors: np.ndarray, gradients: np.ndarray) -> Prediction:
        model, edges = self._model, self._edges
        around = edges.first, edges.neighbours, edges.species, vectors

        def of_range(begin: int, end: int) -> tuple[np.ndarray, ...]:
            sums = np.zeros(len(atoms)), np.zeros((len(atoms), 3)), np.zeros((3, 3))
            of_model = model.neighbourhood, self._energy, model.tables
            kernel.evaluate((begin, end), *around, *of_model, *sums, gradients)
            if model.repulsion is not None:
                add_repulsion((begin, end), *around, model.repulsion, *sums, gradients)
            return sums

        energies, forces, virial = over_atoms(len(atoms), edges.stepping.threads, of_range)
        return Prediction.of_atoms(atoms, energies, forces, virial)


class Designer:
    """The rows of the least squares of one structure after the other: see :func:`design.design`."""

    def __init__(self, model: Model, quadratic: bool):
        self._model, self._quadratic = model, quadratic
        self._edges = Edges(model.elements, model.cutoff)
        self._parts = design.parts(model.tables)

    def __call__(self, atoms: Atoms) -> np.ndarray:
        """Return the rows (1 + 3 n_atoms + 6, n_columns) of energy, forces and strain."""
        model, edges = self._model, self._edges
        vectors = edges.update(atoms)
        around = edges.first, edges.neighbours, edges.species, vectors
        rows: np.ndarray = design.design(
            *around, model.neighbourhood, model.zero, self._quadratic, model.tables, self._parts
        )
        return rows


def repulsion_of(elements: Sequence[str], cutoffs: Sequence[float]) -> Callable[[Atoms], Prediction]:
    """Return predictions by ZBL alone between an inner and an outer cutoff (Å); 0 without cutoffs."""
    pairs = zbl(elements, cutoffs)
    edges = Edges(elements, max(cutoffs, default=0.0))

    def predict(atoms: Atoms) -> Prediction:
        energies, forces, virial = np.zeros(len(atoms)), np.zeros((len(atoms), 3)), np.zeros((3, 3))
        if pairs is not None:
            vectors = edges.update(atoms)
            around = edges.first, edges.neighbours, edges.species, vectors
            add_repulsion((0, len(atoms)), *around, pairs, energies, forces, virial, np.empty((0, 3)))
        return Prediction.of_atoms(atoms, energies, forces, virial)

    return predict
