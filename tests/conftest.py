"""Data that many tests share."""

import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: threads of numpy and torch in each of them would wait for those of the others,
    # five times as long as the work takes. It must be said before these are imported.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import settings

from mlip_bench.data import records
from mlip_bench.data.reference import labelled
from mlip_bench.measure import cost
from mlip_bench.measure.cost import timing
from mlip_bench.potentials.base import silent
from mlip_bench.run import schedule
from mlip_bench.run.child import ChildFailed
from mlip_bench.run.executor import LocalExecutor
from mlip_bench.run.folder import describe
from mlip_bench.run.inputs import Data
from mlip_bench.run.perform import perform
from mlip_bench.run.store import STORE, Store, sole_writer

# The same examples in every run: what fails in CI fails here too. --hypothesis-profile=default tries others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def has_mlearn() -> bool:
    folder = os.environ.get("MLIP_BENCH_DATA")
    return folder is not None and (Path(folder) / "mlearn").is_dir()


needs_mlearn = pytest.mark.skipif(
    not has_mlearn(),
    reason="MLIP_BENCH_DATA names no folder with mlearn/: its published errors are not checked",
)


@pytest.fixture(scope="session")
def embedded():
    return records.load("embedded", "Mo")


@pytest.fixture(scope="session")
def alloys():
    """Labelled Cu-Au structures: a real, smooth many-body potential (EMT), two elements, no symmetry."""
    generator = np.random.default_rng(3)
    structures = []
    for index in range(24):
        atoms = bulk("Cu", "fcc", a=3.6 + 0.04 * (index % 8), cubic=True).repeat((2, 1, 1))
        atoms.symbols[generator.permutation(8)[: index % 5]] = "Au"
        atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + 0.03 * generator.normal(size=(3, 3))), True)
        atoms.rattle(0.12, rng=generator)
        atoms.calc = EMT()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        structures.append(labelled(atoms.copy(), energy, forces, stress))
    return structures


@pytest.fixture(scope="session")
def common_store(tmp_path_factory):
    """A store for tests that need rows of a timing, not that it is done: all of them together do it once."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common-store"


class Here(LocalExecutor):
    """Does tasks in this process, for tests of what tasks leave and not of where they are done."""

    def _work(self, task, work, place):
        try:
            perform(task, work, len(place.cores), silent)
        except Exception as error:  # as of a child, whatever it was
            raise ChildFailed(str(error)) from error


@pytest.fixture(scope="session")
def do_plan():
    """Do a plan as ``mlip-bench run`` does, with the store beside the folder; returns what came of it."""

    def do(plan, folder, store=None):
        with sole_writer(folder):
            store = Store(store or folder.parent / STORE)
            tasks = plan.tasks(Data.of(plan.dataset, store.put_structures))
            with Here(store) as executor:
                outcome = schedule.run(tasks, executor, folder)
            describe(plan, folder, ["mlip-bench", "run"], {})
        return outcome

    return do


BRIEF = {
    "SECONDS": 0.1,
    "BLOCK_SECONDS": 0.01,
    "COUNTING_SECONDS": 0.1,
    "ROUND_SECONDS": 0.005,
    "EQUILIBRATION_STEPS": 30,
    "WATCHED_STEPS": 30,
}


@pytest.fixture
def brief_timings(monkeypatch):
    """Timings in this process for tests of what they leave, not of how long anything takes."""
    for name, value in BRIEF.items():
        monkeypatch.setattr(timing, name, value)


@pytest.fixture(scope="module")
def brief_timings_of_module():
    """The same for the fixtures of a module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRIEF.items():
            patch.setattr(timing, name, value)
        patch.setattr(cost, "N_ATOMS", 250)
        yield


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory, monkeypatch):
    """Keep the developer's own cache of downloads out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
