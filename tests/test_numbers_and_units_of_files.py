"""Exponents of Fortran, spellings of elements, units named in comments, and types of atoms in files."""

import re

import numpy as np
import pytest
from ase import units
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data import reference
from mlip_bench.data.files import read_structures
from mlip_bench.data.fortran import to_float
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.errors import UserError

LINES = [
    "lattice 20.0 0.0 0.0",
    "lattice 0.0 20.0 0.0",
    "lattice 0.0 0.0 20.0",
    "atom {0} {0} {0} O -0.2 0.0 0.01 0.02 0.03",
    "atom {1} {0} {0} H 0.1 0.0 -0.01 0.0 0.0",
    "atom {0} {1} {0} H 0.1 0.0 0.0 -0.02 -0.03",
    "energy -17.5",
    "charge 0.0",
]
IN_ANGSTROM, IN_BOHR = (1.0, 1.96), (1.0, 2.81)


def frame(bonds=IN_ANGSTROM, comment=None, lines=LINES):
    comments = [] if comment is None else [f"comment {comment}"]
    return "\n".join(["begin", *comments, *(line.format(*bonds) for line in lines), "end\n"])


def write(folder, text, name="input.data"):
    path = folder / name
    path.write_text(text)
    return path


# -- numbers ---------------------------------------------------------------------------------------------


@given(value=st.floats(-1e20, 1e20), letter=st.sampled_from("dDeE"))
def test_a_number_of_fortran_is_that_number(value, letter):
    assert to_float(f"{value:.16e}".replace("e", letter)) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("word", ["nothing", "D", "1.0D", "D-02", "0x1D2", "1.0D-2.0", "12D", "addD3"])
def test_a_word_that_is_no_number_stays_none(word):
    with pytest.raises(ValueError, match="could not convert"):
        to_float(word)


@given(order=st.permutations(LINES), letter=st.sampled_from(["D", "d", "e"]), capitals=st.booleans())
@settings(max_examples=30, deadline=None)
def test_input_data_in_any_order_capitals_and_exponents(tmp_path_factory, order, letter, capitals):
    lines = [
        re.sub(r" 0\.0(?= |$)", f" 0.0{letter}+00", line).replace("17.5", f"1.75{letter}+01")
        for line in order
    ]
    lines = [line.replace(" O ", " o ").replace(" H ", " h ") if capitals else line for line in lines]
    path = write(tmp_path_factory.mktemp("n2p2"), frame(lines=lines))
    (atoms,) = read_structures(path).structures
    assert sorted(atoms.get_chemical_symbols()) == ["H", "H", "O"]
    assert reference.energy(atoms) == -17.5
    assert reference.forces(atoms)[atoms.numbers == 8].tolist() == [[0.01, 0.02, 0.03]]


def test_elements_of_two_letters_in_any_capitals(tmp_path):
    text = frame(lines=[line.replace(" O ", " CU ").replace(" H ", " cL ") for line in LINES])
    path = write(tmp_path, text.replace("1.96", "3.06"))
    assert read_structures(path).structures[0].get_chemical_symbols() == ["Cu", "Cl", "Cl"]


def test_two_energies_in_a_frame_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"input.data, frame 1: 'energy' stands twice"):
        read_structures(write(tmp_path, frame(lines=[*LINES, "energy -17.0"])))


# -- units that comments name ----------------------------------------------------------------------------

ATOMIC = ["units=atomic", "Units: Hartree Bohr", "energies in hartree, lengths in bohr", "unit system: a.u.",
          "energy_unit=Ha length_unit=Bohr", "atomic units", "units electron"]  # fmt: skip
METAL = ["units=metal", "UNITS : eV, Angstrom", "energies in eV", "in eV and Å", "units metal"]
OTHERS = ["units=real", "energy in kcal/mol", "units: Ry Bohr", "eV and Bohr", "units lj", "meV, Angstrom"]
NOTHING = [
    None,
    "a frame of water",
    "metal surface",
    "atomic configuration 7",
    "file=real/lj/traj.data",
    "Ha",
]


@pytest.mark.parametrize("where", ["frame", "file"])
@pytest.mark.parametrize("comment", [*ATOMIC, *METAL])
def test_units_that_a_comment_names_are_taken_and_said(comment, where, tmp_path):
    atomic = comment in ATOMIC
    bonds = IN_BOHR if atomic else IN_ANGSTROM
    text = frame(bonds, comment) if where == "frame" else f"# {comment}\n{frame(bonds)}"
    read = read_structures(write(tmp_path, text))
    energy = -17.5 * (units.Hartree if atomic else 1.0)
    assert reference.energy(read.structures[0]) == pytest.approx(energy)
    np.testing.assert_allclose(read.structures[0].cell.lengths(), 20 * (units.Bohr if atomic else 1.0))
    wanted = "Hartree and Bohr" if atomic else "eV and Å"
    assert any(f"1 frames read in {wanted}, as comments say" in note for note in read.notes)


@pytest.mark.parametrize("comment", OTHERS)
def test_other_units_in_a_comment_are_refused_by_name(comment, tmp_path):
    path = write(tmp_path, frame(comment=comment))
    with pytest.raises(UserError, match=r"input.data, frame 1: a comment names units") as refused:
        read_structures(path)
    assert "--units metal" in str(refused.value)
    read = read_structures(path, ReadingOptions(units="metal"))
    assert any("as --units says, though comments of 1 frames name others" in note for note in read.notes)


@pytest.mark.parametrize("comment", NOTHING)
def test_other_comments_name_no_units(comment, tmp_path):
    read = read_structures(write(tmp_path, frame(comment=comment)))
    assert any("does not tell its units: read in eV and Å" in note for note in read.notes)


@pytest.mark.parametrize(("comment", "bonds"), [("units=metal", IN_BOHR), ("units=atomic", IN_ANGSTROM)])
def test_bonds_that_a_comment_cannot_mean_are_refused(comment, bonds, tmp_path):
    with pytest.raises(UserError, match="as if lengths were in"):
        read_structures(write(tmp_path, frame(bonds, comment)))


# -- types of a .cfg -------------------------------------------------------------------------------------

CFG = """BEGIN_CFG
 Size
    2
 Supercell
    3.6D+00 0.0 0.0
    0.0 3.6 0.0
    0.0 0.0 3.6
 AtomData:  id type cartes_x cartes_y cartes_z fx fy fz
    1    0  0.0 0.0 0.0  1.0D-01 0.0 0.0
    2    TYPE  1.8 1.8 0.0 -1.0d-01 0.0 0.0
 Energy
    -7.0D0
 PlusStress:  xx yy zz yz xz xy
    1.0D0 2.0 3.0 0.4 0.5 0.6
END_CFG
"""


@pytest.mark.parametrize("kind", ["-1", "2", "7", "1.0", "Mo"])
def test_a_type_without_an_element_is_named_with_its_atom(kind, tmp_path):
    path = write(tmp_path, CFG.replace("TYPE", kind), "train.cfg")
    sentence = rf"frame 1: type {kind}, but --elements names 2: Mo,Si .*see atom 2"
    with pytest.raises(UserError, match=sentence):
        read_structures(path, ReadingOptions(elements=("Mo", "Si")))


def test_a_cfg_with_exponents_of_fortran(tmp_path):
    path = write(tmp_path, CFG.replace("TYPE", "1"), "train.cfg")
    (atoms,) = read_structures(path, ReadingOptions(elements=("Mo", "Si"))).structures
    assert reference.energy(atoms) == -7.0
    assert reference.forces(atoms)[0, 0] == 0.1
    assert atoms.cell[0, 0] == 3.6
