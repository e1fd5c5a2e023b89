"""Functions in child processes, pinned to cores; one alone cannot hurt its parent.

A crash, a memory limit, a time limit or an interrupt ends the child and everything it started, and comes back
as an exception. If the parent dies, even by SIGKILL, the child ends itself.

Children are forked from a server that has loaded what they import (``preload``). It has one thread and has
not run anything parallel, so that each child can set its own number of threads before it does.
"""

import contextlib
import ctypes
import errno
import gc
import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
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

# Threads that wait for others must not hold a core meanwhile: on a machine that is busy they hold up those
# that they wait for. Small trainings were seen to take ten times as long, products of small matrices twenty.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}

# How long a child that has told its result may take to clean up (s).
EXIT_SECONDS = 3.0

# Of prctl(2): the signal that this process gets when its parent ends.
PR_SET_PDEATHSIG = 1

# How often a waiting parent looks whether it should stop (s).
POLL_SECONDS = 0.2

# The environment is the process's own, so two children must not be started at the same time.
_starting = threading.Lock()


class ChildFailed(Exception):
    """The function raised, its process died or took too long; the message is one line."""


def preload(modules: Sequence[str]) -> None:
    """Name the modules that children will import; it counts where no child was started yet."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__, *modules])


def run_in_child(
    function: Callable[..., Any],
    *arguments: Any,
    cores: Sequence[int],
    progress: Progress,
    stop: threading.Event | None = None,
    timeout_s: float | None = None,
) -> Any:
    """Return ``function(*arguments, progress)``, run in a new process on these cores with as many threads.

    Raises :class:`ChildFailed` where the function raises, or the process dies or takes longer than
    ``timeout_s``; :class:`OSError` where the disk is full. The child is ended when the caller is interrupted,
    or ``stop`` is set by another thread.
    """
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, list(cores), dict(os.environ), os.getcwd()))
    resource_tracker.ensure_running()  # by itself it would let Ctrl-C through again
    with _starting, _environment(dict.fromkeys(THREAD_VARIABLES, "1") | WAITING), _no_interrupt():
        forkserver.ensure_running()
        process.start()
    theirs.close()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        # The work goes through our own pipe, which breaks when the child dies; the one that start() uses
        # would wait for ever.
        with contextlib.suppress(BrokenPipeError):
            ours.send((function, arguments))
        return _receive(ours, process, progress, stop, deadline)
    except _TooLong:
        raise ChildFailed(f"stopped after {timeout_s:g} s, the limit for a task (--timeout)") from None
    finally:
        _end(process)
        ours.close()


class _TooLong(Exception):
    """The deadline has passed."""


def _receive(
    connection: multiprocessing.connection.Connection,
    process: Any,
    progress: Progress,
    stop: threading.Event | None,
    deadline: float | None,
) -> Any:
    while True:
        try:
            while not connection.poll(POLL_SECONDS):
                _check(stop, deadline)
            kind, content = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join(EXIT_SECONDS)
            raise ChildFailed(_cause_of_death(process.exitcode)) from None
        if kind == "progress":
            progress(*content)
            _check(stop, deadline)
            continue
        # Locks that a library made are given back at the child's own exit; killed, they would be reported as
        # leaked when the parent ends.
        process.join(EXIT_SECONDS)
        if kind == "result":
            return content
        if kind == "disk full":
            raise OSError(errno.ENOSPC, content)
        raise ChildFailed(content)


def _check(stop: threading.Event | None, deadline: float | None) -> None:
    if stop is not None and stop.is_set():
        raise ChildFailed("stopped")
    if deadline is not None and time.monotonic() > deadline:
        raise _TooLong


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "the process was killed, most likely because memory ran out"
    if exit_code is not None and exit_code < 0:
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


def _serve(
    connection: multiprocessing.connection.Connection,
    cores: list[int],
    environment: dict[str, str],
    folder: str,
) -> None:
    gc.freeze()  # looked through, the pages of what was loaded before the fork would be copied
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_server()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(WAITING | environment | dict.fromkeys(THREAD_VARIABLES, str(len(cores))))
    os.chdir(folder)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    if len(cores) > 1:  # what was loaded before the fork has one thread
        set_threads(len(cores))
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


def set_threads(number: int) -> None:
    """Set the threads of libraries that were loaded with one; those loaded later read the environment."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(number)
    if "numba" in sys.modules:
        importlib.import_module("numba.core.config").reload_config()
        # numba takes this over when it is imported, and not again. Its own way to set it starts the threads,
        # with a lock that is reported as leaked when the child is killed.
        vars(importlib.import_module("numba.np.ufunc.parallel"))["NUM_THREADS"] = number
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)


def _die_with_server() -> None:
    """Let Linux kill this process when the server of children ends, which ends with the parent.

    The thread below waits for its turn where a library keeps Python's lock for long.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with_parent() -> None:
    """Wait for the parent to end, then end this process and all that it started."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
