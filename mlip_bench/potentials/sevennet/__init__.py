"""SevenNet, an equivariant network of the package sevenn, and SevenNet-dFS, with direct heads."""

# First, because it imports sevenn without the warnings of what that depends on.
from mlip_bench.potentials.sevennet import backbone
from mlip_bench.potentials.sevennet.direct import SevenNetDirect
from mlip_bench.potentials.sevennet.model import SevenNet

__all__ = ["SevenNet", "SevenNetDirect", "backbone"]
