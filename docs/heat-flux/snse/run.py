"""Heat flux of tin selenide at 300 K by 7net-0: series for its thermal conductivity, seed by seed.

    python docs/heat-flux/snse/run.py --seeds 8 --length 50

Pnma SnSe (8 atoms, relaxed with its cell by 7net-0 in double precision: ``relaxed.extxyz``), 2 x 4 x 4 cells
(256 atoms), steps of 4 fs. Each seed: Maxwell-Boltzmann velocities, 10 ps of Langevin dynamics, then constant
energy from where that ended, with the flux at every third step. Runs in one thread. ``seed-N.npz`` keeps
positions and velocities with the series so far, every few minutes and at the end: the same command goes on
from there, a longer ``--length`` too. Dynamics at constant energy go on from exactly that point; the noise of
an interrupted thermostat is drawn anew.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", MKL_NUM_THREADS="1")

import ase.io
import numpy as np
import torch
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.spacegroup import crystal

from mlip_bench.potentials.base import PotentialCalculator
from mlip_bench.potentials.prediction import Prediction
from mlip_bench.potentials.sevennet.model import SevenNet

HERE = Path(__file__).parent
TEMPERATURE = 300.0  # K
STEP = 4.0  # fs
EVERY = 3  # steps between two fluxes
CELLS = (2, 4, 4)
EQUILIBRATION = 2500  # steps: 10 ps
FRICTION = 0.01  # 1/fs
KEEP_SECONDS = 180.0
STEPS_AT_ONCE = 30  # of the thermostat, between two looks at the clock
TIN = 50

# Where the relaxation starts: a, b, c (Å) and the positions of Sn and Se in Pnma near those of experiment.
START = ((11.50, 4.15, 4.44), [(0.12, 0.25, 0.10), (0.86, 0.25, 0.52)])


def main() -> None:
    """Run or go on with all seeds, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--length", type=float, default=50.0, help="of each seed at constant energy (ps)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    crystal_of_seeds = relaxed().repeat(CELLS)
    potential = SevenNet.from_native(Path("7net-0"))
    for seed in range(1, arguments.seeds + 1):
        Seed(potential, crystal_of_seeds, seed).run(arguments.length)


def relaxed() -> Atoms:
    """Return the relaxed cell of 8 atoms: from the file, or relaxed now."""
    path = HERE / "relaxed.extxyz"
    if path.is_file():
        return ase.io.read(path)
    lengths, positions = START
    atoms = crystal(["Sn", "Se"], positions, spacegroup=62, cellpar=[*lengths, 90, 90, 90])
    atoms.calc = SevenNet.from_native(Path("7net-0"), double_precision=True).calculator()
    # The mask keeps the angles: Pnma is orthorhombic.
    BFGS(FrechetCellFilter(atoms, mask=[1, 1, 1, 0, 0, 0])).run(fmax=1e-4, steps=500)
    say(
        f"relaxed: a, b, c = {atoms.cell.lengths().round(4)} Å, largest force "
        f"{np.abs(atoms.get_forces()).max():.1e} eV/Å, stress {atoms.get_stress().round(7)} eV/Å³"
    )
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    ase.io.write(path, bare, format="extxyz")
    return bare


class Seed:
    """The dynamics of one seed, and what has been recorded of them.

    At every flux: ``potential`` and ``convective`` (eV Å/fs), Σ v over tin (Å/fs), kinetic temperature (K)
    and the total energy (eV) counted from that of the first. Over all: sums of the stress (eV/Å³) and of the
    energies of atoms (eV).
    """

    SERIES = ("potential", "convective", "tin_velocity", "temperature", "energy")

    def __init__(self, potential: SevenNet, atoms: Atoms, seed: int):
        self._path, self._seed, self._atoms = HERE / f"seed-{seed}.npz", seed, atoms.copy()
        self._stepper = potential.flux_stepper()
        self._atoms.calc = PotentialCalculator(self._predict)
        self._series: dict[str, list[np.ndarray]] = {name: [] for name in self.SERIES}
        self._equilibrated = self._step = 0
        self._first_energy = 0.0
        self._stress, self._energies = np.zeros(6), np.zeros(len(atoms))
        if self._path.is_file():
            self._restore()
        else:
            generator = np.random.default_rng(seed)
            MaxwellBoltzmannDistribution(self._atoms, temperature_K=TEMPERATURE, rng=generator)
            Stationary(self._atoms)
        self._kept, self._kept_at = time.monotonic(), self._equilibrated + self._step

    def _predict(self, atoms: Atoms) -> Prediction:
        self._last = self._stepper.predict(atoms)
        return self._last

    def run(self, length: float) -> None:
        """Go on until the series at constant energy has a length (ps)."""
        while self._equilibrated < EQUILIBRATION:
            n_steps = min(STEPS_AT_ONCE, EQUILIBRATION - self._equilibrated)
            self._thermostat().run(n_steps)
            self._equilibrated += n_steps
            self._keep(KEEP_SECONDS)
        constant_energy = VelocityVerlet(self._atoms, STEP * units.fs)
        while self._step * STEP < length * 1e3:
            constant_energy.run(EVERY)
            self._step += EVERY
            self._record()
            self._keep(KEEP_SECONDS)
        if self._equilibrated + self._step > self._kept_at:
            self._keep(0.0)

    def _thermostat(self) -> Langevin:
        return Langevin(
            self._atoms,
            STEP * units.fs,
            temperature_K=TEMPERATURE,
            friction=FRICTION / units.fs,
            rng=np.random.default_rng([self._seed, self._equilibrated]),
        )

    def _record(self) -> None:
        """Record what belongs to the positions of the last forces, which are those of now."""
        velocities = self._atoms.get_velocities() * units.fs
        flux = self._stepper.heat_flux(self._last, self._atoms.get_masses(), velocities)
        total = self._last.energy + self._atoms.get_kinetic_energy()
        if not self._series["energy"]:
            self._first_energy = total
        values = (
            flux.potential,
            flux.convective,
            velocities[self._atoms.numbers == TIN].sum(axis=0),
            # Of the 3 n - 3 degrees of freedom of a crystal at rest.
            self._atoms.get_temperature() * len(velocities) / (len(velocities) - 1),
            total - self._first_energy,
        )
        for name, value in zip(self.SERIES, values, strict=True):
            if not np.isfinite(value).all():
                raise SystemExit(f"seed {self._seed}: {name} is not finite at step {self._step}")
            self._series[name].append(np.asarray(value, np.float32))
        self._stress += self._last.stress
        self._energies += self._last.energies

    def _keep(self, seconds: float) -> None:
        """Write all of it, unless that was done less than so many seconds ago; a kill leaves the last one."""
        passed = time.monotonic() - self._kept
        if passed < seconds:
            return
        partial = self._path.with_suffix(".partial.npz")
        np.savez_compressed(
            partial,
            positions=self._atoms.positions,
            velocities=self._atoms.get_velocities(),
            equilibrated=self._equilibrated,
            step=self._step,
            first_energy=self._first_energy,
            stress=self._stress,
            energies=self._energies,
            **{name: np.array(values) for name, values in self._series.items()},
        )
        partial.replace(self._path)
        done = self._equilibrated + self._step
        say(
            f"seed {self._seed}: {self._equilibrated} steps of equilibration, {self._step * STEP / 1e3:.2f} "
            f"ps at constant energy, {self._atoms.get_temperature():.0f} K, "
            f"{(done - self._kept_at) / passed:.1f} steps/s since the last line"
        )
        self._kept, self._kept_at = time.monotonic(), done

    def _restore(self) -> None:
        with np.load(self._path) as kept:
            self._atoms.positions = kept["positions"]
            self._atoms.set_velocities(kept["velocities"])
            self._equilibrated, self._step = int(kept["equilibrated"]), int(kept["step"])
            self._first_energy = float(kept["first_energy"])
            self._stress, self._energies = kept["stress"], kept["energies"]
            self._series = {name: list(kept[name]) for name in self.SERIES}


def say(line: str) -> None:
    """Print a line with the time, at once."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


if __name__ == "__main__":
    main()
