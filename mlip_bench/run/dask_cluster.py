"""The workers of a Dask scheduler: which there are, what each has, and which can do tasks of ours.

Workers come and go. One whose packages or whose code are others than ours is refused, by name.
"""

import contextlib
import logging
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
from distributed import Client

from mlip_bench.errors import UserError
from mlip_bench.run import slots
from mlip_bench.run.machine import Description, describe, mismatches
from mlip_bench.run.slots import Worker

# How long a scheduler may take to answer, and how often workers are looked at (s).
CONNECT_SECONDS = 10
LOOK_SECONDS = 1.0

# Workers that start together do not come in the same moment, and one that is lost may start again (s).
SETTLE_SECONDS, PATIENCE_SECONDS = 3.0, 60.0

# Address and folder of a worker: one that is started again at its address has another folder.
Place = tuple[str, str]


def connect(address: str) -> Client:
    """Return a client of a scheduler, at an address or in a file that it wrote.

    Raises :class:`UserError` where the file is missing, or no scheduler answers in ten seconds.
    """
    is_file = address.endswith(".json")
    if is_file and not Path(address).is_file():
        raise UserError(f"--scheduler {address}: no such file; a scheduler writes it when it starts")
    # A potential can be larger than what Dask finds large, and goes through the scheduler all the same.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it is said by us
    try:
        with warnings.catch_warnings(action="ignore"):  # other versions are told by us, by name
            return Client(
                **{"scheduler_file" if is_file else "address": address},
                timeout=CONNECT_SECONDS,
                set_as_default=False,
                direct_to_workers=False,
            )
    except (OSError, ValueError) as error:
        raise UserError(
            f"--scheduler {address}: nobody answers there within {CONNECT_SECONDS} s "
            f"({' '.join(str(error).split()) or type(error).__name__}); is the scheduler running?"
        ) from error


class Cluster(contextlib.AbstractContextManager["Cluster"]):
    """The workers of a scheduler; a context, which lets go of it in the end.

    ``say`` prints a line; ``store`` is the folder that workers may see as well. Several threads may look.
    """

    def __init__(self, address: str, store: Path | None, say: Callable[[str], None]):
        self.address = address
        self.client = connect(address)
        self.workers: dict[Place, Worker] = {}
        self.refused: dict[Place, tuple[str, str]] = {}
        """The name of a worker, and in what it differs."""
        self.timed_on: tuple[str, str] | None = None
        """Processor and device that timings are made on: one kind, so that they can be compared."""
        self._able_at = time.monotonic()
        self._say = say
        self._token = uuid.uuid4().hex
        self.mark = None if store is None else store / "machines" / f"{self._token}.mark"
        if self.mark is not None:
            self.mark.parent.mkdir(parents=True, exist_ok=True)
            self.mark.write_text(self._token)

    def __exit__(self, *exc: object) -> None:
        """Let go of the scheduler."""
        if self.mark is not None:
            self.mark.unlink(missing_ok=True)
        self.client.close(timeout=CONNECT_SECONDS)

    @property
    def usable(self) -> list[Worker]:
        """The workers that get tasks."""
        return [worker for worker in list(self.workers.values()) if worker.barred is None]

    def is_lost(self) -> bool:
        """Tell whether the scheduler is gone."""
        return self.client.status != "running"

    def error(self) -> UserError | None:
        """Return why nothing more can be done here, if that is so."""
        if self.is_lost():
            return UserError(
                f"the scheduler at {self.address} is gone; start it again and repeat the command, which goes "
                "on from here"
            )
        barred = [(one.name, one.barred) for one in list(self.workers.values()) if one.barred]
        reasons = "; ".join(f"{name}: {why}" for name, why in [*barred, *self.refused.values()])
        if reasons and not self.usable and time.monotonic() - self._able_at > PATIENCE_SECONDS:
            return UserError(f"no worker is left that can work ({reasons}); mend it and repeat the command")
        return None

    def drop_lost(self) -> None:
        """Drop the workers that are gone; raises :class:`OSError` with the scheduler."""
        known = {*self.workers, *self.refused}  # before it is asked: others may come meanwhile
        for place in known - set(self._found()):
            self.refused.pop(place, None)
            if (worker := self.workers.pop(place, None)) is not None:
                worker.gone = True

    def look(self) -> None:
        """Take new workers in, or refuse them; raises :class:`OSError` with the scheduler."""
        self.drop_lost()
        found, known = self._found(), {*self.workers, *self.refused}
        new = {place[0]: (place, entry) for place, entry in found.items() if place not in known}
        if new:
            answers = self.client.run(describe, self.mark, self._token, workers=[*new], on_error="return")
            for address, answer in answers.items():
                self._take_in(*new[address], answer)
        if self.usable:
            self._able_at = time.monotonic()

    def _found(self) -> dict[Place, dict[str, Any]]:
        # Of some versions of Dask the default is a few of them.
        entries = self.client.scheduler_info(n_workers=-1)["workers"]
        return {(address, entry["local_directory"]): entry for address, entry in entries.items()}

    def _take_in(self, place: Place, entry: dict[str, Any], answer: Any) -> None:
        address, name = place[0], str(entry["name"])
        where = address if name == address else f"{address} ({name})"
        wrong = mismatches(answer) if isinstance(answer, Description) else [str(answer)]
        if not wrong:
            self.workers[place] = Worker(address, where, entry["nthreads"], entry["resources"], answer)
        elif not isinstance(answer, OSError):  # else it did not answer: it is gone, or is asked again
            self.refused[place] = where, "; ".join(wrong)
            self._say(f"worker {where} is not used: {'; '.join(wrong)}")

    def wait_for_workers(self, timed: str | None) -> None:
        """Wait until there are workers, and say which; raises :class:`UserError` where all are refused.

        ``timed`` is the device that something is to be timed on, if anything is.
        """
        changed, n_known, told = time.monotonic(), 0, False
        while not self.usable or time.monotonic() - changed < SETTLE_SECONDS:
            self.look()
            if len(self.workers) + len(self.refused) != n_known:
                changed, n_known = time.monotonic(), len(self.workers) + len(self.refused)
            is_settled = time.monotonic() - changed > SETTLE_SECONDS
            if self.refused and not self.workers and is_settled:
                raise UserError(f"--scheduler {self.address}: no worker can be used, see above")
            if not n_known and is_settled and not told:
                told = True
                self._say(f"{self.address}: no workers yet; waiting for the first")
            time.sleep(LOOK_SECONDS / 4)
        self._say(f"{slots.summary(self.usable)}; dashboard: {self.client.dashboard_link}")
        if timed is not None:
            self.timed_on, sentence = slots.kind_that_times(self.usable, timed)
            if sentence:
                self._say(sentence)
