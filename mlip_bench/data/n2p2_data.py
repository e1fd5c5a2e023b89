"""Frames of n2p2's and RuNNer's training data, ``input.data``.

The file need not tell its units: n2p2 takes any that are consistent, RuNNer Hartree and Bohr. Where comments
name them, they are read in these.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from ase.units import Bohr, Hartree

from mlip_bench.data.fortran import to_float
from mlip_bench.data.reading import ATOMIC, METAL
from mlip_bench.errors import UserError

UNITS = {METAL: (1.0, 1.0), ATOMIC: (Hartree, Bohr)}
NAMED = {METAL: "eV and Å", ATOMIC: "Hartree and Bohr"}

# x y z element charge n fx fy fz; what n stands for is not used by either code.
N_COLUMNS = 9

# Where the units of a frame are kept that its comments name.
NAMED_UNITS, OTHERS = "n2p2_units", "others"

# Words that name units: those of any comment, and those that do so only beside the word unit.
OF_WORDS = {
    **dict.fromkeys(("ev", "angstrom", "angstroms", "ang", "å"), METAL),
    **dict.fromkeys(("hartree", "hartrees", "bohr", "bohrs", "a.u"), ATOMIC),
}
OF_STYLES = OF_WORDS | {"metal": METAL} | dict.fromkeys(("atomic", "electron", "au", "ha", "a0"), ATOMIC)
FOREIGN = {"kcal", "kj", "rydberg", "ry", "mev", "kev", "nm", "pm", "nanometer", "nanometers", "joule"}
FOREIGN_STYLES = {"real", "lj", "si", "cgs", "micro", "nano"}

# Bonds are about as long as two covalent radii; in Bohr the numbers are 1.89 times as large.
LONG, SHORT = 1.4, 0.7
FARTHEST = 3.0


def is_input_data(text: str) -> bool:
    """Tell whether a file that begins so is such training data."""
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith(("#", "!"))), "")
    return first.split()[:1] == ["begin"]


def frames(lines: Iterator[str], units: str | None) -> Iterator[Atoms | UserError]:
    """Yield each frame in eV and Å, or why it cannot be read."""
    block: list[list[str]] | None = None
    of_file: str | UserError | None = None
    for line in lines:
        words = line.split()
        if not words or words[0].startswith(("#", "!")):
            of_file = units_named(line) or of_file
            continue
        if words[0] == "begin":
            if block is not None:
                yield UserError("no 'end': the frame is not complete")
            block = [] if len(words) == 1 else [words]
        elif words[0] == "end" and block is not None:
            yield _frame_or_error(block, units, of_file)
            block = None
        elif block is not None:
            block.append(words)
    if block is not None:
        yield UserError("no 'end': the frame is not complete")


def units_named(comment: str) -> str | UserError | None:
    """Return the units that a comment names, None where it names none, and an error for others than ours."""
    words = [word.strip(".") for word in re.findall(r"[a-zåÅ0-9.]+", comment.casefold())]
    of_words, foreign = OF_WORDS, FOREIGN
    if any(word in ("unit", "units") for word in words):
        of_words, foreign = OF_STYLES, FOREIGN | FOREIGN_STYLES
    others = sorted({word for word in words if word in foreign})
    named = {of_words[word] for word in words if word in of_words}
    if others or len(named) > 1:
        what = ", ".join(others) or "those of both eV or Å and Hartree or Bohr"
        return UserError(
            f"a comment names units ({what}: '{comment.strip()[:80]}'); only {NAMED[METAL]}, or "
            f"{NAMED[ATOMIC]}, are read: convert the file, or say --units {METAL} or --units {ATOMIC} if the "
            "comment is wrong"
        )
    return named.pop() if named else None


def on_units(structures: Sequence[Atoms], asked: str | None, name: str) -> list[str]:
    """Return what is to be said of the units in which the frames of a file were read, a sentence each."""
    named = Counter(atoms.info.get(NAMED_UNITS) for atoms in structures)
    without = named.pop(None, 0)
    if asked:
        others = sum(count for units, count in named.items() if units != asked)
        against = f", though comments of {others} frames name others" if others else ""
        return [f"{name}: read in {NAMED[asked]}, as --units says{against}"]
    found = [
        f"{name}: {count} frames read in {NAMED[units]}, as comments say" for units, count in named.items()
    ]
    if without or not named:
        rest = f" in {without} frames" if named else ""
        found.append(f"{name} does not tell its units{rest}: read in {NAMED[METAL]}; --units names others")
    return found


def refuse_doubtful_units(structures: Sequence[Atoms], name: str) -> None:
    """Raise :class:`UserError` where bonds are as long as in Bohr, or short as in Å, against their unit."""
    in_bohr = [atoms for atoms in structures if atoms.info.get(NAMED_UNITS) == ATOMIC]
    in_angstrom = [atoms for atoms in structures if atoms.info.get(NAMED_UNITS) != ATOMIC]
    for frames_of_unit, other in ((in_angstrom, "Bohr"), (in_bohr, "Å")):
        ratios = [ratio for atoms in frames_of_unit if np.isfinite(ratio := _bond(atoms))]
        ratio = float(np.median(ratios)) if ratios else 1.0
        if ratio > LONG if other == "Bohr" else ratio < SHORT:
            raise UserError(
                f"{name}: bonds are {ratio:.2f} times as long as usual, as if lengths were in {other}; "
                f"say --units {ATOMIC} (Hartree, Bohr) or --units {METAL} (eV, Å)"
            )


def _bond(atoms: Atoms) -> float:
    """Return the median over the atoms of the nearest distance by the sum of covalent radii."""
    first, second, distances = neighbor_list("ijd", atoms, FARTHEST * covalent_radii[atoms.numbers].max())
    ratios = distances / (covalent_radii[atoms.numbers[first]] + covalent_radii[atoms.numbers[second]])
    nearest = np.full(len(atoms), np.inf)
    np.minimum.at(nearest, first, ratios)
    return float(np.median(nearest))


def _frame_or_error(
    block: list[list[str]], asked: str | None, of_file: str | UserError | None
) -> Atoms | UserError:
    """Return a frame in the units asked for, or that its comment names, or that the file's comments name."""
    comments = " ".join(" ".join(words[1:]) for words in block if words[0] == "comment")
    named = units_named(comments) or of_file
    if isinstance(named, UserError):
        if asked is None:
            return named
        named = OTHERS
    try:
        atoms = _frame(block, *UNITS[asked or named or METAL])
    except UserError as error:
        return error
    except (ValueError, IndexError, KeyError) as error:
        return UserError(f"not a frame of n2p2 ({type(error).__name__}: {error})")
    if named:
        atoms.info[NAMED_UNITS] = named
    return atoms


def _frame(block: list[list[str]], energy_unit: float, length_unit: float) -> Atoms:
    lattice, rows, values, comment = [], [], {}, ""
    for word, *rest in block:
        if word == "atom":
            rows.append(rest)
        elif word == "lattice":
            lattice.append([to_float(number) for number in rest[:3]])
        elif word in ("energy", "charge"):
            if word in values:
                raise UserError(f"'{word}' stands twice")
            values[word] = to_float(rest[0])
        elif word == "comment":
            comment = " ".join([*([comment] if comment else []), *rest])
        elif word == "begin":
            raise UserError("columns of its own after 'begin'; only those of n2p2 are read")
        else:
            raise UserError(f"keyword '{word}' is not known")
    for place, row in enumerate(rows, start=1):
        if len(row) != N_COLUMNS:
            raise UserError(f"atom {place} is not written as x y z element charge n fx fy fz")
        if row[3].capitalize() not in atomic_numbers:
            raise UserError(
                f"atom {place} is not written as x y z element charge n fx fy fz: '{row[3]}' is no element"
            )
    if len(lattice) not in (0, 3):
        raise UserError(f"{len(lattice)} lattice vectors, not 3 or none")
    numbers = _floats([row[:3] + row[4:] for row in rows]).reshape(len(rows), 8)
    atoms = Atoms(
        [row[3].capitalize() for row in rows],
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


def _floats(rows: list[list[str]]) -> np.ndarray:
    try:
        return np.array(rows, dtype=float)
    except ValueError:  # most files have no exponents of Fortran, and are read faster so
        return np.array([[to_float(word) for word in row] for row in rows])
