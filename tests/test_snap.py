"""SNAP and qSNAP against LAMMPS's published files, against numpy, and against itself."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from compute_snap import compute_snap
from conftest import needs_mlearn

from mlip_bench.data import records, reference
from mlip_bench.data.files import read_structures
from mlip_bench.data.reference import labelled
from mlip_bench.data.splits import stratified_folds
from mlip_bench.errors import UserError
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials import family, load
from mlip_bench.potentials.linear_fit import NormalEquations
from mlip_bench.potentials.snap import QSNAP, SNAP

# Recomputed from the published potentials of maml.
# Energy MAE and RMSE (meV/atom), force MAE and RMSE (eV/Å) of the test split.
PUBLISHED = {
    ("snap", "Ni"): (0.775, 1.174, 0.0377, 0.0847),
    ("snap", "Cu"): (0.530, 0.747, 0.0371, 0.0829),
    ("snap", "Li"): (1.033, 1.309, 0.0277, 0.0379),
    ("snap", "Mo"): (5.485, 9.252, 0.2065, 0.3760),
    ("snap", "Si"): (6.439, 8.064, 0.1327, 0.2053),
    ("qsnap", "Ni"): (0.784, 1.038, 0.0308, 0.0748),
    ("qsnap", "Cu"): (0.562, 0.771, 0.0241, 0.0549),
    ("qsnap", "Li"): (0.732, 0.850, 0.0328, 0.0443),
    ("qsnap", "Mo"): (2.770, 4.040, 0.1838, 0.3327),
    ("qsnap", "Si"): (3.806, 5.506, 0.1157, 0.1769),
}


def published(name, element):
    middle = "" if name == "snap" else ".quadratic"
    return potentials_folder() / f"{element}_Zuo_JPCA2020{middle}.snapcoeff"


@needs_mlearn
@pytest.mark.parametrize(("name", "element"), PUBLISHED)
def test_published_files_give_the_published_errors(name, element):
    record = records.records()["mlearn"].content["systems"][element]
    from mlip_bench.data.download import find

    found = find("mlearn", record["test"]["path"], None, record["test"]["checksum"])
    test = read_structures(found.path).structures
    potential = load(published(name, element))
    assert potential.family == name
    errors = summary(comparison(test, potential.predict(test)))
    energy_mae, energy_rmse, force_mae, force_rmse = PUBLISHED[name, element]
    assert errors["energy_mae"] == pytest.approx(energy_mae, abs=5.1e-4)
    assert errors["energy_rmse"] == pytest.approx(energy_rmse, abs=5.1e-4)
    assert errors["force_mae"] / 1e3 == pytest.approx(force_mae, abs=5.1e-5)
    assert errors["force_rmse"] / 1e3 == pytest.approx(force_rmse, abs=5.1e-5)


@pytest.mark.parametrize("kind", [SNAP, QSNAP])
def test_rows_of_lammps_times_coefficients_are_the_prediction(kind, alloys):
    potential = kind(twojmax=4, cutoff=4.2).fit(alloys[:12])
    structures = alloys[12:15]
    coefficients = np.column_stack([potential.zero_, potential.coefficients_]).ravel()
    for atoms, prediction in zip(structures, potential.predict(structures), strict=True):
        matrix = compute_snap(potential, atoms)
        assert matrix[0] @ coefficients == pytest.approx(prediction.energy, abs=1e-7)
        forces = (matrix[1:-6] @ coefficients).reshape(-1, 3)
        np.testing.assert_allclose(forces, prediction.forces, atol=1e-7)


def test_ridge_solution_is_that_of_numpy():
    """With a vanishing ridge the normal equations give the least squares solution of the stacked rows."""
    generator = np.random.default_rng(0)
    equations = NormalEquations({"energy": 3.0, "forces": 1.0})
    rows, targets = [], []
    for fold in range(4):
        for quantity, weight in (("energy", 3.0), ("forces", 1.0)):
            a, b = generator.normal(size=(30, 7)), generator.normal(size=30)
            equations.add(fold, quantity, a, b)
            rows.append(weight * a)
            targets.append(weight * b)
    solution, ridge = equations.solve()
    a, b = np.concatenate(rows), np.concatenate(targets)
    scale = 1 / np.linalg.norm(a, axis=0)
    scaled = (a * scale).T @ (a * scale)
    damped = scaled + ridge * np.linalg.eigvalsh(scaled)[-1] * np.eye(7)
    np.testing.assert_allclose(solution, scale * np.linalg.solve(damped, (a * scale).T @ b), rtol=1e-9)


def test_ridge_is_chosen_by_held_out_error():
    """Noise on columns that carry no signal asks for a ridge; exact data asks for the smallest."""
    generator = np.random.default_rng(1)

    def chosen(noise):
        equations = NormalEquations({"forces": 1.0})
        a = generator.normal(size=(400, 1)) + 1e-5 * generator.normal(size=(400, 40))
        b = a[:, 0] + noise * generator.normal(size=400)
        for fold in range(5):
            equations.add(fold, "forces", a[fold::5], b[fold::5])
        return equations.solve()[1]

    assert chosen(noise=0.3) > chosen(noise=0.0)


def test_folds_spread_every_group(embedded):
    folds = np.array(stratified_folds(embedded.train, 5, seed=0))
    groups = np.array([reference.group(atoms) for atoms in embedded.train])
    for group in np.unique(groups):
        counts = np.bincount(folds[groups == group], minlength=5)
        assert counts.max() - counts.min() <= 1


MEMORY = """
import copy, sys
from mlip_bench.data import records
from mlip_bench.measure.memory import peak_rss_mib
from mlip_bench.potentials.snap import QSNAP
train = records.load("embedded", "Mo").train
train = [copy.deepcopy(atoms) for _ in range(int(sys.argv[1])) for atoms in train]
QSNAP(twojmax=6, cutoff=4.6).fit(train)
print(peak_rss_mib())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_structures():
    """Ten times the structures fit within a fifth more memory, of the whole process."""
    peaks = [
        float(subprocess.run([sys.executable, "-c", MEMORY, times], capture_output=True, text=True).stdout)
        for times in ("1", "10")
    ]
    assert peaks[1] < 1.2 * peaks[0]


def test_names_in_radii_are_elements_of_the_data(alloys):
    with pytest.raises(UserError, match=r"snap.radii: no 'Cuu' in the training data.*did you mean 'Cu'"):
        SNAP(radii={"Cuu": 0.6}).fit(alloys[:4])
    with pytest.raises(UserError, match=r"snap.radii.Cu must be float, not 'wide'"):
        SNAP(radii={"Cu": "wide"})
    with pytest.raises(UserError, match=r"snap.cutoff must be a finite number"):
        SNAP(cutoff=float("inf"))


def test_molecule_and_slab(alloys):
    """Without periodicity a structure is what it is in a large empty cell."""
    potential = SNAP(twojmax=4, cutoff=4.2).fit(alloys[:12])
    cluster = Atoms("CuAu2", positions=[[0, 0, 0], [2.5, 0, 0], [0, 2.6, 0.4]])
    boxed = cluster.copy()
    boxed.set_cell([30, 30, 30])
    boxed.pbc = True
    alone, periodic = potential.predict([cluster, boxed])
    assert alone.energy == pytest.approx(periodic.energy, abs=1e-9)
    np.testing.assert_allclose(alone.forces, periodic.forces, atol=1e-9)
    assert np.isnan(alone.stress).all()
    assert np.isfinite(periodic.stress).all()


def test_strongly_skewed_cell(alloys):
    """Another choice of lattice vectors of the same crystal changes nothing."""
    potential = SNAP(twojmax=4, cutoff=4.2).fit(alloys[:12])
    atoms = alloys[13].copy()
    skewed = atoms.copy()
    cell = np.array(atoms.cell)
    skewed.set_cell([cell[0], cell[1] + 3 * cell[0], cell[2] - 2 * cell[1] + cell[0]])
    one, other = potential.predict([atoms, skewed])
    assert one.energy == pytest.approx(other.energy, abs=1e-8)
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-8)
    np.testing.assert_allclose(one.stress, other.stress, atol=1e-8)


def test_exported_files_are_read_back(tmp_path, alloys):
    potential = QSNAP(twojmax=3, cutoff=4.2, radii={"Au": 0.55}, weights={"Au": 1.0, "Cu": 0.8}).fit(
        alloys[:12]
    )
    potential.lammps().write_files(tmp_path)
    again = load(tmp_path / "potential.snapcoeff")
    assert isinstance(again, QSNAP)
    assert again.hypers.radii == {"Au": 0.55, "Cu": 0.5}
    for one, other in zip(potential.predict(alloys[:3]), again.predict(alloys[:3]), strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-9)


def test_hyper_parameters_are_checked():
    with pytest.raises(UserError, match=r"snap has no hyper-parameter 'twojmx'.*did you mean 'twojmax'"):
        SNAP(twojmx=8)
    with pytest.raises(UserError, match=r"snap.twojmax must be int, not 'big'"):
        SNAP(twojmax="big")
    with pytest.raises(UserError, match=r"cutoff = -1.0: must be above 0"):
        SNAP(cutoff=-1)
    with pytest.raises(UserError, match=r"unknown potential 'snpa'.*did you mean 'snap'"):
        family("snpa")


def test_truncated_file(tmp_path):
    source = published("snap", "Mo")
    (tmp_path / "short.snapcoeff").write_text("\n".join(source.read_text().splitlines()[:20]))
    (tmp_path / "short.snapparam").write_text(source.with_suffix(".snapparam").read_text())
    with pytest.raises(UserError, match=r"short.snapcoeff"):
        load(tmp_path / "short.snapcoeff")


def test_saved_description_names_the_hyper_parameters(tmp_path, alloys):
    SNAP(twojmax=3, cutoff=4.2).fit(alloys[:6]).save(tmp_path)
    description = json.loads((tmp_path / "potential.json").read_text())
    assert description["hypers"]["twojmax"] == 3
    assert description["elements"] == ["Au", "Cu"]


@pytest.mark.parametrize("name", ["snap", "qsnap"])
def test_a_family_without_chance_is_one_potential_whatever_the_seed(name):
    """The seed drew the folds that choose the ridge, and the store keeps one fit for all seeds."""
    generator = np.random.default_rng(0)
    structures = []
    for _ in range(14):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.3, rng=generator)
        atoms.calc = EMT()
        structures.append(labelled(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces(), None))
    kind = family(name)
    assert not kind.stochastic
    fits = [kind(twojmax=4, cutoff=4.0).fit(structures, seed=seed) for seed in range(6)]
    assert {fit.ridge_ for fit in fits} == {fits[0].ridge_}
    energies = [fit.predict(structures[:1])[0].energy for fit in fits]
    np.testing.assert_array_equal(energies, energies[0])
