"""A GPU that other programs use is not timed."""

import pytest

from mlip_bench.errors import UserError
from mlip_bench.measure.gpu import refuse_busy_gpu


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
