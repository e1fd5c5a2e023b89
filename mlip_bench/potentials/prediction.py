"""What a potential says of a structure."""

from dataclasses import dataclass

import numpy as np


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
