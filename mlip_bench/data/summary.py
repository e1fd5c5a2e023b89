"""A look into a dataset: sizes per group, elements, ranges, closest distance, histograms."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from ase import Atoms, units
from matplotlib.figure import Figure

from mlip_bench.data import reference
from mlip_bench.data.base import Dataset
from mlip_bench.errors import UserError

# Distances are looked for up to here (Å); beyond it the closest pair says nothing of interest.
FARTHEST = 4.0

COLUMNS = (
    "energy (eV/atom)",
    "largest force (eV/Å)",
    "stress (GPa)",
    "closest distance (Å)",
)


def summarise(dataset: Dataset) -> Iterator[list[str]]:
    """Yield one line per split and group: split, group, structures, atoms, elements, and ``COLUMNS``."""
    for split, structures in (("train", dataset.train), ("test", dataset.test)):
        members_of: dict[str, list[Atoms]] = {}
        for atoms in structures:
            members_of.setdefault(reference.group(atoms), []).append(atoms)
        for group, members in sorted(members_of.items()):
            yield [split, group, *_describe(members)]


def _describe(structures: list[Atoms]) -> list[str]:
    energies = [reference.energy(atoms) / len(atoms) for atoms in structures]
    largest = max(float(np.abs(reference.forces(atoms)).max()) for atoms in structures)
    stresses = _stresses(structures)
    closest = min(reference.shortest_distance(atoms, FARTHEST) for atoms in structures)
    return [
        str(len(structures)),
        str(sum(len(atoms) for atoms in structures)),
        " ".join(reference.elements(structures)),
        f"{np.nanmin(energies):.3f} to {np.nanmax(energies):.3f}" if np.isfinite(energies).any() else "none",
        f"{largest:.2f}",
        f"{stresses.min():.1f} to {stresses.max():.1f}" if len(stresses) else "none",
        f"{closest:.2f}" if np.isfinite(closest) else f"beyond {FARTHEST:g}",
    ]


def _stresses(structures: list[Atoms]) -> np.ndarray:
    """Return all stress components, flat, in GPa."""
    found = [stress for stress in map(reference.stress, structures) if stress is not None]
    return np.concatenate([np.empty(0), *found]) / units.GPa


def draw_histograms(dataset: Dataset, path: Path) -> None:
    """Write histograms of energy, force and stress of both splits to a picture."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        panels = figure.subplots(1, 3)
        splits = (("train", dataset.train, "#0072B2"), ("test", dataset.test, "#D55E00"))
        for name, structures, color in splits:
            if not structures:
                continue
            values = (
                np.array([reference.energy(atoms) / len(atoms) for atoms in structures]),
                np.concatenate([reference.forces(atoms).ravel() for atoms in structures]),
                _stresses(structures),
            )
            labels = ("energy (eV/atom)", "force component (eV/Å)", "stress component (GPa)")
            for axes, numbers, label in zip(panels, values, labels, strict=True):
                there = numbers[np.isfinite(numbers)]
                axes.hist(there, bins=40, histtype="step", density=True, color=color, label=name)
                axes.set(xlabel=label, yticks=[])
        panels[0].set_ylabel("density")
        panels[-1].legend(frameon=False)
        try:
            figure.savefig(path, dpi=150)
        except ValueError as error:
            raise UserError(f"--histogram {path}: {error}") from error
