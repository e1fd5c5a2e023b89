"""A dataset: training and test structures of one system, and where they come from."""

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ase import Atoms

from mlip_bench.data import consistency, duplicates
from mlip_bench.data import structures as reference
from mlip_bench.data.files import AS_THE_FILE_SAYS, read_crystal, read_structures
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.data.splits import DESCRIPTION, RANDOM, split
from mlip_bench.errors import UserError


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
    """The cell that cost is measured on, repeated to the size asked for; None for molecules."""
    origin: str
    """One line on which files were taken, for the terminal and the report."""
    notes: tuple[str, ...] = ()
    """What is to be said of the data, a sentence each, for the terminal and the report."""
    level_of_theory: str = "not stated"
    licence: str = "not stated"
    citation: str = "not stated"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all structures and reference values, training and test."""
        parts = (reference.fingerprint(self.train), reference.fingerprint(self.test))
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    @property
    def crystal_sha256(self) -> str:
        """SHA-256 of the cell that cost is measured on."""
        return "none" if self.crystal is None else reference.geometry_fingerprint(self.crystal)

    @property
    def elements(self) -> tuple[str, ...]:
        """The chemical symbols of the training structures, in alphabetical order."""
        return reference.elements(self.train)


def own_data(
    train_path: Path,
    test_path: Path | None,
    seed: int,
    system: str | None,
    reading: ReadingOptions = AS_THE_FILE_SAYS,
    kind: str | None = RANDOM,
) -> Dataset:
    """Read a user's own data; without a test file, a tenth of the structures is set aside by ``seed``.

    ``kind`` says how, as in :func:`mlip_bench.data.splits.split`; with None they are kept together, for
    training and for test.
    """
    found = read_structures(train_path, reading)
    structures, notes = found.structures, found.notes
    of_labels = consistency.findings(structures)
    if test_path is not None:
        tested = found if test_path == train_path else read_structures(test_path, reading)
        train, test = structures, tested.structures
        notes = notes_of_both(notes, tested.notes)
        if tested is not found:
            of_labels += [f"test: {finding}" for finding in consistency.findings(test)]
        origin = f"{train_path} and {test_path}"
    elif kind is None:
        train, test = structures, structures
        origin = str(train_path)
    else:
        train, test = split(structures, seed, str(train_path), kind)
        origin = f"{train_path}, split {len(train)}/{len(test)} by seed {seed}, {DESCRIPTION[kind]}"
    refuse_new_elements(train, test, str(test_path or train_path))
    return Dataset(
        name=train_path.name,
        system=system or "-".join(reference.elements(train)),
        train=train,
        test=test,
        crystal=most_stable_periodic(train),
        origin=origin,
        notes=(*notes, *of_labels, *on_likeness(structures, train, [] if kind is None else test)),
    )


def on_likeness(structures: list[Atoms], train: list[Atoms], test: list[Atoms]) -> list[str]:
    """Return what is to be said of repeated ``structures``, and of test structures that training has."""
    numbers = duplicates.number_geometries(
        list({id(atoms): atoms for atoms in (*structures, *test)}.values())
    )
    return duplicates.on_repeated(structures, numbers) + duplicates.on_leaks(train, test, numbers)


def notes_of_both(train: tuple[str, ...], test: tuple[str, ...]) -> tuple[str, ...]:
    """Return the notes on both files, each once; what is so in one of them only is said to be."""
    named = [note if note in test else f"training: {note}" for note in train]
    return (*named, *(f"test: {note}" for note in test if note not in train))


def with_crystal(dataset: Dataset, path: Path) -> Dataset:
    """Return the dataset with the first structure of a file as the crystal that is measured."""
    atoms = read_crystal(path)
    foreign = sorted(set(atoms.get_chemical_symbols()) - set(dataset.elements))
    if foreign:
        raise UserError(
            f"{path}: {', '.join(foreign)} does not occur in the data ({', '.join(dataset.elements)})"
        )
    return dataclasses.replace(dataset, crystal=atoms)


def refuse_new_elements(train: list[Atoms], test: list[Atoms], name: str) -> None:
    """Raise :class:`UserError` where a test structure has an element that training lacks."""
    known = set(reference.elements(train))
    for index, atoms in enumerate(test):
        foreign = sorted(set(atoms.get_chemical_symbols()) - known)
        if foreign:
            raise UserError(
                f"{name}, test frame {index + 1}: {', '.join(foreign)} does not occur in training "
                f"({', '.join(sorted(known))}); add it there or remove the frame"
            )


def most_stable_periodic(structures: list[Atoms]) -> Atoms | None:
    """Return the periodic structure of least energy per atom, without its values, or None if there is none.

    Energies are counted from those per element that fit the data best, so that compositions compare; only
    structures with the most elements count.
    """
    periodic = [atoms for atoms in structures if atoms.pbc.all()]
    if not periodic:
        return None
    most_elements = max(len(set(atoms.numbers)) for atoms in periodic)
    candidates = [atoms for atoms in periodic if len(set(atoms.numbers)) == most_elements]
    species = reference.elements(structures)
    zero = reference.energies_per_element(structures, species)

    def formation_energy(atoms: Atoms) -> float:
        counts = reference.composition([atoms], species)[0]
        return (reference.energy(atoms) - float(counts @ zero)) / len(atoms)

    best = min(candidates, key=formation_energy)
    return Atoms(best.numbers, best.positions, cell=best.cell, pbc=best.pbc)
