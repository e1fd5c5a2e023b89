"""The values of symmetry functions of structures, and their ranges over the training data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms

from mlip_bench.potentials.symmetry_functions import kernel
from mlip_bench.potentials.symmetry_functions.geometry import Neighbourhood, Tables


class Descriptors(NamedTuple):
    """The symmetry functions of one structure."""

    species: np.ndarray
    first: np.ndarray
    """Where the edges of each atom begin, (n_atoms + 1,)."""
    neighbours: np.ndarray
    values: np.ndarray
    """(n_atoms, n)"""
    jacobian: np.ndarray
    """Derivatives, (n_edges, 3, n), single precision; no edges where only values were asked for."""


@dataclass
class Scaling:
    """Least and largest value of each input on the training data, per element."""

    low: list[np.ndarray]
    high: list[np.ndarray]

    @property
    def factors(self) -> list[np.ndarray]:
        """What scales each input to 0..1; a constant input keeps its unit."""
        return [
            1 / np.where(high > low, high - low, 1.0) for low, high in zip(self.low, self.high, strict=True)
        ]


def descriptors(atoms: Atoms, tables: Tables, derive: bool = True) -> Descriptors:
    """Compute the symmetry functions of one structure, and their derivatives unless ``derive`` is False."""
    around = Neighbourhood(tables.elements, tables.cutoff, wide=tables.wide)
    vectors = around.update(atoms)
    values, jacobian = kernel.values_and_jacobian(
        around.first,
        around.neighbours,
        around.species,
        vectors,
        around.start,
        around.triples,
        around.pair,
        tables.cutoffs,
        tables.switch,
        tables.etas,
        tables.shapes,
        tables.radial,
        tables.angular,
        tables.blocks,
        max(tables.n_inputs),
        derive,
    )
    single = jacobian.astype(np.float32)
    neighbours = around.neighbours if derive else np.empty(0, np.int64)
    return Descriptors(around.species, around.first, neighbours, values, single)


def scaling(raw: Sequence[Descriptors], tables: Tables) -> Scaling:
    """Find the range of each input over all atoms of each element."""
    low, high = [], []
    for species, n_inputs in enumerate(tables.n_inputs):
        rows = np.concatenate([one.values[one.species == species, :n_inputs] for one in raw])
        low.append(rows.min(0))
        high.append(rows.max(0))
    return Scaling(low, high)
