"""Child processes: results, exceptions, crashes, cores and threads, and what happens when the parent dies."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mlip_bench.errors import UserError
from mlip_bench.hardware import available_cores
from mlip_bench.potentials.base import silent
from mlip_bench.run.child import ChildFailed, run_in_child


def surroundings(progress):
    progress(0.5, "half")
    return sorted(os.sched_getaffinity(0)), os.environ["OMP_NUM_THREADS"], os.getpid()


def crash(progress):
    os.kill(os.getpid(), signal.SIGSEGV)


def run_out_of_memory(progress):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(progress):
    raise UserError("no such thing; take another")


def stumble(progress):
    raise ValueError("two\nlines")


def fill_disk(progress):
    with open("/dev/full", "w") as file:
        file.write("x")


def test_result_progress_cores_and_threads():
    told = []
    core = available_cores()[-1]
    cores, threads, pid = run_in_child(
        surroundings, cores=[core], progress=lambda share, text: told.append((share, text))
    )
    assert (cores, threads) == ([core], "1")
    assert pid != os.getpid()
    assert told == [(0.5, "half")]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (crash, r"the process crashed \(SIGSEGV\)"),
        (run_out_of_memory, "most likely because memory ran out"),
        (refuse, "^no such thing; take another$"),
        (stumble, r"^ValueError: two lines \(test_child.py:\d+\)$"),
    ],
)
def test_failures_are_one_line(function, message):
    with pytest.raises(ChildFailed, match=message):
        run_in_child(function, cores=available_cores()[:1], progress=silent)


def test_full_disk_is_told_apart():
    with pytest.raises(OSError, match="No space left"):
        run_in_child(fill_disk, cores=available_cores()[:1], progress=silent)


def leave_a_program_behind(path, progress):
    program = subprocess.Popen(["sleep", "60"])
    with open(path, "w") as file:
        file.write(str(program.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_crashed_child_leaves_no_program_running(tmp_path):
    with pytest.raises(ChildFailed):
        run_in_child(leave_a_program_behind, tmp_path / "pid", cores=available_cores()[:1], progress=silent)
    deadline = time.monotonic() + 10
    while is_running(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sleep(progress):
    time.sleep(60)


def test_stop_ends_a_child_at_once():
    """Also while it starts: the event is set before the child can have loaded anything."""
    stop = threading.Event()
    stop.set()
    start = time.monotonic()
    with pytest.raises(ChildFailed, match="stopped"):
        run_in_child(sleep, cores=available_cores()[:1], progress=silent, stop=stop)
    assert time.monotonic() - start < 30


def count(numbers, progress):
    return len(numbers)


def test_arguments_larger_than_a_pipe():
    assert run_in_child(count, list(range(10**6)), cores=available_cores()[:1], progress=silent) == 10**6


PARENT = """
import sys
from mlip_bench.hardware import available_cores
from mlip_bench.run.child import run_in_child
from test_child import sleep_with_grandchild
if __name__ == "__main__":
    run_in_child(sleep_with_grandchild, sys.argv[1], cores=available_cores()[:1], progress=print)
"""


def sleep_with_grandchild(path, progress):
    grandchild = subprocess.Popen(["sleep", "60"])
    with open(path, "w") as file:
        file.write(f"{os.getpid()} {grandchild.pid}\n")
    time.sleep(60)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_everything_ends_with_a_killed_parent(tmp_path):
    script, pids = tmp_path / "parent.py", tmp_path / "pids"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    with subprocess.Popen([sys.executable, str(script), str(pids)], env=environment) as parent:
        deadline = time.monotonic() + 60
        while not (pids.exists() and pids.read_text().endswith("\n")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        parent.kill()
    family = [int(pid) for pid in pids.read_text().split()]
    while any(map(is_running, family)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def keep_a_lock(progress):
    import multiprocessing.util

    global lock
    lock = multiprocessing.RLock()  # as tqdm does on import
    # Large libraries take a while to end.
    multiprocessing.util.Finalize(None, time.sleep, (0.5,), exitpriority=100)


def test_locks_of_a_finished_child_are_given_back(tmp_path):
    """Else Python warns of leaked semaphores when the command ends."""
    script = tmp_path / "parent.py"
    script.write_text(
        "from mlip_bench.run.child import run_in_child\n"
        "from test_child import keep_a_lock\n"
        "if __name__ == '__main__':\n"
        "    run_in_child(keep_a_lock, cores=[0], progress=print)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    ended = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0
    assert "leaked" not in ended.stderr


def threads_of_libraries(progress):
    """Threads that NumPy's BLAS, numba and torch work with; numba has started its own by then."""
    import threadpoolctl
    import torch

    np.linalg.svd(np.ones((50, 50)))
    return (
        {pool["num_threads"] for pool in threadpoolctl.threadpool_info()},
        numba_threads(),
        torch.get_num_threads(),
    )


def numba_threads():
    """Threads that numba works with, after something parallel has run."""
    import numba

    @numba.njit(parallel=True)
    def count():
        found = np.zeros(64)
        for index in numba.prange(64):
            found[index] = 1.0
        return found.sum()

    assert count() == 64
    return numba.get_num_threads()


@pytest.mark.parametrize("n_cores", [1, 2])
def test_libraries_that_were_loaded_before_the_fork_have_the_threads_of_their_cores(n_cores):
    """The server of children has loaded them with one thread; a child of two cores works on both."""
    cores = available_cores()[:n_cores]
    pools, numba_found, torch_found = run_in_child(threads_of_libraries, cores=cores, progress=silent)
    assert pools == {len(cores)}
    assert numba_found == len(cores)
    assert torch_found == len(cores)


@pytest.mark.parametrize("n_cores", [1, 2])
def test_numba_that_the_server_loaded_has_the_threads_of_a_child(n_cores):
    """Once loaded, numba takes fewer threads, never more."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_child as own; from mlip_bench.run import child\n"
        "if __name__ == '__main__':\n"
        "    child.preload(['numba'])\n"
        "    cores = own.available_cores()[: int(sys.argv[2])]\n"
        "    found = child.run_in_child(own.threads_of_libraries, cores=cores, progress=own.silent)\n"
        "    assert found == ({len(cores)}, len(cores), len(cores)), found\n"
    )
    here = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", script, here, str(n_cores)], check=True)


def test_a_child_that_takes_too_long_is_ended(tmp_path):
    start = time.monotonic()
    with pytest.raises(ChildFailed, match=r"stopped after 0.5 s, the limit for a task \(--timeout\)"):
        run_in_child(sleep, cores=available_cores()[:1], progress=silent, timeout_s=0.5)
    assert time.monotonic() - start < 30


def test_a_child_sees_the_environment_and_the_folder_of_its_parent(tmp_path, monkeypatch):
    """Also where the server of children was started before."""
    monkeypatch.setenv("SOME_VARIABLE", "of the parent")
    monkeypatch.chdir(tmp_path)
    found = run_in_child(of_the_process, cores=available_cores()[:1], progress=silent)
    assert found == ("of the parent", str(tmp_path))


def of_the_process(progress):
    return os.environ.get("SOME_VARIABLE"), os.getcwd()
