"""Datasets of a user's own data."""

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

from ase import Atoms

from mlip_bench.data import consistency, duplicates, reference
from mlip_bench.data.base import Dataset, most_stable_periodic
from mlip_bench.data.files import AS_THE_FILE_SAYS, is_crystal, read_sample, read_structures
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.data.splits import DESCRIPTION, RANDOM, split
from mlip_bench.errors import UserError


def own_data(
    train_path: Path,
    test_path: Path | None,
    seed: int,
    system: str | None,
    reading: ReadingOptions = AS_THE_FILE_SAYS,
    kind: str | None = RANDOM,
) -> Dataset:
    """Read a user's own data; without a test file, a tenth of the structures is set aside by ``seed``.

    ``kind`` says how, as in :func:`mlip_bench.data.splits.split`; with None all are for training.
    """
    is_same = test_path is not None and _same_file(train_path, test_path)
    try:
        found = read_structures(train_path, reading)
    except UserError as error:
        if is_same:  # what is wrong is said at once
            raise UserError(
                f"{error}\n  besides, --test is the same file: all of it is in training"
            ) from error
        raise
    structures, notes = found.structures, found.notes
    of_labels = consistency.findings(structures)
    if test_path is not None:
        tested = found if is_same else read_structures(test_path, reading)
        train, test = structures, tested.structures
        notes = notes_of_both(notes, tested.notes)
        if tested is not found:
            of_labels += [f"test: {finding}" for finding in consistency.findings(test)]
        origin = f"{train_path} and {test_path}"
    elif kind is None:
        train, test = structures, []
        origin = str(train_path)
    else:
        train, test = split(structures, seed, str(train_path), kind)
        origin = f"{train_path}, split {len(train)}/{len(test)} by seed {seed}, {DESCRIPTION[kind]}"
    refuse_new_elements(train, test, str(test_path or train_path))
    elements = reference.elements(train)
    if system is not None and set(re.findall("[A-Z][a-z]?", system)) != set(elements):
        raise UserError(
            f"--system {system}: {train_path} has {', '.join(elements)}; leave --system out, which is for "
            "data that is known by name"
        )
    likeness = on_likeness(structures, train, test, test_path is None and kind == RANDOM)
    return Dataset(
        name=train_path.name,
        system=system or "-".join(elements),
        train=train,
        test=test,
        crystal=most_stable_periodic(train),
        origin=origin,
        notes=(*notes, *of_labels, *likeness.repeated, *likeness.leaks),
        leaks=tuple(likeness.leaks),
    )


def _same_file(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.samefile(other)


class Likeness(NamedTuple):
    """What is to be said of repeated structures, and of test structures that training has, or nearly so."""

    repeated: list[str]
    leaks: list[str]


def on_likeness(
    structures: list[Atoms], train: list[Atoms], test: list[Atoms], split_at_random: bool = False
) -> Likeness:
    """Return what is to be said of repeated ``structures``, and of test structures that training has."""
    numbers = duplicates.number_geometries(
        list({id(atoms): atoms for atoms in (*structures, *test)}.values())
    )
    leaks = duplicates.on_leaks(train, test, numbers, split_at_random)
    return Likeness(duplicates.on_repeated(structures, numbers), leaks)


def notes_of_both(train: tuple[str, ...], test: tuple[str, ...]) -> tuple[str, ...]:
    """Return the notes on both files, each once; what is so in one of them only is said to be."""
    named = [note if note in test else f"training: {note}" for note in train]
    return (*named, *(f"test: {note}" for note in test if note not in train))


def with_crystal(dataset: Dataset, path: Path) -> Dataset:
    """Return the dataset with the first structure of a file as the one that is measured.

    A slab or molecule serves for dynamics; there is no crystal then, whatever the data has.
    """
    atoms = read_sample(path)
    foreign = sorted(set(atoms.get_chemical_symbols()) - set(dataset.elements))
    if foreign:
        raise UserError(
            f"{path}: {', '.join(foreign)} does not occur in the data ({', '.join(dataset.elements)})"
        )
    crystal, named = (atoms, None) if is_crystal(atoms) else (None, atoms)
    return dataclasses.replace(dataset, crystal=crystal, named=named)


def refuse_new_elements(train: list[Atoms], test: list[Atoms], name: str) -> None:
    """Raise :class:`UserError` where a test structure has an element that training lacks.

    An isolated atom in training tells of no surroundings, and one in the test data is not evaluated.
    """
    known = set(reference.elements(reference.split_off_isolated_atoms(train)[0]))
    for index, atoms in enumerate(test):
        foreign = sorted(set(atoms.get_chemical_symbols()) - known)
        if foreign and not reference.is_isolated_atom(atoms):
            raise UserError(
                f"{name}, test frame {index + 1}: {', '.join(foreign)} does not occur in training "
                f"({', '.join(sorted(known))}); add it there or remove the frame"
            )
