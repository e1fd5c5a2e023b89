"""Vectors for numba's kernels, against numpy."""

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from mlip_bench.potentials.lanes import load, store, total, zeros


@njit
def combine(count, factor, one, other, out):
    """Write a combination of ``count`` elements from the third on; return the sum of their products."""
    first, second = load(one, 2, count), load(other, 2, count)
    store(out, 2, factor * first + second + zeros(first))
    return total(first * second)


@njit
def of_one(factor, one, other, out):
    return combine(1, factor, one, other, out)


@njit
def of_eight(factor, one, other, out):
    return combine(8, factor, one, other, out)


@njit
def of_sixteen(factor, one, other, out):
    return combine(16, factor, one, other, out)


@pytest.mark.parametrize("number", [np.float32, np.float64])
@pytest.mark.parametrize(("count", "function"), [(1, of_one), (8, of_eight), (16, of_sixteen)])
def test_lanes_are_neighbours_of_an_array(count, function, number):
    generator = np.random.default_rng(0)
    one, other = (generator.normal(size=20).astype(number) for _ in range(2))
    out = np.full(20, 7, number)
    found = function(number(3), one, other, out)
    part = slice(2, 2 + count)
    assert found == pytest.approx(one[part] @ other[part], rel=1e-5)
    np.testing.assert_allclose(out[part], 3 * one[part] + other[part], rtol=1e-5)
    assert (out[:2] == 7).all()
    assert (out[2 + count :] == 7).all()


def test_arrays_with_gaps_are_refused():
    numbers = np.zeros((4, 40))
    with pytest.raises(TypingError, match="contiguous"):
        of_eight(1.0, numbers[0, ::2], numbers[1, :20], numbers[2, :20])
