"""What several families compute in torch alike."""

import math

import torch

from mlip_bench.potentials.symmetry_functions.functions import Switch


def cutoff_function(kind: tuple[int, float], r: torch.Tensor, cutoff: float) -> torch.Tensor:
    """Return f_c(r) of ``functions.Switch`` number ``kind[0]`` with the inner part ``kind[1]``."""
    number, alpha = kind
    x = ((r / cutoff - alpha) / (1 - alpha)).clamp(0, 1)
    hyperbolic = torch.tanh(1 - r / cutoff) ** 3
    values = {
        Switch.HARD: lambda: torch.ones_like(r),
        Switch.COSINE: lambda: (torch.cos(torch.pi * x) + 1) / 2,
        Switch.TANH_UNSCALED: lambda: hyperbolic,
        Switch.TANH: lambda: hyperbolic / math.tanh(1) ** 3,
        Switch.EXPONENTIAL: lambda: torch.exp(1 - 1 / (1 - x.clamp(max=1 - 1e-9) ** 2)),
        Switch.POLYNOMIAL_1: lambda: 1 + x**2 * (2 * x - 3),
        Switch.POLYNOMIAL_2: lambda: 1 + x**3 * (x * (15 - 6 * x) - 10),
        Switch.POLYNOMIAL_3: lambda: 1 + x**4 * (x * (x * (20 * x - 70) + 84) - 35),
        Switch.POLYNOMIAL_4: lambda: 1 + x**5 * (x * (x * (x * (315 - 70 * x) - 540) + 420) - 126),
    }
    return torch.where(r < cutoff, values[Switch(number)](), 0.0)
