"""Every fit estimates its memory first, and refuses with a sentence."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlip_bench.errors import UserError
from mlip_bench.potentials import family, memory
from mlip_bench.potentials.snap import QSNAP, SNAP

SMALL = {
    "snap": {"twojmax": 4},
    "qsnap": {"twojmax": 4},
    "gap": {"n_max": 2, "l_max": 2, "n_sparse": 10, "cutoff": 4.0},
    "mtp": {"level": 6, "radial_basis_size": 3, "ridge": 1e-8},
    "sevennet": {"channels": 4, "steps": 4},
    "sevennet-dfs": {"channels": 4, "steps": 4},
}


@pytest.mark.parametrize("name", SMALL)
def test_a_fit_that_needs_more_than_there_is_is_refused(name, embedded, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000.0)
    with pytest.raises(UserError) as refusal:
        family(name)(**SMALL[name]).fit(embedded.train[:12])
    words = str(refusal.value)
    assert words.startswith(f"{name}: this fit needs about ")
    assert "1e-06 GB are available; lower " in words
    assert "\n" not in words


def test_large_qsnap_is_refused_before_the_descriptors_are_computed(embedded):
    with pytest.raises(UserError, match=r"qsnap: this fit needs about .* GB .*; lower qsnap.twojmax"):
        QSNAP(twojmax=20).fit(embedded.train)
    with pytest.raises(UserError, match=r"lower qsnap.twojmax"):
        next(QSNAP(twojmax=20).fits_without(embedded.train, [0] * len(embedded.train)))


@given(st.floats(1e6, 1e15), st.floats(1e6, 1e15))
def test_what_is_refused_is_more_than_the_share(needed, available):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda: available)
        if needed > memory.MEMORY_SHARE * available:
            with pytest.raises(UserError, match=r"^x: this fit needs about .* GB of memory and .* GB are"):
                memory.refuse_too_much("x", needed, "y")
        else:
            memory.refuse_too_much("x", needed, "y")


LIMITED = """
import resource
from mlip_bench.potentials.memory import available_bytes
import psutil
before = available_bytes()
limit = psutil.Process().memory_info().vms + 300 * 1024**2
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(before, available_bytes())
"""


def test_a_limit_of_the_process_counts():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True)
    before, after = map(float, done.stdout.split())
    assert after <= 300 * 1024**2 < before


def test_a_limit_of_the_control_group_counts(tmp_path):
    for name, text in (
        ("memory.max", "1000"),
        ("memory.current", "900"),
        ("memory.stat", "inactive_file 50"),
    ):
        (tmp_path / name).write_text(text)
    assert memory._left_in(tmp_path, "memory.max", "memory.current", "inactive_file") == [150.0]
    (tmp_path / "memory.max").write_text("max")
    assert memory._left_in(tmp_path, "memory.max", "memory.current", "inactive_file") == []


MEASURE = """
from mlip_bench.data import records
from mlip_bench.measure.memory import peak_of
from mlip_bench.potentials.snap import QSNAP
train = records.load("embedded", "Mo").train
QSNAP(twojmax=2, cutoff=4.6).fit(train)
potential = QSNAP(twojmax=8, cutoff=4.6, n_folds=3)
with peak_of("cpu") as peak:
    potential.fit(train[:12])
print(peak.mib, potential._memory(train[:12]) / 1024**2)
"""


@pytest.mark.slow
def test_the_estimate_of_qsnap_is_within_a_factor_of_two():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True)
    measured, estimated = map(float, done.stdout.split())
    assert 0.5 * measured < estimated < 2 * measured


def test_presets_fit_into_a_small_machine(embedded):
    for twojmax in (2, 4, 6, 8):
        potential = SNAP(twojmax=twojmax)
        potential.elements_ = ("Mo",)
        assert potential._memory(embedded.train) < 1e9
