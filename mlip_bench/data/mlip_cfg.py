"""Frames of a ``.cfg`` of MLIP (Novikov et al. 2021, DOI 10.1088/2632-2153/abc9fe), the training data of MTP.

Lengths are in Å, energies in eV; ``PlusStress`` is a virial in eV, minus the stress times the volume. Atoms
have types 0, 1, ..., whose elements the file does not tell.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlip_bench.data.fortran import to_float
from mlip_bench.data.voigt import from_matrix
from mlip_bench.errors import UserError

BEGIN, END = "BEGIN_CFG", "END_CFG"

CARTESIAN = ("cartes_x", "cartes_y", "cartes_z")
DIRECT = ("direct_x", "direct_y", "direct_z")
FORCES = ("fx", "fy", "fz")

# Columns of atoms that are no labels of ours: kept under their names, so that they are said not to be seen,
# or without a meaning for a reference. Others, ghost atoms above all, change what the frame means.
KEPT = {"charge", "magmom_x", "magmom_y", "magmom_z"}
PASSED_OVER = {"id", "type", "nbh_grades", "site_en", "en_der_mx", "en_der_my", "en_der_mz"}
COLUMNS = {*CARTESIAN, *DIRECT, *FORCES, *KEPT, *PASSED_OVER}


def is_cfg(text: str) -> bool:
    """Tell whether a file that begins so is one of MLIP."""
    return text.lstrip("\ufeff \t\r\n").startswith(BEGIN)


def frames(lines: Iterator[str], elements: Sequence[str]) -> Iterator[Atoms | UserError]:
    """Yield each frame, or why it cannot be read."""
    block: list[str] | None = None
    for line in lines:
        word = line.strip()
        if word == BEGIN:
            if block is not None:
                yield UserError(f"no {END}: the frame is not complete")
            block = []
        elif word == END and block is not None:
            yield _frame_or_error(block, elements)
            block = None
        elif block is not None and word and not word.startswith("#"):
            block.append(word)
    if block is not None:
        yield UserError(f"no {END}: the frame is not complete")


def _frame_or_error(block: list[str], elements: Sequence[str]) -> Atoms | UserError:
    try:
        return _frame(block, elements)
    except UserError as error:
        return error
    except (ValueError, IndexError, KeyError) as error:
        return UserError(f"not a frame of MLIP ({type(error).__name__}: {error})")


def _frame(block: list[str], elements: Sequence[str]) -> Atoms:
    fields = _fields(block)
    if "AtomData" not in fields:
        raise UserError("no AtomData; the frame has no atoms")
    columns = fields["AtomData"]
    vectors = np.array(fields.get("Supercell", [])).reshape(-1, 3)
    cell = np.vstack([vectors, np.zeros((3 - len(vectors), 3))])
    cartesian = CARTESIAN[0] in columns
    atoms = Atoms(
        _symbols(
            columns.get("type", ["0"] * len(columns[CARTESIAN[0] if cartesian else DIRECT[0]])), elements
        ),
        **{
            "positions" if cartesian else "scaled_positions": _rows(
                columns, CARTESIAN if cartesian else DIRECT
            )
        },
        cell=cell,
        pbc=cell.any(axis=1),
    )
    results = {}
    if "Energy" in fields:
        results["energy"] = fields["Energy"]
    if FORCES[0] in columns:
        results["forces"] = _rows(columns, FORCES)
    atoms.calc = SinglePointCalculator(atoms, **results)
    if "PlusStress" in fields:
        atoms.info["virial"] = fields["PlusStress"]
    for column in sorted(KEPT & set(columns)):
        atoms.new_array(column, np.array([to_float(word) for word in columns[column]]))
    return atoms


def _fields(block: list[str]) -> dict[str, Any]:
    """Return the fields of a frame; one that is not known may change what the frame means, and is refused."""
    lines, size = deque(block), 0
    fields: dict[str, Any] = {}
    while lines:
        word, *rest = lines.popleft().replace(":", " ").split()
        name = {"SuperCell": "Supercell", "Atomic_data": "AtomData"}.get(word, word)
        if name == "Size":
            size = int(lines.popleft().split()[0])
        elif name == "Supercell":
            fields[name] = _vectors(lines)
        elif name == "AtomData":
            fields[name] = _columns(rest, [lines.popleft().split() for _ in range(size)])
        elif name == "Energy":
            fields[name] = to_float(lines.popleft().split()[0])
        elif name == "PlusStress":
            fields[name] = _virial(rest, lines.popleft().split())
        elif name == "Features":
            lines.popleft()
        elif name != "Feature":
            raise UserError(f"field '{word}' is not known; of stress only PlusStress is read")
    return fields


def _vectors(lines: deque[str]) -> list[list[float]]:
    """Return the one to three vectors along which the structure is periodic, as lines of numbers."""
    vectors: list[list[float]] = []
    while lines and len(vectors) < 3 and not lines[0][0].isalpha():
        vectors.append([to_float(word) for word in lines.popleft().split()])
    return vectors


def _virial(names: list[str], words: list[str]) -> np.ndarray:
    found = dict(zip(names, map(to_float, words), strict=True))
    matrix = np.array([[found["".join(sorted((a, b)))] for a in "xyz"] for b in "xyz"])
    return from_matrix(matrix)


def _columns(names: list[str], rows: list[list[str]]) -> dict[str, list[str]]:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise UserError(f"column '{unknown[0]}' of AtomData is not known")
    if any(len(row) != len(names) for row in rows):
        raise UserError(f"AtomData has {len(names)} columns, and a row of another length")
    if "id" in names and [int(row[names.index("id")]) for row in rows] != list(range(1, len(rows) + 1)):
        raise UserError("the ids of AtomData are not 1, 2, 3, ..., as MLIP wants them")
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _rows(columns: dict[str, list[str]], names: Sequence[str]) -> np.ndarray:
    return np.array([[to_float(word) for word in columns[name]] for name in names]).reshape(3, -1).T


def _symbols(types: Sequence[str], elements: Sequence[str]) -> list[str]:
    if not elements:
        raise UserError(
            "types are numbers (0, 1, ...) in a .cfg of MLIP; name their elements in this order with "
            "--elements, for example --elements Mo,Si"
        )
    known = {str(number): element for number, element in enumerate(elements)}
    for row, word in enumerate(types, start=1):
        if word not in known:
            raise UserError(
                f"type {word}, but --elements names {len(elements)}: {','.join(elements)} (types are whole "
                f"numbers from 0 on; see atom {row})"
            )
    return [known[word] for word in types]
