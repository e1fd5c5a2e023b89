"""The structure whose heat flux is observed: a crystal at rest, or what was given, as a supercell."""

from dataclasses import dataclass

import spglib
from ase import Atoms
from matscipy.neighbours import neighbour_list

from mlip_bench.md import boxes
from mlip_bench.measure import crystals
from mlip_bench.measure.conductivity.settings import Settings
from mlip_bench.potentials.base import Potential

# Neighbours are looked for within this distance (Å).
FARTHEST = 6.0


@dataclass(frozen=True)
class Structure:
    """A supercell at the beginning, and what its symmetry says."""

    atoms: Atoms
    space_group: int
    """1 of a structure without symmetry: a liquid, a glass, a frame of dynamics."""

    @property
    def is_crystal(self) -> bool:
        """Whether there is any symmetry."""
        return self.space_group > 1

    @property
    def is_cubic(self) -> bool:
        """Whether the three directions are equivalent by symmetry."""
        return self.space_group >= crystals.FIRST_CUBIC

    @property
    def nearest(self) -> float:
        """The shortest distance (Å) between two atoms."""
        distances = neighbour_list("d", self.atoms, FARTHEST)
        return float(distances.min()) if len(distances) else FARTHEST


def structure_of(crystal: Atoms, potential: Potential, settings: Settings) -> Structure:
    """Return the supercell of a crystal, at rest by the potential, or of what is to be taken as it is.

    What has no symmetry is taken as it is: at rest it would be another structure.
    """
    unit, group = crystal, _space_group(crystal)
    if group > 1 and not settings.keep_cell:
        relaxed = crystals.relaxed(crystal, potential.calculator(), "conductivity")
        unit, group = relaxed.conventional, relaxed.space_group
    repeats = settings.supercell
    atoms = boxes.repeated_to(unit, repeats) if isinstance(repeats, int) else unit.repeat(repeats)
    return Structure(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True), group)


def _space_group(atoms: Atoms) -> int:
    content = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    found = spglib.get_symmetry_dataset(content, symprec=crystals.SYMMETRY_TOLERANCE)
    return 1 if found is None else int(found.number)
