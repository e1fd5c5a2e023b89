"""A thermal conductivity as users measure it: in a run with its report, and on the command line."""

import json
import re

import pytest
from command import mlip_bench

from mlip_bench.measure.conductivity import section
from mlip_bench.report import build, content
from mlip_bench.results import read_rows
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.store import STORE

SMALL = {"level": 2, "radial_basis_size": 4, "iterations": 1, "starts": 1}
ASKED = {"temperature": 300.0, "length": 1.2, "supercell": "16"}


def plan_of(dataset, **given):
    potential = PotentialPlan("small one", "mtp", SMALL)
    options = {"conductivity": ASKED | given}
    return Plan(dataset, (potential,), ("errors", "conductivity"), preset="quick", given=options)


@pytest.fixture(scope="module")
def run(embedded, do_plan, tmp_path_factory):
    """A finished run with two trajectories, and what came of it."""
    folder = tmp_path_factory.mktemp("conductivity") / "run"
    outcome = do_plan(plan_of(embedded, seeds=2), folder)
    assert not outcome.failures
    build(folder)
    return folder


def rows_of(folder):
    return {row.metric: row for row in read_rows(folder / "results.jsonl") if row.measure == "conductivity"}


def trajectories(folder):
    return [path for path in (folder.parent / STORE / "conductivity").glob("*/series.npz")]


def test_rows_have_the_conductivity_and_what_is_to_be_known_of_it(run):
    rows = rows_of(run)
    kappa = rows["kappa"]
    assert kappa.error is None or "too short" in kappa.error
    assert (kappa.unit, kappa.n_atoms) == ("W/mK", 16)
    assert rows["temperature"].value == pytest.approx(300, rel=0.3)
    assert rows["time"].value == pytest.approx(2.4)
    assert abs(rows["energy_drift"].value) < 0.1
    assert len(trajectories(run)) == 2


def test_the_report_has_a_section_of_it(run):
    html = (run / "report.html").read_text()
    assert "Thermal conductivity" in html
    read = content.read(run).evidence
    table = section.table(read)
    assert table.rows[0][:2] == ["small one", "16"]
    assert "2 trajectories of 1.2 ps at 300 K, green-kubo" in table.note
    if rows_of(run)["kappa"].error is None:
        assert (run / "figures" / "conductivity.svg").is_file()
        data = section.data(read)
        assert {row[1] for row in data.rows} == {"integral", "spectrum"}
        assert re.search(r"<table hidden>.*<td>spectrum</td>", html, re.DOTALL)
        assert 'data-save="csv" data-name="conductivity"' in html


def test_more_seeds_do_no_trajectory_again(run, embedded, do_plan):
    before = {path: path.stat().st_mtime_ns for path in trajectories(run)}
    again = do_plan(plan_of(embedded, seeds=2), run)
    assert again.n_done == 0
    more = do_plan(plan_of(embedded, seeds=3), run)
    assert more.n_done == 1  # the estimate; a trajectory has no rows
    after = {path: path.stat().st_mtime_ns for path in trajectories(run)}
    assert len(after) == 3
    assert before.items() <= after.items()
    assert rows_of(run)["time"].value == pytest.approx(3.6)


def test_a_trajectory_that_fails_is_one_row(run, embedded, do_plan):
    # In one step an atom passes its neighbours.
    wild = do_plan(plan_of(embedded, seeds=2, temperature=3e4, timestep=100.0), run.parent / "wild")
    (failure,) = wild.failures
    assert failure.measure == "conductivity"
    assert re.match(r"seed [12]: the dynamics did not hold", failure.error)


def test_what_was_measured_of_silicon_stands_beside_it(run):
    read = content.read(run).evidence
    assert section.experiment(read) is None  # of Mo nothing is known here
    read.run["dataset"]["system"] = "Si"
    assert section.experiment(read) == pytest.approx(148.0)
    read.run["options"]["conductivity"]["temperature"] = 800.0
    assert 31.2 < section.experiment(read) < 61.9
    read.run["options"]["conductivity"]["temperature"] = 1500.0
    assert section.experiment(read) is None


def test_a_saved_potential_is_measured_at_once(run, tmp_path):
    potential = run / "potentials" / "small one"
    words = ["measure", potential, "--measure", "conductivity", "--system", "Mo", "--seeds", "1"]
    done = mlip_bench(*words, "--length", "0.8", "--supercell", "16", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    found = {entry["metric"]: entry for entry in document["properties"]}
    assert found["temperature"]["unit"] == "K"
    assert found["time"]["value"] == pytest.approx(0.8)
    assert "spread" in found["kappa"]
    assert "100 %" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--temperature", "300"], "--temperature: only with --measure conductivity"),
        (["--measure", "conductivity", "--supercell", "big"], "--supercell big: write it as"),
        (["--measure", "conductivity", "--field", "0.1"], "--field: only with --method hnemd"),
        (["--measure", "conductivity", "--method", "hnemd", "--field", "-1"], "--field -1: "),
    ],
)
def test_wrong_options_are_one_line(words, sentence, tmp_path):
    done = mlip_bench(
        "run", "--potential", "mtp", "--system", "Mo", "--dataset", "embedded", *words, folder=tmp_path
    )
    assert done.returncode == 2
    assert sentence in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
