"""The workers of a Dask scheduler: which there are, what each has, and which can do tasks of ours.

Workers come and go. One whose packages or whose code are others than ours is refused, by name.
"""

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
from mlip_bench.run.machine import Description, describe, mismatches
from mlip_bench.run.slots import GPU, Worker, kind_that_times

# How long a scheduler may take to answer, and how often workers are looked at (s).
CONNECT_SECONDS = 10
LOOK_SECONDS = 1.0

# Workers that start together do not come in the same moment (s).
SETTLE_SECONDS = 3.0


def sought(address: str) -> dict[str, Any]:
    """Return how a client finds a scheduler; raises :class:`UserError` where the file is missing."""
    if not address.endswith(".json"):
        return {"address": address}
    if not Path(address).is_file():
        raise UserError(f"--scheduler {address}: no such file; a scheduler writes it when it starts")
    return {"scheduler_file": address}


def connect(address: str) -> Client:
    """Return a client of a scheduler; raises :class:`UserError` where none answers in ten seconds."""
    # A potential can be larger than what Dask finds large, and goes through the scheduler all the same.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it is said by us
    try:
        with warnings.catch_warnings(action="ignore"):  # other versions are told by us, by name
            return Client(
                **sought(address), timeout=CONNECT_SECONDS, set_as_default=False, direct_to_workers=False
            )
    except (OSError, ValueError) as error:
        raise UserError(
            f"--scheduler {address}: nobody answers there within {CONNECT_SECONDS} s "
            f"({' '.join(str(error).split()) or type(error).__name__}); is the scheduler running?"
        ) from error


class Cluster:
    """The workers of a scheduler, looked at again and again in a thread; a context, which ends that.

    ``say`` prints a line; ``store`` is the folder that workers may see as well.
    """

    def __init__(self, address: str, store: Path | None, say: Callable[[str], None]):
        self.address = address
        self.client = connect(address)
        self.name = uuid.uuid4().hex
        self.workers: dict[str, Worker] = {}
        self.refused: dict[str, tuple[str, str]] = {}
        """By address: the name of a worker, and in what it differs."""
        self.timed_on: tuple[str, str] | None = None
        """Processor and device that timings are made on: one kind, so that they can be compared."""
        self._say = say
        self.mark = None if store is None else store / "machines" / f"{self.name}.mark"
        if self.mark is not None:
            self.mark.parent.mkdir(parents=True, exist_ok=True)
            self.mark.write_text(self.name)

    def __enter__(self) -> "Cluster":
        """Return the cluster itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Let go of the scheduler."""
        if self.mark is not None:
            self.mark.unlink(missing_ok=True)
        self.client.close(timeout=CONNECT_SECONDS)

    @property
    def usable(self) -> list[Worker]:
        """The workers that get tasks."""
        return [worker for worker in self.workers.values() if worker.barred is None]

    def is_lost(self) -> bool:
        """Tell whether the scheduler is gone."""
        return self.client.status != "running"

    def look(self) -> list[Worker]:
        """Find new workers, and return those that are gone; raises :class:`OSError` with the scheduler."""
        found = self.client.scheduler_info()["workers"]
        gone = [worker for address, worker in self.workers.items() if address not in found]
        for worker in gone:
            worker.gone = True
        # Others read it meanwhile: it is not changed, but made anew.
        self.workers = {address: one for address, one in self.workers.items() if not one.gone}
        self.refused = {address: why for address, why in self.refused.items() if address in found}
        new = set(found) - set(self.workers) - set(self.refused)
        for offers_gpu in (True, False):
            asked = [address for address in new if (GPU in found[address]["resources"]) is offers_gpu]
            if asked:
                self._ask(asked, found, offers_gpu)
        return gone

    def _ask(self, addresses: list[str], found: dict[str, Any], offers_gpu: bool) -> None:
        """Take new workers in, or refuse them."""
        answers = self.client.run(
            describe,
            *(self.mark, self.name, offers_gpu),
            workers=addresses,
            on_error="return",
        )
        for address, answer in answers.items():
            name = str(found[address]["name"])
            where = address if name == address else f"{address} ({name})"
            wrong = mismatches(answer) if isinstance(answer, Description) else [f"{answer}"]
            if wrong:
                self.refused[address] = where, "; ".join(wrong)
                self._say(f"worker {where} is not used: {self.refused[address][1]}")
                continue
            entry = found[address]
            worker = Worker(address, where, entry["nthreads"], entry["resources"], answer)
            self.workers = {**self.workers, address: worker}

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
        n_slots = sum(worker.n_slots for worker in self.usable)
        n_machines = len({worker.described.machine for worker in self.usable})
        self._say(
            f"workers: {len(self.usable)}, with {n_slots} slots on {n_machines} "
            f"machine{'s' if n_machines > 1 else ''}; dashboard: {self.client.dashboard_link}"
        )
        if timed is not None:
            self.timed_on, sentence = kind_that_times(self.usable, timed)
            if sentence:
                self._say(sentence)

    def ask(self, function: Callable[..., Any], *arguments: Any, workers: list[Worker]) -> dict[str, Any]:
        """Run a function on workers beside their tasks, and return the answers of those that gave one."""
        addresses = [worker.address for worker in workers]
        return self.client.run(function, *arguments, workers=addresses, on_error="ignore")
