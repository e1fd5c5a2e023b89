r"""A heat current that is driven: homogeneous non-equilibrium molecular dynamics.

A field F (1/Å) acts on every atom with the force

.. math:: F_i = W_i^T F + E_i F,   J = Σ_i W_i v_i + Σ_i E_i v_i

less the mean of all, so that momentum stays zero. The power of the field is then F·J, and to first order in F

.. math:: <J_a> = T V Σ_b κ_ab F_b

(Evans, doi:10.1016/0375-9601(82)90748-4; of many-body potentials Fan et al., doi:10.1103/PhysRevB.99.064308).
W_i is the derivative of the potential part of the heat flux by the velocity of an atom, and E_i its energy,
kinetic part included; the second term is left out where atoms keep their sites.
"""

import numpy as np
from ase import Atoms, units

from mlip_bench.errors import NotFinite
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.md.flux import FEMTOSECONDS, FluxRecorder, OwnFlux


class FluxDriver(FluxRecorder):
    """Drives a heat current, and records it; the thermostat of the simulation takes the heat away.

    Velocities of whole steps are without what the thermostat does in the last half step: it scales all by
    1 + O(Δt), up and down alike.

    Parameters
    ----------
    field : (3,) in 1/Å, in the frame of the atoms.
    convective : whether E_i F is part of the force.
    Others as of :class:`FluxRecorder`; the flux is the potential's own.
    """

    def __init__(
        self,
        session: LammpsSession,
        atoms: Atoms,
        flux: OwnFlux,
        field: np.ndarray,
        convective: bool,
        every: int = 1,
    ):
        super().__init__(session, atoms, flux, every)
        self._own = flux
        self._field = np.asarray(field, dtype=float) @ session.prism.rot_mat
        self._convective = convective

    def _act(self, step: int, order: np.ndarray, f: np.ndarray) -> None:
        is_set_up = self._begin(step)
        missing = 0.0 if is_set_up else 0.5
        velocities = self._velocities(order, missing)
        self._own.be_ready(self._atoms)
        force = self.force(velocities)
        f[:] = force[order]
        if self._is_due(step):
            kick = missing * self._lmp.extract_global("dt") * self._lmp.extract_global("ftm2v")
            velocities = velocities + kick * force / self._masses / FEMTOSECONDS
            flux = self._own.stepper.heat_flux(self._own.prediction, self._atoms.get_masses(), velocities)
            self._take(flux, velocities, is_set_up)

    def force(self, velocities: np.ndarray) -> np.ndarray:
        """Return the forces (n_atoms, 3) in eV/Å of the field on atoms with velocities in Å/fs."""
        force = np.einsum("iab,a->ib", self._own.stepper.flux_by_velocities(), self._field)
        if self._convective:
            energies = self._own.prediction.energies
            assert energies is not None  # of every flux stepper
            kinetic = 0.5 * (self._masses * (velocities / units.fs) ** 2).sum(axis=1)
            force = force + (energies + kinetic)[:, None] * self._field
        if not np.isfinite(force).all():
            raise NotFinite("the force of the field is not finite")
        return np.asarray(force - force.mean(axis=0))
