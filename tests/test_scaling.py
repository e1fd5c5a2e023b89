"""Scaling over supercell sizes, on real simulations of the ruler itself."""

import numpy as np
import pytest

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.measure import cost, scaling
from mlip_bench.measure.base import Subject, Value
from mlip_bench.measure.cost import timing
from mlip_bench.potentials import load
from mlip_bench.potentials.base import silent


@pytest.fixture(scope="module")
def ruler():
    return load(potentials_folder() / timing.RULER)


@pytest.fixture(autouse=True)
def small(monkeypatch, brief_timings):
    monkeypatch.setattr(scaling, "SIZES", (54, 128, 250))


def measured(ruler, embedded, tmp_path):
    return scaling.run(Subject(ruler, embedded, tmp_path), silent)


@pytest.mark.parametrize("implementation", ["lammps", "mlip-bench"])
def test_every_size_has_time_ratio_and_memory(implementation, ruler, embedded, tmp_path):
    values = measured(ruler, embedded, tmp_path)
    values = [value for value in values if value.implementation == implementation]
    for metric in ("s_per_step", "us_per_atom_step", "cost_ratio", "ruler_s_per_step", "peak_kib_per_atom"):
        assert [value.n_atoms for value in values if value.metric == metric] == [54, 128, 250]
    (exponent,) = [value for value in values if value.metric == "exponent"]
    assert np.isfinite([exponent.value, exponent.spread]).all()
    assert {value.metric for value in values} <= set(scaling.METRICS)


def test_a_size_that_takes_too_long_is_not_started(ruler, embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "SIZE_SECONDS", 0.0)
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    values = measured(ruler, embedded, tmp_path)
    values = [value for value in values if value.implementation == "mlip-bench"]
    assert [value.n_atoms for value in values if value.metric == "s_per_step"] == [54]
    (stopped,) = [value for value in values if value.metric.startswith("stopped")]
    assert (stopped.metric, stopped.n_atoms) == ("stopped_by_time", 128)
    assert stopped.value > 0


def test_a_size_without_memory_is_not_started(ruler, embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "available_mib", lambda device: -1.0)
    values = measured(ruler, embedded, tmp_path)
    assert [value.metric for value in values] == ["stopped_by_memory"] * 2
    assert [value.implementation for value in values] == ["lammps", "mlip-bench"]


def test_the_power_law_is_that_of_the_times():
    values = [Value("s_per_step", 3e-5 * n**1.07, n_atoms=n) for n in (432, 2000, 5488, 11664)]
    (exponent,) = scaling._power_law(values)
    assert exponent.value == pytest.approx(1.07)
    assert exponent.spread == pytest.approx(0, abs=1e-9)


def test_a_crystal_that_had_to_lie_still_is_no_point_of_the_law():
    moving = [Value("s_per_step", 3e-5 * n, n_atoms=n) for n in (432, 2000, 5488)]
    still = Value("s_per_step", 1e-3, n_atoms=11664, note=f"the dynamics did not hold; {cost.TIMED_STILL}")
    (exponent,) = scaling._power_law([*moving, still])
    assert exponent.value == pytest.approx(1)
    assert scaling._power_law([*moving[:2], still]) == []


def test_several_cores_have_rows_of_both_implementations(ruler, embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "SIZES", (54, 128))
    values = scaling.run(Subject(ruler, embedded, tmp_path, cores=2), silent)
    found = [(value.implementation, value.n_atoms) for value in values if value.metric == "s_per_step"]
    assert found == [(name, size) for name in ("lammps", "mlip-bench") for size in (54, 128)]
    skins = {(value.implementation, value.value) for value in values if value.metric == "skin"}
    assert len(skins) == 2  # each has that of its smallest size
