"""The families of potentials, found by entry points, and loading of saved or published ones."""

import json
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.potentials.base import DESCRIPTION, Potential, Prediction

__all__ = ["Potential", "Prediction", "family", "family_names", "load"]

ENTRY_POINT_GROUP = "mlip_bench.potentials"


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


def load(path: Path | str) -> Potential:
    """Read a potential: a folder that ``save`` wrote, or a file in a format of its field."""
    path = Path(path)
    description = path / DESCRIPTION
    if description.is_file():
        try:
            name = json.loads(description.read_text())["family"]
        except (ValueError, KeyError) as error:
            raise UserError(f"{description}: not the description of a potential ({error})") from error
        return family(name).load(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    readers = [known for known in map(family, family_names()) if known.native_suffix]
    for known in readers:
        if path.name.endswith((known.native_suffix, *known.more_suffixes)):
            return known.from_native(path)
    suffixes = ", ".join(
        sorted({suffix for known in readers for suffix in (known.native_suffix, *known.more_suffixes)})
    )
    raise UserError(
        f"{path}: not a potential; give a folder with {DESCRIPTION} or a file ending in {suffixes}"
    )
