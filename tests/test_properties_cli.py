"""Properties as users measure them: on the command line, in a run, and in its report."""

import json
import shutil
import sys

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from command import mlip_bench

from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.measure import first_principles, properties
from mlip_bench.report import content
from mlip_bench.run.store import STORE

QUADRATIC = potentials_folder() / "Mo_Zuo_JPCA2020.quadratic.snapcoeff"
LINEAR = potentials_folder() / "Mo_Zuo_JPCA2020.snapcoeff"
RUN = [
    "run",
    "--potential",
    f"snap,file:{LINEAR}",
    "--system",
    "Mo",
    "--dataset",
    "embedded",
    "--preset",
    "quick",
]
SNAPS = ("snap", "phonons")
MEASURED = ["--measure", "errors,phonons,elastic,eos,defects"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of one fitted and one published potential."""
    folder = tmp_path_factory.mktemp("properties")
    done = mlip_bench(*RUN, *MEASURED, "--out", "run", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def rows(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_run_measures_a_published_potential_as_it_is(run):
    found = {(r["potential"], r["metric"]): r["value"] for r in rows(run) if r["measure"] == "elastic"}
    assert found["Mo_Zuo_JPCA2020", "c11"] == pytest.approx(456.6, rel=0.02)
    assert ("snap", "c44") in found
    # Nothing was fitted.
    assert not [r for r in rows(run) if r["potential"] == "Mo_Zuo_JPCA2020" and r["measure"] == "fit"]


def test_phonons_are_compared_with_the_reference(run):
    found = {r["metric"]: r["value"] for r in rows(run) if r["potential"] == "Mo_Zuo_JPCA2020"}
    assert 0.05 < found["frequency_rms_deviation"] < 1.0
    assert found["frequency_rms_deviation"] < found["frequency_max_deviation"]


def test_a_second_run_measures_nothing_again(run):
    again = mlip_bench(*RUN, *MEASURED, "--out", "run", folder=run.parent)
    assert again.returncode == 0, again.stderr
    assert "nothing had to be done" in again.stdout


def test_the_report_sets_properties_beside_dft(run):
    (section,) = [one for one in content.read(run).sections if one.heading.startswith("Properties")]
    # Four measurements bring their rows to one table.
    (table,) = section.tables
    assert {row[0] for row in table.rows} >= {"volume per atom (Å³/atom)", "vacancy formation (eV)"}
    assert table.headings[:2] == ["", "DFT"]
    (line,) = [row for row in table.rows if row[0] == "C11 (GPa)"]
    expected = first_principles.shipped("Mo").properties["elastic"].value("c11")
    assert float(line[1]) == pytest.approx(expected, rel=1e-3)
    column = table.headings.index("Mo_Zuo_JPCA2020")
    value, off = line[column].split(" (")
    assert float(off[:-1]) == pytest.approx(100 * (float(value) / expected - 1), abs=0.1)
    assert "GPAW" in table.note
    html = (run / "report.html").read_text()
    assert "Properties of the crystal" in html
    for figure in ("phonons", "dispersion", "eos"):
        assert (run / "figures" / f"{figure}.svg").is_file()
    # Two potentials of one family have one colour: the second is hatched.
    assert "<pattern" in (run / "figures" / "groups.svg").read_text()


def test_curves_without_rows_are_not_drawn(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    lines = (run / "results.jsonl").read_text().splitlines()
    kept = [line for line in lines if (json.loads(line)["potential"], json.loads(line)["measure"]) != SNAPS]
    (tmp_path / "run" / "results.jsonl").write_text("\n".join(kept) + "\n")
    potential, measure = SNAPS
    assert potential in content.read(run).evidence.curves(measure)
    rest = content.read(tmp_path / "run").evidence
    assert potential not in rest.curves(measure)
    assert potential in rest.curves("eos")


def test_shades_follow_deviations():
    c11 = properties.Property("elastic", "c11", None)
    for value, level in ((101, 0), (103, 1), (94, 2), (120, 3)):
        assert properties.shade(properties.deviation(value, 100.0, c11)) == level
    assert properties.deviation(1.0, None, c11) is None
    # A share of what is all but zero says nothing.
    fcc = properties.Property("eos", "structure_energy", "fcc")
    assert properties.deviation(-1.1, -1.6, fcc) is None
    assert properties.deviation(440.0, 400.0, fcc) == pytest.approx(10)
    imaginary = properties.Property("phonons", "imaginary_share", None)
    assert properties.deviation(1.0, 2.0, imaginary) is None


def test_measure_prints_properties_beside_the_reference(tmp_path):
    done = mlip_bench("measure", QUADRATIC, "--measure", "elastic", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "435.7" in done.stdout
    assert "no reference" not in done.stdout


def test_measure_goes_on_after_a_property_that_fails(tmp_path):
    ase.io.write(tmp_path / "dense.cif", bulk("Mo", "fcc", a=2.6, cubic=True))
    arguments = ["measure", LINEAR, "--measure", "eos,elastic", "--crystal", "dense.cif"]
    done = mlip_bench(*arguments, folder=tmp_path)
    assert done.returncode == 1
    failed = [line for line in done.stderr.splitlines() if "failed: " in line]
    assert [line.split("failed: ")[1].split(":")[0] for line in failed] == ["eos", "elastic"]
    assert "Traceback" not in done.stderr


def test_a_crystal_of_ones_own_has_no_reference(tmp_path):
    ase.io.write(tmp_path / "fcc.cif", bulk("Mo", "fcc", a=4.0, cubic=True))
    done = mlip_bench("measure", QUADRATIC, "--measure", "elastic", "--crystal", "fcc.cif", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no reference" in done.stdout
    # Its energy is a maximum against strain: said once, of all three moduli.
    assert done.stderr.count("failed: elastic: Mo4 is not stable against strain, so it has no moduli") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["measure", LINEAR, "--measure", "colour"], "unknown property 'colour'"),
        (["measure", LINEAR, "--crystal", "none.cif"], "none.cif: no such file"),
        (["measure", LINEAR, "--crystal", "text.cif"], "text.cif: cannot be read as a crystal"),
        (["measure", LINEAR, "--crystal", "molecule.xyz"], "molecule.xyz: not a crystal"),
        ([*RUN, "--crystal", "copper.cif"], "copper.cif: Cu does not occur in the data (Mo)"),
        (["run", "--potential", "file:none.snapcoeff", "--system", "Mo"], "none.snapcoeff: no such file"),
        (["run", "--potential", f"file:{LINEAR},file:{LINEAR}", "--system", "Mo"], "is called"),
        (["data", "label", "--recipe", "Moo"], "no recipe 'Moo'"),
        (["data", "label", "none.xyz", "--recipe", "Mo"], "none.xyz: no such file"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path):
    (tmp_path / "text.cif").write_text("hello\n")
    ase.io.write(tmp_path / "molecule.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 2]]))
    ase.io.write(tmp_path / "copper.cif", bulk("Cu", cubic=True))
    done = mlip_bench(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_data_label_labels_a_file_and_keeps_what_it_has(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=3)
    atoms.info["group"] = "shaken"
    ase.io.write(tmp_path / "in.xyz", atoms, format="extxyz")
    recipe = "system = 'Cu'\ncalculator = 'emt'\nlevel_of_theory = 'EMT'\n[settings]\n"
    (tmp_path / "recipe.toml").write_text(recipe)
    command = [
        "data",
        "label",
        "in.xyz",
        "--recipe",
        "recipe.toml",
        "--out",
        "out.xyz",
        "--python",
        sys.executable,
    ]
    done = mlip_bench(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    labelled = ase.io.read(tmp_path / "out.xyz")
    assert labelled.info["group"] == "shaken"
    atoms.calc = EMT()
    assert labelled.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.allclose(labelled.get_forces(), atoms.get_forces(), atol=1e-6)
    # The second time the calculator is not asked.
    (journal,) = (tmp_path / STORE).glob("label/*.jsonl")
    kept = journal.stat().st_mtime_ns
    done = mlip_bench(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert journal.stat().st_mtime_ns == kept
    # Labels of another calculator are kept apart.
    done = mlip_bench(*command, "--calculator", "morse", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / STORE).glob("label/*.jsonl"))) == 2
    assert ase.io.read(tmp_path / "out.xyz").get_potential_energy() != labelled.get_potential_energy()
