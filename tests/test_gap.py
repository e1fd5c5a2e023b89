"""GAP: files, multi-element sparse points, failure of gap_fit, memory."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from mlip_bench.data.structures import labelled
from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.base import silent
from mlip_bench.potentials.gap import GAP, XML, _refuse_if_too_large, _refuse_lost_energies, _run_gap_fit

SMALL = {"n_max": 3, "l_max": 3, "n_sparse": 20, "cutoff": 4.0}


@pytest.fixture(scope="module")
def fitted(alloys):
    return GAP(**SMALL).fit(alloys[:12])


def test_sparse_points_per_element(fitted):
    assert fitted.n_parameters == 40


def test_sparse_points_never_exceed_the_environments(embedded):
    train = embedded.train[:3]
    potential = GAP(**(SMALL | {"n_sparse": 5000})).fit(train)
    assert potential.n_parameters == sum(len(atoms) for atoms in train)


def test_native_xml_is_read(fitted, tmp_path, alloys):
    fitted.save(tmp_path)
    again = load(tmp_path / XML)
    assert again.elements_ == ("Au", "Cu")
    assert (again.hypers.n_max, again.hypers.cutoff, again.hypers.zeta) == (3, 4.0, 4)
    one, other = fitted.predict(alloys[:1])[0], again.predict(alloys[:1])[0]
    assert one.energy == other.energy


def test_missing_side_file_is_named(fitted, tmp_path):
    fitted.save(tmp_path)
    side = next(path for path in tmp_path.iterdir() if "sparseX" in path.name)
    side.unlink()
    with pytest.raises(UserError, match=r"sparseX.*cannot be read"):
        load(tmp_path / XML)


def test_virial_makes_a_difference(alloys):
    with_virial = GAP(**SMALL, sigma_virial=0.02).fit(alloys[:12])
    without = GAP(**SMALL, sigma_virial=0.0).fit(alloys[:12])
    one, other = with_virial.predict(alloys[:1])[0], without.predict(alloys[:1])[0]
    assert abs(one.stress - other.stress).max() > 1e-5


def test_progress_is_told(alloys):
    seen = []
    GAP(**SMALL).fit(alloys[:12], progress=lambda share, message: seen.append((share, message)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert any(message.startswith("covariance matrix") for _, message in seen)


def test_failure_of_gap_fit_is_one_line(tmp_path):
    with pytest.raises(RuntimeError, match="gap_fit ended with code"):
        _run_gap_fit({"atoms_filename": "missing.xyz"}, tmp_path, 1, 1, silent)


def test_a_fit_beyond_the_memory_is_refused_before_it_starts():
    _refuse_if_too_large("PEAK  1 MB")
    with pytest.raises(UserError, match="needs 900000 GB"):
        _refuse_if_too_large("PEAK  900 TB")


def molecules(n, pbc=False, cell=None):
    """Small clusters with EMT's energies and forces."""
    generator = np.random.default_rng(4)
    found = []
    for _ in range(n):
        atoms = Atoms("Cu4", [[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0], [0, 0, 2.4]], cell=cell, pbc=pbc)
        atoms.rattle(0.15, rng=generator)
        atoms.calc = EMT()
        found.append(labelled(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces(), None))
    return found


def test_molecules_are_fitted_like_molecules_in_a_box():
    """gap_fit passes over energies of frames without a cell; ours must not be lost."""
    free, boxed = molecules(12), molecules(12, pbc=True, cell=[25, 25, 25])
    one, other = (GAP(**SMALL).fit(train).predict(free[:3]) for train in (free, boxed))
    for alone, periodic in zip(one, other, strict=True):
        assert alone.energy == pytest.approx(periodic.energy, abs=1e-4)
        np.testing.assert_allclose(alone.forces, periodic.forces, atol=1e-3)


def test_a_rare_element_keeps_its_own_few_sparse_points(alloys):
    copper = [atoms for atoms in alloys if set(atoms.symbols) == {"Cu"}]
    gold = next(atoms for atoms in alloys if list(atoms.symbols).count("Au") == 1)
    assert GAP(**SMALL).fit([*copper, gold]).n_parameters == 20 + 1


def test_lost_energies_are_an_error():
    _refuse_lost_energies("Number of target energies (property name: ref_energy) found: 12", 12)
    with pytest.raises(RuntimeError, match="read 0 energies of 12"):
        _refuse_lost_energies("Number of target energies (property name: ref_energy) found: 0", 12)
