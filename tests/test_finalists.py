"""What else is measured of what a sweep chose, and what is said against the potential that it recommends."""

import dataclasses
import json
import shutil
import tomllib

import pytest
from command import mlip_bench
from test_samples import molecules, written

from mlip_bench.data import records
from mlip_bench.report import cautions, content
from mlip_bench.results import RESULTS, read_rows, write_rows
from mlip_bench.run import sweep
from mlip_bench.run.executor import LocalExecutor
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.schedule import Results
from mlip_bench.run.store import Store

FINALISTS = ("--finalists", "eos,physicality")
SMALL = (
    *("--potential", "snap,qsnap", "--vary", "snap.twojmax=2,4", "--vary", "qsnap.twojmax=2"),
    *("--system", "Mo", "--dataset", "embedded", "--folds", "2", "--out", "sweep"),
)


def rows_of(folder):
    return [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]


@pytest.fixture(scope="module")
def sweep_again(tmp_path_factory, common_store):
    """A function that does a sweep with finalists, and the folder that it is beside."""
    folder = tmp_path_factory.mktemp("swept")
    given = ("--budget", "20min", "--store", common_store)
    return lambda: mlip_bench("sweep", *SMALL, *FINALISTS, *given, folder=folder), folder


@pytest.fixture(scope="module")
def swept(sweep_again):
    """The folder beside that of a sweep with finalists, and how the command ended."""
    do, folder = sweep_again
    return folder, do()


def test_what_is_chosen_is_measured_and_nothing_else(swept):
    folder, done = swept
    assert done.returncode == 0, done.stderr
    rows = rows_of(folder / "sweep")
    fitted = {row["potential"] for row in rows if row["measure"] == "fit"}
    assert fitted == {"snap-twojmax2", "snap-twojmax4", "qsnap-twojmax2"}
    of = {
        measure: {row["potential"] for row in rows if row["measure"].startswith(measure)}
        for measure in ("eos", "physicality", "errors")
    }
    chosen = sweep.finalists(read_rows(folder / "sweep" / RESULTS))
    expected = {row["potential"] for row in rows if (row["family"], row["hypers_sha256"]) in chosen}
    assert of["eos"] == of["physicality"] == of["errors"] == expected
    assert {"snap-twojmax4", "qsnap-twojmax2"} & expected
    described = tomllib.loads((folder / "sweep" / "run.toml").read_text())
    assert described["measures"] == ["held-out", "cost", "errors", "eos", "physicality"]
    assert {key: set(names) for key, names in described["limited"].items()} == of
    page = (folder / "sweep" / "report.html").read_text()
    assert "Physicality" in page
    warnings = content.read(folder / "sweep").warnings
    assert [note for note in warnings if "the section on physicality says what" in note]
    assert not [note for note in warnings if "random starts end with atoms" in note]  # said there, and once
    assert "Properties of the crystal" in page


def test_the_recommendation_begins_with_what_speaks_against_it(swept):
    """Fits to the embedded set let random starts collapse."""
    folder, done = swept
    first = (folder / "sweep" / "recommended" / "README.md").read_text().splitlines()[0]
    (said,) = (line for line in done.stdout.splitlines() if line.startswith("recommended, for LAMMPS"))
    name = said.split(": ")[1].split(",")[0]
    rows = [row for row in rows_of(folder / "sweep") if row["metric"] == "unphysical"]
    (note,) = (row["note"] for row in rows if row["potential"] == name)
    assert "random starts end with atoms at" in note
    assert first == f"Caution with {name}: {note}."
    assert f"; but {note}" in " ".join(done.stdout.split("recommended, for LAMMPS")[1].split())
    assert f"Caution with {name}" in (folder / "sweep" / "report.html").read_text()


def test_a_second_sweep_has_nothing_to_do(swept, sweep_again):
    folder, _ = swept
    before = (folder / "sweep" / RESULTS).read_bytes()
    again = sweep_again[0]()
    assert again.returncode == 0, again.stderr
    assert "nothing had to be done" in again.stdout
    assert (folder / "sweep" / RESULTS).read_bytes() == before


def test_a_sweep_recommends_by_the_weights_that_it_is_given(swept, common_store):
    folder, _ = swept
    arguments = ("sweep", *SMALL, *FINALISTS, "--budget", "20min", "--store", common_store)
    done = mlip_bench(*arguments, "--out", "cheapest", "--weights", "cost_ratio=1", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "nothing had to be done" in done.stdout
    rebuilt = mlip_bench("report", "cheapest", folder=folder)
    assert "By own weights" in rebuilt.stdout or "Best by own weights" in rebuilt.stdout
    read = content.read(folder / "cheapest")
    assert read.verdict.profile.weights == {"cost_ratio": 1.0}
    cheapest = read.evidence.ranking["cost_ratio"].idxmin()
    assert read.verdict.first[0] == cheapest
    assert f"recommended, for LAMMPS: {cheapest}" in done.stdout
    again = mlip_bench("run", "--from", "cheapest", "--out", "more", "--store", common_store, folder=folder)
    assert again.returncode == 0, again.stderr
    assert content.read(folder / "more").verdict.profile == read.verdict.profile


def test_weights_of_what_nothing_measures_are_refused_before_any_fit(tmp_path):
    done = mlip_bench("sweep", *SMALL, "--weights", "cost_ration=1", folder=tmp_path)
    assert done.returncode == 2
    assert "'cost_ration' is no metric that can be weighed (did you mean 'cost_ratio'?)" in done.stderr
    assert not (tmp_path / "sweep" / RESULTS).exists()


def test_a_sweep_is_repeated_from_its_description(swept, common_store):
    folder, _ = swept
    again = mlip_bench("run", "--from", "sweep", "--out", "again", "--store", common_store, folder=folder)
    assert again.returncode == 0, again.stderr
    assert "nothing had to be done" in again.stdout

    def values(of):
        found = [(row["potential"], row["measure"], row["metric"], row["group"], row["value"]) for row in of]
        return sorted(map(str, found))

    assert values(rows_of(folder / "again")) == values(rows_of(folder / "sweep"))


@pytest.mark.slow
def test_what_the_budget_leaves_is_named_and_done_by_the_next(tmp_path):
    plan = Plan(records.load("embedded", "Mo"), (), sweep.MEASURES)
    hypers = {"twojmax": 2, "cutoff": 4.6}
    sizes = [sweep.Size(PotentialPlan(name, name, hypers), 1) for name in ("snap", "qsnap")]

    def swept(measures, budget_s):
        store = Store(tmp_path / "store")
        with LocalExecutor(store, 2) as executor:
            asked = dataclasses.replace(plan, measures=measures)
            data = Data.of(plan.dataset, store.put_structures)
            results = Results(tmp_path / "sweep")
            return sweep.Sweep(asked, data, executor, results, budget_s, print).run(sizes)

    assert swept(sweep.MEASURES, 600).notes == []
    with_physics = (*sweep.MEASURES, "physicality")
    spent = swept(with_physics, 0.001)
    names = [
        size.potential.name for size in sizes if size.potential.name in spent.plan.limited["physicality"]
    ]
    assert names
    assert spent.notes == [f"Chosen, but without physicality when the budget was spent: {', '.join(names)}."]
    done = swept(with_physics, 600)
    assert done.notes == []
    assert done.outcome.n_done == len(names)


def test_a_share_of_the_budget_is_kept_for_finalists(tmp_path):
    plan = Plan(records.load("embedded", "Mo"), (), sweep.MEASURES)
    size = sweep.Size(PotentialPlan("snap", "snap", {"twojmax": 2, "cutoff": 4.6}), 40)
    data = Data.of(plan.dataset, Store(tmp_path / "store").put_structures)
    pays = {}
    with LocalExecutor(Store(tmp_path / "store"), 1) as executor:
        for measures in (sweep.MEASURES, (*sweep.MEASURES, "eos")):
            asked = dataclasses.replace(
                plan,
                measures=measures,
                given={"held-out": {"folds": 1}},
            )
            one = sweep.Sweep(asked, data, executor, Results(tmp_path / "sweep"), 50, print)
            pays[measures] = one.affordable([size])
    assert list(pays.values()) == [[size], []]


# -- what is said against a potential --------------------------------------------------------------------


@pytest.fixture
def with_dynamics(swept, tmp_path):
    """A function that returns the run with rows of dynamics more, for one potential."""
    folder, _ = swept

    def of(potential, *found, family=None):
        for name in ("run.toml",):
            shutil.copy(folder / "sweep" / name, tmp_path)
        rows = [
            row if family is None or row.potential != potential else dataclasses.replace(row, family=family)
            for row in read_rows(folder / "sweep" / RESULTS)
            if not row.measure.startswith("physicality")
        ]
        example = next(row for row in rows if row.potential == potential and row.error is None)
        more = [
            dataclasses.replace(
                example,
                measure="stability-by-group",
                metric=metric,
                split=None,
                group=group,
                value=value,
                spread=spread,
                low=None,
                high=None,
            )
            for metric, group, value, spread in found
        ]
        write_rows(tmp_path / RESULTS, rows + more)
        return content.read(tmp_path)

    return of


def test_explosions_and_drift_are_said(with_dynamics):
    name = "snap-twojmax4"
    read = with_dynamics(
        name,
        ("exploded", "300 K", 0.0, None),
        ("held_ps", "300 K", 12.0, None),
        ("energy_drift", "300 K", 0.2, 0.01),
        ("exploded", "1448 K", 0.0, None),
        ("held_ps", "1448 K", 12.0, None),
        ("energy_drift", "1448 K", -8.0, 0.5),
        ("exploded", "2606 K", 1.0, None),
        ("held_ps", "2606 K", 0.35, None),
    )
    assert cautions.of(read.evidence, name) == [
        "dynamics exploded at 2606 K after 0.35 ps",
        "the energy of NVE dynamics at 1448 K drifts by -8 meV/atom/ps",
    ]
    assert f"Dynamics of {name} exploded at 2606 K." in read.warnings


def test_a_drift_within_its_error_is_none(with_dynamics):
    read = with_dynamics(
        "snap-twojmax4",
        ("energy_drift", "300 K", 5.0, 4.0),
        ("exploded", "300 K", 0.0, None),
        ("held_ps", "300 K", 12.0, None),
    )
    assert cautions.of(read.evidence, "snap-twojmax4") == []


def test_forces_that_are_no_gradient_are_said(with_dynamics):
    name = "snap-twojmax4"
    read = with_dynamics(name, family="sevennet-dfs")
    (said,) = cautions.of(read.evidence, name)
    assert "no gradient" in said


# -- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finalists", "message"),
    [
        ("phonon", "unknown measure 'phonon' (did you mean 'phonons'?)"),
        ("eos,errors", "--finalists eos,errors: errors is measured in every sweep"),
        (",", "no measure named"),
    ],
)
def test_bad_names_are_one_line(finalists, message, tmp_path):
    done = mlip_bench("sweep", *SMALL, "--finalists", finalists, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_data_without_a_crystal_says_what_is_left_out(tmp_path):
    train = written(tmp_path / "train.extxyz", molecules())
    done = mlip_bench(
        *("sweep", "--potential", "snap", "--vary", "snap.twojmax=2", "--budget", "5min", "--train", train),
        *("--finalists", "elastic,physicality", "--folds", "2", "--out", "out"),
        folder=tmp_path,
    )
    assert "finalists: no crystal in the data (give one with --crystal), so no elastic" in done.stdout
    rows = rows_of(tmp_path / "out")
    measures = {row["measure"] for row in rows}
    assert "elastic" not in measures
    assert {"physicality", "physicality-by-group"} <= measures
    assert any("needs a crystal" in (row["error"] or "") for row in rows)
