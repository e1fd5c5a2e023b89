"""Energy, forces and stress of a GAP with SOAP and pair terms by our kernels.

QUIP derives each component of the power spectrum by each neighbour, and then multiplies by the derivative of
the energy. Here the derivative goes backwards instead: energy, kernels, power spectra, densities, neighbours.
What is left are two products of matrices (atoms, components) x (components, sparse points).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import NamedTuple

import numpy as np
from ase import Atoms
from threadpoolctl import ThreadpoolController

from mlip_bench.potentials.atom_ranges import over_atoms
from mlip_bench.potentials.base import Prediction
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.gap import kernel
from mlip_bench.potentials.gap.files import Pair, Part
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.stepping import Stepping

# Atoms at once: their kernels with all sparse points should stay in the cache.
BATCH = 256


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


class _Sums(NamedTuple):
    """What all terms add to."""

    energies: np.ndarray
    """(n_atoms,) in eV."""
    forces: np.ndarray
    virial: np.ndarray
    """Σ r ⊗ F (3, 3) in eV."""
    gradients: np.ndarray
    """By edges (n_edges, 3), or empty."""


class Evaluator:
    """Predicts one structure after the other; keeps its neighbour list while the skin (Å) allows."""

    def __init__(self, parts: Sequence[Part | Pair], skin: float | Stepping):
        self._parts = [part for part in parts if isinstance(part, Part)]
        self._pairs = [part for part in parts if isinstance(part, Pair)]
        reach = max([part.soap.cutoff for part in self._parts] + [pair.cutoff for pair in self._pairs])
        # The list counts all atoms alike; parts and pairs choose by atomic numbers.
        self._edges = Edges([], reach, skin)

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
        """Predict; ``gradients`` (n_edges, 3) take the derivatives by the vectors, if it is not empty."""
        threads = self._edges.stepping.threads

        def of_range(begin: int, end: int) -> tuple[np.ndarray, ...]:
            sums = _Sums(np.zeros(len(atoms)), np.zeros((len(atoms), 3)), np.zeros((3, 3)), gradients)
            self._add_range(begin, end, atoms.numbers, vectors, sums)
            return sums.energies, sums.forces, sums.virial

        # The threads share out atoms; those of BLAS would get in their way.
        with _blas().limit(limits=1) if threads > 1 else nullcontext():
            energies, forces, virial = over_atoms(len(atoms), threads, of_range)
        return Prediction.of_atoms(atoms, energies, forces, virial)

    def _add_range(self, begin: int, end: int, numbers: np.ndarray, vectors: np.ndarray, sums: _Sums) -> None:
        """Add what comes from a range of atoms."""
        for pair in self._pairs:
            self._add_pairs(pair, begin, end, numbers, vectors, sums)
        for part in self._parts:
            kinds = np.full(119, -1)
            kinds[list(part.soap.species)] = np.arange(len(part.soap.species))
            ends = kinds[numbers[self._edges.neighbours]]
            centres = begin + np.flatnonzero(numbers[begin:end] == part.soap.centre)
            for start in range(0, len(centres), BATCH):
                self._add(part, centres[start : start + BATCH], ends, vectors, sums)

    def _add_pairs(
        self, pair: Pair, begin: int, end: int, numbers: np.ndarray, vectors: np.ndarray, sums: _Sums
    ) -> None:
        """Add the pairs of two elements, of a range of atoms."""
        edges = self._edges
        mine = slice(edges.first[begin], edges.first[end])
        i, j = edges.centres[mine], edges.neighbours[mine]
        counts = pair.counts(numbers[i], numbers[j])
        term = kernel.PairSum(pair.cutoff, pair.width, pair.theta, pair.points, pair.weights)
        kernel.add_pairs(i, j, counts, vectors[mine], term, *sums[:3], sums.gradients[mine])

    def _add(
        self, part: Part, centres: np.ndarray, kinds: np.ndarray, vectors: np.ndarray, sums: _Sums
    ) -> None:
        """Add what comes from some atoms."""
        soap, edges = part.soap, self._edges
        shape = kernel.Shape(soap.cutoff, soap.cutoff_transition_width, soap.table, soap.norms)
        densities = np.empty((len(centres), len(soap.species) * soap.n_max, (soap.l_max + 1) ** 2))
        kernel.densities(centres, edges.first, kinds, vectors, shape, soap.central, densities)
        spectra = np.empty((len(centres), soap.dimensions))
        lengths = kernel.power_spectra(densities, soap.l_max, spectra)
        products = spectra @ part.points.T
        sums.energies[centres] += kernel.kernel_sums(products, part.weights, part.zeta)
        by_densities = kernel.pull_back_spectra(
            spectra, lengths, products @ part.points, densities, soap.l_max
        )
        kernel.add_forces(
            centres, edges.first, edges.neighbours, kinds, vectors, shape, by_densities, *sums[1:]
        )
