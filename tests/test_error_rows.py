"""Errors of a potential that fails on some structures: counted, named, and never the end of the task."""

import dataclasses

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlip_bench import cli
from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.measure import errors, held_out
from mlip_bench.measure.base import Subject
from mlip_bench.measure.errors.sums import structure_of_each
from mlip_bench.potentials import family
from mlip_bench.potentials.base import Potential, Prediction, silent


class Partly:
    """Predicts the reference, 1 eV per atom too high, except for what is broken about some structures."""

    predicts, predicts_energy = Potential.predicts, True

    def __init__(self, broken):
        self.broken = broken

    def predict(self, structures):
        return [self._one(atoms) for atoms in structures]

    def _one(self, atoms):
        assert len(atoms) > 1, "an isolated atom is not predicted"
        results, kind = atoms.calc.results, self.broken.get(atoms.info["name"])
        if kind == "raises":
            raise UserError("out of the table")
        energy, forces = results["energy"] + len(atoms), results["forces"].copy()
        if kind == "energy":
            energy = float("nan")
        if kind == "forces":
            forces[0, 1] = np.inf
        return Prediction(energy, forces, np.full(6, np.nan))


def frames(n):
    generator = np.random.default_rng(0)
    made = []
    for index in range(n):
        atoms = Atoms("Cu2", positions=[[0, 0, 0], [2.2, 0, 0]], cell=[9, 9, 9], pbc=True)
        atoms.info["name"] = index
        made.append(labelled(atoms, float(index), generator.normal(size=(2, 3)), np.zeros(6)))
    return made


@given(st.dictionaries(st.integers(0, 19), st.sampled_from(["raises", "energy", "forces"]), max_size=20))
@settings(max_examples=40, deadline=None)
def test_what_is_not_predicted_is_counted_and_kept_out(broken):
    structures = frames(20)
    predicted = errors.predict_each(Partly(broken), structures)
    found = {value.metric: value for value in errors.counts(predicted)}
    failed = sorted(index for index, kind in broken.items() if kind == "raises")
    odd = sorted(index for index, kind in broken.items() if kind != "raises")
    for metric, which in (("not_predicted", failed), ("non_finite", odd)):
        assert (found[metric].value if metric in found else 0) == len(which)
        for index in which[: errors.MOST_NAMED]:
            assert f"structure {index + 1}: " in found[metric].note
    table = errors.compared(predicted)
    summary = errors.summary(table)
    if len(broken) < 20:
        assert summary["energy_mae"] == pytest.approx(1000.0)
    else:
        assert "energy_mae" not in summary
    assert "stress_mae" not in summary
    # One atom without a number takes all of its structure with it: the others are not the worst.
    whole = [index + 1 for index in range(20) if index not in broken]
    for quantity in ("energy", "force"):
        of = structure_of_each(table, quantity)[np.isfinite(table[quantity]).all(axis=1)]
        assert np.unique(of).tolist() == whole


def test_a_split_without_any_finite_prediction_has_rows_with_the_reason(embedded, tmp_path):
    structures = frames(4)
    data = dataclasses.replace(embedded, train=structures[:2], test=structures[2:])
    potential = Partly({2: "energy", 3: "raises"})
    values = errors.run(Subject(potential, data, tmp_path), silent)
    lost = {value.metric: value for value in values if value.error is not None}
    assert set(lost) == {"energy_mae", "energy_rmse", "force_mae", "force_rmse"}
    assert "structure 2: out of the table" in lost["energy_mae"].error
    trained = [value.value for value in values if value.metric == "energy_mae" and value.split == "train"]
    assert trained == pytest.approx([1000.0] * len(trained))
    assert trained
    with np.load(tmp_path / errors.PREDICTIONS) as kept:
        assert kept["test_energy"].shape == (1, 2)


def test_isolated_atoms_are_not_predicted():
    alone = labelled(Atoms("Cu", cell=[20, 20, 20], pbc=True), -1.0, np.zeros((1, 3)), None)
    predicted = errors.predict_each(Partly({}), [alone, *frames(1)])
    assert predicted.numbers == [2]
    assert not predicted.failed


def test_evaluating_on_foreign_elements_only_is_one_sentence(tmp_path, embedded):
    """Nothing is left to print errors of, so it is a wrong argument and no table without rows."""
    family("snap")(twojmax=2, cutoff=4.0).fit(embedded.train[:6]).save(tmp_path / "saved")
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((4, 3)))
    ase.io.write(tmp_path / "copper.extxyz", atoms)
    arguments = ["evaluate", str(tmp_path / "saved"), "--test", str(tmp_path / "copper.extxyz")]
    result = CliRunner().invoke(cli.app, arguments)
    assert isinstance(result.exception, UserError)
    assert "no structure can be predicted; structure 1" in str(result.exception)
    assert "knows Mo, not Cu" in str(result.exception)


class Fitted(Partly):
    """Is what it is, whatever it is fitted to."""

    def decided_on(self, train):
        return self

    def fit(self, train, seed, progress, checkpoint):
        return self


def test_held_out_structures_that_are_lost_are_named_with_the_reason(embedded, tmp_path):
    """They once made the error smaller without a word, and that error chooses."""
    data = dataclasses.replace(embedded, train=frames(10), test=[])
    potential, given, folders = Fitted({3: "raises", 5: "forces"}), {"folds": 2, "split": "random"}, []
    for place in (0, 1):
        folders.append(tmp_path / f"{place}")
        folders[-1].mkdir()
        options = given | {"places": [place]}
        held_out.run_part(Subject(potential, data, folders[-1], options=options, unfitted=potential), silent)
    values = held_out.run(Subject(potential, data, tmp_path, options=given, parts=folders), silent)
    notes = {
        value.metric: (value.value, value.note) for value in values if value.metric in held_out.OF_FAILED
    }
    assert notes == {
        "not_predicted": (1, "structure 4: out of the table"),
        "non_finite": (1, "structure 6: forces, stress"),
    }


def test_without_references_of_energies_none_is_missed():
    """Test data of forces alone had a row that no finite energy is predicted, for a structure that failed."""
    of_forces = {"energy": np.array([[np.nan, 1.0]]), "force": np.array([[0.1, np.nan]])}
    table = of_forces | {"stress": np.empty((0, 2))}
    found = errors.lacking(table, "structure 1: failed", frozenset({"energy", "forces"}), "test")
    assert [value.metric for value in found] == ["force_mae", "force_rmse"]
