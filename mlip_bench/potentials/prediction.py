"""What a potential says of a structure."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from ase import Atoms

from mlip_bench.data import voigt


@dataclass(frozen=True)
class Prediction:
    """What a potential says of one structure.

    ``energy`` in eV; ``forces`` (n_atoms, 3) in eV/Å; ``stress`` (6,) in eV/Å³ as in the conventions of
    :mod:`mlip_bench.potentials.base`, NaN where the structure has no three-dimensional cell.
    ``n_extrapolating`` counts the atoms whose surroundings lie outside those of the training data; 0 also
    where a family cannot tell. ``energies`` (n_atoms,) in eV are those of the atoms and sum to ``energy``;
    None where a family has none.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    n_extrapolating: int = 0
    energies: np.ndarray | None = None

    @classmethod
    def of_atoms(
        cls,
        atoms: Atoms,
        energies: np.ndarray,
        forces: np.ndarray,
        virial: np.ndarray,
        n_extrapolating: int = 0,
    ) -> Self:
        """Return the prediction that energies of atoms and the virial Σ r ⊗ F (3, 3) in eV make."""
        stress = np.full(6, np.nan)
        if atoms.cell.rank == 3:
            stress = voigt.from_matrix(-virial / atoms.get_volume())
        return cls(float(energies.sum()), forces, stress, n_extrapolating, energies)
