"""A GPU that other programs use is not timed."""

import subprocess

from mlip_bench.errors import UserError

# Utilisation (%) that a GPU at rest may show: its driver and a desktop take little.
AT_REST = 10.0

QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")


def refuse_busy_gpu(index: int = 0) -> None:
    """Raise :class:`UserError` where another program keeps the GPU busy; to be called at rest.

    The driver's own program tells; where it is missing or tells nothing, nothing is refused.
    """
    try:
        told = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=30).stdout
        utilisation, memory = (float(value) for value in told.splitlines()[index].split(","))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return
    if utilisation > AT_REST:
        raise UserError(
            f"the GPU is busy: {utilisation:.0f} % of its time and {memory:.0f} MiB are taken by others; "
            "time it when they have ended, or use --device cpu"
        )
