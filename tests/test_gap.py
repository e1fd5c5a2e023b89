"""GAP: files, multi-element sparse points, failure of gap_fit, memory."""

import pytest

from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.base import silent
from mlip_bench.potentials.gap import GAP, XML, _refuse_if_too_large, _run_gap_fit

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
        _run_gap_fit({"atoms_filename": "missing.xyz"}, tmp_path, 1, silent)


def test_a_fit_beyond_the_memory_is_refused_before_it_starts():
    _refuse_if_too_large("PEAK  1 MB")
    with pytest.raises(UserError, match="needs 900000 GB"):
        _refuse_if_too_large("PEAK  900 TB")
