"""The processor, cores and accelerator that a process may use."""

import os
import platform
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
    """Return the cores, the least busy first; of those alike, core 0 and its interrupts last."""
    busy = psutil.cpu_percent(interval=WATCHED_SECONDS, percpu=True)
    return sorted(cores, key=lambda core: (busy[core] > BUSY_PERCENT if core < len(busy) else False, -core))


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
