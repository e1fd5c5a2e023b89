"""Energy, forces and stress of a GAP with SOAP and pair terms by our kernels.

QUIP derives each component of the power spectrum by each neighbour, and then multiplies by the derivative of
the energy. Here the derivative goes backwards instead: energy, kernels, power spectra, densities, neighbours.
What is left are two products of matrices (atoms, components) x (components, sparse points).
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlip_bench.data import voigt
from mlip_bench.potentials.base import Prediction
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.gap import kernel
from mlip_bench.potentials.gap.files import Pair, Part

# Atoms at once: their kernels with all sparse points should stay in the cache.
BATCH = 256


class Evaluator:
    """Predicts one structure after the other; keeps its neighbour list while the skin (Å) allows."""

    def __init__(self, parts: Sequence[Part | Pair], skin: float):
        self._parts = [part for part in parts if isinstance(part, Part)]
        self._pairs = [part for part in parts if isinstance(part, Pair)]
        reach = max([part.soap.cutoff for part in self._parts] + [pair.cutoff for pair in self._pairs])
        # The list counts all atoms alike; parts and pairs choose by atomic numbers.
        self._edges = Edges([], reach, skin)

    def __call__(self, atoms: Atoms) -> Prediction:
        """Predict energy (eV) without the zero, forces (eV/Å) and stress (eV/Å³, ASE's sign and order)."""
        vectors = self._edges.update(atoms)
        forces, virial = np.zeros((len(atoms), 3)), np.zeros((3, 3))
        energy = 0.0
        for pair in self._pairs:
            energy += self._add_pairs(pair, atoms.numbers, vectors, forces, virial)
        for part in self._parts:
            kinds = np.full(119, -1)
            kinds[list(part.soap.species)] = np.arange(len(part.soap.species))
            ends = kinds[atoms.numbers[self._edges.neighbours]]
            centres = np.flatnonzero(atoms.numbers == part.soap.centre)
            for start in range(0, len(centres), BATCH):
                chosen = centres[start : start + BATCH]
                energy += self._add(part, chosen, ends, vectors, forces, virial)
        stress = np.full(6, np.nan)
        if atoms.cell.rank == 3:
            stress = voigt.from_matrix(-virial / atoms.get_volume())
        return Prediction(energy, forces, stress)

    def _add_pairs(
        self, pair: Pair, numbers: np.ndarray, vectors: np.ndarray, forces: np.ndarray, virial: np.ndarray
    ) -> float:
        """Add the forces and virial of the pairs of two elements; return their energy."""
        edges = self._edges
        one, other = ((numbers == number) | (number == 0) for number in pair.numbers)
        i, j = edges.centres, edges.neighbours
        counts = (one[i] & other[j]) | (other[i] & one[j])
        sums = kernel.PairSum(pair.cutoff, pair.width, pair.theta, pair.points, pair.weights)
        return float(kernel.add_pairs(i, j, counts, vectors, sums, forces, virial))

    def _add(
        self,
        part: Part,
        centres: np.ndarray,
        kinds: np.ndarray,
        vectors: np.ndarray,
        forces: np.ndarray,
        virial: np.ndarray,
    ) -> float:
        """Add the forces and virial that come from some atoms; return their energy."""
        soap, edges = part.soap, self._edges
        shape = kernel.Shape(soap.cutoff, soap.cutoff_transition_width, soap.table, soap.norms)
        densities = np.empty((len(centres), len(soap.species) * soap.n_max, (soap.l_max + 1) ** 2))
        kernel.densities(centres, edges.first, kinds, vectors, shape, soap.central, densities)
        spectra = np.empty((len(centres), soap.dimensions))
        lengths = kernel.power_spectra(densities, soap.l_max, spectra)
        products = spectra @ part.points.T
        energies = kernel.kernel_sums(products, part.weights, part.zeta)
        by_densities = kernel.pull_back_spectra(
            spectra, lengths, products @ part.points, densities, soap.l_max
        )
        kernel.add_forces(
            centres, edges.first, edges.neighbours, kinds, vectors, shape, by_densities, forces, virial
        )
        return float(energies.sum())
