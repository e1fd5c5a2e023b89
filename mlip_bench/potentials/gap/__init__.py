"""GAP with SOAP: fitted by ``gap_fit`` of quippy (``model``), evaluated by kernels of our own (``soap``)."""

from mlip_bench.potentials.gap.model import GAP

__all__ = ["GAP"]
