"""SevenNet, an equivariant network of the package sevenn, and SevenNet-dFS, with direct heads."""

from mlip_bench.potentials.sevennet.direct import SevenNetDirect
from mlip_bench.potentials.sevennet.model import SevenNet

__all__ = ["SevenNet", "SevenNetDirect"]
