"""GAP with SOAP: fitted (``fitting``) and evaluated (``evaluation``) by our kernels."""

from mlip_bench.potentials.gap.model import GAP

__all__ = ["GAP"]
