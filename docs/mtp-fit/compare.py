"""Fit one MTP of level 12 to mlearn Mo twice: by mlip-bench, and by BFGS in motep; draw error against time.

    python docs/mtp-fit/compare.py --seconds 900 --out docs/mtp-fit

Same basis, data, distances and weights (motep's: 1 on squared energies per atom, 0.01 on squared forces per
atom, which for 54 atoms is an energy weight of 73 here), each on the cores that the process may use.
"""

import argparse
import contextlib
import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from motep.loss import LossFunction, LossSetting
from scipy.optimize import minimize

from mlip_bench.data import records, reference
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials.mtp import MTP, mlip
from mlip_bench.potentials.mtp.model import basis_of_level
from mlip_bench.potentials.mtp.tables import Tables

LEVEL, CUTOFF, SIZE = 12, 5.2, 8
ENERGY_WEIGHT = 75.0  # Å, of energies per atom against force components, as in the preset
SCALING = 0.031  # of the published potential of Mo


class OutOfTime(Exception):
    """The seconds are over."""


def ours(train):
    """Return (s, meV/atom, meV/Å) after each step, without the time that the first compilation takes."""
    settings = {"level": LEVEL, "cutoff": CUTOFF, "radial_basis_size": SIZE}
    MTP(**settings, iterations=1, starts=1).fit(train[:3] + train[-10:])
    points, start = [], time.perf_counter()

    def note(share, message):
        if message.startswith("level"):
            energy, force = message.split(": ")[1].split(", ")
            seconds = time.perf_counter() - start
            points.append((seconds, float(energy.split()[0]), float(force.split()[0])))

    MTP(**settings).fit(train, progress=note)
    return points


def theirs(train, seconds):
    """Return the same of motep's compiled engine and scipy's BFGS, from motep's random start."""
    basis = basis_of_level(LEVEL)
    least = 0.95 * min(reference.shortest_distance(atoms, CUTOFF) for atoms in train)
    tables = Tables(basis, SCALING, least, CUTOFF)
    data = mlip.unfitted(tables, reference.elements(train), SIZE)
    data.species = [int(train[0].numbers[0])]
    data.initialize(np.random.default_rng(0))
    data.optimized = ["species_coeffs", "moment_coeffs", "radial_coeffs"]
    loss = LossFunction(train, data, LossSetting(stress_weight=0.0), engine="cext")
    kept, start = [], time.perf_counter()

    def note(parameters):
        kept.append((time.perf_counter() - start, parameters.copy()))
        print(f"motep {kept[-1][0]:.0f} s", flush=True)
        if kept[-1][0] > seconds:
            raise OutOfTime

    with contextlib.suppress(OutOfTime):
        minimize(lambda x: (loss(x), loss.jac(x)), data.parameters, jac=True, method="BFGS", callback=note)
    points = []
    for moment, parameters in kept[:: max(1, len(kept) // 60)]:
        data.parameters = parameters
        potential = MTP(cutoff=CUTOFF)
        potential.elements_ = reference.elements(train)
        potential.tables_ = tables
        potential.radial_, potential.linear_ = np.array(data.radial_coeffs), np.array(data.moment_coeffs)
        potential.zero_ = np.array(data.species_coeffs)
        errors = summary(comparison(train, potential.predict(train)))
        points.append((moment, errors["energy_rmse"], errors["force_rmse"]))
    return points


def draw(curves, n_structures, n_components, path):
    """Draw the smallest training error so far of both against time: the root of what is minimised."""
    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for (name, points), style in zip(curves.items(), ("-", "--"), strict=True):
        seconds, energy, force = np.array(points).T
        error = np.sqrt(force**2 + (ENERGY_WEIGHT * energy) ** 2 * n_structures / n_components)
        axes.plot(seconds, np.minimum.accumulate(error), style, label=name)
    label = "training error (meV/Å)"
    axes.set(xscale="log", yscale="log", xlabel="time (s)", ylabel=label)
    axes.legend(frameon=False)
    figure.savefig(path)


def main():
    """Run both, write the points, draw them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    train = [atoms for atoms in records.load("mlearn", "Mo").train if len(atoms) > 1]
    curves = {"mlip-bench, variable projection": ours(train)}
    curves["motep, BFGS"] = theirs(train, arguments.seconds)
    (arguments.out / "curves.json").write_text(json.dumps(curves, indent=1) + "\n")
    n_components = 3 * sum(len(atoms) for atoms in train)
    draw(curves, len(train), n_components, arguments.out / "curves.svg")


if __name__ == "__main__":
    main()
