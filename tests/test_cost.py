"""What rebuilding neighbour lists costs: how often it is done, and how it is charged."""

import time

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.md.driver import Simulation
from mlip_bench.measure import cost
from mlip_bench.measure.cost import timing
from mlip_bench.potentials import load
from mlip_bench.potentials.base import PotentialCalculator

SKIN = 0.3
N_ATOMS = 128
N_STEPS = 400

# By how much half of all steps are late (s): many times what one takes.
LATE_SECONDS = 0.01


@pytest.fixture(scope="module")
def ruler():
    return load(potentials_folder() / timing.RULER)


@pytest.fixture(scope="module")
def start(ruler):
    return timing.at_equilibrium(ruler, timing.RULER_CRYSTAL, N_ATOMS, native=False, skin=SKIN)


@pytest.fixture(scope="module")
def expected(ruler):
    """Steps between rebuilds of a bcc crystal at 300 K by ASE's own dynamics at constant energy.

    A crystal at rest shares its kinetic energy with the potential one, half to either. The criterion is
    Verlet's: two atoms that have moved by half the skin, towards each other, may have met unseen.
    """
    atoms = bulk("Mo", a=timing.RULER_LATTICE_CONSTANT, cubic=True).repeat(4)
    thermalize_momenta(atoms, 600, exact_temperature=True, rng=np.random.default_rng(3))
    atoms.calc = ruler.calculator()
    dynamics = VelocityVerlet(atoms, timestep=1 * units.fs)
    dynamics.run(200)
    temperatures, kept, n_rebuilds = [], atoms.positions.copy(), 0
    for _ in range(2 * N_STEPS):
        dynamics.run(1)
        temperatures.append(atoms.get_temperature())
        if np.linalg.norm(atoms.positions - kept, axis=1).max() > SKIN / 2:
            kept, n_rebuilds = atoms.positions.copy(), n_rebuilds + 1
    assert np.mean(temperatures) == pytest.approx(300, rel=0.1)
    return 2 * N_STEPS / n_rebuilds


@pytest.mark.parametrize("native", [False, True], ids=["mlip-bench", "lammps"])
def test_lists_are_rebuilt_as_often_as_atoms_move(ruler, start, expected, native):
    with Simulation(ruler, start.atoms, native=native) as simulation:
        simulation.set_skin(SKIN)
        before = simulation.n_builds
        simulation.run(N_STEPS)
        n_rebuilds = simulation.n_builds - before
        assert simulation.thermo("temp") == pytest.approx(300, rel=0.3)
    assert N_STEPS / n_rebuilds == pytest.approx(expected, rel=0.25)


def test_the_rebuilds_that_are_foreseen_are_those_that_happen(ruler, start):
    """By the atoms that were watched and by the lists that were built, in the same steps."""
    with Simulation(ruler, start.atoms, native=False) as simulation:
        simulation.set_skin(SKIN)
        trajectory = timing.watched(simulation, start.atoms, 1)
        before = simulation.n_builds
        trajectory += timing.watched(simulation, start.atoms, 200)
        happened = simulation.n_builds - before
    assert abs(timing.rebuilds_of(trajectory, SKIN) - happened) <= 1
    foreseen = [timing.rebuilds_of(trajectory, skin) for skin in (0.1, SKIN, 1.0)]
    assert foreseen[0] > foreseen[1] > foreseen[2] == 0


@pytest.mark.parametrize("native", [False, True], ids=["mlip-bench", "lammps"])
def test_steps_are_the_same_whatever_the_skin_and_however_often_lists_are_built(ruler, start, native):
    """Every step builds one where it shall; positions agree to the rounding of sums over edges."""
    places = []
    for skin, always in ((0.3, False), (0.3, True), (1.0, False)):
        with Simulation(ruler, start.atoms, native=native) as simulation:
            simulation.set_skin(skin)
            simulation.rebuild_always(always)
            before = simulation.n_builds
            simulation.run(40)
            assert simulation.n_builds - before == 40 if always else simulation.n_builds - before < 10
            simulation.rebuild_always(False)
            places.append(simulation.snapshot(start.atoms))
    for other in places[1:]:
        apart = other.get_scaled_positions() - places[0].get_scaled_positions()
        assert np.abs((apart - np.round(apart)) @ other.cell).max() < 1e-9


def test_a_rebuild_is_charged_by_how_often_it_is(start):
    """Two of four blocks have a rebuild in them: taken out of these, and spread over all steps."""
    side = timing._Side(None, start, n_steps=10, s_per_rebuild=2.0)
    side.times = [(1.0, 0), (1.2, 1), (1.0, 0), (1.4, 2)]
    side.n_counted, side.n_rebuilds = 60, 3  # two blocks were counted only
    steps = side.steps(0, 4)
    np.testing.assert_allclose(steps.without_rebuild, 1.0)
    np.testing.assert_allclose(steps.per_step, 1.0 + 2.0 / 20)
    assert steps.between_rebuilds == 20


def test_rows_say_what_a_step_is_made_of(ruler, monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.5)
    monkeypatch.setattr(timing, "SKINS", (SKIN,))
    values = cost.timed(ruler, timing.RULER_CRYSTAL, N_ATOMS, least=3)
    found = {value.metric: value.value for value in values}
    assert set(found) == set(cost.METRICS)
    assert (found["skin"], found["ruler_skin"]) == (SKIN, timing.RULER_SKIN)
    charged = (
        found["s_per_rebuild"]
        * found["rebuilds"]
        / (found["steps_between_rebuilds"] * max(1, found["rebuilds"]))
    )
    assert found["s_per_step"] == pytest.approx(found["s_per_step_without_rebuild"] + charged)
    assert found["rebuilds"] > 0
    assert 3 < found["steps_between_rebuilds"] < 60


class Erratic:
    """A potential on a machine that others use: some of its steps take many times as long."""

    def __init__(self, potential):
        self._potential = potential
        self._random = np.random.default_rng(1)

    def __getattr__(self, name):
        return getattr(self._potential, name)

    def lammps(self):
        return None

    def calculator(self):
        calculator = self._potential.calculator()
        return PotentialCalculator(
            lambda atoms: self._late(calculator, atoms), self._potential.predicts, calculator.stepping
        )

    def _late(self, calculator, atoms):
        time.sleep(LATE_SECONDS * (self._random.random() < 0.5))
        return calculator._predict(atoms)


def test_blocks_that_scatter_are_timed_once_more_and_marked(ruler, monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.1)
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 1e-3)
    monkeypatch.setattr(timing, "COUNTING_SECONDS", 0.1)
    blocks = timing.timed_blocks(Erratic(ruler), timing.RULER_CRYSTAL, 16, least=25, native=False, skin=0.5)
    assert blocks.repeated
    assert blocks.is_noisy
    notes = {value.metric: value.note for value in cost.values_of(blocks, "a note")}
    words = f"a note; {cost.NOISY}: ratios of blocks scatter by more than ± 5 %"
    assert notes["cost_ratio"].startswith(words)
    assert notes["s_per_step"] == "a note"
