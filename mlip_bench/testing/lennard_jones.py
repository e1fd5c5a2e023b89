r"""Lennard-Jones as a family in plain torch: a small potential that has everything, heat flux included.

.. math:: E_i = \frac12 \sum_j S(r_{ij}) \, 4 ε \left[ (σ/r_{ij})^{12} - (σ/r_{ij})^6 \right]

with the switch S of ASE's ``LennardJones(smooth=True)`` and LAMMPS's ``lj/charmm``, which falls from 1 at the
onset r_o to 0 at the cutoff r_c,

.. math:: S = (r_c^2 - r^2)^2 (r_c^2 + 2 r^2 - 3 r_o^2) / (r_c^2 - r_o^2)^3
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from ase import Atoms

from mlip_bench.potentials.base import Potential, Prediction, Progress, require
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.testing.graphs import Graph


class LennardJones(Potential):
    """Lennard-Jones, alike for all elements; its parameters are given, not fitted."""

    family: ClassVar[str] = "lennard-jones"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("matscipy", "numba", "numpy", "torch")

    @dataclass(frozen=True)
    class Hypers:
        """Its parameters; the defaults are argon's."""

        epsilon: float = 0.01042
        """Depth ε (eV)."""
        sigma: float = 3.405
        """Length σ (Å)."""
        cutoff: float = 10.5
        """r_c (Å)."""
        onset: float = 9.0
        """r_o (Å)."""

        def __post_init__(self) -> None:
            for name in ("epsilon", "sigma", "onset"):
                require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
            require(self.cutoff > self.onset, "cutoff", self.cutoff, "must be above onset")

    hypers: Hypers

    @classmethod
    def of(cls, elements: Sequence[str], **hypers: float) -> Self:
        """Return the potential of some elements, whose isolated atoms have no energy."""
        potential = cls(**hypers)
        potential.elements_, potential.zero_ = tuple(elements), np.zeros(len(elements))
        return potential

    def energies_of_atoms(self, graph: Graph) -> torch.Tensor:
        """Return E_i (n_atoms,) in eV, differentiable by the vectors of the graph."""
        hypers = self.hypers
        square = (graph.vectors**2).sum(dim=1)
        inner, outer = hypers.onset**2, hypers.cutoff**2
        switch = (outer - square) ** 2 * (outer + 2 * square - 3 * inner) / (outer - inner) ** 3
        switch = torch.where(square < inner, 1.0, torch.where(square < outer, switch, 0.0))
        sixth = (hypers.sigma**2 / square) ** 3
        pairs = 4 * hypers.epsilon * switch * (sixth**2 - sixth)
        return torch.zeros(len(graph.numbers), dtype=pairs.dtype).index_add(0, graph.centres, pairs / 2)

    def _edge_stepper(self, stepping: Stepping) -> Callable[[Atoms], EdgeGradients]:
        return self._evaluator(stepping)

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        step = self._evaluator(stepping)
        return lambda atoms: step(atoms).prediction

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        evaluate = self._evaluator(skin=0.0)
        return [evaluate(atoms).prediction for atoms in structures]

    def _evaluator(self, skin: float | Stepping) -> Callable[[Atoms], EdgeGradients]:
        edges = Edges(self.elements_, self.hypers.cutoff, skin)

        def evaluate(atoms: Atoms) -> EdgeGradients:
            found = edges.update(atoms)
            vectors = torch.tensor(found, requires_grad=True)
            numbers = torch.from_numpy(atoms.numbers.astype(np.int64))
            centres, neighbours = torch.from_numpy(edges.centres), torch.from_numpy(edges.neighbours)
            energies = self.energies_of_atoms(Graph(numbers, centres, neighbours, vectors))
            (gradient,) = torch.autograd.grad(energies.sum(), vectors)
            forces = torch.zeros(len(atoms), 3, dtype=gradient.dtype)
            forces = forces.index_add(0, centres, gradient).index_add(0, neighbours, -gradient)
            prediction = Prediction.of_atoms(
                atoms, energies.detach().numpy(), forces.numpy(), -found.T @ gradient.numpy()
            )
            return EdgeGradients(prediction, edges.centres, edges.neighbours, found, gradient.numpy())

        return evaluate

    def _fit(self, train: Sequence[Atoms], seed: int, progress: Progress) -> None:
        """Learn the zero of the energy only, which is done already."""

    @property
    def reach(self) -> float:
        """The cutoff (Å)."""
        return self.hypers.cutoff

    @property
    def n_parameters(self) -> int:
        """None is fitted."""
        return 0

    def _write(self, folder: Path) -> None:
        """Write nothing: the hyper-parameters are all that there is."""

    def _read(self, folder: Path) -> None:
        """Read nothing."""
