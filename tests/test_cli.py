"""The command as users run it, in a process of its own: results, resuming, and every bad input."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from typing import get_type_hints

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from command import mlip_bench

from mlip_bench.data import reference
from mlip_bench.potentials import family, family_names
from mlip_bench.run.store import STORE

COMMAND = [sys.executable, "-m", "mlip_bench"]

# Two fits in seconds; timings have tests of their own.
QUICK = ["run", "--potential", "gap,snap", "--system", "Mo", "--dataset", "embedded", "--preset", "quick"]
ERRORS_ONLY = ["--measure", "errors"]


def results(folder):
    """Rows without what differs between two equal runs: times, memory, and the last digits of a number.

    Where an array lies in memory decides in which order a library sums it up; a GAP carries that on.
    """
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for row in rows:
        for key in ("started", "wall_s"):
            del row[key]
        if row["measure"] == "fit":
            row["value"] = None
        elif row["value"] is not None:
            row["value"] = float(f"{row['value']:.6g}")
    return rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = mlip_bench(*QUICK, *ERRORS_ONLY, "--out", "run", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_run_leaves_what_the_design_says(undisturbed):
    names = {path.name for path in undisturbed.iterdir()}
    assert {"run.toml", "results.jsonl", "potentials", "figures", "report.html", "report.pdf"} <= names
    described = tomllib.loads((undisturbed / "run.toml").read_text())
    assert described["potentials"]["snap"]["hypers"]["twojmax"] == 4
    assert described["dataset"]["n_train"] == 55
    metrics = {(row["potential"], row["metric"], row["split"]) for row in results(undisturbed)}
    for potential in ("gap", "snap"):
        assert {(potential, "force_rmse", "test"), (potential, "fit_s", None)} <= metrics


def test_second_run_has_nothing_to_do(undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    again = mlip_bench(*QUICK, *ERRORS_ONLY, "--out", "run", folder=undisturbed.parent)
    assert again.returncode == 0
    assert "nothing had to be done" in again.stdout
    changed = {path.name for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns}
    assert changed <= {".lock"}


def test_saved_potential_is_evaluated_and_exported(undisturbed, tmp_path):
    evaluated = mlip_bench(
        "evaluate",
        undisturbed / "potentials" / "snap",
        "--system",
        "Mo",
        "--dataset",
        "embedded",
        folder=tmp_path,
    )
    (row,) = [
        row
        for row in results(undisturbed)
        if (row["potential"], row["measure"], row["metric"], row["split"])
        == ("snap", "errors", "force_rmse", "test")
    ]
    assert f"{row['value']:.3f}" in evaluated.stdout
    for name, script in (("snap", "in.lammps"), ("gap", "run.py")):
        done = mlip_bench(
            "export", undisturbed / "potentials" / name, "--format", "lammps", "--out", name, folder=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "README.md").is_file()
        run_exported(tmp_path / name, script)


def run_exported(folder, script):
    """Run what was exported, in its own folder, as its README says."""
    program = [script] if script.endswith(".py") else ["-c", LAMMPS.format(script=script)]
    done = subprocess.run([sys.executable, *program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


LAMMPS = """
from mlip_bench.lammps.loading import lammps_module
lammps_module().lammps(cmdargs=["-screen", "none"]).file("{script}")
"""


@pytest.mark.parametrize(
    "names", ["qsnap,gap,mtp,sevennet-dfs", pytest.param("all", marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_own_multi_element_data(names, tmp_path, alloys):
    ase.io.write(tmp_path / "my.extxyz", alloys[:18], format="extxyz")
    ase.io.write(tmp_path / "held_out.extxyz", alloys[18:], format="extxyz")
    trained = [name for name in family_names() if "steps" in get_type_hints(family(name).Hypers)]
    asked = family_names() if names == "all" else names.split(",")
    small = ["qsnap.twojmax=3", "gap.n_sparse=30", "mtp.level=6"]
    small += [f"{name}.steps=60" for name in trained if name in asked]
    sizes = [word for setting in small for word in ("--set", setting)]
    done = mlip_bench(
        *("run", "--potential", names, "--train", "my.extxyz", "--test", "held_out.extxyz"),
        *("--preset", "quick", *ERRORS_ONLY, *sizes, "--jobs", "2"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    rows = results(tmp_path / "reports" / "Au-Cu")
    assert {row["potential"] for row in rows} == set(asked)
    assert {row["system"] for row in rows} == {"Au-Cu"}


def test_a_failed_family_is_a_row_and_the_others_go_on(tmp_path):
    """A radial basis that cannot be made orthogonal: GAP fails, SNAP goes on, the exit code says so."""
    done = mlip_bench(
        *QUICK, *ERRORS_ONLY, "--set", "gap.n_max=80", "--set", "gap.l_max=1", "--out", "run", folder=tmp_path
    )
    assert done.returncode == 1
    assert "failed: fit gap: gap: 80 radial functions within 5.2 Å are too alike" in done.stderr
    rows = results(tmp_path / "run")
    (failed,) = [row for row in rows if row["error"]]
    assert (failed["potential"], failed["measure"], failed["value"]) == ("gap", "fit", None)
    assert any(row["potential"] == "snap" and row["metric"] == "force_rmse" for row in rows)
    assert "lower gap.n_max" in (tmp_path / "run" / "report.html").read_text()


def as_in_a_terminal():
    """Jobs that a shell runs in the background inherit an ignored Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted_run(folder, seconds, kill=signal.SIGKILL):
    """Start a run, end it so long after its first task began, and return code, errors and finished tasks."""
    command = [*COMMAND, *QUICK, *ERRORS_ONLY, "--out", str(folder)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_in_a_terminal,
    ) as process:
        for line in process.stdout:
            if "started" in line:
                break
        time.sleep(seconds)
        # Ctrl-C goes to the whole group of a terminal; a kill goes to one process.
        (os.killpg if kill == signal.SIGINT else os.kill)(process.pid, kill)
        sent = time.monotonic()
        _, told = process.communicate(timeout=60)
        waited = time.monotonic() - sent
    return process.returncode, told, waited, finished_tasks(folder)


def finished_tasks(folder):
    """When each finished task in the store beside a run folder was written."""
    paths = (folder.parent / STORE).glob("*/*/rows.jsonl")
    return {path: path.stat().st_mtime_ns for path in paths if "partial" not in path.parent.name}


def check_resumed(folder, finished, undisturbed):
    """Run again to the end: the rows of an undisturbed run, and nothing finished was done again."""
    done = mlip_bench(*QUICK, *ERRORS_ONLY, "--out", folder, folder=folder.parent)
    assert done.returncode == 0, done.stderr
    assert results(folder) == results(undisturbed)
    assert finished_tasks(folder).items() >= finished.items()
    assert not list(folder.parent.rglob("*.partial"))


def test_killed_in_the_first_fit(tmp_path, undisturbed):
    code, _, _, finished = interrupted_run(tmp_path / "run", 0.3)
    assert code == -signal.SIGKILL
    assert not finished
    check_resumed(tmp_path / "run", finished, undisturbed)


@pytest.mark.parametrize("seconds", [0.3, *(pytest.param(one, marks=pytest.mark.slow) for one in (0.0, 1.5))])
def test_interrupt_is_one_line_and_resumes(seconds, tmp_path, undisturbed):
    folder = tmp_path / "run"
    code, told, waited, finished = interrupted_run(folder, seconds, kill=signal.SIGINT)
    assert code == 130
    assert told == "mlip-bench: interrupted; the same command goes on from here\n"
    assert waited < 60  # it is not waited for what is at work; how long exactly is the machine's business
    check_resumed(folder, finished, undisturbed)


def test_a_narrower_run_shows_only_what_it_was_asked_for(tmp_path, undisturbed):
    """Finished tasks of other potentials are kept for later, but rows, settings and report agree."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    store = ["--store", undisturbed.parent / STORE]
    narrow = ["snap" if word == "gap,snap" else word for word in QUICK]
    done = mlip_bench(*narrow, *ERRORS_ONLY, *store, "--out", folder, folder=tmp_path)
    assert "nothing had to be done" in done.stdout
    assert {row["potential"] for row in results(folder)} == {"snap"}
    assert "<title>gap" not in (folder / "report.html").read_text()
    assert not (folder / "potentials" / "gap").exists()
    again = mlip_bench(*QUICK, *ERRORS_ONLY, *store, "--out", folder, folder=tmp_path)
    assert "nothing had to be done" in again.stdout
    assert results(folder) == results(undisturbed)


def test_fresh_starts_over_and_spares_what_is_not_its_own(tmp_path, undisturbed):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    shutil.copytree(undisturbed.parent / STORE, tmp_path / STORE)
    (folder / "potentials" / "mine.toml").write_text("mine")
    done = mlip_bench(*QUICK, *ERRORS_ONLY, "--out", folder, "--fresh", folder=tmp_path)
    assert "fit gap: started" in done.stdout
    assert (folder / "potentials" / "mine.toml").read_text() == "mine"
    assert results(folder) == results(undisturbed)


def test_odd_names_are_only_text(tmp_path, alloys):
    frames = [atoms.copy() for atoms in alloys]
    for frame, atoms in zip(frames, alloys, strict=True):
        frame.calc = atoms.calc
        frame.info["group"] = "[/odd] $\\frac$ <b>"
    ase.io.write(tmp_path / "odd.extxyz", frames[:-2], format="extxyz")
    frames[-1].info["group"] = frames[-2].info["group"] = "plain"
    ase.io.write(tmp_path / "test.extxyz", frames[-4:], format="extxyz")
    shown = mlip_bench("data", "show", "--train", "odd.extxyz", folder=tmp_path)
    assert "[/odd]" in shown.stdout, shown.stderr
    arguments = ["--train", "odd.extxyz", "--test", "test.extxyz", "--preset", "quick", *ERRORS_ONLY]
    done = mlip_bench("run", "--potential", "snap", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr


# -- bad input: one clear sentence, exit code 2, no traceback ---------------------------------------------


def refused(*arguments, folder, env=None):
    done = mlip_bench(*arguments, folder=folder, env=env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--train", "gone.xyz"], "gone.xyz: no such file"),
        (["run", "--system", "Mo", "--potential", "snpa"], "unknown potential 'snpa' (did you mean 'snap'?)"),
        (["run", "--system", "mo"], "no data for system 'mo' (did you mean 'Mo'?)"),
        (
            ["run", "--system", "Mo", "--preset", "standart"],
            "unknown preset 'standart' (did you mean 'standard'?)",
        ),
        (["run", "--system", "Mo", "--measure", "costs"], "unknown measure 'costs' (did you mean 'cost'?)"),
        (
            ["run", "--system", "Mo", "--set", "snap.twojmx=8"],
            "snap has no hyper-parameter 'twojmx' (did you mean 'twojmax'?)",
        ),
        (["run", "--system", "Mo", "--set", "snap.twojmax=big"], "snap.twojmax must be int, not 'big'"),
        (["run", "--system", "Mo", "--set", "twojmax=8"], "write it as family.name=value"),
        (["run", "--system", "Mo", "--device", "cuda"], "finds no GPU here; compute on the cpu"),
        (["run"], "give --system (for example Mo) or your own data with --train FILE"),
        (["run", "--system", "Mo", "--dataset", "mlern"], "unknown dataset 'mlern' (did you mean 'mlearn'?)"),
        (
            ["run", "--train", "a.xyz", "--dataset", "mlearn"],
            "--dataset mlearn both name the data",
        ),
        (["evaluate", "gone"], "gone: no such file or folder"),
        (["report", "gone", "--out", "there"], "--out there: only for two runs"),
        (["report", "gone"], "gone/results.jsonl: cannot be read"),
        (["list", "snpa"], "unknown potential 'snpa' (did you mean 'snap'?)"),
        (["run", "--sistem", "Mo"], "No such option"),
        (["run", "--system", "Mo", "--seed", "-1"], "Invalid value for '--seed'"),
        (["run", "--system", "paper"], "no data for system 'paper'"),
        (["run", "--system", "Mo", "--dataset", "embedded", "--out", "/dev/null"], "/dev/null"),
        (["data", "show", "--system", "Mo", "--dataset", "embedded", "--histogram", "no/h.png"], "no/h.png"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "MLIP_BENCH_DATA"}
    assert message in refused(*arguments, folder=tmp_path, env=environment | {"COLUMNS": "200"})


def frame(alloys, **changes):
    values = {"energy": reference.energy(alloys[0]), "forces": reference.forces(alloys[0]).copy()} | changes
    return reference.labelled(alloys[0].copy(), values["energy"], values["forces"], None)


def test_bad_frames(tmp_path, alloys):
    not_a_number = frame(alloys)
    not_a_number.calc.results["forces"][0, 0] = np.nan
    close = frame(alloys)
    calc = close.calc
    close.positions[1] = close.positions[0] + [0.1, 0, 0]
    close.calc = calc
    without_forces = alloys[0].copy()
    without_forces.info["energy"] = -1.0
    cases = {
        "nan.extxyz": (not_a_number, "nan.extxyz, frame 2: 'forces' has a NaN or infinite value"),
        "close.extxyz": (close, "close.extxyz, frame 2: two atoms are 0.100 Å apart"),
        "noforces.extxyz": (without_forces, "noforces.extxyz, frame 2: no forces"),
    }
    for name, (bad, message) in cases.items():
        write_raw(tmp_path / name, [alloys[1], bad])
        assert message in refused("run", "--train", name, folder=tmp_path)


def write_raw(path, frames):
    """Write frames whose calculators ASE would not ask, because positions moved."""
    plain = []
    for atoms in frames:
        copy = atoms.copy()
        if atoms.calc is not None:
            copy.info["REF_energy"] = atoms.calc.results["energy"]
            copy.arrays["REF_forces"] = atoms.calc.results["forces"]
        plain.append(copy)
    ase.io.write(path, plain, format="extxyz")


def test_test_file_with_another_element(tmp_path, alloys):
    ase.io.write(tmp_path / "train.extxyz", alloys[:4], format="extxyz")
    silver = reference.labelled(bulk("Ag"), 0.0, np.zeros((1, 3)), None)
    ase.io.write(tmp_path / "test.extxyz", [silver], format="extxyz")
    told = refused("run", "--train", "train.extxyz", "--test", "test.extxyz", folder=tmp_path)
    assert "test.extxyz, test frame 1: Ag does not occur in training (Au, Cu)" in told


def test_checksum_mismatch(tmp_path):
    folder = tmp_path / "mlearn" / "Mo"
    folder.mkdir(parents=True)
    for name in ("training.json", "test.json"):
        (folder / name).write_text("[]")
    environment = os.environ | {"MLIP_BENCH_DATA": str(tmp_path)}
    assert "checksum mismatch" in refused("run", "--system", "Mo", folder=tmp_path, env=environment)


def test_folder_in_use(tmp_path):
    with subprocess.Popen(
        [*COMMAND, *QUICK, "--out", str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if "started" in line:
                break
        told = refused(*QUICK, "--out", tmp_path / "run", folder=tmp_path)
        first.kill()
    assert "another run is writing here" in told


def small_files_only():
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))


def test_no_space_left(tmp_path):
    """A limit on file size makes every larger write fail as a full disk does."""
    done = subprocess.run(
        [*COMMAND, *QUICK, *ERRORS_ONLY, "--out", "run"],
        cwd=tmp_path,
        preexec_fn=small_files_only,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 2
    assert "no space left on the disk" in done.stderr
    assert "Traceback" not in done.stderr
