"""Which worker does a task."""

import dataclasses
from functools import cached_property

import pytest

from mlip_bench.run import slots
from mlip_bench.run.machine import Description, mismatches, source_digest
from mlip_bench.run.slots import Slots, Worker, kind_that_times
from mlip_bench.run.tasks import Task

HERE = slots.available_cores()


@dataclasses.dataclass(frozen=True, eq=False)
class Some(Task):
    timed: bool = False
    gpu: bool = False
    files: bool = False

    @property
    def kind(self):
        return "some"

    @cached_property
    def decides(self):
        return {}

    @property
    def alone(self):
        return self.timed

    @property
    def on_gpu(self):
        return self.gpu

    @property
    def reads_files(self):
        return self.files


def worker(name, machine="a", n_slots=1, processor="fast", cores=(0, 1, 2, 3), **resources):
    device = "cuda:card" if "gpu" in resources else None
    described = Description({}, "", machine, processor, device, list(cores), 8.0, False)
    return Worker(f"tcp://{name}", name, n_slots, resources, described)


FAST = ("fast", "cpu")


def test_tasks_go_where_most_slots_are_free_and_share_the_cores():
    taken, workers = Slots(), [worker("small"), worker("large", "b", 2)]
    got = [taken.take(Some(), workers, None) for _ in range(3)]
    assert [slot.worker.name for slot in got] == ["large", "small", "large"]
    assert sorted(got[0].cores + got[2].cores) == sorted(got[1].cores) == [0, 1, 2, 3]
    assert not set(got[0].cores) & set(got[2].cores)
    assert taken.take(Some(), workers, None) is None
    taken.taken.discard(got[1])
    assert taken.take(Some(), workers, None).worker.name == "small"


def test_workers_of_one_machine_do_not_take_each_others_cores():
    taken, workers = Slots(), [worker("one"), worker("two")]
    one, two = (taken.take(Some(), workers, None) for _ in range(2))
    assert sorted(one.cores + two.cores) == [0, 1, 2, 3]


def test_a_timing_has_its_machine_alone():
    workers = [worker("times", "a", 2, timing=1), worker("beside", "a"), worker("elsewhere", "b", timing=1)]
    taken = Slots()
    plain = [taken.take(Some(), workers, FAST) for _ in range(1)]
    assert plain[0].worker.name == "beside"  # that does not time
    timing = taken.take(Some(timed=True), workers, FAST)
    assert (timing.worker.name, timing.cores) == ("elsewhere", [3])
    assert taken.take(Some(timed=True), workers, FAST) is None
    taken.taken.discard(timing)
    taken.taken.discard(plain[0])
    timing = taken.take(Some(timed=True), workers[:2], FAST)
    assert timing.worker.name == "times"
    assert taken.take(Some(), workers[:2], FAST) is None


def test_timings_are_made_on_one_kind_of_processor():
    workers = [
        worker("a", "a", timing=1),
        worker("b", "b", timing=1),
        worker("c", "c", processor="slow", timing=1),
    ]
    kind, sentence = kind_that_times(workers, "cpu")
    assert kind == FAST
    assert sentence.startswith("timed on fast with cpu alone, not on slow with cpu: ")
    taken = Slots()
    assert {taken.take(Some(timed=True), workers, kind).worker.name for _ in range(2)} == {"a", "b"}
    assert taken.take(Some(timed=True), workers, kind) is None
    assert kind_that_times(workers[:2], "cpu") == (FAST, "")
    assert kind_that_times(workers, "cuda")[0] is None


def test_gpu_tasks_go_to_workers_that_offer_one():
    workers = [worker("plain", n_slots=4), worker("card", "b", n_slots=4, gpu=1, timing=1)]
    taken = Slots()
    assert taken.take(Some(gpu=True), workers, None).worker.name == "card"
    assert taken.take(Some(gpu=True), workers, None) is None  # one card, one task
    assert taken.take(Some(), workers, None).worker.name == "plain"
    assert workers[1].times("cuda") == ("fast", "cuda:card")


@pytest.mark.parametrize("kind", ["timing", "gpu"])
def test_what_no_worker_offers_is_said_at_once_and_later_after_some_patience(kind, monkeypatch):
    task = Some(timed=kind == "timing", gpu=kind == "gpu")
    (error,) = {str(Slots().take(task, workers, None).error) for workers in ([], [worker("plain")])}
    assert error == f"no worker offers the resource '{kind}'"
    taken, offering = Slots(), [worker("offers", **{kind: 1})]
    slot = taken.take(task, offering, FAST)
    taken.taken.discard(slot)
    assert taken.take(task, [worker("plain")], FAST) is None  # it may come back
    monkeypatch.setattr(slots, "PATIENCE_SECONDS", 0.0)
    assert taken.take(task, [worker("plain")], FAST).error is not None


def test_what_reads_files_of_this_machine_is_done_here():
    taken = Slots()
    here = taken.take(Some(files=True), [worker("plain")], None)
    assert (here.worker, here.cores, here.error) == (None, HERE[-1:], None)
    assert taken.take(Some(files=True), [worker("plain")], None) is None


def test_a_worker_differs_by_versions_and_by_code():
    from mlip_bench.results import versions

    same = Description(versions(), source_digest(), "a", "fast", None, [0], 8.0, False)
    assert mismatches(same) == []
    older = dataclasses.replace(same, versions=versions() | {"numpy": "1.0"})
    assert mismatches(older) == [f"numpy 1.0 (here {versions()['numpy']})"]
    bare = dataclasses.replace(same, versions={k: v for k, v in versions().items() if k != "motep"})
    assert mismatches(bare) == [f"motep not installed (here {versions()['motep']})"]
    assert mismatches(dataclasses.replace(same, source="0")) == [
        "other code of mlip_bench under the same version"
    ]
