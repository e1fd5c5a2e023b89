"""A sign or unit of the stress that no energy tells is found against what a potential predicts."""

import dataclasses

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data import reference
from mlip_bench.data.consistency import STRESS_UNITS, findings
from mlip_bench.measure import errors
from mlip_bench.measure.base import Subject
from mlip_bench.measure.stress_doubt import LEAST_STRUCTURES, doubt
from mlip_bench.potentials import family
from mlip_bench.potentials.base import silent


def table(n_structures=40, stress=1.0, noise=0.3, force_noise=0.1, offset=20.0, seed=0):
    """Return what a potential predicts, which is ``stress`` times off; all structures share a pressure."""
    generator = np.random.default_rng(seed)
    predicted = generator.normal(size=(n_structures, 6))
    given_stress = (predicted + noise * generator.normal(size=predicted.shape)) / stress
    given_stress[:, :3] -= offset
    forces = generator.normal(size=300)
    return {
        "stress": np.stack([given_stress, predicted], axis=-1).reshape(-1, 2),
        "force": np.column_stack([forces, forces + force_noise * generator.normal(size=300)]),
    }


@given(
    unit=st.sampled_from([None, *STRESS_UNITS]),
    turned=st.booleans(),
    noise=st.floats(0, 0.5),
    offset=st.floats(-30, 30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_sign_and_unit_are_found_whatever_pressure_is_shared(unit, turned, noise, offset, seed):
    factor = (-1 if turned else 1) * (STRESS_UNITS[unit] if unit else 1)
    sentence = doubt(table(stress=factor, noise=noise, offset=offset, seed=seed))
    if unit is None and not turned:
        assert sentence is None
        return
    assert sentence is not None
    assert ("--turn-stress" in sentence) == turned
    assert ("--stress-unit" in sentence) == (unit is not None)
    if unit:
        assert f"--stress-unit {unit}" in sentence


@given(seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_what_cannot_tell_says_nothing(seed):
    assert doubt(table(LEAST_STRUCTURES - 1, stress=-1.0, seed=seed)) is None
    assert doubt(table(stress=-1.0, force_noise=3.0, seed=seed)) is None
    assert doubt(table(noise=100.0, seed=seed)) is None
    constant = table(seed=seed)
    constant["stress"][:, 0] = 1.0
    assert doubt(constant) is None
    missing = table(stress=-1.0, seed=seed)
    missing["stress"][:, 1] = np.nan
    assert doubt(missing) is None


def of_one_cell(factor):
    generator = np.random.default_rng(0)
    frames = []
    for _ in range(25):
        atoms = bulk("Cu", a=3.65, cubic=True).repeat(2)
        atoms.positions += 0.08 * generator.normal(size=(32, 3))
        bare = atoms.copy()
        atoms.calc = EMT()
        stress = factor * atoms.get_stress()
        frames.append(reference.labelled(bare, atoms.get_potential_energy(), atoms.get_forces(), stress))
    return frames


@pytest.mark.parametrize(
    ("factor", "option"), [(1.0, None), (-1.0, "--turn-stress"), (6.24e-4, "--stress-unit")]
)
def test_the_errors_of_a_fit_to_one_cell_have_a_note(factor, option, embedded, tmp_path):
    """Its energies do not tell: no cell changes."""
    frames = of_one_cell(factor)
    assert findings(frames) == []
    dataset = dataclasses.replace(embedded, train=frames[5:], test=frames[:5], system="Cu")
    potential = family("snap")(twojmax=4, stress_weight=0.0).fit(dataset.train, seed=0)
    values = errors.run(Subject(potential, dataset, tmp_path), silent)
    notes = {
        value.split: value.note for value in values if value.metric == "stress_rmse" and value.group is None
    }
    assert notes["test"] is None  # too few structures
    assert (notes["train"] is None) == (option is None)
    if option:
        assert option in notes["train"]
