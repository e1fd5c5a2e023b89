"""Any name that a file system allows, in every path that a command takes."""

import json
import sys
from pathlib import Path

import ase.io
import pytest
from typer.testing import CliRunner

from mlip_bench.cli import app
from mlip_bench.potentials import family
from mlip_bench.results import read_rows

ODD = """o "d" #1 $x 'q' é %s.v1"""

SMALL = {
    "snap": {"twojmax": 2},
    "gap": {"n_sparse": 10, "n_max": 3, "l_max": 2},
    "nnp": {"epochs": 2, "gauss_newton_steps": 1},
    "mtp": {"level": 2, "iterations": 2},
    "sevennet": {"channels": 4, "lmax": 1, "layers": 1, "steps": 4},
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory, alloys):
    """A folder of an odd name, with data of one."""
    folder = tmp_path_factory.mktemp("names") / ODD
    folder.mkdir()
    ase.io.write(folder / "da ta #2.v2.extxyz", alloys[:12], format="extxyz")
    return folder


def mlip_bench(*arguments):
    result = CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", SMALL)
def test_potentials_of_any_name_are_evaluated_and_exported(name, odd, alloys):
    saved, exported = odd / f"{name}.v1", odd / f"exported {name}.v1"
    family(name)(**SMALL[name]).fit(alloys[:12]).save(saved)
    document = json.loads(
        CliRunner()
        .invoke(app, ["evaluate", str(saved), "--test", str(odd / "da ta #2.v2.extxyz"), "--json"])
        .stdout
    )
    assert document["potential"] == str(saved)
    assert document["errors"][0]["value"] > 0
    mlip_bench("export", saved, "--out", exported)
    assert (exported / "README.md").is_file()


def test_fit_and_run_in_folders_of_any_name(odd, tmp_path):
    """Two folders that differ after a dot alone are two potentials."""
    data = odd / "da ta #2.v2.extxyz"
    for number in (1, 2):
        mlip_bench(
            *(
                "fit",
                "snap",
                "--train",
                data,
                "--set",
                f"snap.twojmax={number + 1}",
                "--out",
                odd / f"my pot.v{number}",
            ),
        )
    both = ",".join(f"file:{odd / f'my pot.v{number}'}" for number in (1, 2))
    mlip_bench("run", "--potential", both, "--train", data, "--measure", "errors", "--out", odd / "run #.v1")
    rows = read_rows(odd / "run #.v1" / "results.jsonl")
    assert {row.potential for row in rows} == {"my pot.v1", "my pot.v2"}
    assert all(row.error is None for row in rows)


def test_tables_and_histograms_go_where_they_are_told(odd):
    histogram, table = odd / "hi st #.v1.png", odd / "ta ble $.v1"
    mlip_bench("data", "show", "--train", odd / "da ta #2.v2.extxyz", "--histogram", histogram)
    assert histogram.stat().st_size > 1000
    extra = {"cost_ratio": 1.0, "cost_ratio_spread": 0.001, "n_blocks": 9, "n_atoms": 54}
    content = {"machine_info": {"cpu": {}}, "benchmarks": [{"name": "snap", "extra_info": extra}]}
    sides = [odd / "old #.v1", odd / "new #.v1"]
    for side in sides:
        side.write_text(json.dumps(content))
    mlip_bench("compare", *sides, "--markdown", table)
    assert "| snap | 54 |" in table.read_text()


@pytest.mark.parametrize(
    ("name", "options", "labelled"),
    [
        ("POSCAR.v1", [], "POSCAR.v1.labelled.xyz"),
        ("POSCAR.v2", [], "POSCAR.v2.labelled.xyz"),
        ("a b.xyz", [], "a b.labelled.xyz"),
        ("a b.xyz", ["--out", "my #labels.v1"], "my #labels.v1"),
    ],
)
def test_labels_keep_all_of_a_name_with_dots(name, options, labelled, odd, alloys, monkeypatch):
    folder = odd / "labels"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    ase.io.write(name, [alloys[0].copy()], format="vasp" if "POSCAR" in name else "extxyz")
    Path("recipe.toml").write_text(RECIPE)
    mlip_bench("data", "label", name, *options, "--recipe", "recipe.toml", "--python", sys.executable)
    (found,) = ase.io.iread(folder / labelled, format="extxyz")
    assert found.get_potential_energy() == pytest.approx(alloys[0].get_potential_energy(), abs=1e-6)


RECIPE = """
system = "Cu"
calculator = "emt"
level_of_theory = "EMT"
settings = {}
"""
