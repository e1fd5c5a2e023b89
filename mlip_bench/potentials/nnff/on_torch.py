"""Forces by torch, in double precision: for GPUs, and what the kernels are tested against.

Neighbour lists are made on the CPU. Each function and its axes are written down as sums over edges or triples
with their own vectors, function by function, which is not how the kernels go about it.
"""

import numpy as np
import torch
from ase import Atoms

from mlip_bench.potentials.base import Prediction
from mlip_bench.potentials.nnff.covariant_axes import RANKED
from mlip_bench.potentials.nnff.model import NNFF, forces_only
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.potentials.symmetry_functions.geometry import Neighbourhood, Tables
from mlip_bench.potentials.symmetry_functions.kernel import RANGE_TOLERANCE
from mlip_bench.potentials.symmetry_functions.on_torch import cutoff_function

DOUBLE = torch.float64


class TorchEvaluator:
    """Forces of one structure after the other on a device of torch; keeps its list while the skin allows."""

    def __init__(self, potential: NNFF, device: str, skin: float | Stepping = 0.0):
        self._potential, self._device = potential, torch.device(device)
        self._layout = potential.axes_.layout
        self._around = Neighbourhood(self._layout.elements, self._layout.cutoff, skin)
        self._networks = [
            [
                (self._tensor(weight), self._tensor(bias))
                for weight, bias in zip(n.weights, n.biases, strict=True)
            ]
            for n in potential.networks_
        ]

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=self._device)

    def __call__(self, atoms: Atoms) -> Prediction:
        """Predict one structure; an atom extrapolates where an input left its range in training."""
        sums = _Sums(self._layout, self._around, atoms, self._device)
        described = [sums.of_functions(kind) for kind in range(len(self._layout.elements))]
        if self._potential.hypers.axes == RANKED:
            axes = [sums.ranked(kind, self._potential.hypers.n_ranked) for kind in range(len(described))]
        else:
            axes = [vectors for _, vectors in described]
        forces = torch.zeros(len(atoms), 3, dtype=DOUBLE, device=self._device)
        n_outside = 0
        for kind, network in enumerate(self._potential.networks_):
            low = self._tensor(self._potential.ranges_.low[kind])
            inputs = (described[kind][0] - low) * self._tensor(self._potential.ranges_.factors[kind])
            outside = (inputs < -RANGE_TOLERANCE) | (inputs > 1 + RANGE_TOLERANCE)
            n_outside += int(outside.any(dim=1).sum())
            chosen = axes[kind][:, self._tensor(network.kept)]
            outputs = self._outputs(kind, inputs)
            forces[sums.members[kind]] += self._combined(outputs[:, : len(network.kept)], chosen)
            if self._potential.two_sided:
                forces += sums.pulls(kind, outputs[:, len(network.kept) :])
        return forces_only(forces.cpu().numpy(), n_outside, self._potential.hypers.remove_net_force)

    def _outputs(self, kind: int, inputs: torch.Tensor) -> torch.Tensor:
        *hidden, (weight, bias) = self._networks[kind]
        for one, other in hidden:
            inputs = torch.tanh(inputs @ one + other)
        return inputs @ weight + bias

    def _combined(self, outputs: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
        if self._potential.hypers.axes == RANKED:
            unit = torch.eye(3, dtype=DOUBLE, device=self._device)
            squares = axes.transpose(1, 2) @ axes + self._potential.hypers.regularisation * unit
            return torch.linalg.solve(squares, axes.transpose(1, 2) @ outputs[:, :, None])[:, :, 0]
        return torch.einsum("ak,akx->ax", outputs, axes)


class _Sums:
    """Sums over the edges and triples of one structure."""

    def __init__(self, layout: Tables, around: Neighbourhood, atoms: Atoms, device: torch.device):
        self._layout, self._device = layout, device
        vectors = torch.as_tensor(around.update(atoms), device=device)
        self.n_atoms = len(atoms)
        self._centres = torch.as_tensor(around.centres, device=device)
        self._ends = torch.as_tensor(around.neighbours, device=device)
        species = torch.as_tensor(around.species, device=device)
        self.members = [torch.nonzero(species == k).ravel() for k in range(len(layout.elements))]
        self._species = species
        self._r = vectors.norm(dim=1)
        self._units = vectors / self._r[:, None]
        self._triples = torch.as_tensor(around.triples.astype(np.int64), device=device)
        self._pair = torch.as_tensor(around.pair, device=device)

    def _switch(self, r: torch.Tensor, cutoff: float) -> torch.Tensor:
        return cutoff_function(self._layout.switch, r, cutoff)

    def _add(self, kind: int, centres: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
        """Return the sums of terms (n, ...) over the centres of an element."""
        empty = torch.zeros(self.n_atoms, *terms.shape[1:], dtype=DOUBLE, device=self._device)
        return empty.index_add(0, centres, terms)[self.members[kind]]

    def _radial(self, kind: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the edges of each radial function and its terms."""
        found = []
        for neighbour, eta, shift, c in self._layout.radial[kind].tolist():
            of_kind = (self._species[self._centres] == kind) & (self._species[self._ends] == neighbour)
            edges = torch.nonzero(of_kind).ravel()
            r = self._r[edges]
            terms = torch.exp(-eta * (r - shift) ** 2) * self._switch(r, float(self._layout.cutoffs[int(c)]))
            found.append((edges, terms))
        return found

    def of_functions(self, kind: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return functions (n, n_functions) and their axes (n, n_axes, 3) of the atoms of an element."""
        values, axes = [], []
        for edges, terms in self._radial(kind):
            values.append(self._add(kind, self._centres[edges], terms))
            axes.append(self._add(kind, self._centres[edges], terms[:, None] * self._units[edges]))
        for pair, first, last in self._layout.blocks[kind].tolist():
            for row in self._layout.angular[kind][first:last].tolist():
                value, of_pair = self._angular(kind, pair, *row[1:])
                values.append(value)
                axes += of_pair
        empty = torch.zeros(len(self.members[kind]), 0, dtype=DOUBLE, device=self._device)
        if not values:
            return empty, empty[:, :, None].expand(-1, -1, 3)
        return torch.stack(values, 1), torch.stack(axes, 1)

    def _angular(self, kind: int, pair: int, g: int, q: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return an angular function of the atoms of an element, and its one or two axes."""
        of_kind = self._species[self._centres[self._triples[0]]] == kind
        a, b, c = self._triples[:, (self._pair == pair) & of_kind]
        one, other = divmod(pair, len(self._layout.elements))
        swapped = self._species[self._ends[a]] != one
        a, b = torch.where(swapped, b, a), torch.where(swapped, a, b)
        eta, shift, cutoff, _ = self._layout.etas[g].tolist()
        lam, zeta = self._layout.shapes[q].tolist()
        cosine = (self._r[a] ** 2 + self._r[b] ** 2 - self._r[c] ** 2) / (2 * self._r[a] * self._r[b])
        terms = 2 ** (1 - zeta) * (1 + lam * cosine).clamp(min=0) ** zeta
        for edge in (a, b, c):
            r = self._r[edge]
            cut = self._switch(r, float(self._layout.cutoffs[int(cutoff)]))
            terms = terms * torch.exp(-eta * (r - shift) ** 2) * cut
        sides = [self._units[a], self._units[b]]
        if one == other:
            sides = [sides[0] + sides[1]]
        centres = self._centres[a]
        return (
            self._add(kind, centres, terms),
            [self._add(kind, centres, terms[:, None] * side) for side in sides],
        )

    def pulls(self, kind: int, coefficients: torch.Tensor) -> torch.Tensor:
        """Return what the atoms of an element do to their neighbours, (n_atoms, 3): Σ_f d_f g_f(r) u."""
        forces = torch.zeros(self.n_atoms, 3, dtype=DOUBLE, device=self._device)
        place = torch.zeros(self.n_atoms, dtype=torch.int64, device=self._device)
        place[self.members[kind]] = torch.arange(len(self.members[kind]), device=self._device)
        for f, (edges, terms) in enumerate(self._radial(kind)):
            pulled = coefficients[place[self._centres[edges]], f] * terms
            forces = forces.index_add(0, self._ends[edges], -pulled[:, None] * self._units[edges])
        return forces

    def ranked(self, kind: int, n_ranked: int) -> torch.Tensor:
        """Return the unit vectors to the nearest neighbours (n, n_ranked, 3) of the atoms of an element."""
        axes = torch.zeros(len(self.members[kind]), n_ranked, 3, dtype=DOUBLE, device=self._device)
        for place, atom in enumerate(self.members[kind].tolist()):
            inside = self._r < self._layout.cutoff
            edges = torch.nonzero((self._centres == atom) & inside).ravel()
            near = edges[torch.argsort(self._r[edges], stable=True)][:n_ranked]
            axes[place, : len(near)] = self._units[near]
        return axes
