"""Frames of any file as they stand, before their labels are looked for, each with where it is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import ase.db
import ase.io
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict
from ase.io.formats import UnknownFileTypeError, get_compression, open_with_compression

from mlip_bench.data import mlearn_json, mlip_cfg, n2p2_data
from mlip_bench.data.extxyz import ends_within_a_line, read_frames
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.errors import UserError

# So much of a file tells what it is.
HEAD = 4096

# ASE wants nine numbers under these keys in extended XYZ, and keeps three of the six off-diagonal ones.
SPECIAL = re.compile(r"(?<!\S)(stress|virial)(?=\s*=)")
AS_GIVEN = "_as_given"

# Files of a folder that are read: others lie beside the results of every calculation.
STRUCTURES = re.compile(
    r"(OUTCAR.*|vasprun.*\.xml|input\.data.*|.*\.(extxyz|xyz|traj|cfg|db|json|data))$", re.IGNORECASE
)


class RawFrame(NamedTuple):
    """A frame, or why it cannot be read, and where it is."""

    where: str
    content: Atoms | UserError


def raw_frames(path: Path, options: ReadingOptions, virial_order: str) -> Iterator[RawFrame]:
    """Yield the frames of a file. Raises :class:`UserError` where the file as a whole cannot be read."""
    number = 0
    try:
        for number, content in enumerate(_frames(path, options, virial_order), start=1):
            yield RawFrame(f"{path}, frame {number}", content)
    except UserError:
        raise
    except UnknownFileTypeError as error:
        raise UserError(f"{path}: ASE does not know this file type; extended XYZ is a good choice") from error
    except Exception as error:  # a reader for any format may raise anything on a broken file
        where = f"{path}, frame {number + 1}" if number else str(path)
        raise UserError(f"{where}: cannot be read ({type(error).__name__}: {error})") from error


def files_of_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files below a folder that hold structures, in order, and those that are passed over.

    Where a folder has both files of a VASP calculation, ``vasprun.xml`` is taken: it has more digits.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    named = [path for path in files if STRUCTURES.match(get_compression(path.name)[0])]
    with_xml = {path.parent for path in named if path.name.startswith("vasprun")}
    twice = {path for path in named if path.name.startswith("OUTCAR") and path.parent in with_xml}
    taken = [path for path in named if path not in twice]
    return taken, [path for path in files if path not in taken]


def is_input_data(path: Path) -> bool:
    """Tell whether a file is n2p2's, which does not tell its units."""
    return n2p2_data.is_input_data(_head(path))


def may_be_cut_off(path: Path) -> bool:
    """Tell whether the last number of a file may lack digits: extended XYZ without the end of its line."""
    return get_compression(path.name)[0].endswith((".xyz", ".extxyz")) and ends_within_a_line(path)


def parse_comment(line: str) -> dict:
    """Return the keys of the second line of a frame of extended XYZ, stress and virial as they stand."""
    found = key_val_str_to_dict(SPECIAL.sub(rf"\1{AS_GIVEN}", line))
    return {key.removesuffix(AS_GIVEN): value for key, value in found.items()}


def _frames(path: Path, options: ReadingOptions, virial_order: str) -> Iterator[Atoms | UserError]:
    """Return the frames of a file, read by what its first lines are, else by its name."""
    head, name = _head(path), get_compression(path.name)[0]
    if mlip_cfg.is_cfg(head):
        return mlip_cfg.frames(_lines(path), options.elements)
    if n2p2_data.is_input_data(head):
        return n2p2_data.frames(_lines(path), options.units)
    if name.endswith(".json") and head.startswith("["):
        return mlearn_json.frames(path, virial_order)
    if name.endswith((".db", ".json")):
        return _database(path)
    if name.endswith((".xyz", ".extxyz")):
        return read_frames(path, parse_comment)
    return _ase(path)


def _head(path: Path) -> str:
    try:
        with open_with_compression(str(path), "rb") as file:
            return file.read(HEAD).decode(errors="replace")
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _lines(path: Path) -> Iterator[str]:
    with open_with_compression(str(path), "rt") as file:
        yield from file


def _ase(path: Path) -> Iterator[Atoms]:
    name = path.name.casefold()
    known = next(
        (kind for word, kind in (("outcar", "vasp-out"), ("vasprun", "vasp-xml")) if word in name), None
    )
    yield from ase.io.iread(path, index=":", format=known)


def _database(path: Path) -> Iterator[Atoms]:
    """Yield the rows of a database of ASE, with what is under their keys and their data."""
    with ase.db.connect(path, serial=True) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info.update({**row.data, **row.key_value_pairs})
            yield atoms
