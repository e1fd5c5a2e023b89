"""Training data of the networks: fingerprints, axes, what neighbours see of each other, each scaled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.potentials.nnff import covariant_axes
from mlip_bench.potentials.nnff.covariant_axes import Axes, Ranked
from mlip_bench.potentials.nnff.kernel import EdgeTables
from mlip_bench.potentials.nnff.training import Samples
from mlip_bench.potentials.symmetry_functions.geometry import Tables


class Described(NamedTuple):
    """One structure, or several one after the other."""

    species: np.ndarray
    values: np.ndarray
    """(n_atoms, n_functions)"""
    axes: np.ndarray
    """(n_atoms, n_axes, 3): those that are kept."""
    centres: np.ndarray
    """(n_edges,)"""
    neighbours: np.ndarray
    """(n_edges,)"""
    units: np.ndarray
    """(n_edges, 3)"""
    terms: np.ndarray
    """(n_edges, n_terms): radial functions of the neighbour, of the edge from it to the centre."""
    columns: np.ndarray
    """(n_edges, n_terms): which of its radial functions they are."""


@dataclass(frozen=True)
class Scales:
    """By element: what brings everything that the networks see and say to the order of one."""

    mean: list[np.ndarray]
    width: list[np.ndarray]
    """(n_functions,): inputs are (values - mean) / width."""
    length: list[np.ndarray]
    """(n_axes,)"""
    pull: list[np.ndarray]
    """(n_radial,)"""


def described(axes: Axes, atoms: Atoms, kept: Sequence[np.ndarray], two_sided: bool) -> Described:
    """Describe one structure by its kept axes, and without edges where forces are not ``two_sided``."""
    around = covariant_axes.Surroundings(axes.layout.elements, axes.layout.cutoff)
    edges = covariant_axes.edge_tables(axes.layout, around.update(atoms))
    values, vectors = axes(around, edges)
    chosen = np.zeros((len(atoms), max(map(len, kept)), 3))
    for kind, which in enumerate(kept):
        mine = around.species == kind
        chosen[mine, : len(which)] = vectors[mine][:, which]
    inside = np.flatnonzero(edges[0]) if two_sided else np.empty(0, int)
    centres, neighbours = around.centres[inside], around.neighbours[inside]
    terms, columns = _terms(
        axes.layout, around.species[neighbours], around.species[centres], inside, edges, two_sided
    )
    return Described(around.species, values, chosen, centres, neighbours, edges[2][inside], terms, columns)


def _terms(
    layout: Tables,
    of: np.ndarray,
    seen: np.ndarray,
    edges: np.ndarray,
    tables: EdgeTables,
    two_sided: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the radial functions of elements ``of`` that see elements ``seen`` at each edge, and which."""
    _, lengths, _, switch, _ = tables
    counts = [
        int((radial[:, 0] == kind).sum()) for radial in layout.radial for kind in range(len(layout.radial))
    ]
    terms = np.zeros((len(edges), max(counts) if two_sided else 0))
    columns = np.zeros(terms.shape, np.int64)
    for owner, radial in enumerate(layout.radial):
        for kind in range(len(layout.radial)):
            which, mine = np.flatnonzero(radial[:, 0] == kind), np.flatnonzero((of == owner) & (seen == kind))
            if not (len(which) and len(mine)):
                continue
            _, eta, shift, cutoff = radial[which].T
            away = lengths[edges[mine], None] - shift
            terms[mine, : len(which)] = np.exp(-eta * away**2) * switch[edges[mine]][:, cutoff.astype(int)]
            columns[mine, : len(which)] = which
    return terms, columns


def joined(parts: Sequence[Described]) -> Described:
    """Join structures."""
    offsets = np.cumsum([0, *(len(part.species) for part in parts)])[:-1]
    moved = [
        part._replace(centres=part.centres + offset, neighbours=part.neighbours + offset)
        for part, offset in zip(parts, offsets, strict=True)
    ]
    return Described(*(np.concatenate(arrays) for arrays in zip(*moved, strict=True)))


def scales(
    whole: Described, n_inputs: Sequence[int], n_axes: Sequence[int], n_pulls: Sequence[int]
) -> Scales:
    """Return the scales of the atoms of each element."""
    found = Scales([], [], [], [])
    owners = whole.species[whole.neighbours]
    for kind in range(len(n_inputs)):
        mine = whole.species == kind
        values, axes = whole.values[mine, : n_inputs[kind]], whole.axes[mine, : n_axes[kind]]
        found.mean.append(values.mean(0))
        found.width.append(_positive(values.std(0)))
        found.length.append(_positive(np.sqrt((axes**2).mean(axis=(0, 2)) * n_axes[kind])))
        edges = owners == kind
        squares = np.bincount(
            whole.columns[edges].ravel(), (whole.terms[edges] ** 2).ravel(), minlength=n_pulls[kind]
        )[: n_pulls[kind]]  # of an element that tells its neighbours nothing the columns are filled up
        found.pull.append(_positive(np.sqrt(squares * n_pulls[kind] / max(1, int(mine.sum())))))
    return found


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, 1.0)


def samples(
    structures: Sequence[Atoms],
    parts: Sequence[Described],
    axes: Axes,
    scale: Scales,
    unit: float,
    regularisation: float,
    device: str,
) -> Samples:
    """Return the samples of structures, scaled, on a device of torch; forces are in ``unit`` (eV/Å)."""
    whole = joined(parts)
    inputs, along, terms = np.zeros_like(whole.values), np.zeros_like(whole.axes), whole.terms.copy()
    owners = whole.species[whole.neighbours]
    for kind, (mean, width) in enumerate(zip(scale.mean, scale.width, strict=True)):
        mine, edges = whole.species == kind, owners == kind
        n_axes = len(scale.length[kind])
        inputs[mine, : len(mean)] = (whole.values[mine, : len(mean)] - mean) / width
        along[mine, :n_axes] = whole.axes[mine, :n_axes] / scale.length[kind][:, None]
        if terms.shape[1]:
            terms[edges] /= scale.pull[kind][whole.columns[edges]]
    ranked = isinstance(axes, Ranked)
    if ranked:  # unit vectors stay what they are
        along = whole.axes
    readout = covariant_axes.inverse(along, regularisation).transpose(0, 2, 1) if ranked else along
    forces = np.concatenate([reference.forces(atoms) for atoms in structures]) / unit

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=device)

    return Samples(
        species=whole.species,
        first_atom=np.cumsum([0, *(len(part.species) for part in parts)]),
        first_edge=np.cumsum([0, *(len(part.centres) for part in parts)]),
        inputs=tensor(inputs),
        axes=tensor(along),
        readout=tensor(readout),
        forces=tensor(forces),
        centres=tensor(whole.centres),
        neighbours=tensor(whole.neighbours),
        units=tensor(whole.units),
        terms=tensor(terms),
        columns=tensor(whole.columns),
        are_projections=ranked,
    )
