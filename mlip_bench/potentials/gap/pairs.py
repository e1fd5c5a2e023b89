"""Whether data is wide, so that a GAP of it needs a pair term, and which pairs there are.

Distances are counted in sums of covalent radii, so that compounds do not look wide because their elements differ.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from matscipy.neighbours import neighbour_list

from mlip_bench.lammps_session import in_periodic_box

# Distances (Å) beyond which atoms are no neighbours.
NEIGHBOURHOOD = 6.0

# How far mean nearest distances of structures may lie apart, largest over smallest. Liquids, strained cells and surfaces
# of the data of Zuo et al. (doi:10.1021/acs.jpca.9b08723) stay below 1.26; 1.4 in length is 2.7 in volume.
WIDEST = 1.4

# How close two atoms may come, over the median of mean nearest distances; in the same data above 0.72.
CLOSEST = 0.65

# Distances (Å) closer than this are one where they are counted.
RESOLUTION = 1e-4


def why_wide(structures: Sequence[Atoms]) -> str | None:
    """Return what makes data wide, in words, or None where it is not: the frame counts from 1.

    It is wide with isolated dimers, with structures that are compressed or expanded far from the others, and with
    atoms much closer than usual.
    """
    means, closest = np.full(len(structures), np.nan), np.full(len(structures), np.inf)
    for index, atoms in enumerate(structures):
        i, j, distances = neighbour_list("ijd", in_periodic_box(atoms, NEIGHBOURHOOD), NEIGHBOURHOOD)
        if len(atoms) == 2 and len(distances) <= 2:
            return f"structure {index + 1} is an isolated dimer"
        if len(distances) == 0:
            continue
        nearest = np.full(len(atoms), np.inf)
        radii = covalent_radii[atoms.numbers]
        np.minimum.at(nearest, i, distances / (radii[i] + radii[j]))
        means[index], closest[index] = nearest[np.isfinite(nearest)].mean(), nearest.min()
    if np.isnan(means).all():
        return None
    spread, contact = np.nanmax(means) / np.nanmin(means), closest.min() / np.nanmedian(means)
    if spread > WIDEST:
        dense, thin = int(np.nanargmin(means)) + 1, int(np.nanargmax(means)) + 1
        return f"nearest distances of structures {dense} and {thin} differ by a factor of {spread:.2f}"
    if contact < CLOSEST:
        where = int(closest.argmin()) + 1
        return f"two atoms of structure {where} are at {contact:.2f} of the usual nearest distance"
    return None


def distances(structures: Sequence[Atoms], cutoff: float) -> dict[tuple[int, int], int]:
    """Return how many different distances (Å) below the cutoff there are for each two atomic numbers."""
    found: dict[tuple[int, int], set[int]] = {}
    for atoms in structures:
        i, j, lengths = neighbour_list("ijd", in_periodic_box(atoms, cutoff), cutoff)
        numbers = np.sort(np.stack([atoms.numbers[i], atoms.numbers[j]]), axis=0)
        rounded = np.round(lengths / RESOLUTION).astype(np.int64)
        for one, other, length in np.unique(np.stack([*numbers, rounded]), axis=1).T.tolist():
            found.setdefault((one, other), set()).add(length)
    return {numbers: len(lengths) for numbers, lengths in found.items()}
