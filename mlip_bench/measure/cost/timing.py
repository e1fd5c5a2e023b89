r"""How a step is timed: apart from the rebuilding of neighbour lists, which is charged by how often it is.

.. math:: t = t_0 + t_r / n

with t_0 the time of a step that builds no list, t_0 + t_r that of one that does, and n the steps between two
rebuilds at equilibrium, counted over all steps that are timed. A median of short blocks would hide what
happens in one of them only, and their mean would not stand what else the machine does.

A wide skin makes steps dearer and rebuilds rare: of ``SKINS`` the one is taken with the least t. It is found
when an eighth of the box has come to equilibrium: n of each skin by how far atoms go from step to step there,
t_0 and t_r by timing it. The box to be timed is made of copies of that eighth with velocities of its own, so
that it is at equilibrium from the start. The ruler has the same skin always.
"""

import time
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.md import boxes
from mlip_bench.md.driver import TIMESTEP_FS, Simulation
from mlip_bench.measure.gpu import refuse_busy_gpu
from mlip_bench.potentials.base import Potential, Progress, silent
from mlip_bench.potentials.edges import skin_used
from mlip_bench.potentials.snap import SNAP

# A block lasts about this long (s): far above the clock's resolution, short enough that what else the machine
# does falls on a block and on the ruler's beside it. A step that takes longer makes a block of its own.
BLOCK_SECONDS = 0.15

# Blocks are timed for about this long (s), but within these numbers.
SECONDS = 6.0
LEAST_BLOCKS, MOST_BLOCKS = 7, 41

# Ratios of blocks whose half interquartile range is a larger share of their median are timed once more.
LIMIT = 0.05

# Until rebuilds are counted to this share of a step, or so long (s), steps go on after the blocks.
REBUILDING_SHARE = 0.02
COUNTING_SECONDS = 20.0

# Where rebuilds are often, the steps between two of them scatter by no more than this share of their mean:
# seen were 7 and 8 % in 2000 atoms of Mo with skins of 0.3 and 0.5 Å, 19 and 37 % in 250. Rare ones come at
# random.
SPREAD_OF_INTERVALS = 0.4

# Skins (Å) that are tried; of a potential whose dynamics do not hold, the one that is taken.
SKINS = (0.3, 0.5, 0.8, 1.2)
STILL_SKIN = 0.5

# Steps (fs) in which a crystal at rest comes to its temperature, and those in which its atoms are watched.
EQUILIBRATION_STEPS = 150
WATCHED_STEPS = 100

# A skin is tried, and a rebuild timed, in so many rounds, each for about this long (s).
ROUNDS = 3
ROUND_SECONDS = 0.04

# A round has no more steps than these: of small boxes they would be many, and dynamics that hardly hold would
# end before anything is timed.
MOST_STEPS_OF_A_ROUND = 100

RULER = "Mo_Zuo_JPCA2020.snapcoeff"

# In Å. Its times with those of ``SKINS`` differ by less than they scatter: a choice would be one by chance.
RULER_SKIN = 0.5
RULER_LATTICE_CONSTANT = 3.1676  # Å, PBE, Materials Project
RULER_CRYSTAL = bulk("Mo", "bcc", a=RULER_LATTICE_CONSTANT, cubic=True)


@dataclass(frozen=True)
class Start:
    """Where the dynamics to be timed begin."""

    atoms: Atoms
    skin: float
    """In Å."""
    moves: bool = True
    """False of dynamics in which nothing moves, because they would not hold."""


@dataclass(frozen=True)
class Steps:
    """What the steps of a simulation took (s)."""

    start: Start
    without_rebuild: np.ndarray
    """t_0 of each block (n_blocks,)."""
    s_per_rebuild: float
    """t_r; NaN where a list is built at every step, which t_0 then contains."""
    n_steps: int
    """In which rebuilds were counted."""
    n_rebuilds: int

    @property
    def n_atoms(self) -> int:
        """How many atoms there are."""
        return len(self.start.atoms)

    @property
    def per_step(self) -> np.ndarray:
        """Return t of each block (n_blocks,)."""
        if np.isnan(self.s_per_rebuild):
            return self.without_rebuild
        return self.without_rebuild + self.s_per_rebuild * self.n_rebuilds / self.n_steps

    @property
    def between_rebuilds(self) -> float:
        """Return n; where there was no rebuild, all steps in which none was."""
        return self.n_steps / max(1, self.n_rebuilds)


@dataclass(frozen=True)
class Blocks:
    """Blocks of steps of a potential and of the ruler in turn."""

    own: Steps
    ruler: Steps
    repeated: bool = False
    """Whether they were timed once more, because they scattered."""

    @property
    def ratios(self) -> np.ndarray:
        """Return time per atom of the potential over that of the ruler, block by block."""
        return (self.own.per_step / self.own.n_atoms) / (self.ruler.per_step / self.ruler.n_atoms)

    @property
    def scatter(self) -> float:
        """Return half the interquartile range of the ratios over their median."""
        return half_interquartile(self.ratios) / float(np.median(self.ratios))

    @property
    def is_noisy(self) -> bool:
        """Whether the ratio cannot be relied on; noise of a rebuild's time can even make it negative."""
        return not 0 <= self.scatter <= LIMIT


def half_interquartile(values: np.ndarray) -> float:
    """Return half the interquartile range, the spread of repeated timings."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 2


def timed_blocks(
    potential: Potential,
    sample: Atoms,
    n_atoms: int,
    progress: Progress = silent,
    least: int = LEAST_BLOCKS,
    timestep: float = TIMESTEP_FS,
    native: bool = True,
    skin: float | None = None,
    cores: int = 1,
) -> Blocks:
    """Time blocks of steps of a potential and of the ruler in turn, with the skin or the cheapest one.

    The ruler is timed on one core, whatever the potential is, and the skin chosen on one.
    Raises :class:`UserError` where the GPU that is to be timed is busy.
    """
    if potential.device == "cuda":
        refuse_busy_gpu()
    progress(0.0, "coming to equilibrium")
    start = _start(potential, sample, n_atoms, timestep, native, skin)
    ruler, ruler_start = _ruler(len(start.atoms))
    with (
        Simulation(ruler, ruler_start.atoms) as other,
        Simulation(potential, start.atoms, timestep=timestep, native=native, cores=cores) as one,
    ):
        sides = _Side(one, start), _Side(other, ruler_start)
        for side in sides:
            side.begin()
        found = _in_turn(*sides, least, progress)
        if found.is_noisy:
            again = _in_turn(*sides, least, progress, repeated=True)
            first = Blocks(found.own, found.ruler, repeated=True)
            found = min(first, again, key=lambda each: (each.is_noisy, abs(each.scatter)))
    return found


def timed_alone(
    potential: Potential, sample: Atoms, n_atoms: int, n_blocks: int, timestep: float = TIMESTEP_FS
) -> Steps:
    """Time blocks of steps without the ruler."""
    start = _start(potential, sample, n_atoms, timestep)
    with Simulation(potential, start.atoms, timestep=timestep) as simulation:
        side = _Side(simulation, start)
        side.begin()
        for _ in range(n_blocks):
            side.block()
        side.count()
    return side.steps(0, n_blocks)


def _start(
    potential: Potential,
    sample: Atoms,
    n_atoms: int,
    timestep: float,
    native: bool = True,
    skin: float | None = None,
) -> Start:
    if timestep == TIMESTEP_FS:
        return at_equilibrium(potential, sample, n_atoms, native, skin)
    return Start(boxes.rattled(boxes.repeated_to(sample, n_atoms)), STILL_SKIN, moves=False)


@cache
def _ruler(n_atoms: int) -> tuple[SNAP, Start]:
    """Return the ruler, and bcc Mo of so many atoms or a few more at its equilibrium."""
    potential = SNAP.from_native(potentials_folder() / RULER)
    return potential, at_equilibrium(potential, RULER_CRYSTAL, n_atoms, skin=RULER_SKIN)


def at_equilibrium(
    potential: Potential, sample: Atoms, n_atoms: int, native: bool = True, skin: float | None = None
) -> Start:
    """Return a box of at least ``n_atoms`` atoms at equilibrium, with the skin (Å) or the cheapest."""
    part, times = boxes.part_of_repeated(sample, n_atoms)
    # Where atoms go does not hang on whose code moves them: ours, which is the faster.
    with Simulation(potential, part, native=False) as simulation:
        # At rest a crystal has no potential energy to give: it takes half of the kinetic.
        simulation.set_velocities(np.sqrt(2) * simulation.velocities())
        simulation.run(EQUILIBRATION_STEPS)
        trajectory = watched(simulation, part, WATCHED_STEPS) if skin is None else []
        settled = simulation.snapshot(part)
    if skin is None:
        with Simulation(potential, settled, native=native) as simulation:
            simulation.leave_out_energy()
            skin = _cheapest_skin(simulation, trajectory)
    return Start(settled.repeat(times), skin)


def watched(simulation: Simulation, atoms: Atoms, n_steps: int) -> list[Atoms]:
    """Return the structures of steps to come, in which no atom goes through the border of the cell."""
    found: list[Atoms] = []
    for _ in range(n_steps):
        simulation.run(1)
        now = simulation.snapshot(atoms)
        if found:
            here, before = (one.get_scaled_positions(wrap=False) for one in (now, found[-1]))
            now.set_scaled_positions(here - np.round(here - before))
        found.append(now)
    return found


def rebuilds_of(trajectory: list[Atoms], skin: float) -> int:
    """Return how often a list with a skin (Å) would be built anew; strain, which is small, left out."""
    kept, n_rebuilds = trajectory[0], 0
    for atoms in trajectory[1:]:
        if skin_used(kept.positions, kept.cell.array, atoms.positions, atoms.cell.array, 0.0) >= skin:
            kept = atoms
            n_rebuilds += 1
    return n_rebuilds


def _cheapest_skin(simulation: Simulation, trajectory: list[Atoms]) -> float:
    """Return that of ``SKINS`` with the least time per step, by the least times of several rounds."""
    n_steps = _steps_of_a_round(_seconds(simulation, 1), 2)
    times = np.empty((ROUNDS, len(SKINS), 2))
    for round_ in times:
        for place, skin in enumerate(SKINS):
            simulation.set_skin(skin)
            round_[place] = _apart(simulation, n_steps)
    without, rebuild = times.min(axis=0).T
    rates = np.array([rebuilds_of(trajectory, skin) for skin in SKINS]) / (len(trajectory) - 1)
    return SKINS[int(np.argmin(without + np.maximum(rebuild - without, 0.0) * rates))]


def _steps_of_a_round(seconds: float, least: int) -> int:
    """Return how many steps of so many seconds make a round."""
    return min(max(least, round(ROUND_SECONDS / seconds)), MOST_STEPS_OF_A_ROUND)


def _apart(simulation: Simulation, n_steps: int) -> tuple[float, float]:
    """Return the time (s) of a step as dynamics do it just after a rebuild, and of one with a rebuild."""
    without = _seconds(simulation, n_steps)
    simulation.rebuild_always(True)
    with_rebuild = _seconds(simulation, n_steps)
    simulation.rebuild_always(False)
    return without, with_rebuild


def _seconds(simulation: Simulation, n_steps: int) -> float:
    """Return the time (s) of a step, the mean of ``n_steps``."""
    start = time.perf_counter()
    simulation.run(n_steps)
    return (time.perf_counter() - start) / n_steps


@dataclass
class _Side:
    """One of the two that are timed in turn."""

    simulation: Simulation
    start: Start
    n_steps: int = 1
    """Of a block."""
    s_per_rebuild: float = 0.0
    n_counted: int = 0
    """Steps in which rebuilds were counted."""
    n_rebuilds: int = 0
    times: list[tuple[float, int]] = field(default_factory=list)
    """Seconds per step and rebuilds of each block."""

    def begin(self) -> None:
        """Warm up, find how many steps fill a block, and time a rebuild."""
        simulation = self.simulation
        simulation.leave_out_energy()
        simulation.set_skin(self.start.skin)
        simulation.run(1)
        step = _seconds(simulation, 1)
        self.n_steps = max(1, round(BLOCK_SECONDS / step))
        n_steps = _steps_of_a_round(step, 1)
        differences = []
        for _ in range(ROUNDS):
            before = simulation.n_builds
            without = _seconds(simulation, n_steps)
            share = (simulation.n_builds - before) / n_steps
            simulation.rebuild_always(True)
            differences.append((_seconds(simulation, n_steps) - without, 1 - share))
            simulation.rebuild_always(False)
        found = [difference / apart for difference, apart in differences if apart > 0]
        self.s_per_rebuild = float(np.median(found)) if found else float("nan")

    def block(self) -> None:
        """Time a block of steps."""
        before = self.simulation.n_builds
        seconds = _seconds(self.simulation, self.n_steps)
        n_rebuilds = self.simulation.n_builds - before
        self.times.append((seconds, n_rebuilds))
        self.n_counted += self.n_steps
        self.n_rebuilds += n_rebuilds

    def count(self) -> None:
        """Go on until rebuilds are counted well enough, or time is up."""
        start = time.perf_counter()
        while not self._is_counted and time.perf_counter() - start < COUNTING_SECONDS:
            self.block()

    @property
    def _is_counted(self) -> bool:
        if np.isnan(self.s_per_rebuild) or not self.start.moves:
            return True
        step = float(np.median([seconds for seconds, _ in self.times]))
        error = max(1.0, SPREAD_OF_INTERVALS * np.sqrt(self.n_rebuilds)) / self.n_counted
        return bool(error * self.s_per_rebuild < REBUILDING_SHARE * step)

    def steps(self, first: int, n_blocks: int) -> Steps:
        """Return what steps took, by so many blocks from the first on."""
        seconds, n_rebuilds = np.array(self.times[first : first + n_blocks], dtype=float).T
        without = seconds
        if not np.isnan(self.s_per_rebuild):
            without = seconds - n_rebuilds / self.n_steps * self.s_per_rebuild
        return Steps(self.start, without, self.s_per_rebuild, self.n_counted, self.n_rebuilds)


def _in_turn(own: _Side, ruler: _Side, least: int, progress: Progress, repeated: bool = False) -> Blocks:
    """Time a block of either, again and again."""
    first, n_blocks, start = (len(own.times), len(ruler.times)), 0, time.perf_counter()
    while n_blocks < least or (n_blocks < MOST_BLOCKS and time.perf_counter() - start < SECONDS):
        own.block()
        ruler.block()
        n_blocks += 1
        atoms = f"{len(own.start.atoms)} atoms{', once more' if repeated else ''}"
        progress(n_blocks / MOST_BLOCKS, f"timing {atoms}")
    own_first, ruler_first = first
    for side in (own, ruler):
        side.count()
    return Blocks(own.steps(own_first, n_blocks), ruler.steps(ruler_first, n_blocks), repeated)
