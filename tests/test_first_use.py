"""What a user meets who brings data of their own: each was silent, or spoke an untruth, once."""

import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io.formats import open_with_compression
from command import mlip_bench

from mlip_bench.compare import parse_limit
from mlip_bench.data.dataset import own_data
from mlip_bench.data.extxyz import ends_within_a_line
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.errors import UserError
from mlip_bench.potentials import presets
from mlip_bench.report import content

SNAP = ("--potential", "snap", "--preset", "quick", "--measure", "errors", "--jobs", "1")


def copper(path, n_frames=12, seed=0):
    frames = []
    for index in range(n_frames):
        atoms = bulk("Cu", "fcc", a=3.5 + 0.02 * index, cubic=True)
        atoms.rattle(0.1, seed=seed + index)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")
    return path


def test_a_file_that_was_cut_off_is_said(tmp_path):
    """Its last number had been read with the digits that were left."""
    path = copper(tmp_path / "whole.extxyz")
    assert not [note for note in own_data(path, None, 0, None).notes if "cut off" in note]
    cut = tmp_path / "cut.extxyz"
    cut.write_text(path.read_text().rstrip()[:-5])
    assert [note for note in own_data(cut, None, 0, None).notes if "a file that was cut off" in note]


def test_a_system_is_of_the_elements_of_the_data(tmp_path):
    """Copper was fitted with the hyper-parameters of molybdenum, and called so."""
    path = copper(tmp_path / "copper.extxyz")
    assert own_data(path, None, 0, "Cu").system == "Cu"
    with pytest.raises(UserError, match=r"--system Mo: .*copper.extxyz has Cu; leave --system out"):
        own_data(path, None, 0, "Mo")


def test_a_leak_is_on_the_first_page_and_a_preset_says_what_fills_it(tmp_path):
    path = copper(tmp_path / "all.extxyz")
    arguments = ("--train", path, "--test", path, "--out", "run")
    done = mlip_bench("run", *SNAP, "--preset", "tuned", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert presets.fills_in("snap", "tuned", "Mo") is None
    filled = "Preset tuned has nothing of Cu for snap: the values of standard are taken"
    assert filled in done.stdout
    warnings = content.read(tmp_path / "run").warnings
    assert [note for note in warnings if note.startswith(filled)]
    assert [note for note in warnings if "12 of 12 test structures are also in training" in note]
    assert not (tmp_path / "run" / "potentials" / "snap" / "torchinductor_root").exists()


def test_one_potential_at_a_time_where_there_is_one():
    for command in (("fit", "snap,gap", "--out", "x"), ("tune", "all")):
        done = mlip_bench(*command, "--system", "Mo", "--dataset", "embedded")
        assert done.returncode == 2
        assert "one potential at a time here" in done.stderr


def test_more_folds_than_structures_are_refused_before_any_fit(tmp_path):
    path = copper(tmp_path / "few.extxyz", 3)
    done = mlip_bench("tune", "snap", "--train", path, "--folds", "10", "--out", "out", folder=tmp_path)
    assert done.returncode == 2
    assert "do not fill 10 folds" in done.stderr


@pytest.mark.parametrize("text", ["10", "1", "1.5"])
def test_a_limit_of_a_thousand_per_cent_is_no_limit(text):
    with pytest.raises(UserError, match="--fail-above"):
        parse_limit(text)


def test_limits_are_shares():
    assert parse_limit("10%") == parse_limit("0.1") == 0.1
    assert parse_limit("150%") == 1.5


def test_evaluating_asks_for_what_it_takes(tmp_path):
    done = mlip_bench("evaluate", "nothing", folder=tmp_path)
    assert done.returncode == 2
    done = mlip_bench("run", "--from", "nowhere/run.toml", folder=tmp_path)
    assert done.returncode == 2
    assert "nowhere/run.toml: no such file" in done.stderr


def test_names_in_any_script_are_in_the_pdf(tmp_path):
    """Characters that the font has not had vanished, so that a path was another one."""
    pypdfium2 = pytest.importorskip("pypdfium2")
    path = copper(tmp_path / "日本 ä.extxyz")
    done = mlip_bench("run", *SNAP, "--train", path.name, "--out", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with pypdfium2.PdfDocument(tmp_path / "run" / "report.pdf") as document:
        text = "".join(page.get_textpage().get_text_bounded() for page in document)
    assert "\\u65e5\\u672c ä.extxyz" in text.replace("\r\n", "")


def test_a_crystal_that_is_not_the_lowest_is_a_caution(tmp_path):
    path = copper(tmp_path / "copper.extxyz")
    arguments = ("--train", path, "--out", "run", "--measure", "errors,eos")
    done = mlip_bench("run", *SNAP, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows_path = tmp_path / "run" / "results.jsonl"
    rows = [json.loads(line) for line in rows_path.read_text().splitlines()]
    for row in rows:
        if row["metric"] == "structure_energy":
            row["value"] = -217.0 if row["group"] == "sc" else 50.0
            row["error"] = None
    assert np.any([row["metric"] == "structure_energy" for row in rows])
    rows_path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    from mlip_bench.report import cautions

    found = cautions.of(content.read(tmp_path / "run").evidence, "snap")
    assert "by it sc lies 217 meV/atom below the crystal" in found


def test_frames_with_one_fault_are_named_together(tmp_path):
    path = copper(tmp_path / "copper.extxyz")
    with pytest.raises(UserError) as refused:
        own_data(path, None, 0, None, ReadingOptions(energy_key="foo"))
    lines = str(refused.value).splitlines()
    assert len(lines) == 2
    assert "12 of 12 frames cannot be used" in lines[0]
    assert lines[1].startswith("  frames 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12: ")


def test_a_profile_that_is_none_is_one_sentence(tmp_path):
    path = copper(tmp_path / "copper.extxyz")
    arguments = ("--train", path, "--out", "run", "--weights", "force_rmse=1")
    assert mlip_bench("run", *SNAP, *arguments, folder=tmp_path).returncode == 0
    described = tmp_path / "run" / "run.toml"
    described.write_text(described.read_text().replace("[profile.weights]", "[profile.wieghts]"))
    for command in (("report", "run"), ("run", "--from", "run", "--out", "again")):
        done = mlip_bench(*command, folder=tmp_path)
        assert done.returncode == 2
        assert "its profile has not name, description and weights" in done.stderr


@pytest.mark.parametrize("ending", ["extxyz", "extxyz.gz", "xyz.bz2"])
def test_a_cut_file_is_seen_compressed_or_not(ending, tmp_path):
    text = copper(tmp_path / "whole.extxyz", 3).read_text().rstrip()
    for end, is_cut in (("", True), ("\n", False)):
        path = tmp_path / f"file.{ending}"
        with open_with_compression(str(path), "wt") as file:
            file.write(text + end)
        assert ends_within_a_line(path) == is_cut
