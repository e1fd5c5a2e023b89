"""Lennard-Jones, Stillinger-Weber and Tersoff with energies of atoms by their own edges, so with a heat flux.

LAMMPS has all three, but of the latter two no right heat flux: its stress of an atom is symmetric. Here the
energy of a bond or an angle counts at its centre, E_i = Σ_j φ2(r_ij)/2 + Σ_(j<k) φ3(r_ij, r_ik, θ_jik)
(Stillinger and Weber, doi:10.1103/PhysRevB.31.5262) and E_i = Σ_j f_C(r_ij) [f_R(r_ij) + b_ij f_A(r_ij)] / 2
(Tersoff, doi:10.1103/PhysRevB.37.6991); their parameters are read from the files that LAMMPS ships.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from ase import Atoms
from numba import njit

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.lammps.style import LammpsStyle
from mlip_bench.potentials.base import Potential, Prediction, Progress
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.stepping import Stepping


class Empirical(Potential):
    """A potential of one element that is given, not fitted."""

    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("lammps", "matscipy", "numba", "numpy")

    def _of(self, element: str) -> Self:
        self.elements_, self.zero_ = (element,), np.zeros(1)
        return self

    @property
    @abstractmethod
    def cutoff(self) -> float:
        """Where the interaction ends (Å)."""

    @abstractmethod
    def energies_of_atoms(self, first: np.ndarray, vectors: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Return E_i (n_atoms,) in eV; set their derivatives by the edges of their centres (n_edges, 3)."""

    @abstractmethod
    def lammps_style(self) -> LammpsStyle:
        """Return LAMMPS's own pair style, to compare with."""

    def _edge_stepper(self, stepping: Stepping) -> Callable[[Atoms], EdgeGradients]:
        return self._evaluator(stepping)

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        step = self._evaluator(stepping)
        return lambda atoms: step(atoms).prediction

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        evaluate = self._evaluator(skin=0.0)
        return [evaluate(atoms).prediction for atoms in structures]

    def _evaluator(self, skin: float | Stepping) -> Callable[[Atoms], EdgeGradients]:
        edges = Edges(self.elements_, self.cutoff, skin)

        def evaluate(atoms: Atoms) -> EdgeGradients:
            vectors = edges.update(atoms)
            gradients = np.zeros_like(vectors)
            energies = self.energies_of_atoms(edges.first, vectors, gradients)
            forces = forces_of(edges.first, edges.neighbours, gradients)
            prediction = Prediction.of_atoms(atoms, energies, forces, -vectors.T @ gradients)
            return EdgeGradients(prediction, edges.centres, edges.neighbours, vectors, gradients)

        return evaluate

    def _fit(self, train: Sequence[Atoms], seed: int, progress: Progress) -> None:
        """Learn the zero of the energy only, which is done already."""

    @property
    def n_parameters(self) -> int:
        """None is fitted."""
        return 0

    def _write(self, folder: Path) -> None:
        """Write nothing: the file is LAMMPS's."""

    def _read(self, folder: Path) -> None:
        """Read nothing."""


class LennardJonesCut(Empirical):
    """Lennard-Jones argon, cut off: half of the energy of a pair counts at either atom."""

    family: ClassVar[str] = "lennard-jones-cut"

    @dataclass(frozen=True)
    class Hypers:
        """Its parameters."""

        epsilon: float
        """(eV)"""
        sigma: float
        """(Å)"""
        cutoff: float
        """(Å)"""

    @classmethod
    def argon(cls, epsilon: float, sigma: float, cutoff: float) -> Self:
        """Return the potential of argon, with parameters in eV and Å."""
        return cls(epsilon=epsilon, sigma=sigma, cutoff=cutoff)._of("Ar")

    @property
    def cutoff(self) -> float:
        """(Å)."""
        return float(self.hypers.cutoff)

    def energies_of_atoms(self, first: np.ndarray, vectors: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Return E_i and their derivatives."""
        return lennard_jones(first, vectors, self.hypers.epsilon, self.hypers.sigma, self.cutoff, gradients)

    def lammps_style(self) -> LammpsStyle:
        """Return LAMMPS's own pair style, to compare with."""
        coefficients = f"* * {self.hypers.epsilon} {self.hypers.sigma}"
        return LammpsStyle(f"lj/cut {self.cutoff}", (coefficients,), self.cutoff)


class OfFile(Empirical):
    """A potential of silicon whose parameters are in a file that LAMMPS ships."""

    style: ClassVar[str]
    file: ClassVar[str]

    @classmethod
    def silicon(cls) -> Self:
        """Return the potential of silicon."""
        return cls()._of("Si")

    @cached_property
    def numbers(self) -> np.ndarray:
        """The numbers of the file after the three elements, in its order."""
        lines = (potentials_folder() / self.file).read_text().splitlines()
        words = " ".join(line for line in lines if not line.startswith("#")).split()
        return np.array([float(word) for word in words[3:]])

    def lammps_style(self) -> LammpsStyle:
        """Return LAMMPS's own pair style, to compare with."""
        path = potentials_folder() / self.file
        return LammpsStyle(self.style, (f"* * {path} Si",), self.cutoff)


class StillingerWeber(OfFile):
    """Silicon of Stillinger and Weber."""

    family: ClassVar[str] = "stillinger-weber"
    style: ClassVar[str] = "sw"
    file: ClassVar[str] = "Si.sw"

    @property
    def cutoff(self) -> float:
        """Where both terms are zero, a times σ (Å)."""
        return float(self.numbers[1] * self.numbers[2])

    def energies_of_atoms(self, first: np.ndarray, vectors: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Return E_i and their derivatives."""
        return stillinger_weber(first, vectors, self.numbers, gradients)


class Tersoff(OfFile):
    """Silicon of Tersoff."""

    family: ClassVar[str] = "tersoff"
    style: ClassVar[str] = "tersoff"
    file: ClassVar[str] = "Si.tersoff"

    @property
    def cutoff(self) -> float:
        """R + D (Å)."""
        return float(self.numbers[10] + self.numbers[11])

    def energies_of_atoms(self, first: np.ndarray, vectors: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Return E_i and their derivatives."""
        return tersoff(first, vectors, self.numbers, gradients)


@njit(cache=True)
def forces_of(first: np.ndarray, neighbours: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the forces (n_atoms, 3): gradients of the edges of an atom, minus those of edges to it."""
    forces = np.zeros((len(first) - 1, 3))
    for i in range(len(first) - 1):
        for e in range(first[i], first[i + 1]):
            for x in range(3):
                forces[i, x] += gradients[e, x]
                forces[neighbours[e], x] -= gradients[e, x]
    return forces


@njit(cache=True)
def lennard_jones(
    first: np.ndarray,
    vectors: np.ndarray,
    epsilon: float,
    sigma: float,
    cutoff: float,
    gradients: np.ndarray,
) -> np.ndarray:
    """Return E_i (n_atoms,) and set gradients (n_edges, 3)."""
    energies = np.zeros(len(first) - 1)
    for i in range(len(first) - 1):
        for e in range(first[i], first[i + 1]):
            square = vectors[e, 0] ** 2 + vectors[e, 1] ** 2 + vectors[e, 2] ** 2
            if square < cutoff**2:
                sixth = (sigma**2 / square) ** 3
                energies[i] += 2 * epsilon * (sixth**2 - sixth)
                slope = 12 * epsilon * (sixth - 2 * sixth**2) / square
                for x in range(3):
                    gradients[e, x] = slope * vectors[e, x]
    return energies


@njit(cache=True)
def stillinger_weber(
    first: np.ndarray, vectors: np.ndarray, numbers: np.ndarray, gradients: np.ndarray
) -> np.ndarray:
    """Return E_i (n_atoms,) and set gradients (n_edges, 3); ``numbers`` are those of the file, in order."""
    epsilon, sigma, reach, three, gamma, cosine_0, of_pairs, repulsion, p, q = numbers[:10]
    cutoff = reach * sigma
    energies = np.zeros(len(first) - 1)
    for i in range(len(first) - 1):
        for e in range(first[i], first[i + 1]):
            r = np.sqrt((vectors[e] ** 2).sum())
            if r >= cutoff:
                continue
            screen = np.exp(sigma / (r - cutoff))
            high, low = repulsion * (sigma / r) ** p, (sigma / r) ** q
            energies[i] += 0.5 * of_pairs * epsilon * (high - low) * screen
            slope = -(p * high - q * low) / r - (high - low) * sigma / (r - cutoff) ** 2
            gradients[e] += 0.5 * of_pairs * epsilon * screen * slope / r * vectors[e]
            for other in range(first[i], e):
                s = np.sqrt((vectors[other] ** 2).sum())
                if s >= cutoff:
                    continue
                cosine = (vectors[e] * vectors[other]).sum() / (r * s)
                off = cosine - cosine_0
                both = three * epsilon * np.exp(gamma * sigma * (1 / (r - cutoff) + 1 / (s - cutoff)))
                energies[i] += both * off**2
                for x in range(3):
                    one, two = vectors[e, x] / r, vectors[other, x] / s
                    by_cosine = 2 * both * off
                    gradients[e, x] += by_cosine * (two - cosine * one) / r
                    gradients[other, x] += by_cosine * (one - cosine * two) / s
                    gradients[e, x] -= both * off**2 * gamma * sigma / (r - cutoff) ** 2 * one
                    gradients[other, x] -= both * off**2 * gamma * sigma / (s - cutoff) ** 2 * two
    return energies


@njit(cache=True)
def cut(r: float, middle: float, half: float) -> tuple[float, float]:
    """Return f_C at a distance, and its derivative."""
    if r <= middle - half:
        return 1.0, 0.0
    if r >= middle + half:
        return 0.0, 0.0
    phase = 0.5 * np.pi * (r - middle) / half
    return 0.5 - 0.5 * np.sin(phase), -0.25 * np.pi / half * np.cos(phase)


@njit(cache=True)
def tersoff(first: np.ndarray, vectors: np.ndarray, numbers: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return E_i (n_atoms,) and set gradients (n_edges, 3); ``numbers`` are those of the file, in order."""
    n, beta, decay_a, b, middle, half, decay_r, a = numbers[6:14]
    energies = np.zeros(len(first) - 1)
    for i in range(len(first) - 1):
        for e in range(first[i], first[i + 1]):
            r = np.sqrt((vectors[e] ** 2).sum())
            f, d_f = cut(r, middle, half)
            if f == 0.0:
                continue
            zeta = 0.0
            for k in range(first[i], first[i + 1]):
                if k != e:
                    zeta += share(vectors[e], vectors[k], r, numbers)[0]
            strength = (beta * zeta) ** n
            bond = (1 + strength) ** (-0.5 / n)
            repulsive, attractive = a * np.exp(-decay_r * r), -b * np.exp(-decay_a * r)
            energies[i] += 0.5 * f * (repulsive + bond * attractive)
            by_r = d_f * (repulsive + bond * attractive)
            by_r -= f * (decay_r * repulsive + decay_a * bond * attractive)
            gradients[e] += 0.5 * by_r / r * vectors[e]
            if zeta == 0.0:
                continue
            by_zeta = -0.25 * f * attractive * bond / (1 + strength) * strength / zeta
            for k in range(first[i], first[i + 1]):
                if k == e:
                    continue
                s = np.sqrt((vectors[k] ** 2).sum())
                _, along_r, along_s, by_cosine = share(vectors[e], vectors[k], r, numbers)
                cosine = (vectors[e] * vectors[k]).sum() / (r * s)
                for x in range(3):
                    one, two = vectors[e, x] / r, vectors[k, x] / s
                    gradients[e, x] += by_zeta * (along_r * one + by_cosine * (two - cosine * one) / r)
                    gradients[k, x] += by_zeta * (along_s * two + by_cosine * (one - cosine * two) / s)
    return energies


@njit(cache=True)
def share(
    bond: np.ndarray, other: np.ndarray, r: float, numbers: np.ndarray
) -> tuple[float, float, float, float]:
    """Return what another bond adds to ζ of one, and the derivatives by both lengths and the cosine."""
    power, gamma, rate, c, d, cosine_0 = numbers[:6]
    s = np.sqrt((other**2).sum())
    f, d_f = cut(s, numbers[10], numbers[11])
    if f == 0.0:
        return 0.0, 0.0, 0.0, 0.0
    off = (bond * other).sum() / (r * s) - cosine_0
    below = d**2 + off**2
    angular = gamma * (1 + (c / d) ** 2 - c**2 / below)
    longer = rate * (r - s)
    stretched = np.exp(longer**power)
    by_stretch = power * longer ** (power - 1) * rate * stretched
    by_cosine = gamma * 2 * c**2 * off / below**2
    return (
        f * angular * stretched,
        f * angular * by_stretch,
        angular * (d_f * stretched - f * by_stretch),
        f * by_cosine * stretched,
    )
