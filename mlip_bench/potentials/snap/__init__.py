"""SNAP and qSNAP: components of the bispectrum, kernels, fit, and the files of LAMMPS."""

from mlip_bench.potentials.snap.model import QSNAP, SNAP

__all__ = ["QSNAP", "SNAP"]
