"""What goes wrong on clusters: each with schedulers and workers as people start them."""

import os
import signal
import subprocess
import sys

import pytest
from cluster import Counting, scheduler, wait_for, worker
from command import mlip_bench

from mlip_bench.errors import UserError
from mlip_bench.run import dask_cluster
from mlip_bench.run.dask_cluster import Cluster
from mlip_bench.run.dask_executor import DaskExecutor
from mlip_bench.run.executor import Watcher
from mlip_bench.run.store import STORE, Store

pytestmark = pytest.mark.slow

CLIENT = """
import sys
from pathlib import Path
from cluster import Counting
from mlip_bench.run.dask_cluster import Cluster
from mlip_bench.run.dask_executor import DaskExecutor
from mlip_bench.run.store import Store

class Soon(DaskExecutor):
    news_s = checkpoint_s = 0.5

store = Store(Path(sys.argv[2]))
with Cluster(sys.argv[1], store.folder, print) as cluster:
    cluster.mark.write_text("of another machine")
    cluster.wait_for_workers(None)
    with Soon(store, cluster, []) as executor:
        for future in [executor.submit(Counting(str(index), int(sys.argv[3]))) for index in range(2)]:
            print((future.result().folder / "result").read_text(), flush=True)
"""


class Soon(DaskExecutor):
    news_s = checkpoint_s = 0.5


class Telling(Watcher):
    def __init__(self):
        self.sentences = []

    def noted(self, task, sentence):
        self.sentences.append(sentence)


def client(file, store, last, **options):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CLIENT, str(file), str(store), str(last)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


def number_at_home(store, name, last):
    path = Store(store).entry(Counting(name, last)).with_suffix(".checkpoint") / "number"
    return int(path.read_text()) if path.is_file() else 0


def another_version(folder):
    """A folder of packages in which motep has another version."""
    (folder / "motep-0.0.dist-info").mkdir(parents=True)
    (folder / "motep-0.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: motep\nVersion: 0.0\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


def without_ours(folder):
    """A folder of packages that hides ours."""
    (folder / "mlip_bench").mkdir(parents=True)
    (folder / "mlip_bench" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'mlip_bench'\")"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


def test_workers_of_other_versions_are_refused_by_name(tmp_path, monkeypatch):
    store, said = Store(tmp_path / STORE), []
    with (
        scheduler(tmp_path) as (_, file),
        worker(file, tmp_path, "older", env=another_version(tmp_path / "packages")),
        worker(file, tmp_path, "bare", env=without_ours(tmp_path / "hidden")),
        Cluster(str(file), store.folder, said.append) as cluster,
    ):
        wait_for(lambda: len(cluster.client.scheduler_info()["workers"]) == 2)
        with pytest.raises(UserError, match="no worker can be used"):
            cluster.wait_for_workers(None)
        older, bare = (next(line for line in said if f"({name})" in line) for name in ("older", "bare"))
        assert "is not used: motep 0.0 (here 0." in older
        assert "No module named 'mlip_bench'" in bare
        with worker(file, tmp_path, "good"):
            wait_for(lambda: len(cluster.client.scheduler_info()["workers"]) == 3)
            cluster.wait_for_workers(None)
            with Soon(store, cluster, []) as executor:
                futures = [executor.submit(Counting(str(index), 5)) for index in range(3)]
                assert all(future.result(120) for future in futures)
        monkeypatch.setattr(dask_cluster, "PATIENCE_SECONDS", 2.0)
        with Soon(store, cluster, []) as executor:
            future = executor.submit(Counting("late", 5))
            with pytest.raises(UserError, match=r"no worker is left that can work \(.*motep 0\.0"):
                future.result(120)
        told = mlip_bench("doctor", "--scheduler", file)
        assert told.returncode == 1
        assert "motep 0.0 (here 0." in told.stdout
        assert "No module named 'mlip_bench'" in told.stdout


def test_a_worker_whose_disk_is_full_gets_no_more_tasks(tmp_path):
    store, watcher = Store(tmp_path / STORE), Telling()
    tasks = [Counting(str(index), 20, fills_disk_of="small") for index in range(6)]
    with (
        scheduler(tmp_path) as (_, file),
        worker(file, tmp_path, "small"),
        Cluster(str(file), store.folder, print) as cluster,
    ):
        cluster.mark.write_text("of another machine")
        with worker(file, tmp_path, "large"):
            wait_for(lambda: len(cluster.client.scheduler_info()["workers"]) == 2)
            cluster.wait_for_workers(None)
            with Soon(store, cluster, [], watcher=watcher) as executor:
                assert all([executor.submit(task).result(120) for task in tasks])
        (sentence,) = [one for one in watcher.sentences if "disk" in one]
        assert "(small) gets no more tasks: its disk is full" in sentence
        with Soon(store, cluster, [], fresh=True) as executor:
            future = executor.submit(tasks[0])
            with pytest.raises(UserError, match=r"no worker is left that can work \(.*\(small\): its disk"):
                future.result(120)


def test_a_client_that_is_killed_goes_on_when_it_is_started_again(tmp_path):
    store = tmp_path / STORE
    with scheduler(tmp_path) as (_, file), worker(file, tmp_path, "one"), worker(file, tmp_path, "two"):
        first = client(file, store, 400)
        wait_for(lambda: min(number_at_home(store, name, 400) for name in "01") > 20)
        first.kill()
        first.communicate()
        again = client(file, store, 400)
        told, _ = again.communicate(timeout=240)
    assert again.returncode == 0
    results = [line.split() for line in told.splitlines() if line[0].isdigit()]
    assert [last for _, last in results] == ["400", "400"]
    assert all(int(begun) >= 20 for begun, _ in results)


def test_a_scheduler_that_is_gone_is_said_and_the_same_command_goes_on(tmp_path):
    store = tmp_path / STORE
    with scheduler(tmp_path) as (process, file), worker(file, tmp_path, "one"), worker(file, tmp_path, "two"):
        first = client(file, store, 400, stderr=subprocess.PIPE)
        wait_for(lambda: min(number_at_home(store, name, 400) for name in "01") > 20)
        os.killpg(process.pid, signal.SIGKILL)
        _, told = first.communicate(timeout=60)
    assert first.returncode != 0
    assert f"UserError: the scheduler at {file} is gone; start it again and repeat the command" in told
    file.unlink()
    with scheduler(tmp_path) as (_, file), worker(file, tmp_path, "one"):
        told, _ = client(file, store, 400).communicate(timeout=240)
    begun = [int(line.split()[0]) for line in told.splitlines() if line[0].isdigit()]
    assert len(begun) == 2
    assert min(begun) >= 20
