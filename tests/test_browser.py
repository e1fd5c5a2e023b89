"""The report as a reader sees it, in headless Chromium: what a page does, and how it looks on a phone."""

import dataclasses
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, probe

from mlip_bench.report import build, content
from mlip_bench.results import RESULTS, read_rows, write_rows

EXAMPLE = Path(__file__).parent / "example"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: the report was not opened in a browser"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The example's report, built by this code."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    build(folder)
    return folder / "report.html"


def test_no_error_and_no_request(page, tmp_path):
    resources, log = probe(
        page, 'return performance.getEntriesByType("resource").map((r) => r.name);', 1440, tmp_path
    )
    assert [name for name in resources if not name.startswith("data:")] == []
    assert "CONSOLE" not in log
    assert not re.search(r'(?:src|href)="https?:', page.read_text())


def test_a_run_of_which_every_task_failed_has_a_page_that_works(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(EXAMPLE / "run.toml", folder)
    (row,) = read_rows(EXAMPLE / "results.jsonl")[:1]
    write_rows(folder / "results.jsonl", [dataclasses.replace(row, value=None, error="no data")])
    build(folder)
    shown, log = probe(
        folder / "report.html",
        """const said = document.body.textContent;
        return [document.querySelector("div.front").hidden, said.includes("no data")];""",
        1440,
        tmp_path,
    )
    assert shown == [True, True]
    assert "CONSOLE" not in log


def test_every_figure_has_visible_marks(page, tmp_path):
    script = """return [...document.querySelectorAll("figure")].map((figure) => [
      figure.id, [...figure.querySelectorAll("path, use, image")].filter((mark) => {
        const box = mark.getBoundingClientRect(); return box.width + box.height > 2; }).length]);"""
    marks, _ = probe(page, script, 1440, tmp_path)
    assert {name for name, _ in marks} >= {
        "figure-front",
        "figure-parameters",
        "figure-parity",
        "figure-training",
    }
    assert all(count > 20 for _, count in marks), marks


def test_families_can_be_switched_off(page, tmp_path):
    script = """const shown = () => [...document.querySelectorAll('[data-family="gap"]')].filter(
        (item) => getComputedStyle(item).display !== "none").length;
      const box = document.querySelector('.families input[value="gap"]');
      const counts = [shown()];
      for (let times = 0; times < 2; times++) { box.click(); counts.push(shown()); }
      return counts;"""
    (before, off, on), _ = probe(page, script, 1440, tmp_path)
    assert before > 3
    assert off == 0
    assert on == before


def test_tables_and_figures_can_be_saved(page, tmp_path):
    script = """const saved = [];
      URL.createObjectURL = (blob) => { saved.push([blob.type, blob.size]); return "data:,"; };
      HTMLAnchorElement.prototype.click = function () { saved.push(this.download); };
      document.querySelector('[data-save="csv"]').click();
      document.querySelector('[data-save="svg"]').click();
      return saved;"""
    saved, _ = probe(page, script, 1440, tmp_path)
    assert [item for item in saved if isinstance(item, str)] == ["families.csv", "front.svg"]
    assert all(size > 300 for _, size in (item for item in saved if isinstance(item, list)))


@pytest.mark.parametrize("width", [390, 1440])
def test_no_text_overlaps_and_nothing_is_wider_than_the_page(page, width, tmp_path):
    script = """const texts = [...document.querySelectorAll(
          "h1, h2, p, li, td, th, figcaption, legend, label, button, pre")]
        .filter((item) => !item.querySelector("p, li, td, th, button, label") && item.textContent.trim())
        .filter((item) => item.checkVisibility())
        .map((item) => { const range = document.createRange(); range.selectNodeContents(item);
          return [item, range.getBoundingClientRect()]; })
        .filter(([, box]) => box.width > 0);
      const overlapping = [];
      for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
        const [one, a] = texts[i], [other, b] = texts[j];
        if (one.contains(other) || other.contains(one)) continue;
        const frames = [one, other].map((item) => item.closest(".scroll"));
        if (frames[0] !== frames[1]) {
          // What is scrolled out of a table's frame is not seen.
          const inner = frames[0] ? 0 : 1, frame = frames[inner].getBoundingClientRect(), box = [a, b][inner];
          if (box.left >= frame.right || box.right <= frame.left) continue;
        }
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 2 && y > 4) overlapping.push([one.textContent.slice(0, 40), other.textContent.slice(0, 40)]);
      }
      return [overlapping.slice(0, 5), document.documentElement.scrollWidth - innerWidth];"""
    (overlapping, excess), _ = probe(page, script, width, tmp_path)
    assert overlapping == []
    assert excess <= 0


# -- what a reader chooses -------------------------------------------------------------------------------


def test_the_axes_of_the_front_are_chosen_and_remembered(page, tmp_path):
    """Points stand where the numbers of the rows say, on any axes; the address keeps the choice."""
    script = """const select = document.getElementById("axis-x");
      select.value = "n_parameters";
      select.dispatchEvent(new Event("change"));
      const names = [...document.querySelectorAll("#front-plate .mark")].map((mark) => {
        const at = mark.transform.baseVal.consolidate().matrix;
        return [mark.getAttribute("aria-label").split("\\n")[0], at.e, at.f]; });
      return [[...select.options].map((option) => option.value), location.hash, names];"""
    (axes, state, points), log = probe(page, script, 1440, tmp_path)
    assert "CONSOLE" not in log
    assert {"force_rmse", "energy_rmse", "stress_rmse", "cost_ratio", "fit_s", "n_parameters"} <= set(axes)
    assert state == "#x=n_parameters"
    ranking = content.read(EXAMPLE).ranking
    assert {name for name, _, _ in points} == set(ranking.index)
    places = pd.DataFrame(points, columns=["name", "x", "y"]).set_index("name")
    order = ranking["n_parameters"].reindex(places.index).to_numpy(float)
    assert np.corrcoef(np.log(order), places["x"])[0, 1] == pytest.approx(1, abs=1e-3)
    errors = ranking["force_rmse"].reindex(places.index).to_numpy(float)
    assert np.corrcoef(np.log(errors), -places["y"])[0, 1] == pytest.approx(1, abs=1e-3)


def test_the_front_of_the_page_is_that_of_the_report(page, tmp_path):
    script = """const [x, y] = [chosenTerm("x"), chosenTerm("y")];
      return frontOf(pointsOf(x, y), x, y).map((point) => point.name);"""
    names, _ = probe(page, script, 1440, tmp_path)
    ranking = content.read(EXAMPLE).ranking
    assert set(names) == set(ranking.index[ranking["on_front"]])


def test_tables_are_sorted_filtered_and_their_columns_hidden(page, tmp_path):
    script = """const place = document.querySelector('[data-table="ranking"]');
      const head = place.querySelectorAll("th");
      const column = [...head].findIndex((cell) => cell.textContent.startsWith("energy RMSE"));
      const cells = () => [...place.querySelectorAll("tbody tr")].filter((row) => row.offsetParent !== null)
        .map((row) => [row.cells[0].textContent, Number(row.cells[column].textContent)]);
      head[column].click(); const up = cells();
      head[column].click(); const down = cells();
      head[column].click(); const before = cells();
      const filter = place.querySelector('input[type="search"]');
      filter.value = "qsnap"; filter.dispatchEvent(new Event("input")); const filtered = cells();
      const box = place.querySelector('.columns input[value="1"]'); box.click();
      const hidden = [head[1], ...[...place.querySelectorAll("tbody tr")].map((row) => row.cells[1])];
      const isHidden = hidden.every((cell) => cell.offsetParent === null);
      return [up, down, before, filtered, isHidden, location.hash];"""
    (up, down, before, filtered, hidden, state), log = probe(page, script, 1440, tmp_path)
    assert "CONSOLE" not in log
    ranking = content.read(EXAMPLE).ranking
    assert [name for name, _ in before] == list(ranking.index)
    errors = [error for _, error in up]
    assert errors == sorted(errors) != [error for _, error in before]
    assert [error for _, error in down] == errors[::-1]
    assert [name for name, _ in filtered] == [name for name in ranking.index if "qsnap" in name]
    assert hidden
    assert state == "#filter.ranking=qsnap&hide.ranking=1"


def test_an_address_shows_what_was_chosen(page, tmp_path):
    script = """const row = document.querySelector('[data-table="ranking"] tbody tr');
      return [document.getElementById("axis-y").value, row.cells[0].textContent,
        document.querySelector('.families input[value="gap"]').checked,
        document.getElementById("verdict-said").textContent];"""
    state = "#y=energy_rmse&sort.ranking=0:up&off=gap&weights=cost_ratio:1"
    found, _ = probe(page, script, 1440, tmp_path, state)
    ranking = content.read(EXAMPLE).ranking
    assert found[:3] == ["energy_rmse", min(ranking.index), False]
    assert found[3].startswith(f"Best by own weights: {ranking['cost_ratio'].idxmin()},")


def test_a_point_opens_its_potential_with_all_its_rows(page, tmp_path):
    """The numbers of the page are those of the rows, hyper-parameters those of the run, tips name frames."""
    name = "qsnap-twojmax8"
    script = """const mark = [...document.querySelectorAll("#front-plate .mark")].find(
        (one) => one.getAttribute("aria-label").startsWith("%s"));
      mark.dispatchEvent(new MouseEvent("click", { bubbles: true }));
      const inside = document.querySelector("#potential .inside");
      const packed = await unpack("rows");
      await showPotential();
      const saved = [];
      URL.createObjectURL = (blob) => { saved.push(blob); return "data:,"; };
      HTMLAnchorElement.prototype.click = function () {};
      [...inside.querySelectorAll("button")].at(-1).click();
      save([csvOf(packed, packed.rows)], "text/csv", "all.csv");
      const charts = [...inside.querySelectorAll(".charts figure")].map((figure) => {
        const marks = figure.querySelectorAll(".mark");
        return [figure.querySelector("figcaption").textContent, marks.length, marks[0].ariaLabel]; });
      return [document.getElementById("potential").open, inside.querySelector("h2").textContent,
        location.hash, inside.querySelector(".hypers").textContent,
        await saved[0].text(), await saved[1].text(), charts];"""
    found, log = probe(page, script % name, 1440, tmp_path)
    is_open, title, state, hypers, own, every, charts = found
    assert "CONSOLE" not in log
    assert (is_open, title, state) == (True, name, f"#open={name}")
    assert "twojmax = 8" in hypers
    rows = read_rows(EXAMPLE / RESULTS)
    for text, expected in ((own, [row for row in rows if row.potential == name]), (every, rows)):
        frame = pd.read_csv(io.StringIO(text))
        assert len(frame) == len(expected)
        assert np.array_equal(
            frame["value"].to_numpy(float), np.array([row.value for row in expected], float), equal_nan=True
        )
        assert list(frame["metric"]) == [row.metric for row in expected]
    assert [caption.split(".")[0] for caption, _, _ in charts] == [
        "Parity: energy (meV/atom)",
        "Parity: force (meV/Å)",
        "Parity: stress (GPa)",
    ]
    assert all(0 < count <= 700 for _, count, _ in charts)
    assert all(tip.startswith("frame ") and "(" in tip for _, _, tip in charts)


def test_the_page_is_small_enough_to_send(page):
    assert page.stat().st_size < 5_000_000
