"""Reading, checking and finding data: units, signs, checksums, and a clear sentence for each bad input."""

import json
import tomllib

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from conftest import needs_mlearn

from mlip_bench.data import download, records, reference
from mlip_bench.data.base import most_stable_periodic
from mlip_bench.data.dataset import own_data, refuse_new_elements, split
from mlip_bench.data.files import read_structures
from mlip_bench.data.geometry import directions_of_matter
from mlip_bench.data.reference import labelled
from mlip_bench.data.shipped import shipped_folder
from mlip_bench.errors import UserError


def write(path, frames, **info):
    ase.io.write(path, frames, format="extxyz", **info)
    return path


def test_records_are_complete():
    for record in records.records().values():
        assert record.content["licence"] in ("BSD-3-Clause", "CC0-1.0")
        for key in ("title", "citation", "level_of_theory", "format", "units"):
            assert record.content[key]
        for system in record.systems:
            for part in records.SPLITS:
                kind, digest = record.content["systems"][system][part]["checksum"].split(":")
                assert len(digest) == {"sha256": 64, "git-blob": 40}[kind]


def test_embedded_set(embedded):
    assert (len(embedded.train), len(embedded.test)) == (55, 11)
    assert embedded.elements == ("Mo",)
    assert all(reference.stress(atoms) is not None for atoms in embedded.train)
    assert len(embedded.crystal) == 2


def test_every_hyper_parameter_has_a_source():
    from mlip_bench.potentials import family, family_names
    from mlip_bench.potentials.presets import PRESETS, hypers, with_sources

    for name in family_names():
        for preset in PRESETS:
            for system in ("Mo", "Si", "Li", "Ni", "Cu", "Ge", "Li-P-S"):
                family(name)(**hypers(name, preset, system))
                assert all(source for _, source in with_sources(name, preset, system).values())


def test_every_table_of_the_presets_is_read():
    from mlip_bench.potentials.presets import PRESETS, RESERVED

    systems = {system for record in records.records().values() for system in record.systems}
    for path in shipped_folder("potentials").glob("*.toml"):
        content = tomllib.loads(path.read_text())
        assert set(content) <= systems | {"all", *RESERVED}
        for preset in PRESETS:
            assert set(content.get(preset, {})) <= systems | {"all"}


@needs_mlearn
def test_mlearn_stress_has_the_sign_and_order_of_ase():
    """The published qSNAP was not fitted to stress, and still agrees with it in our sign and order."""
    from mlip_bench.lammps.loading import potentials_folder
    from mlip_bench.potentials import load

    data = records.load("mlearn", "Mo")
    assert (len(data.train), len(data.test)) == (194, 23)
    potential = load(potentials_folder() / "Mo_Zuo_JPCA2020.quadratic.snapcoeff")
    elastic = [atoms for atoms in data.test if reference.group(atoms) == "Elastic"]
    predicted = np.array([prediction.stress for prediction in potential.predict(elastic)])
    expected = np.array([reference.stress(atoms) for atoms in elastic])
    assert np.sqrt(np.mean((predicted - expected) ** 2)) < 0.2 * np.sqrt(np.mean(expected**2))


@needs_mlearn
@pytest.mark.parametrize("element", ["Mo", "Si", "Li", "Ni", "Cu"])
def test_shear_components_of_mlearn_are_in_the_order_that_the_record_says(element):
    """The published SNAP knows nothing of the file's order, and agrees with each shear component."""
    from mlip_bench.data.download import find
    from mlip_bench.lammps.loading import potentials_folder
    from mlip_bench.potentials import load

    record = records.records()["mlearn"].content["systems"][element]
    found = find("mlearn", record["test"]["path"], None, record["test"]["checksum"])
    test = read_structures(found.path, virial_order=record["virial_order"]).structures
    potential = load(potentials_folder() / f"{element}_Zuo_JPCA2020.snapcoeff")
    predicted = np.array([prediction.stress for prediction in potential.predict(test)])
    expected = np.array([reference.stress(atoms) for atoms in test])
    for component in (3, 4, 5):
        assert np.corrcoef(predicted[:, component], expected[:, component])[0, 1] > 0.8


def test_an_order_that_nobody_knows_is_not_read(tmp_path):
    path = mlearn_entry(tmp_path)
    (atoms,) = read_structures(path, virial_order="none").structures
    assert reference.stress(atoms) is None
    (atoms,) = read_structures(path, virial_order="xx yy zz xy xz yz").structures
    np.testing.assert_allclose(reference.stress(atoms), -1000 * units.bar * np.array([1, 2, 3, 6, 5, 4]))


def mlearn_entry(tmp_path):
    """Write one structure as maml does."""
    entry = {
        "structure": {
            "lattice": {"matrix": (4 * np.eye(3)).tolist()},
            "sites": [{"species": [{"element": "Mo"}], "abc": [0, 0, 0]}],
        },
        "group": "Elastic",
        "outputs": {"energy": -10.0, "forces": [[0, 0, 0]], "virial_stress": [1, 2, 3, 4, 5, 6]},
    }
    path = tmp_path / "one.json"
    path.write_text(json.dumps([entry]))
    return path


def test_mlearn_json_units_and_order(tmp_path):
    (atoms,) = read_structures(mlearn_entry(tmp_path)).structures
    kbar = 1000 * units.bar
    np.testing.assert_allclose(reference.stress(atoms), -kbar * np.array([1, 2, 3, 5, 6, 4]))
    assert reference.group(atoms) == "Elastic"


def test_keys_of_other_codes(tmp_path, alloys):
    atoms = alloys[0]
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    stress = reference.stress(atoms)
    frame.info["REF_energy"] = reference.energy(atoms)
    frame.arrays["REF_forces"] = reference.forces(atoms)
    tensor = stress[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    frame.info["REF_virial"] = (-atoms.get_volume() * tensor).ravel()
    (read,) = read_structures(write(tmp_path / "mace.extxyz", [frame])).structures
    assert reference.energy(read) == pytest.approx(reference.energy(atoms))
    np.testing.assert_allclose(reference.forces(read), reference.forces(atoms), atol=1e-7)
    np.testing.assert_allclose(reference.stress(read), stress, atol=1e-7)


def test_a_virial_that_is_none_beside_a_stress_is_said(tmp_path, alloys):
    """The frame is read by its stress; the file was lost, with no frame named."""
    atoms = alloys[0]
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    frame.info |= {"energy": 1.0, "stress": reference.stress(atoms), "virial": 0.5}
    frame.arrays["forces"] = reference.forces(atoms)
    found = read_structures(write(tmp_path / "one.extxyz", [frame]))
    np.testing.assert_allclose(reference.stress(found.structures[0]), reference.stress(atoms), atol=1e-7)
    assert any("virial" in note for note in found.notes)


def test_own_data_is_split_by_seed(tmp_path, alloys):
    isolated = reference.labelled(Atoms("Cu"), -0.1, np.zeros((1, 3)), None)
    path = write(tmp_path / "my.extxyz", [*alloys, isolated])
    one, again, other = (own_data(path, None, seed, None) for seed in (0, 0, 1))
    assert (len(one.train), len(one.test)) == (23, 2)
    assert one.sha256 == again.sha256 != other.sha256
    assert one.system == "Au-Cu"
    assert any(reference.is_isolated_atom(atoms) for atoms in one.train)
    assert one.crystal.pbc.all()


def test_fingerprint_sees_every_number(alloys):
    whole = reference.fingerprint(alloys)
    changed = [atoms.copy() for atoms in alloys]
    for atoms, original in zip(changed, alloys, strict=True):
        reference.labelled(
            atoms, reference.energy(original), reference.forces(original), reference.stress(original)
        )
    assert reference.fingerprint(changed) == whole
    changed[3].positions[0, 0] += 1e-9
    assert reference.fingerprint(changed) != whole


def test_slabs_and_molecules_in_periodic_boxes_are_no_crystals(alloys):
    """Codes that are periodic in three directions write them so; they had moduli and a volume per atom."""
    slab = fcc111("Cu", (2, 2, 4), a=3.6, vacuum=8.0)
    slab.pbc = True
    box = Atoms("Cu2", [(0, 0, 0), (0, 0, 2.2)], cell=[15, 16, 17], pbc=True)
    for atoms in (slab, box):
        atoms.calc = EMT()
        labelled_one = labelled(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces(), None)
        assert most_stable_periodic([labelled_one]) is None
        assert most_stable_periodic([*alloys, labelled_one]) is not None
    assert directions_of_matter(slab) == 2
    assert directions_of_matter(box) == 0
    assert directions_of_matter(bulk("Cs", "bcc", a=6.14)) == 3


def test_crystal_of_own_data_is_the_most_stable(alloys):
    crystal = most_stable_periodic(alloys)
    zero = reference.energies_per_element(alloys, ("Au", "Cu"))
    mixed = [atoms for atoms in alloys if len(set(atoms.numbers)) == 2]
    excess = [
        reference.energy(atoms) - reference.composition([atoms], ("Au", "Cu"))[0] @ zero for atoms in mixed
    ]
    assert mixed[int(np.argmin(excess))].positions == pytest.approx(crystal.positions)


# -- bad input: each one sentence that names the file, the frame and the key -----------------------------


def damaged(alloys, **changes):
    atoms = alloys[0].copy()
    values = {
        "energy": reference.energy(alloys[0]),
        "forces": reference.forces(alloys[0]).copy(),
        "stress": reference.stress(alloys[0]),
    } | changes
    return reference.labelled(atoms, **values)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing.xyz: no such file"):
        read_structures(tmp_path / "nothing.xyz")


def test_no_forces(tmp_path, alloys):
    path = tmp_path / "noforces.extxyz"
    frame = alloys[1].copy()
    frame.info["energy"] = 1.0
    write(path, [frame])
    with pytest.raises(UserError, match=r"noforces.extxyz, frame 1: no forces"):
        read_structures(path)


def test_nan(tmp_path, alloys):
    forces = reference.forces(alloys[0]).copy()
    forces[2, 1] = np.nan
    path = write(tmp_path / "nan.extxyz", [alloys[1], damaged(alloys, forces=forces)])
    with pytest.raises(UserError, match=r"nan.extxyz, frame 2: 'forces' has a NaN"):
        read_structures(path)


def test_overlapping_atoms(tmp_path, alloys):
    atoms = damaged(alloys)
    moved = atoms.copy()
    moved.positions[1] = moved.positions[0] + [0.1, 0, 0]
    reference.labelled(moved, reference.energy(atoms), reference.forces(atoms), None)
    path = write(tmp_path / "close.extxyz", [moved])
    with pytest.raises(UserError, match=r"close.extxyz, frame 1: two atoms are 0.100 Å apart"):
        read_structures(path)


def test_other_energy_unit(tmp_path, alloys):
    path = write(tmp_path / "unit.extxyz", [damaged(alloys, energy=-3.0e8)])
    with pytest.raises(UserError, match=r"unit.extxyz, frame 1: energy -3e\+08 eV.*check the unit"):
        read_structures(path)


def test_unknown_file_type(tmp_path):
    path = tmp_path / "notes.what"
    path.write_text("hello")
    with pytest.raises(UserError, match=r"notes.what"):
        read_structures(path)


def test_element_only_in_test_data(alloys):
    silver = reference.labelled(bulk("Ag"), 0.0, np.zeros((1, 3)), None)
    with pytest.raises(UserError, match=r"my.xyz, test frame 2: Ag does not occur in training \(Au, Cu\)"):
        refuse_new_elements(alloys, [alloys[0], silver], "my.xyz")


def test_too_few_to_split(alloys):
    with pytest.raises(UserError, match="one structure cannot be split"):
        split(alloys[:1], 0, "my.xyz")


def test_split_keeps_every_element_in_training(alloys):
    copper = [atoms for atoms in alloys if set(atoms.symbols) == {"Cu"}]
    gold = next(atoms for atoms in alloys if "Au" in set(atoms.symbols))
    for seed in range(20):
        train, test = split([*copper, gold], seed, "rare.xyz")
        assert reference.elements(train) == ("Au", "Cu")
        assert test


def test_stress_of_a_structure_without_volume_is_dropped(alloys):
    molecule = reference.labelled(Atoms("Cu2", [[0, 0, 0], [2, 0, 0]]), -1.0, np.zeros((2, 3)), np.zeros(6))
    assert reference.stress(molecule) is None


def test_molecules_have_no_crystal_to_time():
    molecule = reference.labelled(Atoms("Cu2", [[0, 0, 0], [2, 0, 0]]), -1.0, np.zeros((2, 3)), None)
    assert most_stable_periodic([molecule]) is None


def test_checksum_mismatch(tmp_path, monkeypatch):
    monkeypatch.setenv("MLIP_BENCH_DATA", str(tmp_path))
    folder = tmp_path / "mlearn" / "Mo"
    folder.mkdir(parents=True)
    for name in ("training.json", "test.json"):
        (folder / name).write_text("[]")
    with pytest.raises(UserError, match=r"training.json: checksum mismatch"):
        records.load("mlearn", "Mo")


def test_git_blob_checksum(tmp_path):
    """The blob id of the empty file and of 'hello' are known from git itself."""
    path = tmp_path / "blob"
    path.write_bytes(b"hello")
    download.verify(path, "git-blob:b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0")
    path.write_bytes(b"")
    download.verify(path, "git-blob:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")


def test_names_are_suggested():
    with pytest.raises(UserError, match="did you mean 'mlearn'"):
        records.load("mlern", "Mo")
    with pytest.raises(UserError, match=r"no data for system 'mo'.*did you mean 'Mo'"):
        records.load("auto", "mo")
