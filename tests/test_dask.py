"""Tasks on the workers of a Dask scheduler: the same rows as here, also from workers that share no disk."""

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import pytest
from cluster import Counting, wait_for
from distributed import LocalCluster

from mlip_bench.errors import UserError
from mlip_bench.potentials.base import DESCRIPTION
from mlip_bench.potentials.sevennet import SevenNet
from mlip_bench.results import read_rows
from mlip_bench.run import learning, schedule, sweep
from mlip_bench.run.dask_cluster import Cluster
from mlip_bench.run.dask_executor import DaskExecutor
from mlip_bench.run.executor import LocalExecutor, TaskFailed
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.schedule import Results
from mlip_bench.run.store import STORE, Store

TINY = (("snap", {"twojmax": 2}), ("mtp", {"level": 2}), ("gap", {"n_sparse": 20, "n_max": 2, "l_max": 2}))


class Soon(DaskExecutor):
    """Hears of its tasks all the time."""

    news_s = checkpoint_s = 0.5


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Two workers, each under a nanny, one of which offers timings."""
    folder = tmp_path_factory.mktemp("workers")
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        resources={"timing": 1},
        dashboard_address=":0",
        local_directory=str(folder),
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / STORE)


@pytest.fixture
def cluster(address, store):
    """The workers; none sees the store, as if it were on a disk of another machine."""
    with Cluster(address, store.folder, print) as found:
        Path(found.mark).write_text("of another machine")
        found.wait_for_workers("cpu")
        yield found


def rows(folder):
    """The rows of a run, without what differs between two equal ones."""
    read = read_rows(folder / "results.jsonl")
    plain = [dataclasses.replace(row, started="", wall_s=0.0, threads=0) for row in read]
    return [
        dataclasses.replace(row, value=None, spread=None, note=None)
        if row.measure == "fit" or row.unit == "s"
        else row
        for row in plain
    ]


def assert_equal(found, expected):
    """Rounding differs with the place of an array in memory; covariances of a GAP are all but singular."""
    numbers_of = ("value", "spread", "low", "high")
    assert [dataclasses.replace(row, **dict.fromkeys(numbers_of)) for row in found] == [
        dataclasses.replace(row, **dict.fromkeys(numbers_of)) for row in expected
    ]
    for of in numbers_of:
        for one, other in zip(found, expected, strict=True):
            bound = 1e-7 if one.family == "gap" else 1e-9
            number, wanted = (getattr(row, of) or 0.0 for row in (one, other))
            assert number == pytest.approx(wanted, rel=bound, abs=bound), (one.potential, one.metric, of)


def do_sweep(data, executor, folder):
    sizes = [sweep.Size(PotentialPlan(name, name, hypers), 1.0) for name, hypers in TINY]
    plan = Plan(data, (), ("held-out", "errors"), given={"held-out": {"folds": 2}})
    known = Data.of(data, executor.store.put_structures)
    one = sweep.Sweep(plan, known, executor, Results(folder), 1e6, print)
    done = one.run(sizes)
    assert not done.outcome.failures
    return done.outcome


@pytest.fixture(scope="module")
def of_this_machine(embedded, tmp_path_factory):
    """The rows of the sweep on this machine, and how many tasks were done."""
    folder = tmp_path_factory.mktemp("here")
    with LocalExecutor(Store(folder / STORE), 2) as executor:
        outcome = do_sweep(embedded, executor, folder / "run")
    return rows(folder / "run"), outcome.n_done


@pytest.mark.parametrize("shared", [False, True], ids=["sent", "in place"])
def test_rows_are_those_of_this_machine(shared, embedded, address, store, of_this_machine, tmp_path):
    received = []
    with Cluster(address, store.folder, print) as cluster:
        if not shared:
            cluster.mark.write_text("of another machine")
        cluster.wait_for_workers(None)
        assert {worker.described.sees_store for worker in cluster.workers.values()} == {shared}
        run = cluster.client.run
        cluster.client.run = lambda function, *arguments, **options: (
            received.extend(options["workers"] if function.__name__ == "receive" else []),
            run(function, *arguments, **options),
        )[1]
        with Soon(store, cluster, []) as executor:
            assert do_sweep(embedded, executor, tmp_path / "run").n_done == of_this_machine[1]
        # The data goes once to each worker, and not at all where it is there.
        assert len(received) == len(set(received))
        assert bool(received) is not shared
    assert_equal(rows(tmp_path / "run"), of_this_machine[0])
    assert {row.measure for row in rows(tmp_path / "run")} >= {"fit", "held-out", "errors"}
    assert {row.family for row in rows(tmp_path / "run")} == {name for name, _ in TINY}


def test_learning_curves_are_those_of_this_machine(cluster, embedded, store, tmp_path):
    """The law is fitted to errors that other tasks left: workers that see no store are sent them."""
    planned = [PotentialPlan("snap", "snap", {"twojmax": 2})]
    shares = learning.potentials(planned, [0.2, 0.5, 1.0], [0], len(embedded.train))
    plan = Plan(embedded, shares, ("errors",))

    def done(executor, folder):
        tasks = plan.tasks(plan.data(executor.store.put_structures))
        outcome = schedule.run(tasks, executor, folder)
        assert outcome.n_done == len(tasks) + 1
        return rows(folder)

    with Soon(store, cluster, []) as executor:
        found = done(executor, tmp_path / "run")
    with LocalExecutor(Store(tmp_path / "here" / STORE)) as executor:
        assert_equal(found, done(executor, tmp_path / "here" / "run"))
    assert {row.measure for row in found} >= {"errors", "learning"}
    assert {row.n_train for row in found} == {11, 28, 55}


@pytest.mark.slow
def test_timings_are_of_the_processor_of_the_worker(cluster, embedded, store, tmp_path):
    """The key has it, too: another time, the same worker's timing is taken from the store."""
    plan = Plan(embedded, (PotentialPlan("mtp", "mtp", {"level": 2}),), ("cost",))
    plan = dataclasses.replace(plan, timed_on=cluster.timed_on)
    tasks = plan.tasks(Data.of(embedded, store.put_structures))
    with Soon(store, cluster, tasks) as executor:
        assert schedule.run(tasks, executor, tmp_path / "run").n_done == 2
    timed = [row for row in read_rows(tmp_path / "run" / "results.jsonl") if row.measure == "cost"]
    assert "cost_ratio" in {row.metric for row in timed}
    assert {(row.cpu, row.device) for row in timed} == {cluster.timed_on}
    assert {(row.threads, row.error) for row in timed} == {(1, None)}
    with Soon(store, cluster, tasks) as executor:
        assert schedule.run(tasks, executor, tmp_path / "run").n_kept == 2


def test_nothing_is_timed_where_no_worker_offers_it(cluster, embedded, store, tmp_path):
    for worker in cluster.workers.values():
        worker.resources = {}
    cluster.timed_on = None
    plan = Plan(embedded, (PotentialPlan("snap", "snap", {"twojmax": 2}),), ("errors", "cost"))
    tasks = plan.tasks(Data.of(embedded, store.put_structures))
    with Soon(store, cluster, tasks) as executor:
        outcome = schedule.run(tasks, executor, tmp_path / "run")
    assert outcome.n_done == 2
    assert [(row.measure, row.error) for row in outcome.failures] == [
        ("cost", "no worker offers the resource 'timing'")
    ]


def result(future):
    return tuple(map(int, (future.result(120).folder / "result").read_text().split()))


def kill(cluster, worker):
    (pid,) = cluster.client.run(os.getpid, workers=[worker.address]).values()
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_task_whose_worker_is_lost_goes_on_from_its_checkpoint(cluster, store):
    with Soon(store, cluster, []) as executor:
        future = executor.submit(Counting("long", 200))
        home = store.entry(Counting("long", 200)).with_suffix(".checkpoint") / "number"
        while not (home.is_file() and int(home.read_text()) > 10):
            time.sleep(0.1)
        (busy,) = {slot.worker for slot in executor._slots.taken}
        kill(cluster, busy)
        begun, last = result(future)
    assert (begun > 10, last) == (True, 200)
    assert not home.parent.exists()


class LosesTheFirst(Soon):
    """Loses the first worker after it was chosen, and before it has its task."""

    lost = None

    def _send(self, worker, task):
        super()._send(worker, task)
        if self.lost is None:
            self.lost = worker
            kill(self._cluster, worker)
            wait_for(lambda: worker.gone)


def test_a_worker_that_is_lost_before_it_has_its_task_is_not_waited_for(cluster, store):
    with LosesTheFirst(store, cluster, []) as executor:
        assert result(executor.submit(Counting("early", 5))) == (0, 5)
        assert executor.lost.gone


@pytest.mark.slow
def test_a_task_that_ends_every_worker_is_given_up(cluster, store):
    with Soon(store, cluster, []) as executor:
        deadly, other = executor.submit(Counting("deadly", 50, 3)), executor.submit(Counting("other", 50))
        with pytest.raises(TaskFailed, match="given up: 3 workers were lost with it, the last tcp://"):
            deadly.result(240)
        assert result(other)[1] == 50
    assert not store.has(Counting("deadly", 50, 3))


def test_a_task_that_is_stopped_ends_at_its_worker(cluster, store):
    with Soon(store, cluster, []) as executor:
        future = executor.submit(Counting("endless", 10**6))
        while not cluster.client.run(at_work) or not any(cluster.client.run(at_work).values()):
            time.sleep(0.1)
    assert future.cancelled()
    deadline = time.monotonic() + 30
    while any(cluster.client.run(at_work).values()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def at_work():
    from mlip_bench.run import dask_worker

    return len(dask_worker._running)


def test_files_that_hyper_parameters_name_are_sent_once_and_found_by_their_content(
    cluster, embedded, store, tmp_path
):
    small = {"channels": 2, "lmax": 1, "layers": 1, "cutoff": 4.0}
    SevenNet(**small, steps=1).fit(embedded.train[:2]).save(tmp_path / "model")
    path = tmp_path / "model" / "model.pth"
    planned = PotentialPlan("sevennet", "sevennet", {"checkpoint": str(path), "steps": 0})
    (fit,) = Plan(embedded, (planned,), ()).tasks(Data.of(embedded, store.put_structures))
    for fresh in (False, True):
        with Soon(store, cluster, [fit], fresh=fresh) as executor:
            done = executor.submit(fit).result(240)
        assert json.loads((done.folder / DESCRIPTION).read_text())["hypers"]["checkpoint"] == str(path)
        path.unlink(missing_ok=True)  # the second time nobody can read it
    sent = [one for worker in cluster.workers.values() for one in worker.has if one.name == path.name]
    assert {one.parent.name for one in sent} == {sha256 for _, sha256 in fit.files.values()}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("tcp://127.0.0.1:9", r"--scheduler tcp://127.0.0.1:9: nobody answers there within 10 s"),
        ("nowhere", r"--scheduler nowhere: nobody answers there within 10 s"),
        ("missing.json", r"--scheduler missing.json: no such file"),
    ],
)
def test_an_address_where_nobody_listens_is_said_in_time(where, message, store):
    start = time.monotonic()
    with pytest.raises(UserError, match=message):
        Cluster(where, store.folder, print)
    assert time.monotonic() - start < 15
