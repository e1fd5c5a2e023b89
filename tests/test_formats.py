"""Training data in the formats of other codes, in folders and in databases."""

import bz2
import gzip
import lzma

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st
from motep.io.mlip.cfg import read_cfg, write_cfg

from mlip_bench.data import reference, voigt
from mlip_bench.data.files import read_structures
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.errors import UserError

CFG = """BEGIN_CFG
 Size
    2
 Supercell
         3.6      0.0      0.0
         0.0      3.6      0.0
         0.0      0.0      3.6
 AtomData:  id type cartes_x cartes_y cartes_z fx fy fz
             1    0  0.0 0.0 0.0  0.1 0.0 1e-05
             2    1  1.8 1.8 0.0 -0.1 0.0 -1e-05
 Energy
        -7.0
 PlusStress:  xx yy zz yz xz xy
     1.0 2.0 3.0 0.4 0.5 0.6
 Feature   EFS_by       VASP
END_CFG

"""

VIRIAL = np.array([1.0, 2.0, 3.0, 0.4, 0.5, 0.6])
MOSI = ReadingOptions(elements=("Mo", "Si"))

INPUT = """begin
comment a frame of water
lattice 20.0 0.0 0.0
lattice 0.0 20.0 0.0
lattice 0.0 0.0 20.0
atom {0} {0} {0} O -0.2 0.0 0.01 0.02 0.03
atom {1} {0} {0} H 0.1 0.0 -0.01 0.0 0.0
atom {0} {1} {0} H 0.1 0.0 0.0 -0.02 -0.03
energy -17.5
charge 0.0
end
"""

# A bond of water, in Å and in Bohr.
IN_ANGSTROM = INPUT.format(1.0, 1.96)
IN_BOHR = INPUT.format(1.0, 2.81)


def write(path, text):
    path.write_text(text)
    return path


def labelled(stress=True, seed=0):
    generator = np.random.default_rng(seed)
    atoms = Atoms(
        "Mo3Si", generator.uniform(0, 1, (4, 3)) + 2.0 * np.eye(4, 3), cell=[6.0, 6.5, 7.0], pbc=True
    )
    voigt_stress = generator.normal(0, 0.01, 6) if stress else None
    return reference.labelled(atoms, float(generator.normal()), generator.normal(size=(4, 3)), voigt_stress)


def assert_same(read, atoms, atol=1e-7):
    assert read.get_chemical_symbols() == atoms.get_chemical_symbols()
    np.testing.assert_allclose(read.positions, atoms.positions, atol=atol)
    np.testing.assert_allclose(read.cell, atoms.cell, atol=atol)
    assert reference.energy(read) == pytest.approx(reference.energy(atoms), abs=atol)
    np.testing.assert_allclose(reference.forces(read), reference.forces(atoms), atol=atol)
    if reference.stress(atoms) is not None:
        np.testing.assert_allclose(reference.stress(read), reference.stress(atoms), atol=atol)


# -- .cfg of MLIP ----------------------------------------------------------------------------------------


def test_a_cfg_is_read_with_the_elements_of_its_types(tmp_path):
    read = read_structures(write(tmp_path / "train.cfg", CFG * 3), MOSI)
    assert len(read.structures) == 3
    atoms = read.structures[0]
    assert atoms.get_chemical_symbols() == ["Mo", "Si"]
    assert reference.energy(atoms) == -7.0
    np.testing.assert_allclose(reference.forces(atoms), [[0.1, 0, 1e-5], [-0.1, 0, -1e-5]])
    np.testing.assert_allclose(reference.stress(atoms), -VIRIAL / 3.6**3)


def test_a_cfg_without_elements_says_what_to_give(tmp_path):
    with pytest.raises(UserError, match=r"train.cfg, frame 1: types are numbers .* --elements Mo,Si"):
        read_structures(write(tmp_path / "train.cfg", CFG))
    with pytest.raises(UserError, match=r"frame 1: type 1, but --elements names 1: Mo"):
        read_structures(write(tmp_path / "train.cfg", CFG), ReadingOptions(elements=("Mo",)))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.booleans())
def test_a_cfg_of_motep_is_read_as_motep_does(tmp_path_factory, seed, stress):
    atoms = labelled(stress, seed)
    path = tmp_path_factory.mktemp("motep") / "my.cfg"
    write_cfg(path, [atoms], species=["Si", "Mo"])
    (read,) = read_structures(path, ReadingOptions(elements=("Si", "Mo"))).structures
    assert_same(read, atoms, atol=1e-5)
    theirs = read_cfg(path, index=0, species=["Si", "Mo"])
    np.testing.assert_allclose(reference.forces(read), theirs.calc.results["forces"])
    if stress:
        np.testing.assert_allclose(reference.stress(read), theirs.calc.results["stress"])


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(6)), st.integers(0, 3), st.booleans())
def test_variants_of_a_cfg(tmp_path_factory, order, n_vectors, direct):
    """Components of the stress in any order, fewer vectors than three, scaled positions, without an id."""
    names = ["xx", "yy", "zz", "yz", "xz", "xy"]
    text = CFG.replace(" ".join(names), " ".join(names[index] for index in order))
    text = text.replace("1.0 2.0 3.0 0.4 0.5 0.6", " ".join(str(VIRIAL[index]) for index in order))
    text = (
        text.replace("AtomData:  id ", "AtomData: ")
        .replace("  1    0  0.0", " 0 0.0")
        .replace("  2    1  1.8", " 1 1.8")
    )
    lines = text.splitlines(keepends=True)
    start = lines.index(" Supercell\n")
    removed = lines[start + 1 + n_vectors : start + 4] if n_vectors else lines[start : start + 4]
    text = "".join(line for line in lines if line not in removed)
    if direct and n_vectors == 3:
        text = text.replace("cartes", "direct").replace("1.8", "0.5")
    (atoms,) = read_structures(write(tmp_path_factory.mktemp("cfg") / "v.cfg", text), MOSI).structures
    assert atoms.pbc.sum() == n_vectors
    np.testing.assert_allclose(atoms.positions[1], [1.8, 1.8, 0.0])
    if n_vectors == 3:
        np.testing.assert_allclose(reference.stress(atoms), -VIRIAL / 3.6**3)
    else:
        assert reference.stress(atoms) is None


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("fx fy fz", "magmom_x magmom_y magmom_z", "no forces"),
        ("PlusStress", "Stress", "field 'Stress' is not known; of stress only PlusStress is read"),
        ("PlusStress", "Virial", "field 'Virial' is not known"),
        ("fx fy fz", "fx fy ghost", "column 'ghost' of AtomData is not known"),
        ("-1e-05", "abc", "not a frame of MLIP"),
        ("  2    1", "  3    1", "the ids of AtomData are not 1, 2, 3"),
        ("END_CFG", "", "no END_CFG"),
    ],
)
def test_a_broken_frame_of_a_cfg_is_named(old, new, sentence, tmp_path):
    text = CFG + CFG.replace(old, new)
    with pytest.raises(UserError, match=r"broken.cfg, frame 2: .*") as refused:
        read_structures(write(tmp_path / "broken.cfg", text), MOSI)
    assert sentence in str(refused.value)
    options = ReadingOptions(elements=("Mo", "Si"), skip_bad=True)
    assert len(read_structures(tmp_path / "broken.cfg", options).structures) == 1


# -- input.data of n2p2 ----------------------------------------------------------------------------------


def test_input_data_is_read_in_the_units_named(tmp_path):
    path = write(tmp_path / "input.data", IN_BOHR * 2)
    with pytest.raises(UserError, match=r"as if lengths were in Bohr; say --units atomic"):
        read_structures(path)
    read = read_structures(path, ReadingOptions(units="atomic"))
    assert len(read.structures) == 2
    atoms = read.structures[0]
    assert atoms.get_chemical_symbols() == ["O", "H", "H"]
    assert reference.energy(atoms) == pytest.approx(-17.5 * units.Hartree)
    np.testing.assert_allclose(atoms.cell.lengths(), 20 * units.Bohr)
    np.testing.assert_allclose(
        reference.forces(atoms)[0], np.array([1, 2, 3]) / 100 * units.Hartree / units.Bohr
    )
    assert any("read in Hartree and Bohr" in note for note in read.notes)
    as_is = read_structures(path, ReadingOptions(units="metal"))
    assert reference.energy(as_is.structures[0]) == -17.5


def test_input_data_in_angstrom_needs_no_option(tmp_path):
    read = read_structures(write(tmp_path / "my.data", "# made by hand\n\n" + IN_ANGSTROM))
    assert reference.energy(read.structures[0]) == -17.5
    assert any("does not tell its units: read in eV and Å" in note for note in read.notes)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(["metal", "atomic"]), st.booleans(), st.booleans())
def test_input_data_round_trip(tmp_path_factory, seed, named, periodic, indented):
    atoms = labelled(stress=False, seed=seed)
    if not periodic:
        atoms = reference.labelled(
            Atoms(atoms.numbers, atoms.positions), reference.energy(atoms), reference.forces(atoms), None
        )
    energy, length = (units.Hartree, units.Bohr) if named == "atomic" else (1.0, 1.0)
    space = "  " if indented else ""
    lines = ["begin", *(f"lattice {plain(vector / length)}" for vector in (atoms.cell if periodic else []))]
    for symbol, position, force in zip(atoms.symbols, atoms.positions, reference.forces(atoms), strict=True):
        lines.append(f"atom {plain(position / length)} {symbol} 0.0 0.0 {plain(force / energy * length)}")
    lines += [f"energy {reference.energy(atoms) / energy:.14g}", "charge 0.0", "end"]
    path = tmp_path_factory.mktemp("n2p2") / "input.data"
    write(path, "".join(f"{space}{line}\n" for line in lines))
    (read,) = read_structures(path, ReadingOptions(units=named)).structures
    assert_same(read, atoms)
    assert read.pbc.all() == periodic


def test_a_frame_without_an_energy_is_read_for_families_that_need_none(tmp_path):
    text = CFG + CFG.replace(" Energy\n        -7.0\n", "")
    with_energy, without = read_structures(write(tmp_path / "some.cfg", text), MOSI).structures
    assert reference.has_energy(with_energy)
    assert not reference.has_energy(without)
    text = IN_ANGSTROM + IN_ANGSTROM.replace("energy -17.5\n", "")
    with_energy, without = read_structures(write(tmp_path / "input.data", text)).structures
    assert reference.has_energy(with_energy)
    assert not reference.has_energy(without)


def plain(values):
    return " ".join(f"{value:.14g}" for value in values)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("H 0.1 0.0 -0.01", "H 0.1 -0.01", "x y z element charge n fx fy fz"),
        (" H ", " Hx ", "x y z element charge n fx fy fz"),
        ("lattice 0.0 0.0 20.0\n", "", "2 lattice vectors, not 3 or none"),
        ("comment", "hint", "keyword 'hint' is not known"),
        ("begin", "begin position(3) element force(3)", "columns of its own after 'begin'"),
        ("energy -17.5", "energy nothing", "not a frame of n2p2"),
        ("end\n", "", "no 'end'"),
    ],
)
def test_a_broken_frame_of_input_data_is_named(old, new, sentence, tmp_path):
    path = write(tmp_path / "input.data", IN_ANGSTROM + IN_ANGSTROM.replace(old, new))
    with pytest.raises(UserError, match=r"input.data, frame 2: ") as refused:
        read_structures(path)
    assert sentence in str(refused.value)


# -- databases and folders -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["my.db", "my.json"])
def test_a_database_with_values_under_its_data_or_keys(name, tmp_path):
    atoms = labelled()
    energy, forces, stress = reference.energy(atoms), reference.forces(atoms), reference.stress(atoms)
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    virial = -atoms.get_volume() * voigt.to_matrix(stress)
    with ase.db.connect(tmp_path / name) as database:
        database.write(atoms)
        database.write(bare, data={"REF_energy": energy, "REF_forces": forces, "REF_stress": stress})
        database.write(
            bare, key_value_pairs={"dft_energy": energy}, data={"dft_forces": forces, "dft_virial": virial}
        )
        database.write(bare, key_value_pairs={"group": "without"})
    with pytest.raises(UserError, match=f"{name}, frame 4: no energy"):
        read_structures(tmp_path / name)
    read = read_structures(tmp_path / name, ReadingOptions(skip_bad=True))
    assert len(read.structures) == 3
    for found in read.structures:
        assert_same(found, atoms)


OUTCAR = """ POTCAR:    PAW_PBE Mo 08Apr2002
 ions per type =               1
  energy of the whole is not in here
"""


def vasprun(atoms):
    """Return the least of a vasprun.xml that ASE reads."""

    def rows(name, matrix):
        return f'<varray name="{name}">' + "".join(f"<v>{plain(row)}</v>" for row in matrix) + "</varray>"

    kinds = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in atoms.symbols)
    structure = (
        f"<structure><crystal>{rows('basis', atoms.cell.array)}</crystal>"
        f"{rows('positions', atoms.get_scaled_positions())}</structure>"
    )
    energy = f'<i name="e_fr_energy">{reference.energy(atoms):.12g}</i>'
    kilobar = -voigt.to_matrix(reference.stress(atoms)) / (0.1 * units.GPa)
    return (
        '<?xml version="1.0"?><modeling><generator><i name="program">vasp</i></generator>'
        '<kpoints><varray name="kpointlist"><v>0 0 0</v></varray>'
        '<varray name="weights"><v>1</v></varray></kpoints>'
        "<atominfo>"
        f'<array name="atoms"><set>{kinds}</set></array></atominfo>'
        f'<structure name="initialpos">{structure.removeprefix("<structure>")}'
        f'<calculation><scstep><energy>{energy}<i name="e_wo_entrp">{reference.energy(atoms):.12g}</i>'
        f'<i name="e_0_energy">{reference.energy(atoms):.12g}</i></energy></scstep>'
        f"{structure}{rows('forces', reference.forces(atoms))}{rows('stress', kilobar)}"
        f'<energy>{energy}<i name="e_wo_entrp">0</i><i name="e_0_energy">0</i></energy></calculation>'
        "</modeling>"
    )


def test_a_folder_is_read_with_all_below_it(tmp_path):
    folder = tmp_path / "data"
    (folder / "a" / "b").mkdir(parents=True)
    one, two, three = (labelled(seed=seed) for seed in range(3))
    ase.io.write(folder / "a" / "one.extxyz", one)
    text = (folder / "a" / "one.extxyz").read_bytes()
    (folder / "a" / "again.xyz.gz").write_bytes(gzip.compress(text))
    (folder / "a" / "thrice.extxyz.xz").write_bytes(lzma.compress(text))
    (folder / "a" / "b" / "vasprun.xml").write_text(vasprun(two))
    (folder / "a" / "b" / "OUTCAR").write_text(OUTCAR)
    (folder / "a" / "b" / "INCAR").write_text("ENCUT = 500")
    ase.io.write(folder / "three.traj", three)
    read = read_structures(folder)
    assert len(read.structures) == 5
    for found, expected in zip(read.structures, [one, two, one, one, three], strict=False):
        assert found.get_chemical_symbols() == expected.get_chemical_symbols()
    energies = sorted(reference.energy(atoms) for atoms in read.structures)
    np.testing.assert_allclose(energies, sorted(map(reference.energy, [one, one, one, two, three])))
    assert any("5 files" in note for note in read.notes)
    assert any("2 other files" in note and "INCAR" in note and "OUTCAR" in note for note in read.notes)


def test_a_file_of_a_folder_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "one").mkdir()
    ase.io.write(tmp_path / "good.extxyz", labelled())
    (tmp_path / "one" / "OUTCAR").write_text(OUTCAR)
    with pytest.raises(UserError, match=r"one/OUTCAR: cannot be read"):
        read_structures(tmp_path)
    read = read_structures(tmp_path, ReadingOptions(skip_bad=True))
    assert len(read.structures) == 1
    assert any("left out: 1 of 2" in note and "OUTCAR" in note for note in read.notes)


def test_a_file_of_a_folder_without_frames_is_named(tmp_path):
    ase.io.write(tmp_path / "good.extxyz", labelled())
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "lammps.data").write_text("LAMMPS data file\n\n2 atoms\n")
    with pytest.raises(UserError, match="2 of 3 frames cannot be used") as refused:
        read_structures(tmp_path)
    assert "empty.xyz: " in str(refused.value)
    assert "lammps.data: " in str(refused.value)


def test_a_folder_without_structures_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match=r"no files of structures in this folder \(OUTCAR, vasprun.xml"):
        read_structures(tmp_path)


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from(["extxyz", "cfg", "data"]),
    st.sampled_from([("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]),
)
def test_files_may_be_compressed(tmp_path_factory, kind, compression):
    ending, compress = compression
    folder = tmp_path_factory.mktemp("compressed")
    ase.io.write(folder / "plain.extxyz", labelled())
    content = {"extxyz": (folder / "plain.extxyz").read_text(), "cfg": CFG, "data": IN_ANGSTROM}[kind]
    path = folder / f"my.{kind}{ending}"
    path.write_bytes(compress(content.encode()))
    assert len(read_structures(path, MOSI).structures) == 1


def test_a_calculation_of_vasp_gives_the_energy_that_forces_belong_to(tmp_path):
    atoms = labelled()
    path = write(tmp_path / "vasprun.xml", vasprun(atoms))
    (read,) = read_structures(path).structures
    assert_same(read, atoms, atol=1e-6)


def test_a_trajectory_with_results_of_a_calculator(tmp_path):
    atoms = labelled()
    atoms.calc = SinglePointCalculator(
        atoms, **atoms.calc.results, free_energy=reference.energy(atoms) - 0.25
    )
    ase.io.write(tmp_path / "my.traj", [atoms, atoms])
    read = read_structures(tmp_path / "my.traj")
    assert reference.energy(read.structures[0]) == pytest.approx(reference.energy(atoms) - 0.25)
