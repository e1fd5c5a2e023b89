"""Which cores are given first."""

from mlip_bench import hardware
from mlip_bench.hardware import available_cores, idlest


def test_all_cores_are_given_and_each_once():
    assert sorted(idlest(available_cores())) == available_cores()


def test_threads_of_one_core_come_after_all_cores_have_given_one(monkeypatch):
    """Of two cores with two threads each, 0 and 1 of one, 2 and 3 of the other; 3 is busy."""
    monkeypatch.setattr(hardware, "_threads_of_core", lambda core: (core // 2 * 2, core // 2 * 2 + 1))
    monkeypatch.setattr(hardware.psutil, "cpu_percent", lambda **_: [0.0, 3.0, 1.0, 90.0])
    assert idlest([0, 1, 2, 3]) == [1, 3, 0, 2]
