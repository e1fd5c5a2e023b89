"""Sweeps: what is done within a budget, and what the report says of many sizes."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import mlip_bench

from mlip_bench.cli.choices import parse_duration
from mlip_bench.data import records
from mlip_bench.errors import UserError
from mlip_bench.potentials import family_names, presets
from mlip_bench.report import content, figures, fronts, tables
from mlip_bench.results import RESULTS, read_rows, write_rows
from mlip_bench.run import sweep
from mlip_bench.run.executor import LocalExecutor
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.schedule import Results
from mlip_bench.run.store import Store

EXAMPLE = Path(__file__).parent / "example"


def sweep_mo(*arguments, folder):
    return mlip_bench("sweep", "--system", "Mo", "--dataset", "embedded", *arguments, folder=folder)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90", 90), ("30min", 1800), ("1.5h", 5400), ("30m", 1800)]
)
def test_budgets_are_read(text, seconds):
    assert parse_duration(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "soon", "2d", "-1h", "0s"])
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="--budget"):
        parse_duration(text, "--budget")


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
    order = sweep.in_order(ladders, 1, 0)
    assert sorted(size.potential.name for size in order) == sorted(
        size.potential.name for sizes in ladders for size in sizes
    )
    seconds = [size.seconds for size in order]
    assert seconds == sorted(seconds)


def test_other_seeds_come_last_and_only_where_there_is_chance():
    ladders = [sweep.ladder(name, "Mo", {}, {}) for name in ("snap", "nnp")]
    order = sweep.in_order(ladders, 2, 5)
    repeated = order[sum(map(len, ladders)) :]
    assert [size.potential.name for size in repeated] == [
        f"{size.potential.name}-seed6" for size in ladders[1]
    ]
    assert {size.potential.seed for size in repeated} == {6}


@pytest.fixture
def plan():
    return Plan(records.load("embedded", "Mo"), (), sweep.MEASURES)


def sizes_of(*seconds):
    base = presets.hypers("snap", "standard", "Mo")
    return [
        sweep.Size(PotentialPlan(f"snap-{index}", "snap", base | {"twojmax": 2 + 2 * index}), value)
        for index, value in enumerate(seconds)
    ]


@pytest.fixture
def swept(plan, tmp_path, common_store):
    """A function that does sizes within a budget, and what was said and done so far."""

    def do(sizes, budget_s, store=common_store):
        store = Store(store)
        with LocalExecutor(store, 2) as executor:
            results = Results(tmp_path / "sweep")
            data = Data.of(plan.dataset, store.put_structures)
            one = sweep.Sweep(plan, data, executor, results, budget_s, print)
            one.refuse_too_small(sizes)
            return one.run(sizes)

    return do


def rows_of(*seconds):
    """Rows of tasks that took so long."""
    example = read_rows(EXAMPLE / RESULTS)[0]
    return [
        dataclasses.replace(example, started=str(index), wall_s=value) for index, value in enumerate(seconds)
    ]


def test_what_the_budget_does_not_pay_for_is_left_out(plan, tmp_path):
    data = Data.of(plan.dataset, Store(tmp_path / "store").put_structures)
    with LocalExecutor(Store(tmp_path / "store"), 2) as executor:
        one = sweep.Sweep(plan, data, executor, Results(tmp_path / "sweep"), 45, print)
        assert [size.seconds for size in one.affordable(sizes_of(10, 30, 50))] == [10, 30]
        # Timings of sizes that are fitted side by side follow each other, so their seconds add up.
        assert [size.seconds for size in one.affordable(sizes_of(30, 30))] == [30]


@pytest.mark.slow
def test_every_size_is_whole_or_named(swept, tmp_path):
    """Sizes were fitted that nobody timed, and the recommendation came from the others, in silence."""
    broken = sweep.Size(PotentialPlan("broken", "gap", {"n_max": 80, "l_max": 1}), 1)
    sizes = [broken, *sizes_of(1, 2, 1000)]
    done = swept(sizes, 3000)
    rows = read_rows(tmp_path / "sweep" / RESULTS)
    assert {row.potential for row in rows} == {"broken", "snap-0", "snap-1"}
    for name in ("snap-0", "snap-1"):
        assert {row.measure for row in rows if row.potential == name} >= {"fit", "held-out", "cost"}
    assert [size.potential.name for size in done.left_out] == ["snap-2"]
    # A size that fails is tried once, its time counts, and it is named.
    (failure,) = done.outcome.failures
    assert (failure.potential, failure.measure) == ("broken", "fit")
    assert failure.wall_s > 0
    assert done.notes == ["Left out, the budget does not pay for them: snap-2."]
    # Within a budget that would allow nothing: what is finished stays.
    again = swept(sizes_of(1, 2, 1000), 0.01)
    assert again.outcome.n_done == 0
    assert [potential.name for potential in again.plan.potentials] == ["snap-0", "snap-1"]


def test_estimates_learn_from_what_was_measured(plan):
    estimates = sweep.Estimates(plan.dataset)
    (size,) = sizes_of(10)
    assert estimates.of(size) == 10
    other = sweep.Size(dataclasses.replace(size.potential, family="nnp"), 100)
    estimates.learn(other, rows_of(300))
    assert estimates.of(size) == pytest.approx(30)  # the machine seems three times slower
    estimates.learn(size, rows_of(15, 5))
    assert estimates.of(size) == pytest.approx(20)  # but the family itself says it better


def test_a_size_that_fails_at_once_makes_no_other_seem_quick(plan):
    """One failure in no time once made all sizes of other families seem to take none."""
    estimates = sweep.Estimates(plan.dataset)
    (size,) = sizes_of(10)
    other = sweep.Size(dataclasses.replace(size.potential, family="nnp"), 100)
    estimates.learn(other, rows_of(0.1), whole=False)
    assert estimates.of(size) == 10
    estimates.learn(
        other, rows_of(300), whole=False
    )  # it was cut off, and takes three times as long at least
    assert estimates.of(size) == pytest.approx(30)


def test_a_budget_too_small_for_anything_names_the_least(swept, tmp_path):
    with pytest.raises(UserError, match=r"too small: snap-1, the cheapest, takes about 10 s"):
        swept(sizes_of(50, 10), 5, tmp_path / "store")


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
        for family in read.ranking["family"].unique():
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


@pytest.mark.slow
def test_a_sweep_keeps_to_its_sizes_and_is_resumed(tmp_path):
    sizes = ["--potential", "snap", "--vary", "snap.twojmax=2,4", "--out", "sweep", "--budget", "5min"]
    done = sweep_mo(*sizes, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "sweep" / "results.jsonl").read_text().splitlines()]
    assert {row["potential"] for row in rows} == {"snap-twojmax2", "snap-twojmax4"}
    assert "recommended, for LAMMPS: snap-twojmax4" in done.stdout
    assert (tmp_path / "sweep" / "recommended" / "in.lammps").is_file()
    # Again, within a budget that would allow no fit: all is done.
    again = sweep_mo(*sizes[:-1], "20s", folder=tmp_path)
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
        (["--set", "snap.twojmax=8"], "--set snap.twojmax: a sweep varies it"),
        (
            ["--vary", "snap.cutoff=4,5", "--set", "snap.cutoff=4"],
            "--set snap.cutoff: a sweep varies it",
        ),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path):
    done = sweep_mo("--potential", "snap", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
