"""A basis as arrays that the kernels read."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlip_bench.potentials.mtp.basis import Basis, monomials


@dataclass(frozen=True)
class Tables:
    """A basis, the distances between which its radial functions live (Å), and their scaling."""

    basis: Basis
    scaling: float
    least: float
    cutoff: float

    @property
    def n_scalars(self) -> int:
        """The number of basis functions."""
        return len(self.basis.moment_mapping)

    @property
    def mapping(self) -> np.ndarray:
        """Where the basis functions stand among the moments."""
        return self.basis.moment_mapping.astype(np.int64)

    @cached_property
    def indices(self) -> tuple[np.ndarray, ...]:
        """Monomials (parents, axes, lower, powers), moments of tensors (μ, monomial), and products.

        A monomial is its parent times the unit vector's component ``axis``; ``lower[x]`` is the one with a
        power of x less, -1 where there is none.
        """
        degree = int(self.basis.index_basic[:, 1:].sum(1).max())
        powers = [exponents for d in range(degree + 1) for exponents in monomials(d)]
        place = {exponents: index for index, exponents in enumerate(powers)}
        lower = np.full((3, len(powers)), -1)
        for index, exponents in enumerate(powers):
            for x in range(3):
                less = tuple(power - (x == y) for y, power in enumerate(exponents))
                lower[x, index] = place.get((less[0], less[1], less[2]), -1)
        axes = np.array([int(np.argmax(exponents)) for exponents in powers])
        parents = lower[axes, np.arange(len(powers))]
        parents[0] = 0
        basic = self.basis.index_basic
        monomial = np.array([place[tuple(row)] for row in basic[:, 1:].tolist()])
        return (
            parents,
            axes,
            lower,
            np.array(powers, dtype=np.int64).T.copy(),
            basic[:, 0].astype(np.int64),
            monomial,
            self.basis.index_times.astype(np.int64),
        )

    @cached_property
    def branches(self) -> tuple[np.ndarray, ...]:
        """What each basis function is made of: products and components of tensors, of one after the other.

        The products (places in ``times``, ascending) with where each function's begin, and the components
        with where each function's begin. Few of either belong to one function.
        """
        n_basic, times = len(self.basis.index_basic), self.basis.index_times
        products: list[set[int]] = [set() for _ in range(self.basis.moments_count)]
        leaves = [{moment} if moment < n_basic else set() for moment in range(len(products))]
        # A factor is complete before it is multiplied: products are in the order in which they are run.
        for place, (left, right, _, target) in enumerate(times.tolist()):
            products[target] |= products[left] | products[right] | {place}
            leaves[target] |= leaves[left] | leaves[right]
        return *_flat([products[m] for m in self.mapping]), *_flat([leaves[m] for m in self.mapping])

    def by_moment(self, coefficients: np.ndarray) -> np.ndarray:
        """Return a coefficient for each moment from those of the basis functions."""
        found = np.zeros(self.basis.moments_count)
        np.add.at(found, self.mapping, coefficients)
        return found


def _flat(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return sets of numbers one after the other, each in order, and where each begins."""
    begins = np.cumsum([0, *map(len, sets)])
    return np.array([number for one in sets for number in sorted(one)], dtype=np.int64), begins
