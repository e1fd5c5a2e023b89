"""A sweep on machines that share nothing but a network, while they are lost one after the other.

Each worker has a network namespace of its own, and a file system in which the folder of the client is hidden.
Every 30 s one is killed and another started; on a busy machine MLIP_BENCH_KILL_SECONDS gives them the time to
begin at all.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from cluster import DASK, started

from mlip_bench.results import TASK, read_rows
from mlip_bench.run import sweep
from mlip_bench.run.dask_cluster import Cluster
from mlip_bench.run.dask_executor import DaskExecutor
from mlip_bench.run.executor import Watcher
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.schedule import Results
from mlip_bench.run.store import STORE, Store

N_WORKERS, MOST_SECONDS = 3, 1500.0
KILL_SECONDS = float(os.environ.get("MLIP_BENCH_KILL_SECONDS", "30"))
NETWORK, PORT = "10.231.17", 8791
BRIDGE = "mlipbench"

NNP = {"hidden": [8, 8], "radial_shifts": [0.0, 2.0], "epochs": 200, "gauss_newton_steps": 5}
LADDERS = (
    *(("snap", {"twojmax": twojmax}) for twojmax in (2, 4, 6)),
    *(("mtp", {"level": level, "iterations": 60}) for level in (4, 6, 8)),
    *(("nnp", NNP | {"hidden": [width, width]}) for width in (6, 8, 10)),
)
# Rounds of these sizes, each with another cutoff, until so many workers were killed.
KILLS, MOST_ROUNDS = 4, 40


class Often(DaskExecutor):
    """Takes checkpoints home more often than people need."""

    news_s = 5.0
    checkpoint_s = 20.0


class Counted(Watcher):
    """Counts how often each task was finished, and how often one lost its worker."""

    def __init__(self):
        self.finished, self.moves = {}, 0

    def moved(self, task):
        self.moves += 1

    def ended(self, task, error):
        assert error is None, error
        self.finished[task.label] = self.finished.get(task.label, 0) + 1


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def network():
    """A bridge with an address here, and namespaces that are connected to it by nothing else."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("network namespaces are made by root, with ip and unshare")
    names = [f"{BRIDGE}{number}" for number in range(N_WORKERS)]
    leave = [["ip", "link", "delete", name] for name in (BRIDGE, *(f"{name}h" for name in names))]
    leave += [["ip", "netns", "delete", name] for name in names]
    with contextlib.ExitStack() as stack:
        for words in leave:
            subprocess.run(words, capture_output=True)  # what a test that was killed left
            stack.callback(subprocess.run, words, capture_output=True)
        try:
            ip("link", "add", BRIDGE, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no bridge can be made here: {error.stderr.decode().strip()}")
        ip("address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"{name}h", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}h", "master", BRIDGE, "up")
            ip("-n", name, "address", "add", f"{NETWORK}.{10 + number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names


def start_worker(name, hidden):
    """Start a worker in a namespace, where an empty file system lies over the folder of the client."""
    inside = f'mount -t tmpfs tmpfs "{hidden}" && mkdir "{hidden}/own" && cd "{hidden}/own" && exec "$@"'
    words = ["ip", "netns", "exec", name, "unshare", "--mount", "sh", "-c", inside, "sh", *DASK, "worker"]
    return subprocess.Popen(
        [*words, f"tcp://{NETWORK}.1:{PORT}", "--nthreads", "1", "--no-dashboard", "--name", name],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(hidden)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def end(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def workers_that_are_lost(names, hidden):
    """Have a worker in each namespace; kill them in turn, and start another each time. Give the kills."""
    workers = {name: start_worker(name, hidden) for name in names}
    over, kills = threading.Event(), []

    def kill_in_turn():
        while not over.wait(KILL_SECONDS):
            name = names[len(kills) % len(names)]
            end(workers[name])
            kills.append(time.monotonic())
            workers[name] = start_worker(name, hidden)

    thread = threading.Thread(target=kill_in_turn)
    thread.start()
    try:
        yield kills
    finally:
        over.set()
        thread.join()
        for process in workers.values():
            end(process)


def sizes(number):
    """The sizes of a round."""
    cutoff = 4.5 + 0.01 * number
    return [
        sweep.Size(PotentialPlan(f"{name}-{number}-{place}", name, hypers | {"cutoff": cutoff}), 1.0)
        for place, (name, hypers) in enumerate(LADDERS)
    ]


@pytest.mark.slow
def test_a_sweep_ends_whole_while_its_workers_are_lost(network, embedded, tmp_path):
    store, watcher, wanted = Store(tmp_path / STORE), Counted(), []
    plan, known = Plan(embedded, (), ("eos",)), Data.of(embedded, store.put_structures)
    command = ("scheduler", "--host", f"{NETWORK}.1", "--port", PORT, "--no-dashboard")
    with (
        started(*command),
        workers_that_are_lost(network, tmp_path) as kills,
        Cluster(f"tcp://{NETWORK}.1:{PORT}", store.folder, print) as cluster,
    ):
        cluster.wait_for_workers(None)
        start = time.monotonic()
        while len(kills) < KILLS and len(wanted) < MOST_ROUNDS * len(LADDERS):
            wanted += sizes(len(wanted) // len(LADDERS))
            tasks = [task for size in wanted for task in plan.tasks_of(size.potential, known)]
            with Often(store, cluster, tasks, watcher=watcher) as executor:
                one = sweep.Sweep(plan, known, executor, Results(tmp_path / "run"), MOST_SECONDS, print)
                done = one.run(wanted)
            assert not done.outcome.failures
            assert not done.cut_off + done.left_out
        seconds = time.monotonic() - start
        assert not any(worker.described.sees_store for worker in cluster.workers.values())
    print(f"{seconds:.0f} s, {len(kills)} workers killed, one every {KILL_SECONDS:.0f} s")
    print(f"{len(tasks)} tasks, moved {watcher.moves} times")
    assert len(kills) >= KILLS
    # Whole, each once, and nothing that was committed was done again.
    assert watcher.finished == {task.label: 1 for task in tasks}
    assert {row.potential for row in read_rows(tmp_path / "run" / "results.jsonl")} == {
        size.potential.name for size in wanted
    }
    assert len(list(store.folder.glob(f"*/*/{TASK}"))) == len(tasks)
