"""Which of energies, forces, stress is wrong, where all cells differ, frames are shuffled, molecules turn."""

import time

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mlip_bench.data import reference
from mlip_bench.data.consistency import ENERGY_UNITS, FORCE_UNITS, STRESS_UNITS, findings
from mlip_bench.data.like_frames import MOST_PAIRS, like_pairs

SIZES = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2))


def labelled(atoms, with_stress=True):
    atoms = atoms.copy()
    atoms.calc = EMT()
    stress = atoms.get_stress() if with_stress else None
    return reference.labelled(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces(), stress)


def changed(frames, energy=1.0, force=1.0, stress=1.0, per_atom=False):
    """Return the frames with other labels; the factors turn signs and units."""
    return [
        reference.labelled(
            atoms.copy(),
            energy * reference.energy(atoms) / (len(atoms) if per_atom else 1),
            force * reference.forces(atoms),
            None if reference.stress(atoms) is None else stress * reference.stress(atoms),
        )
        for atoms in frames
    ]


def strained(seed=0, n_frames=30, sizes=SIZES[1:2], with_stress=True, strain=0.008):
    """Return rattled copies of a crystal, each in a cell of its own."""
    generator = np.random.default_rng(seed)
    frames = []
    for number in range(n_frames):
        atoms = bulk("Cu", a=3.65, cubic=True).repeat(sizes[number % len(sizes)])
        deformation = np.eye(3) + strain * generator.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ (0.5 * (deformation + deformation.T)), scale_atoms=True)
        atoms.rattle(0.03, rng=generator)
        frames.append(labelled(atoms, with_stress))
    return frames


@pytest.mark.parametrize("with_stress", [True, False])
@given(unit=st.sampled_from([None, *FORCE_UNITS]), turned=st.booleans(), seed=st.integers(0, 30))
@settings(max_examples=12, deadline=None)
def test_wrong_forces_are_not_blamed_on_the_stress(with_stress, unit, turned, seed):
    factor = (-1 if turned else 1) / (FORCE_UNITS[unit] if unit else 1)
    # Without stress only small strains leave the work of the forces alone.
    frames = strained(seed, with_stress=with_stress, strain=0.008 if with_stress else 1e-3)
    found = findings(changed(frames, force=factor))
    if unit is None and not turned:
        assert found == []
        return
    (sentence,) = found
    assert "times the work of the forces" in sentence
    assert "--forces-key" in sentence
    assert ("sign of the forces is turned" in sentence) == turned
    assert "--turn-stress" not in sentence
    if with_stress:  # they tell that the energies are right
        assert "energies" not in sentence.split("looks like")[-1]


@given(unit=st.sampled_from([None, *STRESS_UNITS]), turned=st.booleans(), seed=st.integers(0, 30))
@settings(max_examples=12, deadline=None)
def test_a_wrong_stress_is_named_alone(unit, turned, seed):
    factor = (-1 if turned else 1) / (STRESS_UNITS[unit] if unit else 1)
    found = findings(changed(strained(seed), stress=factor))
    assert len(found) == (unit is not None or turned)
    for sentence in found:
        assert "times the work of the stress" in sentence
        assert ("--turn-stress" in sentence) == turned
        assert unit is None or f"--stress-unit {unit}" in sentence


@given(unit=st.sampled_from([*ENERGY_UNITS]), seed=st.integers(0, 30))
@settings(max_examples=12, deadline=None)
def test_energies_in_another_unit_are_named_alone_where_all_cells_differ(unit, seed):
    (sentence,) = findings(changed(strained(seed), energy=ENERGY_UNITS[unit]))
    assert f"energies in {unit}" in sentence
    assert "--energy-key" in sentence
    assert "--stress-unit" not in sentence


@given(several=st.booleans(), seed=st.integers(0, 30))
@settings(max_examples=10, deadline=None)
def test_energies_per_atom_are_found_for_one_size_and_for_several(several, seed):
    frames = strained(seed, n_frames=48, sizes=SIZES if several else SIZES[3:])
    assert findings(frames) == []
    (sentence,) = findings(changed(frames, per_atom=True))
    assert "energies per atom" in sentence
    assert "--energy-key" in sentence


def test_hartrees_of_several_sizes_are_not_taken_for_energies_per_atom():
    frames = strained(n_frames=48, sizes=SIZES[2:])
    (sentence,) = findings(changed(frames, energy=1 / units.Hartree))
    assert "energies in Hartree" in sentence


def test_two_wrong_quantities_are_two_sentences():
    forces, stress = findings(changed(strained(), force=-1.0, stress=10 / units.GPa))
    assert "the sign of the forces is turned" in forces
    assert "--stress-unit kbar" in stress


def test_forces_and_stress_turned_together_or_energies_turned_cannot_be_told_apart():
    (one,) = findings(changed(strained(), force=-1.0, stress=-1.0))
    (other,) = findings(changed(strained(), energy=-1.0))
    for sentence in (one, other):
        assert "the sign of the energies, or those of both forces and stress, are turned" in sentence


# -- pairs -----------------------------------------------------------------------------------------------


def trajectory(atoms, n_frames, generator, memory=0.9, step=0.12):
    moved = np.zeros((len(atoms), 3))
    frames = []
    for _ in range(n_frames):
        noise = generator.normal(size=moved.shape)
        moved = memory * moved + step * np.sqrt(1 - memory**2) * noise
        frame = atoms.copy()
        frame.positions += moved
        frames.append(frame)
    return frames


@pytest.mark.parametrize("turned", [True, False])
def test_shuffled_frames_of_several_trajectories_have_their_neighbours(turned):
    """Atoms have diffused from one trajectory to the next, so that few in a row are alike."""
    generator = np.random.default_rng(0)
    frames = []
    for _ in range(12):
        start = bulk("Cu", a=3.7, cubic=True).repeat((2, 2, 1))
        start.set_scaled_positions(start.get_scaled_positions()[generator.permutation(16)])
        frames += [labelled(atoms) for atoms in trajectory(start, 6, generator)]
    shuffled = [frames[place] for place in generator.permutation(len(frames))]
    found = findings(changed(shuffled, force=-1.0 if turned else 1.0))
    assert len(found) == turned
    assert all("the sign of the forces is turned" in sentence for sentence in found)


@pytest.mark.parametrize("turned", [True, False])
def test_molecules_that_turn_have_their_neighbours(turned):
    generator = np.random.default_rng(1)
    frames = []
    for atoms in trajectory(molecule("CH3CH2OH"), 60, generator, memory=0.0, step=0.06):
        atoms.positions = atoms.positions @ Rotation.random(random_state=generator).as_matrix()
        frames.append(labelled(atoms, with_stress=False))
    found = findings(changed(frames, force=-1.0 if turned else 1.0))
    assert len(found) == turned
    assert all("the sign of the forces is turned" in sentence for sentence in found)


def test_pairs_of_many_frames_take_seconds():
    generator = np.random.default_rng(2)
    start = bulk("Cu", cubic=True).repeat(2)
    frames = []
    for _ in range(20_000):
        atoms = start.copy()
        atoms.positions += 0.1 * generator.normal(size=(len(start), 3))
        frames.append(reference.labelled(atoms, 0.0, np.zeros((len(start), 3)), None))
    before = time.process_time()
    pairs = like_pairs(frames)
    assert 0 < len(pairs) <= MOST_PAIRS
    assert time.process_time() - before < 30
