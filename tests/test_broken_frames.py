"""A broken frame of extended XYZ is named with its line, and loses no frame behind it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data.files import read_structures
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.errors import UserError

N_ATOMS = 3
LINES = N_ATOMS + 2
COLUMNS = "species:S:1:pos:R:3:forces:R:3"


def frame(number, properties=COLUMNS):
    positions = np.arange(N_ATOMS)[:, None] * [2.0, 0, 0] + [0, 0, number]
    rows = [f"Cu {x} {y} {z} 0.1 0.0 -0.1" for x, y, z in positions]
    lattice = "9.0 0.0 0.0 0.0 9.0 0.0 0.0 0.0 30.0"
    return [str(N_ATOMS), f'Lattice="{lattice}" Properties={properties} energy={number}.5', *rows]


def broken(kind, lines):
    """Return the lines of a frame with one fault, and the number of the line that is named, from zero."""
    lines = list(lines)
    if kind == "a number too many":
        lines[3] += " 0.0"
        return lines, 3
    if kind == "a number too few":
        lines[4] = lines[4].rsplit(" ", 1)[0]
        return lines, 4
    if kind == "a word":
        lines[2] = lines[2].replace("0.1", "****")
        return lines, 2
    if kind == "no element":
        lines[2] = lines[2].replace("Cu", "Qq")
        return lines, 2
    if kind == "a row too few":
        return lines[:-1], 0
    if kind == "a row too many":
        return [*lines, lines[-1]], 0
    if kind == "part of a row too many":
        return [*lines, "Cu 0.0"], 0
    if kind == "an empty row":
        return [*lines[:3], "", *lines[4:]], 3
    if kind == "Properties":
        lines[1] = lines[1].replace("pos:R:3", "pos:R")
        return lines, 1
    if kind == "the number of atoms missing":
        return lines[1:], 0
    assert kind == "no number of atoms"
    return ["three", *lines[1:]], 0


KINDS = [
    "a number too many",
    "a number too few",
    "a word",
    "no element",
    "a row too few",
    "a row too many",
    "part of a row too many",
    "an empty row",
    "Properties",
    "no number of atoms",
    "the number of atoms missing",
]


@given(kind=st.sampled_from(KINDS), before=st.integers(0, 3), after=st.integers(0, 3), twice=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_broken_frame_is_named_with_its_line_and_loses_no_other(
    tmp_path_factory, kind, before, after, twice
):
    path = tmp_path_factory.mktemp("xyz") / "mine.extxyz"
    fault, place = broken(kind, frame(before))
    faults = fault * (1 + (twice and "number of atoms" not in kind))
    good = [line for number in range(before) for line in frame(number)]
    good_behind = [line for number in range(after) for line in frame(before + 1 + number)]
    path.write_text("\n".join([*good, *faults, *good_behind]) + "\n")
    with pytest.raises(UserError) as refused:
        read_structures(path)
    assert f"frame {before + 1}: cannot be read (line {before * LINES + place + 1}: " in str(refused.value)
    if before + after == 0:
        return
    read = read_structures(path, ReadingOptions(skip_bad=True))
    expected = [*range(before), *range(before + 1, before + 1 + after)]
    assert [atoms.get_potential_energy() for atoms in read.structures] == [n + 0.5 for n in expected]
    assert any(note.startswith("left out: ") and f"frame {before + 1}: " in note for note in read.notes)


def test_a_file_cut_in_a_row_keeps_what_is_whole(tmp_path):
    path = tmp_path / "cut.extxyz"
    text = "\n".join([*frame(0), *frame(1)])
    path.write_text(text[:-9])
    read = read_structures(path, ReadingOptions(skip_bad=True))
    assert len(read.structures) == 1
    with pytest.raises(UserError, match=r"cut.extxyz, frame 2: cannot be read \(line 10: a row of 5 columns"):
        read_structures(path)


@pytest.mark.parametrize("comment", ["7", "", "anything at all"])
def test_a_comment_may_be_a_number_or_nothing(comment, tmp_path):
    """Rows of a plain file have columns that it does not name; no frame has forces, so none is taken."""
    path = tmp_path / "plain.xyz"
    path.write_text(f"1\n{comment}\nCu 0 0 0\n" * 2)
    with pytest.raises(UserError, match=r"2 of 2 frames cannot be used") as refused:
        read_structures(path)
    assert "cannot be read" not in str(refused.value)


def test_rows_of_a_plain_file_are_alike(tmp_path):
    path = tmp_path / "plain.xyz"
    path.write_text("2\nno columns named\nCu 0 0 0 1\nCu 0 0 3\n")
    with pytest.raises(UserError, match=r"line 4: a row of 4 columns, where the first row of an atom has 5"):
        read_structures(path)


def test_vectors_behind_the_rows_are_read_as_ase_reads_them(tmp_path):
    from mlip_bench.data.extxyz import read_frames

    path = tmp_path / "vectors.xyz"
    path.write_text("1\nperiodic\nCu 0 0 0\nVEC1 4 0 0\nVEC2 0 4 0\nVEC3 0 0 4\n" * 2)
    for atoms in read_frames(path):
        np.testing.assert_array_equal(atoms.cell.array, 4 * np.eye(3))
