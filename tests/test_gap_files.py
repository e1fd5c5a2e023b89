"""Files of GAP: side files of sparse points, what leaves their folder, what an XML may not have."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import ase.io
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.gap import GAP
from mlip_bench.potentials.gap.files import XML

SMALL = {"n_max": 2, "l_max": 2, "n_sparse": 8, "cutoff": 4.0, "pair": True, "pair_cutoff": 4.5}

varied = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def fitted(alloys):
    return GAP(**SMALL).fit(alloys[:6])


@pytest.fixture
def folder(fitted, tmp_path):
    """A folder with an XML of the name that people give it, and its side files."""
    fitted.save(tmp_path / "pot")
    return tmp_path / "pot"


def sides(folder):
    return sorted(path for path in folder.iterdir() if "sparseX" in path.name)


def edit(folder, old, new, count=1):
    path = folder / XML
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, lambda _: new, text, count=count))
    return path


def without_checksums(folder):
    return edit(folder, r' sparseX_md5sum="\w+"', "", count=0)


def sentence(path):
    """The one sentence that a user reads for this file."""
    with pytest.raises(UserError) as refused:
        load(path).calculator()
    message = str(refused.value)
    assert "\n" not in message
    return message


def said_of(path):
    """What is said of a file that cannot be read, or None where it can be."""
    try:
        load(path)
    except UserError as error:
        return str(error)
    return None


# -- side files ----------------------------------------------------------------------------------------


def test_evaluate_names_the_side_file_and_exits_with_2(folder, alloys):
    one, other = sides(folder)[:2]
    other.write_bytes(one.read_bytes())
    ase.io.write(folder / "test.extxyz", alloys[:2])
    command = [sys.executable, "-m", "mlip_bench", "evaluate", XML, "--test", "test.extxyz"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert ended.stderr.strip().startswith(f"mlip-bench: {other.name}: damaged, or of another fit than {XML}")
    assert len(ended.stderr.strip().splitlines()) == 1


@varied
@given(index=st.integers(0, 4), damage=st.binary(max_size=200), position=st.floats(0, 1), whole=st.booleans())
def test_any_damage_of_a_side_file_is_a_sentence_that_names_it(
    fitted, tmp_path_factory, index, damage, position, whole
):
    folder = tmp_path_factory.mktemp("damaged")
    fitted.save(folder)
    side = sides(folder)[index]
    content = side.read_bytes()
    cut = int(position * len(content))
    changed = damage if whole else content[:cut] + damage
    side.write_bytes(changed)
    if changed != content:
        assert side.name in sentence(folder / XML)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1.0\n" * 3, "has 3 numbers"),
        ("", "has 0 numbers"),
        ("words\n", "something other than numbers"),
        ("nan\n", "has 1 numbers"),
    ],
)
def test_without_a_check_sum_the_numbers_are_counted(folder, content, message):
    path = without_checksums(folder)
    sides(folder)[0].write_text(content)
    assert message in sentence(path)
    assert sides(folder)[0].name in sentence(path)


def test_numbers_that_are_not_finite_are_refused(folder):
    path = without_checksums(folder)
    side = sides(folder)[0]
    side.write_text("inf\n" + side.read_text().split("\n", 1)[1])
    assert "not finite" in sentence(path)


def test_the_side_file_of_a_potential_for_quip_is_checked_too(folder):
    """QUIP would evaluate this file: it has a key that our kernels do not know."""
    path = without_checksums(folder)
    edit(folder, "add_species=F</desc", "add_species=F normalise=F</desc")
    assert load(path).parts_ is None
    sides(folder)[0].write_text("1.0\n")
    assert "has 1 numbers" in sentence(path)


def test_a_missing_side_file_is_named(folder):
    side = sides(folder)[2]
    side.unlink()
    assert side.name in sentence(folder / XML)
    side.mkdir()
    assert "not a plain file" in sentence(folder / XML)


def test_side_files_may_be_in_a_folder_below(fitted, folder, tmp_path, alloys):
    side = sides(folder)[0]
    (folder / "points").mkdir()
    side.rename(folder / "points" / side.name)
    edit(folder, f'"{side.name}"', f'"points/{side.name}"')
    again = load(folder / XML)
    again.save(tmp_path / "copy")
    expected = fitted.predict(alloys[:1])[0].energy
    assert load(tmp_path / "copy").predict(alloys[:1])[0].energy == expected
    assert (tmp_path / "copy" / "points" / side.name).is_file()


# -- nothing outside the folder ------------------------------------------------------------------------


@varied
@given(
    parts=st.lists(st.sampled_from(["..", ".", "sub", "pot"]), max_size=4),
    is_absolute=st.booleans(),
)
def test_a_side_file_outside_the_folder_is_never_read(fitted, tmp_path_factory, parts, is_absolute):
    base = tmp_path_factory.mktemp("outside")
    folder = base / "pot"
    fitted.save(folder)
    (folder / "sub").mkdir()
    side = sides(folder)[0]
    name = "/".join([str(folder)] * is_absolute + [*parts, side.name])
    target = folder / name
    if target.parent.is_dir() and not target.exists():
        target.write_bytes(side.read_bytes())
    edit(folder, f'"{side.name}"', f'"{name}"')
    inside = target.resolve().is_relative_to(folder.resolve())
    if inside and target.is_file():
        assert load(folder / XML).elements_ == ("Au", "Cu")
    else:
        assert side.name in sentence(folder / XML)
        assert inside or "outside the folder" in sentence(folder / XML)


@pytest.mark.parametrize("name", ["../payload.txt", "/etc/hostname", "sub/../../payload.txt"])
def test_a_path_that_leaves_the_folder_is_refused_by_name(folder, name):
    (folder.parent / "payload.txt").write_text("1.0\n")
    path = edit(folder, r'sparseX_filename="[^"]*"', f'sparseX_filename="{name}"')
    message = sentence(path)
    assert name in message
    assert "outside the folder" in message


def test_a_link_that_leaves_the_folder_is_refused(folder):
    side = sides(folder)[0]
    moved = folder.parent / "elsewhere"
    side.rename(moved)
    side.symlink_to(moved)
    assert side.name in sentence(folder / XML)
    side.unlink()
    side.symlink_to(side)
    assert side.name in sentence(folder / XML)


def test_nothing_is_written_outside_the_folder(fitted, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    name = next(name for name in fitted.files_ if name != XML)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(victim)
    with pytest.raises(UserError, match="outside the folder"):
        fitted.save(tmp_path / "out")
    assert victim.read_text() == "mine"
    tampered = GAP(**SMALL)
    tampered.elements_, tampered.files_ = fitted.elements_, fitted.files_ | {"../victim": b"theirs"}
    with pytest.raises(UserError, match=r"\.\./victim: this side file of a GAP is outside the folder"):
        tampered.save(tmp_path / "other")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", [XML, "potential.json", "example.extxyz", " "])
def test_a_side_file_cannot_take_the_place_of_ours(folder, name):
    path = edit(folder, r'sparseX_filename="[^"]*"', f'sparseX_filename="{name}"')
    assert "cannot" in sentence(path)


# -- the XML -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE a [<!ENTITY x "lol"><!ENTITY y "&x;&x;&x;&x;">]>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE a SYSTEM "http://nowhere.invalid/a.dtd">',
    ],
)
def test_document_types_and_entities_are_refused(folder, declaration):
    path = folder / XML
    path.write_text(declaration + path.read_text())
    assert "document type" in sentence(path)
    path.write_text(path.read_text(), encoding="utf-16")
    assert "document type" in sentence(path)


@varied
@given(start=st.floats(0, 1), length=st.integers(1, 60), new=st.text(max_size=8))
def test_a_damaged_xml_is_read_as_it_was_or_one_sentence(fitted, tmp_path_factory, start, length, new):
    """Never another kind of exception: that would be a traceback."""
    folder = tmp_path_factory.mktemp("damaged")
    fitted.save(folder)
    path = folder / XML
    text = path.read_text()
    at = int(start * len(text))
    path.write_text(text[:at] + new + text[at + length :], encoding="utf-8", errors="replace")
    said = said_of(path)
    assert said is None or (str(folder) in said and "\n" not in said)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("soap cutoff", "sope cutoff", "descriptor 'sope' is unknown.*'soap'"),
        ('gap_version="[0-9]+"', 'gap_version="new"', "new"),
        ('<e0 Z="1"', '<e0 Z="one"', "one"),
        ('<e0 Z="1"', '<e0 Z="400"', "of no element"),
        ('<sparseX i="1"', '<sparseX i="2"', "not numbered from 1"),
        ('n_sparseX="[0-9]+"', 'n_sparseX="3"', "announces 3"),
        ('alpha="[^"]*"', 'alpha="nan"', "nan is not a finite number"),
        ("<theta>.*</theta>", "<theta> 0.0 </theta>", "theta"),
        ("n_max=2", "n_max=two", "two"),
        ('n_coordinate="5"', 'n_coordinate="6"', "announces 6 descriptors and has 5"),
    ],
)
def test_what_is_wrong_in_an_xml_is_named(folder, old, new, message):
    assert re.search(message, sentence(edit(folder, old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('signal_mean="[^"]*"', 'signal_mean="0.3"'),
        ('n_permutations="1"', 'n_permutations="2"'),
        ("<GAP_data ", '<GAP_data of_tomorrow="1" '),
        ("</GAP_data>", "</GAP_data><tail/>"),
        ("distance_2b ", "distance_2b n_exponents=1 "),
        ("distance_2b ", "distance_2b tail_exponent=2 "),
        ("distance_2b ", "distance_2b only_intra=T resid_name=resid "),
    ],
)
def test_what_our_kernels_do_not_know_is_left_to_quip(folder, old, new):
    assert load(edit(folder, old, new)).parts_ is None


def test_what_quip_refuses_is_one_sentence(folder, alloys):
    path = edit(folder, "distance_2b ", "distance_2b only_intra=T resid_name=resid ")
    with pytest.raises(UserError, match=r"QUIP refuses this potential: .*resid") as refused:
        load(path).predict(alloys[:1])
    assert "\n" not in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_a_file_without_soap_and_pairs_is_refused(folder):
    path = folder / XML
    path.write_text(re.sub("soap cutoff|distance_2b", "angle_3b", path.read_text()))
    assert "no SOAP descriptor and no distance_2b" in sentence(path)


def test_a_renamed_file_still_finds_its_side_files(folder, fitted, alloys):
    path = (folder / XML).rename(folder / "g.xml")
    assert load(path).predict(alloys[:1])[0].energy == fitted.predict(alloys[:1])[0].energy


def inlined(folder):
    """The same potential as one file, as gap_fit writes it with sparse_separate_file=F."""
    path = folder / XML
    tree = ElementTree.parse(path)
    for coordinates in tree.iter("gpCoordinates"):
        dimensions = int(coordinates.attrib["dimensions"])
        words = (folder / coordinates.attrib.pop("sparseX_filename")).read_text().split()
        del coordinates.attrib["sparseX_md5sum"]
        for index, one in enumerate(coordinates.iter("sparseX")):
            point = words[index * dimensions : (index + 1) * dimensions]
            if dimensions <= 50:
                one.text = " ".join(point) + "  "
                continue
            one.set("sliced", "T")
            for start in range(0, dimensions, 50):
                end = min(start + 50, dimensions)
                part = ElementTree.SubElement(one, "sparseX_slice", start=str(start + 1), end=str(end))
                part.text = " ".join(point[start:end]) + "  "
    tree.write(path)
    for side in sides(folder):
        side.unlink()
    return path


def test_sparse_points_within_the_xml_are_those_of_quip(folder, fitted, alloys):
    """The pair terms have one number in each; those of SOAP 60 and more, in slices."""
    again = load(inlined(folder))
    assert again.parts_ is not None
    ours, theirs, atoms = again.predict(alloys[:1])[0], again.quip(), alloys[0].copy()
    theirs.calculate(atoms, ["energy", "forces"])
    assert ours.energy == pytest.approx(theirs.results["energy"], abs=1e-6)
    assert ours.energy == pytest.approx(fitted.predict(alloys[:1])[0].energy, abs=1e-9)
    assert abs(ours.forces - theirs.results["forces"]).max() < 2e-6


def test_too_few_numbers_within_the_xml_are_named(folder):
    path = inlined(folder)
    edit(folder, r'(?<=")> *[\d.eE+-]+ *</sparseX>', "></sparseX>")
    assert "the XML has 29 numbers of sparse points, not 30 times 1" in sentence(path)


def test_check_sums_in_capitals_are_check_sums(folder):
    side = sides(folder)[0]
    checksum = hashlib.md5(side.read_bytes()).hexdigest()
    assert load(edit(folder, checksum, checksum.upper())).parts_ is not None


# -- saved folders -------------------------------------------------------------------------------------


@varied
@given(
    change=st.sampled_from(["hypers", "elements", "family", "mlip_bench", "zero"]),
    value=st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.text(max_size=2), max_size=2)),
)
def test_a_damaged_description_is_one_sentence(fitted, tmp_path_factory, change, value):
    folder = tmp_path_factory.mktemp("saved")
    fitted.save(folder)
    path = folder / "potential.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {change: value}))
    said = said_of(folder)
    assert "\n" not in (said or "")
    assert said or change == "mlip_bench"


def test_a_saved_folder_without_its_file_names_it(folder):
    (folder / XML).unlink()
    with pytest.raises(UserError, match=r"potential\.xml: cannot be read"):
        load(Path(folder))
