"""The processor, cores and accelerator that a process may use."""

import os
import platform
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import psutil

# A core is busy where others use more of it than this (%) while it is watched (s).
BUSY_PERCENT = 20.0
WATCHED_SECONDS = 0.1


def available_cores() -> list[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def idlest(cores: Sequence[int]) -> list[int]:
    """Return the cores, the least busy first; of those alike, core 0 and its interrupts last.

    Threads of one core come after all cores have given one, and are busy where the other is.
    """
    used = dict(enumerate(psutil.cpu_percent(interval=WATCHED_SECONDS, percpu=True)))

    def is_busy(core: int) -> bool:
        return any(used.get(thread, 0.0) > BUSY_PERCENT for thread in _threads_of_core(core))

    given: Counter[tuple[int, ...]] = Counter()
    turns = {}
    for core in sorted(cores, key=lambda core: (is_busy(core), -core)):
        turns[core] = given[_threads_of_core(core)]
        given[_threads_of_core(core)] += 1
    return sorted(turns, key=lambda core: turns[core])


@cache
def _threads_of_core(core: int) -> tuple[int, ...]:
    """Return the threads that share a core with one of them, itself too, as Linux numbers them."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return (core,)
    ranges = [list(map(int, part.split("-"))) for part in text.strip().split(",")]
    return tuple(thread for first, *last in ranges for thread in range(first, (last or [first])[0] + 1))


@cache
def cpu_name() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def device_name(device: str) -> str:
    """Return ``cpu``, or ``cuda:`` and the name of the GPU."""
    if device == "cpu":
        return device
    import torch

    return f"{device}:{torch.cuda.get_device_name()}"
