"""What the data is silent on: pairs of elements that never meet, and elements of a single structure."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_bench.data import splits
from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.potentials import family, load, unseen_pairs

CUTOFF = 3.6  # Å: two shells of copper

QUICK = {
    "snap": {"twojmax": 2},
    "gap": {"n_sparse": 20, "n_max": 3, "l_max": 2},
    "mtp": {"level": 4, "iterations": 5, "iterations_below": 2, "starts": 1},
    "nnp": {"epochs": 2, "gauss_newton_steps": 1, "hidden": [4, 4]},
}


def by_emt(atoms):
    atoms.calc = EMT()
    return labelled(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())


def diluted(n_gold=1, seed=0):
    """Copper with gold: one atom in each structure, or two that are neighbours."""
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True).repeat(2)
    atoms.symbols[:n_gold] = "Au"
    atoms.rattle(0.08, seed=seed)
    return by_emt(atoms)


@pytest.fixture(scope="module")
def dilute():
    return [diluted(seed=seed) for seed in range(6)]


def test_pairs_that_never_meet_are_found(dilute):
    assert unseen_pairs.of(dilute, ("Au", "Cu"), CUTOFF) == (("Au", "Au"),)
    assert unseen_pairs.of([*dilute, diluted(2)], ("Au", "Cu"), CUTOFF) == ()
    assert unseen_pairs.n_atoms_of(diluted(2), (("Au", "Au"),), CUTOFF) == 2
    assert unseen_pairs.n_atoms_of(diluted(1), (("Au", "Au"),), CUTOFF) == 0


@pytest.mark.parametrize("name", QUICK)
def test_neighbours_of_which_nothing_was_learnt_are_told(name, dilute, tmp_path):
    potential = family(name)(cutoff=CUTOFF, **QUICK[name]).fit(dilute)
    assert any("no two atoms of Au-Au are within the cutoff" in note for note in potential.notes_)
    potential.save(tmp_path / "saved")
    for one in (potential, load(tmp_path / "saved")):
        known, unknown = one.predict([diluted(1), diluted(2)])
        assert unknown.n_extrapolating >= 2
        assert known.n_extrapolating < 2 or name == "nnp"  # which tells of more


def test_random_coefficients_are_no_interaction(dilute):
    """The pair's radial functions stayed as they were drawn: energies of 9 to 15 eV, by the seed."""
    potential = family("mtp")(cutoff=CUTOFF, **QUICK["mtp"]).fit(dilute)
    gold = potential.elements_.index("Au")
    assert not potential.radial_[gold, gold].any()
    assert potential.radial_[gold, 1 - gold].any()


def test_validation_takes_no_element_with_it():
    """The network of an element of one structure was not trained at all, for some seeds."""
    structures = [by_emt(bulk("Cu", "fcc", a=3.6 + 0.01 * index, cubic=True)) for index in range(20)]
    structures[7].symbols[0] = "Au"
    for seed in range(60):
        chosen = splits.held_out(structures, 0.1, seed)
        assert len(chosen) == 2
        assert 7 not in chosen


def test_an_element_without_radial_functions_can_be_told_of_by_others():
    """``nnff`` ended with an error of shapes when all was trained, for one of its own sizes."""
    generator = np.random.default_rng(0)
    structures = []
    for index in range(8):
        atoms = bulk("Cu", "fcc", a=3.7, cubic=True).repeat((2, 1, 1))
        atoms.symbols[generator.permutation(8)[: 1 + index % 4]] = "Au"
        atoms.rattle(0.1, seed=index)
        structures.append(by_emt(atoms))
    brief = {"epochs": 1, "invariant_epochs": 0, "lbfgs_iterations": 0, "hidden": [4]}
    for n_functions in (1, 3):
        potential = family("nnff")(cutoff=CUTOFF, n_functions=n_functions, **brief).fit(structures)
        radial = potential.axes_.layout.radial
        assert all(len(own) for own in radial)  # a neighbour that is alone is felt
        assert np.isfinite(potential.predict(structures[:1])[0].forces).all()


@pytest.mark.parametrize(
    ("name", "hypers", "message"),
    [
        ("snap", {"rmin0": 5.0, "cutoff": 4.5}, "rmin0"),
        ("snap", {"radii": {"Cu": -0.5}}, "radii.Cu"),
        ("snap", {"sinner": {"Cu": 1.0}, "dinner": {"Cu": 0.0}}, "dinner.Cu"),
        ("snap", {"group_weights": {"all": -1.0}}, "group_weights.all"),
        ("mtp", {"iterations_below": -1}, "iterations_below"),
        ("nnp", {"energy_weight": -1.0}, "energy_weight"),
        ("nnp", {"patience": 0}, "patience"),
        ("nnp", {"kalman_epsilon": 0.0}, "kalman_epsilon"),
        ("sevennet", {"late_energy_weight": -1.0}, "late_energy_weight"),
    ],
)
def test_values_that_make_no_potential_are_refused(name, hypers, message):
    with pytest.raises(UserError, match=message):
        family(name)(**hypers)


def test_what_has_no_effect_is_refused_or_told(dilute):
    with pytest.raises(UserError, match="weights: all are 0"):
        family("snap")(twojmax=2, cutoff=CUTOFF, weights={"Au": 0.0, "Cu": 0.0}).fit(dilute)
    with pytest.raises(UserError, match="modal: PBE is a level of theory of a checkpoint"):
        family("sevennet")(modal="PBE", steps=1).fit(dilute)
    potential = family("snap")(twojmax=2, cutoff=CUTOFF, group_weights={"surfaces": 2.0}).fit(dilute)
    assert any("group_weights of surfaces: no such group" in note for note in potential.notes_)


def test_folds_of_wide_data_have_the_pair_term_that_all_of_it_has(monkeypatch):
    """The one dimer that calls for it may be the one that is held out."""
    from mlip_bench.potentials.gap import pairs

    structures = [diluted(seed=seed) for seed in range(3)]
    monkeypatch.setattr(pairs, "why_wide", lambda given: "a dimer" if len(given) == 3 else None)
    unfitted = family("gap")(cutoff=CUTOFF, **QUICK["gap"])
    assert unfitted.hypers.pair is None
    decided = unfitted.decided_on(structures)
    assert decided.hypers.pair is True
    assert unfitted.hypers.pair is None
    assert family("gap")(pair=False).decided_on(structures).hypers.pair is False
