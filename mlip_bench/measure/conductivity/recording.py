"""Recording both parts of the heat flux of a simulation."""

import numpy as np
from ase import Atoms

from mlip_bench.md.driver import Simulation
from mlip_bench.measure.conductivity.settings import Settings
from mlip_bench.potentials.base import Potential
from mlip_bench.potentials.heat_flux import convective_flux

# Time (fs) between two samples: a tenth of the fastest period in a heat flux of silicon.
INTERVAL_FS = 5.0


class Recording:
    """The heat flux of a simulation at constant energy, sampled every few steps."""

    def __init__(self, simulation: Simulation, potential: Potential, settings: Settings):
        self._stepper = potential.flux_stepper()
        self._to_ase = simulation.session.prism.rot_mat.T
        self._parts: list[np.ndarray] = []
        self._every = max(1, round(INTERVAL_FS / settings.timestep))
        self._recorder = simulation.record_flux(self._flux, self._every)
        self._parts.clear()  # of the set-up, which is no sample
        self.interval = self._recorder.interval

    @staticmethod
    def ensemble_of(settings: Settings) -> str:
        """Return the ensemble in which the flux is recorded."""
        return "nve"

    def whole_samples(self, n_steps: int) -> int:
        """Return the number of steps, about as many, in which samples are whole."""
        return max(1, round(n_steps / self._every)) * self._every

    def samples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return potential and convective part (n, 3) in eV Å/fs and temperatures (n,) in K."""
        parts = np.array(self._parts).reshape(-1, 2, 3) @ self._to_ase
        return parts[:, 0], parts[:, 1], self._recorder.temperatures

    def _flux(self, atoms: Atoms, velocities: np.ndarray) -> np.ndarray:
        prediction = self._stepper.predict(atoms)
        assert prediction.energies is not None  # of every flux stepper
        parts = (
            self._stepper.potential_flux(velocities),
            convective_flux(prediction.energies, atoms.get_masses(), velocities),
        )
        self._parts.append(np.array(parts))
        return np.asarray(sum(parts))
