"""What derivatives are taken by: kernels leave out those that nobody asks for.

torch tells the operations of its own which of their inputs lead to what a derivative is taken by, but not
those of others. In a step of training the last derivative is by the weights, and a third of its work would go
into derivatives by positions that nobody reads.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_by_weights: ContextVar[bool] = ContextVar("by_weights", default=False)


@contextlib.contextmanager
def by_weights_alone() -> Iterator[None]:
    """Say that derivatives are taken by weights and not by positions meanwhile, in this thread."""
    token = _by_weights.set(True)
    try:
        yield
    finally:
        _by_weights.reset(token)


def are_by_weights_alone() -> bool:
    """Return whether nothing asks for derivatives by positions."""
    return _by_weights.get()
