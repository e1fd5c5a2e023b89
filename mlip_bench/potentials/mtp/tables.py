"""A basis as arrays that the kernels read."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mlip_bench.potentials.mtp.basis import Basis, monomials


class Indices(NamedTuple):
    """Where the moments of a basis come from."""

    parents: np.ndarray
    """A monomial is its parent times the unit vector's component ``axis``,"""
    axes: np.ndarray
    lower: np.ndarray
    """(3, n_monomials) and ``lower[x]`` is the one with a power of x less, -1 where there is none."""
    powers: np.ndarray
    """(3, n_monomials)"""
    basic_mu: np.ndarray
    """μ of a component of a tensor,"""
    basic_monomial: np.ndarray
    """and its monomial."""
    times: np.ndarray
    """(n_products, 4) left, right, factor and target of each product, in the order in which they are run."""


class Branches(NamedTuple):
    """What each basis function is made of, those of one after those of the other; few belong to one."""

    products: np.ndarray
    """Places in ``times``, ascending, and where those of each function begin."""
    products_begin: np.ndarray
    leaves: np.ndarray
    """Components of tensors, and where those of each function begin."""
    leaves_begin: np.ndarray


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
    def indices(self) -> Indices:
        """Monomials, components of tensors, and products, for the kernels."""
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
        return Indices(
            parents,
            axes,
            lower,
            np.array(powers, dtype=np.int64).T.copy(),
            basic[:, 0].astype(np.int64),
            monomial,
            self.basis.index_times.astype(np.int64),
        )

    @cached_property
    def branches(self) -> Branches:
        """The products and components of each basis function."""
        n_basic, times = len(self.basis.index_basic), self.basis.index_times
        products: list[set[int]] = [set() for _ in range(self.basis.moments_count)]
        leaves = [{moment} if moment < n_basic else set() for moment in range(len(products))]
        # A factor is complete before it is multiplied: products are in the order in which they are run.
        for place, (left, right, _, target) in enumerate(times.tolist()):
            products[target] |= products[left] | products[right] | {place}
            leaves[target] |= leaves[left] | leaves[right]
        return Branches(
            *_flat([products[m] for m in self.mapping]), *_flat([leaves[m] for m in self.mapping])
        )

    def by_moment(self, coefficients: np.ndarray) -> np.ndarray:
        """Return a coefficient for each moment from those of the basis functions."""
        found = np.zeros(self.basis.moments_count)
        np.add.at(found, self.mapping, coefficients)
        return found


def _flat(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return sets of numbers one after the other, each in order, and where each begins."""
    begins = np.cumsum([0, *map(len, sets)])
    return np.array([number for one in sets for number in sorted(one)], dtype=np.int64), begins
