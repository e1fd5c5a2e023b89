"""The verdict: the formula, ties, what is missing, profiles, and the page's JavaScript beside Python."""

import dataclasses
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pypdfium2 as pdfium
import pytest
from browser import CHROMIUM, probe
from command import mlip_bench
from scipy import stats

from mlip_bench.errors import UserError
from mlip_bench.report import build, content, profiles, verdict
from mlip_bench.report.profiles import Profile
from mlip_bench.results import RESULTS, read_rows, write_rows
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Term

EXAMPLE = Path(__file__).parent / "example"


def term(metric, values, ends=None, **more):
    frame = pd.DataFrame({"value": pd.Series(values, dtype=float)})
    frame = frame.assign(low=np.nan, high=np.nan)
    for name, (low, high) in (ends or {}).items():
        frame.loc[name, ["low", "high"]] = low, high
    return Term(metric, metric, metric, frame.dropna(subset=["value"]), **more)


@pytest.fixture
def judge(monkeypatch):
    """Give the verdict of some terms for weights by metric."""

    def judged(terms, **weights):
        monkeypatch.setattr(verdict, "terms_of", lambda evidence: terms)
        names = list(dict.fromkeys(name for one in terms for name in one.values.index))
        evidence = Evidence(Path(), {}, pd.DataFrame(), pd.DataFrame({"family": "f"}, index=names))
        return verdict.of(evidence, Profile("own", "", weights))

    return judged


# -- the formula -----------------------------------------------------------------------------------------


def test_the_score_is_a_weighted_geometric_mean_of_ratios(judge):
    error, cost = {"a": 100.0, "b": 150.0, "c": 400.0}, {"a": 30.0, "b": 2.0, "c": 1.0}
    found = judge([term("error", error), term("cost", cost)], error=2.0, cost=0.5).table
    for name in error:
        ratios = [error[name] / 100.0, cost[name] / 1.0]
        assert np.exp(found.at[name, "score"]) == pytest.approx(stats.gmean(ratios, weights=[2.0, 0.5]))
    assert list(found.index) == sorted(error, key=lambda name: found.at[name, "score"])


def test_two_potentials_compare_the_same_whatever_others_there_are(judge):
    one = judge([term("x", {"a": 2.0, "b": 3.0}), term("y", {"a": 5.0, "b": 4.0})], x=1.0, y=1.0).table
    terms = [term("x", {"a": 2.0, "b": 3.0, "c": 0.1}), term("y", {"a": 5.0, "b": 4.0, "c": 0.2})]
    other = judge(terms, x=1.0, y=1.0).table
    difference = [frame.at["a", "score"] - frame.at["b", "score"] for frame in (one, other)]
    assert difference[0] == pytest.approx(difference[1])


def test_more_is_better_where_it_is_said_and_what_is_below_the_floor_is_alike(judge):
    held = term("held", {"a": 1.0, "b": 0.5}, lower_is_better=False)
    found = judge([held, term("off", {"a": 0.9, "b": 0.001}, floor=1.0)], held=1.0, off=1.0).table
    assert found.at["b", "held"] == pytest.approx(2.0)
    assert found["off"].tolist() == [1.0, 1.0]


def test_ends_of_the_interval_are_scores_at_the_ends_of_all_numbers(judge):
    x = term("x", {"a": 2.0, "b": 4.0}, {"a": (1.0, 3.0), "b": (3.0, 9.0)})
    y = term("y", {"a": 1.0, "b": 0.5}, lower_is_better=False)
    found = judge([x, y], x=3.0, y=1.0).table
    assert np.exp(found.loc["b", ["low", "high"]].to_numpy(float)) == pytest.approx(
        [(3 / 2) ** 0.75 * 2**0.25, (9 / 2) ** 0.75 * 2**0.25]
    )


def test_ties_are_ranges_of_places(judge):
    ends = {"a": (0.8, 1.25), "b": (0.9, 1.5), "c": (3.0, 5.0)}
    found = judge([term("x", {"a": 1.0, "b": 1.1, "c": 4.0}, ends)], x=1.0)
    assert found.table["place"].to_dict() == {"a": "1 to 2", "b": "1 to 2", "c": "3"}
    assert found.first == ["a", "b"]


# -- what is missing -------------------------------------------------------------------------------------


def test_what_lacks_a_number_has_no_score_and_changes_none(judge):
    whole = [term("x", {"a": 2.0, "b": 3.0}), term("y", {"a": 5.0, "b": 4.0})]
    found = judge([term("x", {"a": 2.0, "b": 3.0, "c": 0.1}), whole[1]], x=1.0, y=1.0)
    assert found.lacking == {"c": ["y"]}
    assert "No score, it lacks y: c." in verdict.remarks(found)
    pd.testing.assert_frame_equal(found.table, judge(whole, x=1.0, y=1.0).table)


def test_what_nobody_has_is_left_out_and_said(judge):
    found = judge([term("x", {"a": 2.0, "b": 3.0}), term("y", {})], x=1.0, y=9.0)
    assert found.left_out == ["y"]
    assert np.exp(found.table.at["b", "score"]) == pytest.approx(1.5)
    assert any("there is no reference for it, so left out: y" in text for text in verdict.remarks(found))


def test_without_intervals_nobody_knows_the_ties(judge):
    found = judge([term("x", {"a": 2.0, "b": 3.0})], x=1.0)
    assert any("nobody knows which places are ties" in text for text in verdict.remarks(found))


def test_what_decides_nothing_cannot_be_weighed(judge):
    with pytest.raises(UserError, match="'x_test' is no metric that can be weighed"):
        judge([term("x", {"a": 1.0}), term("x_test", {"a": 1.0}, decides=False)], x_test=1.0)


def test_cost_on_several_devices_has_an_axis_each_and_one_weight(tmp_path):
    """Of two runs side by side, on a CPU and on a GPU."""
    shutil.copytree(EXAMPLE, tmp_path / "run")
    rows = [
        dataclasses.replace(row, device="cuda:H200") if "snap" in row.potential else row
        for row in read_rows(EXAMPLE / RESULTS)
    ]
    write_rows(tmp_path / "run" / RESULTS, rows)
    evidence = content.read(tmp_path / "run").evidence
    found = {one.metric: one for one in verdict.terms_of(evidence) if one.metric.startswith("cost_ratio")}
    assert {metric: one.decides for metric, one in found.items()} == {
        "cost_ratio": True,
        "cost_ratio_cpu": False,
        "cost_ratio_cuda:H200": False,
    }
    on_gpu = {name for name in evidence.ranking.index if "snap" in name}
    assert set(found["cost_ratio_cuda:H200"].values.index) == on_gpu
    assert set(found["cost_ratio_cpu"].values.index) == set(evidence.ranking.index) - on_gpu


# -- profiles --------------------------------------------------------------------------------------------


def test_profiles_that_ship_weigh_what_measures_declare():
    evidence = content.read(EXAMPLE).evidence
    known = [one.metric for one in verdict.terms_of(evidence) if one.decides]
    assert len(known) == len(set(known))
    assert profiles.names() == ["balanced", "accuracy", "md-speed", "phonons"]
    for name in profiles.names():
        profiles.check(profiles.shipped(name), known)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("force_rmes=2", "'force_rmes' is no metric that can be weighed (did you mean 'force_rmse'?)"),
        ("force_rmse", "--weights force_rmse: not a metric and its weight"),
        ("force_rmse=much", "much is no number"),
        ("force_rmse=-1", "must be a number, 0 or more"),
        ("force_rmse=nan", "must be a number, 0 or more"),
        ("force_rmse=1,force_rmse=2", "force_rmse is given twice"),
        ("force_rmse=0", "nothing has a weight above 0"),
        ("", "nothing has a weight above 0"),
    ],
)
def test_weights_that_cannot_be_are_refused(text, message):
    with pytest.raises(UserError) as refused:
        content.read(EXAMPLE, profiles.chosen(None, text))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[weights]\nfit_z = 1", "'fit_z' is no metric that can be weighed (did you mean 'fit_s'?)"),
        ("weights = 3", "a profile has a table [weights] by metric"),
        ("[weigths]\nfit_s = 1", "unknown key weigths"),
        ("[weights", "not TOML"),
        ('[weights]\nfit_s = "1"', "must be a number, 0 or more"),
    ],
)
def test_profiles_that_cannot_be_are_refused(text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        content.read(EXAMPLE, profiles.chosen(str(path), None))
    assert message in str(refused.value)


def test_a_profile_of_ones_own_decides(tmp_path):
    path = tmp_path / "cheap.toml"
    path.write_text("[weights]\ncost_ratio = 1\n")
    read = content.read(EXAMPLE, profiles.chosen(str(path), None))
    assert read.verdict.profile.name == "cheap"
    assert read.verdict.first == [read.ranking["cost_ratio"].idxmin()]


def test_the_command_takes_weights_and_answers_in_json(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(EXAMPLE, folder)
    done = mlip_bench("report", "run", "--weights", "cost_ratio=1,fit_s=0", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["verdict"]
    cheapest = content.read(folder).ranking["cost_ratio"].idxmin()
    assert found["first"] == [cheapest]
    assert found["potentials"][0]["score"] == pytest.approx(1.0)
    html = (folder / "report.html").read_text()
    assert f"Best by own weights: {cheapest}" in html
    page = pdfium.PdfDocument(folder / "report.pdf")[0].get_textpage().get_text_range()
    assert f"Best by own weights: {cheapest}" in " ".join(page.split())
    done = mlip_bench("report", "run", "--profile", "balance", folder=tmp_path)
    assert done.returncode == 2
    assert "no such profile (did you mean 'balanced'?)" in done.stderr
    assert "Traceback" not in done.stderr


# -- the page beside Python ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_intervals(tmp_path_factory):
    """The example with intervals for its errors, and without some of its numbers."""
    folder = tmp_path_factory.mktemp("verdict") / "run"
    shutil.copytree(EXAMPLE, folder)
    chance = random.Random(0)
    rows = []
    for row in read_rows(folder / RESULTS):
        if row.metric == "energy_rmse" and row.potential == "snap-twojmax4":
            continue
        if row.measure == "errors" and row.metric.endswith("_rmse") and row.value is not None:
            low, high = chance.uniform(0.7, 0.95), chance.uniform(1.05, 1.6)
            row = dataclasses.replace(row, low=low * row.value, high=high * row.value)
        rows.append(row)
    write_rows(folder / RESULTS, rows)
    build(folder)
    return folder


OTHERS = [
    {"force_rmse": 0.35, "stress_rmse": 2.0, "n_parameters": 0.1},
    {"peak_rss_mib": 1.0},
    {"energy_mae": 1.0, "held_share": 1.0},
]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page was not compared with Python")
def test_the_page_and_python_give_the_same_verdict(with_intervals, tmp_path):
    weights = [dict(profiles.shipped(name).weights) for name in profiles.names()] + OTHERS
    script = f"""return {json.dumps(weights)}.map((weights) => {{
      const found = verdictOf(weights), lacking = found.lacking.map((what, i) => [DATA.potentials[i], what]);
      return {{ sentence: sentenceOf(found, "own"), leftOut: found.leftOut, remarks: remarksOf(found),
        lacking: Object.fromEntries(lacking.filter(([, what]) => what.length)),
        rows: found.rows.map((row) => [row.name, row.place, row.score, row.low, row.high, row.ratios]) }};
    }});"""
    pages, log = probe(with_intervals / "report.html", script, 1440, tmp_path)
    assert "CONSOLE" not in log
    read = content.read(with_intervals)
    ties = 0
    for own, of_page in zip(weights, pages, strict=True):
        expected = verdict.of(read.evidence, Profile("own", "", own))
        assert of_page["sentence"] == verdict.sentence(read.evidence, expected)
        assert of_page["remarks"] == verdict.remarks(expected)
        assert of_page["leftOut"] == expected.left_out
        assert of_page["lacking"] == expected.lacking
        assert [row[0] for row in of_page["rows"]] == list(expected.table.index)
        for name, place, score, low, high, ratios in of_page["rows"]:
            row = expected.table.loc[name]
            assert place == row["place"]
            ties += "to" in place
            assert [score, low, high] == pytest.approx(row[["score", "low", "high"]].tolist(), abs=2e-6)
            assert ratios == pytest.approx({metric: row[metric] for metric in ratios}, rel=2e-6)
    assert ties > 20
    assert "snap-twojmax4" in pages[0]["lacking"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the sliders were not moved")
def test_a_slider_changes_the_verdict_at_once(with_intervals, tmp_path):
    script = """const said = () => document.getElementById("verdict-said").textContent;
      const found = [said()];
      for (const slider of document.querySelectorAll("#sliders input, #more-sliders input")) {
        slider.value = slider.dataset.metric === "cost_ratio" ? 1 : 0;
        slider.dispatchEvent(new Event("input"));
      }
      found.push(said(), location.hash, document.getElementById("profile").value);
      const select = document.getElementById("profile");
      select.value = "accuracy";
      select.dispatchEvent(new Event("change"));
      return [...found, said(), location.hash];"""
    found, log = probe(with_intervals / "report.html", script, 1440, tmp_path)
    assert "CONSOLE" not in log
    read = content.read(with_intervals)
    cheapest = read.ranking["cost_ratio"].idxmin()
    assert found[0] == verdict.sentence(read.evidence, read.verdict)
    assert found[1].startswith(f"Best by own weights: {cheapest},")
    assert found[2:4] == ["#weights=cost_ratio%3A1", "own weights"]
    accurate = verdict.of(read.evidence, profiles.shipped("accuracy"))
    assert found[4:] == [verdict.sentence(read.evidence, accurate), "#profile=accuracy"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the first view was not looked at")
def test_title_verdict_and_front_are_seen_without_scrolling(with_intervals, tmp_path):
    script = """return ["h1", "#verdict-said", "#front-plate svg", "#sliders"].map((what) =>
      document.querySelector(what).getBoundingClientRect().bottom);"""
    bottoms, _ = probe(with_intervals / "report.html", script, 1440, tmp_path)
    assert all(0 < bottom < 800 for bottom in bottoms), bottoms
