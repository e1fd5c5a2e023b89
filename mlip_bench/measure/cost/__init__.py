"""Cost of one molecular dynamics step, against the ruler.

A step is NPT at 300 K and 1 fs with forces and stress, in LAMMPS, on one pinned core. Machines differ and
are noisy, so beside every timing the ruler is timed in the same process: the published linear SNAP of Mo
(``Mo_Zuo_JPCA2020``, 2Jmax = 6) on as many atoms of bcc Mo. Blocks of steps of the two alternate, and the
ratio is taken pair by pair. Native pair styles leave the energy out, which LAMMPS computes at the end of each
block but a long simulation does not: with it, short blocks made the ruler up to a tenth dearer than it is.
A family that LAMMPS has a pair style of is timed both ways, in it and by the code here; the ruler is always
LAMMPS's. A potential whose dynamics explode meanwhile is timed nevertheless, on rattled copies and with steps
so short that its atoms stay where they are, and a note says so. Data without a crystal is timed on a box of
copies of its most stable slab or molecule; so is a structure that the user names. A potential without a
stress is timed at constant volume, and a note says so.
"""

import dataclasses
import time

import numpy as np
from ase import Atoms
from ase.build import bulk

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.md import boxes
from mlip_bench.md.driver import STILL_FS, TIMESTEP_FS, DynamicsFailed, Simulation, implementations
from mlip_bench.measure.base import Measure, Metric, Subject, Value, beside
from mlip_bench.measure.cost import ranking
from mlip_bench.measure.gpu import refuse_busy_gpu
from mlip_bench.potentials.base import Potential, Progress, silent
from mlip_bench.potentials.snap import SNAP
from mlip_bench.results import KERNELS, LAMMPS

N_ATOMS = 2000

# A block lasts about this long (s): far above the clock's resolution, short enough that what else the machine
# does falls on a block and on the ruler's beside it. A step that takes longer makes a block of its own.
BLOCK_SECONDS = 0.15

# Blocks are timed for about this long (s), but within these numbers.
SECONDS = 12.0
LEAST_BLOCKS, MOST_BLOCKS = 7, 41

RULER = "Mo_Zuo_JPCA2020.snapcoeff"
RULER_LATTICE_CONSTANT = 3.1676  # Å, PBE, Materials Project

# How a potential is timed that has no stress.
TIMED_NVT = "no stress is predicted, so its steps are NVT, the ruler's NPT"

# How a potential is timed whose dynamics explode.
TIMED_STILL = f"timed on rattled copies with steps of {STILL_FS:g} fs, in which nothing moves"

METRICS = {
    "s_per_step": Metric("s", "wall time of an MD step on one core, median of blocks"),
    "us_per_atom_step": Metric("µs", "wall time of an MD step per atom"),
    "cost_ratio": Metric("ruler", "time per atom and step over that of the published SNAP of Mo"),
    "ruler_s_per_step": Metric("s", "the ruler's own time per step, beside this measurement", None),
    "n_blocks": Metric("1", "blocks that were timed", None),
}


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Time blocks of steps of the potential and of the ruler in turn."""
    potential, sample = subject.potential, subject.sample("cost")
    values: list[Value] = []
    for implementation in implementations(potential):
        values += timed(potential, sample, N_ATOMS, progress, implementation=implementation)
    return subject.of_sample(values)


def timed(
    potential: Potential,
    sample: Atoms,
    n_atoms: int,
    progress: Progress = silent,
    least: int = LEAST_BLOCKS,
    implementation: str = KERNELS,
) -> list[Value]:
    """Return the cost of a step; where the dynamics do not hold, that of a step that moves nothing.

    Raises :class:`DynamicsFailed` where not even the first step gives finite forces.
    """
    native = implementation == LAMMPS
    note = None if potential.predicts_stress else TIMED_NVT
    try:
        blocks = timed_blocks(potential, sample, n_atoms, progress, least, native=native)
    except DynamicsFailed as failure:
        atoms = boxes.rattled(boxes.repeated_to(sample, n_atoms))
        blocks = timed_blocks(potential, atoms, n_atoms, progress, least, STILL_FS, native)
        note = "; ".join(filter(None, (note, str(failure), TIMED_STILL)))
    return [
        dataclasses.replace(value, implementation=implementation) for value in values_of(*blocks, note=note)
    ]


def timed_blocks(
    potential: Potential,
    sample: Atoms,
    n_atoms: int,
    progress: Progress = silent,
    least: int = LEAST_BLOCKS,
    timestep: float = TIMESTEP_FS,
    native: bool = True,
) -> tuple[np.ndarray, int, int]:
    """Return times per step (n_blocks, 2) of potential and ruler, and the atoms that each had.

    Raises :class:`UserError` where the GPU that is to be timed is busy.
    """
    if potential.device == "cuda":
        refuse_busy_gpu()
    atoms = boxes.repeated_to(sample, n_atoms)
    ruler_atoms = bcc_molybdenum(len(atoms))
    with (
        Simulation(SNAP.from_native(potentials_folder() / RULER), ruler_atoms) as ruler,
        Simulation(potential, atoms, timestep=timestep, native=native) as simulation,
    ):
        for one in (ruler, simulation):
            one.leave_out_energy()
        ruler_steps, steps = steps_per_block(ruler), steps_per_block(simulation)
        blocks: list[list[float]] = []
        start = time.perf_counter()
        while len(blocks) < least or (len(blocks) < MOST_BLOCKS and time.perf_counter() - start < SECONDS):
            blocks.append([time_per_step(simulation, steps), time_per_step(ruler, ruler_steps)])
            progress(len(blocks) / MOST_BLOCKS, f"timing {len(atoms)} atoms")
    return np.array(blocks), len(atoms), len(ruler_atoms)


def ratios(blocks: np.ndarray, n_atoms: int, n_ruler_atoms: int) -> np.ndarray:
    """Return time per atom of the potential over that of the ruler, block by block."""
    per_step, ruler = blocks.T
    return (per_step / n_atoms) / (ruler / n_ruler_atoms)


def values_of(blocks: np.ndarray, n_atoms: int, n_ruler_atoms: int, note: str | None = None) -> list[Value]:
    """Turn times per step (n_blocks, 2) of potential and ruler into values with their spread."""
    per_step, ruler = blocks.T
    series = {
        "s_per_step": per_step,
        "us_per_atom_step": 1e6 * per_step / n_atoms,
        "cost_ratio": ratios(blocks, n_atoms, n_ruler_atoms),
        "ruler_s_per_step": ruler,
    }
    return [
        Value(metric, float(np.median(values)), n_atoms=n_atoms, spread=half_interquartile(values), note=note)
        for metric, values in series.items()
    ] + [Value("n_blocks", float(len(blocks)), n_atoms=n_atoms, note=note)]


def half_interquartile(values: np.ndarray) -> float:
    """Return half the interquartile range, the spread of repeated timings."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 2


def steps_per_block(simulation: Simulation) -> int:
    """Warm up, and return how many steps fill a block."""
    simulation.run(1)
    return max(1, round(BLOCK_SECONDS / time_per_step(simulation, 1)))


def time_per_step(simulation: Simulation, n_steps: int) -> float:
    """Return the time (s) of a step, the mean of ``n_steps``."""
    start = time.perf_counter()
    simulation.run(n_steps)
    return (time.perf_counter() - start) / n_steps


def bcc_molybdenum(n_atoms: int) -> Atoms:
    """Return at least ``n_atoms`` atoms of bcc Mo, the structure that the ruler runs on."""
    return boxes.repeated_to(bulk("Mo", "bcc", a=RULER_LATTICE_CONSTANT, cubic=True), n_atoms)


MEASURE = Measure(
    "cost",
    METRICS,
    run,
    revision=2,
    packages=("ase", "lammps", "numpy"),
    alone=True,
    sections=beside(__name__),
    ranked=True,
    costs=(ranking.RATIO,),
    columns=ranking.COLUMNS,
    note=beside(__name__, "note"),
    terms=beside(__name__, "terms"),
    treated=beside(__name__, "treated"),
    adjusted=beside(__name__, "adjusted"),
)
