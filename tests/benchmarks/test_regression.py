"""A slowdown of 15 % in a real potential is found on this machine; ten repeats of the same code are not.

python -m pytest tests/benchmarks/test_regression.py -m benchmark
"""

import numpy as np
import pinned
import pytest

from mlip_bench import compare
from mlip_bench.measure.cost.timing import half_interquartile

pytestmark = pytest.mark.benchmark

N_ATOMS = 432
LIMIT = 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pinned.fitted("nnp", tmp_path_factory.mktemp("nnp"))


@pytest.fixture(scope="module")
def before(folder):
    return timing(folder)


def timing(folder, slowdown=0.0):
    values = pinned.blocks(folder, N_ATOMS, slowdown).ratios
    return compare.Timing(float(np.median(values)), half_interquartile(values), len(values), "this one")


def change(before, after):
    key = ("nnp", N_ATOMS)
    (found,) = compare.compare({key: before}, {key: after}, LIMIT)
    print(f"{100 * found.relative:+.1f} ± {100 * found.error:.1f} %: {found.verdict}")
    return found.verdict


def test_a_slowdown_of_15_percent_is_found(before, folder):
    assert [change(before, timing(folder, 0.15)) for _ in range(3)] == [compare.SLOWER] * 3


def test_ten_repeats_of_the_same_code_are_the_same(before, folder):
    assert [change(before, timing(folder)) for _ in range(10)] == [compare.SAME] * 10
