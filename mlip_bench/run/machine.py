"""What a machine is that does tasks for others: its code, processor, cores, memory, GPU."""

import hashlib
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

import mlip_bench
from mlip_bench.hardware import available_cores, cpu_name, device_name
from mlip_bench.results import versions

# The resources that workers offer: `dask worker --resources "timing=1 gpu=1"`.
TIMING, GPU = "timing", "gpu"

# On Linux: what tells one machine, as long as it runs, from all others.
MACHINE = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Description:
    """What a worker is and has."""

    versions: dict[str, str]
    source: str
    """SHA-256 of the code of this package."""
    machine: str
    processor: str
    device: str | None
    """The GPU, where the worker offers one."""
    cores: list[int]
    memory_gib: float
    sees_store: bool
    """Whether the client's store is there, under the same name."""


def describe(mark: Path | None, token: str, dask_worker: Any) -> Description:
    """Say what this worker is; ``mark`` is a file in its client's store that holds ``token``."""
    offers_gpu = GPU in dask_worker.state.total_resources
    return Description(
        versions=versions(),
        source=source_digest(),
        machine=MACHINE.read_text().strip() if MACHINE.is_file() else socket.gethostname(),
        processor=cpu_name(),
        device=device_name("cuda") if offers_gpu else None,
        cores=available_cores(),
        memory_gib=psutil.virtual_memory().total / 2**30,
        sees_store=mark is not None and mark.is_file() and mark.read_text() == token,
    )


@cache
def source_digest() -> str:
    """Return the SHA-256 of the code of this package: versions under development have one number."""
    root, digest = Path(mlip_bench.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def mismatches(described: Description) -> list[str]:
    """Say in what a worker differs from this process, so that its results would be others."""
    ours, absent = versions(), "not installed"
    names = [
        name for name in {**ours, **described.versions} if described.versions.get(name) != ours.get(name)
    ]
    found = [
        f"{name} {described.versions.get(name, absent)} (here {ours.get(name, absent)})" for name in names
    ]
    if not found and described.source != source_digest():
        found = ["other code of mlip_bench under the same version"]
    return found
