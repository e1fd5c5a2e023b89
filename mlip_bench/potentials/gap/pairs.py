"""Whether data is wide, so that a GAP of it needs a pair term, and which pairs there are.

Distances are counted in sums of covalent radii, so that compounds do not look wide because their elements
differ.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from matscipy.neighbours import neighbour_list

from mlip_bench.data import reference
from mlip_bench.data.geometry import in_periodic_box

# Distances (Å) beyond which atoms are no neighbours.
NEIGHBOURHOOD = 6.0

# Range (eV/atom) of the energies beside those of the elements: a liquid at 3000 K and surfaces of the data of
# Zuo et al. (doi:10.1021/acs.jpca.9b08723) stay below 1.5, random structures have 3 and more.
LARGEST_RANGE = 2.0

# How far mean nearest distances of structures may lie apart, largest over smallest: the same data stays below
# 1.26, and 1.4 in length is 2.7 in volume.
WIDEST = 1.4

# How close two atoms may come, over the median of mean nearest distances; in the same data above 0.72.
CLOSEST = 0.65

# Distances (Å) closer than this are one where they are counted.
RESOLUTION = 1e-4


def why_wide(structures: Sequence[Atoms]) -> str | None:
    """Return what makes data wide, in words, or None where it is not.

    It is wide with isolated dimers, with energies per atom or nearest distances far apart, and with atoms
    much closer than usual.
    """
    if any(_is_dimer(atoms) for atoms in structures):
        return "it has isolated dimers"
    elements = reference.elements(structures)
    counts = reference.composition(structures, elements)
    energies = np.array([reference.energy(atoms) for atoms in structures])
    energies -= counts @ reference.energies_per_element(structures, elements)
    width = float(np.ptp(energies / counts.sum(axis=1)))
    if width > LARGEST_RANGE:
        return f"energies over {width:.1f} eV/atom"
    nearest = [found for found in map(_nearest, structures) if len(found)]
    if not nearest:
        return None
    means = np.array([found.mean() for found in nearest])
    spread, contact = means.max() / means.min(), min(found.min() for found in nearest) / np.median(means)
    if spread > WIDEST:
        return f"nearest distances of its structures differ by a factor of {spread:.2f}"
    return f"atoms at {contact:.2f} of the usual nearest distance" if contact < CLOSEST else None


def _is_dimer(atoms: Atoms) -> bool:
    """Tell whether two atoms are all that there is: from each of them at most the other one is near."""
    if len(atoms) != 2:
        return False
    i, j = neighbour_list("ij", in_periodic_box(atoms, NEIGHBOURHOOD), NEIGHBOURHOOD)
    return len(i) <= 2 and bool(np.all(i != j))


def _nearest(atoms: Atoms) -> np.ndarray:
    """Return the distance of each atom with neighbours to the nearest one, over the sum of their radii."""
    boxed = in_periodic_box(atoms, NEIGHBOURHOOD)
    i, j, lengths = neighbour_list("ijd", boxed, NEIGHBOURHOOD)
    found = np.full(len(atoms), np.inf)
    radii = covalent_radii[atoms.numbers]
    np.minimum.at(found, i, lengths / (radii[i] + radii[j]))
    return found[np.isfinite(found)]


def distances(structures: Sequence[Atoms], cutoff: float) -> dict[tuple[int, int], np.ndarray]:
    """Return the different distances (Å) below the cutoff of each two atomic numbers, ascending."""
    found: dict[tuple[int, int], set[int]] = {}
    for atoms in structures:
        i, j, lengths = neighbour_list("ijd", in_periodic_box(atoms, cutoff), cutoff)
        numbers = np.sort(np.stack([atoms.numbers[i], atoms.numbers[j]]), axis=0)
        rounded = np.round(lengths / RESOLUTION).astype(np.int64)
        for one, other, length in np.unique(np.stack([*numbers, rounded]), axis=1).T.tolist():
            found.setdefault((one, other), set()).add(length)
    return {numbers: RESOLUTION * np.array(sorted(found[numbers])) for numbers in sorted(found)}


def smooth_cutoff(lengths: np.ndarray, cutoff: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return f_cut of lengths (Å) and its derivative: from 1 to 0 over the width before the cutoff."""
    phase = np.pi * np.clip((lengths - cutoff + width) / width, 0.0, 1.0)
    return 0.5 * (1.0 + np.cos(phase)), -0.5 * np.pi / width * np.sin(phase)
