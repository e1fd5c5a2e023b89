"""Dynamics that hold and dynamics that explode, on real simulations."""

import numpy as np
import pytest
from ase.build import bulk

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.measure import stability
from mlip_bench.measure.base import Subject
from mlip_bench.measure.cost import timing
from mlip_bench.potentials import load, presets
from mlip_bench.potentials.base import PotentialCalculator, Prediction, silent


@pytest.fixture(scope="module")
def ruler():
    return load(potentials_folder() / timing.RULER)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(stability, "N_ATOMS", 54)
    monkeypatch.setattr(stability, "LONG", (0.2, 0.2))
    monkeypatch.setattr(stability, "SHORT", (0.1, 0.05))


def by_temperature(values):
    found = {}
    for value in values:
        found.setdefault(value.group, {})[value.metric] = value.value
    return found


def test_a_good_potential_holds_at_every_temperature(ruler, embedded, tmp_path):
    found = by_temperature(stability.run(Subject(ruler, embedded, tmp_path), silent))
    assert list(found) == ["300 K", "1448 K", "2606 K"]
    for values in found.values():
        assert set(values) == set(stability.METRICS)
        assert (values["exploded"], values["held_ps"]) == (0.0, pytest.approx(0.4))
        assert abs(values["energy_drift"]) < 1.0
    forces = [values["largest_force"] for values in found.values()]
    assert forces == sorted(forces)
    distances = [values["smallest_distance"] for values in found.values()]
    assert distances == sorted(distances, reverse=True)


class Upside:
    """A real potential with its sign turned: atoms that should repel each other attract."""

    predicts_energy = predicts_stress = True

    def __init__(self, potential):
        self._potential = potential
        self.elements_ = potential.elements_

    def lammps(self):
        return None

    def predict(self, structures):
        return [Prediction(-p.energy, -p.forces, -p.stress) for p in self._potential.predict(structures)]

    def calculator(self):
        return PotentialCalculator(lambda atoms: self.predict([atoms])[0])


def test_an_explosion_is_a_result_with_its_time(ruler, embedded, tmp_path):
    found = by_temperature(stability.run(Subject(Upside(ruler), embedded, tmp_path), silent))
    assert len(found) == 3
    for values in found.values():
        assert values["exploded"] == 1.0
        assert values["held_ps"] < 0.4
        assert "energy_drift" not in values


def test_a_simulation_that_runs_out_of_time_says_how_far_it_came(ruler, embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(stability, "SECONDS", 0.0)
    values = by_temperature(stability.run(Subject(ruler, embedded, tmp_path), silent))["300 K"]
    assert (values["held_ps"], values["exploded"]) == (0.0, 0.0)


def test_quick_is_shorter(ruler, embedded, tmp_path):
    found = by_temperature(stability.run(Subject(ruler, embedded, tmp_path, "quick"), silent))
    assert found["300 K"]["held_ps"] == pytest.approx(0.15)


def test_temperatures_of_what_has_no_known_melting_point():
    assert stability.temperatures_of(bulk("NaCl", "rocksalt", a=5.6)) == [300.0]
    assert stability.temperatures_of(bulk("Si")) == pytest.approx([300.0, 843.5, 1518.3])


def test_the_shortest_distance():
    atoms = bulk("Mo", a=3.17, cubic=True).repeat(2)
    assert stability.shortest(atoms, 3.0) == pytest.approx(3.17 * np.sqrt(3) / 2)
    assert stability.shortest(atoms, 2.0) == 2.0


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_every_preset_has_its_time(preset):
    """Stability of tuned potentials ended with a KeyError."""
    assert stability.durations_ps(preset) == ((0.1, 0.05) if preset == "quick" else (0.2, 0.2))
