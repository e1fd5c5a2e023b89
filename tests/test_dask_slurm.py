"""The recipes for SLURM, as they stand in ``docs/cluster``, on a SLURM of one node."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import scheduler, wait_for
from command import mlip_bench

from mlip_bench.results import read_rows

RECIPES = Path(__file__).parents[1] / "docs" / "cluster"
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmUser=root
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} CPUs={cores} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Start a controller and a node, and name them to all commands of SLURM."""
    if os.geteuid() != 0:
        pytest.skip("a SLURM of its own is started by root")
    if shutil.which("slurmctld") is None:
        command = ["apt-get", "install", "-y", "slurm-wlm"]
        if not shutil.which("apt-get") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("SLURM is not here, and cannot be installed: apt-get install slurm-wlm")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host, cores = socket.gethostname(), os.cpu_count()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, cores=cores, folder=folder))
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        for daemon in (["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c"]):
            process = subprocess.Popen(daemon, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(lambda process=process: (process.terminate(), process.wait()))
        stack.callback(subprocess.run, ["scancel", "--user", "root", "--full"], capture_output=True)
        wait_for(lambda: "idle" in told(["sinfo", "--noheader", "--format=%T"]))
        yield


def told(command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options).stdout


def run_on(file, folder):
    """Fit and time a potential on the workers, and return the rows."""
    asked = ["--potential", "snap", "--system", "Mo", "--dataset", "embedded", "--set", "snap.twojmax=2"]
    done = mlip_bench("run", *asked, "--scheduler", file, "--out", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    return read_rows(folder / "out" / "results.jsonl")


def check(rows):
    assert {row.measure for row in rows} >= {"fit", "errors", "cost"}
    assert not [row.error for row in rows if row.error]


@pytest.mark.slow
def test_workers_that_a_job_starts(slurm, tmp_path):
    environment = os.environ | {"MLIP_BENCH_ENVIRONMENT": sys.prefix, "PYTHONPATH": os.pathsep.join(sys.path)}
    options = ["--resources", "timing=1"]
    with scheduler(tmp_path) as (_, file):
        command = ["sbatch", "--parsable", RECIPES / "workers.sbatch", file, *options]
        number = told(list(map(str, command)), cwd=tmp_path, env=environment).strip()
        assert number.isdigit()
        check(run_on(file, tmp_path))
        assert f"({number}-0)" in mlip_bench("doctor", "--scheduler", file).stdout
        subprocess.run(["scancel", number], check=True)


@pytest.mark.slow
def test_workers_of_jobqueue(slurm, tmp_path):
    file = tmp_path / "scheduler.json"
    command = [
        sys.executable,
        str(RECIPES / "slurm_workers.py"),
        str(file),
        "1",
        "--timing",
        "--memory",
        "1GB",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    try:
        wait_for(file.is_file)
        check(run_on(file, tmp_path))
        assert "dask-worker" in told(["squeue", "--noheader", "--format=%j"])
    finally:
        process.terminate()
        process.communicate()
    wait_for(lambda: not told(["squeue", "--noheader"]))
