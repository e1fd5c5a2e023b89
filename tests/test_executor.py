"""The executor: order, cores, failures, and what is timed is alone."""

import dataclasses
import json
import threading
import time
from concurrent.futures import CancelledError
from functools import cached_property

import pytest

from mlip_bench.hardware import available_cores
from mlip_bench.run.executor import LocalExecutor, NeedFailed, TaskFailed, Watcher
from mlip_bench.run.perform import do
from mlip_bench.run.store import Store
from mlip_bench.run.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Waiting(Task):
    """Waits, and writes down when it began and ended and on which cores."""

    name: str
    seconds: float = 0.0
    timed: bool = False
    fails: bool = False

    @property
    def kind(self):
        return "waiting"

    @property
    def label(self):
        return f"waiting {self.name}"

    @property
    def alone(self):
        return self.timed

    @cached_property
    def decides(self):
        return {"name": self.name}


@do.register
def _(task: Waiting, work, threads, progress):
    begun = time.monotonic()
    progress(0.5, "half")
    time.sleep(task.seconds)
    if task.fails:
        raise ValueError("it cannot be")
    content = {"begun": begun, "ended": time.monotonic(), "cores": available_cores(), "threads": threads}
    (work.folder / "times.json").write_text(json.dumps(content))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def times(done):
    return json.loads((done.folder / "times.json").read_text())


def test_tasks_work_side_by_side_on_cores_of_their_own(store):
    cores = available_cores()
    if len(cores) < 2:
        pytest.skip("one core: nothing can work side by side")
    with LocalExecutor(store, 2) as executor:
        futures = [executor.submit(Waiting(name, 1.5)) for name in ("one", "two")]
        one, two = (times(future.result()) for future in futures)
    assert one["begun"] < two["ended"]
    assert two["begun"] < one["ended"]
    assert sorted(one["cores"] + two["cores"]) == cores
    assert {one["threads"], two["threads"]} == {len(one["cores"]), len(two["cores"])}


def test_what_is_timed_is_alone_on_one_core(store):
    with LocalExecutor(store, 2) as executor:
        futures = [executor.submit(Waiting(str(index), 0.3, timed=index == 1)) for index in range(4)]
        timed, *others = (times(futures[index].result()) for index in (1, 0, 2, 3))
    assert len(timed["cores"]) == 1  # the least busy one
    assert timed["threads"] == 1
    assert all(other["ended"] <= timed["begun"] for other in others)


def test_two_executors_on_one_machine_do_not_disturb_a_timing(store):
    with LocalExecutor(store, 1) as one, LocalExecutor(Store(store.folder), 1) as other:
        futures = [
            executor.submit(Waiting(f"{name}-{index}", 0.2, timed=index % 2 == 1))
            for name, executor in (("one", one), ("other", other))
            for index in range(4)
        ]
        found = [times(future.result()) for future in futures]
    for timed in found[1::2]:
        for any_other in found:
            apart = any_other["ended"] <= timed["begun"] or timed["ended"] <= any_other["begun"]
            assert any_other is timed or apart


def test_a_task_waits_for_what_it_needs_and_is_not_begun_without_it(store):
    first, second = Waiting("first", 0.2), Waiting("second")
    broken, never = Waiting("broken", fails=True), Waiting("never")
    with LocalExecutor(store, 2) as executor:
        futures = [
            executor.submit(task, needs)
            for task, needs in ((first, ()), (second, (first,)), (broken, ()), (never, (broken,)))
        ]
        assert times(futures[0].result())["ended"] <= times(futures[1].result())["begun"]
        with pytest.raises(TaskFailed, match=r"ValueError: it cannot be \(test_executor.py:\d+\)"):
            futures[2].result()
        with pytest.raises(NeedFailed):
            futures[3].result()
    assert not store.has(broken)


def test_a_task_of_two_names_is_done_once(store):
    with LocalExecutor(store, 2) as executor:
        one, other = executor.submit(Waiting("same")), executor.submit(Waiting("same"))
        assert one is other
        assert not one.result().kept
    with LocalExecutor(store, 2) as executor:
        assert executor.submit(Waiting("same")).result().kept


def test_a_time_limit_is_a_failure_with_a_row_of_its_own(store):
    with LocalExecutor(store, 1, timeout_s=5) as executor:
        with pytest.raises(TaskFailed, match=r"the limit for a task \(--timeout\)") as caught:
            executor.submit(Waiting("long", 60)).result()
        assert caught.value.wall_s < 30
        executor.submit(Waiting("short")).result()  # and the next is done


def test_stopped_work_leaves_nothing(store):
    began = threading.Event()

    class Telling(Watcher):
        def started(self, task):
            began.set()

    with LocalExecutor(store, 1, watcher=Telling()) as executor:
        running, waiting = executor.submit(Waiting("long", 60)), executor.submit(Waiting("next"))
        assert began.wait(60)
        executor.stop()
        for future in (running, waiting):
            with pytest.raises(CancelledError):
                future.result(timeout=60)
    assert not [path for path in store.folder.rglob("*.partial") if path.is_dir()]
