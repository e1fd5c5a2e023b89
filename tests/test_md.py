"""The MD driver and the cost protocol, on real simulations."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.md import boxes
from mlip_bench.md.driver import Bridge, Simulation
from mlip_bench.measure import cost
from mlip_bench.measure.base import Subject
from mlip_bench.measure.cost import timing
from mlip_bench.potentials import load
from mlip_bench.potentials.base import silent


@pytest.fixture(scope="module")
def ruler():
    return load(potentials_folder() / timing.RULER)


class Bridged:
    """The published SNAP without its native pair style, so that it must go through the bridge."""

    predicts_energy = predicts_stress = True

    def __init__(self, potential):
        self._potential = potential
        self.elements_ = potential.elements_

    def lammps(self):
        return None

    def calculator(self):
        return self._potential.calculator()


def thermo(simulation):
    lmp = simulation.session.lmp
    return np.array([lmp.get_thermo(name) for name in ("pe", "ke", "press", "pxy", "vol")])


def test_bridge_and_native_pair_style_run_the_same_steps(ruler):
    """NPT through ``fix external`` follows the native pair style in energies, pressure and volume."""
    atoms = bulk("Mo", a=3.17, cubic=True).repeat(2)
    atoms.rattle(0.05, seed=2)
    with Simulation(ruler, atoms) as native, Simulation(Bridged(ruler), atoms) as bridged:
        np.testing.assert_allclose(thermo(bridged), thermo(native), rtol=1e-6, atol=1e-6)
        native.run(200)
        bridged.run(200)
        np.testing.assert_allclose(thermo(bridged), thermo(native), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_bridge_and_native_pair_style_come_to_the_same_places(ruler, ensemble):
    """Two hundred steps in a triclinic cell: positions agree to the rounding of forces."""
    atoms = bulk("Mo", a=3.17, cubic=True).repeat(2)
    atoms.set_cell(np.array(atoms.cell) @ np.array([[1, 0, 0], [0.05, 1, 0], [0.02, -0.04, 1]]), True)
    with (
        Simulation(ruler, atoms, ensemble=ensemble) as native,
        Simulation(Bridged(ruler), atoms, ensemble=ensemble) as bridged,
    ):
        places = []
        for simulation in (native, bridged):
            simulation.run(200)
            places.append(simulation.snapshot(atoms).positions)
    assert np.abs(places[0] - atoms.positions).max() > 0.05
    assert np.abs(places[1] - places[0]).max() < 1e-6


def test_bridge_follows_velocity_verlet_of_ase(ruler):
    """A hundred NVE steps through the bridge give ASE's positions, in a triclinic cell."""
    atoms = bulk("Mo", a=3.17, cubic=True).repeat(2)
    atoms.set_cell(np.array(atoms.cell) @ np.array([[1, 0, 0], [0.05, 1, 0], [0.02, -0.04, 1]]), True)
    atoms.set_velocities(np.random.default_rng(5).normal(scale=0.02, size=(len(atoms), 3)))
    moving = atoms.copy()
    moving.calc = ruler.calculator()
    VelocityVerlet(moving, timestep=1 * units.fs).run(100)
    with LammpsSession(["Mo"]) as session:
        session.place(atoms)
        session.bridge = Bridge(session, atoms, ruler.calculator())
        velocities = atoms.get_velocities() / (units.Ang / (1e3 * units.fs)) @ session.prism.rot_mat
        session.lmp.scatter_atoms("v", 1, 3, np.ctypeslib.as_ctypes(velocities.ravel()))
        for line in ("timestep 0.001", "fix nve all nve", "run 100 post no"):
            session.command(line)
        after = np.ctypeslib.as_array(session.lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
        difference = after @ session.prism.rot_mat.T - moving.positions
    fractional = difference @ np.linalg.inv(np.array(atoms.cell))
    assert np.abs((fractional - np.round(fractional)) @ np.array(atoms.cell)).max() < 1e-6


def test_ensembles_hold_what_they_should(ruler):
    """NVE the total energy, NVT the volume but not the energy; and one goes on where the other stopped."""
    atoms = bulk("Mo", a=3.17, cubic=True).repeat(3)
    with Simulation(Bridged(ruler), atoms, ensemble="nve", temperature=600) as simulation:
        before = simulation.thermo("etotal")
        simulation.run(200)
        assert simulation.thermo("etotal") == pytest.approx(before, abs=2e-5 * len(atoms))
        volume, temperature = simulation.thermo("vol"), simulation.thermo("temp")
        simulation.switch("nvt", 600)
        assert simulation.thermo("temp") == pytest.approx(temperature)
        simulation.run(200)
        assert simulation.thermo("vol") == volume
        assert abs(simulation.thermo("etotal") - before) > 1e-3 * len(atoms)


def test_pressure_is_the_trace_of_the_calculators_stress(ruler):
    """At 0 K in a triclinic cell: LAMMPS's pressure through the bridge is minus the mean normal stress."""
    atoms = bulk("Mo", a=3.1, cubic=True).repeat(2)
    atoms.set_cell(np.array(atoms.cell) @ np.array([[1, 0, 0], [0.05, 1, 0], [0.02, -0.04, 1]]), True)
    atoms.rattle(0.05, seed=3)
    stress = ruler.predict([atoms])[0].stress
    with Simulation(Bridged(ruler), atoms, ensemble="npt", temperature=1e-9) as simulation:
        pressure = simulation.thermo("press") * 1e5 * units.Pascal
    assert pressure == pytest.approx(-stress[:3].mean(), rel=1e-6)


class Breaking:
    """A real calculator until its third step, where it raises as an extrapolating model may."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, calculator):
        self._calculator = calculator
        self._calls = 0

    def calculate(self, *arguments):
        self._calls += 1
        if self._calls > 3:
            raise ArithmeticError("extrapolating")
        self._calculator.calculate(*arguments)
        self.results = self._calculator.results


def test_an_error_of_the_calculator_is_not_lost(ruler, monkeypatch):
    """LAMMPS's callback cannot raise: the run must, afterwards."""
    bridged = Bridged(ruler)
    calculator = Breaking(ruler.calculator())
    monkeypatch.setattr(bridged, "calculator", lambda: calculator)
    atoms = bulk("Mo", a=3.17, cubic=True).repeat(2)
    with Simulation(bridged, atoms) as simulation, pytest.raises(ArithmeticError, match="extrapolating"):
        simulation.run(10)


@pytest.mark.slow
def test_ruler_costs_one_ruler(ruler, embedded, tmp_path, monkeypatch):
    """The ruler measured against itself: all metrics, a ratio of one, and less by our kernels."""
    monkeypatch.setattr(cost, "N_ATOMS", 250)
    monkeypatch.setattr(timing, "SECONDS", 1.0)
    found = cost.run(Subject(ruler, embedded, tmp_path), silent)
    values = {value.metric: value for value in found if value.implementation == "lammps"}
    (by_kernels,) = [v for v in found if v.metric == "cost_ratio" and v.implementation == "mlip-bench"]
    assert 0 < by_kernels.value < values["cost_ratio"].value
    assert set(values) == set(cost.METRICS)
    assert {value.n_atoms for value in values.values()} == {250}
    per_atom = values["us_per_atom_step"].value
    assert per_atom == pytest.approx(1e6 * values["s_per_step"].value / 250)
    # Not a bound on speed: the same code timed twice in turn cannot be three times slower than itself.
    assert 1 / 3 < values["cost_ratio"].value < 3


def test_steps_without_the_energy_are_the_same_steps(ruler):
    """Leaving out LAMMPS's energy changes no force, natively or through the bridge."""
    atoms = bulk("Mo", a=3.17, cubic=True).repeat(2)
    for potential in (ruler, Bridged(ruler)):
        with Simulation(potential, atoms) as whole, Simulation(potential, atoms) as lean:
            lean.leave_out_energy()
            for simulation in (whole, lean):
                simulation.run(20)
            np.testing.assert_array_equal(lean.snapshot(atoms).positions, whole.snapshot(atoms).positions)
            assert np.isfinite(whole.thermo("pe"))


def test_ratio_is_taken_per_atom():
    """Of other sizes, the ratio compares times per atom, pair by pair."""
    one = Atoms("Mo", cell=[3, 3, 3])
    own, ruler = (
        timing.Steps(timing.Start(one.repeat((n, 1, 1)), 0.5), np.array(seconds), 0.0, 100, 0)
        for n, seconds in ((2000, [4.0, 8.0, 6.0]), (1000, [1.0, 2.0, 1.0]))
    )
    values = {value.metric: value.value for value in cost.values_of(timing.Blocks(own, ruler))}
    assert values["cost_ratio"] == pytest.approx(2.0)
    assert values["s_per_step"] == 6.0
    assert values["us_per_atom_step"] == pytest.approx(3000.0)


@pytest.mark.parametrize(
    ("crystal", "n_atoms", "expected"),
    [
        (bulk("Mo", a=3.17, cubic=True), 2000, 2000),
        (bulk("Cu", cubic=True), 2000, 2048),
        (bulk("Si", cubic=True), 2000, 2016),
        (bulk("Mo", a=3.17), 5, 8),
    ],
)
def test_supercell_sizes(crystal, n_atoms, expected):
    assert len(boxes.repeated_to(crystal, n_atoms)) == expected
