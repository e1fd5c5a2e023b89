"""Test structures that training has in another cell, rotated or reordered, and those that it has not."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mlip_bench.data import reference, same_matter
from mlip_bench.data.duplicates import number_geometries, on_leaks

NOISE = 1e-3


def labelled(atoms):
    return reference.labelled(atoms, 0.0, np.zeros((len(atoms), 3)), None)


def rattled_alloy(generator, pbc=(True, True, True)):
    """Return a small cell of no symmetry."""
    atoms = bulk("Cu", a=3.7, cubic=True).repeat((2, 1, 1))
    atoms.symbols[generator.permutation(8)[:3]] = "Au"
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * generator.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += 0.15 * generator.normal(size=(8, 3))
    atoms.pbc = pbc
    return atoms


def in_another_cell(atoms, generator, larger):
    """Return the same matter with other axes, of one or several cells, rotated, shuffled and with noise."""
    periodic = atoms.pbc.astype(int)
    axes = np.eye(3, dtype=int)
    axes[0, 1], axes[2, 0] = generator.integers(-1, 2, size=2) * [
        periodic[:2].prod(),
        periodic[[0, 2]].prod(),
    ]
    repeats = np.where(periodic, generator.integers(1, 3, size=3) if larger else 1, 1)
    other = make_supercell(atoms, axes * repeats[:, None])
    turn = Rotation.random(random_state=generator).as_matrix()
    other = Atoms(other.numbers, other.positions @ turn, cell=other.cell.array @ turn, pbc=other.pbc)
    other.positions += generator.uniform(-2, 2, size=3) + NOISE * generator.normal(size=(len(other), 3))
    return other[generator.permutation(len(other))]


@given(
    seed=st.integers(0, 5000),
    larger=st.booleans(),
    small_in_test=st.booleans(),
    pbc=st.sampled_from([(True, True, True), (True, True, False), (False, False, False)]),
)
@settings(max_examples=40, deadline=None)
def test_the_same_matter_is_found(seed, larger, small_in_test, pbc):
    generator = np.random.default_rng(seed)
    small = [labelled(rattled_alloy(generator, pbc)) for _ in range(3)]
    large = [labelled(in_another_cell(atoms, generator, larger)) for atoms in small]
    train, test = (large, small[1:2]) if small_in_test else (small, large[1:2])
    sentences = on_leaks(train, test, number_geometries([*train, *test]))
    assert any(sentence.startswith("1 of 1 test structures ") for sentence in sentences)
    assert same_matter.in_training(train, test).found == [0]
    assert same_matter.in_training([train[0], train[2]], test).found == []


def test_a_crystal_in_its_primitive_and_conventional_cell():
    train = [labelled(bulk("Si", "diamond", a=5.43))]
    cubic = bulk("Si", "diamond", a=5.43, cubic=True)
    test = [labelled(cubic), labelled(cubic.repeat((2, 1, 1))), labelled(bulk("Si", "diamond", a=5.46))]
    (sentence,) = on_leaks(train, test, number_geometries([*train, *test]))
    assert sentence.startswith(
        "2 of 3 test structures are the same crystal or molecule as a training structure"
    )


def test_slabs_of_several_cells_and_molecules_that_turned():
    generator = np.random.default_rng(0)
    water = molecule("H2O")
    turned = water.copy()
    turned.positions = turned.positions @ Rotation.random(random_state=generator).as_matrix()
    slab, larger = (fcc111("Cu", size, vacuum=6.0) for size in ((1, 1, 3), (2, 3, 3)))
    train = [labelled(atoms) for atoms in (water, slab)]
    assert same_matter.in_training(train, [labelled(turned), labelled(larger)]).found == [0, 1]


UNLIKE = {
    "strained": (bulk("Cu", a=3.60), bulk("Cu", a=3.61)),
    "sheared": (bulk("Cu", cubic=True), None),
    "stacked otherwise": (
        bulk("Cu", "fcc", a=3.60),
        bulk("Cu", "hcp", a=3.60 / np.sqrt(2), c=3.60 * 2 / np.sqrt(3)),
    ),
    "of other elements": (bulk("Cu", a=3.6), bulk("Au", a=3.6)),
    "of other shares": (bulk("Cu", cubic=True), None),
    "with a vacancy": (bulk("Cu", cubic=True).repeat(2), bulk("Cu", cubic=True).repeat(2)[1:]),
}


@pytest.mark.parametrize("kind", [*UNLIKE])
def test_what_is_only_alike_is_not_the_same(kind):
    one, other = UNLIKE[kind]
    if kind == "sheared":
        other = one.copy()
        other.set_cell(other.cell.array @ [[1, 0.01, 0], [0, 1, 0], [0, 0, 1]], scale_atoms=True)
    if kind == "of other shares":
        one, other = one.copy(), one.copy()
        one.symbols[:1], other.symbols[:2] = "Au", "Au"
    assert same_matter.in_training([labelled(one)], [labelled(other)]).found == []


def test_frames_of_dynamics_are_not_the_same():
    generator = np.random.default_rng(3)
    frames = []
    for _ in range(60):
        atoms = bulk("Cu", cubic=True).repeat(2)
        atoms.positions += 0.08 * generator.normal(size=(32, 3))
        frames.append(labelled(atoms))
    assert same_matter.in_training(frames[::2], frames[1::2]).found == []


def test_the_embedded_set_has_no_structure_twice(embedded):
    assert same_matter.in_training(embedded.train, embedded.test).found == []


def test_of_very_many_structures_samples_are_looked_at_and_said(monkeypatch):
    monkeypatch.setattr(same_matter, "MOST_TRAIN", 8)
    monkeypatch.setattr(same_matter, "MOST_TEST", 5)
    generator = np.random.default_rng(4)
    frames = []
    for _ in range(40):
        atoms = bulk("Cu", cubic=True).repeat(2)
        atoms.positions += 0.08 * generator.normal(size=(32, 3))
        frames.append(labelled(atoms))
    sentences = on_leaks(frames[:20], frames[20:], number_geometries(frames))
    assert any("one in 4 test structures among one in 3 of training" in sentence for sentence in sentences)
