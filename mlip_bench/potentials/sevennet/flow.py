r"""The heat flux of a network that passes messages, on the ordinary periodic graph: graph flow.

Power moves along edges, a layer at a time. With d_p = r_neighbour - r_centre of edge p and g_p = ∂E/∂d_p,
m_p^l the message that p brings to its centre in layer l, M_i^l the sums of messages, and dots for rates of
change while atoms move with their velocities v,

.. math:: J = - \sum_p d_p \Big[ g_p · v_{neighbour(p)}
          + \sum_{l > 1} \frac{∂E}{∂M^l_{centre(p)}} · m_p^l(\dot x^l_{neighbour(p)}) \Big]

messages being linear in the features x of their sender (those of the first layer never change). It holds for
any number of layers in a cell of any size, and for one layer it is the edge form of
:mod:`mlip_bench.potentials.heat_flux`. Its derivation: ``docs/heat-flux``. The unfolded form (Langer et al.,
doi:10.1103/PhysRevB.108.L100302) is the same number from replicas of the atoms.

The derivatives by edges and sums are of one reverse pass, which gives the forces too; rates of change are
exact, by forward differentiation of the network along v.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch.autograd import forward_ad

from mlip_bench.potentials.heat_flux import FluxStepper
from mlip_bench.potentials.networks.edge_ranges import arrays, over_edges
from mlip_bench.potentials.prediction import Prediction
from mlip_bench.potentials.sevennet import flow_kernel
from mlip_bench.potentials.sevennet.convolution import TabulatedConvolution
from mlip_bench.potentials.sevennet.package import (
    AtomGraphSequential,
    ForceStressOutputFromEdge,
    IrrepsConvolution,
    keys,
)

Data = dict[str, torch.Tensor]


class Layer(ABC):
    """The messages of one layer in one structure.

    ``features`` (n_atoms, n_features) and ``sums`` (n_atoms, n_sums) are differentiable; ``gradient`` is the
    derivative of the energy by the sums.
    """

    features: torch.Tensor
    sums: torch.Tensor
    gradient: torch.Tensor

    @abstractmethod
    def advance(self, data: Data) -> torch.Tensor:
        """Put sums with their rates in the place of features with theirs; return the power (n_edges,)."""

    @abstractmethod
    def pulls(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return Σ_p d_p ⊗ ∂(power of p)/∂(rates of features) (3, n_atoms, n_features)."""


class TabulatedLayer(Layer):
    """Messages by our kernels."""

    def __init__(self, convolution: TabulatedConvolution, data: Data):
        self._convolution = convolution
        self._edges = tuple(arrays(*data[keys.EDGE_IDX]))
        self._filters, self._lengths = data[keys.EDGE_ATTR], data[keys.EDGE_LENGTH]
        self.features = convolution.taken(data)
        self.sums = convolution.sums(self.features, data)
        data[keys.NODE_FEATURE] = self.sums

    def advance(self, data: Data) -> torch.Tensor:
        """Run the kernel for rates of messages and power."""
        convolution = self._convolution
        gradient, features, filters, lengths = arrays(
            self.gradient, self.features, self._filters, self._lengths
        )
        feature_rates, filter_rates, length_rates = arrays(
            *(
                rate_of(dual)
                for dual in (convolution.taken(data), data[keys.EDGE_ATTR], data[keys.EDGE_LENGTH])
            )
        )
        given: list[Any] = [*self._edges, gradient, features, feature_rates, filters, filter_rates]
        given += [lengths, length_rates, *convolution.table]
        sum_rates, powers = torch.zeros_like(self.sums), torch.empty_like(self._lengths)
        own = arrays(powers)
        over_edges(
            len(powers), [sum_rates], lambda part, out: flow_kernel.add_tangents(part, *given, *out, *own)
        )
        data[keys.NODE_FEATURE] = forward_ad.make_dual(self.sums.detach(), sum_rates)
        return powers

    def pulls(self, vectors: torch.Tensor) -> torch.Tensor:
        """Run the kernel for adjoints of gathered features."""
        n_atoms, n_features = self.features.shape
        found = self.features.new_zeros(n_atoms, 3, n_features)
        given: list[Any] = [*self._edges, *arrays(self.gradient, vectors, self._filters, self._lengths)]
        given += self._convolution.table
        over_edges(len(vectors), [found], lambda part, out: flow_kernel.add_pulls(part, *given, *out))
        return found.transpose(0, 1)


class PlainLayer(Layer):
    """Messages by sevenn's own convolution, on any device; each message is in memory."""

    def __init__(self, convolution: IrrepsConvolution, data: Data):
        self._convolution: Any = convolution
        self._receivers, self._senders = data[keys.EDGE_IDX]
        self._filters, self._radial = data[keys.EDGE_ATTR].detach(), data[keys.EDGE_EMBEDDING].detach()
        self.features = data[keys.NODE_FEATURE]
        self.sums = convolution(data)[keys.NODE_FEATURE]

    def advance(self, data: Data) -> torch.Tensor:
        """Differentiate the convolution forward."""
        powers = self._powers(rate_of(data[keys.NODE_FEATURE]))
        self._convolution(data)
        return powers

    def pulls(self, vectors: torch.Tensor) -> torch.Tensor:
        """Differentiate the power backward, an axis at a time."""
        with torch.enable_grad():
            features = self.features.detach().requires_grad_()
            powers = self._powers(features)
            of_axes = [
                torch.autograd.grad(powers, features, along.contiguous(), retain_graph=True)[0]
                for along in vectors.T
            ]
        return torch.stack(of_axes)

    def _powers(self, rates: torch.Tensor) -> torch.Tensor:
        """Return the power of each edge (n_edges,) where features change at some rates."""
        layer = self._convolution
        with torch.set_grad_enabled(rates.requires_grad):
            messages = layer.convolution(rates[self._senders], self._filters, layer.weight_nn(self._radial))
            return (messages * self.gradient[self._receivers]).sum(1) / layer.denominator


def rate_of(dual: torch.Tensor) -> torch.Tensor:
    """Return the rate of change that a tensor carries, zero where it has none."""
    primal, rate = forward_ad.unpack_dual(dual)
    return torch.zeros_like(primal) if rate is None else rate


def load_forward_differentiation() -> None:
    """Let torch import what it differentiates forward with, which warns of its own code."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore")
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


class GraphFlow(FluxStepper):
    """Predictions by a network that is ``ready``, with the heat flux of each.

    ``data_of`` gives what the network takes of a structure (``network.data_of``).
    """

    def __init__(self, model: AtomGraphSequential, data_of: Callable[[Atoms], Data]):
        self._model, self._data_of = model, data_of
        self._modules = [m for m in model.children() if not isinstance(m, ForceStressOutputFromEdge)]
        self._data: Data = {}
        self._layers: list[Layer] = []
        load_forward_differentiation()

    def predict(self, atoms: Atoms) -> Prediction:
        """Predict one structure, and keep its layers."""
        self._data = self._data_of(atoms)
        output = self._model._preprocess(dict(self._data))
        vectors = output[keys.EDGE_VEC].requires_grad_()
        self._layers = []
        with torch.enable_grad():
            for module in self._modules:
                if isinstance(module, TabulatedConvolution | IrrepsConvolution):
                    self._layers.append(layer_of(module, output))
                else:
                    output = module(output)
            energies = output[keys.ATOMIC_ENERGY].reshape(-1)
            sums = [layer.sums for layer in self._layers]
            # Kept for ``flux_by_velocities``. Without an edge nothing depends on anything.
            gradient, *by_sums = torch.autograd.grad(
                energies.sum(), [vectors, *sums], retain_graph=True, materialize_grads=True
            )
        for layer, by_sum in zip(self._layers, by_sums, strict=True):
            layer.gradient = by_sum
        self._edge_vectors = vectors
        self._vectors, self._gradient = vectors.detach(), gradient
        return self._prediction(atoms, energies)

    def _prediction(self, atoms: Atoms, energies: torch.Tensor) -> Prediction:
        gradient = self._gradient.double()
        virial = -(self._vectors.double().T @ gradient).cpu().numpy()
        forces = self._to_atoms(gradient).cpu().numpy()
        return Prediction.of_atoms(atoms, energies.detach().double().cpu().numpy(), forces, virial)

    def _to_atoms(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return Σ at the centre minus Σ at the neighbour of what edges have, (n_atoms, ...)."""
        centres, neighbours = self._data[keys.EDGE_IDX]
        found = gradient.new_zeros(len(self._data[keys.BATCH]), *gradient.shape[1:])
        return found.index_add_(0, centres, gradient).index_add_(0, neighbours, gradient, alpha=-1)

    def _refuse_no_structure(self) -> None:
        if not self._layers:
            raise ValueError("a flux is that of a structure: predict one first")

    def potential_flux(self, velocities: np.ndarray) -> np.ndarray:
        """Return -Σ_p d_p (power of p), from one forward differentiation of all layers but the last."""
        self._refuse_no_structure()
        centres, neighbours = self._data[keys.EDGE_IDX]
        moving = torch.from_numpy(np.ascontiguousarray(velocities)).to(self._vectors)
        powers = (self._gradient * moving[neighbours]).sum(1).double()
        if len(self._layers) > 1:
            powers += self._powers_of_features(moving[neighbours] - moving[centres])
        return -(powers @ self._vectors.double()).cpu().numpy()

    @torch.no_grad()
    def _powers_of_features(self, moves: torch.Tensor) -> torch.Tensor:
        """Return the power of each edge (n_edges,) by changes of features, all layers together."""
        data = self._model._preprocess(dict(self._data))
        waiting = list(self._layers)
        powers = torch.zeros(len(moves), dtype=torch.float64, device=moves.device)
        with forward_ad.dual_level():
            data[keys.EDGE_VEC] = forward_ad.make_dual(self._vectors, moves)
            for module in self._modules:
                if isinstance(module, TabulatedConvolution | IrrepsConvolution):
                    powers += waiting.pop(0).advance(data)
                    if not waiting:
                        break
                else:
                    data = module(data)
        return powers

    def flux_by_velocities(self) -> np.ndarray:
        """Return W (n_atoms, 3, 3) by one reverse pass per axis, fed at every layer."""
        self._refuse_no_structure()
        _, neighbours = self._data[keys.EDGE_IDX]
        later = self._layers[1:]
        pulls = [layer.pulls(self._vectors) for layer in later]
        axes = []
        for axis in range(3):
            found = self._gradient.new_zeros(len(self._data[keys.BATCH]), 3)
            found.index_add_(0, neighbours, self._vectors[:, axis, None] * self._gradient)
            if later:
                features, on_features = [layer.features for layer in later], [pull[axis] for pull in pulls]
                (by_edges,) = torch.autograd.grad(
                    features, self._edge_vectors, on_features, retain_graph=True
                )
                found -= self._to_atoms(by_edges)
            axes.append(-found)
        return torch.stack(axes, 1).double().cpu().numpy()


def layer_of(module: TabulatedConvolution | IrrepsConvolution, data: Data) -> Layer:
    """Send the messages of a convolution, and keep what they were made of."""
    if isinstance(module, TabulatedConvolution):
        return TabulatedLayer(module, data)
    return PlainLayer(module, data)
