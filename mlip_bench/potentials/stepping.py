"""How a potential predicts one structure after the other, as in dynamics."""

from dataclasses import dataclass

# Neighbour skin (Å) in molecular dynamics: the list is rebuilt every few tens of steps of a solid at 300 K.
SKIN = 0.5


@dataclass
class Stepping:
    """How one structure after the other is predicted, as in dynamics; it may change between two of them."""

    skin: float = SKIN
    """How far (Å) neighbour lists reach beyond the cutoff."""
    threads: int = 1
    """On how many threads kernels work; those of torch and of BLAS are set where the process begins."""
    always: bool = False
    """Whether lists are built anew at every step, though the skin would allow to keep them."""
    n_builds: int = 0
    """How many lists were built so far; a family that keeps none counts its steps."""
