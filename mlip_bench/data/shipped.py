"""Where the data folders ``potentials/`` and ``datasets/`` are: in a wheel or in a checkout."""

from pathlib import Path


def shipped_folder(name: str) -> Path:
    """Return the folder ``potentials`` or ``datasets`` that belongs to this installation.

    A wheel carries them inside the package; a checkout (also an editable install) has them at its top.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "_shipped" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of mlip-bench has no folder '{name}'; reinstall it")
