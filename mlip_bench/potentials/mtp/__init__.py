"""Moment tensor potentials: basis, kernels, fit, and the files of MLIP."""

from mlip_bench.potentials.mtp.model import MTP

__all__ = ["MTP"]
