"""Fitting as a measurement: wall time and peak memory of the process that fits."""

import time
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from mlip_bench.measure.base import Metric, Reported, Value, beside
from mlip_bench.measure.memory import peak_of, peak_of_programs_mib
from mlip_bench.potentials.base import Potential, Progress
from mlip_bench.results import write_atomically

REVISION = 2
"""Raised whenever what is measured of a fit changes; what the fit finds is of the family's revision."""
PACKAGES: tuple[str, ...] = ()
"""Distributions whose version decides the values, beside those of the family."""

# In the folder of a checkpoint: the seconds so far.
CLOCK = "seconds.txt"

# How often the time of an unfinished fit is written down (s).
NOTE_SECONDS = 5.0

METRICS = {
    "fit_s": Metric("s", "wall time of the fit, on the threads stated"),
    "peak_rss_mib": Metric(
        "MiB", "largest resident memory of a process of the fit, beside what its imports take"
    ),
}


def fit(
    potential: Potential,
    train: Sequence[Atoms],
    seed: int,
    folder: Path,
    checkpoint: Path | None,
    progress: Progress,
) -> list[Value]:
    """Fit, save the potential into ``folder``, and return time and memory.

    The time counts from the first start, also where the fit goes on from ``checkpoint``.
    """
    clock = _Clock(checkpoint)

    def ticking(share: float, message: str) -> None:
        clock.note()
        progress(share, message)

    with peak_of("cpu") as peak:
        potential.fit(train, seed=seed, progress=ticking, checkpoint=checkpoint)
    seconds = clock.seconds()
    potential.save(folder)
    note = "; ".join(potential.notes_) or None
    return [
        Value("fit_s", seconds, note=note),
        Value("peak_rss_mib", max(peak.mib, peak_of_programs_mib())),
    ]


class _Clock:
    """Seconds of work on a fit, kept beside its checkpoint so that interruptions do not count."""

    def __init__(self, folder: Path | None):
        self._file = None if folder is None else folder / CLOCK
        self._before = float(self._file.read_text()) if self._file and self._file.is_file() else 0.0
        self._start = self._noted = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds so far."""
        return self._before + time.perf_counter() - self._start

    def note(self) -> None:
        """Write them down, now and then."""
        now = time.perf_counter()
        if self._file is not None and now - self._noted > NOTE_SECONDS:
            self._noted = now
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, repr(self.seconds()))


REPORTED = Reported(
    "fit",
    METRICS,
    sections=beside(__name__),
    terms=beside(__name__, "terms"),
    treated=beside(__name__, "treated"),
    ranked=True,
)
