"""Workers that were lost with a task, and when it is given up: it would end them all, one after the other."""

import hashlib

from mlip_bench.measure.fit import CLOCK
from mlip_bench.results import TASK
from mlip_bench.run import archive
from mlip_bench.run.child import ChildFailed
from mlip_bench.run.store import Work
from mlip_bench.run.tasks import Task

# Workers that may be lost with a task one after the other, without its checkpoint advancing.
MOST = 3


def state_of(work: Work) -> str:
    """Return a hash of the state of a fit; the clock beside it runs on by itself."""
    digest = hashlib.sha256()
    for name, path in archive.files_in(work.checkpoint).items():
        if name not in (TASK, CLOCK):
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


class Losses:
    """Counts, for each task, the workers that were lost with it since its checkpoint advanced."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def begin(self, task: Task, state: str) -> None:
        """Note the state in which a task begins."""
        self._found.setdefault(task.key, (state, 0))

    def count(self, task: Task, state: str, worker: str) -> None:
        """Count a worker that was lost with a task, which is now in this state.

        Raises :class:`ChildFailed` where it is one too many.
        """
        last, number = self._found[task.key]
        number = number + 1 if state == last else 0
        self._found[task.key] = state, number
        if number == MOST:
            raise ChildFailed(
                f"given up: {number} workers were lost with it, the last {worker}, and it came no further"
            )
