"""Networks of energies of atoms, with their derivatives by inputs and by weights.

Arrays are of numpy on the CPU and of torch on a GPU: the same code, through the array API.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import array_namespace

# Activation functions by their letters in n2p2's files, in the order in which the kernel numbers them: tanh,
# identity, logistic, softplus, rectifier, Gaussian, cosine, 1 - logistic, exp(-x), square.
ACTIVATIONS = "tlsprgcSeh"


def activation(letter: str, x: Any) -> tuple[Any, Any]:
    """Return an activation function and its slope."""
    xp = array_namespace(x)
    match letter:
        case "t":
            value = xp.tanh(x)
            return value, 1 - value**2
        case "l":
            return x, xp.ones_like(x)
        case "s":
            return _logistic(x), _logistic(x) * _logistic(-x)
        case "p":
            return xp.where(x > 0, x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x))), _logistic(x)
        case "r":
            return xp.where(x > 0, x, xp.zeros_like(x)), xp.astype(x > 0, x.dtype)
        case "g":
            value = xp.exp(-0.5 * x**2)
            return value, -x * value
        case "c":
            return xp.cos(x), -xp.sin(x)
        case "S":
            return _logistic(-x), -_logistic(x) * _logistic(-x)
        case "e":
            return xp.exp(-x), -xp.exp(-x)
        case _:
            return x**2, 2 * x


def _logistic(x: Any) -> Any:
    # As a hyperbolic tangent, so that no exponential overflows.
    return 0.5 + 0.5 * array_namespace(x).tanh(0.5 * x)


@dataclass
class Network:
    """A network of two hidden layers and a linear output; all weights in one vector: w1, b1, w2, b2, w3, b3.

    Those that are trained here have tanh in both layers; files may name others (:data:`ACTIVATIONS`).
    """

    n_inputs: int
    hidden: tuple[int, int]
    weights: Any = field(default_factory=lambda: np.empty(0))
    activations: tuple[str, str] = ("t", "t")

    @property
    def n_weights(self) -> int:
        """The number of weights and biases."""
        first, second = self.hidden
        return first * (self.n_inputs + 1) + second * (first + 1) + second + 1

    def randomise(self, generator: np.random.Generator) -> None:
        """Draw weights so that every layer's sums have unit variance (Glorot's rule); biases small."""
        sizes = (self.n_inputs, *self.hidden, 1)
        parts = []
        for n_in, n_out in pairwise(sizes):
            parts.append(generator.normal(scale=(2 / (n_in + n_out)) ** 0.5, size=n_in * n_out))
            parts.append(0.1 * generator.normal(size=n_out))
        self.weights = np.concatenate(parts)

    def layers(self) -> tuple[Any, Any, Any, Any, Any, float]:
        """Return w1 (h1, n), b1, w2 (h2, h1), b2, w3 (h2,), b3 as views of the vector."""
        first, second = self.hidden
        shapes = [(first, self.n_inputs), (first,), (second, first), (second,), (second,)]
        parts, position = [], 0
        for shape in shapes:
            size = int(np.prod(shape))
            parts.append(self.weights[position : position + size].reshape(shape))
            position += size
        return parts[0], parts[1], parts[2], parts[3], parts[4], float(self.weights[position])

    def energies(self, inputs: Any) -> tuple[Any, Any]:
        """Return outputs (n,) for inputs (n, n_inputs), and their gradients by the inputs."""
        w1, b1, w2, b2, w3, b3 = self.layers()
        h1, s1 = activation(self.activations[0], inputs @ w1.T + b1)
        h2, s2 = activation(self.activations[1], h1 @ w2.T + b2)
        return h2 @ w3 + b3, (s2 * w3) @ w2 * s1 @ w1

    def energy_gradients(self, inputs: Any, share: Any) -> tuple[Any, Any]:
        """Return Σ_r share_r E(G_r) of each observation, (m,), and its gradients by the weights.

        ``inputs`` is (m, n_rows, n_inputs) and ``share`` (m, n_rows): 1 for an atom, 0 for padding.
        """
        xp = array_namespace(inputs)
        w1, b1, w2, b2, w3, b3 = self.layers()
        h1 = xp.tanh(inputs @ w1.T + b1)
        h2 = xp.tanh(h1 @ w2.T + b2)
        d2 = (1 - h2**2) * w3 * share[..., None]
        d1 = d2 @ w2 * (1 - h1**2)
        top = (share[:, None, :] @ h2)[:, 0]
        count = xp.sum(share, axis=1)[:, None]
        parts = (_outer(d1, inputs), xp.sum(d1, axis=1), _outer(d2, h1), xp.sum(d2, axis=1), top, count)
        return top @ w3 + count[:, 0] * b3, _side_by_side(parts)

    def slope_gradients(self, inputs: Any, directions: Any) -> tuple[Any, Any]:
        """Return Σ_r ∇E(G_r)·v_r of each observation, (m,), and its gradients by the weights.

        A force component is such a sum over the atoms that it changes, with v the change of their inputs,
        (m, n_rows, n_inputs); rows with v = 0 count for nothing. Forward differentiation along v, then
        backward.
        """
        xp = array_namespace(inputs)
        w1, b1, w2, b2, w3, _ = self.layers()
        h1 = xp.tanh(inputs @ w1.T + b1)
        s1 = 1 - h1**2
        t1 = directions @ w1.T
        g1 = s1 * t1
        h2 = xp.tanh(h1 @ w2.T + b2)
        s2 = 1 - h2**2
        t2 = g1 @ w2.T
        by_t2 = s2 * w3
        by_z2 = -2 * h2 * s2 * t2 * w3
        by_g1 = by_t2 @ w2
        by_t1 = by_g1 * s1
        by_z1 = -2 * h1 * s1 * t1 * by_g1 + (by_z2 @ w2) * s1
        top = xp.sum(s2 * t2, axis=1)
        parts = (
            _outer(by_t1, directions) + _outer(by_z1, inputs),
            xp.sum(by_z1, axis=1),
            _outer(by_t2, g1) + _outer(by_z2, h1),
            xp.sum(by_z2, axis=1),
            top,
            xp.zeros_like(top[:, :1]),
        )
        return top @ w3, _side_by_side(parts)


def _outer(left: Any, right: Any) -> Any:
    """Return Σ_r left_r ⊗ right_r of each observation."""
    return array_namespace(left).matrix_transpose(left) @ right


def _side_by_side(parts: tuple[Any, ...]) -> Any:
    """Join parts of gradients, (m, ...) each, to (m, n_weights)."""
    return array_namespace(parts[0]).concat([part.reshape(part.shape[0], -1) for part in parts], axis=1)
