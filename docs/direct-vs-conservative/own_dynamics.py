"""Frames of a potential's own dynamics with its forces, for direct forces that are to follow it.

    python docs/direct-vs-conservative/own_dynamics.py NNP frames.extxyz
    mlip-bench fit nnff --system Mo --train frames.extxyz --out follower

Mo, 54 atoms, Langevin dynamics at 200, 400 and 600 K, a frame every 50 fs after the first picosecond. In multiple
time steps it counts how far the two forces are from each other, not from the truth.
"""

import sys

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from mlip_bench.data import records
from mlip_bench.potentials import Potential, load

N_REPEATS, TEMPERATURES = 3, (200.0, 400.0, 600.0)  # cells along an axis, K
FRAMES, EVERY, FIRST = 40, 50, 1000  # of each temperature; steps of 1 fs


def frames(potential: Potential, crystal: Atoms, temperature: float) -> list[Atoms]:
    """Return structures with energies and forces from dynamics of a potential."""
    generator = np.random.default_rng(int(temperature))
    atoms = crystal.repeat(N_REPEATS)
    atoms.calc = potential.calculator()
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=generator)
    dynamics = Langevin(atoms, units.fs, temperature_K=temperature, friction=0.01 / units.fs, rng=generator)
    dynamics.run(FIRST)
    kept = []
    for _ in range(FRAMES):
        dynamics.run(EVERY)
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        frame.calc = SinglePointCalculator(
            frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces()
        )
        kept.append(frame)
    return kept


def main() -> None:
    """Write the frames of all temperatures."""
    potential, crystal = load(sys.argv[1]), records.load("embedded", "Mo").crystal
    ase.io.write(sys.argv[2], [one for kelvin in TEMPERATURES for one in frames(potential, crystal, kelvin)])


if __name__ == "__main__":
    main()
