"""Sections and looks are brought by measures and families: the report names none, and lays out any."""

import ast
import dataclasses
import re
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pypdfium2 as pdfium
import pytest

from mlip_bench import measure, potentials, report
from mlip_bench.measure import MEASURES, Measure, Metric, reported
from mlip_bench.measure.direct.section import Pair, pairs
from mlip_bench.potentials import family, family_names
from mlip_bench.potentials.snap import SNAP
from mlip_bench.report import build, content
from mlip_bench.results import RESULTS, read_rows, write_rows
from mlip_bench.section.drawing import new_sketch
from mlip_bench.section.looks import looks
from mlip_bench.section.parts import Axis, Column, Plot, Section, Sentences, Table, joined

REPORT = Path(report.__file__).parent
PACKAGE = REPORT.parent
EXAMPLE = Path(__file__).parent / "example"


# -- the report names nobody -----------------------------------------------------------------------------


def strings_of(path):
    """All strings of a file but docstrings, which nothing depends on."""
    if path.suffix != ".py":
        return [path.read_text()]
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    said = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    said |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in said)
    return [node.value for node in constants if isinstance(node.value, str)]


FILES = [path for path in sorted(REPORT.rglob("*")) if path.suffix in (".py", ".jinja", ".js")]

# A plain word in sentences too: it is a name where the string is nothing else.
WORDS = {"errors"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_report_names_no_measure_and_no_family(path):
    names = {one.name for one in reported()} | set(family_names())
    assert {"errors", "cost", "fit", "snap"} <= names
    for text in strings_of(path):
        assert text not in names
        words = re.findall(r"[\w-]+", text)
        assert not (names - WORDS) & set(words), text


def imported(path):
    """The parts of the package that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("mlip_bench.")}


def test_the_report_knows_no_module_of_a_measure_or_family():
    modules = {
        f"mlip_bench.{kind}.{path.stem}"
        for kind in ("measure", "potentials")
        for path in (PACKAGE / kind).iterdir()
        if path.stem != "__init__"
    }
    assert {"mlip_bench.measure.cost", "mlip_bench.potentials.snap"} <= modules
    for path in REPORT.glob("*.py"):
        known = imported(path)
        assert not known & modules, path
        assert not any(name.startswith(("mlip_bench.run", "mlip_bench.cli")) for name in known), path


# -- a measure of another kind ---------------------------------------------------------------------------


def draw():
    sketch = new_sketch("hardness", 5, 3)
    sketch.canvas.subplots().plot([0, 1], [0, 1])
    return sketch


def of_hardness(evidence):
    rows = evidence.of("hardness")
    if rows.empty:
        return []
    cells = [[row.potential, f"{row.value:.1f}"] for row in rows.itertuples()]
    parts = [
        Plot("hardness", "Hardness, drawn.", draw),
        Sentences(["Harder than it looks."]),
        Table(["potential", "hardness (GPa)"], cells, note="Read with care.", name="hardness"),
    ]
    return [Section("Hardness of the crystal", parts, place=45, warnings=["Hardness is hardly known."])]


HARDNESS = Measure(
    "hardness", {"hardness": Metric("GPa", "hardness")}, lambda *_: [], 1, (), sections=of_hardness
)


def of_example(folder, *rows):
    """The example's run with more rows, each made from its first one."""
    shutil.copytree(EXAMPLE, folder)
    known = read_rows(folder / RESULTS)
    write_rows(folder / RESULTS, [*known, *(dataclasses.replace(known[0], **keys) for keys in rows)])
    return folder


def test_a_measure_brings_its_section_to_html_and_pdf(tmp_path, monkeypatch):
    monkeypatch.setitem(MEASURES, "hardness", HARDNESS)
    row = {"measure": "hardness", "metric": "hardness", "value": 12.34, "split": None}
    folder = of_example(tmp_path / "run", row)
    build(folder)
    html = (folder / "report.html").read_text()
    pages = pdfium.PdfDocument(folder / "report.pdf")
    pdf = " ".join(page.get_textpage().get_text_range() for page in pages)
    for text in (
        "Hardness of the crystal",
        "Harder than it looks.",
        "12.3",
        "Read with care.",
        "Hardness, drawn.",
        "Hardness is hardly known.",
    ):
        assert text in html, text
        assert text in pdf, text
    assert 'id="figure-hardness"' in html
    assert (folder / "figures" / "hardness.svg").is_file()
    # Before the failures and after the errors, where its place is.
    assert (
        html.index("Errors per group") < html.index("Hardness of the crystal") < html.index("How to repeat")
    )


def test_a_measure_without_rows_has_no_section(tmp_path, monkeypatch):
    monkeypatch.setitem(MEASURES, "hardness", HARDNESS)
    read = content.read(EXAMPLE)
    assert "Hardness of the crystal" not in [section.heading for section in read.sections]


def axis(metric, quantity):
    said = lambda row: f"{row[metric]:.0f} {quantity}s"  # noqa: E731
    return Axis(metric, quantity, f"{quantity} (1)", ".0f", say=said, tip=said)


def test_the_first_page_is_of_what_is_declared_as_error_and_cost(tmp_path, monkeypatch):
    """With other measures the report has another first page: nothing of it is fixed in the report."""
    guesses = Measure(
        "guesses",
        {"wrong": Metric("1", "wrong guesses")},
        lambda *_: [],
        revision=1,
        packages=(),
        ranked=True,
        errors=(axis("wrong", "guess"),),
        columns=(Column("wrong (1)", "wrong", ".0f"),),
    )
    price = Measure(
        "price",
        {"coins": Metric("1", "coins")},
        lambda *_: [],
        revision=1,
        packages=(),
        ranked=True,
        costs=(axis("coins", "coin"),),
        note=lambda evidence: "Coins are of gold.",
    )
    monkeypatch.setattr(measure, "MEASURES", {"guesses": guesses, "price": price})
    known = read_rows(EXAMPLE / RESULTS)
    rows = [
        dataclasses.replace(
            known[0], potential=name, measure=one, metric=metric, value=value, split=split, hypers_sha256=name
        )
        for name, wrong, coins in (("dear", 10.0, 90.0), ("cheap", 30.0, 3.0), ("bad", 50.0, 60.0))
        for one, metric, value, split in (
            ("guesses", "wrong", wrong, "test"),
            ("price", "coins", coins, None),
        )
    ]
    shutil.copy(EXAMPLE / "run.toml", tmp_path)
    write_rows(tmp_path / RESULTS, rows)
    build(tmp_path)
    read = content.read(tmp_path)
    assert read.findings == [
        "Smallest guess error on the test data: dear, 10 guesss.",
        "Cheapest: cheap, 3 coins, 30.0 times cheaper than dear, at 30 guesss.",
        "On the Pareto front of guess error and coin, from cheap to dear: cheap, dear.",
    ]
    html = (tmp_path / "report.html").read_text()
    assert "Coins are of gold." in html
    assert "<title>dear: 10 guesss, 90 coins" in html
    assert "force" not in re.sub(r"<(style|script|svg).*?</\1>|<pre>.*?</html>", "", html, flags=re.S)


# -- parts -----------------------------------------------------------------------------------------------


def test_sections_of_one_heading_become_one_and_so_do_their_tables():
    one = Table(["", "a"], [["x", "1"]], note="N.", shades={(0, 1): 2}, families=("f",))
    more = Table(["", "a"], [["y", "2"]], frozenset({0}), note="N.", shades={(0, 1): 1}, families=("g",))
    other = Table(["", "b"], [["z", "3"]])
    plot = Plot("p", "", draw)
    found = joined(
        [
            Section("Late", [other], place=9),
            Section("Both", [more, plot], place=2, warnings=["second"]),
            Section("Both", [one, other], place=1, warnings=["first"]),
        ]
    )
    assert [section.heading for section in found] == ["Both", "Late"]
    both = found[0]
    table = Table(
        ["", "a"],
        [["x", "1"], ["y", "2"]],
        frozenset({1}),
        note="N.",
        families=("f", "g"),
        shades={(0, 1): 2, (1, 1): 1},
    )
    assert both.parts == [table, other, plot]
    assert both.warnings == ["first", "second"]


# -- families of other packages --------------------------------------------------------------------------


class Plain(SNAP):
    """Declares nothing: what it inherits is SNAP's."""

    family: ClassVar[str] = "plain"


class Imitator(SNAP):
    """Declares the colour of a family that comes before it."""

    family: ClassVar[str] = "zz-imitator"
    look: ClassVar[tuple[str, str] | None] = SNAP.look


class PlainDirect(Plain):
    """Predicts forces directly."""

    family: ClassVar[str] = "plain-direct"
    conservative: ClassVar[bool] = False
    counterpart: ClassVar[str] = "plain"


@pytest.fixture
def plugins(monkeypatch):
    known = potentials._registered()
    more = {
        kind.family: EntryPoint(kind.family, f"{__name__}:{kind.__name__}", "mlip_bench.potentials")
        for kind in (Plain, Imitator, PlainDirect)
    }
    monkeypatch.setattr(potentials, "_registered", lambda: {**known, **more})


def test_every_family_has_a_colour_and_a_marker_of_its_own(plugins):
    unknown = [f"unknown{index}" for index in range(20)]
    found = looks(unknown)
    assert set(found) == {*family_names(), *unknown}
    assert len(set(found.values())) == len(found)
    declared = [name for name in family_names() if vars(family(name)).get("look")]
    assert len(declared) == 11
    for name in declared:
        if name != Imitator.family:
            assert found[name] == family(name).look
    # The first colours are all different, not only in their markers.
    first = [found[name][0] for name in family_names()]
    assert len(set(first)) == len(first)


def test_a_family_has_the_same_look_in_every_report(plugins):
    assert looks(["other", "another"])["plain"] == looks()["plain"] == looks(["zz"])["plain"]


def test_a_plugin_s_direct_forces_stand_beside_the_family_they_derive_from(plugins, tmp_path):
    """Pairs come from what families declare, not from names."""
    keys = {"measure": "direct-vs-conservative", "metric": "single_point_s", "n_atoms": 416, "split": None}
    error = {"measure": "errors", "metric": "force_rmse", "split": "test"}
    of_family = [
        {"potential": name, "family": of, "hypers_sha256": name, "value": value}
        for name, of, value in (("p", "plain", 4.0), ("d", "plain-direct", 2.0), ("q", "qsnap", 1.0))
    ]
    folder = of_example(
        tmp_path / "run", *(keys | one for one in of_family), *(error | one for one in of_family)
    )
    evidence = content.read(folder).evidence
    assert pairs(evidence) == [Pair("p", "d", on_slide=False)]
    build(folder)
    html = (folder / "report.html").read_text()
    assert "<td>2.00</td>" in html[html.index("Direct against conservative forces") :]
    # Nothing of the slide is said of networks that are not on it.
    assert "on the slide" not in html
    assert evidence.color("plain") in html


def test_of_several_pairs_the_one_called_by_its_families_is_set_side_by_side(plugins, tmp_path):
    keys = {"measure": "direct-vs-conservative", "metric": "single_point_s", "n_atoms": 416, "split": None}
    error = {"measure": "errors", "metric": "force_rmse", "split": "test"}
    names = [("plain", "plain"), ("plain-direct", "plain-direct"), ("read", "plain")]
    rows = [
        kind | {"potential": name, "family": of, "hypers_sha256": name, "value": 1.0}
        for kind in (keys, error)
        for name, of in names
    ]
    evidence = content.read(of_example(tmp_path / "run", *rows)).evidence
    assert pairs(evidence) == [Pair("plain", "plain-direct", on_slide=False)]
    # Without such names, nothing says which of the two it is.
    twice = [row | {"potential": row["potential"].replace("plain", "fit")} for row in rows]
    evidence = content.read(of_example(tmp_path / "twice", *twice)).evidence
    assert pairs(evidence) == []


# -- revisions -------------------------------------------------------------------------------------------


def revised(folder, of_row):
    """The example, each row with the revisions that a function gives it."""
    shutil.copytree(EXAMPLE, folder)
    rows = read_rows(folder / RESULTS)
    write_rows(folder / RESULTS, [dataclasses.replace(row, **of_row(row)) for row in rows])
    return [text for text in content.read(folder).warnings if "revisions" in text]


def test_numbers_of_two_revisions_never_meet_without_a_sentence(tmp_path):
    best = content.read(EXAMPLE).ranking.index[0]

    def measured(row):
        return {"revision": 2 if row.potential == best and row.measure.startswith("errors") else 1}

    (told,) = revised(tmp_path / "measured", measured)
    assert told.startswith("Numbers of errors were measured with several revisions of its code (1, 2)")

    def fitted(row):
        return {"revision": 1, "family_revision": 3 if row.potential.endswith("twojmax8") else None}

    found = revised(tmp_path / "fitted", fitted)
    assert [text.split(" were ")[0] for text in found] == ["Numbers of qsnap", "Numbers of snap"]
    assert all("(one before they were counted, 3)" in text for text in found)


def test_numbers_of_one_revision_need_no_sentence(tmp_path):
    assert revised(tmp_path / "one", lambda row: {"revision": 4, "family_revision": 7}) == []
    assert revised(tmp_path / "none", lambda row: {}) == []


def test_revisions_are_kept_with_the_rows(tmp_path):
    row = dataclasses.replace(read_rows(EXAMPLE / RESULTS)[0], revision=3, family_revision=5)
    write_rows(tmp_path / RESULTS, [row])
    assert read_rows(tmp_path / RESULTS) == [row]
