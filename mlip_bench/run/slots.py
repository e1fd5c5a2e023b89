"""Which worker does a task: slots of workers, cores of their machines, and what each offers.

A task gets a slot of a worker that has one free, and as many cores as a slot has on that machine, a timing as
many as it is timed on. A timing has its machine alone; where other workers are free, nothing else goes to
those that time.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlip_bench.hardware import available_cores
from mlip_bench.run.child import ChildFailed
from mlip_bench.run.machine import GPU, TIMING, Description
from mlip_bench.run.tasks import Task

# How long a task waits for a worker with a resource that none offers any more (s).
PATIENCE_SECONDS = 300.0


@dataclass(eq=False)
class Worker:
    """A worker that can do tasks of ours."""

    address: str
    name: str
    n_slots: int
    resources: dict[str, float]
    described: Description
    has: set[Path] = field(default_factory=set)
    """Structures and files that it was sent, as the store has them."""
    sending: threading.Lock = field(default_factory=threading.Lock)
    gone: bool = False
    barred: str | None = None
    """Why it gets no more tasks."""

    @property
    def machine(self) -> str:
        """What tells its machine from others."""
        return self.described.machine

    @property
    def summary(self) -> str:
        """What it has, in one line."""
        described = self.described
        offers = [name if name == TIMING else described.device or GPU for name in self.resources]
        return (
            f"{self.name}: {described.processor}, {len(described.cores)} cores, "
            f"{described.memory_gib:.0f} GiB, {self.n_slots} slot{'s' if self.n_slots > 1 else ''}"
            + (f", offers {', '.join(offers)}" if offers else "")
            + "; same versions as here"
        )

    def times(self, device: str) -> tuple[str, str] | None:
        """Return processor and device that it times on, where it offers timings of ``cpu`` or ``cuda``."""
        described = self.described
        name = device if device == "cpu" else described.device
        return None if TIMING not in self.resources or name is None else (described.processor, name)


def summary(workers: Sequence[Worker]) -> str:
    """Return how many workers, slots and machines there are."""
    n_slots, n_machines = sum(one.n_slots for one in workers), len({one.machine for one in workers})
    machines = f"{n_machines} machine{'s' if n_machines > 1 else ''}"
    return f"workers: {len(workers)}, with {n_slots} slots on {machines}"


def resources(task: Task) -> dict[str, int]:
    """Return what a worker has to offer for a task, and how much of it the task takes."""
    return {name: 1 for name, wants in ((TIMING, task.alone), (GPU, task.on_gpu)) if wants}


def kind_that_times(workers: Sequence[Worker], device: str) -> tuple[tuple[str, str] | None, str]:
    """Return the processor and device that most workers time on, and what is to be said of it."""
    kinds = Counter(kind for worker in workers if (kind := worker.times(device)) is not None).most_common()
    if not kinds:
        return None, f"no worker offers the resource '{TIMING}': what is timed fails, and rows say so"
    (chosen, _), *others = kinds
    named = ", ".join(" with ".join(kind) for kind, _ in others)
    reason = f"alone, not on {named}: seconds of several machines cannot be compared"
    return chosen, f"timed on {' with '.join(chosen)} {reason}" if others else ""


@dataclass(eq=False)
class Slot:
    """Cores of a worker; without a worker those of this machine, or the reason why a task gets none."""

    worker: Worker | None
    cores: list[int]
    task: Task | None = None
    error: Exception | None = None


class Slots:
    """The slots that are taken."""

    def __init__(self) -> None:
        self.taken: set[Slot] = set()
        self._offered = {TIMING: -PATIENCE_SECONDS, GPU: -PATIENCE_SECONDS}

    def take(self, task: Task, workers: Sequence[Worker], timed_on: tuple[str, str] | None) -> Slot | None:
        """Return a slot for a task, or one that says why there will be none; None where all are taken."""
        slot = self._here(task) if task.reads_files else self._there(task, workers, timed_on)
        if slot is not None:
            self.taken.add(slot)
        return slot

    def _here(self, task: Task) -> Slot | None:
        """Return a core of this machine, for what reads files of it: one task at a time."""
        is_free = all(slot.worker is not None or slot.error for slot in self.taken)
        return Slot(None, available_cores()[-1:], task) if is_free else None

    def _there(self, task: Task, workers: Sequence[Worker], timed_on: tuple[str, str] | None) -> Slot | None:
        """Return a free slot of the worker that has most of them."""
        device = "cuda" if task.on_gpu else "cpu"
        able = [
            worker
            for worker in workers
            if (not task.alone or (timed_on is not None and worker.times(device) == timed_on))
            and (not task.on_gpu or GPU in worker.resources)
        ]
        if able and all(len(worker.described.cores) < task.cores for worker in able):
            return Slot(None, [], task, ChildFailed(f"no worker that times has {task.cores} cores"))
        able = [worker for worker in able if len(worker.described.cores) >= task.cores]
        for name in resources(task):
            self._offered[name] = time.monotonic() if able else self._offered[name]
            if time.monotonic() - self._offered[name] > PATIENCE_SECONDS:
                return Slot(None, [], task, ChildFailed(f"no worker offers the resource '{name}'"))
        free = {worker: n_free for worker in able if (n_free := self._n_free(worker, task)) > 0}
        if not free:
            return None
        worker = max(free, key=lambda one: (TIMING not in one.resources, free[one]))
        return Slot(worker, self._cores(worker, task, workers), task)

    def _n_free(self, worker: Worker, task: Task) -> int:
        """Return how many tasks like this one a worker can begin; a timing has its machine alone."""
        beside = [slot for slot in self.taken if slot.worker and slot.worker.machine == worker.machine]
        own = [slot.task for slot in beside if slot.worker is worker and slot.task]
        if (task.alone and beside) or any(slot.task and slot.task.alone for slot in beside):
            return 0
        n_gpu = int(worker.resources.get(GPU, 0)) - sum(one.on_gpu for one in own)
        return min(worker.n_slots - len(own), n_gpu) if task.on_gpu else worker.n_slots - len(own)

    def _cores(self, worker: Worker, task: Task, workers: Sequence[Worker]) -> list[int]:
        """Return the cores for a task: those that others on the machine use least; its own for a timing."""
        cores = worker.described.cores
        if task.alone:
            return cores[-task.cores :]
        same = [one for one in workers if one.machine == worker.machine]
        n_slots = sum(one.n_slots for one in same if set(one.described.cores) & set(cores))
        used = Counter(core for slot in self.taken if slot.worker in same for core in slot.cores)
        return sorted(cores, key=lambda core: (used[core], -core))[: max(1, len(cores) // n_slots)]
