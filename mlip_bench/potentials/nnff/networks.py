r"""Networks from scaled fingerprints to the coefficients of axes, one per element.

.. math:: c = W_3 \tanh(W_2 \tanh(W_1 x + b_1) + b_2) + b_3

with any number of hidden layers. For moments c are the coefficients of the force, F = Σ c_k A_k; for ranked
axes the projections of the force, c_k = F · A_k, which the inverse of the axes turns into F.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Network:
    """The network of one element: weights (n_in, n_out) and biases (n_out,) of each layer, and its axes."""

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    kept: np.ndarray
    """Which axes of the element the outputs belong to, (n_outputs,)."""

    @property
    def n_weights(self) -> int:
        """The number of weights and biases."""
        return sum(map(np.size, [*self.weights, *self.biases]))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Return the coefficients (n_atoms, n_outputs) of scaled fingerprints (n_atoms, n_inputs)."""
        values = inputs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values = np.tanh(values @ weight + bias)
        return values @ self.weights[-1] + self.biases[-1]


def in_units(network: Network, scale: np.ndarray, offset: np.ndarray, unit: np.ndarray) -> Network:
    """Return a network of inputs x, where the given one is of scale · x + offset, with outputs times unit."""
    weights, biases = list(network.weights), list(network.biases)
    biases[0] = biases[0] + offset @ weights[0]
    weights[0] = scale[:, None] * weights[0]
    weights[-1], biases[-1] = weights[-1] * unit, biases[-1] * unit
    return Network(weights, biases, network.kept)
