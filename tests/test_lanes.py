"""Vectors for numba's kernels, against numpy."""

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from mlip_bench.potentials.lanes import exponential, load, store, total, zeros


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


@njit
def exponentials(values, found):
    for i in range(0, len(values), 8):
        store(found, i, exponential(load(values, i, 8)))


def test_exponentials_are_those_of_numpy():
    generator = np.random.default_rng(0)
    values = np.concatenate([-generator.uniform(0, 700, 4000), generator.uniform(-5, 5, 4000)])
    found = np.empty_like(values)
    exponentials(values, found)
    np.testing.assert_allclose(found, np.exp(values), rtol=5e-16)
    # What is too small to matter is never below zero, and never a NaN.
    values = np.array([0.0, -1e-300, -708.0, -709.0, -1e6, -1e300, 1.0, 700.0])
    found = np.empty(8)
    exponentials(values, found)
    np.testing.assert_allclose(found, np.exp(np.maximum(values, -708.0)), rtol=5e-16)
