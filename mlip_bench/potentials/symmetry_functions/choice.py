"""Which symmetry functions to take: a grid of parameters, of which the data decides what is left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ase import Atoms
from scipy import linalg

from mlip_bench.data import reference
from mlip_bench.potentials.symmetry_functions.descriptors import Descriptors, Scaling, descriptors, scaling
from mlip_bench.potentials.symmetry_functions.functions import Angular, Radial, SymmetryFunctions, grid
from mlip_bench.potentials.symmetry_functions.geometry import tables

# Rows of symmetry functions (atoms) that are decomposed at once where functions are chosen.
ROWS_AT_ONCE = 100_000


class Grid(Protocol):
    """Hyper-parameters of a family, as far as they are those of the functions; lengths in Å, η in Å⁻²."""

    @property
    def cutoff(self) -> float:
        """Radius of all functions."""

    @property
    def radial_etas(self) -> list[float]:
        """η of the radial functions; if empty, those of :func:`typical_etas`."""

    @property
    def radial_shifts(self) -> list[float]:
        """R_s of the radial functions; those beyond the cutoff are left out."""

    @property
    def angular_etas(self) -> list[float]:
        """η of the angular functions; if empty, as for the radial ones."""

    @property
    def zetas(self) -> list[float]:
        """ζ of the angular functions, each with λ = 1 and -1."""


@dataclass(frozen=True)
class Chosen:
    """Functions, their ranges over the training data, and their values there."""

    functions: SymmetryFunctions
    ranges: Scaling
    described: list[Descriptors]


def wanted(hypers: Grid, elements: Sequence[str], structures: Sequence[Atoms]) -> SymmetryFunctions:
    """Return the grid of functions that the hyper-parameters ask for."""
    etas = typical_etas(structures) if not (hypers.radial_etas and hypers.angular_etas) else []
    shifts = [shift for shift in hypers.radial_shifts if shift < hypers.cutoff]
    return grid(
        elements,
        hypers.cutoff,
        hypers.radial_etas or etas,
        shifts,
        hypers.angular_etas or etas,
        hypers.zetas,
    )


def informative(
    functions: SymmetryFunctions,
    elements: Sequence[str],
    structures: Sequence[Atoms],
    least_range: float,
    n_functions: int,
) -> Chosen:
    """Leave out functions that vary by less than ``least_range``, and all but ``n_functions`` per element.

    With 0 all are kept that vary. One radial function of each pair of elements is among them: without it an
    atom would not feel a neighbour that is alone.
    """
    chosen = _described(functions, elements, structures)
    if flat := _flat(chosen, elements, least_range):
        chosen = _described(chosen.functions.without(flat), elements, structures)
    if n_functions and (explained := _explained_by_others(chosen, elements, n_functions)):
        chosen = _described(chosen.functions.without(explained), elements, structures)
    return chosen


def typical_etas(structures: Sequence[Atoms]) -> list[float]:
    """Return 0.25, 0.5 and 1.25 over the square of the median closest distance of the structures, Å⁻²."""
    closest = [reference.shortest_distance(atoms, 6.0) for atoms in structures]
    finite = [distance for distance in closest if np.isfinite(distance)] or [2.5]
    typical = float(np.median(finite))
    return [0.25 / typical**2, 0.5 / typical**2, 1.25 / typical**2]


def _described(functions: SymmetryFunctions, elements: Sequence[str], structures: Sequence[Atoms]) -> Chosen:
    """Compute the functions of all structures, without derivatives, and learn their ranges."""
    layout = tables(functions, elements)
    described = [descriptors(atoms, layout, derive=False) for atoms in structures]
    return Chosen(functions, scaling(described, layout), described)


def _flat(chosen: Chosen, elements: Sequence[str], least_range: float) -> set[Radial | Angular]:
    """Return the functions that hardly vary over the training data.

    An element of which all functions are flat (one perfect crystal) keeps them.
    """
    order = tables(chosen.functions, elements).order
    flat: set[Radial | Angular] = set()
    for functions, low, high in zip(order, chosen.ranges.low, chosen.ranges.high, strict=True):
        is_flat = high - low < least_range
        if not is_flat.all():
            flat |= {function for function, drop in zip(functions, is_flat, strict=True) if drop}
    return flat


def _explained_by_others(chosen: Chosen, elements: Sequence[str], n_functions: int) -> set[Radial | Angular]:
    """Return the functions of each element that are not among the first of a QR decomposition with pivoting.

    Each of these is the one that those before it explain least.
    """
    dropped: set[Radial | Angular] = set()
    for species, functions in enumerate(tables(chosen.functions, elements).order):
        rows = [one.values[one.species == species, : len(functions)] for one in chosen.described]
        scaled = np.concatenate(rows) * chosen.ranges.factors[species]
        scaled -= scaled.mean(0)
        if len(scaled) > ROWS_AT_ONCE:
            # A factor R of the rows has the same columns, but for a rotation of all.
            parts = np.array_split(scaled, -(-len(scaled) // ROWS_AT_ONCE))
            scaled = np.concatenate([linalg.qr(part, mode="r")[0][: len(functions)] for part in parts])
        _, pivots = linalg.qr(scaled, mode="r", pivoting=True)
        order = [functions[index] for index in pivots]
        first = _one_of_each_pair(order)
        others = [function for function in order if function not in first]
        dropped |= set(others[max(0, n_functions - len(first)) :])
    return dropped


def _one_of_each_pair(order: Sequence[Radial | Angular]) -> list[Radial]:
    """Return the first radial function of each neighbouring element."""
    first: dict[str, Radial] = {}
    for function in order:
        if isinstance(function, Radial):
            first.setdefault(function.neighbour, function)
    return list(first.values())
