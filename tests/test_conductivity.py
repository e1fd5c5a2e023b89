"""The measurement of a thermal conductivity: trajectories, what is made of them, and what is said of them."""

import dataclasses

import numpy as np
import pytest
import torch
from ase.build import bulk

from mlip_bench.errors import UserError
from mlip_bench.md.driver import DynamicsFailed, Simulation
from mlip_bench.measure import MEASURES, conductivity
from mlip_bench.measure.base import Subject
from mlip_bench.measure.conductivity import settings, trajectory, transport
from mlip_bench.measure.conductivity.settings import Settings
from mlip_bench.measure.conductivity.structure import structure_of
from mlip_bench.measure.conductivity.trajectory import STATE, Trajectory, record
from mlip_bench.measure.conductivity.transport import Motion
from mlip_bench.potentials.base import silent
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan, options_of
from mlip_bench.run.store import Store
from mlip_bench.testing.lennard_jones import LennardJones

ARGON = bulk("Ar", "fcc", a=5.3, cubic=True)
SHORT = Settings(temperature=60.0, length=12.0, supercell=32, timestep=8.0)
N_SAMPLES = 750


@pytest.fixture(scope="module")
def argon():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for 32 atoms more only wait
    yield LennardJones.of(["Ar"], cutoff=5.2, onset=4.5)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def solid(argon):
    """Two trajectories of a small crystal."""
    return [conductivity.observe(argon, ARGON, dataclasses.replace(SHORT, seed=seed)) for seed in (1, 2)]


def test_a_trajectory_has_what_was_asked_for(solid, argon):
    first = solid[0].trajectory
    assert first.interval == 16.0
    assert len(first.potential) == len(first.convective) == len(first.temperatures) == N_SAMPLES
    assert len(first.energies) == len(first.pressures) == N_SAMPLES // 6
    assert solid[0].is_cubic
    assert solid[0].n_atoms == 32
    # At rest the lattice constant is that of the potential, not the one given.
    assert solid[0].volume != pytest.approx(8 * 5.3**3, rel=1e-3)
    assert abs(structure_of(ARGON, argon, SHORT).atoms.get_volume() - solid[0].volume) < 1e-6
    kept = structure_of(ARGON, argon, dataclasses.replace(SHORT, keep_cell=True, supercell=(2, 2, 1)))
    assert kept.atoms.get_volume() == pytest.approx(4 * 5.3**3)


def test_the_parts_of_the_flux_are_those_of_the_potential(argon, tmp_path, monkeypatch):
    """What is recorded last is the flux of the positions and velocities that are kept with it."""
    monkeypatch.setattr(trajectory, "KEEP_SECONDS", 0.0)
    structure = structure_of(ARGON, argon, SHORT)
    atoms = structure.atoms
    record(argon, structure, dataclasses.replace(SHORT, length=0.48), tmp_path, silent)
    with np.load(tmp_path / STATE) as state:
        atoms.positions = state["positions"]
        expected = argon.heat_flux(atoms, state["velocities"])
        np.testing.assert_allclose(state["potential"][-1], expected.potential, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(state["convective"][-1], expected.convective, rtol=1e-6, atol=1e-9)


class Ended(Exception):
    """Stands for a process that is ended."""


def test_a_trajectory_that_was_ended_goes_on(argon, tmp_path, monkeypatch):
    monkeypatch.setattr(trajectory, "KEEP_SECONDS", 0.0)
    chosen, n_looks = dataclasses.replace(SHORT, length=4.8), 50
    structure = structure_of(ARGON, argon, SHORT)

    def end(share, message):
        if share >= 0.5:
            raise Ended

    with pytest.raises(Ended):
        record(argon, structure, chosen, tmp_path, end)
    with np.load(tmp_path / STATE) as state:
        kept = Trajectory.of(state)
    assert 0 < len(kept.energies) < n_looks
    shares = []
    monkeypatch.setattr(trajectory, "balanced", None)  # nothing is done again
    whole = record(argon, structure, chosen, tmp_path, lambda share, message: shares.append(share))
    assert min(shares) > 0.4
    assert len(whole.energies) == n_looks
    assert len(whole.potential) == chosen.length * 1e3 / whole.interval
    np.testing.assert_array_equal(whole.potential[: len(kept.potential)], kept.potential)
    done = record(argon, structure, chosen, tmp_path, silent)  # ended after its last state
    np.testing.assert_array_equal(done.potential, whole.potential)
    # It is one trajectory: total energy goes on, and the flux without a jump.
    assert np.ptp(whole.energies) < 1e-3 * len(structure.atoms)
    steps = np.linalg.norm(np.diff(whole.potential, axis=0), axis=1)
    assert steps[len(kept.potential) - 1] < 3 * steps.max(initial=0, where=steps > 0)
    assert steps[len(kept.potential) - 1] < 5 * np.median(steps)
    assert (whole.squares[-1] < 1.0).all()


def test_a_solid_leaves_the_convective_part_out(solid):
    motion = Motion.of(solid)
    assert motion.diffusing == []
    found = transport.found_of(solid, SHORT)
    (kappa,) = (value for value in found.values if value.metric == "kappa")
    assert kappa.value > 0
    assert 0 < kappa.spread < kappa.value
    assert "a solid" in kappa.note
    assert {value.metric for value in found.values} <= set(MEASURES["conductivity"].metrics)
    series = transport.series_of(solid, convective=False)
    np.testing.assert_array_equal(series.flux[1], solid[1].trajectory.potential)
    assert series.temperature == pytest.approx(60.0, rel=0.2)
    assert found.value("energy_drift") == pytest.approx(0.0, abs=0.02)
    assert found.value("time") == 24.0
    assert {"integral", "spectrum", "by_run"} <= set(found.curves)


def test_a_liquid_counts_the_convective_part(argon):
    """A frame without symmetry, hot: its atoms leave their sites."""
    melt = ARGON.repeat((2, 2, 2))
    melt.set_cell(melt.cell * 1.1, scale_atoms=True)
    melt.rattle(0.4, seed=1)
    chosen = Settings(temperature=200.0, length=5.0, supercell=(1, 1, 1), timestep=8.0)
    observed = [conductivity.observe(argon, melt, chosen)]
    assert not observed[0].is_crystal
    assert observed[0].volume == melt.get_volume()  # taken as it is
    assert Motion.of(observed).diffusing == ["Ar"]
    found = transport.found_of(observed, chosen)
    (kappa,) = (value for value in found.values if value.metric == "kappa")
    assert "Ar diffuses" in kappa.note
    series = transport.series_of(observed, convective=True)
    expected = observed[0].trajectory.potential + observed[0].trajectory.convective
    np.testing.assert_array_equal(series.flux[0], expected)


def changed(observed, **arrays):
    return [
        dataclasses.replace(one, trajectory=dataclasses.replace(one.trajectory, **arrays)) for one in observed
    ]


def error_of(observed, chosen=SHORT):
    found = transport.found_of(observed, chosen)
    (kappa,) = (value for value in found.values if value.metric == "kappa")
    assert np.isnan(kappa.value)
    assert np.isfinite(found.value("temperature"))  # the rest is there
    return kappa.error


def test_matter_that_flows_with_the_heat_is_said(solid):
    """Of several elements, one of which diffuses: the zero of its energies would be in the conductivity."""
    squares = np.repeat(solid[0].trajectory.squares, 2, axis=1)
    squares[-1] = 9.0, 0.01
    two = [dataclasses.replace(one, elements=("Ar", "Kr")) for one in changed(solid, squares=squares)]
    assert "Ar diffuses among several elements" in error_of(two)
    driven = [dataclasses.replace(one, field=np.array([1e-3, 0, 0])) for one in two]
    chosen = dataclasses.replace(SHORT, method="hnemd", field=1e-3)
    assert "Ar diffuses through the crystal" in error_of(driven, chosen)


def test_a_crystal_that_melts_is_said(solid):
    squares = solid[0].trajectory.squares.copy()
    squares[-1] = 9.0
    assert "the crystal melts at 60 K: atoms moved 3 Å" in error_of(changed(solid, squares=squares))


def test_a_crystal_that_melts_in_earnest(argon):
    chosen = Settings(temperature=400.0, length=2.0, supercell=32, timestep=8.0)
    assert "the crystal melts" in error_of([conductivity.observe(argon, ARGON, chosen)], chosen)


def test_a_temperature_that_is_off_is_said(solid):
    hot = solid[0].trajectory.temperatures * 1.5
    assert "% off the 60 K asked for" in error_of(changed(solid, temperatures=hot))


def test_a_series_too_short_is_said(solid):
    short = changed(solid, potential=solid[0].trajectory.potential[:40])
    assert "fewer than" in error_of(short)


def test_a_series_that_ends_before_its_slowest_motion_is_said(solid):
    walk = np.cumsum(np.random.default_rng(0).normal(size=(N_SAMPLES, 3)), axis=0)
    assert "too short for the slowest motion" in error_of(changed(solid, potential=walk))


def test_driven_trajectories(argon):
    """A weak and a strong field, in a crystal: the potential part alone is driven."""
    options = settings.options(
        "quick", {"method": "hnemd", "field": 0.05, "supercell": "32", "length": 4.0, "timestep": 8.0}
    )
    parts = [Settings.of(part | {"temperature": 60.0}) for part in settings.split(options)]
    assert [(part.field, part.axis) for part in parts] == [(0.05, 0), (0.025, 0)]
    observed = [conductivity.observe(argon, ARGON, part) for part in parts]
    np.testing.assert_array_equal(observed[1].field, [0.025, 0.0, 0.0])
    found = transport.found_of(observed, parts[0])
    (kappa,) = (value for value in found.values if value.metric == "kappa")
    assert kappa.spread > 0
    assert "the potential part of the heat flux is driven by a field: " in kappa.note
    assert "at 0.025 /Å" in kappa.note
    assert "linear within the errors" in kappa.note
    assert found.value("kappa_xx") == kappa.value
    assert found.value("temperature") == pytest.approx(60.0, rel=0.05)  # of the thermostat
    assert {"integral", "spectrum", "by_run"} <= set(found.curves)


def test_a_driven_fluid_of_several_elements_is_refused(embedded):
    mixed = bulk("Ar", "fcc", a=5.3, cubic=True)
    mixed.symbols[0] = "Kr"
    mixed.rattle(0.3, seed=0)
    potential = LennardJones.of(["Ar", "Kr"], cutoff=5.2, onset=4.5)
    with pytest.raises(UserError, match="heat and matter flow together"):
        conductivity.observe(potential, mixed, dataclasses.replace(SHORT, method="hnemd", field=0.01))


def test_fields_take_turns():
    options = settings.options("standard", {"method": "hnemd", "seeds": 7})
    parts = settings.split(options)
    assert [part["axis"] for part in parts] == [0, 0, 1, 1, 2, 2, 0]
    assert [part["field"] for part in parts] == [settings.FIELD * share for share in (1, 0.5) * 3 + (1,)]


class WithoutNumbers(LennardJones):
    """Its flux is not a number after a while."""

    def _edge_stepper(self, stepping):
        step, count = super()._edge_stepper(stepping), [0]

        def broken(atoms):
            edges = step(atoms)
            count[0] += 1
            return edges if count[0] < 20 else dataclasses.replace(edges, gradients=edges.gradients * np.nan)

        return broken


def test_a_flux_that_is_no_number_is_said():
    broken = WithoutNumbers.of(["Ar"], cutoff=5.2, onset=4.5)
    with pytest.raises(DynamicsFailed, match="heat flux is not finite"):
        conductivity.observe(broken, ARGON, dataclasses.replace(SHORT, keep_cell=True, length=1.0))


class WithoutEnergies(LennardJones):
    """Has no gradient by edges."""

    family = "without-energies"

    def _edge_stepper(self, stepping):
        return None


def test_a_family_without_a_flux_is_refused(tmp_path, embedded):
    potential = WithoutEnergies.of(["Mo"], cutoff=5.2, onset=4.5)
    with pytest.raises(UserError, match="without-energies gives no energy of each atom by its edges"):
        conductivity.observe(potential, ARGON, SHORT)
    with pytest.raises(UserError, match="there is no heat flux"):
        MEASURES["conductivity"].run(Subject(potential, embedded, tmp_path), silent)


def test_a_trajectory_is_read_as_it_was_written(solid, tmp_path):
    np.savez_compressed(tmp_path / conductivity.SERIES, **solid[0].arrays())
    read = conductivity.read(tmp_path / conductivity.SERIES)
    written = solid[0].arrays()
    for name, value in read.arrays().items():
        np.testing.assert_array_equal(value, written[name])
        assert type(value) is type(written[name]) or isinstance(value, float), name


def test_velocities_are_set_in_the_frame_of_the_atoms(argon):
    tilted = bulk("Ar", "fcc", a=5.3).repeat(3)  # LAMMPS rotates this cell
    velocities = 1e-3 * np.random.default_rng(2).normal(size=(len(tilted), 3))
    with Simulation(argon, tilted, ensemble="nve", temperature=30.0) as simulation:
        before = simulation.positions()
        simulation.set_velocities(velocities)
        np.testing.assert_allclose(simulation.velocities(), velocities, atol=1e-12)
        simulation.run(1)
        moved = simulation.positions() - before
    inside = np.abs(moved).max(axis=1) < 1
    np.testing.assert_allclose(moved[inside], velocities[inside], atol=2e-4)


# -- options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"temperature": -1.0}, "--temperature -1: it must be a number of K above zero"),
        ({"temperature": float("nan")}, "--temperature nan: "),
        ({"length": 0.0}, "--length 0: "),
        ({"timestep": 1e3}, "--timestep 1000: "),
        ({"seeds": 0}, "--seeds 0: at least one"),
        ({"supercell": "3x3x3"}, "--supercell 3x3x3: write it as"),
        ({"supercell": "3,3"}, "--supercell 3,3: write it as"),
        ({"supercell": "0"}, "--supercell 0: write it as"),
        ({"method": "green"}, "--method green: not known (did you mean 'green-kubo'?)"),
    ],
)
def test_wrong_options_are_refused(given, sentence):
    with pytest.raises(UserError) as refused:
        settings.options("standard", given)
    assert sentence in str(refused.value)


def test_supercells():
    assert settings.supercell_of(" 216 ") == 216
    assert settings.supercell_of("2, 3,4") == [2, 3, 4]


def test_options_of_what_is_not_measured_are_refused():
    with pytest.raises(UserError, match="--keep-cell, --seeds: only with --measure conductivity"):
        options_of(("errors",), "quick", {"conductivity": {"keep_cell": True, "seeds": 3}})


@pytest.fixture
def parts(embedded, tmp_path):
    """A function that returns the keys of the measurement and of its parts."""

    def of(preset="quick", **given):
        known = Data.of(embedded, Store(tmp_path / "store").put_structures)
        potential = PotentialPlan("snap", "snap", {"twojmax": 2})
        plan = Plan(embedded, (potential,), ("conductivity",), preset=preset, given={"conductivity": given})
        _, task = plan.tasks(known)
        return task.key, [part.key for part in task.parts]

    return of


def test_more_seeds_leave_the_first_as_they_are(parts):
    few, more = parts(seeds=2), parts(seeds=4)
    assert few[1] == more[1][:2]
    assert few[0] != more[0]
    assert len(set(more[1])) == 4


@pytest.mark.parametrize(
    "given",
    [{"temperature": 500.0}, {"length": 7.0}, {"supercell": "3,3,3"}, {"keep_cell": True}, {"timestep": 2.0}],
)
def test_every_option_decides_the_trajectories(parts, given):
    assert not set(parts(seeds=2)[1]) & set(parts(seeds=2, **given)[1])


def test_what_a_preset_means_is_what_decides(parts):
    seeds, length, n_atoms = settings.PRESETS["standard"]
    said = parts("quick", seeds=seeds, length=length, supercell=str(n_atoms))
    assert said == parts("standard")


def test_direct_forces_have_no_parts(embedded, tmp_path):
    known = Data.of(embedded, Store(tmp_path / "store").put_structures)
    potential = PotentialPlan("sevennet-dfs", "sevennet-dfs", {})
    _, task = Plan(embedded, (potential,), ("conductivity",)).tasks(known)
    assert task.parts == ()
