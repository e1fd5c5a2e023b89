"""The report as a reader sees it, in headless Chromium: what a page does, and how it looks on a phone."""

import re
import shutil
from pathlib import Path

import pytest
from browser import CHROMIUM, probe

from mlip_bench.report import build

EXAMPLE = Path(__file__).parents[1] / "reports" / "example"

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


def test_the_page_is_small_enough_to_send(page):
    assert page.stat().st_size < 5_000_000
