"""Functions in child processes, pinned to cores; one alone cannot hurt its parent.

A crash, a memory limit or an interrupt ends the child and everything it started, and comes back as an
exception. If the parent dies, even by SIGKILL, the child ends itself.
"""

import contextlib
import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from mlip_bench.errors import UserError, is_disk_full

Progress = Callable[[float, str], None]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)

# How long a child that has told its result may take to clean up (s).
EXIT_SECONDS = 3.0

# How often a waiting parent looks whether it should stop (s).
POLL_SECONDS = 0.2

# The environment is the process's own, so two children must not be started at the same time.
_starting = threading.Lock()


class ChildFailed(Exception):
    """The function raised, or its process died; the message is one line."""


def available_cores() -> list[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def run_in_child(
    function: Callable[..., Any],
    *arguments: Any,
    cores: Sequence[int],
    progress: Progress,
    stop: threading.Event | None = None,
) -> Any:
    """Return ``function(*arguments, progress)``, run in a new process on these cores with as many threads.

    Raises :class:`ChildFailed` where the function raises or the process dies; :class:`OSError` where the
    disk is full. The child is ended when the caller is interrupted, or ``stop`` is set by another thread.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, list(cores)))
    with _starting, _environment({name: str(len(cores)) for name in THREAD_VARIABLES}), _no_interrupt():
        process.start()
    theirs.close()
    try:
        # The work goes through our own pipe, which breaks when the child dies; the one that start() uses
        # would wait for ever.
        with contextlib.suppress(BrokenPipeError):
            ours.send((function, arguments))
        return _receive(ours, process, progress, stop)
    finally:
        _end(process)
        ours.close()


@contextlib.contextmanager
def pinned_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes, each on its share of the cores with as many threads.

    Threads that share cores with those of another process wait for each other: a network trained beside one
    more fit takes more than three times as long as on a core of its own.
    """
    cores = available_cores()
    jobs = min(jobs, len(cores))
    context = multiprocessing.get_context("spawn")
    shares = context.Queue()
    for index in range(jobs):
        shares.put(cores[index::jobs])
    with (
        _environment({name: str(len(cores) // jobs) for name in THREAD_VARIABLES}),
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_pin, initargs=(shares,)) as pool,
    ):
        yield pool


def _receive(
    connection: multiprocessing.connection.Connection,
    process: Any,
    progress: Progress,
    stop: threading.Event | None,
) -> Any:
    while True:
        try:
            while not connection.poll(POLL_SECONDS):
                if stop is not None and stop.is_set():
                    raise ChildFailed("stopped")
            kind, content = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join()
            raise ChildFailed(_cause_of_death(process.exitcode)) from None
        if kind == "progress":
            progress(*content)
            continue
        # Locks that a library made are given back at the child's own exit; killed, they would be reported as
        # leaked when the parent ends.
        process.join(EXIT_SECONDS)
        if kind == "result":
            return content
        if kind == "disk full":
            raise OSError(errno.ENOSPC, content)
        raise ChildFailed(content)


def _cause_of_death(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "the process was killed, most likely because memory ran out"
    if exit_code < 0:
        return f"the process crashed ({signal.Signals(-exit_code).name})"
    return f"the process ended without a result (code {exit_code})"


def _end(process: Any) -> None:
    """End a child and all that it started, also where it died before them; it leads a process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Block Ctrl-C in this thread and in the children it starts: the parent alone decides when they end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# -- in the child --------------------------------------------------------------------------------------


def _pin(shares: Any) -> None:
    cores = shares.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _serve(connection: multiprocessing.connection.Connection, cores: list[int]) -> None:
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    function, arguments = connection.recv()
    try:
        result = function(*arguments, lambda share, text: connection.send(("progress", (share, text))))
    except UserError as error:
        connection.send(("error", str(error)))
    except OSError as error:
        kind = "disk full" if is_disk_full(error) else "error"
        connection.send((kind, f"{error.strerror}: {error.filename}" if error.filename else str(error)))
    except Exception as error:  # whatever a backend raises becomes a row that says so
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"
        text = " ".join(str(error).split())
        connection.send(("error", f"{type(error).__name__}: {text} ({where})"))
    else:
        connection.send(("result", result))
    connection.close()


def _die_with_parent() -> None:
    """Wait for the parent to end, then end this process and all that it started."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
