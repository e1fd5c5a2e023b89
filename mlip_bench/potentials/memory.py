"""Whether a fit fits into memory, asked before it begins."""

import contextlib
import resource
from pathlib import Path

import numpy as np
import psutil
from ase import Atoms

from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.errors import UserError

# Share of available memory that a fit may plan for; the rest is for everything else on the machine.
MEMORY_SHARE = 0.9

DOUBLE = 8
"""Bytes of a number in double precision."""

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def available_bytes() -> float:
    """Return what this process can still take: of the machine, its control groups and its own limits."""
    found = [float(psutil.virtual_memory().available), *_left_in_control_groups()]
    used = psutil.Process().memory_info()
    for limit, taken in ((resource.RLIMIT_AS, used.vms), (resource.RLIMIT_DATA, getattr(used, "data", 0))):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            found.append(float(soft - taken))
    return max(min(found), 0.0)


def refuse_too_much(family: str, needed_bytes: float, advice: str) -> None:
    """Raise :class:`UserError` where a fit needs more memory than there is; ``advice`` says what to do."""
    available = available_bytes()
    if needed_bytes > MEMORY_SHARE * available:
        raise UserError(
            f"{family}: this fit needs about {_size(needed_bytes)} of memory and {_size(available)} are "
            f"available; {advice}"
        )


def expected_edges(atoms: Atoms, cutoff: float) -> float:
    """Estimate the pairs i→j within ``cutoff`` (Å) from the density, before any list is made."""
    volume = in_periodic_box(atoms, cutoff).get_volume()
    return float(len(atoms) ** 2 * 4 / 3 * np.pi * cutoff**3 / volume)


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes < 1e12 else f"{n_bytes / 1e9:,.0f} GB"


def _left_in_control_groups() -> list[float]:
    """Return what is left below each limit of the control groups (version 1 and 2) of this process."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            root, files = CONTROL_GROUPS, ("memory.max", "memory.current", "inactive_file")
            if controllers:
                if "memory" not in controllers.split(","):
                    continue
                root = CONTROL_GROUPS / "memory"
                files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            group = root / name.lstrip("/")
            # Inside a container the group's own path may not be there; its limit is then at the root.
            for folder in {group, *group.parents}:
                if folder == root or root in folder.parents:
                    found += _left_in(folder, *files)
    return found


def _left_in(folder: Path, limit: str, usage: str, reclaimable: str) -> list[float]:
    """Return what one control group has left; nothing where it has no limit."""
    try:
        most = (folder / limit).read_text().strip()
        if most == "max":
            return []
        used = int((folder / usage).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []
    # Files in the page cache are given back when memory is asked for.
    return [float(int(most) - used + int(statistics.get(reclaimable, 0)))]
