"""Recording the heat flux of a simulation while it runs."""

from collections.abc import Callable

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses

from mlip_bench.errors import NotFinite
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.md.external import ExternalFix
from mlip_bench.potentials.heat_flux import FluxStepper, HeatFlux
from mlip_bench.potentials.prediction import Prediction

FluxFunction = Callable[[Atoms, np.ndarray], HeatFlux]
"""The heat flux of atoms with velocities (n_atoms, 3) in Å/fs."""

# The name of the fix: LAMMPS's own output finds the flux, in its frame, as f_heatflux[1] to f_heatflux[3].
FIX = "heatflux"

# LAMMPS's velocities are in Å/ps.
FEMTOSECONDS = 1e3


class OwnFlux:
    """The heat flux of a potential in its own dynamics.

    Parameters
    ----------
    stepper : predictions of the potential, with fluxes.
    predicts : False where someone else calls :meth:`predict` at every step before the flux is asked for.
    """

    def __init__(self, stepper: FluxStepper, predicts: bool):
        self.stepper = stepper
        self._predicts = predicts
        self.prediction: Prediction
        """Of the structure that was predicted last."""

    def predict(self, atoms: Atoms) -> Prediction:
        """Predict a structure, of which the flux is wanted next."""
        self.prediction = self.stepper.predict(atoms)
        return self.prediction

    def be_ready(self, atoms: Atoms) -> None:
        """Predict a structure, unless someone else does."""
        if self._predicts:
            self.predict(atoms)

    def __call__(self, atoms: Atoms, velocities: np.ndarray) -> HeatFlux:
        """Return the flux of a structure whose atoms have velocities (n_atoms, 3) in Å/fs."""
        self.be_ready(atoms)
        return self.stepper.heat_flux(self.prediction, atoms.get_masses(), velocities)


class FluxRecorder(ExternalFix):
    """Heat flux and temperature of a simulation at constant energy, at every so many steps.

    LAMMPS calls back in the middle of a step: positions and forces are new, velocities half a step behind.
    What is missing is added, f Δt / 2m, which is what the end of the step of velocity Verlet does.

    Parameters
    ----------
    session : with atoms and interaction; forces of other fixes that act later in a step are not seen.
    atoms : the structure that was placed.
    flux : of atoms and velocities in LAMMPS's frame, which is rotated against that of ``atoms``.
    every : steps between two evaluations.
    block : how many successive evaluations one recorded value is the mean of.
    """

    def __init__(
        self, session: LammpsSession, atoms: Atoms, flux: FluxFunction, every: int = 1, block: int = 1
    ):
        if every < 1 or block < 1:
            raise ValueError(f"a flux is recorded every {every} steps in blocks of {block}: both are >= 1")
        super().__init__(session, atoms, FIX)
        self._flux = flux
        self._every, self._block = every, block
        self._to_ase = session.prism.rot_mat.T
        self._masses = atomic_masses[atoms.numbers][:, None]
        self._first_step: int | None = None
        self._last_step: int | None = None
        self._fluxes: list[HeatFlux] = []
        self._temperatures: list[float] = []
        self._lmp.fix_external_set_vector_length(FIX, 3)

    @property
    def interval(self) -> float:
        """The time between two recorded values (fs)."""
        return float(self._lmp.extract_global("dt")) * FEMTOSECONDS * self._every * self._block

    @property
    def potential(self) -> np.ndarray:
        """The potential parts (n, 3) in eV Å/fs, in the frame of the atoms, without an unfinished block."""
        return self._vectors([flux.potential for flux in self._fluxes])

    @property
    def convective(self) -> np.ndarray:
        """The convective parts (n, 3), likewise."""
        return self._vectors([flux.convective for flux in self._fluxes])

    @property
    def fluxes(self) -> np.ndarray:
        """The whole fluxes (n, 3), likewise."""
        return self._vectors([flux.total for flux in self._fluxes])

    @property
    def temperatures(self) -> np.ndarray:
        """The temperatures (n,) in K at the same steps, of 3n_atoms - 3 degrees of freedom."""
        return self._blocks(np.array(self._temperatures))

    def _vectors(self, values: list[np.ndarray]) -> np.ndarray:
        return self._blocks(np.array(values).reshape(-1, 3)) @ self._to_ase

    def _blocks(self, values: np.ndarray) -> np.ndarray:
        n_blocks = len(values) // self._block
        return values[: n_blocks * self._block].reshape(n_blocks, self._block, *values.shape[1:]).mean(axis=1)

    def _act(self, step: int, order: np.ndarray, f: np.ndarray) -> None:
        f[:] = 0.0
        is_set_up = self._begin(step)
        if self._is_due(step):
            velocities = self._velocities(order, 0.0 if is_set_up else 0.5)
            self._take(self._flux(self._atoms, velocities), velocities, is_set_up)

    def _begin(self, step: int) -> bool:
        """Begin a step; tell whether it is the set-up of a run.

        That calls back, too, at the step where the last one ended: velocities are whole.
        """
        is_set_up = step == self._last_step or self._last_step is None
        self._last_step = step
        if self._first_step is None:
            self._first_step = step
        return is_set_up

    def _is_due(self, step: int) -> bool:
        """Tell whether the flux of this step is to be recorded."""
        assert self._first_step is not None  # since the step began
        return (step - self._first_step) % self._every == 0

    def _take(self, flux: HeatFlux, velocities: np.ndarray, is_set_up: bool) -> None:
        """Record a flux, and publish it; that of a set-up was recorded before."""
        if not np.isfinite(flux.total).all():
            raise NotFinite("the heat flux is not finite")
        for index, value in enumerate(flux.total):
            self._lmp.fix_external_set_vector(FIX, index + 1, value)
        if not is_set_up:
            self._fluxes.append(flux)
            self._temperatures.append(self._temperature(velocities))

    def _velocities(self, order: np.ndarray, missing_steps: float) -> np.ndarray:
        """Return velocities (n_atoms, 3) in Å/fs with the acceleration of part of a step added."""
        numpy = self._lmp.numpy
        kick = missing_steps * self._lmp.extract_global("dt") * self._lmp.extract_global("ftm2v")
        rows = slice(len(order))
        velocities = np.empty((len(order), 3))
        velocities[order] = numpy.extract_atom("v")[rows]
        forces = np.empty_like(velocities)
        forces[order] = numpy.extract_atom("f")[rows]
        return (velocities + kick * forces / self._masses) / FEMTOSECONDS

    def _temperature(self, velocities: np.ndarray) -> float:
        kinetic = 0.5 * float((self._masses * (velocities / units.fs) ** 2).sum())
        return 2 * kinetic / (max(3 * len(velocities) - 3, 1) * units.kB)
