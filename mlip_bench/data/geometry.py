"""Cells of structures; how two of the same atoms differ: displacements within the cell, and its strain."""

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell

# Length (Å) of a vector along an open direction, where only differences count.
OPEN_LENGTH = 20.0


# Nothing that is bonded, or packed, leaves planes of atoms so far (Å) from each other.
VACUUM = 7.0

# Vacuum put around non-periodic directions, beyond the cutoff (Å), so that periodic images do not
# interact and every structure can be treated as fully periodic.
VACUUM_MARGIN = 2.0


def in_periodic_box(atoms: Atoms, cutoff: float) -> Atoms:
    """Return a copy of ``atoms`` that can be treated as periodic in three directions.

    Directions without periodicity get vacuum wider than the cutoff, so that nothing interacts across it.
    """
    boxed = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if boxed.pbc.all():
        return boxed
    open_directions = [axis for axis in range(3) if not boxed.pbc[axis]]
    boxed.cell = boxed.cell.complete()
    boxed.center(vacuum=cutoff / 2 + VACUUM_MARGIN, axis=open_directions)
    boxed.pbc = True
    return boxed


def gaps(atoms: Atoms) -> np.ndarray:
    """Return the widest space (Å) between planes of atoms across each lattice vector, (3,).

    In a slab that its code wants periodic in three directions that is its vacuum.
    """
    fractions = np.sort(atoms.get_scaled_positions(wrap=True), axis=0)
    steps = np.diff(np.vstack([fractions, fractions[:1] + 1]), axis=0)
    spacings = 1 / np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    return np.asarray(steps.max(axis=0) * spacings)


def directions_of_matter(atoms: Atoms) -> int:
    """Return along how many lattice vectors a structure is periodic, without a vacuum between its images."""
    if atoms.cell.rank < 3:
        return int(atoms.pbc.sum())
    return int((atoms.pbc & (gaps(atoms) < VACUUM)).sum())


def effective_cell(atoms: Atoms) -> np.ndarray:
    """Return the cell (3, 3) with a fixed vector across the others in each open direction."""
    cell = np.array(atoms.cell)
    if atoms.pbc.all():
        return cell
    cell[~atoms.pbc] = 0
    full = np.array(complete_cell(cell))
    full[~atoms.pbc] *= OPEN_LENGTH
    return full


def displacement(first: Atoms, second: Atoms) -> np.ndarray:
    """Return how far each atom goes from the first structure to the second, (n_atoms, 3), Å.

    By the shortest way through periodic directions, in the mean of both cells: what the strain moves is no
    displacement. A translation of all atoms is none either.
    """
    cells = effective_cell(first), effective_cell(second)
    fractions = second.positions @ np.linalg.inv(cells[1]) - first.positions @ np.linalg.inv(cells[0])
    periodic = first.pbc
    # The first atom's way is taken off before images are chosen: a common translation is not wrapped.
    fractions -= fractions[0]
    fractions[:, periodic] -= np.round(fractions[:, periodic])
    fractions -= fractions.mean(axis=0)
    return fractions @ (0.5 * (cells[0] + cells[1]))


def aligned(first: Atoms, second: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each atom of a molecule goes to a second one, (n_atoms, 3), Å, and a rotation (3, 3).

    The second is moved and rotated onto the first (Kabsch, DOI 10.1107/S0567739476001873); its vectors, in
    rows, are rotated by multiplication with the matrix from the right.
    """
    one, two = (atoms.positions - atoms.positions.mean(axis=0) for atoms in (first, second))
    left, _, right = np.linalg.svd(two.T @ one)
    turn = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ turn @ right
    return two @ rotation - one, rotation


def strain(first: Atoms, second: Atoms) -> np.ndarray:
    """Return the strain (3, 3) that takes the first cell to the second, relative to their mean.

    Its antisymmetric part is a rotation. Open directions have none.
    """
    cells = effective_cell(first), effective_cell(second)
    return np.linalg.solve(0.5 * (cells[0] + cells[1]), cells[1] - cells[0])


def rms(displacements: np.ndarray) -> float:
    """Return the root mean square length of displacements (n_atoms, 3), Å."""
    return float(np.sqrt(np.square(displacements).sum() / len(displacements)))


def atoms_key(atoms: Atoms) -> bytes:
    """Return a key that structures share which have the same atoms in the same order and periodicity."""
    return atoms.numbers.astype("<i4").tobytes() + atoms.pbc.tobytes()
