"""The families of potentials, found by entry points, and loading of saved or published ones."""

import json
import math
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.potentials.base import DESCRIPTION, Potential, Prediction

__all__ = ["Potential", "Prediction", "family", "family_names", "kind_of", "load", "notes", "whole"]

ENTRY_POINT_GROUP = "mlip_bench.potentials"


@cache
def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def family_names() -> list[str]:
    """Return the names of all registered families, in alphabetical order."""
    return sorted(_registered())


def family(name: str) -> type[Potential]:
    """Return the class of a family; an unknown name is a :class:`UserError` with the nearest one."""
    registered = _registered()
    if name not in registered:
        raise UserError(f"unknown potential '{name}'{did_you_mean(name, registered)}")
    return registered[name].load()


def notes(folder: Path) -> list[str]:
    """Return what the fit of a saved potential left out, assumed or clipped, one sentence each."""
    description = folder / DESCRIPTION
    return json.loads(description.read_text()).get("notes", []) if description.is_file() else []


def load(path: Path | str, *, trust: bool = False, **hypers: Any) -> Potential:
    """Read a potential: a folder that ``save`` wrote, or a file or folder in a format of its field.

    ``hypers`` are hyper-parameters that a file leaves open; ``trust`` lets it run code when it is read, where
    it is of a format that can. Raises :class:`UserError` for anything else, and where the file needs either.
    """
    path = Path(path)
    kind = kind_of(path)
    if (path / DESCRIPTION).is_file():
        if hypers:
            raise UserError(
                f"{path}: a saved potential keeps its {', '.join(hypers)}; only a file's can be set"
            )
        return kind.load(path, trust=trust)
    for name in hypers:
        if name not in kind.set_on_reading:
            known = did_you_mean(name, kind.set_on_reading) if kind.set_on_reading else ""
            raise UserError(f"{path}: {kind.family}.{name} cannot be set for a file that is read{known}")
    return kind.from_native(
        _native_file(path, kind), **hypers, **({"trust": trust} if kind.reads_pickles else {})
    )


def kind_of(path: Path) -> type[Potential]:
    """Return the family of a saved potential or of a file, without reading the potential itself."""
    description = path / DESCRIPTION
    if description.is_file():
        return family(_described(description))
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    readers = [known for known in map(family, family_names()) if known.native_suffix]
    for known in readers:
        file = _native_file(path, known)
        if file.is_file() and file.name.endswith((known.native_suffix, *known.more_suffixes)):
            return known
    suffixes = ", ".join(
        sorted({suffix for known in readers for suffix in (known.native_suffix, *known.more_suffixes)})
    )
    raise UserError(
        f"{path}: not a potential; give a folder with {DESCRIPTION} or a file ending in {suffixes}"
    )


def _described(path: Path) -> str:
    """Return the family that a saved potential is of; what is not whole is a :class:`UserError`."""
    try:
        content = json.loads(path.read_text())
        hypers, elements = content["hypers"], content["elements"]
        if not (isinstance(hypers, dict) and isinstance(elements, list) and elements):
            raise ValueError("its hyper-parameters and elements are not whole")
        zero = content.get("zero", [0.0] * len(elements))
        if len(zero) != len(elements) or not all(math.isfinite(energy) for energy in zero):
            raise ValueError("its zero of the energy is not one number for each element")
        unknown = [element for element in elements if element not in atomic_numbers]
        if unknown or not isinstance(content["family"], str):
            raise ValueError(f"{unknown[0]!r} is no element" if unknown else "its family is no name")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the description of a potential ({error})") from error
    return str(content["family"])


def _native_file(path: Path, kind: type[Potential]) -> Path:
    """Return the file to read: a format of several files is a folder, known by the one of a fixed name."""
    return path / kind.native_suffix if path.is_dir() else path


def whole(path: Path) -> Path:
    """Return the folder of a potential of several files where the path is of the one with a fixed name."""
    fixed = {known.native_suffix for known in map(family, family_names()) if known.native_suffix}
    return path.resolve().parent if path.name in fixed else path
