"""Timings of the NNP: kernel, torch reference and one training epoch, on the same structures in one run."""

import numpy as np
import pytest
from ase.build import bulk

from mlip_bench.data import records
from mlip_bench.potentials.nnp import NNP, fitting
from mlip_bench.potentials.nnp.geometry import tables
from mlip_bench.potentials.nnp.model import SKIN, Evaluator
from mlip_bench.potentials.presets import hypers

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
    evaluate = Evaluator(fitted, SKIN)
    evaluate(atoms)  # compile and build the list
    benchmark.extra_info["n_atoms"] = len(atoms)
    benchmark(evaluate, atoms)


def test_torch_reference(benchmark, fitted):
    from mlip_bench.potentials.nnp.reference import energy_forces_stress

    atoms = crystal(1)
    benchmark.extra_info["n_atoms"] = len(atoms)
    benchmark.pedantic(energy_forces_stress, args=(fitted, atoms), rounds=3)


def test_training_epoch(benchmark, fitted):
    structures = records.load("embedded", "Mo").train
    layout = tables(fitted.functions_, fitted.elements_)
    raw = [fitting.raw_descriptors(atoms, layout) for atoms in structures]
    ranges = fitting.scaling(raw, layout)
    samples = [
        fitting.make_sample(a, rows, ranges, 0.0, 1.0) for a, rows in zip(structures, raw, strict=True)
    ]
    trainer = fitted._trainer(samples, structures, layout, seed=0)
    benchmark.extra_info["n_force_components"] = int(np.sum([sample.forces.size for sample in samples]))
    benchmark.pedantic(trainer.epoch, rounds=3)
