"""GAP: our kernels against QUIP, files, multi-element sparse points, failure of gap_fit, memory."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from quippy.descriptors import Descriptor

from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.base import silent
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.gap import GAP, kernel
from mlip_bench.potentials.gap.files import XML
from mlip_bench.potentials.gap.quip import _refuse_if_too_large, _refuse_lost_energies, _run_gap_fit
from mlip_bench.potentials.gap.soap import Soap

SMALL = {"n_max": 3, "l_max": 3, "n_sparse": 20, "cutoff": 4.0}


@pytest.fixture(scope="module")
def fitted(alloys):
    return GAP(**SMALL).fit(alloys[:12])


@pytest.mark.parametrize(("n_max", "l_max", "sigma"), [(8, 8, 0.5), (5, 1, 0.4), (12, 6, 0.5), (3, 0, 0.7)])
def test_power_spectra_are_those_of_quip(alloys, n_max, l_max, sigma):
    atoms = alloys[3]
    centres = np.flatnonzero(atoms.numbers == 29)
    words = f"cutoff=4.5 cutoff_transition_width=0.8 n_max={n_max} l_max={l_max} atom_sigma={sigma}"
    expected = Descriptor(f"soap {words} n_species=2 species_Z={{29 79}} Z=29").calc(atoms)["data"]
    soap = Soap(29, (29, 79), 4.5, 0.8, n_max, l_max, sigma)
    edges = Edges(("Cu", "Au"), 4.5)
    vectors = edges.update(atoms)
    densities = np.empty((len(centres), 2 * n_max, (l_max + 1) ** 2))
    shape = kernel.Shape(soap.cutoff, soap.cutoff_transition_width, soap.table, soap.norms)
    kinds = edges.species[edges.neighbours]
    kernel.densities(centres, edges.first, kinds, vectors, shape, soap.central, densities)
    spectra = np.empty((len(centres), soap.dimensions))
    kernel.power_spectra(densities, l_max, spectra)
    np.testing.assert_allclose(spectra, expected, atol=1e-9)


def assert_as_quip(potential, atoms):
    ours, theirs = potential.predict([atoms])[0], potential.quip()
    theirs.calculate(atoms, ["energy", "energies", "forces", *(["stress"] if atoms.cell.rank == 3 else [])])
    assert ours.energy == pytest.approx(theirs.results["energy"], abs=1e-6)
    np.testing.assert_allclose(ours.energies, theirs.results["energies"], atol=1e-7)
    np.testing.assert_allclose(ours.forces, theirs.results["forces"].reshape(-1, 3), atol=2e-6)
    if atoms.cell.rank == 3:
        np.testing.assert_allclose(ours.stress, theirs.results["stress"], atol=1e-7)


def test_energies_forces_and_stresses_are_those_of_quip(fitted, alloys):
    for atoms in alloys[12:16]:
        assert_as_quip(fitted, atoms.copy())


@pytest.mark.parametrize(("zeta", "delta"), [(1, 1.0), (2, 0.5), (3, 3.0)])
def test_other_powers_and_scales_are_those_of_quip(alloys, zeta, delta):
    assert_as_quip(GAP(**SMALL, zeta=zeta, delta=delta).fit(alloys[:8]), alloys[12].copy())


def test_more_atoms_than_go_at_once_are_as_in_quip(embedded):
    potential = GAP(**SMALL).fit(embedded.train[:4])
    atoms = embedded.crystal.repeat((6, 6, 5))
    atoms.rattle(0.1, seed=2)
    assert_as_quip(potential, atoms)


def test_a_cluster_and_a_lone_atom_are_as_in_quip():
    free = molecules(12)
    potential = GAP(**SMALL).fit(free)
    for atoms in (free[0], Atoms("Cu", positions=[[0, 0, 0]])):
        in_a_box = atoms.copy()
        in_a_box.set_cell([20, 20, 20])
        in_a_box.pbc = True
        assert_as_quip(potential, in_a_box)
        alone, boxed = potential.predict([atoms])[0], potential.predict([in_a_box])[0]
        assert alone.energy == pytest.approx(boxed.energy, abs=1e-9)
        assert np.isnan(alone.stress).all()


def test_kernels_follow_molecular_dynamics_with_a_skin(fitted, alloys):
    calculator, atoms = fitted.calculator(), alloys[14].copy()
    for step in range(4):
        atoms.rattle(0.05, seed=step)
        expected = fitted.predict([atoms])[0]
        calculator.calculate(atoms)
        assert calculator.results["energy"] == pytest.approx(expected.energy, abs=1e-9)
        np.testing.assert_allclose(calculator.results["forces"], expected.forces, atol=1e-9)


@pytest.mark.parametrize(
    "extra",
    ["normalise=F", "radial_basis=GTO", "cutoff_dexp=2", "a_key_of_tomorrow=3", "diagonal_radial", "K='4'"],
)
def test_what_our_kernels_do_not_know_goes_through_quip(fitted, tmp_path, alloys, extra):
    fitted.save(tmp_path)
    path = tmp_path / XML
    path.write_text(
        path.read_text().replace("add_species=F</descriptor>", f"add_species=F {extra}</descriptor>")
    )
    foreign = load(path)
    assert foreign.parts_ is None
    # What QUIP makes of it is QUIP's: some of these are errors of its own.
    if extra in ("normalise=F", "radial_basis=GTO", "cutoff_dexp=2"):
        found = foreign.predict(alloys[12:13])[0]
        assert np.isfinite(found.energy)
        assert abs(found.energy - fitted.predict(alloys[12:13])[0].energy) > 1e-3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('gap_version="', 'gap_version="1" was="'),
        ('init_args="IP GAP', 'init_args="E_scale=2 IP GAP'),
        ('do_core="F"', 'do_core="T"'),
        ('do_core="F"', 'do_core="F" e0="-3.0"'),
        ("n_species=2 species_Z={79 29}", "n_species=1 species_Z={47}"),
    ],
)
def test_more_than_a_plain_gap_goes_through_quip(fitted, tmp_path, old, new):
    fitted.save(tmp_path)
    path = tmp_path / XML
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert load(path).parts_ is None


def test_what_goes_through_quip_has_energies_of_atoms_and_no_heat_flux(fitted, alloys, tmp_path):
    fitted.save(tmp_path)
    path = tmp_path / XML
    path.write_text(path.read_text().replace('gap_version="', 'gap_version="1" was="'))
    foreign = load(path)
    assert foreign.parts_ is None
    found, theirs = foreign.predict(alloys[12:13])[0], foreign.quip()
    theirs.calculate(alloys[12].copy(), ["energy", "energies"])
    assert found.energy == pytest.approx(theirs.results["energy"])
    assert found.energies.sum() == pytest.approx(found.energy)
    np.testing.assert_allclose(found.energies, theirs.results["energies"], atol=1e-9)
    with pytest.raises(UserError, match="only QUIP evaluates"):
        foreign.heat_flux(alloys[12], np.zeros((len(alloys[12]), 3)))


def test_a_braced_list_and_a_quoted_one(fitted, tmp_path):
    fitted.save(tmp_path)
    path = tmp_path / XML
    text = path.read_text()
    path.write_text(text.replace("species_Z={79 29}", "species_Z={{79 29}}"))
    assert load(path).parts_ is not None
    path.write_text(text.replace("species_Z={79 29}", "species_Z='79 29'"))
    assert load(path).parts_ is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</GAP_params>", "", "not an XML file"),
        (' alpha="', ' beta="', "not a GAP that can be read"),
        ('signal_variance="', 'signal_variance="one', "not a GAP that can be read"),
    ],
)
def test_a_damaged_file_is_named(fitted, tmp_path, old, new, message):
    fitted.save(tmp_path)
    path = tmp_path / XML
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=rf"potential\.xml: {message}"):
        load(path)


@pytest.mark.parametrize("content", ["0.1 0.2", "some text", ""])
def test_a_damaged_side_file_is_named(fitted, tmp_path, content):
    fitted.save(tmp_path)
    side = next(path for path in tmp_path.iterdir() if "sparseX" in path.name)
    side.write_text(content)
    with pytest.raises(UserError, match=rf"{side.name}: damaged, or of another fit"):
        load(tmp_path / XML)


def test_the_weight_of_the_centre_is_honoured(fitted, tmp_path, alloys):
    fitted.save(tmp_path)
    path = tmp_path / XML
    path.write_text(path.read_text().replace("add_species=F</desc", "add_species=F central_weight=0.4</desc"))
    foreign = load(path)
    assert foreign.parts_ is not None
    assert_as_quip(foreign, alloys[12].copy())


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
    with pytest.raises(UserError, match="needs about 900,000 GB"):
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
