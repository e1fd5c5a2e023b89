"""Blocks of steps as a run times them: in a child process, on one core, with one thread."""

import time

import numpy as np

from mlip_bench.data import records
from mlip_bench.hardware import available_cores
from mlip_bench.measure.cost.timing import timed_blocks
from mlip_bench.potentials import family, load
from mlip_bench.potentials.base import silent
from mlip_bench.potentials.presets import hypers
from mlip_bench.run.child import run_in_child

PRESET = "quick"


def fitted(name, folder):
    """Fit a family to the embedded data, networks for one step: that does not change the cost."""
    settings = hypers(name, PRESET, "Mo")
    for one in {"epochs", "steps"} & settings.keys():
        settings[one] = 1
    family(name)(**settings).fit(records.load("embedded", "Mo").train).save(folder)
    return folder


def blocks(folder, n_atoms, slowdown=0.0, native=True):
    """Return what ``timed_blocks`` does for the potential in a folder."""
    cores = available_cores()[-1:]
    return run_in_child(_blocks, folder, n_atoms, slowdown, native, cores=cores, progress=silent)


def _blocks(folder, n_atoms, slowdown, native, progress):
    potential = load(folder)
    if slowdown:
        make = potential.calculator
        potential.calculator = lambda: slowed(make(), slowdown)
    crystal = records.load("embedded", "Mo").crystal
    return timed_blocks(potential, crystal, n_atoms, progress, native=native)


def slowed(calculator, share):
    """Let a calculator work in vain for a share of the time of each of its calculations."""
    calculate = calculator.calculate

    def slower(*arguments):
        start = time.perf_counter()
        calculate(*arguments)
        end = time.perf_counter()
        while time.perf_counter() < end + share * (end - start):
            np.sqrt(2.0)

    calculator.calculate = slower
    return calculator
