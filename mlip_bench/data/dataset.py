"""A dataset: training and test structures of one system, and where they come from."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip_bench.data import structures as reference
from mlip_bench.data.files import read_structures
from mlip_bench.errors import UserError

TEST_SHARE = 0.1


@dataclass(frozen=True)
class Dataset:
    """Training and test structures with reference values, and their provenance."""

    name: str
    """Identifier of the record, or the file name of own data."""
    system: str
    """Chemical system, for example ``Mo`` or ``Li-P-S``."""
    train: list[Atoms]
    test: list[Atoms]
    crystal: Atoms
    """The cell that cost is measured on, repeated to the size asked for."""
    origin: str
    """One line on which files were taken, for the terminal and the report."""
    level_of_theory: str = "not stated"
    licence: str = "not stated"
    citation: str = "not stated"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all structures and reference values, training and test."""
        parts = (reference.fingerprint(self.train), reference.fingerprint(self.test))
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    @property
    def elements(self) -> tuple[str, ...]:
        """The chemical symbols of the training structures, in alphabetical order."""
        return reference.elements(self.train)


def own_data(train_path: Path, test_path: Path | None, seed: int, system: str | None) -> Dataset:
    """Read a user's own data; without a test file, a tenth of the structures is set aside by ``seed``."""
    structures = read_structures(train_path)
    if test_path is None:
        train, test = split(structures, seed, str(train_path))
        origin = f"{train_path}, split {len(train)}/{len(test)} by seed {seed}"
    else:
        train, test = structures, read_structures(test_path)
        origin = f"{train_path} and {test_path}"
    refuse_new_elements(train, test, str(test_path or train_path))
    return Dataset(
        name=train_path.name,
        system=system or "-".join(reference.elements(train)),
        train=train,
        test=test,
        crystal=most_stable_periodic(train),
        origin=origin,
    )


def split(structures: list[Atoms], seed: int, name: str) -> tuple[list[Atoms], list[Atoms]]:
    """Set a tenth of the structures aside for testing; isolated atoms always stay in training."""
    candidates = [index for index, atoms in enumerate(structures) if not reference.is_isolated_atom(atoms)]
    if len(candidates) < 2:
        raise UserError(f"{name}: {len(candidates)} structures cannot be split; give a test file with --test")
    n_test = max(1, round(TEST_SHARE * len(candidates)))
    chosen = set(np.random.default_rng(seed).permutation(candidates)[:n_test].tolist())
    train = [atoms for index, atoms in enumerate(structures) if index not in chosen]
    return train, [structures[index] for index in sorted(chosen)]


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


def most_stable_periodic(structures: list[Atoms]) -> Atoms:
    """Return the three-dimensionally periodic structure of least energy per atom, without its values.

    Of compositions, the one with most elements counts; a dataset without periodic structures gives its
    structure of least energy.
    """
    periodic = [atoms for atoms in structures if atoms.pbc.all()] or structures
    most_elements = max(len(set(atoms.numbers)) for atoms in periodic)
    candidates = [atoms for atoms in periodic if len(set(atoms.numbers)) == most_elements]
    best = min(candidates, key=lambda atoms: reference.energy(atoms) / len(atoms))
    return Atoms(best.numbers, best.positions, cell=best.cell, pbc=best.pbc)
