"""Timing on a GPU: a busy one is refused, and what it runs is timed on torch's CPU device."""

import pytest

from mlip_bench.errors import UserError
from mlip_bench.measure import cost, scaling
from mlip_bench.measure.base import Subject
from mlip_bench.measure.cost import timing
from mlip_bench.measure.gpu import refuse_busy_gpu
from mlip_bench.potentials import family, family_names
from mlip_bench.potentials.base import silent
from mlip_bench.potentials.nnff.on_torch import TorchEvaluator


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Stand in for the driver's program, which machines without a GPU lack."""

    def tell(text):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\nprintf '{text}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return tell


def test_a_busy_gpu_is_refused(driver):
    driver("93, 20480\\n")
    with pytest.raises(UserError, match="the GPU is busy: 93 % of its time and 20480 MiB"):
        refuse_busy_gpu()


@pytest.mark.parametrize("text", ["0, 4\\n", "[N/A], [N/A]\\n", ""])
def test_a_gpu_at_rest_or_one_that_cannot_tell_is_taken(driver, text):
    driver(text)
    refuse_busy_gpu()


# Small networks of every family that computes on a GPU.
SMALL = {
    "nnp": {"epochs": 1},
    "nnff": {"epochs": 1},
    "sevennet": {"channels": 4, "layers": 2, "steps": 1},
    "sevennet-dfs": {"channels": 4, "layers": 2, "steps": 1},
    "leignn": {"channels": 8, "layers": 1, "steps": 1},
    "leignn-gradient": {"channels": 8, "layers": 1, "steps": 1},
}

# What these run on a GPU is other code than on a CPU, in torch.
ON_TORCH = {
    "nnp": lambda potential, stepping: potential._on_torch("cpu").one_by_one(stepping),
    "nnff": lambda potential, stepping: TorchEvaluator(potential, "cpu", stepping),
}


def test_every_family_that_computes_on_a_gpu_is_timed_below():
    assert set(SMALL) == {name for name in family_names() if "cuda" in family(name).devices}


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=() if one == "sevennet" else pytest.mark.slow) for one in SMALL],
)
def test_what_a_gpu_runs_is_timed_with_all_rows(name, embedded, tmp_path, monkeypatch, brief_timings):
    monkeypatch.setattr(timing, "EQUILIBRATION_STEPS", 5)
    monkeypatch.setattr(timing, "WATCHED_STEPS", 5)
    monkeypatch.setattr(cost, "N_ATOMS", 16)
    monkeypatch.setattr(scaling, "SIZES", (16, 24, 36))
    potential = family(name)(**SMALL[name]).fit(embedded.train[:6])
    if name in ON_TORCH:
        monkeypatch.setattr(potential, "_stepper", lambda stepping: ON_TORCH[name](potential, stepping))
    subject = Subject(potential, embedded, tmp_path)
    found = {value.metric for value in cost.run(subject, silent)}
    assert set(cost.METRICS) - found <= {"steps_between_rebuilds", "rebuilds"}  # of what does not hold
    sizes = [value.n_atoms for value in scaling.run(subject, silent) if value.metric == "cost_ratio"]
    assert sizes == [16, 24, 36]
