r"""Cost of an MD step over supercell sizes: table S11 of doi:10.1021/acs.jpca.9b08723 for every family.

The protocol is that of ``cost``, at 432, 2000, 5488 and 11664 atoms of bcc (6, 10, 14 and 18 cubic cells
along each axis), or at the same numbers or a little more of the user's sample. The power law

.. math:: t \propto N^p

is fitted to the logarithms; the uncertainty of p is its standard error. A size that would not fit into
memory, or would take longer than the time allowed, is not started, nor a larger one, and a row says so. A
family that LAMMPS has a pair style of is timed both ways. The skin that is cheapest at the smallest size is
taken at all; memory is that on one core.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlip_bench.md import boxes
from mlip_bench.md.driver import STILL_FS, Simulation, implementations
from mlip_bench.measure import cost
from mlip_bench.measure.base import Measure, Metric, Subject, Value, beside
from mlip_bench.measure.cost import TIMED_STILL, timing
from mlip_bench.measure.memory import available_mib, peak_of
from mlip_bench.potentials.base import Potential, Progress
from mlip_bench.results import LAMMPS

SIZES = (432, 2000, 5488, 11664)

# Where a step takes seconds, so few blocks must do.
FEW_BLOCKS = 3

# Time (s) that one size may take.
SIZE_SECONDS = 300.0

# Steps of a size beside its blocks: set-ups, warm-up, those that tell how long a step and a rebuild take, and
# coming to equilibrium, an eighth of the atoms.
STEPS_BEFORE = 16 + timing.EQUILIBRATION_STEPS / 8

# Share of the memory left that a size may take.
MEMORY_SHARE = 0.8

METRICS = cost.METRICS | {
    "peak_kib_per_atom": Metric("KiB", "memory that a simulation takes, per atom"),
    "exponent": Metric("1", "p of the power law t ∝ N^p"),
    "stopped_by_time": Metric("s", "estimated time of the first size that was not started", None),
    "stopped_by_memory": Metric("MiB", "estimated memory of the first size that was not started", None),
}


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Time the sizes from small to large."""
    potential, sample = subject.potential, subject.sample("scaling")
    values: list[Value] = []
    for implementation in implementations(potential):
        found = _sizes(potential, sample, implementation, subject.cores, progress)
        values += [dataclasses.replace(value, implementation=implementation) for value in found]
    return subject.of_sample(values)


def _sizes(
    potential: Potential, sample: Atoms, implementation: str, cores: int, progress: Progress
) -> list[Value]:
    native = implementation == LAMMPS
    few = boxes.repeated_to(sample, SIZES[0] // 4)
    with Simulation(potential, few, timestep=STILL_FS, native=native) as small:
        small.run(1)  # kernels are compiled before memory and time are looked at
    values: list[Value] = []
    s_per_step = kib_per_atom = 0.0
    skin: float | None = None
    for index, size in enumerate(SIZES):
        n_atoms = len(boxes.repeated_to(sample, size))
        stop = _reason_to_stop(potential.device, n_atoms, s_per_step, kib_per_atom)
        if stop is not None:
            values.append(stop)
            break
        kib_per_atom = _peak_kib(potential, boxes.repeated_to(sample, size), native) / n_atoms
        values.append(Value("peak_kib_per_atom", kib_per_atom, n_atoms=n_atoms))
        found = cost.timed(
            potential,
            sample,
            size,
            least=FEW_BLOCKS,
            implementation=implementation,
            skin=skin,
            cores=cores,
        )
        values += found
        if not _is_still(found):
            skin = next(value.value for value in found if value.metric == "skin")
        s_per_step = found[0].value / n_atoms
        progress((index + 1) / len(SIZES), f"{n_atoms} atoms: {found[0].value:.3g} s per step")
    return values + _power_law(values)


def _reason_to_stop(device: str, n_atoms: int, s_per_atom: float, kib_per_atom: float) -> Value | None:
    """Estimate from the size before whether this one is too large."""
    step = s_per_atom * n_atoms
    seconds = STEPS_BEFORE * step + max(FEW_BLOCKS * step, timing.SECONDS)
    if seconds > SIZE_SECONDS:
        return Value("stopped_by_time", seconds, n_atoms=n_atoms)
    mib = kib_per_atom * n_atoms / 1024
    if mib > MEMORY_SHARE * available_mib(device):
        return Value("stopped_by_memory", mib, n_atoms=n_atoms)
    return None


def _peak_kib(potential: Potential, atoms: Atoms, native: bool) -> float:
    with (
        peak_of(potential.device) as peak,
        Simulation(potential, atoms, timestep=STILL_FS, native=native) as simulation,
    ):
        simulation.run(1)
    return 1024 * peak.mib


def _is_still(values: Sequence[Value]) -> bool:
    """Tell whether the dynamics did not hold, so that a crystal at rest was timed, which builds no lists."""
    return any(TIMED_STILL in (value.note or "") for value in values)


def _power_law(values: list[Value]) -> list[Value]:
    """Fit p, where there are at least three sizes with dynamics that held."""
    points = [(v.n_atoms, v.value) for v in values if v.metric == "s_per_step" and not _is_still([v])]
    if len(points) < 3:
        return []
    n_atoms, seconds = np.log(np.array(points, dtype=float)).T
    fitted, covariance = np.polyfit(n_atoms, seconds, 1, cov="unscaled")
    residual = seconds - np.polyval(fitted, n_atoms)
    variance = float((residual**2).sum()) / (len(points) - 2)
    return [Value("exponent", float(fitted[0]), spread=float(np.sqrt(variance * covariance[0, 0])))]


MEASURE = Measure(
    "scaling",
    METRICS,
    run,
    revision=4,
    packages=("ase", "lammps", "numpy"),
    alone=True,
    on_cores=True,
    sections=beside(__name__),
)
