"""Which structures a step of training takes, and how they are shared among cores."""

from collections.abc import Iterator, Sequence

import numpy as np


def batches(sizes: Sequence[int], atoms_per_step: int, seed: int, skipped: int = 0) -> Iterator[list[int]]:
    """Yield numbers of structures for ever: all of them, in another order in each pass over the data.

    A batch has about ``atoms_per_step`` atoms (``sizes`` are those of structures), at least one structure;
    the last of a pass takes the first of the next one. The first ``skipped`` batches are passed over.
    """
    batch: list[int] = []
    n_atoms, n_yielded, epoch = 0, 0, 0
    while True:
        for one in np.random.default_rng([seed, epoch]).permutation(len(sizes)).tolist():
            # Nearer to the number with it than without it: else it is the first of the next.
            if batch and n_atoms + sizes[one] / 2 > atoms_per_step:
                n_yielded += 1
                if n_yielded > skipped:
                    yield batch
                batch, n_atoms = [], 0
            batch.append(one)
            n_atoms += sizes[one]
        epoch += 1


def shared(batch: Sequence[int], costs: Sequence[int], n_parts: int) -> list[list[int]]:
    """Share a batch among ``n_parts`` of about equal cost, the dearest structure first; none is empty."""
    parts: list[list[int]] = [[] for _ in range(min(n_parts, len(batch)))]
    taken = [0] * len(parts)
    for one in sorted(batch, key=lambda one: -costs[one]):
        least = taken.index(min(taken))
        parts[least].append(one)
        taken[least] += costs[one]
    return parts
