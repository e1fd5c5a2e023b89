"""The ruler that costs are measured by: the published linear SNAP of Mo, on bcc Mo."""

from ase import Atoms
from ase.build import bulk

from mlip_bench.measure import crystals

RULER = "Mo_Zuo_JPCA2020.snapcoeff"
RULER_LATTICE_CONSTANT = 3.1676  # Å, PBE, Materials Project


def bcc_molybdenum(n_atoms: int) -> Atoms:
    """Return at least ``n_atoms`` atoms of bcc Mo, the structure that the ruler runs on."""
    return crystals.repeated_to(bulk("Mo", "bcc", a=RULER_LATTICE_CONSTANT, cubic=True), n_atoms)
