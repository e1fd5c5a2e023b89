"""Structures that occur twice, in one file or across training and test."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlip_bench.data import reference
from mlip_bench.data.dataset import own_data
from mlip_bench.data.duplicates import nearness, number_geometries, on_leaks, on_repeated, same_geometry


def labelled(atoms, energy=None, forces=None):
    return reference.labelled(
        atoms,
        float(np.sum(atoms.positions**2)) % 7 if energy is None else energy,
        np.zeros((len(atoms), 3)) if forces is None else forces,
        None,
    )


def random_structure(generator, pbc, n_atoms=6):
    cell = 6 * np.eye(3) + generator.normal(size=(3, 3))
    cell[~np.array(pbc)] = 0
    symbols = generator.choice(["Cu", "Au"], size=n_atoms)
    return Atoms(symbols, generator.uniform(-3, 9, size=(n_atoms, 3)), cell=cell, pbc=pbc)


def disguised(atoms, generator):
    """Return the same geometry, translated, wrapped and in another order of atoms."""
    other = atoms.copy()
    other.positions += generator.uniform(-5, 5, size=3)
    other.positions += (generator.integers(-2, 3, size=(len(atoms), 3)) * atoms.pbc) @ np.array(atoms.cell)
    return other[generator.permutation(len(atoms))]


periodicities = st.tuples(st.booleans(), st.booleans(), st.booleans())


@given(pbc=periodicities, seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_moved_wrapped_reordered_copy_is_found(pbc, seed):
    generator = np.random.default_rng(seed)
    train = [labelled(random_structure(generator, pbc)) for _ in range(3)]
    test = [labelled(disguised(train[1], generator), reference.energy(train[1]))]
    numbers = number_geometries([*train, *test])
    assert numbers[id(test[0])] == 1
    (sentence,) = on_leaks(train, test, numbers)
    assert sentence.startswith("1 of 1 test structures are also in training")


@given(pbc=periodicities, seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_structure_with_one_atom_moved_or_exchanged_is_another(pbc, seed):
    generator = np.random.default_rng(seed)
    atoms = random_structure(generator, pbc)
    moved = disguised(atoms, generator)
    moved.positions[2] += 0.1
    assert not same_geometry(atoms, moved)
    exchanged = atoms.copy()
    unlike = np.flatnonzero(exchanged.numbers != exchanged.numbers[0])
    assume(len(unlike))
    exchanged.numbers[[0, unlike[0]]] = exchanged.numbers[[unlike[0], 0]]
    assume(np.linalg.norm(atoms.positions[0] - atoms.positions[unlike[0]]) > 0.5)
    assert number_geometries([atoms, moved])[id(moved)] == 1


def test_orders_of_an_alloy_on_one_lattice_are_told_apart():
    lattice = bulk("Cu", a=3.6, cubic=True).repeat(2)
    generator = np.random.default_rng(0)
    alloys = []
    for _ in range(20):
        alloy = lattice.copy()
        alloy.symbols[generator.permutation(32)[:12]] = "Au"
        alloys.append(alloy)
    assert len(set(number_geometries(alloys).values())) == 20


def test_equal_geometries_with_other_labels_are_counted_and_the_first_pair_is_named():
    atoms = bulk("Fe", a=2.87, cubic=True).repeat(2)
    atoms.rattle(0.05)
    others = [atoms.copy() for _ in range(4)]
    frames = [labelled(bulk("Fe"), 0.0)] + [
        labelled(copy, energy) for copy, energy in zip(others, (-131.2, -133.2, -131.2, -129.0), strict=True)
    ]
    conflict, duplicate = on_repeated(frames, number_geometries(frames))
    assert conflict.startswith("of 5 structures, 2 have the geometry of an earlier one with other labels")
    assert "first 2 (-131.2 eV) and 3 (-133.2 eV)" in conflict
    assert duplicate.startswith("of 5 structures, 1 are duplicates of an earlier one")


def test_other_forces_are_other_labels():
    frames = [labelled(bulk("Cu", cubic=True), 0.0, forces) for forces in (np.zeros((4, 3)), np.ones((4, 3)))]
    (sentence,) = on_repeated(frames, number_geometries(frames))
    assert "with other labels" in sentence


def dynamics(n_frames, memory, seed=0, wrap=False):
    """Return frames whose displacements are correlated from one to the next."""
    generator = np.random.default_rng(seed)
    lattice = bulk("Cu", a=3.7, cubic=True).repeat(2)
    shape = lattice.positions.shape
    moved = 0.1 * generator.normal(size=shape)
    frames = []
    for _ in range(n_frames):
        moved = memory * moved + 0.1 * np.sqrt(1 - memory**2) * generator.normal(size=shape)
        atoms = lattice.copy()
        atoms.positions += moved
        if wrap:
            atoms.wrap()
        frames.append(labelled(atoms))
    return frames


@pytest.mark.parametrize("wrap", [True, False])
def test_frames_of_one_trajectory_are_found(wrap):
    frames = dynamics(60, 0.98, wrap=wrap)
    found = nearness(frames[::2], frames[1::2])
    assert len(found.correlated) == 30
    assert found.distance < 0.5 * found.typical
    halves = frames[::2], frames[1::2], number_geometries(frames)
    sentence = on_leaks(*halves)[-1]
    assert sentence.startswith("30 of 30 test structures lie")
    # An advice is given where it can be followed.
    assert "--split blocks" not in sentence
    assert "--split blocks keeps such apart" in on_leaks(*halves, split_at_random=True)[-1]


def test_independent_frames_are_no_trajectory():
    frames = dynamics(60, 0.0)
    assert on_leaks(frames[::2], frames[1::2], number_geometries(frames)) == []


def test_energies_at_volumes_are_no_trajectory():
    frames = [labelled(bulk("Cu", a=a)) for a in np.linspace(3.4, 3.9, 20)]
    assert on_leaks(frames[::2], frames[1::2], number_geometries(frames)) == []


def test_all_but_equal_structures_are_found():
    frames = dynamics(4, 0.0)
    near = frames[2].copy()
    near.rattle(0.01)
    test = [labelled(near)]
    sentence = on_leaks(frames, test, number_geometries([*frames, *test]))[0]
    assert sentence.startswith("1 of 1 test structures lie within 0.05 Å of a training structure")


def write(path, frames):
    for atoms in frames:
        atoms.calc = EMT()
        atoms.get_stress()
    ase.io.write(path, frames, format="extxyz")
    return path


def test_a_test_file_with_training_structures_is_said(tmp_path):
    frames = dynamics(8, 0.0)
    path = write(tmp_path / "both.extxyz", frames)
    wrapped = [atoms.copy() for atoms in frames[:3]]
    for atoms in wrapped:
        atoms.wrap()
    other = write(tmp_path / "other.extxyz", wrapped)
    assert any("8 of 8 test structures are also" in note for note in own_data(path, path, 0, None).notes)
    assert any("3 of 3 test structures are also" in note for note in own_data(path, other, 0, None).notes)
    assert not any("test structures" in note for note in own_data(path, None, 0, None).notes)


def test_data_kept_together_is_not_called_a_leak(tmp_path):
    path = write(tmp_path / "all.extxyz", dynamics(8, 0.9))
    data = own_data(path, None, 0, None, kind=None)
    assert len(data.train) == 8
    assert not any("test structures" in note for note in data.notes)
