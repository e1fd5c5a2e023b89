"""Molecular dynamics through LAMMPS for every family.

A family with a native pair style runs in it, unless it is asked not to; any other runs through
``fix external``: LAMMPS calls back at every step, and energy, forces and virial come from the family's ASE
calculator.
"""

import numpy as np
from ase import Atoms

from mlip_bench.errors import LammpsError, NotFinite, UserError
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.md.driven import FluxDriver
from mlip_bench.md.external import ExternalFix
from mlip_bench.md.flux import FEMTOSECONDS, FluxFunction, FluxRecorder, OwnFlux
from mlip_bench.potentials.base import Potential, PotentialCalculator
from mlip_bench.results import KERNELS, LAMMPS

TIMESTEP_FS = 1.0
TEMPERATURE_K = 300.0

# A step so short (fs) that nothing moves, whatever the forces: all that a step does is still done.
STILL_FS = 1e-6

# Dynamics hotter than this many times their thermostat have exploded.
TOO_HOT = 4.0

# Damping times of thermostat and barostat (ps): 100 and 1000 steps, as LAMMPS's documentation recommends.
THERMOSTAT_PS = 0.1
BAROSTAT_PS = 1.0

# Neighbour skin (Å) of native pair styles; LAMMPS's default for metal units.
SKIN = 2.0

# When LAMMPS builds its lists anew: once an atom has moved by half the skin, or at every step.
REBUILDING = "neigh_modify every 1 delay 0 check {check}"

# With the bridge, LAMMPS needs no neighbours itself: as little as it accepts (Å).
BRIDGE_CUTOFF = 1.0
BRIDGE = "bridge"


# What LAMMPS does in each ensemble, at temperature T (K): Nosé-Hoover chains, pressure 0, isotropic cell.
ENSEMBLES = {
    "nve": "fix motion all nve",
    "nvt": "fix motion all nvt temp {T} {T} {thermostat}",
    "npt": "fix motion all npt temp {T} {T} {thermostat} iso 0 0 {barostat}",
}


# How LAMMPS says that atoms or cell have gone where no simulation should: parts of its messages, lower case.
DID_NOT_HOLD = (
    "lost atoms",
    "non-numeric",  # of coordinates, box dimensions or pressure
    "list overflow",
    "out of range atoms",
    "atoms missing",
    "too many neighbor bins",
    "too many ghost atoms",
    "too many local+ghost atoms",
    "domain too large for neighbor bins",
    "box size << cutoff",
    "skew is too large",
    "tilted box too far",
    "box bounds are invalid",
    "illegal simulation box",
)


class DynamicsFailed(UserError):
    """The dynamics did not hold: atoms, cell or the potential's prediction left what makes sense."""

    def __init__(self, reason: object):
        super().__init__(f"the dynamics did not hold ({reason})")


def did_not_hold(error: LammpsError) -> bool:
    """Tell whether LAMMPS stopped because of where the atoms or the cell went."""
    message = str(error).lower()
    return any(part in message for part in DID_NOT_HOLD)


def implementations(potential: Potential) -> tuple[str, ...]:
    """Return whose code can run dynamics: LAMMPS's pair style where there is one, and the family's own."""
    return (KERNELS,) if potential.lammps() is None else (LAMMPS, KERNELS)


def natural_ensemble(potential: Potential) -> str:
    """Return ``npt``, in which steps are timed, or ``nvt`` for a potential without a stress."""
    return "npt" if potential.predicts_stress else "nvt"


class Simulation:
    """Dynamics of a periodic structure at constant energy, temperature or pressure; a context manager.

    Parameters
    ----------
    potential : a fitted potential that knows the elements of ``atoms``.
    atoms : periodic in three directions; not changed.
    seed : of the initial velocities.
    ensemble : ``nve``, ``nvt`` or ``npt``; if None, :func:`natural_ensemble`.
    temperature : of the initial velocities and of the thermostat (K).
    timestep : in fs; with ``STILL_FS`` the atoms stay where they are.
    native : False runs a family through the bridge even where LAMMPS has a pair style of it.
    cores : ranks of MPI for a native pair style, threads of the kernels for others.

    Raises :class:`DynamicsFailed` at the start, or in a later run, where the dynamics do not hold, and
    :class:`UserError` for ``npt`` with a potential that predicts no stress. Where it predicts no energy,
    ``thermo`` takes 0 for it.
    """

    def __init__(
        self,
        potential: Potential,
        atoms: Atoms,
        seed: int = 1,
        ensemble: str | None = None,
        temperature: float = TEMPERATURE_K,
        timestep: float = TIMESTEP_FS,
        native: bool = True,
        cores: int = 1,
    ):
        ensemble = ensemble or natural_ensemble(potential)
        self._potential = potential
        self._refuse_without_stress(ensemble)
        style = potential.lammps() if native else None
        self.session = LammpsSession(potential.elements_, 1 if style is None else cores)
        self._ensemble = ensemble
        self._atoms = atoms
        self._callbacks: list[ExternalFix] = []
        self._bridge: Bridge | None = None
        try:
            self.session.place(atoms)
            if style is None:
                self._bridge = Bridge(self.session, atoms, potential.calculator())
                if cores > 1:
                    self._bridge.calculator.stepping.threads = cores
                self._callbacks.append(self._bridge)
            else:
                self._commands(f"neighbor {SKIN} bin", REBUILDING.format(check="yes"))
                self.session.interact(style)
            self._commands(
                f"timestep {timestep * 1e-3}",
                f"velocity all create {temperature} {seed} mom yes rot no dist gaussian",
                _motion(ensemble, temperature),
                "thermo_modify lost error",
            )
            self._run("run 0 post no")
        except BaseException:
            self.session.close()
            raise

    def run(self, n_steps: int) -> None:
        """Go on for ``n_steps`` steps, without the set-up that a first run needs."""
        self._run(f"run {n_steps} pre no post no")

    def leave_out_energy(self) -> None:
        """Let native pair styles give forces and virial only, from now on.

        LAMMPS computes the energy at the last step of every ``run``: for SNAP, half a step more. A simulation
        of many steps does without, so one that is timed in short runs must, too. ``thermo`` then knows
        neither energy nor pressure.
        """
        self._commands("thermo_style custom step", "uncompute thermo_pe")
        self._run("run 0 post no")

    def set_skin(self, skin: float) -> None:
        """Keep neighbour lists with this skin (Å) from now on, LAMMPS's or those of the family."""
        if self._bridge is None:
            self._commands(f"neighbor {skin} bin")
        else:
            self._bridge.calculator.stepping.skin = skin
        self._run("run 0 post no")

    def rebuild_always(self, always: bool) -> None:
        """Build neighbour lists anew at every step from now on, or only where the skin is used up."""
        if self._bridge is None:
            self._commands(REBUILDING.format(check="no" if always else "yes"))
        else:
            self._bridge.calculator.stepping.always = always
        # LAMMPS forgets, while it does not check, where atoms were.
        self._run("run 0 post no")

    @property
    def n_builds(self) -> int:
        """How many neighbour lists steps have built; only steps of :meth:`run` make differences of it count.

        A set-up, as of any other method, may begin to count anew.
        """
        if self._bridge is None:
            return int(self.thermo("nbuild"))
        return int(self._bridge.calculator.stepping.n_builds)

    def switch(self, ensemble: str, temperature: float = TEMPERATURE_K) -> None:
        """Go on in another ensemble, from the positions and velocities as they are."""
        self._refuse_without_stress(ensemble)
        self._require_constant_energy(ensemble, any(isinstance(c, FluxRecorder) for c in self._callbacks))
        self._ensemble = ensemble
        self._commands("unfix motion", _motion(ensemble, temperature))
        self._run("run 0 post no")

    def record_flux(self, flux: FluxFunction | None = None, every: int = 1, block: int = 1) -> FluxRecorder:
        """Record the heat flux from now on; the dynamics must be at constant energy, and stay so.

        The flux is evaluated every so many steps, and the mean of ``block`` evaluations is one value. It is
        that of :meth:`own_flux`, unless another is given. Raises :class:`UserError` where there is none.
        """
        self._require_constant_energy(self._ensemble, True)
        recorder = FluxRecorder(self.session, self._atoms, flux or self.own_flux(), every, block)
        self._callbacks.append(recorder)
        self._run("run 0 post no")
        return recorder

    def drive(self, field: np.ndarray, convective: bool, every: int = 1) -> FluxDriver:
        """Drive a heat current by a field (3,) in 1/Å from now on, and record the heat flux.

        See :class:`FluxDriver`; ``convective`` says whether the convective part is driven, too. A thermostat
        must take away the heat (nvt).
        """
        if self._ensemble != "nvt":
            raise ValueError(f"a driven heat current makes heat: it needs a thermostat, not {self._ensemble}")
        driver = FluxDriver(self.session, self._atoms, self.own_flux(), field, convective, every)
        self._callbacks.append(driver)
        self._run("run 0 post no")
        return driver

    def own_flux(self) -> OwnFlux:
        """Return the heat flux of the potential that moves the atoms, for callbacks of this simulation.

        Through the bridge one evaluation gives forces and flux from now on; a native pair style gives forces
        only, and the potential is evaluated once more where the flux is asked for.
        """
        stepping = None if self._bridge is None else self._bridge.calculator.stepping
        flux = OwnFlux(self._potential.flux_stepper(stepping), predicts=self._bridge is None)
        if self._bridge is not None:
            self._bridge.calculator = PotentialCalculator(flux.predict, stepping=stepping)
        return flux

    def command(self, *lines: str) -> None:
        """Let LAMMPS do more: computes, fixes and output of its own, set up as they are needed."""
        self._commands(*lines)
        self._run("run 0 post no")

    def _refuse_without_stress(self, ensemble: str) -> None:
        if ensemble == "npt" and not self._potential.predicts_stress:
            raise UserError(
                f"{self._potential.family} predicts no stress: its dynamics are at constant volume (nve, nvt)"
            )

    def _require_constant_energy(self, ensemble: str, recording: bool) -> None:
        """Refuse to record a flux under a thermostat, which changes velocities within the step unseen."""
        if recording and ensemble != "nve":
            raise ValueError(f"a heat flux is recorded at constant energy (nve), not {ensemble}")

    def thermo(self, name: str) -> float:
        """Return one of LAMMPS's thermodynamic values: ``etotal`` (eV), ``temp`` (K), ``press`` (bar), ..."""
        return float(self.session.lmp.get_thermo(name))

    def forces(self) -> np.ndarray:
        """Return the forces (n_atoms, 3) in eV/Å, in LAMMPS's frame."""
        return self._gathered("f")

    def positions(self) -> np.ndarray:
        """Return the positions (n_atoms, 3) in Å, within the cell, in the frame of the atoms placed."""
        low = np.array(self.session.lmp.extract_box()[0])
        return (self._gathered("x") - low) @ self.session.prism.rot_mat.T

    def velocities(self) -> np.ndarray:
        """Return the velocities (n_atoms, 3) in Å/fs, in the frame of the atoms placed."""
        return self._gathered("v") @ self.session.prism.rot_mat.T / FEMTOSECONDS

    def set_velocities(self, velocities: np.ndarray) -> None:
        """Go on with these velocities, as :meth:`velocities` gives them."""
        flat = np.ascontiguousarray(velocities @ self.session.prism.rot_mat * FEMTOSECONDS).ravel()
        self.session.lmp.scatter_atoms("v", 1, 3, np.ctypeslib.as_ctypes(flat))

    def _gathered(self, name: str) -> np.ndarray:
        return np.ctypeslib.as_array(self.session.lmp.gather_atoms(name, 1, 3)).reshape(-1, 3).copy()

    def snapshot(self, atoms: Atoms) -> Atoms:
        """Return the atoms as they are now, in LAMMPS's frame; ``atoms`` tells which they are."""
        lmp = self.session.lmp
        low, high, xy, yz, xz, *_ = lmp.extract_box()
        cell = np.diag(np.subtract(high, low))
        cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
        positions = np.ctypeslib.as_array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3) - low
        return Atoms(atoms.numbers, positions=positions, cell=cell, pbc=True)

    def _run(self, line: str) -> None:
        try:
            self.session.command(line)
        except LammpsError as error:
            self._raise_what_a_callback_raised()
            if did_not_hold(error):
                raise DynamicsFailed(f"LAMMPS: {error}") from error
            raise
        self._raise_what_a_callback_raised()

    def _raise_what_a_callback_raised(self) -> None:
        """Raise the first error of a callback: LAMMPS cannot, and goes on with the forces it has."""
        for error in (callback.error for callback in self._callbacks):
            if isinstance(error, NotFinite):
                raise DynamicsFailed(error) from error
            if error is not None:
                raise error

    def __enter__(self) -> "Simulation":
        """Return the simulation itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close LAMMPS."""
        self.session.close()

    def _commands(self, *lines: str) -> None:
        for line in lines:
            self.session.command(line)


def _motion(ensemble: str, temperature: float) -> str:
    return ENSEMBLES[ensemble].format(T=temperature, thermostat=THERMOSTAT_PS, barostat=BAROSTAT_PS)


class Bridge(ExternalFix):
    """Energy, forces and virial of an ASE calculator, what it has of them, as LAMMPS's interaction."""

    def __init__(self, session: LammpsSession, atoms: Atoms, calculator: PotentialCalculator):
        self.calculator = calculator
        session.command(f"pair_style zero {BRIDGE_CUTOFF}")
        session.command("pair_coeff * *")
        super().__init__(session, atoms, BRIDGE)
        self._gives = [
            name for name in ("energy", "forces", "stress") if name in calculator.implemented_properties
        ]
        for contribution, name in (("energy", "energy"), ("virial", "stress")):
            if name in self._gives:
                session.command(f"fix_modify {BRIDGE} {contribution} yes")

    def _act(self, step: int, order: np.ndarray, f: np.ndarray) -> None:
        """Set forces (n_atoms, 3) in place, and energy and virial of the step."""
        self.calculator.calculate(self._atoms, self._gives, ["positions", "cell"])
        results = self.calculator.results
        f[:] = results["forces"][order]
        if "energy" in self._gives:
            self._lmp.fix_external_set_energy_global(BRIDGE, results["energy"])
        if "stress" in self._gives:
            # LAMMPS's virial is in eV, positive in compression, in the order xx yy zz xy xz yz.
            virial = -results["stress"] * self._atoms.get_volume()
            self._lmp.fix_external_set_virial_global(BRIDGE, virial[[0, 1, 2, 5, 4, 3]].tolist())
