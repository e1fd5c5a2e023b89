"""Peak memory of this process, and of what it does for a while."""

import contextlib
import ctypes
import platform
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STATUS = Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")
CLEAR = Path("/proc/self/clear_refs")
# What Linux wants written to ``clear_refs`` to begin a new peak (man 5 proc).
NEW_PEAK = "5"

MIB = 1024**2


@dataclass
class Peak:
    """Largest memory (MiB) above what was in use at the start."""

    mib: float = float("nan")


@contextlib.contextmanager
def peak_of(device: str) -> Iterator[Peak]:
    """Measure what a block of code takes on ``cpu`` (resident memory) or ``cuda`` (torch's own count)."""
    found = Peak()
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found.mib = (torch.cuda.max_memory_allocated() - before) / MIB
        return
    give_back_freed()
    CLEAR.write_text(NEW_PEAK)
    resident = _status_mib("VmRSS")
    yield found
    found.mib = _status_mib("VmHWM") - resident


def give_back_freed() -> None:
    """Hand memory that was freed back to the system: what is measured next would find it there, unseen."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def available_mib(device: str) -> float:
    """Return the memory (MiB) that ``cpu`` or ``cuda`` still has to give."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0] / MIB
    return _kib(MEMORY, "MemAvailable") / 1024


def peak_rss_mib() -> float:
    """Return the largest resident memory (MiB) of this process or of one that it started."""
    # Linux's ru_maxrss of a process counts what it was forked from; VmHWM is its own.
    return max(_status_mib("VmHWM"), peak_of_programs_mib())


def peak_of_programs_mib() -> float:
    """Return the largest resident memory (MiB) of a program that this process started and that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _status_mib(key: str) -> float:
    return _kib(STATUS, key) / 1024


def _kib(path: Path, key: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise RuntimeError(f"{path} has no {key}")
