"""Frames of n2p2's and RuNNer's training data, ``input.data``.

The file does not tell its units: n2p2 takes any that are consistent, RuNNer Hartree and Bohr.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list
from ase.units import Bohr, Hartree

from mlip_bench.data.reading import ATOMIC, METAL
from mlip_bench.errors import UserError

UNITS = {METAL: (1.0, 1.0), ATOMIC: (Hartree, Bohr)}
NAMED = {METAL: "eV and Å", ATOMIC: "Hartree and Bohr"}

# x y z element charge n fx fy fz; what n stands for is not used by either code.
N_COLUMNS = 9

# Bonds are about as long as two covalent radii; in Bohr the numbers are 1.89 times as large.
LONG = 1.4
FARTHEST = 3.0


def is_input_data(text: str) -> bool:
    """Tell whether a file that begins so is such training data."""
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith(("#", "!"))), "")
    return first.split()[:1] == ["begin"]


def frames(lines: Iterator[str], units: str | None) -> Iterator[Atoms | UserError]:
    """Yield each frame in eV and Å, or why it cannot be read."""
    block: list[list[str]] | None = None
    for line in lines:
        words = line.split()
        if not words or words[0].startswith(("#", "!")):
            continue
        if words[0] == "begin":
            if block is not None:
                yield UserError("no 'end': the frame is not complete")
            block = [] if len(words) == 1 else [words]
        elif words[0] == "end" and block is not None:
            yield _frame_or_error(block, *UNITS[units or METAL])
            block = None
        elif block is not None:
            block.append(words)
    if block is not None:
        yield UserError("no 'end': the frame is not complete")


def refuse_doubtful_units(structures: Sequence[Atoms], name: str) -> None:
    """Raise :class:`UserError` where nobody named units and bonds are as long as they would be in Bohr."""
    ratios = [ratio for atoms in structures if np.isfinite(ratio := _bond(atoms))]
    if ratios and np.median(ratios) > LONG:
        raise UserError(
            f"{name}: bonds are {np.median(ratios):.2f} times as long as usual, as if lengths were in Bohr; "
            f"say --units {ATOMIC} (Hartree, Bohr) or --units {METAL} (eV, Å)"
        )


def _bond(atoms: Atoms) -> float:
    """Return the median over the atoms of the nearest distance by the sum of covalent radii."""
    first, second, distances = neighbor_list("ijd", atoms, FARTHEST * covalent_radii[atoms.numbers].max())
    ratios = distances / (covalent_radii[atoms.numbers[first]] + covalent_radii[atoms.numbers[second]])
    nearest = np.full(len(atoms), np.inf)
    np.minimum.at(nearest, first, ratios)
    return float(np.median(nearest))


def _frame_or_error(block: list[list[str]], energy_unit: float, length_unit: float) -> Atoms | UserError:
    try:
        return _frame(block, energy_unit, length_unit)
    except UserError as error:
        return error
    except (ValueError, IndexError, KeyError) as error:
        return UserError(f"not a frame of n2p2 ({type(error).__name__}: {error})")


def _frame(block: list[list[str]], energy_unit: float, length_unit: float) -> Atoms:
    lattice, rows, values, comment = [], [], {}, ""
    for word, *rest in block:
        if word == "atom":
            rows.append(rest)
        elif word == "lattice":
            lattice.append([float(number) for number in rest[:3]])
        elif word in ("energy", "charge"):
            values[word] = float(rest[0])
        elif word == "comment":
            comment = " ".join(rest)
        elif word == "begin":
            raise UserError("columns of its own after 'begin'; only those of n2p2 are read")
        else:
            raise UserError(f"keyword '{word}' is not known")
    if any(len(row) != N_COLUMNS or row[3] not in chemical_symbols for row in rows):
        raise UserError("an atom is not written as x y z element charge n fx fy fz")
    if len(lattice) not in (0, 3):
        raise UserError(f"{len(lattice)} lattice vectors, not 3 or none")
    numbers = np.array([row[:3] + row[4:] for row in rows], dtype=float).reshape(len(rows), 8)
    atoms = Atoms(
        [row[3] for row in rows],
        numbers[:, :3] * length_unit,
        cell=np.array(lattice) * length_unit if lattice else None,
        pbc=bool(lattice),
        info={"comment": comment} if comment else None,
    )
    results: dict[str, Any] = {"forces": numbers[:, 5:] * energy_unit / length_unit, "charges": numbers[:, 3]}
    if "energy" in values:
        results["energy"] = values["energy"] * energy_unit
    atoms.calc = SinglePointCalculator(atoms, **results)
    if "charge" in values:
        atoms.info["total_charge"] = values["charge"]
    return atoms
