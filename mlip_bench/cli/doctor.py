"""What is installed and what works on this machine."""

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk

from mlip_bench.data import records
from mlip_bench.errors import UserError
from mlip_bench.hardware import available_cores, cpu_name
from mlip_bench.potentials import family, family_names
from mlip_bench.results import versions

if TYPE_CHECKING:  # it is an extra
    from mlip_bench.run.dask_cluster import Cluster

# An unrelated client of a web service installs a package and a command of our name.
CLASHING_DISTRIBUTION = "mlip-bench"


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    good: bool
    text: str
    check: str = ""
    """Name of what was looked at."""


# A fit that shows that a family works: whatever of this it has is made as brief.
BRIEF = {
    "steps": 5,
    "epochs": 1,
    "invariant_epochs": 0,
    "iterations": 1,
    "iterations_below": 1,
    "starts": 1,
    "gauss_newton_steps": 1,
    "lbfgs_iterations": 1,
}


def examine(say: Callable[[str], None]) -> list[Finding]:
    """Look at everything; each check runs the real part, and ``say`` is told before it does."""
    checks: tuple[Callable[[], Finding], ...] = (
        _versions,
        _clash,
        _processor,
        _gpu,
        _accelerators,
        _lammps,
        _gap_fit,
        _data,
        *(_family_check(name) for name in family_names()),
    )
    found = []
    for check in checks:
        say(f"looking at: {check.__name__.strip('_')}")
        found.append(_guarded(check))
    return found


def examine_cluster(address: str) -> list[Finding]:
    """Look at the scheduler at an address and at each of its workers: what it has, in what it differs."""
    from mlip_bench.run.machine import GPU, TIMING

    with opened(address, None, lambda _: None) as cluster:
        cluster.look()
        workers = [Finding(True, worker.summary, "worker") for worker in cluster.usable]
        refused = [Finding(False, f"{name}: {why}", "worker") for name, why in cluster.refused.values()]
        lacking = [
            Finding(True, f"no worker offers the resource '{name}': {what}", name)
            for name, what in ((TIMING, "nothing can be timed"), (GPU, "nothing can be done on a GPU"))
            if not any(name in worker.resources for worker in cluster.usable)
        ]
        n_slots = sum(worker.n_slots for worker in cluster.usable)
        found = f"{address}: {len(workers)} workers that can be used, with {n_slots} slots"
        link = f"dashboard: {cluster.client.dashboard_link}"
        return [Finding(bool(workers), f"{found}; {link}", "scheduler"), *workers, *refused, *lacking]


def opened(address: str, store: Path | None, say: Callable[[str], None]) -> "Cluster":
    """Return the workers of a scheduler; raises :class:`UserError` where Dask is not installed."""
    try:
        from mlip_bench.run.dask_cluster import Cluster
    except ModuleNotFoundError as error:
        raise UserError(f"--scheduler needs Dask ({error}): pip install 'mlip-bench-suite[dask]'") from error
    return Cluster(address, store, say)


def _guarded(check: Callable[[], Finding]) -> Finding:
    name = check.__name__.strip("_")
    try:
        return dataclasses.replace(check(), check=name)
    except Exception as error:  # a broken installation may fail in any way, and that is the finding
        return Finding(False, f"{name}: {type(error).__name__}: {error}", name)


def _versions() -> Finding:
    return Finding(True, ", ".join(f"{name} {version}" for name, version in versions().items()))


def _clash() -> Finding:
    installed = {(found.metadata["Name"] or "").lower() for found in distributions()}
    if CLASHING_DISTRIBUTION in installed:
        return Finding(
            False,
            "the unrelated package 'mlip-bench' is installed and overwrites ours: pip uninstall mlip-bench, "
            "then install mlip-bench-suite again from its repository",
        )
    return Finding(True, "no other package takes the name mlip_bench")


def _processor() -> Finding:
    return Finding(True, f"{cpu_name()}, {len(available_cores())} cores for this process")


def _gpu() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding(True, "no NVIDIA GPU; everything runs on the CPU")
    names = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    )
    able = [name for name in family_names() if "cuda" in family(name).devices]
    return Finding(True, f"GPU: {names.stdout.strip()}; used by {', '.join(able)}")


def _accelerators() -> Finding:
    from mlip_bench.potentials.sevennet.accelerators import ACCELERATORS

    states = (f"{name} {'works' if one.is_available() else 'no'}" for name, one in ACCELERATORS.items())
    return Finding(True, f"accelerators of sevennet on a GPU: {', '.join(states)}")


def _lammps() -> Finding:
    from mlip_bench.lammps.session import LammpsSession

    with LammpsSession(["Mo"]) as session:
        number = session.lmp.version()
        has_snap = session.lmp.has_style("pair", "snap")
    return Finding(has_snap, f"LAMMPS {number} loads, {'with' if has_snap else 'WITHOUT'} pair style snap")


def _gap_fit() -> Finding:
    from pathlib import Path

    import quippy

    program = Path(quippy.__path__[0]) / "gap_fit"
    return Finding(
        program.is_file(), f"gap_fit {'is there' if program.is_file() else 'is missing'}: {program}"
    )


def _data() -> Finding:
    data = records.load("embedded", "Mo")
    return Finding(
        True, f"embedded data: {len(data.train)} training and {len(data.test)} test structures of Mo"
    )


def _family_check(name: str) -> Callable[[], Finding]:
    def fits() -> Finding:
        data = records.load("embedded", "Mo")
        from mlip_bench.potentials import presets

        known = {field.name for field in dataclasses.fields(family(name).Hypers)}
        brief = {key: value for key, value in BRIEF.items() if key in known}
        potential = family(name)(**presets.hypers(name, "quick", "Mo") | brief).fit(data.train[:6])
        forces = potential.predict([bulk("Mo")])[0].forces
        return Finding(bool(np.isfinite(forces).all()), f"{name}: fits and predicts")

    fits.__name__ = name
    return fits
