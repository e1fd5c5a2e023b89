"""Files as bytes, to be sent to another machine."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# What is being written, and will have another name.
PARTIAL = ".partial"


def files_in(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their names in it; those that are being written are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and PARTIAL not in path.name)
    return {str(path.relative_to(folder)): path for path in paths}


def files_below(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the files of some folders by their names below a common root."""
    return {str(path.relative_to(root)): path for folder in folders for path in files_in(folder).values()}


def pack(files: Mapping[str, Path]) -> bytes:
    """Return files, each under a name, as one archive; raises :class:`OSError` where one is gone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, path in files.items():
            archive.add(path, name)
    return buffer.getvalue()


def unpack(archive: bytes, folder: Path) -> None:
    """Write the files of an archive into a folder; each is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        for member in content:
            target = folder / member.name
            member.name = str(target.with_name(f".{target.name}{PARTIAL}").relative_to(folder))
            content.extract(member, folder, filter="data")
            (folder / member.name).replace(target)
