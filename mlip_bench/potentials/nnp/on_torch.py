"""The potential on a GPU: many structures at once in torch, double precision.

Neighbour lists are made on the CPU, by the code that the kernels use; functions, networks and gradients are
computed where ``device`` says. The same code runs on torch's CPU device, where the tests compare it with the
kernels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms

from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.nnp.networks import Network
from mlip_bench.potentials.prediction import Prediction
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.potentials.symmetry_functions.descriptors import Scaling
from mlip_bench.potentials.symmetry_functions.geometry import Neighbourhood, Tables
from mlip_bench.potentials.symmetry_functions.kernel import RANGE_TOLERANCE
from mlip_bench.potentials.symmetry_functions.on_torch import cutoff_function

# Triples of atoms in one batch: with some tens of functions a few gigabytes.
TRIPLES_PER_BATCH = 4_000_000


class BatchEvaluator:
    """Energy, forces and stress of many structures at once."""

    def __init__(self, layout: Tables, ranges: Scaling, networks: list[Network], device: str):
        self._layout, self._device = layout, torch.device(device)
        self._networks = [replace(n, weights=self._tensor(n.weights)) for n in networks]
        self._low = [self._tensor(low) for low in ranges.low]
        self._factors = [self._tensor(factors) for factors in ranges.factors]

    def __call__(self, structures: Sequence[Atoms]) -> list[Prediction]:
        """Predict structures, as many at a time as fit into a batch."""
        predictions: list[Prediction] = []
        for batch, around in self._batches(structures):
            found, _ = self._predict(batch, around, by_centre=False)
            predictions += found
        return predictions

    def one_by_one(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        """Return predictions of one structure after the other, with a list that is kept while it is valid."""
        layout = self._layout
        neighbourhood = Neighbourhood(layout.elements, layout.cutoff, stepping, layout.wide)

        def predict(atoms: Atoms) -> Prediction:
            around = [(neighbourhood, neighbourhood.update(atoms))]
            (prediction,), _ = self._predict([atoms], around, by_centre=False)
            return prediction

        return predict

    def with_edges(self, atoms: Atoms) -> EdgeGradients:
        """Predict one structure, with the derivative of its energy by each edge."""
        ((batch, around),) = self._batches([atoms])
        (prediction,), gradients = self._predict(batch, around, by_centre=True)
        ((neighbourhood, vectors),) = around
        return EdgeGradients(
            prediction, neighbourhood.centres, neighbourhood.neighbours, vectors, gradients.cpu().numpy()
        )

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=self._device)

    def _batches(
        self, structures: Sequence[Atoms]
    ) -> Iterator[tuple[list[Atoms], list[tuple[Neighbourhood, np.ndarray]]]]:
        """Cut the structures into batches, each with its neighbourhoods and edge vectors."""
        batch: list[Atoms] = []
        around: list[tuple[Neighbourhood, np.ndarray]] = []
        n_triples = 0
        for atoms in structures:
            neighbourhood = Neighbourhood(self._layout.elements, self._layout.cutoff, wide=self._layout.wide)
            vectors = neighbourhood.update(atoms)
            if batch and n_triples + neighbourhood.start[-1] > TRIPLES_PER_BATCH:
                yield batch, around
                batch, around, n_triples = [], [], 0
            batch.append(atoms)
            around.append((neighbourhood, vectors))
            n_triples += int(neighbourhood.start[-1])
        if batch:
            yield batch, around

    def _predict(
        self, batch: list[Atoms], around: list[tuple[Neighbourhood, np.ndarray]], by_centre: bool
    ) -> tuple[list[Prediction], torch.Tensor]:
        """Predict; return the derivatives by the edges (n_edges, 3) as well.

        The edge that closes a triple is one of another atom's, or with ``by_centre``, which takes longer, the
        difference of the two of its centre. Forces are the same.
        """
        n_atoms = [len(atoms) for atoms in batch]
        n_edges = [len(vectors) for _, vectors in around]
        atom_offsets, edge_offsets = _offsets(n_atoms), _offsets(n_edges)
        species = np.concatenate([one.species for one, _ in around])
        centres = np.repeat(
            np.arange(sum(n_atoms)), np.concatenate([np.diff(one.first) for one, _ in around])
        )
        ends = np.concatenate([one.neighbours + k for (one, _), k in zip(around, atom_offsets, strict=True)])
        triples = np.concatenate(
            [one.triples + k for (one, _), k in zip(around, edge_offsets, strict=True)], axis=1
        )
        pair = np.concatenate([one.pair for one, _ in around])
        vectors = self._tensor(np.concatenate([vectors for _, vectors in around])).requires_grad_()
        per_atom, outside = self._energies(vectors, species, centres, ends, triples, pair, by_centre)
        per_atom.sum().backward()
        assert vectors.grad is not None
        where, end = self._tensor(centres), self._tensor(ends)
        forces = torch.zeros(len(species), 3, dtype=torch.float64, device=self._device)
        forces = forces.index_add(0, where, vectors.grad).index_add(0, end, -vectors.grad)
        virials = -vectors.grad[:, :, None] * vectors.detach()[:, None, :]
        totals = per_atom.detach().cpu().numpy()
        parts = zip(
            batch,
            np.split(totals, atom_offsets[1:]),
            np.split(forces.cpu().numpy(), atom_offsets[1:]),
            torch.split(virials, n_edges),
            np.split(outside, atom_offsets[1:]),
            strict=True,
        )
        predictions = [
            Prediction.of_atoms(atoms, energy, force, _symmetric(virial), int(left.sum()))
            for atoms, energy, force, virial, left in parts
        ]
        return predictions, vectors.grad

    def _energies(
        self,
        vectors: torch.Tensor,
        species: np.ndarray,
        centres: np.ndarray,
        ends: np.ndarray,
        triples: np.ndarray,
        pair: np.ndarray,
        by_centre: bool,
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Return the energy of each atom, and whether an input left its range."""
        layout = self._layout
        r = vectors.norm(dim=1)
        switch = torch.stack([cutoff_function(layout.switch, r, float(cutoff)) for cutoff in layout.cutoffs])
        weight = [self._weight(g, r) for g in range(len(layout.etas))]
        apart = vectors if by_centre else None
        energies = torch.zeros(len(species), dtype=torch.float64, device=self._device)
        outside = np.zeros(len(species), bool)
        for kind, network in enumerate(self._networks):
            mine = np.flatnonzero(species == kind)
            place = np.full(len(species), -1)
            place[mine] = np.arange(len(mine))
            columns = self._radial(kind, r, switch, place[centres], species[ends], len(mine))
            owners = place[centres[triples[0]]]
            columns += self._angular(kind, r, weight, apart, owners, triples, pair, len(mine))
            inputs = (torch.stack(columns, dim=1) - self._low[kind]) * self._factors[kind]
            out = (inputs < -RANGE_TOLERANCE) | (inputs > 1 + RANGE_TOLERANCE)
            outside[mine] = out.any(dim=1).cpu().numpy()
            energies = energies.index_add(0, self._tensor(mine), network.energies(inputs)[0])
        return energies, outside

    def _radial(
        self,
        kind: int,
        r: torch.Tensor,
        switch: torch.Tensor,
        place: np.ndarray,
        ends: np.ndarray,
        n_atoms: int,
    ) -> list[torch.Tensor]:
        """Return the radial functions of the atoms of one element, a column for each function."""
        columns = []
        for neighbour, eta, shift, c in self._layout.radial[kind]:
            chosen = np.flatnonzero((place >= 0) & (ends == neighbour))
            edges = self._tensor(chosen)
            terms = torch.exp(-eta * (r[edges] - shift) ** 2) * switch[int(c)][edges]
            columns.append(self._sums(terms, place[chosen], n_atoms))
        return columns

    def _angular(
        self,
        kind: int,
        r: torch.Tensor,
        weight: list[torch.Tensor],
        apart: torch.Tensor | None,
        place: np.ndarray,
        triples: np.ndarray,
        pair: np.ndarray,
        n_atoms: int,
    ) -> list[torch.Tensor]:
        """Return the angular functions of the atoms of one element.

        Closing edges are differences of ``apart``, the vectors (n_edges, 3), or without it edges like others.
        """
        columns = []
        for wanted, first, last in self._layout.blocks[kind]:
            chosen = np.flatnonzero((place >= 0) & (pair == wanted))
            a, b, c = (self._tensor(edges[chosen].astype(np.int64)) for edges in triples)
            closing = r[c] if apart is None else (apart[b] - apart[a]).norm(dim=1)
            cosine = (r[a] ** 2 + r[b] ** 2 - closing**2) / (2 * r[a] * r[b])
            for _, g, q in self._layout.angular[kind][first:last]:
                lam, zeta = self._layout.shapes[q].tolist()
                power = 2 ** (1 - zeta) * (1 + lam * cosine).clamp(min=0) ** zeta
                terms = power * weight[g][a] * weight[g][b]
                if not self._layout.etas[g, 3]:
                    terms = terms * (weight[g][c] if apart is None else self._weight(g, closing))
                columns.append(self._sums(terms, place[chosen], n_atoms))
        return columns

    def _weight(self, index: int, r: torch.Tensor) -> torch.Tensor:
        """Return Gaussian times cutoff function of lengths, of one of ``etas``."""
        eta, shift, cutoff, _ = self._layout.etas[index]
        switch = cutoff_function(self._layout.switch, r, float(self._layout.cutoffs[int(cutoff)]))
        return torch.exp(-eta * (r - shift) ** 2) * switch

    def _sums(self, terms: torch.Tensor, owners: np.ndarray, n_owners: int) -> torch.Tensor:
        empty = torch.zeros(n_owners, dtype=torch.float64, device=self._device)
        return empty.index_add(0, self._tensor(owners), terms)


def _offsets(counts: list[int]) -> np.ndarray:
    """Return where each part begins."""
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)


def _symmetric(virials: torch.Tensor) -> np.ndarray:
    """Return the virial Σ r ⊗ F (3, 3) of edges' parts, in eV."""
    virial: Any = virials.sum(dim=0).cpu().numpy()
    return np.asarray((virial + virial.T) / 2)
