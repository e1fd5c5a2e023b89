"""Choices by errors held out from training: folds, their fits, and what is chosen by them."""

import dataclasses
import json
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data import records, reference
from mlip_bench.data.splits import NEVER_HELD_OUT, folds
from mlip_bench.errors import UserError
from mlip_bench.measure import held_out
from mlip_bench.measure.base import Subject
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials import family
from mlip_bench.potentials.base import silent
from mlip_bench.report import build, content, fronts, tables
from mlip_bench.results import HELD_OUT, read_rows, write_rows
from mlip_bench.run import sweep
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan

SETTINGS = {
    "snap": {"twojmax": 2, "cutoff": 4.5, "n_folds": 2},
    "nnp": {"hidden": [4, 4], "epochs": 2, "gauss_newton_steps": 0, "cutoff": 4.5},
}


# -- folds -----------------------------------------------------------------------------------------------


@given(
    names=st.lists(st.sampled_from("abc"), min_size=15, max_size=60),
    seed=st.integers(0, 9),
    kind=st.sampled_from(["random", "blocks"]),
)
@settings(max_examples=40, deadline=None)
def test_folds_are_a_partition(names, seed, kind, alloys):
    frames = []
    for index, name in enumerate(names):
        atoms = alloys[index % len(alloys)].copy()
        atoms.calc = alloys[index % len(alloys)].calc
        atoms.info["group"] = name
        frames.append(atoms)
    found = np.array(folds(frames, 5, seed, kind))
    assert set(found.tolist()) - {NEVER_HELD_OUT} == set(range(5))
    for fold in range(5):
        kept = [atoms for atoms, place in zip(frames, found, strict=True) if place != fold]
        assert reference.elements(kept) == reference.elements(frames)
    if kind == "random":
        for name in set(names):
            sizes = [np.sum((np.array(names) == name) & (found == fold)) for fold in range(5)]
            assert max(sizes) - min(sizes) <= 1 + np.sum(found == NEVER_HELD_OUT)


def test_blocks_are_runs_of_a_trajectory(embedded):
    frames = [embedded.train[0].copy() for _ in range(23)]
    assert folds(frames, 5, 0, "blocks") == sorted(folds(frames, 5, 0, "blocks"))


def test_isolated_atoms_and_the_last_of_an_element_stay(alloys):
    lone = alloys[0].copy()[:1]
    lone.set_cell(np.eye(3) * 20)
    other = alloys[1].copy()
    other.symbols[0] = "Ag"
    found = folds([lone, *alloys, other], 3, 0)
    assert found[0] == found[-1] == NEVER_HELD_OUT
    assert NEVER_HELD_OUT not in found[1:-1]


def test_too_few_structures_for_folds_are_refused(alloys):
    with pytest.raises(
        UserError, match="3 training structures do not fill 5 folds; ask for fewer with --folds"
    ):
        folds(alloys[:3], 5, 0)


# -- fits ------------------------------------------------------------------------------------------------


def part(name, train, folder, places, n_folds=3):
    """Do a part of the measurement and return what it kept."""
    folder.mkdir()
    embedded = records.load("embedded", "Mo")
    options = {"folds": n_folds, "split": "random", "places": places}
    potential = family(name)(**SETTINGS[name])
    data = dataclasses.replace(embedded, train=train)
    held_out.run_part(Subject(potential, data, folder, options=options, unfitted=potential, seed=1), silent)
    with np.load(folder / held_out.FOLD) as file:
        return dict(file)


def poisoned(train, places, fold):
    """Return the structures, with other labels of those that are held out."""
    found = []
    for atoms, place in zip(train, places, strict=True):
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        wrong = place == fold
        found.append(
            reference.labelled(
                atoms.copy(), energy + 100.0 * wrong, forces + 7.0 * wrong, stress * (1 - 3 * wrong)
            )
        )
    return found


@pytest.mark.parametrize(("name", "together"), [("snap", True), ("snap", False), ("nnp", False)])
def test_fits_do_not_see_what_is_held_out(name, together, embedded, tmp_path):
    """Other labels of the held-out structures leave their predictions as they are, bit for bit."""
    train = embedded.train[::2]
    options = {"folds": 3, "split": "random"}
    places = held_out.places_of(train, options)
    fold = 1
    asked = [0, 1, 2] if together else [fold]
    clean = part(name, train, tmp_path / "clean", asked)
    other = part(name, poisoned(train, places, fold), tmp_path / "poisoned", asked)
    numbers = np.array([number for number, place in enumerate(places, 1) if place == fold])
    own = np.isin(clean["extrapolating"][:, 0], numbers)
    assert own.sum() == len(numbers)
    forces = np.repeat(own, 3 * clean["extrapolating"][:, 1])
    assert np.array_equal(clean["energy"][own, 1], other["energy"][own, 1])
    assert np.array_equal(clean["force"][forces, 1], other["force"][forces, 1])
    # And the poison is there: what they are compared with is another.
    assert not np.allclose(clean["force"][forces, 0], other["force"][forces, 0])
    if together:  # while the fits that were given the poison are others
        assert not np.allclose(clean["force"][~forces, 1], other["force"][~forces, 1])


@pytest.mark.parametrize("kind", [family("snap"), family("nnp")])
def test_one_share_is_the_first_of_all_folds(kind):
    """What is held out once is found again when all folds are asked for, if folds are fitted one by one."""
    every = held_out.parts({"folds": held_out.FOLDS, "split": "random"}, kind)
    (once,) = held_out.parts({"folds": 1, "split": "random"}, kind)
    assert once["places"] == [0]
    assert (once in every) != kind.fits_folds_together


def test_folds_together_are_those_one_by_one(embedded, tmp_path):
    train = embedded.train[::2]
    together = held_out.in_order(part("snap", train, tmp_path / "together", [0, 1, 2]))
    single = [part("snap", train, tmp_path / str(place), [place]) for place in range(3)]
    joined = held_out.in_order({key: np.concatenate([one[key] for one in single]) for key in single[0]})
    assert np.array_equal(together["extrapolating"][:, 0], np.arange(1, len(train) + 1))
    for key in ("energy", "force", "stress"):
        assert together[key][:, 0] == pytest.approx(joined[key][:, 0])
        assert together[key][:, 1] == pytest.approx(joined[key][:, 1], rel=1e-5, abs=1e-3)


# -- in a run --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, do_plan):
    """Held-out errors of a linear family and a network, and their test errors."""
    folder = tmp_path_factory.mktemp("held-out") / "run"
    data = records.load("embedded", "Mo")
    plan = Plan(
        data,
        tuple(PotentialPlan(name, name, SETTINGS[name]) for name in SETTINGS),
        ("held-out", "errors"),
        preset="quick",
        given={"held-out": {"folds": 3}},
    )
    assert not do_plan(plan, folder).failures
    return folder


def test_held_out_errors_are_those_of_fits_by_hand(run_folder, embedded):
    places = held_out.places_of(embedded.train, {"folds": 3, "split": "random"})
    structures, predictions = [], []
    for fold in range(3):
        kept = [atoms for atoms, place in zip(embedded.train, places, strict=True) if place != fold]
        left = [atoms for atoms, place in zip(embedded.train, places, strict=True) if place == fold]
        structures += left
        predictions += family("snap")(**SETTINGS["snap"]).fit(kept).predict(left)
    expected = summary(comparison(structures, predictions))
    rows = [row for row in read_rows(run_folder / "results.jsonl") if row.split == HELD_OUT]
    found = {row.metric: row.value for row in rows if row.potential == "snap"}
    for metric, value in expected.items():
        assert found[metric] == pytest.approx(value, rel=1e-4)
    assert found["fold_fits_s"] > 0
    for row in rows:
        if row.metric.endswith("_rmse"):
            assert row.low < row.value < row.high


def test_folds_are_tasks_that_are_kept(run_folder):
    kept = list((run_folder.parent / "mlip-bench-store" / "held-out").glob("*/task.json"))
    labels = sorted(json.loads(path.read_text())["label"] for path in kept)
    assert labels == [
        "held-out nnp",
        "held-out nnp, fold 1",
        "held-out nnp, fold 2",
        "held-out nnp, fold 3",
        "held-out snap",
        "held-out snap, 3 folds",
    ]


def test_held_out_errors_decide_and_test_errors_stand_beside(run_folder, tmp_path):
    read = content.read(run_folder)
    assert read.evidence.split == HELD_OUT
    rows = read_rows(run_folder / "results.jsonl")

    def value(potential, split):
        (found,) = [
            row.value
            for row in rows
            if (row.potential, row.metric, row.split) == (potential, "force_rmse", split)
            and row.group is None
        ]
        return found

    for name in SETTINGS:
        assert read.ranking.at[name, "force_rmse"] == value(name, HELD_OUT)
        assert read.ranking.at[name, "force_rmse_test"] == value(name, "test")
    # Test errors that say the opposite change nothing.
    turned = [
        dataclasses.replace(row, value=1e6 / row.value) if row.split == "test" and row.value else row
        for row in rows
    ]
    write_rows(tmp_path / "results.jsonl", turned)
    (tmp_path / "run.toml").write_text((run_folder / "run.toml").read_text())
    again = content.read(tmp_path)
    assert again.ranking.index.tolist() == read.ranking.index.tolist()
    assert "held out from training" in read.findings[0]
    assert "on the test data, which chose nothing" in read.findings[0]
    assert "test force RMSE (meV/Å)" in tables.ranking(read).headings
    assert read.ranking["place"].notna().all()
    build(run_folder)


def test_a_potential_that_was_read_has_no_held_out_errors(run_folder, do_plan, tmp_path):
    source = run_folder / "potentials" / "snap"
    plan = Plan(
        records.load("embedded", "Mo"),
        (PotentialPlan("read", "snap", SETTINGS["snap"], source=source),),
        ("held-out",),
        preset="quick",
    )
    (failure,) = do_plan(plan, tmp_path / "run").failures
    assert "a potential that was read is not fitted here" in failure.error


def test_a_run_has_as_many_folds_as_it_is_asked_for(tmp_path):
    from command import mlip_bench

    done = mlip_bench(
        "run", "--system", "Mo", "--dataset", "embedded", "--potential", "snap", "--set", "snap.twojmax=2",
        "--measure", "held-out", "--folds", "3", "--out", "run", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["options"]["held-out"]["folds"] == 3


# -- in a sweep ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_reads_the_test_data_for_what_was_chosen_alone(tmp_path):
    """The front and the best of each family by held-out errors have test errors, others none."""
    from command import mlip_bench

    done = mlip_bench(
        "sweep", "--system", "Mo", "--dataset", "embedded", "--potential", "snap", "--set", "snap.twojmax=4",
        "--vary", "snap.cutoff=3.0,4.2,4.7", "--folds", "3", "--budget", "60min", "--out", "sweep",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "sweep" / "results.jsonl")
    read = content.read(tmp_path / "sweep")
    ranking = read.ranking
    assert len(ranking) == 3
    tested = {row.potential for row in rows if row.measure == "errors"}
    assert tested == set(ranking.index[ranking["on_front"]])
    assert 0 < len(tested) < 3
    assert {row.potential for row in rows if row.measure == "held-out"} == set(ranking.index)
    assert f"recommended, for LAMMPS: {read.verdict.first[0]}" in done.stdout
    assert fronts.recommended(ranking) in tested


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["sweep", "--folds", "60"], "do not fill 60 folds"),
        (["sweep", "--folds", "0"], "--folds"),
        (["run", "--folds", "3"], "--folds 3: only for held-out errors; name them"),
    ],
)
def test_folds_that_cannot_be_are_one_line(asked, message, tmp_path):
    from command import mlip_bench

    data = ["--system", "Mo", "--dataset", "embedded", "--potential", "snap"]
    done = mlip_bench(*asked, *data, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_folds_count_in_the_budget(embedded):
    (network,) = [size for size in sweep.ladder("nnp", "Mo", {}, {})][:1]
    (linear,) = [size for size in sweep.ladder("snap", "Mo", {}, {})][:1]
    estimates = sweep.Estimates(embedded, 5)
    assert estimates.of(network) == pytest.approx(5 * network.seconds)
    assert estimates.of(linear) == pytest.approx(linear.seconds)
