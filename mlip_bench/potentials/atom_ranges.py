"""Kernels of atoms on several threads: each takes a range of atoms, and has its own of what is summed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, reduce

import numpy as np

Results = tuple[np.ndarray, ...]


def over_atoms(n_atoms: int, threads: int, call: Callable[[int, int], Results]) -> Results:
    """Return the sums of what ``call(begin, end)`` returns for ranges of atoms, one per thread.

    What a call returns has zeros for atoms that are not among its own.
    """
    if threads == 1:
        return call(0, n_atoms)
    limits = np.linspace(0, n_atoms, threads + 1).astype(int).tolist()
    parts = _pool(threads).map(call, limits[:-1], limits[1:])
    return tuple(reduce(np.add, of_ranges) for of_ranges in zip(*parts, strict=True))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
