"""Only like is set against like: what differs is named, and never makes ``compare`` fail."""

import dataclasses
import json

import pytest
import tomli_w
from command import mlip_bench
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench import compare
from mlip_bench.results import DESCRIPTION, RESULTS, Row, write_rows

ROW = Row(
    system="Mo",
    dataset="embedded",
    dataset_sha256="data",
    potential="snap",
    family="snap",
    hypers_sha256="hypers",
    n_parameters=31,
    seed=0,
    measure="cost",
    metric="cost_ratio",
    split=None,
    value=1.0,
    unit="ruler",
    device="cpu",
    threads=1,
    cpu="a processor",
    versions={},
    started="2026-01-01T00:00:00+00:00",
    wall_s=1.0,
    error=None,
    n_atoms=2000,
    spread=0.01,
)


def run_folder(path, ratios, preset="standard", **changed):
    """Write a run that has the cost of these potentials; return its folder."""
    path.mkdir(parents=True)
    rows = []
    for name, ratio in ratios.items():
        row = dataclasses.replace(ROW, potential=name, value=ratio, **changed)
        rows += [row, dataclasses.replace(row, metric="n_blocks", value=21.0, unit="1", spread=None)]
    write_rows(path / RESULTS, rows)
    (path / DESCRIPTION).write_text(tomli_w.dumps({"preset": preset}))
    return path


def benchmarks(path, ratio, **told):
    """Write a JSON file of pytest-benchmark that has one cost; return its path."""
    extra = {"potential": "snap", "n_atoms": 2000, "cost_ratio": ratio, "cost_ratio_spread": 0.01}
    content = {
        "machine_info": {"cpu": {"brand_raw": "a processor"}},
        "benchmarks": [{"name": "test_step[snap]", "extra_info": extra | {"n_blocks": 21} | told}],
    }
    path.write_text(json.dumps(content))
    return path


def command(*arguments):
    """Run ``mlip-bench compare``; return exit code and what it printed, on one line."""
    done = mlip_bench("compare", *arguments)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


UNLIKE = [
    ({"preset": "quick", "hypers_sha256": "other"}, "other hyper-parameters (quick against standard)"),
    ({"hypers_sha256": "other"}, "other hyper-parameters"),
    ({"preset": "quick"}, "other preset (quick against standard)"),
    ({"dataset_sha256": "other"}, "other data"),
    ({"device": "a GPU"}, "other device (a GPU against cpu)"),
    ({"dataset_sha256": "other", "device": "a GPU"}, "other data, other device (a GPU against cpu)"),
]


@pytest.mark.parametrize(("changed", "words"), UNLIKE)
def test_unlike_runs_are_named_and_not_compared(tmp_path, changed, words):
    old = run_folder(tmp_path / "old", {"snap": 1.0}, **changed)
    new = run_folder(tmp_path / "new", {"snap": 5.0})
    (change,) = compare.compare(compare.read(old), compare.read(new), 0.1)
    assert change.verdict == f"not compared: {words}"
    assert compare.rows([change])[0][4] == "–"


@pytest.mark.parametrize(("changed", "words"), [case for case in UNLIKE if "preset" not in case[0]])
def test_unlike_benchmarks_are_named_and_not_compared(tmp_path, changed, words):
    alike = {"hypers_sha256": "hypers", "dataset_sha256": "data", "device": "cpu"}
    old = benchmarks(tmp_path / "old.json", 1.0, **(alike | changed))
    new = benchmarks(tmp_path / "new.json", 5.0, **alike)
    (change,) = compare.compare(compare.read(old), compare.read(new), 0.1)
    assert change.verdict == f"not compared: {words}"


def test_only_like_pairs_decide_the_exit_code(tmp_path):
    old = run_folder(tmp_path / "old", {"snap": 1.0, "mtp": 1.0})
    quick = run_folder(tmp_path / "quick", {"snap": 5.0, "mtp": 5.0}, preset="quick", hypers_sha256="other")
    code, output = command(old, quick)
    assert code == 0
    assert "not compared: other hyper-parameters (standard against quick)" in output
    slower = run_folder(tmp_path / "slower", {"snap": 5.0, "mtp": 1.0})
    code, output = command(old, slower)
    assert code == 1
    assert "slower by more than 10 %: snap (2000 atoms)" in output


def test_one_slow_pair_among_unlike_ones_decides(tmp_path):
    old = run_folder(tmp_path / "old", {"snap": 1.0, "mtp": 1.0})
    new = run_folder(tmp_path / "new", {"snap": 5.0, "mtp": 2.0})
    text = (new / RESULTS).read_text().splitlines()
    mixed = [
        line.replace('"hypers"', '"other"') if '"snap"' in line.split("family")[0] else line for line in text
    ]
    (new / RESULTS).write_text("\n".join(mixed) + "\n")
    code, output = command(old, new)
    assert code == 1
    assert "slower by more than 10 %: mtp (2000 atoms)" in output
    assert "not compared: other hyper-parameters" in output


def test_benchmarks_that_differ_do_not_fail(tmp_path):
    old = benchmarks(tmp_path / "old.json", 1.0, hypers_sha256="one")
    code, output = command(old, benchmarks(tmp_path / "new.json", 5.0, hypers_sha256="other"))
    assert code == 0
    assert "not compared: other hyper-parameters" in output
    assert command(old, benchmarks(tmp_path / "alike.json", 5.0, hypers_sha256="one"))[0] == 1


def test_what_one_side_does_not_tell_does_not_count(tmp_path):
    old = benchmarks(tmp_path / "old.json", 1.0)
    new = run_folder(tmp_path / "new", {"snap": 5.0})
    (change,) = compare.compare(compare.read(old), compare.read(new), 0.1)
    assert change.verdict == compare.SLOWER


TOLD = st.fixed_dictionaries({}, optional={key: st.sampled_from(["one", "other"]) for key in compare.ALIKE})


@given(TOLD, TOLD)
@settings(deadline=None, max_examples=100)
def test_a_pair_is_compared_exactly_where_all_that_both_tell_is_alike(old, new):
    timings = [compare.Timing(ratio, 0.01, 21, "cpu", of) for ratio, of in ((1.0, old), (5.0, new))]
    alike = all(old[key] == new[key] for key in old.keys() & new.keys())
    (change,) = compare.compare({("snap", 1): timings[0]}, {("snap", 1): timings[1]}, 0.1)
    assert (change.verdict == compare.SLOWER) == alike
    assert change.verdict.startswith("not compared: other ") != alike
