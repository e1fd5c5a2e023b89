"""Smoothness along a path, and what must not depend on what is far away."""

import numpy as np
from ase import Atoms

from mlip_bench.md import boxes
from mlip_bench.measure.base import Found, Value
from mlip_bench.measure.physicality.curves import roughness
from mlip_bench.potentials.base import Potential

MEV = 1e3

# All atoms move along one line in the space of their positions: step and half the length (Å, root mean
# square of the atoms).
PATH_STEP = 0.005
PATH_LENGTH = 0.2
PATH_ATOMS = 8

# Two copies stand so far from each other (Å), beyond what any two atoms feel.
APART = 60.0
CELL_ATOMS, CLUSTER_ATOMS = 4, 8

# One atom is moved so far (Å) in a bar of the crystal, which ends so far (Å) beyond what the potential
# reaches on both sides, unless it had more atoms.
MOVED = 0.05
MARGIN = 2.0
MOST_ATOMS = 1000

# Of a potential without a reach: what moves is felt beyond this (Å), or not.
UNBOUNDED = 20.0

# Changes of a force (meV/Å) that are smaller count for none.
NO_CHANGE = 0.05

# The same for all potentials, whatever their seed.
SEED = 0


def path(potential: Potential, atoms: Atoms) -> Found:
    """Return how smooth the energy is along a line on which all atoms move, and whether forces follow it."""
    start = boxes.repeated_to(atoms, PATH_ATOMS)
    generator = np.random.default_rng(SEED)
    direction = generator.standard_normal((len(start), 3))
    direction -= direction.mean(axis=0)
    direction *= np.sqrt(len(start)) / np.linalg.norm(direction)
    places = np.arange(-PATH_LENGTH, PATH_LENGTH + PATH_STEP / 2, PATH_STEP)
    moved = []
    for place in places:
        one = start.copy()
        one.positions += place * direction
        moved.append(one)
    predictions = potential.predict(moved)
    slopes = np.array([-(one.forces * direction).sum() for one in predictions]) / len(start)
    if not np.isfinite(slopes).all():
        return Found([Value("roughness", np.nan, group="path", error="forces along the path are not finite")])
    values = [Value("roughness", roughness(slopes, PATH_STEP), group="path")]
    curves = {"path place": places, "path curvature": np.gradient(slopes, PATH_STEP)}
    if not potential.predicts_energy:
        reason = f"{potential.family} predicts no energy"
        return Found([*values, Value("work_mismatch", np.nan, error=reason)], curves)
    energies = np.array([one.energy for one in predictions]) / len(start)
    return Found([*values, Value("work_mismatch", MEV * work_mismatch(energies, slopes, PATH_STEP))], curves)


def work_mismatch(energies: np.ndarray, slopes: np.ndarray, step: float) -> float:
    """Return the largest difference between the change of an energy and the integral of its slope.

    Energies (n,) and slopes (n,) at even steps; the integral of each two steps is Simpson's.
    """
    steps = step / 3 * (slopes[:-2:2] + 4 * slopes[1:-1:2] + slopes[2::2])
    work = np.concatenate([[0.0], np.cumsum(steps)])
    changes = energies[::2][: len(work)] - energies[0]
    return float(np.abs(changes - work).max())


def extensive(potential: Potential, atoms: Atoms) -> list[Value]:
    """Return what two copies have more than twice what one has: of a cell, and of two clusters far apart."""
    cell = boxes.rattled(boxes.repeated_to(atoms, CELL_ATOMS))
    double = cell.repeat(tuple(1 + np.eye(3, dtype=int)[np.argmin(cell.cell.lengths())]))
    values = _of_copies(potential, cell, double, "cell")
    block = boxes.rattled(boxes.repeated_to(atoms, CLUSTER_ATOMS))
    cluster = Atoms(block.numbers, block.positions)
    far = cluster.copy()
    far.positions += [np.ptp(cluster.positions[:, 0]) + APART, 0, 0]
    return values + _of_copies(potential, cluster, cluster + far, "clusters")


def _of_copies(potential: Potential, one: Atoms, both: Atoms, group: str) -> list[Value]:
    single, double = potential.predict([one, both])
    change = np.abs(double.forces - np.tile(single.forces, (2, 1))).max()
    values = [Value("copy_force", MEV * float(change), group=group)]
    if potential.predicts_energy:
        excess = abs(double.energy - 2 * single.energy) / len(both)
        return [*values, Value("copy_energy", MEV * float(excess), group=group)]
    reason = f"{potential.family} predicts no energy"
    return [*values, Value("copy_energy", np.nan, group=group, error=reason)]


def response(potential: Potential, crystal: Atoms) -> Found:
    """Return how far a force feels that an atom of the crystal moves, and how much beyond its reach.

    The crystal is a bar, repeated along its longest axis only, so that with the atom its images beside the
    bar move; distances are to the nearest of them.
    """
    limit = _influence(potential)
    heights = 1 / np.linalg.norm(crystal.cell.reciprocal(), axis=1)
    axis = int(np.argmax(np.round(heights, 6)))  # rounding does not decide between equal axes
    height = heights[axis]
    n_cells = int(min(np.ceil(2 * (limit + MARGIN) / height), max(1, MOST_ATOMS // len(crystal))))
    bar = boxes.rattled(crystal.repeat(tuple(n_cells if one == axis else 1 for one in range(3))))
    moved = bar.copy()
    moved.positions[0] += MOVED / np.sqrt(3)
    before, after = potential.predict([bar, moved])
    changes = MEV * np.linalg.norm(after.forces - before.forces, axis=1)
    distances = bar.get_distances(0, range(len(bar)), mic=True)
    curves = {"response distance": distances, "response change": changes}
    if not np.isfinite(changes).all():
        return Found([Value("response_range", np.nan, error="forces of a bar of the crystal are not finite")])
    felt = distances[changes > NO_CHANGE]
    values = [Value("response_range", float(felt.max()) if len(felt) else 0.0)]
    beyond = changes[distances > limit]
    if potential.reach is None:
        reason = f"{potential.family} does not say how far atoms act on each other"
        values.append(Value("response_beyond", np.nan, error=reason))
    elif not len(beyond):
        reason = f"a bar of the crystal longer than twice {limit:.1f} Å has more than {MOST_ATOMS} atoms"
        values.append(Value("response_beyond", np.nan, error=reason))
    else:
        values.append(Value("response_beyond", float(beyond.max())))
    return Found(values, curves)


def _influence(potential: Potential) -> float:
    """Return the distance (Å) beyond which no force may feel that an atom moves.

    A force that is a gradient is the derivative of all energies that its atom enters, so that is two reaches.
    """
    reach = potential.reach
    if reach is None or np.isinf(reach):
        return UNBOUNDED
    return float(reach * (2 if potential.conservative else 1))
