"""What is done on threads stays a few results ahead of who takes them."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlip_bench.hardware import available_cores
from mlip_bench.potentials.bounded_map import WAITING, bounded_map


def test_results_are_in_order_and_do_not_pile_up():
    done = []

    def square(number):
        done.append(number)
        return number**2

    with ThreadPoolExecutor(4) as threads:
        found = []
        for number, result in enumerate(bounded_map(threads, square, range(200))):
            found.append(result)
            time.sleep(1e-4)
            assert len(done) <= number + WAITING * len(available_cores()) + 2
    assert found == [number**2 for number in range(200)]


def test_an_error_reaches_who_takes_the_results():
    with ThreadPoolExecutor(2) as threads, pytest.raises(ZeroDivisionError):
        list(bounded_map(threads, lambda number: 1 // number, [1, 0, 2]))
