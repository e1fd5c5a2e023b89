"""How the ridge parameter of SNAP is chosen: weights, quantities that are zero, edges, and few data."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data.reference import labelled
from mlip_bench.potentials.linear_fit import RIDGES, NormalEquations, at_edge
from mlip_bench.potentials.snap import QSNAP, SNAP


def equations(weights, noise, seed=0, not_deciding=()):
    """Two quantities of one model; the noise of each asks for a ridge of its own."""
    generator = np.random.default_rng(seed)
    found = NormalEquations(weights, not_deciding)
    truth = np.r_[1.0, np.zeros(39)]
    for fold in range(6):
        for quantity, size in noise.items():
            rows = generator.normal(size=(60, 1)) + 1e-4 * generator.normal(size=(60, 40))
            found.add(fold, quantity, rows, rows @ truth + size * generator.normal(size=60))
    return found


@given(st.floats(-8, 8), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_units_do_not_matter_where_weights_undo_them(power, seed):
    """One quantity in other units, with a weight in the other: the same rows, so the same ridge."""
    scale = 10.0**power
    generator = np.random.default_rng(seed)
    plain, scaled = NormalEquations({"a": 1.0, "b": 2.0}), NormalEquations({"a": 1.0, "b": 2.0 / scale})
    for fold in range(4):
        for quantity, factor in (("a", 1.0), ("b", scale)):
            rows, targets = generator.normal(size=(20, 6)), generator.normal(size=20)
            plain.add(fold, quantity, rows, targets)
            scaled.add(fold, quantity, factor * rows, factor * targets)
    assert scaled.solve()[1] == plain.solve()[1]


def test_the_weights_decide_as_in_the_fit():
    """Of an exact and a noisy quantity, the one with the larger weight chooses its ridge."""
    noise = {"energy": 0.0, "forces": 0.3}
    by_energy = equations({"energy": 1e4, "forces": 1.0}, noise).solve()[1]
    by_forces = equations({"energy": 1e-4, "forces": 1.0}, noise).solve()[1]
    assert by_energy < 1e-6 < by_forces


def test_a_quantity_that_does_not_decide_is_fitted_all_the_same():
    noise = {"energy": 0.0, "forces": 0.3}
    weights = {"energy": 1.0, "forces": 1.0}
    with_forces, ridge_of_both = equations(weights, noise).solve()
    without, ridge_of_energy = equations(weights, noise, not_deciding=["forces"]).solve()
    assert ridge_of_energy != ridge_of_both
    alone = equations({"energy": 1.0, "forces": 0.0}, noise).solve()[0]
    assert np.abs(without - alone).max() > 1e-6
    assert np.isfinite(with_forces).all()


def test_with_nothing_that_decides_the_ridge_is_in_the_middle():
    weights = {"energy": 1.0, "forces": 1.0}
    _, ridge = equations(weights, {"energy": 0.1}, not_deciding=["energy"]).solve()
    assert RIDGES[0] < ridge < RIDGES[-1]


def lattices(noise):
    """Perfect crystals of copper under strain: no forces, but for rounding, which ``noise`` scales."""
    generator = np.random.default_rng(1)
    found = []
    for kind in ("fcc", "bcc", "sc"):
        for index in range(10):
            a = {"fcc": 3.6, "bcc": 2.87, "sc": 2.4}[kind] * (0.95 + 0.01 * index)
            atoms = bulk("Cu", kind, a=a)
            atoms.info["group"] = kind
            atoms.calc = EMT()
            energy, stress = atoms.get_potential_energy(), atoms.get_stress()
            found.append(labelled(atoms.copy(), energy, noise * generator.normal(size=(1, 3)), stress))
    return found


@pytest.mark.parametrize("family", [SNAP, QSNAP])
def test_rounding_noise_of_zero_forces_does_not_choose(family):
    exact = family(twojmax=4, cutoff=4.5).fit(lattices(0.0))
    for noise in (1e-17, 1e-14, 1e-12):
        assert family(twojmax=4, cutoff=4.5).fit(lattices(noise)).ridge_ == exact.ridge_


def test_every_ridge_is_tried_and_an_edge_is_said(tmp_path, monkeypatch):
    assert RIDGES[0] <= 1e-14
    assert RIDGES[-1] >= 1
    assert at_edge(RIDGES[3]) == ""
    assert "smallest tried" in at_edge(RIDGES[0])
    assert "largest tried" in at_edge(RIDGES[-1])
    generator = np.random.default_rng(0)
    structures = []
    for _ in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, rng=generator)
        values = generator.normal(), generator.normal(size=(4, 3)), generator.normal(size=6)
        structures.append(labelled(atoms, *values))
    potential = SNAP(twojmax=4, cutoff=4.5).fit(structures)
    assert potential.ridge_ == RIDGES[-1]
    assert [note for note in potential.notes_ if note.startswith("the ridge is the largest tried")]
    potential.save(tmp_path)
    assert potential.notes_ == json.loads((tmp_path / "potential.json").read_text())["notes"]


def test_directions_without_data_stay_zero():
    """With twice the same column the solution is the shortest, also with the smallest ridge."""
    generator = np.random.default_rng(2)
    found = NormalEquations({"a": 1.0})
    for fold in range(4):
        rows = generator.normal(size=(20, 5))
        found.add(fold, "a", np.c_[rows, rows], rows @ np.arange(1.0, 6.0))
    solution, _ = found.solve()
    np.testing.assert_allclose(solution, np.tile(np.arange(1.0, 6.0) / 2, 2), rtol=1e-6)


def test_folds_of_one_fit_leave_out_what_they_should(alloys):
    """Descriptors computed once give the fits of the base class, zero of the energy included."""
    potential = SNAP(twojmax=2, cutoff=4.2)
    folds = [index % 3 for index in range(12)]
    quick = list(potential.fits_without(alloys[:12], folds))
    plain = list(super(SNAP, potential).fits_without(alloys[:12], folds))
    for one, other in zip(quick, plain, strict=True):
        assert one.ridge_ == other.ridge_
        np.testing.assert_allclose(one.zero_, other.zero_, rtol=1e-6)
        np.testing.assert_allclose(one.coefficients_, other.coefficients_, rtol=1e-5, atol=1e-8)
