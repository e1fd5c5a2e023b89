"""The zero of the energy: found, subtracted and added in one place, for every family."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlip_bench.data import reference
from mlip_bench.errors import UserError
from mlip_bench.potentials import family, load

SMALL = {
    "snap": {"twojmax": 2, "cutoff": 4.0},
    "gap": {"n_max": 2, "l_max": 2, "n_sparse": 20, "cutoff": 4.0},
    "mtp": {"level": 4, "cutoff": 4.0, "radial_basis_size": 4, "iterations": 2, "starts": 1, "ridge": 1e-8},
    "nnp": {"cutoff": 4.0, "radial_shifts": [0.0], "zetas": [1.0], "hidden": [4, 4], "epochs": 1},
    "sevennet": {"channels": 2, "lmax": 1, "cutoff": 4.0, "steps": 4},
}
FREE = {"Au": -3.5, "Cu": -1.25}


def isolated(symbol, energy):
    atom = Atoms(symbol, cell=np.eye(3) * 20, pbc=True)
    atom.calc = SinglePointCalculator(atom, energy=energy, forces=np.zeros((1, 3)))
    return atom


@pytest.mark.parametrize("centred", [False, True])
def test_zero_is_that_of_isolated_atoms_and_what_they_leave(alloys, centred):
    whole = reference.with_zero(alloys, ("Au", "Cu"), np.array([FREE["Au"], FREE["Cu"]]))
    zero = reference.energy_zero(whole, ("Au", "Cu"), FREE, centred)
    plain = reference.energies_per_element(whole, ("Au", "Cu"))
    np.testing.assert_allclose(zero, plain if centred else list(FREE.values()), atol=1e-6)


def test_an_element_without_isolated_atom_is_fitted_given_the_other(alloys):
    zero = reference.energy_zero(alloys, ("Au", "Cu"), {"Au": 0.5}, centred=False)
    assert zero[0] == 0.5
    left = [
        reference.energy(atoms) / len(atoms) - shares @ zero
        for atoms, shares in zip(
            alloys, [c / c.sum() for c in reference.composition(alloys, ("Au", "Cu"))], strict=True
        )
    ]
    shares = np.array([c[1] / c.sum() for c in reference.composition(alloys, ("Au", "Cu"))])
    assert abs(shares @ left) < 1e-4  # the residual is orthogonal to the column that was free


@pytest.mark.parametrize("name", SMALL)
def test_an_element_that_is_an_isolated_atom_only_is_left_out_and_said(name, alloys):
    train = [*(atoms for atoms in alloys if "Au" not in atoms.symbols), isolated("O", -1.9)]
    train += [isolated("Cu", -0.28)]
    potential = family(name)(**SMALL[name]).fit(train)
    assert potential.elements_ == ("Cu",)
    assert any("O is in the training data as an isolated atom only" in note for note in potential.notes_)
    assert any("Cu -0.28 eV" in note for note in potential.notes_)
    with pytest.raises(UserError, match="knows Cu, not O"):
        potential.predict([Atoms("CuO", [[0, 0, 0], [0, 0, 2]])])


def test_gap_counts_from_isolated_atoms(alloys):
    train = [*alloys[:6], isolated("Au", FREE["Au"]), isolated("Cu", FREE["Cu"]), isolated("Cu", -1.0)]
    potential = family("gap")(**SMALL["gap"]).fit(train)
    np.testing.assert_allclose(potential.zero_, [FREE["Au"], FREE["Cu"]], atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_saved_potentials_keep_the_zero_the_notes_and_an_example(name, alloys, tmp_path):
    moved = reference.with_zero(alloys, ("Au", "Cu"), np.array([-520000.0, -45000.123]))
    potential = family(name)(**SMALL[name]).fit([*moved[:8], isolated("Cu", -45001.0)])
    potential.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    np.testing.assert_array_equal(again.zero_, potential.zero_)
    assert again.notes_ == potential.notes_
    np.testing.assert_allclose(again.example_.positions, potential.example_.positions, atol=1e-7)
    assert again.example_.symbols.formula == potential.example_.symbols.formula
    assert len(set(again.example_.numbers)) == 2
    probe = moved[9]
    assert again.predict([probe])[0].energy == pytest.approx(potential.predict([probe])[0].energy, abs=1e-4)


@pytest.mark.parametrize("name", ["snap", "gap", "mtp", "nnp"])
def test_files_of_the_field_hold_whole_energies(name, alloys, tmp_path):
    moved = reference.with_zero(alloys, ("Au", "Cu"), np.array([-190.0, -45.0]))
    potential = family(name)(**SMALL[name]).fit(moved[:8])
    potential.save(tmp_path)
    file = {"snap": "potential.snapcoeff", "gap": "potential.xml", "mtp": "potential.mtp", "nnp": "input.nn"}
    (tmp_path / "potential.json").unlink()
    native = load(tmp_path / file[name])
    probe = moved[9]
    assert native.predict([probe])[0].energy == pytest.approx(potential.predict([probe])[0].energy, abs=1e-6)
    probe = probe.copy()
    probe.calc = native.calculator()
    assert probe.get_potential_energy() == pytest.approx(potential.predict([probe])[0].energy, abs=1e-6)


def test_training_from_a_checkpoint_finds_the_zero_of_its_own_data(alloys, tmp_path):
    """The same data with its zero moved by -5 eV per atom: the network and its errors stay the same."""
    kind = family("sevennet")
    kind(**SMALL["sevennet"] | {"steps": 12}).fit(alloys[:12]).save(tmp_path)
    hypers = SMALL["sevennet"] | {"checkpoint": str(tmp_path / "model.pth"), "steps": 8}
    moved = reference.with_zero(alloys, ("Au", "Cu"), np.array([-5.0, -5.0]))
    here, there = kind(**hypers).fit(alloys[:12]), kind(**hypers).fit(moved[:12])
    for one, other, atoms in zip(here.predict(alloys), there.predict(moved), alloys, strict=True):
        assert other.energy + 5.0 * len(atoms) == pytest.approx(one.energy, abs=1e-3 * len(atoms))
        np.testing.assert_allclose(other.forces, one.forces, atol=2e-3)


def test_the_calculator_refuses_a_foreign_element(alloys):
    potential = family("mtp")(**SMALL["mtp"]).fit(alloys[:8])
    atoms = Atoms("XeCu", [[0, 0, 0], [0, 0, 2.5]], cell=np.eye(3) * 5, pbc=True)
    atoms.calc = potential.calculator()
    with pytest.raises(UserError, match="not Xe"):
        atoms.get_potential_energy()


def test_the_zero_does_not_carry_the_last_bits_of_a_sum(alloys):
    """Rounding of the energies, as other threads leave it, gives the same zero bit by bit."""
    generator = np.random.default_rng(0)
    plain = reference.energy_zero(alloys, ("Au", "Cu"), {}, centred=True)
    for _ in range(5):
        noisy = [
            reference.labelled(
                a.copy(),
                reference.energy(a) * (1 + 1e-15 * generator.integers(-3, 4)),
                reference.forces(a),
                None,
            )
            for a in alloys
        ]
        np.testing.assert_array_equal(reference.energy_zero(noisy, ("Au", "Cu"), {}, centred=True), plain)
