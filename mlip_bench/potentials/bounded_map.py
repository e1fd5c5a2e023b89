"""A map over threads whose results do not pile up."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mlip_bench.hardware import available_cores

# Results per core that wait to be taken, or are at work.
WAITING = 2


Item = TypeVar("Item")
Result = TypeVar("Result")


def bounded_map(
    threads: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Return ``function(item)`` of each item, in order, with a few of them ahead of who takes them.

    ``ThreadPoolExecutor.map`` does all items as fast as it can and keeps what nobody has taken yet: of
    thousands of structures more than memory holds.
    """
    ahead: deque[Future[Result]] = deque()
    for item in items:
        ahead.append(threads.submit(function, item))
        if len(ahead) > WAITING * len(available_cores()):
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
