"""Kernels of edges on several threads: each takes a range of edges, and a copy of what is summed."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

Kernel = Callable[[tuple[int, int], list[np.ndarray]], None]


def over_edges(n_edges: int, summed: Sequence[torch.Tensor], call: Kernel) -> None:
    """Call a kernel for ranges of edges, one per thread, each with its own copy of what is summed."""
    n_threads = max(1, min(torch.get_num_threads(), n_edges // 500))
    if n_threads == 1:
        call((0, n_edges), [one.numpy() for one in summed])
        return
    limits = np.linspace(0, n_edges, n_threads + 1).astype(int).tolist()
    ranges = list(itertools.pairwise(limits))
    own = [list(summed), *([torch.zeros_like(one) for one in summed] for _ in ranges[1:])]
    with ThreadPoolExecutor(n_threads) as pool:
        arrays = [[one.numpy() for one in copies] for copies in own]
        list(pool.map(call, ranges, arrays))
    for copies in own[1:]:
        for total, part in zip(summed, copies, strict=True):
            total += part


def arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    """Return tensors as arrays that kernels take."""
    return [one.detach().contiguous().numpy() for one in tensors]
