"""What derivatives are taken by: kernels leave out those that nobody asks for.

torch tells the operations of its own which of their inputs lead to what a derivative is taken by, but not
those of others. In a step of training the forces are derivatives by positions, and the last derivative is by
weights; without a word a third of the work would go into what nobody reads.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_alone: ContextVar[str] = ContextVar("alone", default="")

POSITIONS, WEIGHTS = "positions", "weights"


@contextlib.contextmanager
def alone(kind: str) -> Iterator[None]:
    """Say that derivatives are taken by ``POSITIONS`` or ``WEIGHTS`` alone meanwhile, in this thread."""
    token = _alone.set(kind)
    try:
        yield
    finally:
        _alone.reset(token)


def by_positions() -> bool:
    """Return whether derivatives by positions may be asked for."""
    return _alone.get() != WEIGHTS


def by_weights() -> bool:
    """Return whether derivatives by weights may be asked for."""
    return _alone.get() != POSITIONS
