"""NNP: Behler-Parrinello networks on atom-centred symmetry functions."""

from mlip_bench.potentials.nnp.model import NNP

__all__ = ["NNP"]
