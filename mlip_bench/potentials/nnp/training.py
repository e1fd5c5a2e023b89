r"""Networks with their derivatives, and the extended Kalman filter that trains them.

Every energy per atom and every force component is one observation y of the weights w; with its gradient H
(n_weights, n_observations) and error ξ the filter does (Blank and Brown, doi:10.1002/cem.1180080605,
equations 13 to 15; Singraber et al., doi:10.1021/acs.jctc.8b01092, section 2.2)

.. math:: K = P H (H^T P H + η^{-1} 1)^{-1}, \quad w ← w + K ξ, \quad P ← P - K H^T P + q 1

in which the learning rate η grows and the noise q falls from epoch to epoch. Several observations are taken
at once, which is the same filter with less traffic of P through memory.

Arrays are of numpy on the CPU and of torch on a GPU: the same code, through the array API.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from scipy.linalg.blas import dgemm as gemm

# Rows of the covariance are updated in this many parts, by as many threads as there are cores. The number is
# fixed because rounding depends on it, and the result should not depend on the machine.
N_PARTS = 4


@dataclass
class Kalman:
    """The filter's schedule and covariance; parameters as in n2p2 and the published ``input.nn``."""

    covariance: Any
    """P (n_weights, n_weights)."""
    q0: float = 0.01
    q_tau: float = 2.302
    q_min: float = 1e-6
    eta0: float = 0.01
    eta_tau: float = 2.302
    eta_max: float = 1.0
    epoch: int = 0
    threads: ThreadPoolExecutor | None = None
    """Workers for the parts of the covariance; None on a device that is parallel in itself."""

    @property
    def noise(self) -> float:
        """The process noise q of this epoch."""
        return max(self.q_min, self.q0 * float(np.exp(-self.epoch / self.q_tau)))

    @property
    def rate(self) -> float:
        """The learning rate η of this epoch."""
        return min(self.eta_max, self.eta0 * float(np.exp(self.epoch / self.eta_tau)))

    def update(self, gradients: Any, errors: Any) -> Any:
        """Take observations with gradients (m, n_weights) and errors (m,); return the change of weights."""
        xp = array_namespace(gradients)
        n = self.covariance.shape[0]
        bounds = np.linspace(0, n, N_PARTS + 1).astype(int).tolist()
        parts = [slice(begin, end) for begin, end in pairwise(bounds)] if self.threads else [slice(0, n)]
        run = self.threads.map if self.threads else map
        spread = xp.concat(list(run(lambda part: self.covariance[part] @ gradients.T, parts)))
        innovation = gradients @ spread
        innovation = innovation + xp.eye(len(errors), dtype=xp.float64, device=device(errors)) / self.rate
        # With P H = S and the Cholesky factor L of the bracket, K H^T P = (S L^-T)(S L^-T)^T stays symmetric.
        factor = xp.linalg.cholesky(innovation)
        half = xp.linalg.solve(factor, spread.T)

        list(run(lambda part: _subtract_square(self.covariance, half, part), parts))
        self.covariance.reshape(-1)[:: n + 1] += self.noise
        return xp.linalg.solve(factor, errors) @ half


def _subtract_square(matrix: Any, half: Any, rows: slice) -> None:
    """Subtract half^T half from some rows of a symmetric matrix, in place; in numpy without a copy."""
    if isinstance(matrix, np.ndarray):
        # Rows of C order are columns of Fortran order, which BLAS can write into.
        gemm(-1.0, half.T, half.T[rows], 1.0, matrix.T[:, rows], trans_b=1, overwrite_c=1)
    else:
        matrix[rows] -= half[:, rows].T @ half


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
