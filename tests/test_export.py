"""What is exported runs in LAMMPS as it is, from a structure of the training data, and does not heat up."""

import re
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench import export
from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.potentials import family
from mlip_bench.potentials.presets import hypers
from mlip_bench.testing.lennard_jones import LennardJones

LAMMPS = """
from mlip_bench.lammps.loading import lammps_module
lammps_module().lammps(cmdargs=["-screen", "none", "-log", "run.log"]).file("in.lammps")
"""

MEAN = """simulation.command(
            "fix mean all ave/time 1 100 100 f_heatflux[1] f_heatflux[2] f_heatflux[3] file theirs"
        )
        simulation.run(100)
        import numpy
        numpy.savetxt("ours", recorder.fluxes @ simulation.session.prism.rot_mat)"""

# Of a potential of eight frames, that is.
TOO_HOT_K = 2000.0


def water():
    """Eight frames of two molecules of water in a box, with harmonic forces."""
    frames = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        atoms = molecule("H2O")
        atoms.set_cell([6, 6, 6])
        atoms.center()
        atoms.pbc = True
        other = atoms.copy()
        other.positions += [3, 3, 3]
        atoms += other
        moves = 0.05 * generator.normal(size=(len(atoms), 3))
        atoms.positions += moves
        frames.append(labelled(atoms, -28.0 + 10 * float((moves**2).sum()), -20 * moves, None))
    return frames


@pytest.mark.parametrize("name", ["snap", "nnp", "nnff"])
def test_an_exported_example_runs(tmp_path, name):
    frames = water()
    potential = family(name)(**hypers(name, "quick", "H-O")).fit(frames)
    potential.example_ = frames[0]
    export.to_lammps(potential, tmp_path)
    command = ["-c", LAMMPS] if potential.native_in_lammps else [export.SCRIPT]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if potential.native_in_lammps:
        rows = re.findall(r"^ +(\d+) +(\S+) +\S+ +0 ", (tmp_path / "run.log").read_text(), re.MULTILINE)
    else:
        rows = re.findall(r"^step (\d+) temperature \(K\): (\S+)$", done.stdout, re.MULTILINE)
    assert int(rows[-1][0]) == 100
    # Forces that are no gradient, of eight frames, heat without end.
    hottest = TOO_HOT_K if potential.conservative else np.inf
    assert 0 < max(float(temperature) for _, temperature in rows) < hottest


def test_an_exported_flux_is_seen_by_lammps(tmp_path):
    frames = water()
    potential = family("nnp")(**hypers("nnp", "quick", "H-O")).fit(frames)
    potential.example_ = frames[0]
    export.to_lammps(potential, tmp_path)
    assert f"python {export.FLUX_SCRIPT}" in (tmp_path / "README.md").read_text()
    # Beside the script's own output, what LAMMPS averages: the mean of the last 100 fluxes.
    script = tmp_path / export.FLUX_SCRIPT
    text = script.read_text().replace("simulation.run(100)\n        for", f"{MEAN}\n        for")
    script.write_text(text)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^step (\d+) heat flux \(eV Å/fs\): (\S+) (\S+) (\S+)$", done.stdout, re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(range(10, 101, 10))
    assert np.isfinite(np.array(rows, float)).all()
    ours, theirs = np.loadtxt(tmp_path / "ours"), np.loadtxt(tmp_path / "theirs")[1:]
    np.testing.assert_allclose(theirs, ours.mean(axis=0), rtol=1e-4)
    # A row of each lag: number, lag in steps, count, and the three correlations; at lag 0 the mean squares.
    lines = (tmp_path / export.CORRELATION).read_text().splitlines()[-20:]
    correlations = np.array([line.split() for line in lines], float)
    assert correlations[:, 1].tolist() == list(range(20))
    np.testing.assert_allclose(correlations[0, 3:], (ours**2).mean(axis=0), rtol=0.1)


def test_a_potential_without_a_flux_says_so(tmp_path):
    class Direct(LennardJones):
        conservative = False

    export.to_lammps(Direct.of(["Ar"]), tmp_path)
    assert not (tmp_path / export.FLUX_SCRIPT).exists()
    assert "Heat flux: lennard-jones predicts forces directly" in (tmp_path / "README.md").read_text()


def test_dynamics_that_do_not_hold_end_with_that_sentence(tmp_path):
    frames = water()
    potential = family("nnp")(**hypers("nnp", "quick", "H-O")).fit(frames)
    export.to_lammps(potential, tmp_path)
    script = (tmp_path / export.SCRIPT).read_text()
    violent = script.replace("timestep=0.5", "timestep=0.5, temperature=1e9")
    assert violent != script
    (tmp_path / export.SCRIPT).write_text(violent)
    done = subprocess.run(
        [sys.executable, export.SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("the dynamics did not hold (")
    assert "Traceback" not in done.stderr


@given(
    st.sampled_from([(False,) * 3, (True, True, False), (True,) * 3]),
    st.integers(1, 12),
    st.floats(3.0, 8.0),
)
@settings(deadline=None, max_examples=30)
def test_the_example_is_a_periodic_cell_that_is_repeated_only_where_it_has_few_atoms(pbc, n_atoms, width):
    atoms = Atoms(f"H{n_atoms}", cell=[width] * 3, pbc=pbc)
    atoms.positions[:, 0] = width / n_atoms * np.arange(n_atoms)
    potential = family("snap")()
    potential.elements_, potential.example_ = ("H",), atoms
    found = export.example(potential)
    assert found.pbc.all()
    assert len(found) % n_atoms == 0
    if n_atoms >= export.LEAST_ATOMS:
        assert len(found) == n_atoms
    assert export.LEAST_ATOMS <= len(found) < export.LEAST_ATOMS + max(n_atoms, export.LEAST_ATOMS)


def test_the_example_is_of_the_training_data(tmp_path):
    frames = water()
    potential = family("snap")(**hypers("snap", "quick", "H-O")).fit(frames)
    potential.example_ = frames[2]
    atoms = export.example(potential)
    assert atoms.get_chemical_formula(empirical=True) == "H2O"
    np.testing.assert_allclose(atoms.positions[:6], frames[2].positions)
    export.to_lammps(potential, tmp_path)
    read = ase.io.read(tmp_path / export.DATA, format="lammps-data")
    assert read.get_chemical_formula() == atoms.get_chemical_formula()
    assert f"timestep {export.SHORT_TIMESTEP_FS * 1e-3}" in (tmp_path / export.INPUT).read_text()


def test_files_that_hold_for_one_order_of_types_say_so(alloys, tmp_path):
    """LAMMPS takes another order in silence: energies were off by 25 eV."""
    potential = family("snap")(twojmax=2, cutoff=4.0, chemflag=1).fit(alloys[:6])
    export.to_lammps(potential, tmp_path / "ordered")
    text = (tmp_path / "ordered" / "README.md").read_text()
    assert "in this order: 1 Au, 2 Cu" in text
    with pytest.raises(UserError, match="the types Au, Cu, all of them and in this order"):
        potential.lammps().commands(("Cu", "Au"))
    plain = family("snap")(twojmax=2, cutoff=4.0).fit(alloys[:6])
    export.to_lammps(plain, tmp_path / "plain")
    assert (
        "with the elements in the order of your atom types" in (tmp_path / "plain" / "README.md").read_text()
    )
    assert plain.lammps().commands(("Cu", "Au"))[-1].endswith("Cu Au")
    repulsive = family("snap")(twojmax=2, cutoff=4.0, zbl=[1.0, 2.0]).fit(alloys[:6])
    export.to_lammps(repulsive, tmp_path / "repulsive")
    assert "the charges of their nuclei" in (tmp_path / "repulsive" / "README.md").read_text()
