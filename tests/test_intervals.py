"""Intervals of errors and places of potentials: what they hold, and what is said where there are none."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy import stats

from mlip_bench.data import records
from mlip_bench.data.reference import labelled
from mlip_bench.measure.errors import (
    comparison,
    errors_of,
    intervals,
    predict_each,
    summary,
)
from mlip_bench.measure.errors.intervals import Ratio
from mlip_bench.measure.errors.standing import standing
from mlip_bench.measure.errors.sums import Sums
from mlip_bench.potentials import family
from mlip_bench.potentials.presets import hypers
from mlip_bench.report import build, content, tables
from mlip_bench.results import read_rows, write_rows
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan

# Draws of a test set; shares of them have standard deviations of one hundredth. docs/intervals has 5000.
DRAWS = 500
N_TEST = 25


def independent(generator, n=N_TEST):
    """Return the sums and components of structures whose force errors are normal, of spread one."""
    counts = generator.choice([27.0, 81.0, 162.0, 324.0], n)
    return generator.chisquare(counts), counts, np.repeat("all", n)


def trajectory(generator, n=250, correlation=0.8):
    """Return the same of a trajectory: the logarithm of the spread is an autoregressive series."""
    noise = generator.normal(size=n)
    series = np.empty(n)
    series[0] = noise[0]
    for step in range(1, n):
        series[step] = correlation * series[step - 1] + (1 - correlation**2) ** 0.5 * noise[step]
    scale = 0.3
    squares = np.exp(2 * scale * series - 2 * scale**2)  # of mean one
    counts = np.full(n, 162.0)
    return squares * generator.chisquare(counts), counts, np.repeat("all", n)


@pytest.mark.parametrize("draw", [independent, trajectory])
def test_intervals_hold_what_they_say(draw):
    """The true mean square is one."""
    generator = np.random.default_rng(1)
    held = []
    for _ in range(DRAWS):
        low, high = intervals.interval(Ratio.of(*draw(generator)))
        held.append(low <= 0 <= high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_equal_potentials_seldom_win():
    generator = np.random.default_rng(2)
    p = []
    for _ in range(DRAWS):
        hard = np.exp(generator.normal(0, 0.5, N_TEST))  # for both
        one, other = (hard * np.exp(generator.normal(0, 0.3, N_TEST)) for _ in range(2))
        p.append(intervals.p_value(Ratio.of(one, other, np.repeat("all", N_TEST))))
    assert 0.025 <= np.mean(np.array(p) <= 0.05) <= 0.075


def test_the_standard_error_is_that_of_other_codes():
    above, below, groups = independent(np.random.default_rng(3), 60)
    above *= np.random.default_rng(4).lognormal(0, 1, 60)
    found = Ratio.of(above, below, groups)

    def log(a, b, axis=-1):
        return np.log(a.sum(axis=axis) / b.sum(axis=axis))

    other = stats.bootstrap((above, below), log, paired=True, vectorized=True, method="BCa", rng=5)
    assert found.log == pytest.approx(np.log(above.sum() / below.sum()))
    assert found.error == pytest.approx(other.standard_error, rel=0.06)
    low, high = intervals.interval(found)
    ends = other.confidence_interval
    assert (low, high) == pytest.approx((ends.low, ends.high), abs=0.3 * found.error)


def test_groups_are_kept():
    """Two kinds of structures in fixed shares: what differs between them makes no interval wider."""
    generator = np.random.default_rng(6)
    above, below, _ = independent(generator, 24)
    groups = np.repeat(["easy", "hard"], 12)
    above[12:] *= 100
    kept = Ratio.of(above, below, groups)
    mixed = Ratio.of(above, below, np.repeat("all", 24))
    assert kept.error < 0.6 * mixed.error
    assert kept.n_free == 22


def test_groups_of_one_are_drawn_from_together():
    above, below, _ = independent(np.random.default_rng(7), 9)
    groups = np.array(["a", "b", "c", "d", "e", "e", "e", "e", "e"])
    ratio = Ratio.of(above, below, groups)
    assert sorted(map(len, ratio.strata)) == [4, 5]
    assert ratio.error > 0
    # None is lost, however the groups are.
    for names in (np.arange(9), np.repeat("all", 9), np.array([1, 1, 1, 1, 1, 1, 1, 1, 2])):
        strata = Ratio.of(above, below, names).strata
        assert sorted(np.concatenate(strata)) == list(range(9))
        assert min(map(len, strata)) >= 2


def test_too_few_structures_have_no_interval_and_a_reason():
    ratio = Ratio.of(*independent(np.random.default_rng(8), intervals.FEWEST - 1))
    assert intervals.interval(ratio) is None
    assert "it needs 5 structures, and there are 4" in intervals.remark(ratio)


def test_few_structures_of_a_group_do_not_tell_whether_neighbours_are_alike():
    """Eleven structures of four groups were taken for a trajectory, and had no interval."""
    squares = np.exp(np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]))
    groups = np.array(["a", "a", "a", "b", "b", "b", "c", "c", "c", "d", "d"])
    ratio = Ratio.of(squares, np.ones(11), groups)
    assert ratio.block == 1
    assert len(ratio.above) == 11
    # Beside a long trajectory they stay single.
    frames = np.exp(np.sin(np.arange(100) / 8))
    both = Ratio.of(np.append(frames, squares), np.ones(111), np.append(np.repeat("trajectory", 100), groups))
    assert both.block > 1
    assert len(both.above) == 11 + 100 // both.block


def test_levels_one_after_the_other_are_no_trajectory():
    """Temperatures in one group, in the order of the file: intervals reached from 0.03 to 715 meV/Å."""
    generator = np.random.default_rng(11)
    levels = np.repeat([50.0, 140.0, 280.0], [11, 11, 11])
    found = []
    for _ in range(200):
        squares = (levels * np.exp(generator.normal(0, 0.2, 33))) ** 2
        found.append(Ratio.of(squares, np.ones(33), np.repeat("AIMD", 33)).block == 1)
    assert np.mean(found) > 0.85


def test_a_short_trajectory_has_no_interval_and_a_reason():
    """Errors that drift all along it are one observation, not twelve."""
    squares = np.exp(np.linspace(0, 3, 12))
    ratio = Ratio.of(squares, np.ones(12), np.repeat("all", 12))
    assert intervals.interval(ratio) is None
    assert "as in one trajectory" in intervals.remark(ratio)


# -- sums of structures ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predicted(alloys):
    """SNAP on structures of which two have no stress, with a prediction of one that is not finite."""
    potential = family("snap")(**hypers("snap", "quick", "Mo") | {"twojmax": 2, "n_folds": 2}).fit(
        alloys[:12]
    )
    test = [atoms.copy() for atoms in alloys[12:]]
    for index, (atoms, given) in enumerate(zip(test, alloys[12:], strict=True)):
        stress = None if index in (3, 7) else given.get_stress()
        labelled(atoms, given.get_potential_energy(), given.get_forces(), stress)
    found = predict_each(potential, test)
    found.predictions[5] = dataclasses.replace(found.predictions[5], forces=np.full((8, 3), np.nan))
    return found


def test_sums_of_structures_give_the_errors(predicted):
    table = comparison(predicted.structures, predicted.predictions, predicted.numbers)
    errors = summary(table)
    for quantity, n in (("energy", 12), ("force", 11), ("stress", 10)):
        sums = Sums.of(table, quantity)
        assert len(sums) == n
        assert np.sqrt(sums.squares.sum() / sums.counts.sum()) == pytest.approx(errors[f"{quantity}_rmse"])
        assert sums.absolutes.sum() / sums.counts.sum() == pytest.approx(errors[f"{quantity}_mae"])
    assert 6 not in Sums.of(table, "force").numbers
    assert not {4, 8} & set(Sums.of(table, "stress").numbers.tolist())


def test_errors_lie_in_their_intervals(predicted):
    for value in errors_of(predicted):
        assert value.low < value.value < value.high, value.metric


def test_predictions_of_earlier_versions_are_read_as_far_as_they_say(predicted):
    table = comparison(predicted.structures, predicted.predictions, predicted.numbers)
    del table["stress_number"]
    assert Sums.of(table, "stress") is None  # whose they are nobody knows
    assert Sums.of(table, "force") is not None
    del table["extrapolating"]
    assert Sums.of(table, "force") is None


# -- places ----------------------------------------------------------------------------------------------


def kept_of(errors, split="test"):
    """Return the arrays that a measurement keeps, of given force errors (n_structures, n_components)."""
    n, components = errors.shape
    return {
        f"{split}_force": np.column_stack([np.zeros(errors.size), errors.ravel()]),
        f"{split}_force_group": np.repeat("all", errors.size),
        f"{split}_extrapolating": np.column_stack(
            [np.arange(1, n + 1), np.full(n, components // 3), np.zeros(n, int)]
        ),
    }


def test_places_of_equals_are_ranges():
    generator = np.random.default_rng(9)
    hard = np.exp(generator.normal(0, 0.7, (N_TEST, 1)))
    kept = {
        name: [kept_of(factor * hard * generator.normal(size=(N_TEST, 30)))]
        for name, factor in (("best", 1.0), ("as good", 1.01), ("worse", 1.5))
    }
    found = standing(kept, list(kept), "test")
    assert found["place"].tolist() == ["1 to 2", "1 to 2", "3"]
    assert found["over_best_low"]["worse"] < found["over_best"]["worse"] < found["over_best_high"]["worse"]
    assert found["over_best"]["worse"] == pytest.approx(1.5, rel=0.1)
    assert found["needed"]["as good"] > 25
    assert found["needed"]["worse"] == 0


def test_one_hard_structure_decides_nothing():
    """Its share is nearly all of the error, so that linearised the difference is sure; the signs say no."""
    rest = np.random.default_rng(2).normal(size=(29, 30))
    kept = {
        name: [kept_of(np.vstack([hard * np.ones((1, 30)), rest]))] for name, hard in (("a", 8), ("b", 11))
    }
    found = standing(kept, ["a", "b"], "test")
    assert found["place"].tolist() == ["1 to 2", "1 to 2"]
    assert found["p"]["b"] > 0.05
    assert np.isnan(found["needed"]["b"])


def test_seeds_that_scatter_are_no_difference():
    """Two fits of one potential are 20 % apart: a third that lies between is told from neither."""
    generator = np.random.default_rng(4)
    errors = generator.normal(size=(N_TEST, 300))
    fits = {"scatters": [kept_of(1.0 * errors), kept_of(1.25 * errors)], "does not": [kept_of(1.3 * errors)]}
    found = standing(fits, list(fits), "test")
    assert found["place"].tolist() == ["1 to 2", "1 to 2"]
    root = np.sqrt((1 + 1.25**2) / 2)
    assert found["over_best"]["does not"] == pytest.approx(1.3 / root)
    assert found["over_best_low"]["does not"] < 1 < found["over_best_high"]["does not"]
    assert found["needed"]["does not"] == np.inf
    alone = {"first": fits["scatters"][:1], "does not": fits["does not"]}
    assert standing(alone, list(alone), "test")["place"].tolist() == ["1", "2"]


@pytest.mark.parametrize("sums", [[1, 1, 1, 1, 5, 7], [0, 0, 0, 0, 0, 0, 3, 4]], ids=["alike", "zero"])
def test_errors_of_a_few_structures_have_no_interval_that_a_file_cannot_hold(sums):
    """Draws of structures that are all alike, or without any error, are infinitely far off."""
    ratio = Ratio.of(np.array(sums, float), np.ones(len(sums)), np.repeat("all", len(sums)))
    assert intervals.interval(ratio) is None
    assert "a few structures decide" in intervals.remark(ratio)


def test_as_many_structures_as_are_needed_decide():
    """With the number that is asked for, four of five repeats tell the two apart."""
    generator = np.random.default_rng(10)
    n, factor = 200, 1.3
    hard = stats.lognorm.ppf((np.arange(n) + 0.5) / n, 0.9)
    first, second = generator.permutation(hard), factor * generator.permutation(hard)
    needed = n + int(intervals.still_needed(Ratio.of(first, second, np.repeat("all", n))))
    assert needed > n
    p = []
    for _ in range(300):
        one, other = generator.lognormal(0, 0.9, (2, needed))
        p.append(intervals.p_value(Ratio.of(one, factor * other, np.repeat("all", needed))))
    assert 0.7 <= np.mean(np.array(p) <= 0.05) <= 0.9


# -- in a run and its report -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, do_plan):
    """A quick run of SNAP and qSNAP on real data."""
    folder = tmp_path_factory.mktemp("intervals") / "run"
    names = ("snap", "qsnap")
    plan = Plan(
        records.load("embedded", "Mo"),
        tuple(PotentialPlan(name, name, hypers(name, "quick", "Mo")) for name in names),
        ("errors",),
        preset="quick",
    )
    assert not do_plan(plan, folder).failures
    return folder


def test_rows_and_report_have_intervals(run_folder):
    rows = [json.loads(line) for line in (run_folder / "results.jsonl").read_text().splitlines()]
    errors = [row for row in rows if row["measure"] == "errors" and row["metric"].endswith(("_mae", "_rmse"))]
    for row in errors:
        if row["split"] == "test":
            assert row["low"] < row["value"] < row["high"]
        else:
            assert row["low"] is None
            assert row["high"] is None
    read = content.read(run_folder)
    best = read.ranking.iloc[0]
    assert f"95 % interval {best['force_rmse_low']:.3g} to {best['force_rmse_high']:.3g}" in read.findings[0]
    (section,) = [one for one in read.sections if one.heading == "How sure the errors are"]
    (table,) = section.tables
    assert table.rows[0][0] == best.name
    assert f"{best['force_rmse']:.1f} ({best['force_rmse_low']:.1f} to" in " ".join(table.rows[0])
    ranking = tables.ranking(read)
    places = [row[ranking.headings.index("place")] for row in ranking.rows]
    assert places in (["1", "2"], ["1 to 2", "1 to 2"])
    told = any("Not distinguishable" in sentence for sentence in read.findings)
    assert told == (places[0] == "1 to 2")
    build(run_folder)
    assert "95 % interval" in (run_folder / "report.html").read_text()


def test_rows_of_an_earlier_version_are_shown_without(run_folder, tmp_path):
    rows = [dataclasses.replace(row, low=None, high=None) for row in read_rows(run_folder / "results.jsonl")]
    write_rows(tmp_path / "results.jsonl", rows)
    shutil.copy(run_folder / "run.toml", tmp_path)
    read = content.read(tmp_path)
    assert "place" not in tables.ranking(read).headings
    assert not any("interval" in sentence for sentence in read.findings)
    (told,) = [sentence for sentence in read.warnings if "not compared" in sentence]
    assert "snap" in told
    build(tmp_path)


def test_of_many_potentials_the_best_have_places(monkeypatch):
    """The others are compared with the best alone; where a range goes on among them, it says so."""
    from mlip_bench.measure.errors import standing as module

    generator = np.random.default_rng(9)
    factors = [1.0, 2.0, 2.01, 2.02, 4.0]
    kept = {str(one): [kept_of(one * generator.normal(size=(N_TEST, 30)))] for one in factors}
    whole = standing(kept, list(kept), "test")
    assert whole["place"].tolist() == ["1", "2 to 4", "2 to 4", "2 to 4", "5"]
    monkeypatch.setattr(module, "MOST_COMPARED", 3)
    found = standing(kept, list(kept), "test")
    assert found["place"].tolist()[:3] == ["1", "2 or later", "2 or later"]
    assert found["place"].isna().tolist() == [False] * 3 + [True] * 2
    assert found[["over_best", "p"]].equals(whole[["over_best", "p"]])


def test_equal_potentials_share_their_places(run_folder, tmp_path):
    """The same potential under two names: nothing tells it from itself."""
    shutil.copytree(run_folder, tmp_path / "run")
    rows = [row for row in read_rows(run_folder / "results.jsonl") if row.potential == "snap"]
    twins = [dataclasses.replace(row, potential="twin", hypers_sha256="other") for row in rows]
    write_rows(tmp_path / "run" / "results.jsonl", rows + twins)
    predictions = tmp_path / "run" / "predictions"
    shutil.copy(predictions / "snap.npz", predictions / "twin.npz")
    read = content.read(tmp_path / "run")
    assert read.ranking["place"].tolist() == ["1 to 2", "1 to 2"]
    (told,) = [sentence for sentence in read.findings if "Not distinguishable" in sentence]
    assert told.endswith(
        "over 10000 test structures more would tell it from twin, if their errors differ by as much as they "
        "seem to."
    )
