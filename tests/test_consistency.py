"""Energies, forces and stress against each other: a wrong sign or unit is said, right data is not."""

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from conftest import needs_mlearn
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data import records, reference
from mlip_bench.data.consistency import FORCE_UNITS, STRESS_UNITS, findings
from mlip_bench.data.dataset import own_data


def computed(atoms, calculator, energy=1.0, force=1.0, stress=1.0):
    """Label a structure; the factors turn signs and units."""
    atoms = atoms.copy()
    atoms.calc = calculator
    values = (
        energy * atoms.get_potential_energy(),
        force * atoms.get_forces(),
        stress * atoms.get_stress() if atoms.pbc.all() else None,
    )
    return reference.labelled(atoms.copy(), *values)


def volumes(stress=1.0, element="Cu", lattice="fcc", n_frames=8):
    """Return E(V) of a crystal without forces."""
    return [
        computed(bulk(element, lattice, a=a), EMT(), stress=stress)
        for a in (1 + 0.02 * np.linspace(-2, 2, n_frames)) * (3.6 if lattice == "fcc" else 2.9)
    ]


def trajectory(seed=0, force=1.0, energy=1.0, n_frames=12, pbc=True, stress=1.0, strained=0.0):
    """Return rattled copies of one crystal, or of a cluster cut from it, possibly strained."""
    generator = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        atoms = bulk("Cu", a=3.7, cubic=True).repeat((2, 1, 1))
        atoms.pbc = pbc
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strained * np.diag(generator.normal(size=3))), True)
        atoms.rattle(0.06, rng=generator)
        frames.append(computed(atoms, EMT(), energy, force, stress))
    return frames


@given(
    lattice=st.sampled_from([("fcc", "Cu"), ("bcc", "Cu"), ("fcc", "Au")]),
    unit=st.sampled_from([None, *STRESS_UNITS]),
    turned=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_sign_and_unit_of_the_stress_are_found_from_energies_at_volumes(lattice, unit, turned):
    factor = (-1 if turned else 1) / (STRESS_UNITS[unit] if unit else 1)
    found = findings(volumes(factor, lattice[1], lattice[0]))
    if unit is None and not turned:
        assert found == []
        return
    (sentence,) = found
    assert ("--turn-stress" in sentence) == turned
    assert ("--stress-unit" in sentence) == (unit is not None)
    if unit:
        assert f"--stress-unit {unit}" in sentence


@given(
    unit=st.sampled_from([None, *FORCE_UNITS]),
    turned=st.booleans(),
    pbc=st.sampled_from([True, False, (True, True, False)]),
    seed=st.integers(0, 20),
)
@settings(max_examples=25, deadline=None)
def test_sign_and_unit_of_the_forces_are_found_from_energy_differences(unit, turned, pbc, seed):
    factor = (-1 if turned else 1) / (FORCE_UNITS[unit] if unit else 1)
    found = findings(trajectory(seed, factor, pbc=pbc))
    if unit is None and not turned:
        assert found == []
        return
    (sentence,) = found
    assert ("sign of the forces is turned" in sentence) == turned
    if unit:
        named = sentence.split("looks like ")[1]
        # Near factors cannot be told apart: kcal/mol/Å and energies in Hartree, for one.
        assert unit in named or FORCE_UNITS[unit] == pytest.approx(
            max(FORCE_UNITS[other] for other in FORCE_UNITS if other in named), rel=0.25
        )


@pytest.mark.parametrize(("energy", "name"), [(1 / units.Hartree, "Hartree"), (1 / 8, "per atom")])
def test_another_unit_of_the_energy_is_named(energy, name):
    (sentence,) = findings(trajectory(energy=energy))
    assert name in sentence
    assert "--energy-key" in sentence


@given(seed=st.integers(0, 30), turned=st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_sign_of_the_stress_is_found_among_rattled_and_strained_frames(seed, turned):
    found = findings(trajectory(seed, strained=0.02, n_frames=20, stress=-1.0 if turned else 1.0))
    assert len(found) == turned
    assert all("--turn-stress" in sentence for sentence in found)


def test_frames_of_other_atoms_say_nothing():
    frames = [
        computed(bulk(name, "fcc", a=4.0), LennardJones()) for name in ("Cu", "Au", "Ag", "Ni", "Al", "Pt")
    ]
    assert findings(frames) == []
    assert findings([]) == []


def test_own_data_with_a_turned_stress_says_so(tmp_path):
    import ase.io

    path = tmp_path / "turned.extxyz"
    ase.io.write(path, [*volumes(-1.0), *volumes(-1.0, "Cu", "bcc")], format="extxyz")
    notes = own_data(path, None, 0, None).notes
    assert sum("the sign of the stress is turned, --turn-stress mends it" in note for note in notes) == 1


def test_the_embedded_set_raises_no_alarm(embedded):
    assert findings(embedded.train) == findings(embedded.test) == []


@needs_mlearn
@pytest.mark.parametrize("system", ["Mo", "Si", "Li"])
def test_published_data_raises_no_alarm(system):
    data = records.load("mlearn", system)
    assert findings(data.train) == findings(data.test) == []


@needs_mlearn
@pytest.mark.parametrize("name", ["argyrodite/600K.extxyz", "lips/train.extxyz", "acac/train_300K.xyz"])
def test_published_trajectories_raise_no_alarm(name):
    import os

    from mlip_bench.data.files import read_structures

    path = Path(os.environ["MLIP_BENCH_DATA"]) / name
    if not path.is_file():
        pytest.skip(f"MLIP_BENCH_DATA has no {name}")
    assert findings(read_structures(path).structures) == []
