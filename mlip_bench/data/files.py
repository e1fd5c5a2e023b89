"""Reading of structures with reference values from files, with errors that name file and frame."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms, units
from ase.io.formats import UnknownFileTypeError

from mlip_bench.data import voigt
from mlip_bench.data.structures import labelled, refuse_unusable
from mlip_bench.errors import UserError

# Names under which other codes store reference values in extended XYZ, in the order they are tried after
# ASE's own: REF_ (MACE), dft_ (QUIP), and the bare names with capital letters.
ENERGY_KEYS = ("REF_energy", "ref_energy", "dft_energy", "DFT_energy", "Energy")
FORCES_KEYS = ("REF_forces", "ref_forces", "dft_forces", "dft_force", "DFT_forces", "force", "Forces")
STRESS_KEYS = ("REF_stress", "ref_stress", "dft_stress")
VIRIAL_KEYS = tuple(
    f"{prefix}{name}" for name in ("virial", "virials") for prefix in ("", "REF_", "ref_", "dft_")
)

KBAR = 0.1 * units.GPa

VASP_ORDER = "xx yy zz xy yz zx"
NO_STRESS = "none"


def read_structures(path: Path, file_format: str = "auto", virial_order: str = VASP_ORDER) -> list[Atoms]:
    """Return all frames of a file, checked, with energy, forces and possibly stress attached.

    ``file_format`` is ``ase`` (any file ASE reads), ``mlearn-json`` (pymatgen structures as maml and
    Zuo et al. write them), or ``auto``: the second for ``.json`` files that hold a list, else the first.
    ``virial_order`` names the components of ``mlearn-json``; with ``none`` they are not read.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if file_format == "auto":
        file_format = "mlearn-json" if _is_mlearn_json(path) else "ase"
    structures = []
    for index, atoms in enumerate(READERS[file_format](path, virial_order)):
        refuse_unusable(atoms, f"{path}, frame {index + 1}")
        structures.append(atoms)
    if not structures:
        raise UserError(f"{path}: no structures in this file")
    return structures


def read_crystal(path: Path) -> Atoms:
    """Return the first structure of a file, which must be periodic in three directions; no values."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        atoms = next(ase.io.iread(path))
    except Exception as error:  # a reader for any format may raise anything on a broken file
        raise UserError(f"{path}: cannot be read as a crystal ({type(error).__name__}: {error})") from error
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise UserError(f"{path}: not a crystal: it is not periodic in three directions")
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def _is_mlearn_json(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".json" and file.read(1) == b"["


def _read_ase(path: Path, virial_order: str) -> Iterator[Atoms]:
    try:
        frames = list(ase.io.iread(path, index=":"))
    except UnknownFileTypeError as error:
        raise UserError(f"{path}: ASE does not know this file type; extended XYZ is a good choice") from error
    except Exception as error:  # a reader for any format may raise anything on a broken file
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    for atoms in frames:
        yield _with_known_keys(atoms)


def _with_known_keys(atoms: Atoms) -> Atoms:
    """Attach energy, forces and stress to a frame, from its calculator or from keys of other codes."""
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    energy = results.get("energy", results.get("free_energy"))
    if energy is None:
        energy = _first(atoms.info, ENERGY_KEYS)
    forces = results.get("forces")
    if forces is None:
        forces = _first(atoms.arrays, FORCES_KEYS)
    stress = results.get("stress")
    if stress is None:
        stress = _stress_from_info(atoms)
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=atoms.info)
    return labelled(bare, energy, forces, stress)


def _first(values: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((values[key] for key in keys if key in values), None)


def _stress_from_info(atoms: Atoms) -> np.ndarray | None:
    """Return the stress (6,) in ASE's convention from a stress or virial key of other codes.

    A virial (eV) is minus the stress times the volume.
    """
    stress = _first(atoms.info, STRESS_KEYS)
    virial = _first(atoms.info, VIRIAL_KEYS)
    if stress is None and virial is not None and atoms.cell.rank == 3:
        stress = -np.asarray(virial, dtype=float) / atoms.get_volume()
    if stress is None:
        return None
    values = np.asarray(stress, dtype=float)
    return voigt.from_matrix(values.reshape(3, 3)) if values.size == 9 else values.reshape(6)


def _read_mlearn_json(path: Path, virial_order: str) -> Iterator[Atoms]:
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not a complete JSON file ({error})") from error
    for index, entry in enumerate(entries):
        try:
            yield _mlearn_structure(entry, virial_order)
        except KeyError as error:
            raise UserError(f"{path}, frame {index + 1}: no key {error}") from error
        except (TypeError, IndexError, ValueError) as error:
            raise UserError(f"{path}, frame {index + 1}: not an entry of maml's form ({error})") from error


def _mlearn_structure(entry: dict[str, Any], virial_order: str) -> Atoms:
    """Turn one entry (pymatgen structure, energy eV, forces eV/Å, virial kbar) into a labelled structure.

    The virial is positive in compression: the opposite of ASE.
    """
    structure, outputs = entry["structure"], entry["outputs"]
    atoms = Atoms(
        [site["species"][0]["element"] for site in structure["sites"]],
        scaled_positions=[site["abc"] for site in structure["sites"]],
        cell=structure["lattice"]["matrix"],
        pbc=True,
        info={key: entry[key] for key in ("group", "description") if key in entry},
    )
    stress = None
    if virial_order != NO_STRESS and outputs.get("virial_stress") is not None:
        stress = -KBAR * voigt.from_matrix(_matrix(virial_order, _array(outputs["virial_stress"])))
    return labelled(atoms, outputs["energy"], _array(outputs["forces"]), stress)


def _matrix(order: str, values: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix (3, 3) of six components in the order of their names."""
    matrix = np.zeros((3, 3))
    for name, value in zip(order.split(), values, strict=True):
        row, column = map("xyz".index, name)
        matrix[row, column] = matrix[column, row] = value
    return matrix


def _array(value: Any) -> np.ndarray:
    """Read numbers as lists, or as monty writes a numpy array."""
    return np.asarray(value["data"] if isinstance(value, dict) else value, dtype=float)


READERS: dict[str, Callable[[Path, str], Iterator[Atoms]]] = {
    "ase": _read_ase,
    "mlearn-json": _read_mlearn_json,
}
