"""What a file that torch does not read as plain numbers is, found out without running what it names."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

from mlip_bench.potentials.sevennet.package import torch

# So much of a file tells whether it is text.
HEAD = 1024

# A file of torch's old form is up to five pickles, one behind the other, before the numbers.
PICKLES = 5

# Pickles begin so, but for the oldest.
PROTOCOL = b"\x80"

# Names that stand in any checkpoint of numbers.
HARMLESS = re.compile(r"torch\.\w+|torch\._utils\._rebuild\w+|collections\.OrderedDict|numpy\..+")


def other_than_torch(path: Path) -> str | None:
    """Say what a file is where torch cannot have written it as a checkpoint; None where it may have."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any("/code/" in name for name in names):
            return "it is a TorchScript archive, as is made for LAMMPS; give the checkpoint it was made of"
        return None if any(name.endswith("data.pkl") for name in names) else "it is another zip archive"
    if not head:
        return "it is empty"
    if head.startswith(b"PK"):
        return "it is a zip archive that is not whole"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself"
    if head.startswith(PROTOCOL) or _Names.of(path) is not None:
        return None
    return "it is a text file" if _is_text(head) else "it is neither a zip archive nor a pickle"


def foreign(path: Path, error: Exception) -> list[str]:
    """Return the names in a file that are neither torch's nor NumPy's; none where it is damaged.

    ``error`` is what torch raised when it was to make plain numbers of it.
    """
    if not zipfile.is_zipfile(path):
        return sorted(name for name in _Names.of(path) or () if not HARMLESS.fullmatch(name))
    if not isinstance(error, pickle.UnpicklingError):
        return []
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the bytes may be anything
        return ["Python objects"]
    return sorted(name for name in found if not name.startswith("numpy.")) or ["Python objects"]


def _is_text(head: bytes) -> bool:
    """Tell whether bytes are text, the last character possibly cut."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode()
    return all(letter.isprintable() or letter.isspace() for letter in text)


class _Nothing:
    """Stands for whatever a pickle names, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "_Nothing":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any):
        """Take anything."""

    def __call__(self, *_: Any, **__: Any) -> "_Nothing":
        """Take anything."""
        return self

    def __setstate__(self, _: Any) -> None:
        """Take anything."""

    def __setitem__(self, _: Any, __: Any) -> None:
        """Take anything."""

    def append(self, _: Any) -> None:
        """Take anything."""

    def extend(self, _: Any) -> None:
        """Take anything."""


class _Names(pickle.Unpickler):
    """Notes the names in a pickle; nothing that they stand for is imported or called."""

    @classmethod
    def of(cls, path: Path) -> set[str] | None:
        """Return the names in a file, None where it is no pickle."""
        found: set[str] = set()
        with path.open("rb") as file:
            begins = file.peek(1).startswith(PROTOCOL)
            for place in range(PICKLES):
                names = cls(file)
                try:
                    names.load()
                except Exception:  # the numbers behind the last pickle, or bytes of anything
                    return found | names.found if place or begins else None
                found |= names.found
        return found

    def __init__(self, file: Any):
        """Read from a file that is open."""
        super().__init__(file)
        self.found: set[str] = set()

    def find_class(self, module: str, name: str) -> type:
        """Note a name."""
        self.found.add(f"{module}.{name}")
        return _Nothing

    def persistent_load(self, pid: Any) -> None:
        """Make nothing of the numbers that torch keeps behind."""
