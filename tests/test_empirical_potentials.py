"""Lennard-Jones, Stillinger-Weber and Tersoff of the documentation, against LAMMPS and finite differences."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mlip_bench.lammps.session import LammpsSession

SCRIPTS = Path(__file__).parents[1] / "docs" / "heat-flux"

sys.path.insert(0, str(SCRIPTS))
try:
    import empirical
finally:
    sys.path.remove(str(SCRIPTS))


POTENTIALS = [
    empirical.StillingerWeber.silicon(),
    empirical.Tersoff.silicon(),
    empirical.LennardJonesCut.argon(0.0103, 3.4, 6.0),
]


@pytest.fixture(params=POTENTIALS, ids=lambda potential: potential.family)
def potential(request):
    return request.param


@pytest.fixture
def crystal(potential):
    """A crystal of its element, less than two cutoffs wide."""
    (element,) = potential.elements_
    return bulk(element, *(("diamond", 5.35) if element == "Si" else ("fcc", 5.3)), cubic=True)


def test_energies_forces_and_stress_are_those_of_lammps(potential, crystal):
    atoms = crystal.repeat((2, 1, 1))
    atoms.rattle(0.15, seed=3)
    (ours,) = potential.predict([atoms])
    with LammpsSession(potential.elements_) as session:
        energy, forces, stress = session.single_point(atoms, potential.lammps_style())
    assert ours.energy == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(ours.forces, forces, atol=1e-8)
    np.testing.assert_allclose(ours.stress, stress, atol=1e-9)


def test_the_flux_of_a_cluster_is_the_motion_of_its_energy(potential, crystal):
    """J is d/dt Σ r_i (E_i + m v_i²/2) where nothing is periodic: by a central difference."""
    cluster = crystal.repeat((2, 1, 1))
    cluster.rattle(0.15, seed=1)
    cluster.pbc = False
    cluster.center(vacuum=10.0)
    velocities = 0.01 * np.random.default_rng(0).normal(size=(len(cluster), 3))
    flux = potential.heat_flux(cluster, velocities)
    step = 1e-3  # fs
    ends = []
    for sign in (1, -1):
        moved = cluster.copy()
        moved.positions += sign * step * velocities
        ends.append(potential.predict([moved])[0].energies @ moved.positions)
    power = (potential.predict([cluster])[0].forces * velocities).sum(axis=1)
    energies = potential.predict([cluster])[0].energies
    # Of Σ r_i E_i alone: r_i dE_i/dt + E_i v_i.
    derivative = (ends[0] - ends[1]) / (2 * step)
    expected = derivative - energies @ velocities + power @ cluster.positions
    np.testing.assert_allclose(flux.potential, expected, atol=1e-7)
