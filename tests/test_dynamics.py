"""Dynamics that do not hold: told by their type, timed nevertheless, and said in our words."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data.base import Dataset, most_stable_periodic
from mlip_bench.data.reference import labelled
from mlip_bench.errors import LammpsError, NotFinite
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.md.driver import DynamicsFailed, Simulation, did_not_hold
from mlip_bench.measure import cost, direct, stability
from mlip_bench.measure.base import Subject
from mlip_bench.measure.cost import timing
from mlip_bench.potentials import family, load
from mlip_bench.potentials.base import PotentialCalculator, Prediction, silent

ELEMENT = "Mo"

# What dynamics tell in which atoms move.
OF_MOVING = {"steps_between_rebuilds", "rebuilds"}


class Violent:
    """A potential whose forces throw atoms apart, or are NaN once they have moved."""

    device = "cpu"
    elements_ = (ELEMENT,)
    predicts_energy = predicts_stress = True

    def __init__(self, kind):
        self.kind = kind

    def lammps(self):
        return None

    def predict(self, structures):
        return [self._one(atoms) for atoms in structures]

    def _one(self, atoms):
        forces = np.random.default_rng(1).normal(scale=1e6, size=(len(atoms), 3))
        moved = np.abs(atoms.get_scaled_positions() * 8 % 1 - 0.5).min() < 0.45
        if self.kind == "nan" and moved:
            forces[:] = np.nan
        return Prediction(0.0, forces, np.zeros(6))

    def calculator(self):
        if self.kind == "index":
            return PotentialCalculator(lambda atoms: [][0])
        return PotentialCalculator(lambda atoms: self.predict([atoms])[0])


def test_an_explosion_has_a_type_of_its_own():
    atoms = bulk(ELEMENT, a=3.17, cubic=True).repeat(2)
    with (
        pytest.raises(DynamicsFailed, match="the dynamics did not hold"),
        Simulation(Violent("forces"), atoms) as simulation,
    ):
        simulation.run(500)


@pytest.mark.parametrize("measure", [stability, cost])
def test_an_error_of_the_code_is_no_explosion(embedded, tmp_path, measure, monkeypatch):
    """'list index out of range' once counted as one, for its letters."""
    monkeypatch.setattr(stability, "N_ATOMS", 16)
    monkeypatch.setattr(cost, "N_ATOMS", 54)
    with pytest.raises(IndexError):
        measure.run(Subject(Violent("index"), embedded, tmp_path), silent)


def test_a_path_with_nan_in_it_is_no_explosion():
    assert not did_not_hold(LammpsError("ERROR: Cannot open file /scratch/nan/out of range.snapcoeff"))
    assert not did_not_hold(LammpsError("ERROR: Numeric index 3 is out of bounds"))


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.sampled_from(["", "ERROR on proc 0: ", "ERROR: "]))
@settings(deadline=None, max_examples=30)
def test_the_words_of_lammps_for_an_explosion(original, current, prefix):
    for message in (
        f"{prefix}Lost atoms: original {original} current {current}",
        f"{prefix}Non-numeric atom coords - simulation unstable (src/domain.cpp:{current})",
        f"{prefix}Neighbor list overflow, boost neigh_modify one",
        f"{prefix}Fix npt/nph has tilted box too far in one step",
    ):
        assert did_not_hold(LammpsError(message))


def test_what_explodes_is_timed_and_says_how(embedded, tmp_path, monkeypatch, brief_timings):
    monkeypatch.setattr(cost, "N_ATOMS", 54)
    values = cost.run(Subject(Violent("forces"), embedded, tmp_path), silent)
    assert {value.metric for value in values} == set(cost.METRICS) - OF_MOVING
    assert all(value.value > 0 for value in values if value.metric != "s_per_rebuild")
    for value in values:
        assert value.note.startswith("the dynamics did not hold (")
        assert cost.TIMED_STILL in value.note


def test_what_holds_has_no_note(embedded, tmp_path, monkeypatch, brief_timings):
    monkeypatch.setattr(cost, "N_ATOMS", 54)
    ruler = load(potentials_folder() / timing.RULER)
    values = cost.run(Subject(ruler, embedded, tmp_path), silent)
    assert {value.note for value in values if value.metric != "cost_ratio"} == {None}


def test_nve_that_explodes_is_a_row_with_that_sentence():
    atoms = bulk(ELEMENT, a=3.17, cubic=True).repeat(2)
    values = direct._dynamics(Violent("forces"), atoms, silent)
    assert {value.metric for value in values} == {"energy_drift", "kinetic_drift", "nve_temperature"}
    assert all(value.error.startswith("the dynamics did not hold (") for value in values)


def test_a_prediction_that_is_not_finite_has_a_type():
    atoms = bulk(ELEMENT)
    atoms.calc = PotentialCalculator(lambda atoms: Prediction(np.nan, np.zeros((1, 3)), np.zeros(6)))
    with pytest.raises(NotFinite):
        atoms.get_potential_energy()


@pytest.fixture(scope="module")
def poor():
    """An MTP of few, almost equal structures of four elements, and its data."""
    generator = np.random.default_rng(0)
    frames = []
    for _ in range(3):
        atoms = bulk("Cu", a=3.9, cubic=True)
        atoms.symbols[:] = generator.permutation(["Cu", "Ag", "Au", "Pt"])
        atoms.rattle(0.01, rng=generator)
        atoms.calc = EMT()
        frames.append(labelled(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces(), None))
    few = {"level": 8, "cutoff": 4.5, "starts": 1, "iterations": 2, "radial_basis_size": 4, "ridge": 1e-8}
    data = Dataset("four", "Ag-Au-Cu-Pt", frames, [], most_stable_periodic(frames), "made here")
    return family("mtp")(**few).fit(frames), data


def test_a_real_potential_of_too_little_data_is_timed_and_says_how(
    poor, tmp_path, monkeypatch, brief_timings
):
    monkeypatch.setattr(cost, "N_ATOMS", 100)
    potential, data = poor
    values = cost.run(Subject(potential, data, tmp_path), silent)
    assert {value.metric for value in values} == set(cost.METRICS) - OF_MOVING
    for value in values:
        assert value.value > 0 or value.metric == "s_per_rebuild"
        assert value.note.startswith("the dynamics did not hold (")
