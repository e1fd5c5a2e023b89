"""The heat flux that a simulation records: at whole steps, in the frame of the atoms, in every route."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_bench.errors import UserError
from mlip_bench.lammps.style import LammpsStyle
from mlip_bench.md.driver import DynamicsFailed, Simulation
from mlip_bench.md.green_kubo import FluxSeries
from mlip_bench.potentials.heat_flux import HeatFlux
from mlip_bench.testing.lennard_jones import LennardJones

PARAMETERS = {"epsilon": 0.0103, "sigma": 3.4, "cutoff": 6.0, "onset": 4.5}
TEMPERATURE = 60.0


class Charmm(LammpsStyle):
    """LAMMPS's pair style with the same switch, which asks for charges."""

    def commands(self, elements, paths=None):
        return ["fix charges all property/atom q", *super().commands(elements, paths or {})]


class NativeLennardJones(LennardJones):
    """Argon by LAMMPS's own pair style, or by our prediction through the bridge."""

    def lammps(self):
        hypers = self.hypers
        return Charmm(
            f"lj/charmm/coul/charmm {hypers.onset} {hypers.cutoff}",
            (f"* * {hypers.epsilon} {hypers.sigma}",),
            hypers.cutoff,
        )


POTENTIAL = NativeLennardJones.of(["Ar"], **PARAMETERS)


@pytest.fixture(scope="module")
def argon():
    """A cell that LAMMPS must rotate, of 64 atoms."""
    return bulk("Ar", "fcc", a=5.3).repeat(4)


def simulation_of(argon, native=True, **changed):
    given = {"ensemble": "nve", "temperature": TEMPERATURE, "timestep": 4.0} | changed
    return Simulation(POTENTIAL, argon, native=native, **given)


def lammps_fluxes(simulation, n_steps):
    """Run; return LAMMPS's own flux, its convective part, and ours as it sees it, in the frame of the atoms.

    Each after every step.
    """
    for line in (
        "compute kinetic all ke/atom",
        "compute potential all pe/atom",
        "compute virial all stress/atom NULL virial",
        "compute lammps all heat/flux kinetic potential virial",
        "fix theirs all vector 1 c_lammps[1] c_lammps[2] c_lammps[3] c_lammps[4] c_lammps[5] c_lammps[6]",
        "fix published all vector 1 f_heatflux[1] f_heatflux[2] f_heatflux[3]",
        f"run {n_steps} post no",
    ):
        simulation.session.command(line)
    extract = simulation.session.lmp.extract_fix
    theirs, published = (
        np.array(
            [[extract(name, 0, 2, row, column) for column in range(width)] for row in range(n_steps + 1)]
        )
        for name, width in (("theirs", 6), ("published", 3))
    )
    to_ase = simulation.session.prism.rot_mat.T
    return *(part[1:] / 1e3 @ to_ase for part in np.split(theirs, 2, axis=1)), published[1:] @ to_ase


def test_every_step_has_the_flux_that_lammps_computes(argon):
    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux()
        theirs, convective, published = lammps_fluxes(simulation, 40)
        assert recorder.fluxes.shape == (40, 3)
        np.testing.assert_allclose(recorder.fluxes, theirs, rtol=0, atol=1e-6 * abs(theirs).max())
        np.testing.assert_allclose(recorder.convective, convective, rtol=0, atol=1e-6 * abs(convective).max())
        parts = recorder.potential + recorder.convective
        np.testing.assert_allclose(parts, recorder.fluxes, rtol=0, atol=1e-12 * abs(theirs).max())
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
            recorder = simulation.record_flux()
            simulation.run(20)
            recorded.append((recorder.potential, recorder.convective, recorder.temperatures))
    for native, bridged in zip(*recorded, strict=True):
        np.testing.assert_allclose(bridged, native, rtol=0, atol=1e-6 * abs(native).max())


def test_one_evaluation_gives_forces_and_flux(argon, monkeypatch):
    evaluated = []
    flux_stepper = POTENTIAL.flux_stepper

    def counting(*given):
        stepper = flux_stepper(*given)
        predict = stepper.predict
        stepper.predict = lambda atoms: evaluated.append(len(atoms)) or predict(atoms)
        return stepper

    monkeypatch.setattr(POTENTIAL, "flux_stepper", counting)
    with simulation_of(argon, native=False) as simulation:
        recorder = simulation.record_flux(every=2)
        evaluated.clear()
        simulation.run(8)
        assert len(evaluated) == 8
        assert len(recorder.fluxes) == 4


def test_the_flux_may_be_another_function(argon):
    flux = HeatFlux(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.5, 0.0]))
    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux(lambda atoms, velocities: flux)
        simulation.run(2)
        to_ase = simulation.session.prism.rot_mat.T
    np.testing.assert_allclose(recorder.fluxes, [flux.total @ to_ase] * 2)


def test_a_potential_without_a_flux_is_refused(argon):
    class Direct(LennardJones):
        conservative = False

    with (
        Simulation(Direct.of(["Ar"], **PARAMETERS), argon, ensemble="nve") as simulation,
        pytest.raises(UserError, match="directly"),
    ):
        simulation.record_flux()


def test_recording_changes_nothing(argon):
    forces = []
    for record in (False, True):
        with simulation_of(argon) as simulation:
            if record:
                simulation.record_flux()
            simulation.run(20)
            forces.append(simulation.forces())
    np.testing.assert_allclose(forces[1], forces[0], atol=1e-9)


def test_runs_one_after_the_other_are_one_series(argon):
    recorded = []
    for parts in ([12], [5, 1, 6]):
        with simulation_of(argon) as simulation:
            recorder = simulation.record_flux()
            for n_steps in parts:
                simulation.run(n_steps)
            simulation.switch("nve")
            recorded.append(recorder.fluxes)
    np.testing.assert_allclose(recorded[1], recorded[0], atol=1e-9 * abs(recorded[0]).max())


def test_blocks_are_means_of_every_other_step(argon):
    with simulation_of(argon) as simulation:
        whole = simulation.record_flux()
        simulation.run(13)
        every_step = whole.fluxes
    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux(every=2, block=3)
        simulation.run(13)
        blocks = recorder.fluxes
        assert recorder.interval == pytest.approx(24.0)
        assert recorder.temperatures.shape == (2,)
    np.testing.assert_allclose(blocks, every_step[1:13:2].reshape(2, 3, 3).mean(axis=1), rtol=1e-9)


def test_a_record_is_a_series_for_the_conductivity(argon):
    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux()
        simulation.run(80)
        temperature = float(recorder.temperatures.mean())
        series = FluxSeries.of([recorder.fluxes], recorder.interval, argon.get_volume(), temperature)
    assert series.flux.shape == (1, 80, 3)
    assert series.length == pytest.approx(320)


def test_a_flux_that_is_not_finite_is_dynamics_that_do_not_hold(argon):
    with simulation_of(argon) as simulation, pytest.raises(DynamicsFailed, match="heat flux is not finite"):
        simulation.record_flux(lambda atoms, velocities: HeatFlux(np.full(3, np.nan), np.zeros(3)))


def test_an_error_of_the_flux_comes_out(argon):
    calls = []

    def failing(atoms: Atoms, velocities):
        calls.append(len(atoms))
        if len(calls) == 3:
            raise ArithmeticError("no flux here")
        return HeatFlux(np.ones(3), np.ones(3))

    with simulation_of(argon) as simulation:
        recorder = simulation.record_flux(failing)
        with pytest.raises(ArithmeticError, match="no flux here"):
            simulation.run(5)
        assert len(recorder.fluxes) == 1


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_a_flux_is_recorded_at_constant_energy_only(argon, ensemble):
    with simulation_of(argon, ensemble=ensemble) as simulation:
        with pytest.raises(ValueError, match=f"constant energy .*, not {ensemble}"):
            simulation.record_flux()
        simulation.switch("nve")
        simulation.record_flux()
        with pytest.raises(ValueError, match="constant energy"):
            simulation.switch(ensemble)


@pytest.mark.parametrize(("every", "block"), [(0, 1), (1, 0)])
def test_a_flux_is_recorded_at_least_at_every_step(argon, every, block):
    with simulation_of(argon) as simulation, pytest.raises(ValueError, match="both are >= 1"):
        simulation.record_flux(None, every, block)
