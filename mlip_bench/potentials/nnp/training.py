r"""Training of the networks by the extended Kalman filter.

Every energy per atom and every force component is one observation y of the weights w; with its gradient H
(n_weights, n_observations) and error ξ the filter does (Blank and Brown, doi:10.1002/cem.1180080605,
equations 13 to 15; Singraber et al., doi:10.1021/acs.jctc.8b01092, section 2.2)

.. math:: K = P H (H^T P H + η^{-1} 1)^{-1}, \quad w ← w + K ξ, \quad P ← P - K H^T P + q 1

in which the learning rate η grows and the noise q falls from epoch to epoch. Several observations are taken
at once, which is the same filter with less traffic of P through memory.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy import linalg


@dataclass
class Kalman:
    """The filter's schedule and covariance; parameters as in n2p2 and the published ``input.nn``."""

    n_weights: int
    epsilon: float = 0.01
    q0: float = 0.01
    q_tau: float = 2.302
    q_min: float = 1e-6
    eta0: float = 0.01
    eta_tau: float = 2.302
    eta_max: float = 1.0
    epoch: int = 0
    covariance: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.covariance = np.eye(self.n_weights) / self.epsilon

    @property
    def noise(self) -> float:
        """The process noise q of this epoch."""
        return max(self.q_min, self.q0 * float(np.exp(-self.epoch / self.q_tau)))

    @property
    def rate(self) -> float:
        """The learning rate η of this epoch."""
        return min(self.eta_max, self.eta0 * float(np.exp(self.epoch / self.eta_tau)))

    def update(self, gradients: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """Take observations with gradients (n_weights, m) and errors (m,); return the change of weights."""
        spread = self.covariance @ gradients
        innovation = gradients.T @ spread
        innovation[np.diag_indices_from(innovation)] += 1 / self.rate
        factor = linalg.cho_factor(innovation)
        change = spread @ linalg.cho_solve(factor, errors)
        self.covariance -= spread @ linalg.cho_solve(factor, spread.T)
        self.covariance[np.diag_indices_from(self.covariance)] += self.noise
        return change


@dataclass
class Network:
    """A tanh-tanh-linear network; all weights in one vector, in the order w1, b1, w2, b2, w3, b3."""

    n_inputs: int
    hidden: tuple[int, int]
    weights: np.ndarray = field(default_factory=lambda: np.empty(0))

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

    def layers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """Return w1 (h1, n), b1, w2 (h2, h1), b2, w3 (h2,), b3 as views of the vector."""
        first, second = self.hidden
        shapes = [(first, self.n_inputs), (first,), (second, first), (second,), (second,)]
        parts, position = [], 0
        for shape in shapes:
            size = int(np.prod(shape))
            parts.append(self.weights[position : position + size].reshape(shape))
            position += size
        return parts[0], parts[1], parts[2], parts[3], parts[4], float(self.weights[position])

    def energies(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs (n,) and their gradients by the inputs, (n, n_inputs)."""
        w1, b1, w2, b2, w3, b3 = self.layers()
        h1 = np.tanh(inputs @ w1.T + b1)
        h2 = np.tanh(h1 @ w2.T + b2)
        back = ((1 - h2**2) * w3) @ w2 * (1 - h1**2)
        return h2 @ w3 + b3, back @ w1

    def energy_gradient(self, inputs: np.ndarray) -> np.ndarray:
        """Return the gradient by the weights of the sum of the outputs, (n_weights,)."""
        w1, b1, w2, b2, w3, _ = self.layers()
        h1 = np.tanh(inputs @ w1.T + b1)
        h2 = np.tanh(h1 @ w2.T + b2)
        d2 = (1 - h2**2) * w3
        d1 = d2 @ w2 * (1 - h1**2)
        parts = (d1.T @ inputs, d1.sum(0), d2.T @ h1, d2.sum(0), h2.sum(0), [len(inputs)])
        return np.concatenate([np.ravel(part) for part in parts])

    def slope_gradient(self, inputs: np.ndarray, directions: np.ndarray) -> tuple[float, np.ndarray]:
        """Return Σ_i ∇E(G_i)·v_i for directions v (n, n_inputs), and its gradient by the weights.

        A force component is such a sum; this is forward differentiation along v, then backward.
        """
        w1, b1, w2, b2, w3, _ = self.layers()
        h1 = np.tanh(inputs @ w1.T + b1)
        s1 = 1 - h1**2
        t1 = directions @ w1.T
        g1 = s1 * t1
        h2 = np.tanh(h1 @ w2.T + b2)
        s2 = 1 - h2**2
        t2 = g1 @ w2.T
        by_t2 = s2 * w3
        by_z2 = -2 * h2 * s2 * t2 * w3
        by_g1 = by_t2 @ w2
        by_t1 = by_g1 * s1
        by_z1 = -2 * h1 * s1 * t1 * by_g1 + (by_z2 @ w2) * s1
        parts = (
            by_t1.T @ directions + by_z1.T @ inputs,
            by_z1.sum(0),
            by_t2.T @ g1 + by_z2.T @ h1,
            by_z2.sum(0),
            (s2 * t2).sum(0),
            [0.0],
        )
        return float((s2 * t2).sum(0) @ w3), np.concatenate([np.ravel(part) for part in parts])
