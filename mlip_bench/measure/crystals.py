"""Crystals to measure properties on: their standard cells, relaxed within their symmetry, and supercells."""

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from mlip_bench.errors import UserError

# Atoms within this distance (Å) of a symmetric site count as on it.
SYMMETRY_TOLERANCE = 1e-3

# Largest force (eV/Å), and derivative of the energy by strain (eV), of a relaxed crystal.
FORCE_TOLERANCE = 5e-4
MOST_STEPS = 200

# Largest step of a strain (1) or a position (Å) on the way.
LARGEST_STEP = 0.05

# A volume per atom that relaxing changes by more than this factor has collapsed or come apart.
LARGEST_VOLUME_CHANGE = 2.0

# A supercell is at least this wide (Å): 54 atoms of a bcc metal, 64 of silicon, 108 of an fcc metal.
SUPERCELL_WIDTH = 9.0


@dataclass(frozen=True)
class Crystal:
    """A crystal in its conventional cell and its primitive one, axes along those of the standard setting."""

    conventional: Atoms
    primitive: Atoms
    space_group: int
    n_sites: int
    """Sites that no symmetry takes to each other."""

    @property
    def has_symmetry(self) -> bool:
        """Whether there is any beside translations, which a frame of dynamics has not."""
        return self.space_group > 1 or len(self.primitive) == 1

    @property
    def is_cubic(self) -> bool:
        """Whether its three axes are equal and at right angles by symmetry."""
        return self.space_group >= FIRST_CUBIC

    @property
    def lattice_constant(self) -> float:
        """Length (Å) of the conventional cell's first axis."""
        return float(self.conventional.cell.lengths()[0])

    @property
    def is_element(self) -> bool:
        """Whether all atoms are of one element."""
        return len(set(self.primitive.numbers)) == 1


FIRST_CUBIC = 195


def standard(atoms: Atoms, name: str = "crystal") -> Crystal:
    """Return the standard cells of a crystal; raises UserError where spglib finds no symmetry at all."""
    if not atoms.pbc.all():
        raise UserError(f"{name}: {atoms.symbols} is not periodic in three directions, so it is no crystal")
    content = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    found = spglib.get_symmetry_dataset(content, symprec=SYMMETRY_TOLERANCE)
    cells = [
        spglib.standardize_cell(content, to_primitive=primitive, symprec=SYMMETRY_TOLERANCE)
        for primitive in (False, True)
    ]
    if found is None or any(cell is None for cell in cells):
        raise UserError(f"{name}: no symmetry found in {atoms.symbols}; are atoms on top of each other?")
    conventional, primitive = (
        Atoms(cell[2], cell=cell[0], scaled_positions=cell[1], pbc=True) for cell in cells if cell is not None
    )
    n_sites = len(set(found.equivalent_atoms.tolist()))
    return Crystal(conventional, primitive, int(found.number), n_sites)


def relaxed(atoms: Atoms, calculator: Calculator, name: str = "crystal") -> Crystal:
    """Return the crystal with cell and positions at the least energy that its symmetry allows.

    Without a stress of the calculator only the positions come to rest, in the cell as it is. Raises UserError
    where the potential makes it collapse or come apart.
    """
    primitive = standard(atoms, name).primitive
    if not has_stress(calculator):
        primitive.calc = calculator
        relax_positions(primitive, FORCE_TOLERANCE, name)
        primitive.calc = None
        return standard(primitive, name)
    start = primitive.get_volume()
    primitive.calc = calculator
    primitive.set_constraint(FixSymmetry(primitive, symprec=SYMMETRY_TOLERANCE))
    # ASE takes filters, too; steps of strain are kept small, where symmetry is kept well.
    optimiser = BFGS(FrechetCellFilter(primitive), logfile=None, maxstep=LARGEST_STEP)  # type: ignore[arg-type]
    converged = False
    for done in optimiser.irun(fmax=FORCE_TOLERANCE, steps=MOST_STEPS):
        converged = done
        change = primitive.get_volume() / start
        if not 1 / LARGEST_VOLUME_CHANGE < change < LARGEST_VOLUME_CHANGE:
            raise UserError(
                f"{name}: {atoms.symbols} does not hold: its volume becomes {change:.2f} times as large"
            )
    if not converged:
        raise UserError(f"{name}: {atoms.symbols} is not relaxed after {MOST_STEPS} steps")
    primitive.set_constraint()
    primitive.calc = None
    return standard(primitive, name)


def has_stress(calculator: Calculator) -> bool:
    """Tell whether a calculator gives a stress."""
    return "stress" in calculator.implemented_properties


def relax_positions(atoms: Atoms, force_tolerance: float, name: str) -> None:
    """Move atoms to rest, in a fixed cell and its symmetry; raises UserError where they do not come to it."""
    if np.abs(atoms.get_forces()).max() < force_tolerance:
        return
    atoms.set_constraint(FixSymmetry(atoms, symprec=SYMMETRY_TOLERANCE))
    if not BFGS(atoms, logfile=None).run(fmax=force_tolerance, steps=MOST_STEPS):
        raise UserError(f"{name}: atoms of {atoms.symbols} do not come to rest within {MOST_STEPS} steps")
    atoms.set_constraint()


def relax_shape(atoms: Atoms, name: str) -> None:
    """Bring shape and positions to rest at a fixed volume, within the symmetry; raises as above."""
    atoms.set_constraint(FixSymmetry(atoms, symprec=SYMMETRY_TOLERANCE))
    cell = FrechetCellFilter(atoms, constant_volume=True)
    if not BFGS(cell, logfile=None, maxstep=LARGEST_STEP).run(fmax=FORCE_TOLERANCE, steps=MOST_STEPS):  # type: ignore[arg-type]
        raise UserError(f"{name}: the cell of {atoms.symbols} does not come to rest in {MOST_STEPS} steps")
    atoms.set_constraint()


def repeats(atoms: Atoms) -> tuple[int, int, int]:
    """Return how often a cell is repeated along each axis to be as wide as a supercell must be."""
    # Between opposite faces of the cell, not along its edges.
    widths = 1 / np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    first, second, third = (int(np.ceil(SUPERCELL_WIDTH / width - 1e-6)) for width in widths)
    return first, second, third


def supercell(crystal: Crystal) -> Atoms:
    """Return the conventional cell repeated to at least ``SUPERCELL_WIDTH`` between opposite faces."""
    return crystal.conventional.repeat(repeats(crystal.conventional))


def per_atom(atoms: Atoms) -> float:
    """Return the energy per atom, eV."""
    return float(atoms.get_potential_energy()) / len(atoms)


def equivalent(one: Crystal, other: Crystal) -> bool:
    """Tell whether two crystals are the same structure of the same elements, up to their size."""
    return one.space_group == other.space_group and sorted(one.primitive.numbers.tolist()) == sorted(
        other.primitive.numbers.tolist()
    )
