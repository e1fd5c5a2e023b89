"""Killed at random moments: what was finished stays, the rest is done, and no process is left behind.

A command is started in a folder whose name has a space and dots, it or one of the processes it has started is
killed, and the same command goes on; again and again until it ends by itself.
"""

import contextlib
import json
import random
import subprocess
import sys
import time

import ase.io
import psutil
import pytest
from ase.build import bulk

from mlip_bench.results import TASK
from mlip_bench.run.store import STORE

COMMAND = [sys.executable, "-m", "mlip_bench"]
OF_DATA = ["--system", "Mo", "--dataset", "embedded"]
RECIPE = """
system = "Cu"
calculator = "emt"
level_of_theory = "EMT"
settings = {}
crystal = {lattice = "fcc", a = 3.6}
"""

COMMANDS = {
    "run": ["run", "--potential", "gap,snap,mtp", *OF_DATA, "--preset", "quick", "--measure", "errors"],
    "sweep": ["sweep", "--potential", "snap", *OF_DATA, "--vary", "snap.twojmax=2,4", "--budget", "30min"],
    "tune": ["tune", "snap", *OF_DATA, "--set", "snap.twojmax=2", "--trials", "36", "--folds", "2"],
    "label": ["data", "label", "structures.xyz", "--recipe", "recipe.toml", "--python", sys.executable],
}
RESULT = {"run": "out/results.jsonl", "sweep": "out/results.jsonl", "tune": "out/snap.toml", "label": "out"}
SEED = 20261125


def descendants(process):
    """Return the processes that a command has started, and those that they have."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def finished(folder):
    """What is kept in the store, and when it was written."""
    paths = [*(folder / STORE).glob(f"*/*/{TASK}")]
    return {path: path.stat().st_mtime_ns for path in paths if path.parent.suffix == ""}


def start(name, folder):
    return subprocess.Popen(
        [*COMMAND, *COMMANDS[name], "--out", "out"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def prepare(folder):
    folder.mkdir(parents=True)
    structures = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True).repeat(3)
        atoms.rattle(0.1, seed=seed)
        structures.append(atoms)
    ase.io.write(folder / "structures.xyz", structures, format="extxyz")
    (folder / "recipe.toml").write_text(RECIPE)


def undisturbed(name, tmp_path):
    folder = tmp_path / f"{name} undisturbed.v1"
    prepare(folder)
    begun = time.monotonic()
    assert start(name, folder).wait(600) == 0
    return content(name, folder), time.monotonic() - begun


def content(name, folder):
    """The result of a command, without what differs between two equal runs: times, memory, last digits."""
    text = (folder / RESULT[name]).read_text()
    if not RESULT[name].endswith(".jsonl"):
        return text
    rows = [json.loads(line) for line in text.splitlines()]
    for row in rows:
        del row["started"], row["wall_s"]
        if row["measure"] in ("fit", "cost"):
            row["value"] = row["spread"] = row["note"] = None
        elif row["value"] is not None:
            row["value"] = float(f"{row['value']:.6g}")
    return rows


def kill_once(process, seconds, chance):
    """Kill a command, or a process that it has started, after some time; tell whether it was the command."""
    time.sleep(seconds)
    started = descendants(process)
    victim = process if chance.random() < 0.5 or not started else chance.choice(started)
    with contextlib.suppress(psutil.NoSuchProcess):
        victim.kill()
    if victim is not process:
        return False
    process.wait(20)
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    return True


def check(name, tmp_path, n_kills):
    expected, seconds = undisturbed(name, tmp_path)
    chance = random.Random(SEED)
    folder = tmp_path / f"{name} killed.v1 é"
    prepare(folder)
    kept, of_commands = {}, 0
    for _ in range(n_kills):
        process = start(name, folder)
        of_commands += kill_once(process, chance.uniform(0.0, 0.7 * seconds), chance)
        process.wait(600)
        now = finished(folder)
        assert now.items() >= kept.items(), "something finished was done again, or is gone"
        kept = now
    assert of_commands > 0
    process = start(name, folder)
    assert process.wait(600) == 0
    assert finished(folder).items() >= kept.items()
    assert content(name, folder) == expected
    assert not [path for path in (folder / STORE).rglob("*.partial") if path.is_dir()]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_kills"), [("run", 20), ("sweep", 10), ("tune", 12), ("label", 8)])
def test_killed_at_fifty_random_moments(name, n_kills, tmp_path):
    check(name, tmp_path, n_kills)


def test_killed_while_labels_are_made(tmp_path):
    check("label", tmp_path, 2)


@pytest.mark.slow
def test_two_runs_on_one_store_do_each_task_once(tmp_path):
    """Both end whole, on equal and on disjoint tasks."""
    prepare(tmp_path / "a b")
    commands = [
        ["run", "--potential", potentials, *OF_DATA, "--preset", "quick", "--measure", "errors"]
        for potentials in ("snap,qsnap", "qsnap,snap", "mtp,snap")
    ]
    processes = [
        subprocess.Popen(
            [*COMMAND, *command, "--out", f"out {index}"],
            cwd=tmp_path / "a b",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, command in enumerate(commands)
    ]
    told = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    done = [line for out, _ in told for line in out.splitlines() if ": done (" in line]
    names = sorted(line.partition(":")[0] for line in done)
    potentials = ("snap", "qsnap", "mtp")
    assert names == sorted(f"{kind} {name}" for kind in ("fit", "errors") for name in potentials)
    for index in range(3):
        lines = (tmp_path / "a b" / f"out {index}" / "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert len({row["potential"] for row in rows}) == 2
        assert {row["measure"] for row in rows} >= {"fit", "errors"}
