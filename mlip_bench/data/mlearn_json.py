"""Frames of the JSON of maml and of Zuo et al. (2020): pymatgen's structures with their labels."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.io.formats import open_with_compression

from mlip_bench.data import voigt
from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError

KBAR = 0.1 * units.GPa

VASP_ORDER = "xx yy zz xy yz zx"
NO_STRESS = "none"


def frames(path: Path, virial_order: str = VASP_ORDER) -> Iterator[Atoms | UserError]:
    """Yield each structure, or why it cannot be read; with the order ``none`` stress is not read."""
    try:
        with open_with_compression(str(path), "rt") as file:
            entries = json.load(file)
    except ValueError as error:
        raise UserError(f"{path}: not a complete JSON file ({error})") from error
    for entry in entries:
        try:
            yield _structure(entry, virial_order)
        except KeyError as error:
            yield UserError(f"no key {error}")
        except (TypeError, IndexError, ValueError) as error:
            yield UserError(f"not an entry of maml's form ({error})")


def _structure(entry: dict[str, Any], virial_order: str) -> Atoms:
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
