"""LEIGNN, a light equivariant network with scalars, vectors and a global node."""

from mlip_bench.potentials.leignn.model import LEIGNN, LEIGNNGradient

__all__ = ["LEIGNN", "LEIGNNGradient"]
