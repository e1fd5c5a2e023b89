"""The heat flux that a simulation records: at whole steps, in the frame of the atoms, in every route."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.data import atomic_masses
from ase.neighborlist import neighbor_list

from mlip_bench.lammps.style import LammpsStyle
from mlip_bench.md.driver import DynamicsFailed, Simulation
from mlip_bench.md.green_kubo import FluxSeries
from mlip_bench.potentials.base import PotentialCalculator, Prediction

EPSILON, SIGMA, CUTOFF = 0.0103, 3.4, 6.0
TEMPERATURE = 60.0


def pairs(atoms):
    """Return centres, neighbours, vectors to them (Å), energies (eV) and derivatives by distance (eV/Å)."""
    i, j, vectors, distances = neighbor_list("ijDd", atoms, CUTOFF)
    sixth = (SIGMA / distances) ** 6
    energies = 4 * EPSILON * (sixth**2 - sixth)
    return i, j, vectors, energies, 4 * EPSILON * (6 * sixth - 12 * sixth**2) / distances


def flux_of(atoms, velocities):
    """Return the heat flux of Lennard-Jones, half of each pair's energy at either atom: eV Å/fs."""
    i, j, vectors, energies, slopes = pairs(atoms)
    masses = atomic_masses[atoms.numbers]
    kinetic = 0.5 * masses * ((velocities / units.fs) ** 2).sum(axis=1)
    potential = np.bincount(i, energies, len(atoms)) / 2
    convective = ((kinetic + potential)[:, None] * velocities).sum(axis=0)
    # The force on the centre is along the vector to the neighbour, times the slope.
    lengths = np.linalg.norm(vectors, axis=1)
    work = slopes / lengths * ((velocities[i] + velocities[j]) * vectors).sum(axis=1) / 2
    return convective - (vectors * work[:, None]).sum(axis=0) / 2


class LennardJones:
    """Argon by LAMMPS's own pair style, or by our prediction through the bridge."""

    device = "cpu"
    elements_ = ("Ar",)

    def __init__(self, native):
        self.native = native

    def lammps(self):
        if not self.native:
            return None
        return LammpsStyle(f"lj/cut {CUTOFF}", (f"* * {EPSILON} {SIGMA}",), CUTOFF)

    def calculator(self):
        return PotentialCalculator(self.one)

    def one(self, atoms):
        i, _, vectors, energies, slopes = pairs(atoms)
        along = vectors * (slopes / np.linalg.norm(vectors, axis=1))[:, None]
        forces = np.stack([np.bincount(i, column, len(atoms)) for column in along.T], axis=1)
        stress = vectors.T @ along / 2 / atoms.get_volume()
        return Prediction(energies.sum() / 2, forces, stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])


@pytest.fixture(scope="module")
def argon():
    """A cell that LAMMPS must rotate, of 64 atoms."""
    return bulk("Ar", "fcc", a=5.3).repeat(4)


def simulation_of(argon, native=True, **changed):
    given = {"ensemble": "nve", "temperature": TEMPERATURE, "timestep": 4.0} | changed
    return Simulation(LennardJones(native), argon, **given)


def lammps_fluxes(simulation, n_steps):
    """Run; return LAMMPS's own flux and ours as it sees it after each step, in the frame of the atoms."""
    for line in (
        "compute kinetic all ke/atom",
        "compute potential all pe/atom",
        "compute virial all stress/atom NULL virial",
        "compute lammps all heat/flux kinetic potential virial",
        "fix theirs all vector 1 c_lammps[1] c_lammps[2] c_lammps[3]",
        "fix published all vector 1 f_heatflux[1] f_heatflux[2] f_heatflux[3]",
        f"run {n_steps} post no",
    ):
        simulation.session.command(line)
    extract = simulation.session.lmp.extract_fix
    theirs, published = (
        np.array([[extract(name, 0, 2, row, column) for column in range(3)] for row in range(n_steps + 1)])
        for name in ("theirs", "published")
    )
    to_ase = simulation.session.prism.rot_mat.T
    return theirs[1:] / 1e3 @ to_ase, published[1:] @ to_ase


def test_every_step_has_the_flux_that_lammps_computes(argon):
    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux(flux_of)
        theirs, published = lammps_fluxes(simulation, 40)
        assert recorder.fluxes.shape == (40, 3)
        np.testing.assert_allclose(recorder.fluxes, theirs, rtol=0, atol=1e-6 * abs(theirs).max())
        np.testing.assert_array_equal(published, recorder.fluxes)
        assert recorder.temperatures[-1] == pytest.approx(simulation.thermo("temp"), rel=1e-5)
        # Half a step of force is no small thing: without it the comparison could not fail.
        assert abs(np.diff(theirs, axis=0)).max() > 1e-3 * abs(theirs).max()


def test_the_cell_of_these_tests_is_rotated(argon):
    with simulation_of(argon) as simulation:
        assert abs(simulation.session.prism.rot_mat - np.eye(3)).max() > 0.1


def test_the_bridge_and_the_native_pair_style_record_the_same(argon):
    recorded = []
    for native in (True, False):
        with simulation_of(argon, native=native) as simulation:
            recorder = simulation.record_flux(flux_of)
            simulation.run(20)
            recorded.append((recorder.fluxes, recorder.temperatures))
    (native_flux, native_temperature), (flux, temperature) = recorded
    np.testing.assert_allclose(flux, native_flux, rtol=0, atol=1e-6 * abs(native_flux).max())
    np.testing.assert_allclose(temperature, native_temperature, rtol=1e-6)


def test_recording_changes_nothing(argon):
    forces = []
    for record in (False, True):
        with simulation_of(argon) as simulation:
            if record:
                simulation.record_flux(flux_of)
            simulation.run(20)
            forces.append(simulation.forces())
    np.testing.assert_allclose(forces[1], forces[0], atol=1e-9)


def test_runs_one_after_the_other_are_one_series(argon):
    recorded = []
    for parts in ([12], [5, 1, 6]):
        with simulation_of(argon) as simulation:
            recorder = simulation.record_flux(flux_of)
            for n_steps in parts:
                simulation.run(n_steps)
            simulation.switch("nve")
            recorded.append(recorder.fluxes)
    np.testing.assert_allclose(recorded[1], recorded[0], atol=1e-9 * abs(recorded[0]).max())


def test_blocks_are_means_of_every_other_step(argon):
    with simulation_of(argon) as simulation:
        whole = simulation.record_flux(flux_of)
        simulation.run(13)
        every_step = whole.fluxes
    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux(flux_of, every=2, block=3)
        simulation.run(13)
        blocks = recorder.fluxes
        assert recorder.interval == pytest.approx(24.0)
        assert recorder.temperatures.shape == (2,)
    np.testing.assert_allclose(blocks, every_step[1:13:2].reshape(2, 3, 3).mean(axis=1), rtol=1e-9)


def test_a_record_is_a_series_for_the_conductivity(argon):
    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux(flux_of)
        simulation.run(80)
        temperature = float(recorder.temperatures.mean())
        series = FluxSeries.of([recorder.fluxes], recorder.interval, argon.get_volume(), temperature)
    assert series.flux.shape == (1, 80, 3)
    assert series.length == pytest.approx(320)


def test_a_flux_that_is_not_finite_is_dynamics_that_do_not_hold(argon):
    with simulation_of(argon) as simulation, pytest.raises(DynamicsFailed, match="heat flux is not finite"):
        simulation.record_flux(lambda atoms, velocities: np.full(3, np.nan))


def test_an_error_of_the_flux_comes_out(argon):
    calls = []

    def failing(atoms: Atoms, velocities):
        calls.append(len(atoms))
        if len(calls) == 3:
            raise ArithmeticError("no flux here")
        return np.ones(3)

    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux(failing)
        with pytest.raises(ArithmeticError, match="no flux here"):
            simulation.run(5)
        assert len(recorder.fluxes) == 1


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_a_flux_is_recorded_at_constant_energy_only(argon, ensemble):
    with simulation_of(argon, ensemble=ensemble) as simulation:
        with pytest.raises(ValueError, match=f"constant energy .*, not {ensemble}"):
            simulation.record_flux(flux_of)
        simulation.switch("nve")
        simulation.record_flux(flux_of)
        with pytest.raises(ValueError, match="constant energy"):
            simulation.switch(ensemble)


@pytest.mark.parametrize(("every", "block"), [(0, 1), (1, 0)])
def test_a_flux_is_recorded_at_least_at_every_step(argon, every, block):
    with simulation_of(argon) as simulation, pytest.raises(ValueError, match="both are >= 1"):
        simulation.record_flux(flux_of, every, block)
