"""What the numbers of a report are: stress that was not fitted, µs by one ruler, energies after a shift."""

import dataclasses
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
import pytest
import tomli_w
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data.reference import labelled
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.md import boxes
from mlip_bench.measure import cost, errors
from mlip_bench.measure.base import Subject
from mlip_bench.measure.cost import ruler_time, timing
from mlip_bench.measure.direct.section import comparison
from mlip_bench.measure.errors.ranking import SHIFT_NOTE, UNFITTED, stress_note
from mlip_bench.measure.errors.section import groups, train_errors
from mlip_bench.potentials import family, family_names
from mlip_bench.potentials.base import Potential, Prediction, silent
from mlip_bench.potentials.presets import hypers
from mlip_bench.report import build, content, figures, pdf, tables
from mlip_bench.results import RESULTS, read_rows, table, write_rows
from mlip_bench.run.folder import describe
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.section import drawing
from mlip_bench.section.drawing import new_sketch
from mlip_bench.section.parts import Plot, Table

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "tests" / "example"
DIRECT_ROWS = ROOT / "docs" / "direct-vs-conservative" / "mo.jsonl"

# -- stress that was not fitted --------------------------------------------------------------------------

DECIDING = {
    "snap": "stress_weight",
    "qsnap": "stress_weight",
    "gap": "sigma_virial",
    "mtp": "stress_weight",
    "sevennet": "stress_weight",
    "sevennet-dfs": "stress_weight",
    "leignn": "stress_weight",
    "leignn-gradient": "stress_weight",
}


@pytest.mark.parametrize(("name", "key"), DECIDING.items())
def test_a_hyper_parameter_decides_whether_stress_is_fitted(name, key):
    assert not family(name)(**{key: 0.0}).fits_stress
    assert family(name)(**{key: 0.01}).fits_stress


def test_every_family_says_whether_it_fits_stress():
    assert set(family_names()) == {*DECIDING, "nnff", "nnp"}
    assert not family("nnp")().fits_stress
    assert not family("nnff")().fits_stress
    # A family that says nothing has the base class's answer.
    assert Potential.fits_stress.fget(None) is True


def described(data, plans, folder):
    describe(Plan(data, plans, ("errors",)), folder, ["mlip-bench", "run"], {})
    return tomllib.loads((folder / "run.toml").read_text())["potentials"]


def test_a_run_says_which_potentials_are_fitted_to_stress(embedded, tmp_path):
    plans = (
        PotentialPlan("snap", "snap", {}),
        PotentialPlan("mtp", "mtp", {}),
        PotentialPlan("read", "snap", {}, source=potentials_folder() / timing.RULER),
    )
    said = {name: entry.get("fits_stress") for name, entry in described(embedded, plans, tmp_path).items()}
    assert said == {"snap": True, "mtp": False, "read": None}
    bare = [
        labelled(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces(), None)
        for atoms in embedded.train[:3]
    ]
    said = described(dataclasses.replace(embedded, train=bare), plans, tmp_path)
    assert said["snap"]["fits_stress"] is False


def example_without(folder, removed):
    """The example as a run that does not say of some potentials whether they are fitted to stress."""
    shutil.copytree(EXAMPLE, folder)
    run = tomllib.loads((folder / "run.toml").read_text())
    for name in removed:
        run["potentials"][name].pop("fits_stress")
    (folder / "run.toml").write_text(tomli_w.dumps(run))
    return folder


def marked(of):
    place = of.headings.index("stress RMSE (GPa)")
    return {row[0] for row in of.rows if row[place].endswith(UNFITTED)}


def test_stress_that_was_not_fitted_is_marked(tmp_path):
    folder = example_without(tmp_path / "run", ["mtp-level4"])
    read = content.read(folder)
    unfitted = {
        name
        for name, entry in read.run["potentials"].items()
        if entry["family"] in ("gap", "mtp", "nnp") and name != "mtp-level4"
    }
    assert marked(tables.ranking(read)) == marked(train_errors(read.evidence)) == unfitted
    assert {name.split(": ")[1] for name in marked(groups(read.evidence))} == unfitted & set(read.shown)
    for of in (
        tables.ranking(read),
        train_errors(read.evidence),
        groups(read.evidence),
    ):
        assert stress_note(read.evidence) in of.note
    caption = next(figure.caption for figure in figures.draw(read) if figure.name == "parity")
    assert caption.endswith(stress_note(read.evidence))


def test_a_run_that_does_not_say_what_was_fitted_has_no_marks(tmp_path):
    names = tomllib.loads((EXAMPLE / "run.toml").read_text())["potentials"]
    folder = example_without(tmp_path / "run", names)
    build(folder)
    assert UNFITTED not in (folder / "report.html").read_text()
    pages = pdfium.PdfDocument(folder / "report.pdf")
    assert not any(UNFITTED in page.get_textpage().get_text_range() for page in pages)


def test_unfitted_stress_is_marked_beside_direct_forces_too(tmp_path):
    run = tomllib.loads((EXAMPLE / "run.toml").read_text())
    run["dataset"]["sha256"] = read_rows(DIRECT_ROWS)[0].dataset_sha256
    run["potentials"] = {
        "sevennet": {"family": "sevennet", "fits_stress": False, "hypers": {}},
        "sevennet-dfs": {"family": "sevennet-dfs", "fits_stress": True, "hypers": {}},
    }
    (tmp_path / "run.toml").write_text(tomli_w.dumps(run))
    shutil.copy(DIRECT_ROWS, tmp_path / RESULTS)
    found = comparison(content.read(tmp_path).evidence)
    (row,) = [row for row in found.rows if row[0].startswith("test stress")]
    assert row[1].endswith(UNFITTED)
    assert not row[2].endswith(UNFITTED)
    assert stress_note(content.read(tmp_path).evidence) in found.note


def test_no_word_of_a_table_is_broken(tmp_path):
    """Headings of the ranking were broken inside words: "parameter|s"."""
    build(shutil.copytree(EXAMPLE, tmp_path / "run"))
    pages = pdfium.PdfDocument(tmp_path / "run" / "report.pdf")
    text = pages[1].get_textpage().get_text_range()
    for word in ("parameters", "(meV/atom)", "(µs/atom/step)", "sevennet-dfs-channels16-lmax4-layers3"):
        assert word in text


def test_paper_has_the_first_rows_of_a_long_table_and_those_in_bold():
    document = pdf.Document()
    document.add_page()
    rows = [[f"row{number}", str(number)] for number in range(150)]
    document.show(Table(["potential", "value"], rows, frozenset({140}), shades={(140, 1): 2}))
    pages = pdfium.PdfDocument(bytes(document.output()))
    text = "".join(page.get_textpage().get_text_range() for page in pages)
    assert all(f"row{number}" in text for number in (0, 99, 140))
    assert not any(f"row{number}" in text for number in (100, 139, 149))
    assert "49 more rows are in the HTML report." in " ".join(text.split())


def test_a_figure_waits_while_a_paragraph_is_measured():
    """A paragraph that was measured over the end of a page took the figure that waited for the next one."""
    document = pdf.Document()
    sketch = new_sketch("waiting", 5, 3)
    sketch.canvas.subplots().plot([0, 1], [0, 1])
    figure = drawing.drawn(Plot("waiting", "What is drawn.", lambda: sketch))
    document.add_page()
    document.set_y(document.h - 24)
    document.wait("", figure)
    document.paragraph("A sentence that goes on over the end of the page. " * 20)
    document.flush()
    pages = pdfium.PdfDocument(bytes(document.output()))
    text = "".join(page.get_textpage().get_text_range() for page in pages)
    assert text.count("Figure 1. What is drawn.") == 1
    assert sum(1 for page in pages for _ in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE])) == 1


# -- µs by one time of the ruler -------------------------------------------------------------------------

timings = st.lists(
    st.tuples(
        st.sampled_from(["slow", "fast"]),  # processor
        st.floats(0.01, 100.0),  # ratio
        st.floats(0.5, 2.0),  # what the machine makes of the ruler's time
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture(scope="module")
def like():
    return next(row for row in read_rows(EXAMPLE / RESULTS) if row.metric == "cost_ratio")


def cost_rows(like, found):
    """Rows of the cost of potentials named by their places; the ruler takes 100 ms, times the drift."""
    n_ruler = len(boxes.repeated_to(timing.RULER_CRYSTAL, like.n_atoms))
    rows = []
    for place, (cpu, ratio, drift) in enumerate(found):
        seconds = 0.1 * drift
        values = {
            "ruler_s_per_step": seconds,
            "cost_ratio": ratio,
            "us_per_atom_step": 1e6 * ratio * seconds / n_ruler,
            "s_per_step": ratio * seconds * like.n_atoms / n_ruler,
        }
        rows += [
            dataclasses.replace(like, potential=f"p{place}", cpu=cpu, metric=metric, value=value)
            for metric, value in values.items()
        ]
    return table(rows), n_ruler


@given(timings)
@settings(max_examples=25, deadline=None)
def test_all_microseconds_of_a_processor_are_by_one_time_of_the_ruler(like, found):
    rows, n_ruler = cost_rows(like, found)
    shown = ruler_time.scaled(rows)
    for cpu in {cpu for cpu, *_ in found}:
        median = np.median([1e5 * drift / n_ruler for other, _, drift in found if other == cpu])
        ratios = [ratio for other, ratio, _ in found if other == cpu]
        here = shown[(shown["metric"] == "us_per_atom_step") & (shown["cpu"] == cpu)]
        assert here["value"].to_numpy() == pytest.approx(np.array(ratios) * median)
    rest = shown["metric"] != "us_per_atom_step"
    pd.testing.assert_frame_equal(shown[rest], rows[rest])


def test_the_microseconds_of_a_report_follow_its_ratios(tmp_path):
    read = content.read(EXAMPLE)
    measured = table(read_rows(EXAMPLE / RESULTS))
    seconds = measured.loc[measured["metric"] == "ruler_s_per_step", "value"]
    one = 1e6 * seconds.median() / len(boxes.repeated_to(timing.RULER_CRYSTAL, cost.N_ATOMS))
    ranking = read.ranking
    assert ranking["us_per_atom_step"].to_numpy() == pytest.approx(one * ranking["cost_ratio"].to_numpy())
    assert (
        f"{one:.1f} µs per atom and step, the median of {len(seconds)} timings" in tables.ranking(read).note
    )
    best = ranking.loc["mtp-level20"]
    assert f"({best['us_per_atom_step']:.0f} µs per atom and step)" in read.findings[1]
    (drawn,) = [figure for figure in figures.draw(read) if figure.name == "front"]
    assert f"{best['us_per_atom_step']:.0f} µs/atom/step" in drawn.svg


def test_of_two_implementations_the_cheaper_counts_and_both_are_shown(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(EXAMPLE, folder)
    rows = read_rows(folder / RESULTS)
    name = next(row.potential for row in rows if row.family == "snap" and row.measure == "cost")
    native = [
        dataclasses.replace(row, implementation="lammps")
        for row in rows
        if (row.potential, row.measure) == (name, "cost")
    ]
    shares = {"cost_ratio": 0.125, "s_per_step": 0.125, "us_per_atom_step": 0.125}
    own = [
        dataclasses.replace(row, implementation="mlip-bench", value=shares.get(row.metric, 1.0) * row.value)
        for row in native
    ]
    others = [row for row in rows if (row.potential, row.measure) != (name, "cost")]
    write_rows(folder / RESULTS, [*others, *native, *own])
    read, before = content.read(folder), content.read(EXAMPLE)
    ratio = before.ranking.loc[name, "cost_ratio"]
    row = read.ranking.loc[name]
    assert row["cost_ratio"] == pytest.approx(0.125 * ratio)
    # The ruler was timed once more, which moves the median of its times.
    microseconds = before.ranking.loc[name, "us_per_atom_step"]
    assert row["us_per_atom_step"] == pytest.approx(0.125 * microseconds, rel=0.1)
    table_ = tables.ranking(read)
    cells = dict(zip(table_.headings, next(r for r in table_.rows if r[0] == name), strict=True))
    assert cells["LAMMPS (× ruler)"] == f"{ratio:.2f}"
    assert cells["mlip-bench (× ruler)"] == cells["cost (× ruler)"] == f"{0.125 * ratio:.2f}"
    assert "the cheaper" in table_.note
    rulers = [row for row in read_rows(folder / RESULTS) if row.metric == "ruler_s_per_step"]
    assert f"the median of {len(rulers)} timings" in table_.note
    (drawn,) = [figure for figure in figures.draw(read) if figure.name == "front"]
    assert "by mlip-bench's kernels" in drawn.svg.replace("&#x27;", "'").replace("&apos;", "'")
    assert "LAMMPS (× ruler)" not in tables.ranking(before).headings


def test_a_timing_without_the_ruler_stays_as_it_was_measured(like):
    rows, _ = cost_rows(like, [("slow", 2.0, 1.0), ("fast", 3.0, 1.5)])
    alone = rows[~((rows["cpu"] == "fast") & (rows["metric"] == "ruler_s_per_step"))]
    no_ratio = rows[~((rows["cpu"] == "fast") & (rows["metric"] == "cost_ratio"))]
    for kept in (alone, no_ratio):
        shown = ruler_time.scaled(kept)
        pd.testing.assert_frame_equal(shown[shown["cpu"] == "fast"], kept[kept["cpu"] == "fast"])
    assert ruler_time.note(rows.iloc[:0]) == ""


# -- energies of read potentials, as they are and after a shift per element ------------------------------


class Offset:
    """Predicts the reference energy, another zero per element, and what ``wrong`` says per structure."""

    predicts = Potential.predicts
    predicts_energy = predicts_stress = True

    def __init__(self, zeros, wrong):
        self.zeros, self.wrong = zeros, wrong

    def predict(self, structures):
        return [self._one(atoms) for atoms in structures]

    def _one(self, atoms):
        results = atoms.calc.results
        zero = sum(self.zeros[symbol] for symbol in atoms.symbols)
        energy = results["energy"] + zero + self.wrong[atoms.info["name"]]
        return Prediction(energy, results["forces"], np.full(6, np.nan))


def frame(symbols, name):
    n = len(Atoms(symbols))
    atoms = Atoms(symbols, positions=[[2.2 * i, 0, 0] for i in range(n)], cell=[30, 9, 9], pbc=True)
    atoms.info["name"] = name
    return labelled(atoms, -3.0 * n, np.zeros((n, 3)), None)


def found_errors(embedded, folder, train, test, potential, fitted=False):
    data = dataclasses.replace(embedded, train=train, test=test)
    values = errors.run(Subject(potential, data, folder, fitted=fitted), silent)
    return {(value.metric, value.split): value for value in values if value.group is None}


COMPOSITIONS = ("Cu2", "CuAu", "Au3", "Cu3Au", "CuAu2", "Cu4")


@given(
    st.fixed_dictionaries({symbol: st.floats(-8000, 8000) for symbol in ("Cu", "Au")}),
    st.lists(st.floats(-0.1, 0.1), min_size=9, max_size=9),
)
@settings(max_examples=25, deadline=None)
def test_after_the_shift_the_zero_of_a_potential_does_not_matter(embedded, tmp_path_factory, zeros, wrong):
    folder = tmp_path_factory.mktemp("shift")
    train = [frame(symbols, name) for name, symbols in enumerate(COMPOSITIONS)]
    test = [frame(symbols, name) for name, symbols in enumerate(("CuAu", "Cu2", "CuAu3"), start=6)]
    same = found_errors(embedded, folder, train, test, Offset({"Cu": 0.0, "Au": 0.0}, wrong))
    moved = found_errors(embedded, folder, train, test, Offset(zeros, wrong))
    for split in ("train", "test"):
        for metric in ("energy_mae_shifted", "energy_rmse_shifted"):
            assert moved[metric, split].value == pytest.approx(same[metric, split].value, abs=1e-5)
    assert moved["energy_rmse_shifted", "train"].value <= moved["energy_rmse", "train"].value + 1e-9
    # The training data alone decides: what is wrong about the test data does not show in its own errors.
    more = [*wrong[:6], *(3.0 + value for value in wrong[6:])]
    other = found_errors(embedded, folder, train, test, Offset(zeros, more))
    again = other["energy_rmse_shifted", "train"].value
    assert again == pytest.approx(moved["energy_rmse_shifted", "train"].value, abs=1e-5)
    assert other["energy_mae_shifted", "test"].value > 500


def test_a_fitted_potential_has_no_shifted_errors(embedded, tmp_path):
    structures = [frame("CuAu", 0)]
    found = found_errors(embedded, tmp_path, structures, structures, Offset({"Cu": 1, "Au": 1}, [0]), True)
    assert ("energy_mae", "test") in found
    assert not any("shifted" in metric for metric, _ in found)


def test_an_element_without_a_shift_is_left_out_and_named(embedded, tmp_path):
    train = [frame("Cu2", 0), frame("Cu3", 0)]
    potential = Offset({"Cu": 5.0, "Au": 7.0}, [0.0])
    found = found_errors(embedded, tmp_path, train, [frame("Cu2", 0), frame("CuAu", 0)], potential)
    shifted = found["energy_mae_shifted", "test"]
    assert shifted.value == pytest.approx(0, abs=1e-9)
    assert "leave out 1 of 2 structures" in shifted.note
    assert shifted.note.endswith("no shift for Au")
    lost = found_errors(embedded, tmp_path, train, [frame("Au2", 0)], potential)
    assert "no shift for Au" in lost["energy_rmse_shifted", "test"].error
    assert lost["energy_rmse", "test"].value == pytest.approx(7000)


@pytest.fixture(scope="module")
def with_read(tmp_path_factory, embedded, do_plan):
    """A run of a fitted SNAP and of the published one, with energies of another zero."""
    folder = tmp_path_factory.mktemp("read") / "run"
    plans = (
        PotentialPlan("snap", "snap", hypers("snap", "quick", "Mo")),
        PotentialPlan("published", "snap", {}, source=potentials_folder() / timing.RULER),
    )
    plan = Plan(embedded, plans, ("errors",), preset="quick")
    assert not do_plan(plan, folder).failures
    build(folder)
    return folder


def test_a_read_potential_has_two_rows_each_so_called(with_read):
    read = content.read(with_read)
    test = {
        row.metric: row.value
        for row in read_rows(with_read / RESULTS)
        if (row.potential, row.measure, row.split) == ("published", "errors", "test")
    }
    assert test["energy_rmse_shifted"] < test["energy_rmse"]
    for of in (
        tables.ranking(read),
        train_errors(read.evidence),
        groups(read.evidence),
    ):
        names = [row[0].split(": ")[-1] for row in of.rows]
        assert set(names) == {"snap", "published, as it is", "published, after a shift per element"}
        assert len(of.families) in (0, len(of.rows))
        assert SHIFT_NOTE in of.note
    assert tables.ranking(read).headings[1] == "place"
    rows = {row[0]: row[2:] for row in tables.ranking(read).rows}
    assert rows["published, as it is"][1] == f"{test['energy_rmse']:.2f}"
    assert rows["published, as it is"][3] == f"{test['force_rmse']:.1f}"
    after = rows["published, after a shift per element"]
    assert after[:2] == [f"{test['energy_mae_shifted']:.2f}", f"{test['energy_rmse_shifted']:.2f}"]
    assert set(after[2:]) == {""}
    captions = {figure.name: figure.caption for figure in figures.draw(read)}
    for name in ("parameters", "parity", "groups"):
        assert "drawn as they are, without a shift" in captions[name]
    html = (with_read / "report.html").read_text()
    assert "<td>published, after a shift per element</td>" in html


def test_findings_say_both_energies_of_a_read_potential(with_read, tmp_path):
    rows = [row for row in read_rows(with_read / RESULTS) if row.potential == "published"]
    shutil.copy(with_read / "run.toml", tmp_path)
    write_rows(tmp_path / RESULTS, rows)
    (found,) = content.read(tmp_path).findings
    assert re.search(r"published, .* meV/atom as it is, [\d.]+ after a shift per element\.$", found)
