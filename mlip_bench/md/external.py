"""What acts inside LAMMPS's dynamics from Python: ``fix external``, which calls back at every step."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from ase import Atoms

from mlip_bench.errors import NotFinite
from mlip_bench.lammps.session import LammpsSession


class ExternalFix(ABC):
    """A ``fix external`` of a simulation, called after LAMMPS has computed its own forces of a step.

    The structure is handed over in LAMMPS's frame, so nothing is rotated at a step.
    """

    def __init__(self, session: LammpsSession, atoms: Atoms, name: str):
        self._lmp = session.lmp
        self._name = name
        self.error: Exception | None = None
        """The first exception of a callback: LAMMPS cannot pass it on, and the run is void."""
        self._atoms = Atoms(atoms.numbers, cell=session.prism.cell, pbc=True)
        session.command(f"fix {name} all external pf/callback 1 1")
        self._lmp.set_fix_external_callback(name, self._called, None)

    def _called(
        self, caller: Any, step: int, n_local: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        """Act at a step, unless an earlier one failed; LAMMPS calls this."""
        if self.error is None:
            try:
                self._follow(tag, x)
                self._act(step, tag - 1, f)
            except Exception as error:  # whatever is raised must not be lost
                self.error = error

    def _follow(self, tag: np.ndarray, x: np.ndarray) -> None:
        """Put the atoms of this class where LAMMPS has them now."""
        if not np.isfinite(x).all():
            raise NotFinite("the positions of atoms are not finite")
        low, high, xy, yz, xz, *_ = self._lmp.extract_box()
        cell = np.diag(np.subtract(high, low))
        cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
        self._atoms.set_cell(cell)
        self._atoms.positions[tag - 1] = x - low

    @abstractmethod
    def _act(self, step: int, order: np.ndarray, f: np.ndarray) -> None:
        """Do what is to be done at a step.

        ``order`` (n_atoms,) says which atom each of LAMMPS's rows is; ``f`` (n_atoms, 3) takes the forces
        that are added, in LAMMPS's order.
        """
