"""Extended XYZ is read as ASE reads it, and to its end."""

import gzip

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data.extxyz import read_frames
from mlip_bench.data.files import read_structures
from mlip_bench.errors import UserError


def frame(seed, n_atoms, pbc, with_calculator, extra):
    generator = np.random.default_rng(seed)
    atoms = Atoms(
        generator.choice(["H", "Cu", "Og"], n_atoms),
        generator.normal(size=(n_atoms, 3)),
        pbc=pbc,
        info=dict(extra),
    )
    if any(pbc):
        atoms.cell = 5 * np.eye(3) + generator.normal(size=(3, 3))
    atoms.arrays["tag_of_mine"] = generator.integers(9, size=n_atoms)
    if with_calculator:
        forces = generator.normal(size=(n_atoms, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=generator.normal(), forces=forces)
    return atoms


frames = st.builds(
    frame,
    st.integers(0, 1000),
    st.integers(1, 6),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.booleans(),
    st.dictionaries(
        st.sampled_from(["config_type", "note", "charge"]), st.sampled_from(["a b", "x", 3, 1.5, True])
    ),
)


@given(written=st.lists(frames, min_size=1, max_size=4), zipped=st.booleans())
@settings(max_examples=40, deadline=None)
def test_frames_are_those_of_ase(tmp_path_factory, written, zipped):
    folder = tmp_path_factory.mktemp("xyz")
    path = folder / "my@frames.extxyz"
    ase.io.write(folder / "frames.extxyz", written, format="extxyz")
    path.write_bytes((folder / "frames.extxyz").read_bytes() + b"\n \n")
    if zipped:
        path = folder / "frames.extxyz.gz"
        path.write_bytes(gzip.compress((folder / "frames.extxyz").read_bytes()))
    expected = ase.io.read(folder / "frames.extxyz", index=":")
    found = list(read_frames(path))
    assert found == expected
    for one, other in zip(found, expected, strict=True):
        assert one.info == other.info
        assert (one.calc is None) == (other.calc is None)
        if one.calc is not None:
            np.testing.assert_array_equal(one.get_forces(), other.get_forces())
        np.testing.assert_array_equal(one.arrays["tag_of_mine"], other.arrays["tag_of_mine"])


FRAME = "1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=1.0\nH 0 0 0 0 0 0\n"


@given(before=st.integers(0, 3), after=st.integers(1, 3), empty=st.sampled_from(["\n", " \n", "\n\t\n"]))
@settings(max_examples=20, deadline=None)
def test_frames_behind_an_empty_line_are_not_dropped_in_silence(tmp_path_factory, before, after, empty):
    path = tmp_path_factory.mktemp("xyz") / "gap.extxyz"
    path.write_text(before * FRAME + empty + after * FRAME)
    where = f"after frame {before}" if before else "at its beginning"
    with pytest.raises(UserError, match=rf"gap.extxyz: an empty line {where}, and more behind it"):
        read_structures(path)


def test_a_truncated_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "short.extxyz"
    path.write_text(FRAME + FRAME.replace("1\nP", "2\nP"))
    *_, last = read_frames(path)
    assert isinstance(last, UserError)
    with pytest.raises(
        UserError,
        match=r"short.extxyz, frame 2: cannot be read .*line 4: it announces 2 atoms and has 1 rows",
    ):
        read_structures(path)
