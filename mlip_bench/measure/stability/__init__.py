"""Molecular dynamics that holds: NVT at three temperatures, then NVE, watched all the while.

Temperatures are 300 K, and a half and nine tenths of the melting point where it is known. A simulation that
explodes (loses atoms, heats to several times its temperature, or brings two atoms on top of each other) is a
result: the time that it held. So is one that takes too long to finish: how far it came.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from mlip_bench.md import boxes
from mlip_bench.md.driver import TEMPERATURE_K, TOO_HOT, DynamicsFailed, Simulation
from mlip_bench.measure.base import Measure, Metric, Subject, Value, beside
from mlip_bench.measure.drift import drift
from mlip_bench.potentials.base import Potential, Progress

N_ATOMS = 128
# Simulated time (ps) at constant temperature, then at constant energy.
SHORT, LONG = (1.0, 0.5), (10.0, 2.0)

# Steps (of 1 fs) between two looks.
STRIDE = 50

# Time (s) of the processor that one temperature may take: what else runs on the machine does not shorten it.
SECONDS = 300.0

# An explosion: too hot, or nearer than this share of the shortest distance in the crystal.
TOO_NEAR = 0.4

# Neighbours are looked for within this distance (Å).
FARTHEST = 6.0

# Melting points (K) at normal pressure: CRC Handbook of Chemistry and Physics, 97th edition, section 4.
MELTING_POINT_K = {"Li": 453.65, "Si": 1687.0, "Ni": 1728.0, "Cu": 1357.77, "Ge": 1211.40, "Mo": 2895.0}
SHARES = (0.5, 0.9)

METRICS = {
    "held_ps": Metric("ps", "simulated time until it exploded, ran out of time, or was done", False),
    "exploded": Metric("1", "1 where the simulation exploded, 0 where it held"),
    "largest_force": Metric("eV/Å", "largest force on an atom seen"),
    "smallest_distance": Metric("Å", "smallest distance between two atoms seen", False),
    "extrapolating_atoms": Metric("atoms", "atoms in surroundings outside those of training, at the end"),
    "energy_drift": Metric("meV/atom/ps", "slope of the total energy in NVE"),
    "kinetic_drift": Metric("meV/atom/ps", "slope of the kinetic energy in NVE: the work of the forces"),
}


@dataclass
class Watch:
    """What was seen of one simulation so far."""

    atoms: Atoms
    nearest: float
    temperature: float
    held_ps: float = 0.0
    exploded: bool = False
    largest_force: float = 0.0
    smallest_distance: float = np.inf

    def look(self, simulation: Simulation) -> None:
        """Look at the simulation as it is now."""
        forces = np.linalg.norm(simulation.forces(), axis=1)
        atoms = simulation.snapshot(self.atoms)
        if not (np.isfinite(forces).all() and np.isfinite(atoms.positions).all()):
            raise DynamicsFailed("forces or positions are not finite")
        self.largest_force = max(self.largest_force, float(forces.max()))
        self.atoms = atoms
        self.smallest_distance = min(self.smallest_distance, shortest(self.atoms, self.nearest))
        hot = not simulation.thermo("temp") <= TOO_HOT * self.temperature
        self.exploded = hot or self.smallest_distance < TOO_NEAR * self.nearest


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Simulate each temperature."""
    atoms = boxes.repeated_to(subject.sample("stability"), N_ATOMS)
    values: list[Value] = []
    temperatures = temperatures_of(atoms)
    for index, temperature in enumerate(temperatures):
        values += _simulate(subject.potential, atoms, temperature, *durations_ps(subject.preset))
        progress((index + 1) / len(temperatures), f"{temperature:.0f} K: {values[-1].value:.3g}")
    return subject.of_sample(values)


def durations_ps(preset: str) -> tuple[float, float]:
    """Return the simulated time (ps) at constant temperature, then at constant energy, of a preset."""
    return SHORT if preset == "quick" else LONG


def temperatures_of(atoms: Atoms) -> list[float]:
    """Return the temperatures (K) for a crystal; 300 K only where its melting point is not known."""
    symbols = set(atoms.get_chemical_symbols())
    melting = MELTING_POINT_K.get(symbols.pop()) if len(symbols) == 1 else None
    return [TEMPERATURE_K, *(share * melting for share in SHARES if melting is not None)]


def shortest(atoms: Atoms, at_most: float) -> float:
    """Return the shortest distance (Å) between two atoms, ``at_most`` where none is nearer."""
    distances = neighbour_list("d", atoms, at_most)
    return float(distances.min()) if len(distances) else at_most


def _simulate(
    potential: Potential, atoms: Atoms, temperature: float, nvt_ps: float, nve_ps: float
) -> list[Value]:
    """Return all values of one temperature."""
    start, nearest = time.process_time(), shortest(atoms, FARTHEST)
    watch, reason = Watch(atoms, nearest, temperature), None
    energies: dict[str, list[float]] = {}
    try:
        # Of the initial velocities' energy the lattice takes half.
        with Simulation(potential, atoms, ensemble="nvt", temperature=2 * temperature) as simulation:
            simulation.switch("nvt", temperature)
            _advance(simulation, watch, nvt_ps, start, {})
            if not watch.exploded and watch.held_ps >= nvt_ps:
                simulation.switch("nve")
                until_ps = round(nvt_ps + nve_ps, 6)
                energies = _advance(simulation, watch, until_ps, start, _drifting(potential))
    except DynamicsFailed as failure:
        watch.exploded, reason = True, str(failure)
    found = {
        "held_ps": watch.held_ps,
        "exploded": float(watch.exploded),
        "largest_force": watch.largest_force,
        "smallest_distance": watch.smallest_distance,
    }
    if not watch.exploded:
        found["extrapolating_atoms"] = float(potential.predict([watch.atoms])[0].n_extrapolating)
    group = f"{temperature:.0f} K"
    values = [
        Value(metric, value, n_atoms=len(atoms), group=group, note=reason)
        for metric, value in found.items()
        if np.isfinite(value)
    ]
    for metric, series in energies.items():
        slope, error = drift(1e-3 * STRIDE * np.arange(len(series)), np.array(series) / len(atoms))
        if np.isfinite(slope):
            values.append(Value(metric, slope, n_atoms=len(atoms), group=group, spread=error, note=reason))
    return values


def _advance(
    simulation: Simulation, watch: Watch, until_ps: float, start: float, thermo: Mapping[str, str]
) -> dict[str, list[float]]:
    """Go on to a time, an explosion, or the end of the time allowed; return values of ``thermo`` by stride.

    ``thermo`` has LAMMPS's names of the energies (eV) that are wanted.
    """
    energies: dict[str, list[float]] = {name: [] for name in thermo}
    while watch.held_ps < until_ps and not watch.exploded and time.process_time() - start < SECONDS:
        simulation.run(STRIDE)
        watch.look(simulation)
        if not watch.exploded:
            watch.held_ps = round(watch.held_ps + 1e-3 * STRIDE, 6)
            for name, keyword in thermo.items():
                energies[name].append(simulation.thermo(keyword))
    return energies


def _drifting(potential: Potential) -> dict[str, str]:
    """Return which energies of LAMMPS may drift: the total one only where the potential has an energy."""
    return ({"energy_drift": "etotal"} if potential.predicts_energy else {}) | {"kinetic_drift": "ke"}


MEASURE = Measure(
    "stability",
    METRICS,
    run,
    revision=5,
    packages=("ase", "lammps", "matscipy", "numpy"),
    alone=True,
    by_preset=True,
    sections=beside(__name__),
    cautions=beside(__name__, "cautions"),
    terms=beside(__name__, "terms"),
)
