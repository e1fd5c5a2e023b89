"""The size and the parts of a LEIGNN."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """What a network is made of."""

    cutoff: float
    """In Å."""
    channels: int
    layers: int
    radial: int
    """Number of Gaussians of a distance."""
    update: str
    global_node: bool
