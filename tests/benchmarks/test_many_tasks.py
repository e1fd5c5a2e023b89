"""Ten thousand tasks of a family that does nothing: time for each, memory of the client, and the report.

MLIP_BENCH_TASKS=10000 python -m pytest tests/benchmarks/test_many_tasks.py -m benchmark -s
"""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster

from mlip_bench import potentials
from mlip_bench.report import HTML, build
from mlip_bench.run import schedule
from mlip_bench.run.dask_cluster import Cluster
from mlip_bench.run.dask_executor import DaskExecutor
from mlip_bench.run.executor import Watcher
from mlip_bench.run.folder import describe
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.store import STORE, Store

N_TASKS = int(os.environ.get("MLIP_BENCH_TASKS", "10000"))
MIB = 2**20


def spent():
    """Seconds so far: of the clock, of the processor here, and of the processor at the workers."""
    elsewhere = sum(sum(one.cpu_times()[:4]) for one in psutil.Process().children(recursive=True))
    return time.monotonic(), time.process_time(), elsewhere


class Sampling(Watcher):
    """Notes the memory of this process as tasks end, and what was spent until a tenth had: on beginning."""

    def __init__(self):
        self.samples = []
        self.start = time.monotonic()

    def ended(self, task, error):
        assert error is None, error
        self.samples.append(psutil.Process().memory_info().rss / MIB)
        if len(self.samples) == N_TASKS // 10:
            self.begun = spent()
        if len(self.samples) % 1000 == 0:
            each = 1000 * (time.monotonic() - self.start) / len(self.samples)
            print(f"{len(self.samples)} tasks, {each:.0f} ms each, {self.samples[-1]:.0f} MiB", flush=True)


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """Register the family as a package of somebody else does, here and for the workers."""
    described = tmp_path / "packages" / "nothing-1.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: nothing\nVersion: 1\n")
    entry = "[mlip_bench.potentials]\nnothing = nothing_family:Nothing\n"
    (described / "entry_points.txt").write_text(entry)
    for folder in (described.parent, Path(__file__).parent / "nothing"):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    potentials._registered.cache_clear()
    yield
    potentials._registered.cache_clear()


@pytest.mark.benchmark
def test_many_tasks_and_their_report(nothing, embedded, tmp_path):
    planned = tuple(
        PotentialPlan(f"nothing-{number}", "nothing", {"number": number}) for number in range(N_TASKS // 2)
    )
    plan, store, watcher = Plan(embedded, planned, ("errors",)), Store(tmp_path / STORE), Sampling()
    tasks = plan.tasks(Data.of(embedded, store.put_structures))
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            local_directory=str(tmp_path / "workers"),
        ) as workers,
        Cluster(workers.scheduler_address, store.folder, print) as cluster,
    ):
        cluster.wait_for_workers(None)
        with DaskExecutor(store, cluster, tasks, watcher=watcher) as executor:
            outcome = schedule.run(tasks, executor, tmp_path / "run")
            ended = spent()
    assert outcome.n_done == len(tasks)
    memory = watcher.samples
    tenth = len(memory) // 10
    rest = len(tasks) - tenth
    each = [1000 * (after - before) / rest for before, after in zip(watcher.begun, ended, strict=True)]
    print("{:.0f} ms per task; of the processor {:.0f} ms here and {:.0f} ms at the workers".format(*each))
    print(f"memory of the client: {memory[tenth]:.0f} MiB after a tenth, {memory[-1]:.0f} MiB at the end")
    describe(plan, tmp_path / "run", ["mlip-bench", "run"], {})
    start, busy = time.monotonic(), time.process_time()
    build(tmp_path / "run")
    seconds, busy = time.monotonic() - start, time.process_time() - busy
    size = (tmp_path / "run" / HTML).stat().st_size / 1e6
    print(f"report: {seconds:.1f} s ({busy:.1f} s of the processor), {size:.2f} MB")
