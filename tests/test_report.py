"""The report: complete, self-contained, and showing what the rows say."""

import base64
import dataclasses
import io
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pypdfium2 as pdfium
import pytest

from mlip_bench.data import records
from mlip_bench.errors import UserError
from mlip_bench.measure.errors.section import extrapolating
from mlip_bench.potentials.presets import hypers
from mlip_bench.report import build
from mlip_bench.report.content import read
from mlip_bench.report.fronts import on_front
from mlip_bench.results import read_rows, write_rows
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.section import drawing


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, do_plan, brief_timings_of_module):
    """A real run of small SNAP and qSNAP, cost included."""
    folder = tmp_path_factory.mktemp("report") / "run"
    data = records.load("embedded", "Mo")
    names = ("snap", "qsnap")
    plan = Plan(
        data,
        tuple(PotentialPlan(n, n, hypers(n, "standard", "Mo") | {"twojmax": 2}) for n in names),
        ("errors", "cost"),
    )
    assert not do_plan(plan, folder).failures
    build(folder)
    return folder


class Links(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        for key, value in attributes:
            if key in ("src", "href", "xlink:href", "srcset") and tag != "a":
                self.found.append(value)


def test_html_asks_for_nothing_outside(run_folder):
    text = (run_folder / "report.html").read_text()
    links = Links()
    links.feed(text)
    assert all(link.startswith(("#", "data:")) for link in links.found)
    assert not re.search(r"@import|url\(\s*['\"]?http", text)


def test_every_potential_has_a_point_with_its_numbers(run_folder):
    text = (run_folder / "report.html").read_text()
    rows = read_rows(run_folder / "results.jsonl")
    for name in ("snap", "qsnap"):
        (force,) = [
            row.value
            for row in rows
            if (row.potential, row.measure, row.metric, row.split) == (name, "errors", "force_rmse", "test")
        ]
        assert f"<title>{name}: {force:.3g} meV/Å" in text
        assert f">{force:.1f}<" in text


def test_no_identifier_occurs_twice(run_folder):
    text = (run_folder / "report.html").read_text()
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))


def test_figures_are_pictures_with_marks(run_folder):
    for name in ("front", "parameters", "parity", "groups"):
        svg = ElementTree.parse(run_folder / "figures" / f"{name}.svg").getroot()
        assert len(list(svg.iter(f"{{{drawing.SVG}}}path"))) > 20
        assert (run_folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_no_page_of_the_pdf_is_blank(run_folder):
    pages = [page.render(scale=0.5).to_numpy() for page in pdfium.PdfDocument(run_folder / "report.pdf")]
    assert len(pages) >= 3
    for number, page in enumerate(pages, 1):
        # Below the header and above the page number.
        body = page[len(page) // 20 : -len(page) // 12]
        assert np.mean(body.min(axis=2) < 200) > 0.01, f"page {number}"


def test_the_pages_of_the_contents_are_those_of_the_sections(example_pdf):
    text = [page.get_textpage().get_text_range() for page in example_pdf]
    entries = re.findall(r"^(\D+?) (\d+)\r?$", text[0], re.MULTILINE)
    listed = {title: int(page) for title, page in entries if title in ("Ranking", "Parity", "About this run")}
    assert len(listed) == 3
    assert any(title.startswith("Appendix") for title, _ in entries)
    for title, page in listed.items():
        assert re.search(rf"^{title}\r?$", text[page - 1], re.MULTILINE), title


def test_no_page_of_the_pdf_is_half_empty(example_pdf):
    """The last page aside, something stands in the last quarter of each."""
    for number, page in enumerate(list(example_pdf)[:-1], 1):
        body = page.render(scale=0.5).to_numpy()
        body = body[: -len(body) // 12]
        inked = np.flatnonzero(body.min(axis=(1, 2)) < 200)
        assert inked.max() > 0.75 * len(body), f"page {number}"


def test_no_unit_of_the_pdf_is_broken(example_pdf):
    text = "\n".join(page.get_textpage().get_text_range() for page in example_pdf)
    units = re.findall(r"\(meV[^)]*\)", text)
    assert len(units) > 20
    assert set(units) <= {"(meV/atom)", "(meV/Å)"}


@pytest.fixture(scope="module")
def example_pdf(tmp_path_factory):
    """The PDF of the committed example, by this code."""
    folder = tmp_path_factory.mktemp("example") / "run"
    shutil.copytree(Path(__file__).parent / "example", folder)
    build(folder)
    return pdfium.PdfDocument(folder / "report.pdf")


def test_the_pdf_begins_with_the_title(run_folder):
    text = pdfium.PdfDocument(run_folder / "report.pdf")[0].get_textpage().get_text_range()
    assert "Mo" in text[:80]


def test_a_failure_is_shown(run_folder, tmp_path):
    rows = read_rows(run_folder / "results.jsonl")
    failure = dataclasses.replace(
        rows[0], potential="gap", family="gap", metric="", value=None, unit="", error="it <broke> here"
    )
    write_rows(tmp_path / "results.jsonl", [*rows, failure])
    (tmp_path / "run.toml").write_text((run_folder / "run.toml").read_text())
    build(tmp_path)
    assert "it &lt;broke&gt; here" in (tmp_path / "report.html").read_text()
    assert len(read(tmp_path).failures) == 1


def test_direct_forces_are_pointed_out(run_folder, tmp_path):
    rows = read_rows(run_folder / "results.jsonl")
    rows += [
        dataclasses.replace(row, potential="direct", family="sevennet-dfs")
        for row in rows
        if row.potential == "snap"
    ]
    write_rows(tmp_path / "results.jsonl", rows)
    (tmp_path / "run.toml").write_text((run_folder / "run.toml").read_text())
    warnings = read(tmp_path).warnings
    (told,) = [text for text in warnings if "not the gradient" in text]
    assert told.startswith("sevennet-dfs predicts forces")
    assert not any(text.startswith("snap predicts") for text in warnings)


def test_structures_that_extrapolate_are_listed(tmp_path, do_plan):
    """A network fitted to the first structures only, with a real test set that leaves their range."""
    data = records.load("embedded", "Mo")
    data = dataclasses.replace(data, train=data.train[:6])
    settings = {"hidden": [4, 4], "epochs": 1, "gauss_newton_steps": 0, "cutoff": 4.5}
    plan = Plan(data, (PotentialPlan("nnp", "nnp", settings),), ("errors",), preset="quick")
    tmp_path = tmp_path / "run"
    assert not do_plan(plan, tmp_path).failures
    build(tmp_path)
    outside = extrapolating(read(tmp_path).evidence)
    total = sum(
        row.value
        for row in read_rows(tmp_path / "results.jsonl")
        if row.split == "test" and row.metric == "extrapolating_atoms"
    )
    assert outside["n_outside"].sum() == total > 0
    worst = outside.iloc[0]
    html = (tmp_path / "report.html").read_text()
    assert f"<td>{worst.n_outside} of {worst.n_atoms}</td>" in html


def test_errors_without_cost_still_make_a_report(run_folder, tmp_path):
    rows = [row for row in read_rows(run_folder / "results.jsonl") if row.measure != "cost"]
    write_rows(tmp_path / "results.jsonl", rows)
    (tmp_path / "run.toml").write_text((run_folder / "run.toml").read_text())
    build(tmp_path)
    assert (tmp_path / "report.pdf").is_file()


def test_front_is_the_points_that_nothing_beats():
    cost = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": 2.0, "e": np.nan})
    error = pd.Series({"a": 9.0, "b": 5.0, "c": 6.0, "d": 5.0, "e": 1.0})
    assert on_front(cost, error).to_dict() == {"a": True, "b": True, "c": False, "d": True, "e": False}


def test_a_file_that_is_no_result(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"x": 1}\n')
    with pytest.raises(UserError, match="not a results file"):
        read(tmp_path)


def test_the_page_has_all_rows_as_parquet(run_folder):
    text = (run_folder / "report.html").read_text()
    (packed,) = re.findall(r'href="data:application/vnd.apache.parquet;base64,([^"]+)"', text)
    frame = pd.read_parquet(io.BytesIO(base64.b64decode(packed)))
    rows = read_rows(run_folder / "results.jsonl")
    assert len(frame) == len(rows)
    assert frame["metric"].tolist() == [row.metric for row in rows]
    values = [np.nan if row.value is None else row.value for row in rows]
    np.testing.assert_array_equal(frame["value"].to_numpy(dtype=float), values)
