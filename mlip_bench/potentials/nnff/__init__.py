"""NNFF: forces directly, from invariant fingerprints and covariant axes; there is no energy."""

from mlip_bench.potentials.nnff.model import NNFF

__all__ = ["NNFF"]
