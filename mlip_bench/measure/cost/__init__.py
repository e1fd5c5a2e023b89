"""Cost of one molecular dynamics step, against the ruler.

A step is NPT at 300 K and 1 fs with forces and stress, in LAMMPS, on one pinned core, or on as many as are
asked for: kernels have a thread on each, LAMMPS's pair styles a rank of MPI. Machines differ and are noisy,
so beside every timing the ruler is timed in the same process, on one core: the published linear SNAP of Mo
(``Mo_Zuo_JPCA2020``, 2Jmax = 6) on as many atoms of bcc Mo. Blocks of steps of the two alternate, and the
ratio is taken pair by pair; blocks that scatter are timed once more. Rebuilding neighbour lists is charged to
all alike, each with the skin that makes it cheapest: see :mod:`mlip_bench.measure.cost.timing`. Native pair
styles leave the energy out, which LAMMPS computes at the end of each block but a long simulation does not:
with it, short blocks made the ruler up to a tenth dearer than it is.
A family that LAMMPS has a pair style of is timed both ways, in it and by the code here; the ruler is always
LAMMPS's. A potential whose dynamics explode meanwhile is timed nevertheless, on rattled copies and with steps
so short that its atoms stay where they are, and a note says so. Data without a crystal is timed on a box of
copies of its most stable slab or molecule; so is a structure that the user names. A potential without a
stress is timed at constant volume, and a note says so.
"""

import dataclasses

import numpy as np
from ase import Atoms

from mlip_bench.md.driver import STILL_FS, DynamicsFailed, implementations
from mlip_bench.measure.base import Measure, Metric, Subject, Value, beside
from mlip_bench.measure.cost import ranking
from mlip_bench.measure.cost.timing import LEAST_BLOCKS, LIMIT, Blocks, half_interquartile, timed_blocks
from mlip_bench.potentials.base import Potential, Progress, silent
from mlip_bench.results import KERNELS, LAMMPS

N_ATOMS = 2000

# How the note begins of a ratio whose blocks scatter.
NOISY = "noisy"

# How a potential is timed that has no stress.
TIMED_NVT = "no stress is predicted, so its steps are NVT, the ruler's NPT"

# How a potential is timed whose dynamics explode.
TIMED_STILL = (
    f"timed on rattled copies with steps of {STILL_FS:g} fs, in which nothing moves and no list is rebuilt"
)

METRICS = {
    "s_per_step": Metric("s", "wall time of an MD step, rebuilding of neighbour lists included"),
    "us_per_atom_step": Metric("µs", "wall time of an MD step per atom"),
    "cost_ratio": Metric("ruler", "time per atom and step over that of the published SNAP of Mo on one core"),
    "s_per_step_without_rebuild": Metric("s", "wall time of an MD step in which no list is rebuilt"),
    "s_per_rebuild": Metric("s", "by how much longer a step takes in which the neighbour list is rebuilt"),
    "steps_between_rebuilds": Metric(
        "1", "steps between two rebuilds at equilibrium; where none was seen, all steps that were", None
    ),
    "rebuilds": Metric("1", "rebuilds that were seen", None),
    "skin": Metric("Å", "neighbour skin, of those that were tried the cheapest", None),
    "ruler_s_per_step": Metric("s", "the ruler's own time per step, beside this measurement", None),
    "ruler_steps_between_rebuilds": Metric("1", "the ruler's steps between two rebuilds", None),
    "ruler_skin": Metric("Å", "the ruler's skin, the same in all timings", None),
    "n_blocks": Metric("1", "blocks that were timed", None),
}


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Time blocks of steps of the potential and of the ruler in turn."""
    potential, sample = subject.potential, subject.sample("cost")
    values: list[Value] = []
    for implementation in implementations(potential):
        values += timed(
            potential, sample, N_ATOMS, progress, implementation=implementation, cores=subject.cores
        )
    return subject.of_sample(values)


def timed(
    potential: Potential,
    sample: Atoms,
    n_atoms: int,
    progress: Progress = silent,
    least: int = LEAST_BLOCKS,
    implementation: str = KERNELS,
    skin: float | None = None,
    cores: int = 1,
) -> list[Value]:
    """Return the cost of a step with a skin (Å) or the cheapest; where dynamics do not hold, of a still one.

    Raises :class:`DynamicsFailed` where not even the first step gives finite forces.
    """
    given = potential, sample, n_atoms, progress, least
    native = implementation == LAMMPS
    note = None if potential.predicts_stress else TIMED_NVT
    try:
        blocks = timed_blocks(*given, native=native, skin=skin, cores=cores)
    except DynamicsFailed as failure:
        blocks = timed_blocks(*given, timestep=STILL_FS, native=native, cores=cores)
        note = "; ".join(filter(None, (note, str(failure), TIMED_STILL)))
    return [dataclasses.replace(value, implementation=implementation) for value in values_of(blocks, note)]


def values_of(blocks: Blocks, note: str | None = None) -> list[Value]:
    """Turn blocks into values with their spread, and a note on those that scatter."""
    own, ruler = blocks.own, blocks.ruler
    noisy = noise(blocks)
    series = {
        "s_per_step": own.per_step,
        "us_per_atom_step": 1e6 * own.per_step / own.n_atoms,
        "cost_ratio": blocks.ratios,
        "s_per_step_without_rebuild": own.without_rebuild,
        "ruler_s_per_step": ruler.per_step,
    }
    values = [
        Value(metric, float(np.median(times)), spread=half_interquartile(times))
        for metric, times in series.items()
    ]
    single = {"skin": own.start.skin, "ruler_skin": ruler.start.skin, "n_blocks": len(blocks.ratios)}
    single |= {"ruler_steps_between_rebuilds": ruler.between_rebuilds}
    if own.start.moves:
        single |= {"steps_between_rebuilds": own.between_rebuilds, "rebuilds": own.n_rebuilds}
    if not np.isnan(own.s_per_rebuild):
        single |= {"s_per_rebuild": own.s_per_rebuild}
    values += [Value(metric, float(number)) for metric, number in single.items()]
    notes = {value.metric: note for value in values} | {
        "cost_ratio": "; ".join(filter(None, (note, noisy))) or None
    }
    return [dataclasses.replace(one, n_atoms=own.n_atoms, note=notes[one.metric]) for one in values]


def noise(blocks: Blocks) -> str | None:
    """Say that the ratios of blocks scatter, where they do; how far, their spread tells."""
    if not blocks.is_noisy:
        return None
    return f"{NOISY}: ratios of blocks scatter by more than ± {100 * LIMIT:.0f} %, also when timed once more"


MEASURE = Measure(
    "cost",
    METRICS,
    run,
    revision=3,
    packages=("ase", "lammps", "numpy"),
    alone=True,
    on_cores=True,
    sections=beside(__name__),
    ranked=True,
    costs=(ranking.RATIO,),
    columns=ranking.COLUMNS,
    note=beside(__name__, "note"),
    terms=beside(__name__, "terms"),
    treated=beside(__name__, "treated"),
    adjusted=beside(__name__, "adjusted"),
)
