"""``--json``: one document on standard output, all else on standard error, with the documented keys."""

import json
import re
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from rich.table import Table
from typer.testing import CliRunner

from mlip_bench.cli import app, doctor
from mlip_bench.cli.answers import Answer, answering
from mlip_bench.potentials import family, family_names

COMMAND = [sys.executable, "-m", "mlip_bench"]
DOCUMENTED = set(re.findall(r"`(\w+)`", (Path(__file__).parent.parent / "docs" / "json.md").read_text()))


@pytest.fixture(scope="module")
def data(alloys, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "test.extxyz"
    ase.io.write(path, alloys[:12], format="extxyz")
    return path


@pytest.fixture(scope="module")
def fitted(alloys, tmp_path_factory):
    """Two saved potentials, one of which is evaluated by a library that is not Python's."""
    folder = tmp_path_factory.mktemp("fitted")
    family("snap")(twojmax=2).fit(alloys[:12]).save(folder / "snap")
    family("gap")(n_sparse=10, n_max=3, l_max=2).fit(alloys[:12]).save(folder / "gap")
    return folder


def asked(*arguments):
    """Return the document of a command in a process of its own, its exit code, and standard error."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments), "--json"], capture_output=True, text=True, timeout=300
    )
    return json.loads(done.stdout), done.returncode, done.stderr


def keys_of(content):
    if isinstance(content, dict):
        return set(content).union(*map(keys_of, content.values()))
    return set().union(*map(keys_of, content)) if isinstance(content, list) else set()


@pytest.mark.parametrize("name", ["snap", "gap"])
def test_errors_of_a_potential(name, fitted, data):
    document, code, told = asked("evaluate", fitted / name, "--test", data)
    assert code == 0
    assert f"{data}: " in told or "data: " in told  # which keys were read is said, but not on standard output
    assert keys_of(document) <= DOCUMENTED
    units = {error["metric"]: error["unit"] for error in document["errors"]}
    assert (units["energy_mae"], units["force_rmse"], units["stress_mae"]) == ("meV/atom", "meV/Å", "GPa")
    assert (document["family"], document["n_structures"]) == (name, 12)
    shown = subprocess.run(
        [*COMMAND, "evaluate", fitted / name, "--test", data], capture_output=True, text=True, timeout=300
    ).stdout
    assert all(f"{error['value']:.3f}" in shown for error in document["errors"])


def test_errors_are_one_line_and_no_document(tmp_path):
    done = subprocess.run(
        [*COMMAND, "evaluate", "gone", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mlip-bench: gone: no such file or folder\n"


def test_properties_have_a_value_or_say_why_not(fitted, tmp_path):
    """There is no reference of such copper; what does not hold is null, with the reason."""
    path = tmp_path / "cu.extxyz"
    ase.io.write(path, bulk("Cu", cubic=True), format="extxyz")
    result = CliRunner().invoke(
        app, ["measure", str(fitted / "snap"), "--measure", "elastic", "--crystal", str(path), "--json"]
    )
    document = json.loads(result.stdout)
    assert keys_of(document) <= DOCUMENTED
    assert (document["crystal"], result.exit_code) == ("Cu4", 0)
    units = {one["metric"]: one["unit"] for one in document["properties"]}
    assert units["c11"] == "GPa"
    for one in document["properties"]:
        assert (one["value"] is None) == (one["error"] is not None)
        assert one["reference"] is None
        assert one["deviation_percent"] is None
    assert all(one["error"] in document["failed"] for one in document["properties"] if one["error"])


def test_families_and_hyperparameters():
    document = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert [one["name"] for one in document["families"]] == family_names()
    assert keys_of(document) <= DOCUMENTED
    document = json.loads(CliRunner().invoke(app, ["list", "snap", "--system", "Mo", "--json"]).stdout)
    values = {one["name"]: one for one in document["hyperparameters"]}
    assert values["twojmax"]["value"] == 6
    assert "published for Mo" in values["twojmax"]["source"]
    assert keys_of(document) - set(values) <= DOCUMENTED


def test_doctor_says_what_is_wrong_and_fails(monkeypatch):
    monkeypatch.setattr(doctor, "family_names", lambda: ["snap"])
    monkeypatch.setattr(doctor, "CLASHING_DISTRIBUTION", "pytest")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    findings = {one["check"]: one for one in json.loads(result.stdout)["findings"]}
    assert findings["snap"] == {"check": "snap", "good": True, "text": "snap: fits and predicts"}
    assert not findings["clash"]["good"]
    assert result.exit_code == 1


def benchmark(path, ratio):
    extra = {"cost_ratio": ratio, "cost_ratio_spread": 0.001, "n_blocks": 9, "n_atoms": 54}
    benchmarks = [
        {"name": "snap", "extra_info": extra},
        {"name": f"only in {path.stem}", "extra_info": extra},
    ]
    content = {"machine_info": {"cpu": {"brand_raw": path.stem}}, "benchmarks": benchmarks}
    path.write_text(json.dumps(content))
    return str(path)


def test_changes_of_two_runs(tmp_path):
    sides = [benchmark(tmp_path / "old.json", 1.0), benchmark(tmp_path / "new.json", 1.5)]
    result = CliRunner().invoke(app, ["compare", *sides, "--json"])
    document = json.loads(result.stdout)
    assert keys_of(document) <= DOCUMENTED
    assert result.exit_code == 1
    assert "slower by more than 10 %: snap (54 atoms)" in result.stderr
    assert "timed on different processors" in result.stderr
    changes = {one["potential"]: one for one in document["changes"]}
    assert changes["snap"]["change"] == pytest.approx(0.5)
    assert changes["only in old"] == {
        "potential": "only in old",
        "n_atoms": 54,
        "old_ratio": 1.0,
        "new_ratio": None,
        "change": None,
        "change_error": None,
        "verdict": "only in the old",
    }


def test_numbers_that_are_not_finite_are_null(capsys):
    @answering
    def command() -> Answer:
        values = [float("nan"), np.float64("inf"), np.float32(0.5), np.int64(3), np.array([1.0, np.nan])]
        return Answer({"values": values, "path": Path("a")}, [Table("x")])

    command(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"values": [None, None, 0.5, 3, [1.0, None]], "path": "a"}


LOUD = """
import ctypes, os
from mlip_bench.cli.answers import Answer, answering

@answering
def command():
    print("python")
    ctypes.CDLL(None).puts(b"library")
    os.system("echo program")
    return Answer({"a": 1}, [])

command(as_json=True)
"""


def test_what_libraries_print_is_not_in_the_document():
    done = subprocess.run([sys.executable, "-c", LOUD], capture_output=True, text=True, timeout=100)
    assert json.loads(done.stdout) == {"a": 1}
    assert {"python", "library", "program"} <= set(done.stderr.split())
