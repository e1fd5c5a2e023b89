"""Timings of the NNP: kernel, torch reference and one training epoch, on the same structures in one run."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import bulk
from threadpoolctl import threadpool_limits

from mlip_bench.data import records
from mlip_bench.hardware import available_cores
from mlip_bench.potentials.nnp import NNP, samples
from mlip_bench.potentials.nnp.model import Evaluator
from mlip_bench.potentials.presets import hypers
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.potentials.symmetry_functions.descriptors import descriptors, scaling
from mlip_bench.potentials.symmetry_functions.geometry import tables

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module")
def fitted():
    settings = hypers("nnp", "standard", "Mo") | {"epochs": 1}
    return NNP(**settings).fit(records.load("embedded", "Mo").train)


def crystal(times):
    atoms = bulk("Mo", a=3.17, cubic=True).repeat(times)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.parametrize("times", [3, 10])
def test_kernel(benchmark, fitted, times):
    atoms = crystal(times)
    evaluate = Evaluator(fitted, Stepping())
    evaluate(atoms)  # compile and build the list
    benchmark.extra_info["n_atoms"] = len(atoms)
    benchmark(evaluate, atoms)


def test_torch_reference(benchmark, fitted):
    from nnp_reference import energy_forces_stress

    atoms = crystal(1)
    benchmark.extra_info["n_atoms"] = len(atoms)
    benchmark.pedantic(energy_forces_stress, args=(fitted, atoms), rounds=3)


def test_training_epoch(benchmark, fitted):
    structures = records.load("embedded", "Mo").train
    layout = tables(fitted.functions_, fitted.elements_)
    raw = [descriptors(atoms, layout) for atoms in structures]
    ranges = scaling(raw, layout)
    data = samples.join(structures, raw, ranges, np.zeros(len(structures)), 1.0)
    with ThreadPoolExecutor(len(available_cores())) as threads, threadpool_limits(1, user_api="blas"):
        trainer = fitted._trainer(data, np.array([], int), 0, threads)
        benchmark.extra_info["n_force_components"] = data.forces.size
        benchmark.pedantic(trainer.epoch, args=(trainer.predict()[1],), rounds=3)
