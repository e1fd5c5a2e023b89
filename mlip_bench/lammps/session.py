"""Sessions of LAMMPS in this process: placing structures, single points.

Everything here speaks ASE conventions at its border: eV, Å, and stress in eV/Å³ with ASE's sign
(positive under tension) and order (xx yy zz yz xz xy). LAMMPS wants the cell as a lower triangular
matrix; :class:`ase.calculators.lammps.Prism` finds the rotation, and it is undone on the way out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism
from ase.data import atomic_masses, atomic_numbers

from mlip_bench.data import voigt
from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.errors import LammpsError, UserError
from mlip_bench.lammps.files import in_memory
from mlip_bench.lammps.loading import quiet_instance
from mlip_bench.lammps.ranks import Ranks
from mlip_bench.lammps.style import LammpsStyle

# Neighbour skin for single points (Å): one list, used once, so only just above rounding.
SINGLE_POINT_SKIN = 0.1


# bar in one eV/Å³, as LAMMPS has it in metal units: 8e-8 less than today's constants say, so only this gives
# back the virial that LAMMPS has computed.
BAR_PER_EV_A3 = 1.6021765e6


def virial_stress(pressure_bar: Sequence[float]) -> np.ndarray:
    """Turn LAMMPS's pressure tensor (bar, positive in compression) into ASE's stress (eV/Å³)."""
    return -np.asarray(pressure_bar) / BAR_PER_EV_A3


class LammpsSession:
    """One LAMMPS instance: structures go in, numbers in ASE conventions come out.

    Used as a context manager; leaving it closes LAMMPS.

    Parameters
    ----------
    elements : the chemical symbol of each LAMMPS atom type, in order; structures may use a subset.
    ranks : of MPI, each on a core; more than one have processes of their own.
    """

    def __init__(self, elements: Sequence[str], ranks: int = 1):
        self.elements = tuple(elements)
        self._types = np.zeros(max(atomic_numbers[e] for e in elements) + 1, dtype=np.int32)
        for index, element in enumerate(self.elements):
            self._types[atomic_numbers[element]] = index + 1
        self.lmp: Any = quiet_instance() if ranks == 1 else Ranks(ranks)
        self.prism: Prism

    def __enter__(self) -> "LammpsSession":
        """Return the session itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close LAMMPS."""
        self.close()

    def close(self) -> None:
        """Close LAMMPS."""
        self.lmp.close()

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

    def interact(self, style: LammpsStyle) -> None:
        """Let atoms interact by a pair style; LAMMPS reads its files here and not again."""
        with in_memory(style.files) as paths:
            for line in style.commands(self.elements, paths):
                self.command(line)

    def single_point(self, atoms: Atoms, style: LammpsStyle) -> tuple[float, np.ndarray, np.ndarray]:
        """Return energy (eV), forces (n_atoms, 3) (eV/Å) and stress (6,) (eV/Å³) of one structure.

        The stress of a structure without a three-dimensional cell is NaN: it has no volume.
        """
        boxed = in_periodic_box(atoms, style.cutoff)
        self.place(boxed)
        self.command(f"neighbor {SINGLE_POINT_SKIN} bin")
        self.interact(style)
        self.command("thermo_modify norm no lost error")
        self.command("run 0 post no")
        energy = float(self.lmp.get_thermo("pe"))
        forces = self.forces()
        stress = np.full(6, np.nan)
        if atoms.cell.rank == 3:
            stress = self.stress() * (boxed.get_volume() / atoms.get_volume())
        return energy, forces, stress
