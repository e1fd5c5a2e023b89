"""Lennard-Jones argon in torch: against ASE, against LAMMPS, and as any other family."""

import ctypes

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.lj import LennardJones as ASELennardJones

from mlip_bench.data.voigt import to_matrix
from mlip_bench.errors import UserError
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.testing import CHECKS, Case, Skipped
from mlip_bench.testing.lennard_jones import LennardJones
from mlip_bench.testing.oracles import hardy_heat_flux, unfolded_heat_flux

# Of the figures that others state: ASE's and LAMMPS's.
AGREEMENT = 1e-6

TEMPERATURE = 10.0


@pytest.fixture(scope="module")
def potential():
    return LennardJones.of(["Ar"])


@pytest.fixture(scope="module", params=[0.0, -0.05, 0.05], ids=["unstrained", "compressed", "sheared"])
def argon(request):
    """Warm argon in a cell of 720 atoms, as the tests of glp have it (doi:10.1063/5.0155760)."""
    atoms = bulk("Ar", "fcc", a=5.26).repeat((8, 9, 10))
    atoms.rattle(0.01, seed=1)
    strain = np.random.default_rng(2).normal(size=(3, 3)) if request.param > 0 else np.eye(3)
    atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + request.param * strain), scale_atoms=True)
    thermal = np.sqrt(units.kB * TEMPERATURE / atoms.get_masses()[:, None])
    atoms.set_velocities(thermal * np.random.default_rng(3).normal(size=(len(atoms), 3)))
    return atoms


def velocities_of(atoms):
    """Return the velocities (n_atoms, 3) in Å/fs of an ASE structure."""
    return atoms.get_velocities() * units.fs


def test_everything_is_as_in_ase(potential, argon):
    hypers = potential.hypers
    theirs = ASELennardJones(
        epsilon=hypers.epsilon, sigma=hypers.sigma, rc=hypers.cutoff, ro=hypers.onset, smooth=True
    )
    theirs.calculate(argon)
    ours = potential.predict([argon])[0]
    assert ours.energy == pytest.approx(theirs.results["energy"], rel=AGREEMENT)
    for name in ("energies", "forces", "stress"):
        expected = theirs.results[name]
        np.testing.assert_allclose(getattr(ours, name), expected, atol=AGREEMENT * abs(expected).max())
    velocities = velocities_of(argon)
    # For pairs the stress of an atom, times the volume, is minus what moves with its velocity.
    of_atoms = to_matrix(theirs.results["stresses"].T).transpose(2, 0, 1) * argon.get_volume()
    flux = potential.heat_flux(argon, velocities)
    expected = -np.einsum("iab,ib->a", of_atoms, velocities)
    np.testing.assert_allclose(flux.potential, expected, atol=AGREEMENT * abs(expected).max())
    kinetic = 0.5 * (argon.get_masses()[:, None] * argon.get_velocities() ** 2).sum(axis=1)
    expected = (theirs.results["energies"] + kinetic) @ velocities
    np.testing.assert_allclose(flux.convective, expected, atol=AGREEMENT * abs(expected).max())


def test_everything_is_as_in_lammps(potential, argon):
    hypers = potential.hypers
    with LammpsSession(["Ar"]) as session:
        session.place(argon)
        velocities = velocities_of(argon) * 1e3 @ session.prism.rot_mat  # Å/ps
        flat = np.ascontiguousarray(velocities).ravel()
        session.lmp.scatter_atoms("v", 1, 3, flat.ctypes.data_as(ctypes.POINTER(ctypes.c_double)))
        for line in (
            "fix charges all property/atom q",
            f"pair_style lj/charmm/coul/charmm {hypers.onset} {hypers.cutoff}",
            f"pair_coeff * * {hypers.epsilon} {hypers.sigma}",
            "compute kinetic all ke/atom",
            "compute potential all pe/atom",
            "compute virial all stress/atom NULL virial",
            "compute flux all heat/flux kinetic potential virial",
            "thermo_style custom step pe c_flux[1]",
            "run 0 post no",
        ):
            session.command(line)
        energy, forces = session.lmp.get_thermo("pe"), session.forces()
        both = session.lmp.numpy.extract_compute("flux", 0, 1).reshape(2, 3) / 1e3
        total, convective = both @ session.prism.rot_mat.T
    ours = potential.predict([argon])[0]
    assert ours.energy == pytest.approx(energy, rel=AGREEMENT)
    np.testing.assert_allclose(ours.forces, forces, atol=AGREEMENT * abs(forces).max())
    flux = potential.heat_flux(argon, velocities_of(argon))
    np.testing.assert_allclose(flux.total, total, atol=AGREEMENT * abs(total).max())
    np.testing.assert_allclose(flux.convective, convective, atol=AGREEMENT * abs(convective).max())


@pytest.fixture(scope="module")
def near():
    """Lennard-Jones of short reach, for cells of a few atoms."""
    return LennardJones.of(["Ar", "Ne"], cutoff=6.0, onset=4.5)


def cell_of_atoms(repeated):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(repeated)
    atoms.symbols[::3] = "Ne"
    atoms.rattle(0.2, seed=4)
    return atoms


@pytest.mark.parametrize("repeated", [(1, 1, 1), (2, 1, 1), (3, 3, 3)])
def test_the_flux_is_that_of_the_unfolded_cell(near, repeated):
    atoms = cell_of_atoms(repeated)
    velocities = 0.01 * np.random.default_rng(5).normal(size=(len(atoms), 3))
    expected = unfolded_heat_flux(near.energies_of_atoms, atoms, velocities, near.hypers.cutoff)
    found = near.heat_flux(atoms, velocities).potential
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * abs(expected).max())


def test_hardys_formula_holds_where_the_cell_is_large(near):
    wide, narrow = cell_of_atoms((3, 3, 3)), cell_of_atoms((2, 2, 2))
    differences = []
    for atoms in (wide, narrow):
        velocities = 0.01 * np.random.default_rng(5).normal(size=(len(atoms), 3))
        theirs = hardy_heat_flux(near.energies_of_atoms, atoms, velocities, near.hypers.cutoff)
        ours = near.heat_flux(atoms, velocities).potential
        differences.append(abs(ours - theirs).max() / abs(ours).max())
    assert differences[0] < 1e-12
    assert differences[1] > 1e-3  # the nearest image is not the neighbour


@pytest.mark.parametrize(
    "check",
    # It is in no registry, so that nobody loads it by name.
    [check for check in CHECKS if check.__name__ != "save_and_load"],
    ids=lambda check: check.__name__,
)
def test_it_honours_the_interface(check, alloys):
    case = Case(LennardJones, {"sigma": 2.4, "cutoff": 5.0, "onset": 4.0}, alloys[:6], alloys[18:20])
    try:
        case.run(check)
    except Skipped as exempt:
        pytest.skip(str(exempt))


def test_what_is_no_potential_is_refused():
    with pytest.raises(UserError, match="above onset"):
        LennardJones.of(["Ar"], cutoff=3.0, onset=4.0)


def test_a_flux_that_is_not_finite_is_an_error(near):
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 0]])
    with pytest.raises(UserError, match="not finite"):
        near.heat_flux(atoms, np.ones((2, 3)))
