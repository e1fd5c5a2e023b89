"""What is exported runs in LAMMPS as it is, from a structure of the training data."""

import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase.build import molecule

from mlip_bench import export
from mlip_bench.data.structures import labelled
from mlip_bench.potentials import family
from mlip_bench.potentials.presets import hypers

LAMMPS = """
from mlip_bench.lammps_session import lammps_module
lammps_module().lammps(cmdargs=["-screen", "none"]).file("in.lammps")
"""


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


@pytest.mark.parametrize("name", ["snap", "nnp"])
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
