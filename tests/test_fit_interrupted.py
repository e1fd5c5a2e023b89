"""``fit`` ended in the middle goes on from where it was, to the same potential."""

import contextlib
import glob
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from mlip_bench.data import records
from mlip_bench.potentials import load
from mlip_bench.potentials.mtp import MTP

NAME = "my pot #1.v2"
FIT = [
    *(sys.executable, "-m", "mlip_bench", "fit", "mtp", "--system", "Mo", "--dataset", "embedded"),
    *("--set", "mtp.level=8", "--set", "mtp.radial_basis_size=4", "--set", "mtp.iterations=60"),
]


def fit(folder, *options):
    return subprocess.run(
        [*FIT, *options, "--out", NAME], cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = fit(folder)
    assert done.returncode == 0, done.stderr
    return folder / NAME


def as_in_a_terminal():
    """Jobs that a shell runs in the background inherit an ignored Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def states(folder):
    """Return the states of unfinished fits in the store.

    ``glob.glob`` passes over folders that end while it looks; ``Path.rglob`` of Python 3.11 raises.
    """
    found = glob.glob("**/*.checkpoint/state.npz", root_dir=folder, recursive=True)
    return [folder / path for path in found]


def times(folder):
    """Return when each state was written, of those that are still there."""
    written = {}
    for path in states(folder):
        with contextlib.suppress(FileNotFoundError):
            written[path] = path.stat().st_mtime_ns
    return written


def position(path):
    """Return how far a search came: the more, the later."""
    with np.load(path) as state:
        return -int(state["starts_left"]), int(state["level"]), int(state["iteration"])


def interrupted(folder, kill):
    """Start a fit, end it as soon as it has kept a new state, and return its exit code and errors."""
    with subprocess.Popen(
        [*FIT, "--out", NAME],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_in_a_terminal,
    ) as process:
        before = times(folder)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if any(written != before.get(path) for path, written in times(folder).items()):
                break
            time.sleep(0.005)
        children = psutil.Process(process.pid).children(recursive=True)
        # Ctrl-C goes to the whole group of a terminal; a kill goes to one process.
        (os.killpg if kill == signal.SIGINT else os.kill)(process.pid, kill)
        _, told = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    return process.returncode, told


@pytest.mark.parametrize(
    "kill",
    [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
    ids=lambda kill: kill.name,
)
def test_an_interrupted_fit_goes_on_to_the_same_potential(kill, tmp_path, undisturbed):
    """Ended twice: the second time it is not before the place where it was the first time."""
    places = []
    for _ in range(2):
        code, told = interrupted(tmp_path, kill)
        assert code == (-signal.SIGKILL if kill == signal.SIGKILL else 130)
        if kill == signal.SIGINT:
            assert told == "mlip-bench: interrupted; the same command goes on from here\n"
        assert not (tmp_path / NAME / "potential.json").exists()
        (state,) = states(tmp_path)
        places.append(position(state))
    assert places[1] > places[0]
    done = fit(tmp_path)
    assert done.returncode == 0, done.stderr
    assert not states(tmp_path)
    test = records.load("embedded", "Mo").test
    pairs = zip(load(tmp_path / NAME).predict(test), load(undisturbed).predict(test), strict=True)
    for one, other in pairs:
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
        assert one.forces == pytest.approx(other.forces, abs=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 1.0])
def test_a_search_goes_on_with_the_starts_that_are_left(share, alloys, tmp_path):
    """Interrupted in the first start, in later ones, and after all of them."""
    settings = {"level": 4, "radial_basis_size": 4, "iterations": 9, "iterations_below": 3, "starts": 4}
    steps = []
    undisturbed = MTP(**settings).fit(alloys[:8], progress=lambda *step: steps.append(step))
    stop = max(1, round(share * len(steps)))
    told = []

    def stop_there(*step):
        told.append(step)
        if len(told) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MTP(**settings).fit(alloys[:8], progress=stop_there, checkpoint=tmp_path)
    resumed = MTP(**settings).fit(alloys[:8], checkpoint=tmp_path)
    np.testing.assert_allclose(resumed.radial_, undisturbed.radial_, rtol=1e-9)
    np.testing.assert_allclose(resumed.linear_, undisturbed.linear_, rtol=1e-9)


def test_the_state_of_one_fit_is_not_taken_for_another(tmp_path):
    """Another seed begins anew, and leaves the state of the first where it is."""
    interrupted(tmp_path, signal.SIGKILL)
    (kept,) = states(tmp_path)
    place = position(kept)
    done = fit(tmp_path, "--seed", "1", "--set", "mtp.iterations=1", "--set", "mtp.iterations_below=1")
    assert done.returncode == 0, done.stderr
    assert states(tmp_path) == [kept]
    assert position(kept) == place


def test_a_finished_fit_is_not_done_again(undisturbed):
    again = fit(undisturbed.parent)
    assert again.returncode == 0
    assert "nothing had to be done" in again.stdout


def test_a_device_that_is_not_there_is_refused(tmp_path):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    for family, device, told in [
        ("sevennet", "cuda", "finds no GPU here; compute on the cpu"),
        ("mtp", "cuda", "--device cuda: no code for GPUs in mtp; use cpu"),
        ("mtp", "gpu", "unknown device 'gpu'"),
    ]:
        data = ["--system", "Mo", "--dataset", "embedded"]
        arguments = ["fit", family, *data, "--device", device, "--out", "x"]
        done = subprocess.run(
            [sys.executable, "-m", "mlip_bench", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            env=environment,
        )
        assert done.returncode == 2
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
