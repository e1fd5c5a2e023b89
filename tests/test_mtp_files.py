"""Files of MTPs: what is read of them, in which forms, and what is refused by name."""

import json
import re
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.mtp import MTP, mlip
from mlip_bench.potentials.mtp.model import FILE, basis_of_level
from mlip_bench.potentials.mtp.tables import Tables

varied = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

PROBE = Atoms("CuAu2Cu", [[0, 0, 0], [2.4, 0.1, 0], [0.2, 2.5, 0.3], [2.2, 2.3, 2.1]])


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A potential of two elements with random coefficients, as we write it."""
    generator = np.random.default_rng(3)
    tables = Tables(basis_of_level(8), 0.02, 1.9, 4.5)
    functions, size = tables.basis.radial_functions, 5
    path = tmp_path_factory.mktemp("made") / FILE
    mlip.write(
        path,
        tables,
        generator.normal(size=(2, 2, functions, size)),
        generator.normal(size=tables.n_scalars),
        generator.normal(size=2),
        ("Au", "Cu"),
    )
    return path.read_text()


@pytest.fixture(scope="module")
def expected(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("expected") / FILE
    path.write_text(text)
    return load(path).predict([PROBE])[0]


@pytest.fixture
def made(text, tmp_path):
    path = tmp_path / FILE
    path.write_text(text)
    return path


def edit(path, old, new):
    content = path.read_text()
    assert re.search(old, content)
    path.write_text(re.sub(old, lambda _: new, content, count=1))
    return path


def sentence(path):
    with pytest.raises(UserError) as refused:
        load(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def said_of(path):
    """What is said of a file that cannot be read, or None where it can be."""
    try:
        load(path).predict([PROBE])
    except UserError as error:
        return str(error)
    return None


def entries(text):
    """The entries of our file: lines, and the radial coefficients with all that is theirs."""
    lines = text.splitlines()[1:]
    start = next(index for index, line in enumerate(lines) if line.strip() == "radial_coeffs")
    end = next(index for index in range(start + 1, len(lines)) if "=" in lines[index])
    return [*lines[:start], "\n".join(lines[start:end]), *lines[end:]]


def fortran(value):
    return f"{value:.16e}".replace("e", "D")


def numbers_in(text, form):
    return re.sub(r"-?\d\.\d+e[+-]\d+", lambda found: form(float(found[0])), text)


# -- forms ---------------------------------------------------------------------------------------------


@varied
@given(
    order=st.randoms(use_true_random=False),
    space=st.sampled_from(["", " ", "\t", "   "]),
    comma=st.sampled_from([",", ", ", " ,\t", ",\n  "]),
    ending=st.sampled_from(["\n", "\r\n", "\n\n"]),
    form=st.sampled_from([repr, "{:.17g}".format, "{:+.16E}".format, "{:.16e}".format, fortran]),
    tag=st.sampled_from(["Au Cu", "Au, Cu", "  Au   Cu  ", "Au,Cu"]),
    names=st.sampled_from([
        ("min_dist", "max_dist", "radial_basis_size"),
        ("min", "max", "size"),
        ("min_val", "max_val", "basis_size"),
    ]),
    indent=st.sampled_from(["", "\t", "    "]),
    selection=st.sampled_from([b"", b"\n#MVS_v1.1\nenergy_weight 1\n#\x00\xff\xfe\x01", b"#MVS_v1.0\n"]),
)  # fmt: skip
def test_any_form_of_a_file_is_the_same_potential(
    text, expected, tmp_path_factory, order, space, comma, ending, form, tag, names, indent, selection
):
    """Spaces, breaks of lines, forms of numbers, order and names of keys, active learning."""
    found = entries(numbers_in(text, form))
    order.shuffle(found)
    content = "\n".join(["MTP", *(indent + entry.strip() for entry in found)]) + "\n"
    content = re.sub(r"[ \t]*=[ \t]*", f"{space}={space}", content)
    content = re.sub(r"potential_tag.*", f"potential_tag{space}={space}{tag}", content)
    for ours, theirs in zip(("min_dist", "max_dist", "radial_basis_size"), names, strict=True):
        content = content.replace(ours, theirs)
    content = re.sub(r",\s*(?![^\n]*Cu)", comma, content).replace("\n", ending)
    path = tmp_path_factory.mktemp("form") / FILE
    path.write_bytes(content.encode() + selection)
    potential = load(path)
    assert potential.elements_ == ("Au", "Cu")
    assert potential.predict([PROBE])[0].energy == pytest.approx(expected.energy, rel=1e-11)
    assert len(potential.notes_) == bool(selection)


def test_the_state_of_active_learning_is_said_to_be_left(made):
    made.write_bytes(made.read_bytes() + b"#MVS_v1.1\n\x00\x80\xff")
    assert load(made).notes_ == ["potential.mtp: the state of active learning (#MVS) in it is not read"]


def test_without_scaling_it_is_1(made, text):
    other = load(edit(made, r"scaling = .*\n", "")).tables_.scaling
    assert other == 1.0


def test_motep_reads_the_same(made):
    from motep.io.mlip.mtp import read_mtp

    theirs, ours = read_mtp(made), load(made)
    np.testing.assert_array_equal(ours.radial_, theirs.radial_coeffs)
    np.testing.assert_array_equal(ours.linear_, theirs.moment_coeffs)
    np.testing.assert_array_equal(ours.tables_.basis.index_basic, theirs.alpha_index_basic)
    np.testing.assert_array_equal(ours.tables_.basis.index_times, theirs.alpha_index_times)


def test_a_file_in_motep_s_newer_form_is_read(made, expected, tmp_path):
    from motep.io.mlip.mtp import read_mtp, write_mtp

    path = tmp_path / "newer.mtp"
    write_mtp(path, read_mtp(made))
    assert "min_dist" not in path.read_text()
    assert load(path).predict([PROBE])[0].energy == pytest.approx(expected.energy, rel=1e-12)


# -- refused by name -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("magnetic_basis_type = BChebyshev", "'magnetic_basis_type': magnetic moments in an MTP are not"),
        ("mag_basis_size = 2", "'mag_basis_size': magnetic moments"),
        ("moment_coefs = {1.0}", r"'moment_coefs' is not a key .* \(did you mean 'moment_coeffs'\?\)"),
        ("zbl_cutoff = 2.0", "'zbl_cutoff': a ZBL potential"),
        ("species_count = 2", "species_count is there twice"),
        ("a line of words", "a line that is no 'key = value': 'a line of words'"),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused_by_name(made, line, message):
    assert re.search(message, sentence(edit(made, "species_count", f"{line}\nspecies_count")))


@varied
@given(
    key=st.from_regex(r"[A-Za-z][a-z_]{2,14}", fullmatch=True),
    value=st.sampled_from(["1", "{1, 2}", "0.5", "yes"]),
)
def test_any_unknown_key_is_named(text, tmp_path_factory, key, value):
    assume(key not in mlip.KNOWN and key not in mlip.RENAMED)
    path = tmp_path_factory.mktemp("key") / FILE
    path.write_text(text + f"{key} = {value}\n")
    assert f"'{key}'" in sentence(path)


@pytest.mark.parametrize("kind", ["RBChebyshev_repuls", "RBShapeev", "RBTaylor", ""])
def test_other_radial_functions_are_refused(made, kind):
    assert f"radial basis {kind or 'unknown'}" in sentence(edit(made, "RBChebyshev", kind))


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0", ""])
def test_other_versions_are_refused(made, version):
    assert f"version {version or 'unknown'} of the .mtp format" in sentence(edit(made, r"1\.1\.0", version))


@pytest.mark.parametrize("tag", ["", "2", "Cu", "Au Cu Ag", "Au Xx"])
def test_a_file_that_does_not_name_its_elements_says_what_to_write(made, tag):
    message = sentence(edit(made, "potential_tag = Au Cu", f"potential_tag = {tag}"))
    assert "write the elements into its line 'potential_tag = ...', 2 in all" in message


# -- not whole -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", mlip.COUNTS)
@pytest.mark.parametrize("value", ["0", "1", "3", "-2", "1000000000000", "2.5", "two", "nan", ""])
def test_counts_that_do_not_fit_are_one_sentence(made, key, value):
    if re.search(rf"{key} = {value}\n", made.read_text()):
        pytest.skip("it is the right one")
    sentence(edit(made, rf"{key} = \d+", f"{key} = {value}"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r"min_dist = \S+", "min_dist = 9.0", r"min_dist = 9, max_dist = 4\.5"),
        (r"max_dist = \S+", "max_dist = inf", "max_dist has a number that is not finite"),
        (r"scaling = \S+", "scaling = 1.0 2.0", "scaling is '1.0 2.0', not one number"),
        (r"species_coeffs = \{", "species_coeffs = {0.5, ", r"species_coeffs has 3 entries, .* announces 2"),
        (r"moment_coeffs = \{", "moment_coeffs = {word, ", "moment_coeffs has something other than numbers"),
        (r"alpha_moment_mapping = \{0", "alpha_moment_mapping = {400", "alpha_moment_mapping has an index"),
        (r"alpha_index_basic = \{\{0, 0", "alpha_index_basic = {{7, 0", "alpha_index_basic has an index"),
        (r"alpha_index_basic = \{\{0, 0", "alpha_index_basic = {{0, 13", "other tensors than"),
        (r"alpha_index_basic = \{\{0, 0", "alpha_index_basic = {{0", "a row without four numbers"),
        (r"alpha_index_times = \{\{0", "alpha_index_times = {{-1", "alpha_index_times has an index"),
        ("0-1\n", "0-7\n", "not those of 2 species"),
        ("0-1\n", "0-0\n", "0-0 are there twice"),
        ("0-1\n", "", "radial_coeffs of 0-0 are not"),
        ("MTP", "MPT", "does not begin with 'MTP'"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_named(made, old, new, message):
    assert re.search(message, sentence(edit(made, old, new)))


@varied
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_never_read(text, expected, tmp_path_factory, share):
    content = text.rstrip()[: int(share * len(text.rstrip()))]
    path = tmp_path_factory.mktemp("short") / FILE
    path.write_text(content)
    sentence(path)


@varied
@given(content=st.binary(max_size=300), begins=st.booleans())
def test_garbage_is_one_sentence(tmp_path_factory, content, begins):
    path = tmp_path_factory.mktemp("garbage") / FILE
    path.write_bytes(b"MTP\n" * begins + content)
    sentence(path)


@varied
@given(start=st.floats(0, 1), length=st.integers(0, 30), new=st.text(max_size=6))
def test_a_damaged_file_is_read_or_one_sentence(text, tmp_path_factory, start, length, new):
    """Never another kind of exception, and no kernel that reaches beyond its tables."""
    at = int(start * len(text))
    path = tmp_path_factory.mktemp("damaged") / FILE
    path.write_text(text[:at] + new + text[at + length :], encoding="utf-8")
    said = said_of(path)
    assert said is None or "\n" not in said


def test_a_saved_folder_of_other_elements_is_refused(made, tmp_path):
    folder = tmp_path / "saved"
    load(made).save(folder)
    description = folder / "potential.json"
    changed = json.loads(description.read_text()) | {"elements": ["Au", "Cu", "Ag"]}
    description.write_text(json.dumps(changed))
    with pytest.raises(UserError, match=r"its zero of the energy is not one number for each element"):
        load(folder)
    del changed["zero"]
    description.write_text(json.dumps(changed))
    with pytest.raises(UserError, match=r"potential\.mtp: 2 species for Au, Cu, Ag"):
        load(folder)


def test_evaluate_says_it_in_one_line_and_exits_with_2(made, alloys):
    edit(made, "species_count", "magnetic_basis_type = BChebyshev\nspecies_count")
    ase.io.write(made.parent / "test.extxyz", alloys[:2])
    command = [sys.executable, "-m", "mlip_bench", "evaluate", FILE, "--test", "test.extxyz"]
    ended = subprocess.run(command, cwd=made.parent, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert ended.stderr.strip() == (
        f"mlip-bench: {FILE}: 'magnetic_basis_type': magnetic moments in an MTP are not supported"
    )


def test_levels_beyond_ours_name_the_file(made):
    assert MTP.Hypers().level <= 28
    message = sentence(
        edit(made, r"alpha_index_basic = \{\{0, 0, 0, 0\}", "alpha_index_basic = {{0, 0, 0, 13}")
    )
    assert "alpha_index_basic" in message
