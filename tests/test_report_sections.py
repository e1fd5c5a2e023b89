"""Sections of measures that not every run has, from rows of real runs."""

import dataclasses
import io
import shutil
import tomllib
from pathlib import Path

import pypdfium2 as pdfium
import pytest
import tomli_w
from PIL import Image

from mlip_bench.errors import UserError
from mlip_bench.measure.direct.section import comparison, findings
from mlip_bench.measure.scaling.section import table as table_of_sizes
from mlip_bench.measure.stability.section import table as table_of_dynamics
from mlip_bench.report import build, content, pair, pdf, tables
from mlip_bench.results import RESULTS, file_name, read_rows, write_rows
from mlip_bench.section.drawing import Figure
from mlip_bench.section.parts import Table

ROOT = Path(__file__).parents[1]
MO = ROOT / "docs" / "direct-vs-conservative" / "mo.jsonl"


def picture(width, height):
    image = io.BytesIO()
    Image.new("RGB", (width, height)).save(image, "png")
    return image.getvalue()


def test_a_tall_figure_stays_with_its_heading():
    """A figure of a whole page, as parity plots of seven potentials, left a page with a heading only."""
    document = pdf.Document()
    document.add_page()
    for page in (1, 2):
        document.section(f"Parity {page}", [Figure("parity", "A caption.", "", picture(60, 300), 7.0)])
    document.flush()
    assert document.pages_of == {"Parity 1": 1, "Parity 2": 2}
    assert document.page_no() == 2
    document.output()  # closes the fonts


def test_a_figure_without_room_waits_while_the_text_goes_on():
    document = pdf.Document()
    document.add_page()
    document.section("First", [Table(["a", "b"], [["x", "1"]] * 25)])
    figure = Figure("f", "Drawn.", "", picture(100, 90), 7.0)
    document.section(
        "Figure first", [figure, Table(["a", "b"], [[f"row{index}", "2"] for index in range(20)])]
    )
    document.section("Alone", [figure])
    document.flush()
    assert document.pages_of == {"First": 1, "Figure first": 1, "Alone": 3}
    text = [page.get_textpage().get_text_range() for page in pdfium.PdfDocument(bytes(document.output()))]
    # The table goes on below the figure, which waited for the next page.
    assert "row2" in text[0]
    assert "Figure 1. Drawn." in text[1]
    assert text[1].index("Figure 1. Drawn.") < text[1].index("row19")


def test_a_table_that_is_too_wide_stands_in_parts_and_breaks_no_word():
    document = pdf.Document()
    document.add_page()
    headings = ["potential", *(f"quantity{index} (meV/atom/step)" for index in range(12))]
    document.show(Table(headings, [["name", *(f"{index}.5" for index in range(12))]]))
    (page,) = pdfium.PdfDocument(bytes(document.output()))
    text = page.get_textpage().get_text_range()
    assert all(f"quantity{index}" in text and f"{index}.5" in text for index in range(12))
    assert text.count("(meV/atom/step)") == 12
    assert text.count("potential") > 1


@pytest.fixture
def folder(tmp_path):
    """A run with the rows of the two SevenNets on mlearn Mo."""
    described = (ROOT / "tests" / "example" / "run.toml").read_text()
    of_example = tomllib.loads(described)["dataset"]["sha256"]
    (tmp_path / "run.toml").write_text(described.replace(of_example, read_rows(MO)[0].dataset_sha256))
    shutil.copy(MO, tmp_path / RESULTS)
    return tmp_path


def value(rows, potential, metric, n_atoms=None):
    (found,) = [
        row.value
        for row in rows
        if (row.potential, row.metric) == (potential, metric)
        and row.measure == direct_measure
        and n_atoms in (None, row.n_atoms)
    ]
    return found


direct_measure = "direct-vs-conservative"


def test_direct_against_conservative_forces(folder):
    rows, read = read_rows(folder / RESULTS), content.read(folder).evidence
    table = comparison(read)
    assert table.headings == ["", "sevennet", "sevennet-dfs", "sevennet / sevennet-dfs"]
    cells = {row[0]: row[1:] for row in table.rows}
    ratio = value(rows, "sevennet", "single_point_s", 2000) / value(
        rows, "sevennet-dfs", "single_point_s", 2000
    )
    assert cells["single point, 2000 atoms (ms)"][2] == f"{ratio:.2f}"
    assert float(cells["curl of the forces, ‖J - Jᵀ‖ / ‖J‖, 16 atoms"][1]) > 0.01
    sentences = findings(read)
    assert len(sentences) == 4
    assert all("not reproduced" in sentence for sentence in sentences[:3])
    build(folder)
    html = (folder / "report.html").read_text()
    assert "Direct against conservative forces" in html
    assert "Cost over supercell sizes" not in html
    assert (folder / "figures" / "direct.svg").is_file()


def test_one_network_alone_has_a_table_without_ratios(folder):
    rows = [row for row in read_rows(folder / RESULTS) if row.potential == "sevennet"]
    write_rows(folder / RESULTS, rows)
    read = content.read(folder).evidence
    assert comparison(read).headings == ["", "sevennet"]
    assert findings(read) == []
    build(folder)
    assert not (folder / "figures" / "direct.svg").exists()


def add(folder, measure, values):
    """Add rows of a measure to the run; the other keys are those of a real row."""
    rows = read_rows(folder / RESULTS)
    like = next(row for row in rows if row.potential == "sevennet")
    added = [dataclasses.replace(like, measure=measure, **{"split": None, **keys}) for keys in values]
    write_rows(folder / RESULTS, rows + added)


def test_scaling_stands_beside_the_paper(folder):
    sizes = {432: 0.02, 2000: 0.1, 5488: 0.3}
    values = [
        {"metric": metric, "value": value, "n_atoms": n_atoms, "family": "gap", "potential": "sevennet"}
        for n_atoms, seconds in sizes.items()
        for metric, value in (("s_per_step", seconds), ("cost_ratio", 2.0), ("peak_kib_per_atom", 3.0))
    ]
    values.append({"metric": "exponent", "value": 1.07, "spread": 0.02})
    values.append({"metric": "stopped_by_time", "value": 400.0, "n_atoms": 11664})
    add(folder, "scaling", values)
    (row,) = table_of_sizes(content.read(folder).evidence).rows
    # Table S11: GAP 6.711 s, SNAP 0.294 s for 2000 atoms.
    assert row[2] == f"0.1; 2.00 [{6.711 / 0.294:.2f}]"
    assert row[4:] == ["1.070 ± 0.020", "3.0", "11664 atoms: 400 s"]
    build(folder)
    assert "Cost over supercell sizes" in (folder / "report.html").read_text()
    assert "mathdefault" not in (folder / "figures" / "scaling.svg").read_text()


def test_an_explosion_is_shown(folder):
    values = [
        {"metric": metric, "value": value, "group": "2606 K", "n_atoms": 128}
        for metric, value in (("held_ps", 0.1), ("exploded", 1.0), ("largest_force", 58.7))
    ]
    add(folder, "stability-by-group", values)
    (row,) = table_of_dynamics(content.read(folder).evidence).rows
    assert row == ["sevennet: 2606 K", "0.10", "1", "58.70"]
    build(folder)
    assert "Dynamics that hold" in (folder / "report.html").read_text()


def test_imaginary_phonons_are_a_warning(folder):
    add(folder, "phonons", [{"metric": "lowest_frequency", "value": -1.25}])
    assert any(
        "imaginary phonons (down to -1.25 THz)" in warning for warning in content.read(folder).warnings
    )


def test_notes_on_values_name_their_data_where_they_are_of_data(folder):
    add(folder, "phonons", [{"metric": "lowest_frequency", "value": 1.0, "note": "as it is"}])
    add(folder, "errors", [{"metric": "force_mae", "value": 9.0, "split": "train", "note": "of few"}])
    warnings = content.read(folder).warnings
    assert "phonons of sevennet: as it is." in warnings
    assert "errors of sevennet on train data: of few." in warnings


def test_what_is_true_of_many_is_said_once(folder):
    """A sweep of 35 sizes had 35 warnings of a busy machine."""
    rows = [row for row in read_rows(folder / RESULTS) if row.metric == "ruler_s_per_step"]
    assert rows
    busy = [
        dataclasses.replace(rows[0], potential=f"size{index}", value=1.0, spread=0.1 + 0.01 * index)
        for index in range(9)
    ]
    write_rows(folder / RESULTS, [*read_rows(folder / RESULTS), *busy])
    warnings = [text for text in content.read(folder).warnings if "busy" in text]
    assert len(warnings) == 1
    assert "more: the ruler's blocks spread by up to 18 %" in warnings[0]


def copied(folder, rows, **changes):
    """A run folder with the example's description and these rows."""
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "example" / "run.toml", folder)
    write_rows(folder / RESULTS, [dataclasses.replace(row, **changes) for row in rows])
    return folder


def test_two_runs_stand_side_by_side(tmp_path):
    rows = read_rows(ROOT / "tests" / "example" / RESULTS)
    old, new = copied(tmp_path / "old", rows), copied(tmp_path / "new", rows, cpu="another processor")
    shutil.copytree(ROOT / "tests" / "example" / "predictions", new / "predictions")
    pair.merge(old, new, tmp_path / "pair")
    build(tmp_path / "pair")
    read = content.read(tmp_path / "pair")
    names = {row.potential for row in rows}
    assert set(read.ranking.index) == {f"{name} ({label})" for name in names for label in ("old", "new")}
    predicted = {path.stem for path in (new / "predictions").glob("*.npz")}
    assert set(read.evidence.predictions) == {f"{name} (new)" for name in predicted} != set()
    assert any("different processors" in warning for warning in read.warnings)


def test_two_runs_with_other_seeds_are_not_taken_for_one(tmp_path):
    """Seeds of one run are one potential; here the second run vanished in the means of the first."""
    rows = read_rows(ROOT / "tests" / "example" / RESULTS)
    pair.merge(copied(tmp_path / "old", rows), copied(tmp_path / "new", rows, seed=1), tmp_path / "pair")
    read = content.read(tmp_path / "pair")
    assert set(read.ranking.index) == {
        f"{row.potential} ({label})" for row in rows for label in ("old", "new")
    }


def test_what_differs_of_two_runs_is_said_of_each(tmp_path):
    rows = read_rows(ROOT / "tests" / "example" / RESULTS)[:1]
    old, new = copied(tmp_path / "old", rows), copied(tmp_path / "new", rows)
    described = tomllib.loads((new / "run.toml").read_text())
    described |= {"seed": 7, "notes": ["Left out, the budget does not pay for them: gap."]}
    for folder, folds in ((old, 5), (new, 3)):
        described["options"] = {"held-out": {"folds": folds}, "eos": {"points": 7}}
        (folder / "run.toml").write_text(tomli_w.dumps(described | {"seed": 0 if folder == old else 7}))
    pair.merge(old, new, tmp_path / "pair")
    read = content.read(tmp_path / "pair")
    facts = dict(tables.facts(read))
    assert facts["Preset and seed (new)"].endswith("seed 7")
    assert facts["Preset and seed (old)"].endswith("seed 0")
    assert "Hardware" in facts
    assert "new: Left out, the budget does not pay for them: gap." in read.warnings
    assert read.run["options"] == {"eos": {"points": 7}}
    with pytest.raises(UserError, match="one of the two runs is there"):
        pair.merge(old, new, old)


def test_notes_longer_than_a_page_are_written(tmp_path):
    rows = read_rows(ROOT / "tests" / "example" / RESULTS)
    folder = copied(tmp_path / "run", rows)
    described = tomllib.loads((folder / "run.toml").read_text())
    described["dataset"]["notes"] = [
        f"frame {number} of {'a long path/' * 9} has no forces" for number in range(60)
    ]
    (folder / "run.toml").write_text(tomli_w.dumps(described))
    build(folder)
    text = "".join(page.get_textpage().get_text_range() for page in pdfium.PdfDocument(folder / "report.pdf"))
    assert "frame 59 of" in " ".join(text.lower().split())


def test_predictions_and_curves_of_any_name_stand_side_by_side(tmp_path):
    """A slash in a name is no folder, and a name that begins as another is not taken for it."""
    like = read_rows(ROOT / "tests" / "example" / RESULTS)[0]
    rows = [
        dataclasses.replace(like, potential=name, measure=measure)
        for name, measure in (("a/b", "errors"), ("a/b-phonons", "errors"), ("a/b", "phonons"))
    ]
    old, new = copied(tmp_path / "old", rows), copied(tmp_path / "new", rows)
    for kind, stem in (("predictions", "a/b"), ("predictions", "a/b-phonons"), ("curves", "a/b-phonons")):
        (new / kind).mkdir(exist_ok=True)
        (new / kind / f"{file_name(stem)}.npz").write_bytes(f"{kind} {stem}".encode())
    pair.merge(old, new, tmp_path / "pair")
    found = {
        path.relative_to(tmp_path / "pair").as_posix(): path.read_text()
        for path in (tmp_path / "pair").rglob("*.npz")
    }
    assert found == {
        f"predictions/{file_name('a/b (new)')}.npz": "predictions a/b",
        f"predictions/{file_name('a/b-phonons (new)')}.npz": "predictions a/b-phonons",
        f"curves/{file_name('a/b (new)-phonons')}.npz": "curves a/b-phonons",
    }


def test_runs_on_other_data_are_kept_apart(tmp_path):
    rows = read_rows(ROOT / "tests" / "example" / RESULTS)
    old, new = copied(tmp_path / "old", rows), copied(tmp_path / "new", rows)
    described = (new / "run.toml").read_text()
    own = content.read(old).run["dataset"]["sha256"]
    (new / "run.toml").write_text(described.replace(own, "0" * 64))
    with pytest.raises(UserError, match="runs on different data"):
        pair.merge(old, new, tmp_path / "pair")
    # Rows of other data in one folder are left out, and that is said.
    other = [dataclasses.replace(row, dataset_sha256="0" * 64, dataset="other") for row in rows[:3]]
    write_rows(old / RESULTS, rows + other)
    assert any("3 rows belong to other data (other)" in warning for warning in content.read(old).warnings)
