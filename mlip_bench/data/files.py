"""Reading of structures with reference values from files, with errors that name file and frame."""

from collections.abc import Iterable
from pathlib import Path

import ase.io
from ase import Atoms

from mlip_bench.data import n2p2_data
from mlip_bench.data.geometry import VACUUM, directions_of_matter
from mlip_bench.data.mlearn_json import VASP_ORDER
from mlip_bench.data.raw_frames import RawFrame, files_of_folder, is_input_data, may_be_cut_off, raw_frames
from mlip_bench.data.reading import Reading, ReadingOptions
from mlip_bench.data.reference import refuse_impossible, refuse_unusable
from mlip_bench.data.reference_values import take
from mlip_bench.data.remarks import Remarks
from mlip_bench.errors import UserError

AS_THE_FILE_SAYS = ReadingOptions()

# Of the files of a folder that are passed over so many names are told.
NAMES_LISTED = 5


def read_structures(
    path: Path, options: ReadingOptions = AS_THE_FILE_SAYS, virial_order: str = VASP_ORDER
) -> Reading:
    """Return all frames of a file, or of the files in a folder, with their reference values attached.

    Any file that ASE reads, compressed or not, a ``.cfg`` of MLIP, an ``input.data`` of n2p2, a database of
    ASE, and the JSON of maml, whose components of the virial are in ``virial_order`` (with ``none`` they are
    not read). Raises :class:`UserError` that names the frames that cannot be used; ``options`` may leave
    these out instead.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    remarks = Remarks(options)
    structures: list[Atoms] = []
    if path.is_file():
        structures += _read_file(path, raw_frames(path, options, virial_order), options, remarks)
    else:
        for file in _files(path, remarks):
            frames = _as_far_as_readable(file, raw_frames(file, options, virial_order))
            structures += _read_file(file, frames, options, remarks)
    remarks.refuse(str(path))
    if not structures:
        raise UserError(f"{path}: no structures in this file")
    return Reading(structures, remarks.notes())


def read_crystal(path: Path) -> Atoms:
    """Return the first structure of a file, which must be periodic in three directions; no values."""
    atoms = read_sample(path)
    if not is_crystal(atoms):
        raise UserError(
            f"{path}: not a crystal: it is not periodic in three directions, or empty for {VACUUM:g} Å or "
            "more along one of them"
        )
    return atoms


def is_crystal(atoms: Atoms) -> bool:
    """Tell whether a structure is periodic in three directions, with matter across each."""
    return directions_of_matter(atoms) == 3


def read_sample(path: Path) -> Atoms:
    """Return the first structure of a file, a crystal, slab or molecule, without values.

    Raises :class:`UserError` where it cannot be read or simulated.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        atoms = next(ase.io.iread(path))
    except Exception as error:  # a reader for any format may raise anything on a broken file
        raise UserError(
            f"{path}: cannot be read as a crystal or another structure ({type(error).__name__}: {error})"
        ) from error
    refuse_impossible(atoms, str(path))
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _files(folder: Path, remarks: Remarks) -> list[Path]:
    """Return the files of a folder that hold structures, and remark on the others."""
    files, others = files_of_folder(folder)
    if not files:
        raise UserError(
            f"{folder}: no files of structures in this folder (OUTCAR, vasprun.xml, .extxyz, .xyz, .traj, "
            ".cfg, .db, .json, input.data, also compressed)"
        )
    read = f"{len(files)} files of {folder} are" if len(files) > 1 else f"1 file of {folder} is"
    remarks.more.append(f"{read} read")
    if others:
        names = ", ".join(str(path.relative_to(folder)) for path in others[:NAMES_LISTED])
        more = ", ..." if len(others) > NAMES_LISTED else ""
        remarks.more.append(f"{len(others)} other files of it are not: {names}{more}")
    return files


def _as_far_as_readable(path: Path, frames: Iterable[RawFrame]) -> Iterable[RawFrame]:
    """Yield the frames of a file; one that is empty, or cannot be read any further, counts as a bad frame."""
    empty = True
    try:
        for frame in frames:
            empty = False
            yield frame
    except UserError as error:
        yield RawFrame(str(path), error)
        return
    if empty:
        yield RawFrame(str(path), UserError("no structures in this file"))


def _read_file(
    path: Path, frames: Iterable[RawFrame], options: ReadingOptions, remarks: Remarks
) -> list[Atoms]:
    """Return the frames of one file that can be used, and remark on all."""
    structures = []
    for where, content in frames:
        try:
            if isinstance(content, UserError):
                raise content
            taken = take(content, options)
            refuse_unusable(taken.atoms, where)
        except UserError as error:
            remarks.reject(where, error)
            continue
        structures.append(taken.atoms)
        remarks.add(taken)
    if may_be_cut_off(path):
        remarks.more.append(
            f"{path}: the last line has no end, as in a file that was cut off: is the last number of the "
            "last frame whole?"
        )
    if is_input_data(path):
        if options.units is None:
            n2p2_data.refuse_doubtful_units(structures, str(path))
        remarks.more += n2p2_data.on_units(structures, options.units, str(path))
    return structures
