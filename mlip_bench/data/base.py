"""What a dataset is: training and test structures of one system, and where they come from."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.data.geometry import directions_of_matter

# Of own data, nobody says what it was computed with.
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Dataset:
    """Training and test structures with reference values, and their provenance."""

    name: str
    """Identifier of the record, or the file name of own data."""
    system: str
    """Chemical system, for example ``Mo`` or ``Li-P-S``."""
    train: list[Atoms]
    test: list[Atoms]
    crystal: Atoms | None
    """The crystal that properties are measured of, and dynamics are run on; None for slabs and molecules."""
    origin: str
    """One line on which files were taken, for the terminal and the report."""
    notes: tuple[str, ...] = ()
    """What is to be said of the data, a sentence each, for the terminal and the report."""
    leaks: tuple[str, ...] = ()
    """Those of the notes that tell why test errors are none: structures that training has, or nearly so."""
    named: Atoms | None = None
    """A slab or molecule that the user named to run dynamics on, instead of a crystal."""
    level_of_theory: str = NOT_STATED
    licence: str = NOT_STATED
    citation: str = NOT_STATED

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all structures and reference values, training and test."""
        parts = (reference.fingerprint(self.train), reference.fingerprint(self.test))
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    @property
    def crystal_sha256(self) -> str:
        """SHA-256 of the crystal that properties are measured of."""
        return _geometry_sha256(self.crystal)

    @cached_property
    def sample(self) -> Atoms | None:
        """The structure that dynamics are run on, repeated to the size asked for; None of isolated atoms.

        The crystal; else the slab or molecule that the user named, or the most stable one in training.
        """
        if self.crystal is not None:
            return self.crystal
        return self.named if self.named is not None else most_stable(self.train)

    @property
    def sample_sha256(self) -> str:
        """SHA-256 of the structure that dynamics are run on."""
        return _geometry_sha256(self.sample)

    @property
    def on_copies(self) -> str | None:
        """Say what dynamics are run on where that is no crystal; None elsewhere."""
        if self.crystal is not None or self.sample is None:
            return None
        why = "no crystal in the data" if self.named is None else "given with --crystal"
        return f"on a box of copies of {self.sample.get_chemical_formula()} ({why})"

    @property
    def elements(self) -> tuple[str, ...]:
        """The chemical symbols of the training structures, in alphabetical order."""
        return reference.elements(self.train)


def _geometry_sha256(atoms: Atoms | None) -> str:
    return "none" if atoms is None else reference.geometry_fingerprint(atoms)


def most_stable_periodic(structures: list[Atoms]) -> Atoms | None:
    """Return the most stable of the structures that are crystals, None of none.

    A slab or a molecule in a box that is periodic all the same is none.
    """
    best = most_stable(structures)
    return best if best is not None and directions_of_matter(best) == 3 else None


def most_stable(structures: list[Atoms]) -> Atoms | None:
    """Return the structure of least energy per atom, without its values; None where all are isolated atoms.

    Of data without energies it is the one of least forces.

    Energies are counted from those per element that fit the data best, so that compositions compare. Only
    structures that are periodic in the most directions, with matter across them, count, and of these those
    with the most elements.
    """
    structures, _ = reference.split_off_isolated_atoms(structures)
    if not structures:
        return None
    species = reference.elements(structures)
    known = all(map(reference.has_energy, structures))
    zero = reference.energies_per_element(structures, species) if known else None

    def formation_energy(atoms: Atoms) -> float:
        if zero is None:
            return float((reference.forces(atoms) ** 2).mean())
        counts = reference.composition([atoms], species)[0]
        return (reference.energy(atoms) - float(counts @ zero)) / len(atoms)

    def kind(atoms: Atoms) -> tuple[int, int]:
        return directions_of_matter(atoms), len(set(atoms.numbers))

    foremost = max(map(kind, structures))
    best = min((atoms for atoms in structures if kind(atoms) == foremost), key=formation_energy)
    return Atoms(best.numbers, best.positions, cell=best.cell, pbc=best.pbc)
