"""Sweeps: what is done within a budget, and what the report says of many sizes."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlip_bench.study import Plan, PotentialPlan

from mlip_bench import sweep
from mlip_bench.data import records
from mlip_bench.errors import UserError
from mlip_bench.potentials import family_names, presets
from mlip_bench.report import content, figures, fronts, tables
from mlip_bench.results import RESULTS, read_rows, write_rows

COMMAND = [sys.executable, "-m", "mlip_bench", "sweep", "--system", "Mo", "--dataset", "embedded"]
EXAMPLE = Path(__file__).parents[1] / "reports" / "example"


def mlip_bench(*arguments, folder):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90", 90), ("30min", 1800), ("1.5h", 5400), ("30m", 1800)]
)
def test_budgets_are_read(text, seconds):
    assert sweep.parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2d", "-1h", "0s"])
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="--budget"):
        sweep.parse_budget(text)


def test_every_family_has_a_ladder_from_cheap_to_dear():
    sizes = {name: sweep.ladder(name, "Mo", {}, {}) for name in family_names()}
    for name, rungs in sizes.items():
        assert len(rungs) >= 4, name
        assert [size.seconds for size in rungs] == sorted(size.seconds for size in rungs)
        assert len({size.potential.name for size in rungs}) == len(rungs)
    assert sum(map(len, sizes.values())) >= 30


def test_own_sizes_replace_the_ladder():
    sizes = sweep.ladder("gap", "Mo", {"zeta": 2}, {"n_sparse": [100, 200], "l_max": [4, 6]})
    assert [size.potential.name for size in sizes] == [
        "gap-n_sparse100-l_max4",
        "gap-n_sparse100-l_max6",
        "gap-n_sparse200-l_max4",
        "gap-n_sparse200-l_max6",
    ]
    assert all(size.potential.hypers["zeta"] == 2 for size in sizes)
    assert sizes[0].potential.hypers["cutoff"] == presets.hypers("gap", "standard", "Mo")["cutoff"]


def test_own_sizes_may_be_lists():
    """Values that are lists were taken apart into single numbers."""
    sizes = sweep.ladder("nnp", "Mo", {}, {"hidden": [[8, 8], [16, 16]]})
    assert [size.potential.hypers["hidden"] for size in sizes] == [[8, 8], [16, 16]]
    assert [size.potential.name for size in sizes] == ["nnp-hidden8x8", "nnp-hidden16x16"]


def test_cheap_sizes_of_all_families_come_first():
    """One size of each family at a time let the smallest networks take the time of what was cheaper."""
    ladders = [sweep.ladder(name, "Mo", {}, {}) for name in family_names()]
    order = [size for sizes in sweep.batches(ladders, 1, 0) for size in sizes]
    assert sorted(size.potential.name for size in order) == sorted(
        size.potential.name for sizes in ladders for size in sizes
    )
    seconds = [size.seconds for size in order]
    assert seconds == sorted(seconds)


def test_other_seeds_come_last_and_only_where_there_is_chance():
    ladders = [sweep.ladder(name, "Mo", {}, {}) for name in ("snap", "nnp")]
    order = [size for sizes in sweep.batches(ladders, 2, 5) for size in sizes]
    repeated = order[sum(map(len, ladders)) :]
    assert [size.potential.name for size in repeated] == [
        f"{size.potential.name}-seed6" for size in ladders[1]
    ]
    assert {size.potential.seed for size in repeated} == {6}


@pytest.fixture
def plan():
    return Plan(records.load("embedded", "Mo"), (), sweep.MEASURES)


def sizes_of(*seconds):
    return [
        sweep.Size(PotentialPlan(f"snap-{index}", "snap", {"twojmax": 2}), value)
        for index, value in enumerate(seconds)
    ]


def test_what_fits_into_the_budget_is_chosen_cheap_ones_first(plan, tmp_path):
    estimates = sweep.Estimates(plan.dataset)
    chosen, too_dear = sweep.affordable(sizes_of(50, 10, 30), estimates, plan, tmp_path, 45, 1)
    assert [size.seconds for size in chosen] == [10, 30]
    assert [size.seconds for size in too_dear] == [50]
    # Side by side, two jobs take half of their sum, but the dearest one is not shared.
    chosen, _ = sweep.affordable(sizes_of(50, 10, 30), estimates, plan, tmp_path, 50, 2)
    assert len(chosen) == 3
    chosen, _ = sweep.affordable(sizes_of(50, 10, 30), estimates, plan, tmp_path, 45, 2)
    assert len(chosen) == 2


def test_estimates_learn_from_what_was_measured(plan):
    estimates = sweep.Estimates(plan.dataset)
    (size,) = sizes_of(10)
    assert estimates.of(size) == 10
    other = sweep.Size(dataclasses.replace(size.potential, family="nnp"), 100)
    estimates.learn(other, 300)
    assert estimates.of(size) == pytest.approx(30)  # the machine seems three times slower
    estimates.learn(size, 20)
    assert estimates.of(size) == pytest.approx(20)  # but the family itself says it better


def test_a_budget_too_small_for_anything_names_the_least(plan, tmp_path):
    with pytest.raises(UserError, match=r"too small: snap-1, the cheapest, takes about 10 s"):
        sweep.refuse_too_small([sizes_of(50, 10)], sweep.Estimates(plan.dataset), plan, tmp_path, 5)


# -- fronts ----------------------------------------------------------------------------------------------


@pytest.fixture
def ranking():
    return pd.DataFrame(
        {
            "family": ["a", "a", "a", "b"],
            "cost_ratio": [1.0, 10.0, 20.0, 100.0],
            "force_rmse": [100.0, 60.0, 80.0, 50.0],
            "energy_rmse": [4.0, 3.0, 2.0, 1.0],
        },
        index=["a1", "a2", "a3", "b1"],
    )


def test_the_front_is_what_nothing_beats(ranking):
    assert fronts.on_front(ranking["cost_ratio"], ranking["force_rmse"]).tolist() == [True, True, False, True]
    cost, error = fronts.steps(ranking["cost_ratio"], ranking["force_rmse"])
    assert cost.tolist() == [1, 10, 100]
    assert error.tolist() == [100, 60, 50]


def test_the_cheapest_near_the_best_is_recommended(ranking):
    assert fronts.recommended(ranking) == "a2"  # 60 is within 20 % of 50
    assert fronts.recommended(ranking.assign(cost_ratio=np.nan)) is None


def test_hypervolumes_are_those_of_the_rectangles(ranking):
    found = fronts.hypervolumes(ranking, "force_rmse")
    low, high = np.log(1 / 1.05), np.log(100 * 1.05)
    share = [(np.log(cost) - low) / (high - low) for cost in (1, 10)] + [1]
    expected = (share[1] - share[0]) * (1 - 100 / 105) + (share[2] - share[1]) * (1 - 60 / 105)
    assert found["a"] == pytest.approx(expected)
    assert 0 < found["b"] < found["a"] < 1
    # A point that another one beats adds nothing.
    assert fronts.hypervolumes(ranking.drop("a3"), "force_rmse")["a"] == pytest.approx(found["a"])


def test_many_sizes_are_laid_out_by_family():
    """The example is a sweep."""
    read = content.read(EXAMPLE)
    assert read.is_sweep
    assert len(read.ranking) >= 30
    assert len(read.shown) == 7
    assert len(tables.families(read).rows) == 7
    drawn = {figure.name: figure for figure in figures.draw(read)}
    for name in ("front", "training", "parameters"):
        # Every potential has its point and every family can be switched off.
        assert drawn[name].svg.count('class="point"') >= len(read.ranking)
        for family in family_names():
            assert f'data-family="{family}"' in drawn[name].svg
    assert any("within 20 %" in sentence for sentence in read.findings)


def test_seeds_become_one_point_with_a_spread(tmp_path):
    shutil.copy(EXAMPLE / "run.toml", tmp_path)
    rows = [row for row in read_rows(EXAMPLE / RESULTS) if "-seed" not in row.potential]
    nnp = next(row.potential for row in rows if row.family == "nnp")
    twins = [
        dataclasses.replace(row, potential="twin", seed=1, value=row.value * 1.2)
        for row in rows
        if row.potential == nnp and row.value is not None
    ]
    write_rows(tmp_path / RESULTS, rows + twins)
    before = next(
        row.value for row in rows if (row.potential, row.metric, row.split) == (nnp, "force_rmse", "test")
    )
    read = content.read(tmp_path)
    assert len(read.ranking) == len({row.potential for row in rows})
    line = read.ranking.loc[nnp]
    assert line["force_rmse"] == pytest.approx(1.1 * before)
    assert line["force_rmse_spread"] == pytest.approx(np.std([before, 1.2 * before], ddof=1))
    alone = read.ranking.drop(index=nnp)
    assert alone["force_rmse_spread"].isna().all()


# -- the command -----------------------------------------------------------------------------------------


def test_a_sweep_keeps_to_its_sizes_and_is_resumed(tmp_path):
    sizes = ["--potential", "snap", "--vary", "snap.twojmax=2,4", "--out", "sweep", "--budget", "5min"]
    done = mlip_bench(*sizes, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "sweep" / "results.jsonl").read_text().splitlines()]
    assert {row["potential"] for row in rows} == {"snap-twojmax2", "snap-twojmax4"}
    assert "recommended, for LAMMPS: snap-twojmax4" in done.stdout
    assert (tmp_path / "sweep" / "recommended" / "in.lammps").is_file()
    # Again, within a budget that would allow no fit: all is done.
    again = mlip_bench(*sizes[:-1], "20s", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "started" not in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "1s"], "is too small"),
        (["--vary", "snap.colour=1,2"], "snap has no hyper-parameter 'colour'"),
        (["--vary", "nnp.hidden=1"], "--vary nnp.hidden=1: 'nnp' is not in this run"),
        (["--vary", "twojmax"], "--vary twojmax: write it as"),
        (["--budget", "never"], "--budget never: write it as"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path):
    done = mlip_bench("--potential", "snap", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
