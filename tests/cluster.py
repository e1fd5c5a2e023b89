"""Schedulers and workers of Dask as people start them, and tasks that do what tests need, for tests."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from functools import cached_property
from multiprocessing import parent_process

from mlip_bench.run.perform import do
from mlip_bench.run.tasks import Task

DASK = [sys.executable, "-m", "dask"]


@dataclasses.dataclass(frozen=True, eq=False)
class Counting(Task):
    """Counts, keeps the number it has come to as its checkpoint, and says from which it began."""

    name: str
    last: int
    deadly_from: int | None = None
    fills_disk_of: str | None = None

    @property
    def kind(self):
        return "counting"

    @property
    def label(self):
        return f"counting {self.name}"

    @property
    def resumable(self):
        return True

    @cached_property
    def decides(self):
        return {"name": self.name}


@do.register
def _(task: Counting, work, threads, progress):
    state = work.checkpoint / "number"
    begun = number = int(state.read_text()) if state.is_file() else 0
    while number < task.last:
        if task.fills_disk_of is not None and task.fills_disk_of in str(work.folder):
            with open("/dev/full", "w") as file:
                file.write("x")
        number += 1
        time.sleep(0.05)
        if number == task.deadly_from:
            os.kill(parent_process().pid, signal.SIGKILL)
            time.sleep(60)
        partial = state.with_name("number.partial")
        partial.write_text(str(number))
        partial.replace(state)
        progress(number / task.last, f"at {number}")
    (work.folder / "result").write_text(f"{begun} {number}")


@contextlib.contextmanager
def started(*arguments, env=None, **options):
    """Start a command of Dask, and end it with all that it has started."""
    process = subprocess.Popen(
        [*DASK, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | (env or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def scheduler(folder):
    """Start a scheduler, and give its process and its file."""
    file = folder / "scheduler.json"
    command = ("scheduler", "--scheduler-file", file, "--host", "127.0.0.1", "--port", 0)
    with started(*command, "--no-dashboard") as process:
        while not file.is_file():
            assert process.poll() is None
            time.sleep(0.1)
        yield process, file


def worker(file, folder, name, *options, env=None):
    """Start a worker of one slot, in a folder of its own."""
    own = folder / name
    own.mkdir(exist_ok=True)
    command = ("worker", "--scheduler-file", file, "--nthreads", 1, "--name", name, "--no-dashboard")
    # Not in a checkout: Python would take packages from there first.
    return started(*command, "--local-directory", own, *options, env=env, cwd=own)


def wait_for(condition, seconds=120):
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
