"""Reading of extended XYZ, frame by frame and to the end of the file."""

from collections.abc import Callable, Iterator
from pathlib import Path

from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict, read_xyz
from ase.io.formats import open_with_compression

from mlip_bench.errors import UserError


def read_frames(path: Path, parse_comment: Callable[[str], dict] = key_val_str_to_dict) -> Iterator[Atoms]:
    """Yield the frames of a file, compressed or not, as ASE reads them; one is held at a time.

    ``parse_comment`` makes keys and values of the second line of a frame. ASE ends at an empty line: where
    there is more behind it, :class:`UserError` says so. A broken frame raises what ASE raises.
    """
    number = 0
    with open_with_compression(str(path), "rt") as file:
        for atoms in read_xyz(file, index=slice(None), properties_parser=parse_comment):
            number += 1
            yield atoms
        rest = any(line.strip() for line in file)
    if rest:
        where = f"after frame {number}" if number else "at its beginning"
        raise UserError(f"{path}: an empty line {where}, and more behind it; remove the empty line")
