"""Heat currents that a field drives: its forces, and the conductivity that follows from the mean current."""

import contextlib

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk

from mlip_bench.md.driver import Simulation
from mlip_bench.md.green_kubo import WATT_PER_METRE_KELVIN, FluxUnusable
from mlip_bench.md.response import ONSET, Driven, response, running_mean
from mlip_bench.potentials.heat_flux import convective_flux
from mlip_bench.testing.lennard_jones import LennardJones

FIELD = np.array([0.01, -0.02, 0.03])  # 1/Å


@pytest.fixture(scope="module")
def argon():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield LennardJones.of(["Ar"], cutoff=5.2, onset=4.5)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def atoms():
    """A cell that LAMMPS must rotate."""
    return bulk("Ar", "fcc", a=5.4).repeat(3)


def driven(argon, atoms, field, convective, **changed):
    given = {"ensemble": "nvt", "temperature": 60.0, "timestep": 4.0} | changed
    simulation = Simulation(argon, atoms, **given)
    return simulation, simulation.drive(field, convective)


@pytest.mark.parametrize("convective", [False, True])
def test_the_power_of_the_field_is_the_field_times_the_heat_flux(argon, atoms, convective):
    simulation, driver = driven(argon, atoms, FIELD, convective)
    with simulation:
        simulation.run(20)
        now = atoms.copy()
        now.positions = simulation.positions()
        velocities = simulation.velocities()
        rotation = simulation.session.prism.rot_mat
        force = driver.force(velocities @ rotation) @ rotation.T
    flux = argon.heat_flux(now, velocities)
    expected = FIELD @ (flux.total if convective else flux.potential)
    assert np.einsum("ia,ia", force, velocities) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(force.sum(axis=0), 0.0, atol=1e-12)


def test_what_is_recorded_is_the_flux_of_whole_steps(argon, atoms):
    """But for the thermostat, whose last half step is not seen: it is made as weak as nothing."""
    simulation, driver = driven(argon, atoms, FIELD, True)
    with simulation:
        simulation.command("unfix motion", "fix motion all nve")
        simulation.run(7)
        now = atoms.copy()
        now.positions = simulation.positions()
        velocities = simulation.velocities()
        expected = argon.heat_flux(now, velocities)
        np.testing.assert_allclose(driver.potential[-1], expected.potential, rtol=1e-6)
        np.testing.assert_allclose(driver.convective[-1], expected.convective, rtol=1e-6)
        energies = argon.predict([now])[0].energies
    np.testing.assert_allclose(
        driver.convective[-1], convective_flux(energies, now.get_masses(), velocities), rtol=1e-6
    )


def test_without_a_field_nothing_is_changed(argon, atoms):
    ends = []
    for field in (None, np.zeros(3)):
        with Simulation(argon, atoms, 1, "nvt", 60.0, 4.0) as simulation:
            if field is not None:
                simulation.drive(field, True)
            simulation.run(50)
            ends.append(simulation.positions())
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)


def test_a_field_makes_heat(argon, atoms):
    """The work of the field is what the energy of the atoms gains without a thermostat."""
    simulation, driver = driven(argon, atoms, np.array([0.05, 0.0, 0.0]), True, timestep=1.0)
    with simulation:
        simulation.command("unfix motion", "fix motion all nve")
        before, n_steps = simulation.thermo("etotal"), 400
        simulation.run(n_steps)
        gained = simulation.thermo("etotal") - before
    work = 0.05 * driver.fluxes[:, 0].sum() * 1.0
    assert gained == pytest.approx(work, rel=2e-2)


def test_a_driven_current_needs_a_thermostat(argon, atoms):
    with (
        Simulation(argon, atoms, ensemble="nve", temperature=60.0) as simulation,
        pytest.raises(ValueError, match="it needs a thermostat, not nve"),
    ):
        simulation.drive(FIELD, True)


# -- the estimate --------------------------------------------------------------------------------------

INTERVAL, VOLUME, TEMPERATURE, KAPPA = 5.0, 4000.0, 300.0, 2.0
LEVEL = 1.5  # W/mK, of the white spectrum of the noise


def runs_of(generator, axes, strengths, n_samples=4000, kappa=KAPPA):
    """Return runs whose mean current is κTVF, with white noise of a known spectrum."""
    variance = LEVEL / WATT_PER_METRE_KELVIN * 2 * VOLUME * units.kB * TEMPERATURE**2 / INTERVAL
    mean = kappa / WATT_PER_METRE_KELVIN * TEMPERATURE * VOLUME
    runs = []
    for axis, strength in zip(axes, strengths, strict=True):
        field = strength * np.eye(3)[axis]
        flux = mean * field + np.sqrt(variance) * generator.normal(size=(n_samples, 3))
        runs.append(Driven(flux, field))
    return runs


def estimate(runs, isotropic=True):
    return response(runs, INTERVAL, VOLUME, TEMPERATURE, isotropic)


def test_a_known_response_is_found_with_its_error():
    generator = np.random.default_rng(0)
    strengths = [2e-3, 1e-3, 2e-3, 1e-3]
    found = []
    for _ in range(30):
        # One in eighty seems not linear by chance.
        with contextlib.suppress(FluxUnusable):
            found.append(estimate(runs_of(generator, [0, 0, 1, 1], strengths)))
    assert len(found) >= 27
    exact = np.sqrt(2 * units._k * LEVEL / (VOLUME * 1e-30 * 4000 * (1 - ONSET) * INTERVAL * 1e-15))
    exact /= np.linalg.norm(strengths) * 1e10
    assert np.mean([one.spread for one in found]) == pytest.approx(exact, rel=0.1)
    kappas = np.array([one.kappa for one in found])
    assert abs(kappas.mean() - KAPPA) < 4 * exact / np.sqrt(30)
    assert kappas.std() == pytest.approx(exact, rel=0.3)
    times, _ = running_mean(runs_of(generator, [0, 0, 1, 1], strengths), found[0], True)
    assert times[-1] == pytest.approx(4000 * (1 - ONSET) * INTERVAL / 1e3)


def test_the_running_mean_ends_at_the_conductivity():
    runs = runs_of(np.random.default_rng(1), [0, 0], [2e-3, 1e-3])
    found = estimate(runs)
    assert running_mean(runs, found, True)[1][-1] == pytest.approx(found.kappa)


@pytest.mark.parametrize("n_seeds", [6, 7, 8])
def test_directions_that_differ_are_not_mixed(n_seeds):
    """Errors are smaller along a direction that conducts less, and a linear response was refused."""
    axes = [0, 0, 1, 1, 2, 2, 0, 1][:n_seeds]
    strengths = [2e-3, 1e-3] * 4
    runs = []
    for place, (axis, strength) in enumerate(zip(axes, strengths, strict=False)):
        kappa = (100.0, 100.0, 10.0)[axis]
        (run,) = runs_of(np.random.default_rng(place), [axis], [strength], kappa=kappa)
        noise = run.flux - run.flux.mean(axis=0)
        runs.append(Driven(run.flux + (np.sqrt([100, 100, 10]) / np.sqrt(LEVEL) - 1) * noise, run.field))
    found = estimate(runs, isotropic=False)
    assert abs(found.kappa - 70) < 4 * found.spread
    for kappa, spread in found.by_field.values():
        assert abs(kappa - 70) < 4 * spread
    assert running_mean(runs, found, False)[1][-1] == pytest.approx(found.kappa, rel=0.05)


def test_the_onset_is_left_out():
    runs = runs_of(np.random.default_rng(2), [0, 0], [2e-3, 1e-3])
    begun = [Driven(np.concatenate([0 * run.flux[:500], run.flux[500:]]), run.field) for run in runs]
    assert estimate(begun).kappa == pytest.approx(estimate(runs).kappa)


def test_a_response_that_is_not_linear_is_said():
    weak, strong = (
        runs_of(np.random.default_rng(3), [0], [strength], kappa=kappa)
        for strength, kappa in ((1e-2, 2.0), (2e-2, 3.0))
    )
    with pytest.raises(FluxUnusable, match=r"not linear in the field: .* at 0\.01 /Å, .* at 0\.02 /Å"):
        estimate(weak + strong)


def test_directions_that_differ_must_all_be_driven():
    generator = np.random.default_rng(4)
    with pytest.raises(FluxUnusable, match="its field along y, z"):
        estimate(runs_of(generator, [0, 0], [2e-3, 1e-3]), isotropic=False)
    found = estimate(runs_of(generator, [0, 1, 2], [2e-2] * 3), isotropic=False)
    assert found.kappa == pytest.approx(KAPPA, abs=5 * found.spread)
    np.testing.assert_allclose(found.tensor, KAPPA * np.eye(3), atol=5 * found.tensor_spread.max())
