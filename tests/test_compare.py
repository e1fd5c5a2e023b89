"""Slowdowns are found, and the noise of the same code is not taken for one."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from command import mlip_bench

from mlip_bench import compare
from mlip_bench.measure.cost.timing import half_interquartile
from mlip_bench.results import RESULTS, read_rows, write_rows

N_BLOCKS = 11
EXAMPLE = Path(__file__).parent / "example"


def command(*arguments):
    """Run ``mlip-bench compare``; return exit code and what it printed, on one line."""
    done = mlip_bench("compare", *arguments)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def timing(generator, factor=1.0, noise=0.03):
    """Return the timing of as many blocks with a noise of 3 % each, as this project's machines have."""
    blocks = 1.3 * factor * (1 + noise * generator.standard_normal(N_BLOCKS))
    return compare.Timing(float(np.median(blocks)), half_interquartile(blocks), N_BLOCKS, "cpu")


def verdicts(factor, n_repeats):
    generator = np.random.default_rng(0)
    key = ("snap", 2000)
    return [
        compare.compare({key: timing(generator)}, {key: timing(generator, factor)}, 0.1)[0].verdict
        for _ in range(n_repeats)
    ]


def test_the_same_code_is_not_slower():
    assert set(verdicts(1.0, 1000)) == {compare.SAME}


def test_a_slowdown_and_a_speedup_are_found():
    assert verdicts(1.25, 200).count(compare.SLOWER) > 190
    assert verdicts(0.8, 200).count(compare.FASTER) > 190


def test_a_large_change_of_noisy_blocks_does_not_count():
    old, new = compare.Timing(1.0, 0.3, 7, "cpu"), compare.Timing(1.2, 0.3, 7, "cpu")
    assert compare.compare({("gap", 2000): old}, {("gap", 2000): new}, 0.1)[0].verdict == compare.SAME


def benchmark_file(path, **ratios):
    path.write_text(
        json.dumps(
            {
                "machine_info": {"cpu": {"brand_raw": "a processor"}},
                "benchmarks": [
                    {
                        "name": f"test_step[{name}]",
                        "extra_info": {
                            "potential": name,
                            "n_atoms": 2000,
                            "cost_ratio": ratio,
                            "cost_ratio_spread": 0.01 * ratio,
                            "n_blocks": 7,
                        },
                    }
                    for name, ratio in ratios.items()
                ],
            }
        )
    )
    return str(path)


def test_the_command_exits_with_1_for_a_slowdown(tmp_path):
    old = benchmark_file(tmp_path / "old.json", snap=1.0, mtp=0.3)
    new = benchmark_file(tmp_path / "new.json", snap=1.0, mtp=0.36, nnp=0.4)
    table = tmp_path / "table.md"
    code, output = command(old, new, "--markdown", table)
    assert code == 1
    assert "slower by more than 10 %: mtp (2000 atoms)" in output
    lines = table.read_text().splitlines()
    assert lines[2:] == [
        "| snap | 2000 | 1.000 | 1.000 | +0.0 ± 1.0 % | same |",
        "| mtp | 2000 | 0.300 | 0.360 | +20.0 ± 1.2 % | slower |",
        "| nnp | 2000 | – | 0.400 | – | only in the new |",
    ]
    assert command(old, new, "--fail-above", "25%")[0] == 0
    assert command(old, old)[0] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file of pytest-benchmark"),
        ('{"machine_info": {"cpu": {}}, "benchmarks": []}', "has no cost against the ruler"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.json"
    path.write_text(content)
    code, output = command(path, path)
    assert code == 2
    assert message in output


def test_both_implementations_are_compared(tmp_path):
    """A run of before it was told which knows LAMMPS's pair style alone."""
    rows = [row for row in read_rows(Path(EXAMPLE) / RESULTS) if row.measure == "cost"]
    one = [dataclasses.replace(row, potential="snap") for row in rows if row.potential == rows[0].potential]
    two = [dataclasses.replace(row, implementation="lammps") for row in one]
    two += [dataclasses.replace(row, implementation="mlip-bench", value=0.1 * row.value) for row in one]
    for name, kept in (("old", one), ("new", two)):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name / RESULTS, kept)
    changes = compare.compare(*(compare.read(tmp_path / name) for name in ("old", "new")), 0.1)
    verdicts = {change.name: change.verdict for change in changes}
    assert verdicts == {"snap": compare.SAME, "snap, mlip-bench": "only in the new"}


def test_runs_are_compared_by_their_folders():
    code, output = command(EXAMPLE, EXAMPLE)
    assert code == 0
    assert "sevennet" in output


def test_a_limit_that_is_none():
    assert command(EXAMPLE, EXAMPLE, "--fail-above", "much")[0] == 2
