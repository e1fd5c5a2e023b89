r"""MTP: moment tensor potentials.

The energy of an atom is linear in full contractions B_α of moment tensors (Shapeev, doi:10.1137/15M1054183;
doi:10.1021/acs.jpca.9b08723, section on MTP):

.. math:: E_i = ξ_{z_i} + \sum_α ξ_α B_α(i), \quad
          M_{μ,ν}(i) = \sum_j f_μ(r_{ij}, z_i, z_j)\, u_{ij}^{⊗ν}, \quad
          f_μ = \sum_β c_{μβ}(z_i, z_j)\, s\, T_β(r)\, (r_{cut} - r)^2

with u the unit vector to the neighbour, T_β the Chebyshev polynomials between ``min_dist`` and the cutoff,
and s a scaling. ``basis`` lists the contractions of a level, ``kernel`` evaluates them, ``fitting`` finds ξ
and c. Potentials are read and written as MLIP's ``.mtp`` files (``mlip``).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from ase import Atoms
from threadpoolctl import threadpool_limits

from mlip_bench.data import reference
from mlip_bench.errors import UserError
from mlip_bench.hardware import available_cores
from mlip_bench.potentials.atom_ranges import over_atoms
from mlip_bench.potentials.base import Potential, Prediction, Progress, require
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.memory import DOUBLE, expected_edges, refuse_too_much
from mlip_bench.potentials.mtp import basis, fitting, kernel, mlip
from mlip_bench.potentials.mtp.tables import Tables
from mlip_bench.potentials.stepping import Stepping

# Levels that are fitted on the way to a higher one, each starting from the last: cheap, and a good start.
STEPS = (12, 16, 20, 24, 28)

# ``min_dist`` is this share of the shortest distance in the training data where nobody names it.
SHARE_OF_SHORTEST = 0.95

# The constant s: it makes radial functions of order one for cutoffs of a few Å.
SCALING = 0.01

FILE = "potential.mtp"

# What a fit holds, for the estimate of its memory: copies of the rows of one structure on each thread, and
# numbers of 8 bytes for each edge (two atoms, three shifts, the vector, and what the list is made from).
ROWS_PER_THREAD = 2
NUMBERS_PER_EDGE = 11


@lru_cache(None)
def basis_of_level(level: int) -> basis.Basis:
    """Return the basis of a level, from the user's cache where it was worked out before."""
    return basis.cached(level)


class MTP(Potential):
    """Moment tensor potential."""

    family: ClassVar[str] = "mtp"
    revision: ClassVar[int] = 4
    packages: ClassVar[tuple[str, ...]] = (
        "ase",
        "llvmlite",
        "matscipy",
        "motep",
        "numba",
        "numpy",
        "scipy",
    )
    look: ClassVar[tuple[str, str] | None] = ("#CC79A7", "v")
    native_suffix: ClassVar[str] = ".mtp"

    @dataclass(frozen=True)
    class Hypers:
        """Hyper-parameters of MTP."""

        level: int = 16
        """Largest level of a contraction, even; it decides how many basis functions there are."""
        cutoff: float = 5.0
        """Radius (Å) of the neighbourhood, ``max_dist`` of MLIP."""
        min_dist: float | None = None
        """Distance (Å) where the polynomials begin; if None, 0.95 of the shortest in the training data."""
        radial_basis_size: int = 8
        """Chebyshev polynomials in each radial function."""
        energy_weight: float = 75.0
        """Weight of the energy per atom (eV) against a force component (eV/Å)."""
        stress_weight: float = 0.0
        """Weight of a stress component (eV/Å³) against a force component; 0 leaves stress out."""
        ridge: float = 0.0
        """Ridge parameter of the least squares, relative to columns of unit norm."""
        iterations: int = 25
        """Largest number of steps of the radial coefficients at the last level, on a part of the
        structures and then on all."""
        iterations_below: int = 8
        """The same at each of the lower levels that are fitted first."""
        starts: int = 6
        """Random radial coefficients that are tried at the first of them; the best goes on."""

        def __post_init__(self) -> None:
            require(self.level >= 2 and self.level % 2 == 0, "level", self.level, "must be even, from 2")
            require(self.level <= STEPS[-1], "level", self.level, f"is at most {STEPS[-1]} here")
            require(self.cutoff > 0, "cutoff", self.cutoff, "must be above 0 Å")
            least = self.min_dist
            require(least is None or 0 <= least < self.cutoff, "min_dist", least, "must be below the cutoff")
            size = self.radial_basis_size
            require(size >= 1, "radial_basis_size", size, "must be at least 1")
            require(self.energy_weight > 0, "energy_weight", self.energy_weight, "must be above 0")
            require(self.stress_weight >= 0, "stress_weight", self.stress_weight, "must be at least 0")
            require(self.ridge >= 0, "ridge", self.ridge, "must be at least 0")
            require(self.starts >= 1, "starts", self.starts, "must be at least 1")
            for name in ("iterations", "iterations_below"):
                require(getattr(self, name) >= 0, name, getattr(self, name), "must be at least 0")

    hypers: Hypers

    def __init__(self, **hypers: Any):
        super().__init__(**hypers)
        self.tables_: Tables | None = None
        self.radial_ = np.empty((0, 0, 0, 0))
        """c (species of i, species of j, μ, β)."""
        self.linear_ = np.empty(0)
        """ξ (eV) of the basis functions."""

    @property
    def fits_stress(self) -> bool:
        """Whether stress has a weight in the fit."""
        return bool(self.hypers.stress_weight > 0)

    @property
    def n_parameters(self) -> int:
        """The number of radial, basis and species coefficients."""
        return self.radial_.size + self.linear_.size + self.zero_.size

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        return Evaluator(self, stepping)

    def _edge_stepper(self, stepping: Stepping) -> Callable[[Atoms], EdgeGradients]:
        return Evaluator(self, stepping).with_edges

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        evaluator = Evaluator(self, skin=0.0)
        return [evaluator(atoms) for atoms in structures]

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        hypers = self.hypers
        least = self._least_distance(structures)
        levels = [step for step in STEPS if step < hypers.level] + [hypers.level]
        self._refuse_too_few_data(structures, basis_of_level(hypers.level))
        self._refuse_too_little_memory(structures)
        examples = [fitting.example(atoms, self.elements_, hypers.cutoff) for atoms in structures]
        tables = {level: Tables(basis_of_level(level), SCALING, least, hypers.cutoff) for level in levels}
        file = None if self._checkpoint is None else self._checkpoint / "state.npz"
        # Small products on many BLAS threads cost more than they save; structures are shared out instead.
        with (
            ThreadPoolExecutor(len(available_cores())) as threads,
            threadpool_limits(limits=1, user_api="blas"),
        ):
            state = fitting.Search(
                examples,
                tables.__getitem__,
                {"energy": hypers.energy_weight, "forces": 1.0, "stress": hypers.stress_weight},
                hypers.ridge,
                threads,
                lambda state: None if file is None else state.write(file),
                progress,
            ).run(
                fitting.Schedule(levels, hypers.iterations, hypers.iterations_below, hypers.starts),
                len(self.elements_),
                hypers.radial_basis_size,
                seed,
                fitting.State.read(file) if file is not None and file.is_file() else None,
            )
        n_species = len(self.elements_)
        self.tables_ = tables[hypers.level]
        self.radial_, self.linear_ = state.radial, state.linear[n_species:]
        for pair in self.unseen_:
            first, second = map(self.elements_.index, pair)
            # They are as they were drawn: no force follows from that.
            self.radial_[[first, second], [second, first]] = 0.0
        self.zero_ = self.zero_ + state.linear[:n_species]

    def _least_distance(self, structures: Sequence[Atoms]) -> float:
        cutoff, least = self.hypers.cutoff, self.hypers.min_dist
        shortest = [reference.shortest_distance(atoms, cutoff) for atoms in structures]
        if least is None:
            if not np.isfinite(min(shortest)):
                raise UserError(f"mtp: no two atoms of the data are within the cutoff of {cutoff} Å")
            return SHARE_OF_SHORTEST * min(shortest)
        nearer = [number for number, distance in enumerate(shortest, start=1) if distance < least]
        if nearer:
            self.notes_.append(
                f"{len(nearer)} of {len(shortest)} training structures have atoms nearer than min_dist = "
                f"{least} Å; first structure {nearer[0]}, {shortest[nearer[0] - 1]:.3f} Å"
            )
        return least

    def _refuse_too_little_memory(self, structures: Sequence[Atoms]) -> None:
        """Estimate the neighbour lists of all structures, and on each thread rows and products of one."""
        hypers, chosen = self.hypers, basis_of_level(self.hypers.level)
        n_species, n_threads = len(self.elements_), len(available_cores())
        n_columns = n_species**2 * chosen.radial_functions * hypers.radial_basis_size
        n_columns += len(chosen.moment_mapping) + n_species + 1
        rows = ROWS_PER_THREAD * n_columns * max(7 + 3 * len(atoms) for atoms in structures)
        products = len(fitting.QUANTITIES) * n_columns**2
        edges = sum(expected_edges(atoms, hypers.cutoff) for atoms in structures)
        numbers = n_threads * (rows + products) + 2 * products + NUMBERS_PER_EDGE * edges
        advice = "lower mtp.level, mtp.radial_basis_size or mtp.cutoff, or train on fewer structures"
        refuse_too_much(self.family, DOUBLE * numbers, advice)

    def _refuse_too_few_data(self, structures: Sequence[Atoms], chosen: basis.Basis) -> None:
        n_species = len(self.elements_)
        radial = n_species**2 * chosen.radial_functions * self.hypers.radial_basis_size
        n_parameters = radial + len(chosen.moment_mapping) + n_species
        n_data = sum(1 + 3 * len(atoms) for atoms in structures)
        if n_parameters > n_data and self.hypers.ridge == 0:
            raise UserError(
                f"mtp: level {self.hypers.level} has {n_parameters} parameters, but the training data only "
                f"{n_data} energies and force components; lower the level, or set mtp.ridge, e.g. 1e-6"
            )

    # -- files -----------------------------------------------------------------------------------------

    @property
    def reach(self) -> float:
        """The cutoff (Å)."""
        return self.hypers.cutoff

    def _write(self, folder: Path) -> None:
        assert self.tables_ is not None
        mlip.write(folder / FILE, self.tables_, self.radial_, self.linear_, self.zero_, self.elements_)

    def _read(self, folder: Path) -> None:
        content = mlip.read(folder / FILE)
        if len(content.species) != len(self.elements_):
            raise UserError(
                f"{folder / FILE}: {len(content.species)} species for {', '.join(self.elements_)}"
            )
        self._take(content)

    def _take(self, content: mlip.Content) -> None:
        self.tables_, self.radial_ = content.tables, content.radial
        self.linear_, self.zero_ = content.linear, content.species

    @classmethod
    def from_native(cls, path: Path) -> Self:
        """Read a file of MLIP; its ``potential_tag`` must name the elements of its species, in order."""
        content = mlip.read(path)
        elements = mlip.elements(path, content)
        try:
            potential = cls(
                level=content.tables.basis.level,
                cutoff=content.tables.cutoff,
                min_dist=content.tables.least,
                radial_basis_size=content.radial.shape[3],
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        potential.elements_ = elements
        potential._take(content)
        potential.notes_ = content.notes
        return potential


class Evaluator:
    """Energy, forces and stress of one structure after the other, by the kernels."""

    def __init__(self, potential: MTP, skin: float | Stepping):
        assert potential.tables_ is not None
        self._tables, self._radial = potential.tables_, np.ascontiguousarray(potential.radial_)
        self._linear = self._tables.by_moment(potential.linear_)
        self._edges = Edges(potential.elements_, self._tables.cutoff, skin)

    def __call__(self, atoms: Atoms) -> Prediction:
        """Predict one structure; an atom extrapolates where a neighbour is nearer than ``min_dist``."""
        return self._predict(atoms, self._edges.update(atoms), np.empty((0, 3)))

    def with_edges(self, atoms: Atoms) -> EdgeGradients:
        """Predict one structure, with the derivative of its energy by each edge."""
        edges = self._edges
        vectors = edges.update(atoms)
        gradients = np.zeros_like(vectors)
        prediction = self._predict(atoms, vectors, gradients)
        return EdgeGradients(prediction, edges.centres, edges.neighbours, vectors, gradients)

    def _predict(self, atoms: Atoms, vectors: np.ndarray, gradients: np.ndarray) -> Prediction:
        tables, edges = self._tables, self._edges

        def of_range(begin: int, end: int) -> tuple[np.ndarray, ...]:
            found: tuple[np.ndarray, ...] = kernel.evaluate(
                (begin, end),
                edges.first,
                edges.neighbours,
                edges.species,
                vectors,
                tables.scaling,
                tables.least,
                tables.cutoff,
                self._radial,
                self._linear,
                gradients,
                *tables.indices,
            )
            return found

        energies, forces, virial, short = over_atoms(len(atoms), edges.stepping.threads, of_range)
        return Prediction.of_atoms(atoms, energies, forces, virial, int((short > 0).sum()))
