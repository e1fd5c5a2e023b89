"""Direct forces in the inner steps, conservative ones every n-th: drift of the energy, and cost, against n.

    python docs/direct-vs-conservative/multiple_time_steps.py CONSERVATIVE DIRECT

with the folders of two saved potentials of the same data. The reversible integrator of Tuckerman, Berne and
Martyna (doi:10.1063/1.463137): the difference of the two forces acts as an impulse every n steps of 1 fs, in
between atoms move by the direct forces alone (as Bigi, Langer and Ceriotti advise, arXiv:2412.11569). The
energy that counts is that of the conservative potential. The last column is of a larger cell, where what a step
costs beside its atoms counts less.
"""

import sys
import time

import numpy as np
from ase import units
from ase.md.velocitydistribution import Stationary

from mlip_bench.data import records
from mlip_bench.md import boxes
from mlip_bench.measure.drift import drift
from mlip_bench.potentials import load

N_ATOMS, TEMPERATURE_K, PICOSECONDS = 128, 300.0, 3.0
N_ATOMS_TIMED, N_STEPS_TIMED = 2000, 96  # a multiple of all strides
STRIDES = (1, 2, 4, 6, 8, 12)


def start(crystal, n_atoms):
    """Return atoms with twice the temperature in velocities, of which the lattice takes half."""
    atoms = boxes.repeated_to(crystal, n_atoms)
    widths = np.sqrt(units.kB * 2 * TEMPERATURE_K * atoms.get_masses())
    atoms.set_momenta(np.random.default_rng(0).standard_normal((len(atoms), 3)) * widths[:, None])
    Stationary(atoms)
    return atoms


def forces_of(calculator, atoms):
    """Return the forces (eV/Å), and the energy (eV) where there is one."""
    calculator.calculate(atoms, ["forces"], ["positions"])
    return calculator.results["forces"], calculator.results.get("energy")


def run(atoms, conservative, direct, stride, picoseconds=PICOSECONDS):
    """Return times (ps), energies per atom (eV), and the seconds per step of 1 fs."""
    masses, step = atoms.get_masses()[:, None], units.fs
    slow, energy = forces_of(conservative, atoms)
    fast = slow if stride == 1 else forces_of(direct, atoms)[0]
    times, energies, begun = [], [], time.process_time()
    n_outer = round(1e3 * picoseconds / stride)
    for outer in range(n_outer):
        momenta = atoms.get_momenta() + 0.5 * stride * step * (slow - fast)
        for _ in range(stride):
            momenta += 0.5 * step * fast
            atoms.positions += step * momenta / masses
            if stride > 1:
                fast, _ = forces_of(direct, atoms)
            else:
                slow, energy = forces_of(conservative, atoms)
                fast = slow
            momenta += 0.5 * step * fast
        if stride > 1:
            slow, energy = forces_of(conservative, atoms)
        atoms.set_momenta(momenta + 0.5 * stride * step * (slow - fast))
        times.append(1e-3 * stride * (outer + 1))
        energies.append((energy + atoms.get_kinetic_energy()) / len(atoms))
    return np.array(times), np.array(energies), (time.process_time() - begun) / (n_outer * stride)


def warmed(atoms, calculators):
    """Return atoms whose forces have been asked for: kernels are compiled, and neighbour lists are there."""
    for calculator in calculators:
        forces_of(calculator, atoms)
    return atoms


def main():
    """Print a row for each n."""
    calculators = [load(folder).calculator() for folder in sys.argv[1:3]]
    crystal = records.load("embedded", "Mo").crystal
    print("| n | drift (meV/atom/ps) | fluctuation (meV/atom) | CPU per step, over n = 1 | the same, 2000 atoms |")
    print("| --- | --- | --- | --- | --- |")
    first = []
    for stride in STRIDES:
        atoms = warmed(start(crystal, N_ATOMS), calculators)
        times, energies, small = run(atoms, *calculators, stride)
        atoms = warmed(start(crystal, N_ATOMS_TIMED), calculators)
        large = run(atoms, *calculators, stride, 1e-3 * N_STEPS_TIMED)[2]
        first = first or [small, large]
        slope, error = drift(times, energies)
        print(
            f"| {stride} | {slope:+.1e} ± {error:.0e} | {1e3 * energies.std():.3f} | {small / first[0]:.2f} | "
            f"{large / first[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
