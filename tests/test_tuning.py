"""Tuning on training data: what is searched, how it is scored, and that it goes on from where it was."""

import dataclasses
import tomllib
from collections import defaultdict

import numpy as np
import pytest

from mlip_bench.data import records, reference, splits
from mlip_bench.errors import UserError
from mlip_bench.measure import elastic, first_principles
from mlip_bench.potentials import presets
from mlip_bench.potentials.base import silent
from mlip_bench.run import tuning
from mlip_bench.run.executor import LocalExecutor
from mlip_bench.run.inputs import Data
from mlip_bench.run.store import Store


@pytest.fixture(scope="module")
def data():
    return records.load("embedded", "Mo")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def problem(data, store):
    hypers = presets.hypers("snap", "standard", "Mo") | {"twojmax": 2}
    return tuning.problem("snap", hypers, data, Data.of(data, store.put_structures), 2, 0)


@pytest.fixture
def task(data, store):
    return problem(dataclasses.replace(data, crystal=None), store)


def tune(task, store, n_trials, say=print):
    """Search, and return the first score, the best one and the number of trials in the store."""
    with LocalExecutor(store, 2) as executor:
        start, best = tuning.tune(task, executor, n_trials, say)
    return start, best, len(list((store.folder / tuning.TRIAL).glob(f"*/{tuning.OUTCOME}")))


def test_factors_of_one_are_the_values_that_one_starts_from(task):
    hypers = task.hypers([1.0] * len(task.dimensions))
    assert hypers["cutoff"] == presets.hypers("snap", "standard", "Mo")["cutoff"]
    assert set(hypers["group_weights"].values()) == {1.0}
    names = [dimension.name for dimension in task.dimensions]
    assert names.count("group_weights") == 4
    assert {"cutoff", "energy_weight", "stress_weight"} < set(names)


def test_factors_multiply(task):
    factors = [2.0 if dimension.name == "energy_weight" else 1.0 for dimension in task.dimensions]
    assert task.hypers(factors)["energy_weight"] == 2 * task.start["energy_weight"]


def test_the_score_is_the_equation():
    start = tuning.Score({}, 10.0, 300.0, 0.1)
    assert start.beside(start) == pytest.approx(1 + 1 + 0.5 * 0.1 / 0.05)
    better = tuning.Score({}, 5.0, 150.0, 0.02)
    assert better.beside(start) == pytest.approx(0.5 + 0.5 + 0.5 * 0.02 / 0.05)
    assert tuning.Score({}, 5.0, 150.0, None).beside(start) == tuning.FAILED
    without = tuning.Score({}, 10.0, 300.0, None)
    assert without.beside(without) == 2


def test_held_out_errors_are_those_of_structures_that_were_not_fitted(task, data):
    train = data.train
    trial = tuning.evaluate(task, task.start, train, None)
    # By hand, with the family itself.
    folds = np.array(splits.folds(train, 2, 0))
    squares = defaultdict(list)
    for fold in range(2):
        fitted = [atoms for atoms, place in zip(train, folds, strict=True) if place != fold]
        held_out = [atoms for atoms, place in zip(train, folds, strict=True) if place == fold]
        potential = tuning.family("snap")(**trial.hypers).fit(fitted, seed=0)
        for prediction, atoms in zip(potential.predict(held_out), held_out, strict=True):
            squares[reference.group(atoms)] += (
                (1e6 * (prediction.forces - atoms.get_forces()) ** 2).ravel().tolist()
            )
    assert len(squares) > 1
    # Each group counts the same, however many structures it has.
    expected = np.sqrt(np.mean([np.mean(values) for values in squares.values()]))
    assert trial.force_rmse == pytest.approx(expected, rel=1e-6)


def test_a_search_finds_something_better_is_not_repeated_and_goes_on(task, store):
    said = []
    narrow = dataclasses.replace(task, dimensions=task.dimensions[:2])
    members = tuning.POPULATION * 2
    start, evolved, n_evolved = tune(narrow, store, members, said.append)
    assert evolved.beside(start) < start.beside(start)
    assert said[0].startswith("start: ")
    assert n_evolved == members
    entries = {path: path.stat().st_mtime_ns for path in store.folder.rglob(tuning.OUTCOME)}
    assert tune(narrow, store, members, said.append) == (start, evolved, members)
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob(tuning.OUTCOME)} == entries
    # A trust region goes on where evolution ends, within the number of trials asked for.
    _, refined, n_trials = tune(narrow, store, members + 12)
    assert members + 5 < n_trials <= members + 12
    assert refined.beside(start) < evolved.beside(start)


def test_values_to_start_from_that_do_not_fit_are_refused(task, store):
    far = dataclasses.replace(task, start=dict(task.start) | {"cutoff": -1.0})
    with pytest.raises(UserError, match="the values to start from do not fit"):
        tune(far, store, 1)


def test_a_trial_that_fails_is_passed_over(task, store):
    """Half of the values are none that SNAP takes: one such trial ended the whole search."""
    said = []
    wide = tuning.Dimension("rfac0", 0.5, 2.0)
    start, best, n_trials = tune(dataclasses.replace(task, dimensions=(wide,)), store, 6, said.append)
    assert n_trials < 6
    assert f"({6 - n_trials} failed)" in said[-1]
    assert best.beside(start) <= start.beside(start)


def test_a_trial_that_takes_too_long_is_a_failed_trial(task, store):
    with (
        LocalExecutor(store, 2, timeout_s=0.01) as executor,
        pytest.raises(UserError, match=r"do not fit the data \(stopped after 0.01 s, the limit"),
    ):
        tuning.tune(task, executor, 1, print)


def test_the_winner_is_a_table_of_its_family(task):
    start = tuning.Score(dict(task.start), 10.0, 300.0, None)
    best = dataclasses.replace(start, hypers=dict(task.start) | {"cutoff": 4.2}, energy_rmse=5.0)
    table = tomllib.loads(tuning.entry(task, start, best))["tuned"]["Mo"]
    assert set(table) == {"cutoff", "twojmax"}  # which this task was given, and the preset has not
    assert table["cutoff"]["value"] == 4.2
    assert "5.00 meV/atom" in table["cutoff"]["source"]
    assert "before: 10.00 meV/atom" in table["cutoff"]["source"]


def test_the_winner_has_what_was_set(task):
    """It was tuned with that, so the preset is no winner without it."""
    start = tuning.Score(dict(task.start) | {"twojmax": 8}, 10.0, 300.0, None)
    other = dataclasses.replace(task, start=start.hypers)
    table = tomllib.loads(tuning.entry(other, start, start))["tuned"]["Mo"]
    assert table["twojmax"]["value"] == 8


def test_the_preset_tuned_is_standard_where_nothing_is_tuned():
    assert presets.hypers("mtp", "tuned", "Cu") == presets.hypers("mtp", "standard", "Cu")


def test_elastic_constants_count_where_a_reference_ships(data, store):
    task = problem(data, store)
    trial = tuning.evaluate(task, task.start, data.train, data.crystal)
    # They are those of the potential that the values lead to: fitted to all training data.
    calculator = tuning.family("snap")(**trial.hypers).fit(data.train).calculator()
    found = elastic.compute(data.crystal, calculator, silent)
    expected = first_principles.shipped("Mo").properties["elastic"]
    deviations = [found.value(name) / expected.value(name) - 1 for name in ("c11", "c12", "c44")]
    assert trial.elastic_deviation == pytest.approx(np.max(np.abs(deviations)), rel=1e-3)
    assert tuning.evaluate(task, task.start, data.train, None).elastic_deviation is None


@pytest.mark.parametrize("name", ["snap", "qsnap", "mtp"])
def test_fits_without_a_fold_are_those_of_the_others(name, data):
    """SNAP computes descriptors once for all folds; the fits are the same as one by one."""
    sizes = {"snap": {"twojmax": 4}, "qsnap": {"twojmax": 2}, "mtp": {"level": 4, "iterations": 3}}
    train = data.train[::3]
    folds = splits.folds(train, 2, 0)
    kept = [atoms for atoms, place in zip(train, folds, strict=True) if place != 1]
    own = tuning.family(name)(**sizes[name])
    _, second, last = own.fits_without(train, folds, seed=3)
    with pytest.raises(UserError, match="not fitted yet"):
        own.predict(data.test[:1])  # it lends its hyper-parameters and stays as it was
    for potential, its_train in ((second, kept), (last, train)):
        alone = tuning.family(name)(**sizes[name]).fit(its_train, seed=3)
        for one, other in zip(potential.predict(data.test[:3]), alone.predict(data.test[:3]), strict=True):
            assert one.energy == pytest.approx(other.energy, abs=1e-9)
            np.testing.assert_allclose(one.forces, other.forces, atol=1e-9)
