"""GAP with SOAP: fitted by ``gap_fit`` of quippy (``model``), evaluated by our kernels (``evaluation``)."""

from mlip_bench.potentials.gap.model import GAP

__all__ = ["GAP"]
