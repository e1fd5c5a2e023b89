r"""LEIGNN in torch: scalars x and vectors v of every atom, and of the whole structure (X, V).

Yang et al., doi:10.1038/s41524-025-01535-3 (arXiv 2311.02869). Each of the layers does, one after the other,

.. math::
    &x_i ← x_i + \text{MLP}[x_i, X], \quad v_i ← v_i + W (v_i + V) && \text{global to node} \\
    &h = \text{MLP}(x), \quad p_{ij} = h_j (W g(d_{ij}) + b) f(d_{ij}) / \sqrt 3 && \text{message} \\
    &x_i ← (x_i + \sum_j p^3_{ij}) / \sqrt 2, \quad
     v_i ← v_i + \sum_j (p^1_{ij} v_j + p^2_{ij} u_{ij}) / \sqrt C && \\
    &a, b = W v_i, \quad q = \text{MLP}[x_i, |b|] && \text{update} \\
    &x_i ← x_i + q_1 / \sqrt 2 + x_i \tanh q_2, \quad v_i ← v_i + q_3 a && \text{("nmu")} \\
    &x_i ← x_i + (q_1 + q_2\, (a·b) / \sqrt C) / \sqrt 2, \quad v_i ← v_i + q_3 a && \text{("painn")} \\
    &X ← X + \text{MLP}[\bar x, X], \quad V ← V + W (\bar v + V) && \text{node to global}

with C channels, silu / 0.6 between linear maps, and E_i = MLP(x_i). "painn" without the global node is PaiNN
(Schütt et al., doi:10.48550/arXiv.2102.03150). Chosen here, and other than in the public implementation:

- the bias b of the radial map ends with the envelope f, so that energies and forces are continuous where a
  neighbour crosses the cutoff; and all neighbours count, where it takes the nearest 20 to 50;
- maps that reach no output are left out: node to global in the last layer; in the first one, where all
  vectors are zero, those of vectors; in the last one of a gradient, the update of vectors;
- energies and forces are scaled by the RMS force of the training data; the radial maps begin smaller by the
  root of the mean number of neighbours;
- vectors point from the neighbour to the atom there, from the atom to the neighbour here: a sign of v.
"""

from typing import Any, Self

import torch

from mlip_bench.potentials.leignn.heads import DirectHeads
from mlip_bench.potentials.leignn.messages import Edges, Messages, Radial
from mlip_bench.potentials.leignn.shape import Shape
from mlip_bench.potentials.networks.graphs import Graphs
from mlip_bench.potentials.networks.network import GradientNetwork, Network, Output
from mlip_bench.potentials.networks.scales import Scales

NUMBERS = 119
"""Rows of the embedding: atomic numbers."""

SMALLEST = 1e-8
"""Under the root of a square, whose derivative is not finite at zero."""


class Activation(torch.nn.Module):
    """silu(y) / 0.6, of about unit variance for normal y."""

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return the activation."""
        return torch.nn.functional.silu(y) / 0.6


def linear(n_in: int, n_out: int, bias: bool = True) -> torch.nn.Linear:
    """Return a linear map as networks of this kind begin."""
    made = torch.nn.Linear(n_in, n_out, bias)
    torch.nn.init.xavier_uniform_(made.weight)
    if bias:
        torch.nn.init.zeros_(made.bias)
    return made


class FromBoth(torch.nn.Module):
    """Two maps with activations of [one, other], where the other may be that of a structure's atoms."""

    def __init__(self, n: int):
        super().__init__()
        first = linear(2 * n, n)
        self.one, self.other, self.second = linear(n, n), linear(n, n, bias=False), linear(n, n)
        with torch.no_grad():  # begins as one map of both together
            self.one.weight.copy_(first.weight[:, :n])
            self.other.weight.copy_(first.weight[:, n:])
        self.activation = Activation()

    def forward(
        self, one: torch.Tensor, other: torch.Tensor, structure: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map both; with ``structure`` the other is that of each atom's structure."""
        of_other = self.other(other)
        inner = self.one(one) + (of_other if structure is None else of_other[structure])
        return self.activation(self.second(self.activation(inner)))


class GlobalToNode(torch.nn.Module):
    """What atoms take from their structure."""

    def __init__(self, n: int, with_vectors: bool):
        super().__init__()
        self.scalars = FromBoth(n)
        self.vectors = linear(n, n, bias=False) if with_vectors else None

    def forward(
        self, x: torch.Tensor, v: torch.Tensor, of_all: tuple[torch.Tensor, torch.Tensor], graphs: Graphs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x (n_atoms, C) and v (n_atoms, 3, C), given X and V of structures."""
        scalars, vectors = of_all
        x = x + self.scalars(x, scalars, graphs.structure)
        if self.vectors is not None:
            v = v + self.vectors(v) + self.vectors(vectors)[graphs.structure]
        return x, v


class NodeToGlobal(torch.nn.Module):
    """What a structure takes from the means over its atoms."""

    def __init__(self, n: int):
        super().__init__()
        self.scalars, self.vectors = FromBoth(n), linear(n, n, bias=False)

    def forward(
        self, x: torch.Tensor, v: torch.Tensor, of_all: tuple[torch.Tensor, torch.Tensor], graphs: Graphs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return X (n_structures, C) and V (n_structures, 3, C)."""
        scalars, vectors = of_all
        shares = 1 / graphs.n_atoms.to(x.dtype)[:, None]
        mean_x = graphs.sum_by_structure(x) * shares
        mean_v = graphs.sum_by_structure(v) * shares[:, None]
        return scalars + self.scalars(mean_x, scalars), vectors + self.vectors(mean_v + vectors)


class Update(torch.nn.Module):
    """What atoms make of their own scalars and vectors: ``kind`` is "nmu" or "painn"."""

    def __init__(self, n: int, kind: str, with_vectors: bool):
        super().__init__()
        self._n, self._kind, self._with_vectors = n, kind, with_vectors
        self._needs_a = with_vectors or kind == "painn"
        self.vectors = linear(n, 2 * n if self._needs_a else n, bias=False)
        outputs = 3 if with_vectors else 2
        self.network = torch.nn.Sequential(linear(2 * n, n), Activation(), linear(n, outputs * n))

    def forward(self, x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x (n_atoms, C) and v (n_atoms, 3, C); v as it is where nothing needs it any more."""
        mapped = self.vectors(v)
        b = mapped[..., -self._n :]
        norms = torch.sqrt((b**2).sum(1) + SMALLEST)
        # That of vectors comes last, or not at all.
        first, second, *of_vectors = self.network(torch.cat([x, norms], 1)).split(self._n, 1)
        if self._kind == "nmu":
            dx = first / 2**0.5 + x * torch.tanh(second)
        else:
            along = (mapped[..., : self._n] * b).sum(1) / self._n**0.5
            dx = (first + second * along) / 2**0.5
        if of_vectors:
            v = v + of_vectors[0][:, None] * mapped[..., : self._n]
        return x + dx, v


class Layer(torch.nn.Module):
    """One layer: global to node, messages, update, node to global."""

    def __init__(self, radial: Radial, n: int, kind: str, first: bool, last: bool, options: dict[str, Any]):
        super().__init__()
        self._n, with_global = n, options["global_node"]
        self.from_global = GlobalToNode(n, not first) if with_global else None
        half = max(n // 2, 1)
        self.senders = torch.nn.Sequential(
            linear(n, half), Activation(), linear(half, 2 * n if first else 3 * n)
        )
        self.messages: Any = Messages(radial, n, not first, options["neighbours"])
        self.update = Update(n, kind, not last or options["vectors_out"])
        self.to_global = NodeToGlobal(n) if with_global and not last else None

    def forward(
        self,
        x: torch.Tensor,
        v: torch.Tensor,
        of_all: tuple[torch.Tensor, torch.Tensor],
        edges: Edges,
        graphs: Graphs,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return x (n_atoms, C), v (n_atoms, 3, C), and those of structures."""
        if self.from_global is not None:
            x, v = self.from_global(x, v, of_all, graphs)
        sums = self.messages(self.senders(x), v.flatten(1), edges)
        x = (x + sums[:, : self._n]) / 2**0.5
        v = v + sums[:, self._n :].unflatten(1, (3, self._n)) / self._n**0.5
        x, v = self.update(x, v)
        if self.to_global is not None:
            of_all = self.to_global(x, v, of_all, graphs)
        return x, v, of_all


class Trunk(torch.nn.Module):
    """All layers: from atomic numbers and edges to scalars, vectors and energies of atoms."""

    def __init__(self, shape: Shape, scales: Scales, vectors_out: bool):
        super().__init__()
        n = shape.channels
        self.radial = Radial(shape.cutoff, shape.radial)
        self.embedding = torch.nn.Embedding(NUMBERS, n)
        torch.nn.init.uniform_(self.embedding.weight, -(3**0.5), 3**0.5)
        self.of_structure = torch.nn.Parameter(torch.empty(n).uniform_(-(3**0.5), 3**0.5))
        self.of_structure.requires_grad_(shape.global_node)
        options = {
            "global_node": shape.global_node,
            "neighbours": scales.neighbours,
            "vectors_out": vectors_out,
        }
        self.layers = torch.nn.ModuleList(
            Layer(self.radial, n, shape.update, k == 0, k == shape.layers - 1, options)
            for k in range(shape.layers)
        )
        half = max(n // 2, 1)
        self.energy = torch.nn.Sequential(linear(n, half), Activation(), linear(half, 1))
        self._scale = scales.force

    def forward(self, graphs: Graphs, edges: Edges) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return scalars (n_atoms, C), vectors (n_atoms, 3, C) and energies (n_atoms,) in eV."""
        x = self.embedding(graphs.numbers)
        v = x.new_zeros(len(x), 3, x.shape[1])
        of_all = (
            self.of_structure.expand(len(graphs), -1),
            x.new_zeros(len(graphs), 3, x.shape[1]),
        )
        for layer in self.layers:
            x, v, of_all = layer(x, v, of_all, edges, graphs)
        return x, v, self._scale * self.energy(x).reshape(-1)

    def tabulated(self) -> Self:
        """Return the trunk with weights of edges from tables; it shares all others."""
        made = _shallow(self)
        made.layers = torch.nn.ModuleList()
        for layer in self.layers:
            copied: Any = _shallow(layer)
            copied.messages = copied.messages.tabulated()
            made.layers.append(copied)
        return made


def _shallow(module: Any) -> Any:
    """Return a module of the same submodules and weights, of which some can be replaced."""
    made = module.__class__.__new__(module.__class__)
    made.__dict__ = module.__dict__ | {"_modules": dict(module._modules)}
    return made


class GradientLEIGNN(GradientNetwork):
    """A LEIGNN whose forces and stresses are the gradient of its energy."""

    def __init__(self, shape: Shape, scales: Scales):
        super().__init__()
        self.trunk = Trunk(shape, scales, vectors_out=False)

    def energies(self, graphs: Graphs) -> torch.Tensor:
        """Return the energies of atoms (n_atoms,) in eV."""
        _, _, energies = self.trunk(graphs, Edges(graphs))
        return energies

    def ready(self) -> Self:
        """Return the network with tables of weights on a CPU."""
        return _ready(self)


class DirectLEIGNN(Network):
    """A LEIGNN with heads that give forces and stresses directly."""

    def __init__(self, shape: Shape, scales: Scales, remove_net_force: bool):
        super().__init__()
        self.trunk = Trunk(shape, scales, vectors_out=True)
        self.heads = DirectHeads(self.trunk.radial, shape.channels, scales, remove_net_force)

    def forward(self, graphs: Graphs) -> Output:
        """Return energies, forces and stresses."""
        edges = Edges(graphs)
        x, v, energies = self.trunk(graphs, edges)
        forces, stresses = self.heads(x, v, edges, graphs)
        return Output(energies, forces, stresses)

    def ready(self) -> Self:
        """Return the network with tables of weights on a CPU."""
        made = _ready(self)
        if made is not self:
            made.heads = made.heads.tabulated()
        return made


def _ready(network: Any) -> Any:
    network.eval()
    if next(network.parameters()).device.type != "cpu":
        return network
    made = _shallow(network)
    made.trunk = made.trunk.tabulated()
    return made.eval()
