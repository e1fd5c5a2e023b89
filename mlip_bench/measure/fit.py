"""Fitting as a measurement: wall time and peak memory of the process that fits."""

import resource
import time
from pathlib import Path

from mlip_bench.data.dataset import Dataset
from mlip_bench.measure.base import Metric, Value
from mlip_bench.potentials.base import Potential, Progress

METRICS = {
    "fit_s": Metric("s", "wall time of the fit, on the threads stated"),
    "peak_rss_mib": Metric("MiB", "largest resident memory of a process of the fit"),
}


def fit(potential: Potential, dataset: Dataset, seed: int, folder: Path, progress: Progress) -> list[Value]:
    """Fit, save the potential into ``folder``, and return time and memory."""
    start = time.perf_counter()
    potential.fit(dataset.train, seed=seed, progress=progress)
    seconds = time.perf_counter() - start
    potential.save(folder)
    return [Value("fit_s", seconds), Value("peak_rss_mib", peak_rss_mib())]


def peak_rss_mib() -> float:
    """Return the largest resident memory (MiB) of this process or of one that it started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return max(_own_peak_mib(), children)


def _own_peak_mib() -> float:
    # Linux's ru_maxrss of a process counts what it was forked from; VmHWM is its own.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")
