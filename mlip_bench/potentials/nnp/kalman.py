r"""The extended Kalman filter that trains the networks.

Every energy per atom and every force component is one observation y of the weights w; with its gradient H
(n_weights, n_observations) and error ξ the filter does (Blank and Brown, doi:10.1002/cem.1180080605,
equations 13 to 15; Singraber et al., doi:10.1021/acs.jctc.8b01092, section 2.2)

.. math:: K = P H (H^T P H + η^{-1} 1)^{-1}, \quad w ← w + K ξ, \quad P ← P - K H^T P + q 1

in which the learning rate η grows and the noise q falls from epoch to epoch. Several observations are taken
at once, which is the same filter with less traffic of P through memory.

Arrays are of numpy on the CPU and of torch on a GPU: the same code, through the array API.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
