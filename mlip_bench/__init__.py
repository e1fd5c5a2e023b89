"""Fit machine-learning interatomic potentials on the same data; compare error, cost and physics."""

from importlib.metadata import version

__version__ = version("mlip-bench-suite")
