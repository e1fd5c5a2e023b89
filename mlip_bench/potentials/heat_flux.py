r"""The heat flux of a potential: what moves energy through a structure.

    J = J_potential + J_convective,   J_convective = Σ_i (E_i + m_i v_i²/2) v_i

With d_p = r_neighbour - r_centre of edge p and g_p = ∂E/∂d_p, energy flows along edges. Where each E_i
depends on the edges of its centre alone (local families), the potential part is exactly (edge form; Fan et
al., doi:10.1103/PhysRevB.92.094301, and Langer et al., doi:10.1063/5.0155760, for one interaction)

    J_potential = - Σ_p d_p (g_p · v_neighbour(p))

Networks that pass messages give a flux of their own (:class:`FluxStepper`). Fluxes are extensive, in eV Å/fs;
velocities in Å/fs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units

from mlip_bench.potentials.prediction import Prediction


@dataclass(frozen=True)
class HeatFlux:
    """The heat flux of one structure with velocities, extensive, in eV Å/fs: each part (3,).

    For an isolated cluster ``potential`` is Σ r_i (dE_i/dt + F_i·v_i) and ``convective``
    Σ (E_i + m_i v_i²/2) v_i, so that the sum is the time derivative of Σ r_i (E_i + m_i v_i²/2).
    """

    potential: np.ndarray
    convective: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Both parts together (3,), in eV Å/fs."""
        return self.potential + self.convective


@dataclass(frozen=True)
class EdgeGradients:
    """A prediction, and the derivative of its energy by each edge of the neighbour list.

    ``centres`` and ``neighbours`` (n_edges,) number atoms; ``vectors`` (n_edges, 3) lead from centre to
    neighbour, in Å; ``gradients`` (n_edges, 3) are ∂E/∂vector, in eV/Å, where E_i counts at its centre i.
    Forces are Σ gradients at the centre minus those at the neighbour.
    """

    prediction: Prediction
    centres: np.ndarray
    neighbours: np.ndarray
    vectors: np.ndarray
    gradients: np.ndarray


class FluxStepper(ABC):
    """Predictions of one structure after the other, each with the flux that belongs to it.

    A prediction costs as much as without; what the flux needs beyond it is computed when it is asked for.
    """

    @abstractmethod
    def predict(self, atoms: Atoms) -> Prediction:
        """Predict a structure, with ``energies``, and keep what its flux needs."""

    @abstractmethod
    def potential_flux(self, velocities: np.ndarray) -> np.ndarray:
        """Return the potential part (3,) in eV Å/fs of the structure last predicted; velocities in Å/fs."""

    @abstractmethod
    def flux_by_velocities(self) -> np.ndarray:
        """Return W (n_atoms, 3, 3) in eV Å: the potential part is Σ_j W_j v_j, axis of the flux first."""

    def heat_flux(self, prediction: Prediction, masses: np.ndarray, velocities: np.ndarray) -> HeatFlux:
        """Return both parts; ``prediction`` is the last one, masses (n_atoms,) are in u."""
        assert prediction.energies is not None  # of every flux stepper
        return HeatFlux(
            self.potential_flux(velocities), convective_flux(prediction.energies, masses, velocities)
        )


class EdgeFlux(FluxStepper):
    """The edge form, for potentials whose energies of atoms depend on their own edges alone."""

    def __init__(self, gradients_of: Callable[[Atoms], EdgeGradients]):
        self._gradients_of = gradients_of
        self._edges: EdgeGradients | None = None

    def predict(self, atoms: Atoms) -> Prediction:
        """Predict a structure, and keep its edges."""
        self._edges = self._gradients_of(atoms)
        return self._edges.prediction

    def potential_flux(self, velocities: np.ndarray) -> np.ndarray:
        """Return - Σ_p d_p (g_p · v_neighbour)."""
        edges = self._last
        power = np.einsum("pa,pa->p", edges.gradients, velocities[edges.neighbours])
        return np.asarray(-(power @ edges.vectors))

    def flux_by_velocities(self) -> np.ndarray:
        """Return W_j = - Σ_{p to j} d_p ⊗ g_p."""
        edges, n_atoms = self._last, len(self._last.prediction.forces)
        products = np.einsum("pa,pb->pab", edges.vectors, edges.gradients).reshape(-1, 9)
        sums = [np.bincount(edges.neighbours, column, n_atoms) for column in products.T]
        return -np.stack(sums, axis=1).reshape(n_atoms, 3, 3)

    @property
    def _last(self) -> EdgeGradients:
        if self._edges is None:
            raise ValueError("a flux is that of a structure: predict one first")
        return self._edges


def convective_flux(energies: np.ndarray, masses: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """Return Σ (E_i + m_i v_i²/2) v_i (3,) in eV Å/fs, of energies (eV), masses (u), velocities (Å/fs)."""
    kinetic = 0.5 * masses * ((velocities / units.fs) ** 2).sum(axis=1)
    return np.asarray((energies + kinetic) @ velocities)
