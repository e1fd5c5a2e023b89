r"""Fit of moment tensor potentials by variable projection.

The energy is linear in the coefficients of the basis functions and of the species, ξ, and not in those of the
radial functions, c. For any c the best ξ is the solution of a least-squares problem, so only c is searched
(Golub and Pereyra, doi:10.1137/0710036): with rows A(c) for ξ, targets y, and the derivatives J of A ξ by c,
one step solves

.. math:: \min_{ξ, δ} |y - A ξ - J δ|^2 + λ |D δ|^2

for both (Gauss-Newton in Kaufman's form), with Levenberg and Marquardt's damping of δ alone. One pass over
the data gives AᵀA and Aᵀy, and so the best ξ of the present c and their cost; another, where that is lower,
gives AᵀJ, JᵀJ and Jᵀy with J at that ξ, and so the next step: with J at another ξ steps need not go down.
Memory does not grow with the number of structures.

Good radial functions are found on a part of the structures: all levels are searched there, from several
starts, and the last one then on all.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy import linalg

from mlip_bench.data import reference
from mlip_bench.potentials.base import Progress
from mlip_bench.potentials.bounded_map import bounded_map
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.mtp import row_kernel
from mlip_bench.potentials.mtp.tables import Tables

# Added to the unit diagonal of the scaled normal equations, so that they can be solved: near their rounding.
NUMERICAL_RIDGE = 1e-12

# At the start, where nothing is known, and where radial functions of before go on.
FIRST_DAMPING, NEXT_DAMPING = 1e-2, 1e-5
LESS_DAMPING, MORE_DAMPING = 0.2, 5.0
MOST_DAMPING = 1e6

# A step that lowers the cost by less than this share is the last one, on the part and on all structures:
# there they are dear, and what the part could tell is found already.
SMALLEST_GAIN_ON_PART, SMALLEST_GAIN_ON_ALL = 1e-3, 1e-2

# The part is every so-manieth structure, such that about so many are left, and so many energies and force
# components for each coefficient: what tells good radial functions from bad ones needs no more.
STRUCTURES_OF_PART = 48
DATA_PER_COEFFICIENT = 10


@dataclass
class Example:
    """One structure with its neighbours and targets: energy (eV), forces (eV/Å), stress (eV/Å³)."""

    edges: Edges
    vectors: np.ndarray
    volume: float
    counts: np.ndarray
    """(n_species,)"""
    targets: np.ndarray
    """Energy, forces and stress, as ``row_kernel.rows`` orders them; stress is NaN where there is none."""


def example(atoms: Atoms, elements: Sequence[str], cutoff: float) -> Example:
    """Prepare a structure."""
    edges = Edges(elements, cutoff)
    vectors = edges.update(atoms)
    counts = np.bincount(edges.species, minlength=len(elements)).astype(float)
    stress = reference.stress(atoms)
    volume = atoms.get_volume() if atoms.cell.rank == 3 else 1.0
    forces = reference.forces(atoms).ravel()
    targets = np.concatenate(
        [[reference.energy(atoms)], forces, np.full(6, np.nan) if stress is None else stress]
    )
    return Example(edges, vectors, volume, counts, targets)


@dataclass
class State:
    """Where a fit stands: radial coefficients (species, species, μ, β), linear ones (species, then basis)."""

    radial: np.ndarray
    linear: np.ndarray
    damping: float = FIRST_DAMPING
    level: int = 0
    iteration: int = 0
    cost: float = np.inf
    """Weighted sum of squares with the best linear coefficients."""
    starts_left: int = 0
    """Starts that are still to be searched; this is the best of those before them."""
    on_all: bool = False
    """Whether the search is on all structures, no more on a part of them."""

    def write(self, path: Path) -> None:
        """Keep it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **vars(self))
        partial.replace(path)

    @staticmethod
    def read(path: Path) -> "State":
        """Read what ``write`` kept."""
        with np.load(path) as kept:
            return State(
                kept["radial"],
                kept["linear"],
                float(kept["damping"]),
                int(kept["level"]),
                int(kept["iteration"]),
                float(kept["cost"]),
                int(kept["starts_left"]),
                bool(kept["on_all"]),
            )


QUANTITIES = ("energy", "forces", "stress")


class Equations:
    """Normal equations of one pass over the data; the last column is the targets."""

    def __init__(self, products: dict[str, np.ndarray], counts: dict[str, int], n_linear: int, ridge: float):
        self._products, self._counts, self._n_linear = products, counts, n_linear
        self._ridge = max(ridge, NUMERICAL_RIDGE)

    def weighted(self, weights: dict[str, float]) -> np.ndarray:
        """Return the products of all quantities with their weights squared."""
        parts = [weights[name] ** 2 * matrix for name, matrix in self._products.items()]
        return np.sum(parts, axis=0)

    def solve(self, weights: dict[str, float], damping: float | None) -> tuple[np.ndarray, np.ndarray, float]:
        """Return linear coefficients, a step of the radial ones, and the cost before that step.

        Without ``damping`` only the linear ones are solved for, and the step is empty.
        """
        matrix = self.weighted(weights)
        n = self._n_linear if damping is None else len(matrix) - 1
        diagonal = np.diag(matrix)[:n]
        scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
        scaled = matrix[:n, :n] * scale[:, None] * scale
        # A column without data keeps its zero coefficient.
        diagonal = np.ones(n)
        diagonal[self._n_linear :] += damping or 0.0
        np.fill_diagonal(scaled, diagonal)
        found = scale * _solved(scaled, scale * matrix[:n, -1], self._ridge)
        fitted = found @ (matrix[:n, :n] @ found - 2 * matrix[:n, -1])
        return found[: self._n_linear], found[self._n_linear :], float(fitted + matrix[-1, -1])

    def errors(self, linear: np.ndarray) -> dict[str, float]:
        """Return the RMS errors of each quantity: eV/atom, eV/Å, eV/Å³."""
        found = {}
        for name, matrix in self._products.items():
            if self._counts[name]:
                n = self._n_linear
                square = linear @ (matrix[:n, :n] @ linear - 2 * matrix[:n, -1]) + matrix[-1, -1]
                found[name] = float(np.sqrt(max(square, 0.0) / self._counts[name]))
        return found


def _solved(matrix: np.ndarray, vector: np.ndarray, ridge: float) -> np.ndarray:
    """Solve with a ridge on the diagonal, larger where rounding has left the matrix indefinite."""
    while True:
        try:
            factor = linalg.cho_factor(matrix + ridge * np.eye(len(matrix)))
        except linalg.LinAlgError:
            ridge *= 10
        else:
            return linalg.cho_solve(factor, vector)


def assemble(
    examples: Sequence[Example],
    tables: Tables,
    state: State,
    weights: dict[str, float],
    ridge: float,
    threads: ThreadPoolExecutor,
    with_radial: bool = True,
) -> Equations:
    """Pass over the data once, on all threads."""
    n_species = len(state.radial)
    n_linear = n_species + tables.n_scalars
    linear = tables.by_moment(state.linear[n_species:])

    def products(one: Example) -> dict[str, np.ndarray]:
        edges = one.edges
        rows = row_kernel.rows(
            edges.first, edges.neighbours, edges.species, one.vectors, one.volume, tables.scaling,
            tables.least, tables.cutoff, state.radial, linear, tables.mapping, with_radial,
            tables.indices, tables.branches,
        )  # fmt: skip
        species = np.zeros((n_species, rows.shape[1]))
        species[:, 0] = one.counts
        whole = np.concatenate([species, rows, one.targets[None]])
        n_atoms = len(one.edges.species)
        energy, forces, stress = whole[:, :1] / n_atoms, whole[:, 1:-6], whole[:, -6:]
        found = {"energy": energy @ energy.T, "forces": forces @ forces.T}
        if weights["stress"] and not np.isnan(one.targets[-1]):
            found["stress"] = stress @ stress.T
        return found

    total: dict[str, np.ndarray] = {}
    counts = dict.fromkeys(QUANTITIES, 0)
    for one, parts in zip(examples, bounded_map(threads, products, examples), strict=True):
        sizes = {"energy": 1, "forces": 3 * len(one.edges.species), "stress": 6}
        for name, matrix in parts.items():
            if name in total:
                total[name] += matrix
            else:
                total[name] = matrix
            counts[name] += sizes[name]
    return Equations(total, counts, n_linear, ridge)


@dataclass(frozen=True)
class Schedule:
    """How long to search: steps at the last level, steps at those before it, starts at the first."""

    levels: Sequence[int]
    iterations: int
    iterations_below: int
    starts: int


@dataclass(frozen=True)
class Search:
    """All that the passes of a fit share."""

    examples: Sequence[Example]
    tables: Callable[[int], Tables]
    """The tables of a level."""
    weights: dict[str, float]
    ridge: float
    threads: ThreadPoolExecutor
    keep: Callable[[State], None]
    progress: Progress

    def run(self, schedule: Schedule, n_species: int, size: int, seed: int, state: State | None) -> State:
        """Fit level after level, each from the one before it, or go on from a state that was kept."""
        part = replace(self, examples=self._part(n_species, size, schedule.levels[-1]))
        n_stages = len(schedule.levels) + 1
        for number, level in enumerate(schedule.levels):
            if state is not None and (state.level > level or state.on_all):
                continue
            is_last = number == len(schedule.levels) - 1
            most = schedule.iterations if is_last else schedule.iterations_below
            if state is None or state.starts_left:
                state = part._best_start(schedule, n_species, size, seed, state)
            elif state.level < level:
                state = self._raised(state, level, seed)
            state = part.level(state, most, number / n_stages, 1 / n_stages)
        assert state is not None
        if len(part.examples) < len(self.examples):
            if not state.on_all:
                state = State(state.radial, np.empty(0), NEXT_DAMPING, state.level, on_all=True)
            state = self.level(state, schedule.iterations, 1 - 1 / n_stages, 1 / n_stages)
        return state

    def _part(self, n_species: int, size: int, level: int) -> Sequence[Example]:
        """Return every so-manieth example, enough of them to search at a level."""
        tables = self.tables(level)
        n_coefficients = n_species**2 * tables.basis.radial_functions * size + tables.n_scalars + n_species
        n_data = sum(1 + 3 * len(one.edges.species) for one in self.examples) / len(self.examples)
        wanted = max(STRUCTURES_OF_PART, math.ceil(DATA_PER_COEFFICIENT * n_coefficients / n_data))
        return self.examples[:: max(1, len(self.examples) // wanted)]

    def _best_start(
        self, schedule: Schedule, n_species: int, size: int, seed: int, best: State | None
    ) -> State:
        """Search from one start after the other, or from those that ``best`` leaves, and return the best.

        What is kept is whole starts: one that is interrupted is searched again.
        """
        level, most = schedule.levels[0], schedule.iterations_below
        done = 0 if best is None else schedule.starts - best.starts_left
        for number in range(done, schedule.starts):
            first = self._start(level, n_species, size, seed, number)
            start = self.level(first, most, 0.0, 0.0, keep=False)
            best = start if best is None or start.cost < best.cost else best
            best.starts_left = schedule.starts - number - 1
            self.keep(best)
        assert best is not None
        return best

    def _start(self, level: int, n_species: int, size: int, seed: int, number: int) -> State:
        """Draw radial coefficients around the polynomials themselves."""
        generator = np.random.default_rng([seed, number])
        n_functions = self.tables(level).basis.radial_functions
        radial = generator.normal(size=(n_species, n_species, n_functions, size))
        for mu in range(n_functions):
            radial[:, :, mu, min(mu, size - 1)] += 1.0
        return State(radial, np.empty(0), level=level)

    def _raised(self, state: State, level: int, seed: int) -> State:
        """Take over the radial functions of a lower level, and draw those that are new."""
        n_species, size = len(state.radial), state.radial.shape[3]
        radial = self._start(level, n_species, size, seed, level).radial
        radial[:, :, : state.radial.shape[2]] = state.radial
        return State(radial, np.empty(0), NEXT_DAMPING, level)

    def level(self, state: State, n_iterations: int, done: float, share: float, keep: bool = True) -> State:
        """Search the radial coefficients at one level, and return the best with its linear coefficients."""
        self._solve_linear(state)
        equations = self._pass(state)
        while state.iteration < n_iterations and state.damping < MOST_DAMPING:
            state.iteration += 1
            _, step, _ = equations.solve(self.weights, state.damping)
            trial = replace(
                state,
                radial=state.radial + step.reshape(state.radial.shape),
                damping=LESS_DAMPING * state.damping,
            )
            errors = self._solve_linear(trial)
            if not trial.cost < state.cost:
                state.damping *= MORE_DAMPING
                continue
            gain = 1 - trial.cost / state.cost
            state = trial
            self._report(state, errors, done + share * state.iteration / n_iterations)
            if gain < (SMALLEST_GAIN_ON_ALL if state.on_all else SMALLEST_GAIN_ON_PART):
                break
            if keep:
                self.keep(state)
            equations = self._pass(state)
        return state

    def _solve_linear(self, state: State) -> dict[str, float]:
        """Set the linear coefficients that are best with the radial ones, and the cost; return RMS errors."""
        n_species = len(state.radial)
        state.linear = np.zeros(n_species + self.tables(state.level).n_scalars)
        equations = self._pass(state, with_radial=False)
        state.linear, _, state.cost = equations.solve(self.weights, None)
        return equations.errors(state.linear)

    def _report(self, state: State, errors: dict[str, float], done: float) -> None:
        self.progress(
            done,
            f"level {state.level}, step {state.iteration}: {1e3 * errors['energy']:.2f} meV/atom, "
            f"{1e3 * errors['forces']:.0f} meV/Å",
        )

    def _pass(self, state: State, with_radial: bool = True) -> Equations:
        return assemble(
            self.examples,
            self.tables(state.level),
            state,
            self.weights,
            self.ridge,
            self.threads,
            with_radial,
        )
