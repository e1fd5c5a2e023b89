"""GAP fitted by our kernels: rows, sparse points, least squares; gap_fit is what it is compared with."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.base import silent
from mlip_bench.potentials.gap import GAP, fitting, pairs, solve, sparse
from mlip_bench.potentials.gap.covariance import STRAINS, Covariance, neighbourhood, spectra
from mlip_bench.potentials.gap.evaluation import Evaluator
from mlip_bench.potentials.gap.files import Pair, Part
from mlip_bench.potentials.gap.soap import Soap

SMALL = {"n_max": 3, "l_max": 3, "n_sparse": 20, "cutoff": 4.0}


def terms(species, structures, generator, with_pairs, n_max=3, l_max=3):
    """SOAP terms of some elements, and pair terms, with weights for coefficients of 1."""
    parts, pair_terms = [], []
    for number in species:
        soap = Soap(number, species, 4.2, 0.7, n_max, l_max, 0.5)
        points = sparse.of_environments(soap, structures, 7, generator)
        parts.append(Part(soap, 4, np.full(len(points), 0.8**2), points))
    for numbers, lengths in pairs.distances(structures, 5.0).items() if with_pairs else ():
        points = sparse.of_distances(lengths, 6)
        smooth, _ = pairs.smooth_cutoff(points, 5.0, 1.0)
        pair_terms.append(Pair(numbers, 5.0, 1.0, 0.9, 2.0**2 * smooth, points))
    return parts, pair_terms


def slab():
    atoms = bulk("Cu", cubic=True).repeat((1, 1, 2))
    atoms.symbols[1] = "Au"
    atoms.rattle(0.1, seed=5)
    atoms.center(vacuum=4.0, axis=2)
    atoms.pbc = [True, True, False]
    return atoms


CASES = {
    "an alloy": lambda alloys: alloys[3],
    "a primitive cell": lambda alloys: bulk("Cu", a=3.3),
    "two atoms and their images": lambda alloys: Atoms(
        "CuAu", [[0, 0, 0], [1.2, 1.3, 2.0]], cell=[[2.5, 0.1, 0], [0, 2.6, 0.2], [0.3, 0, 2.9]], pbc=True
    ),
    "a slab": lambda alloys: slab(),
    "a molecule": lambda alloys: Atoms("CuAuCu", [[0, 0, 0], [2.4, 0, 0], [0.3, 2.5, 0.2]]),
    "a lone atom": lambda alloys: Atoms("Au", positions=[[0, 0, 0]]),
}


@pytest.mark.parametrize("with_pairs", [False, True], ids=["soap", "soap and pairs"])
@pytest.mark.parametrize("case", CASES)
def test_rows_times_coefficients_are_what_the_potential_predicts(case, with_pairs, alloys):
    """Evaluation runs backwards from the energy, with other kernels: rows must give the same."""
    generator = np.random.default_rng(1)
    parts, pair_terms = terms((29, 79), alloys[:6], generator, with_pairs)
    covariance = Covariance(parts, pair_terms)
    coefficients = generator.normal(size=covariance.n_columns)
    shares = iter(np.split(coefficients, covariance.ends))
    fitted = [Part(p.soap, p.zeta, p.weights * next(shares), p.points) for p in parts]
    fitted += [Pair(*list(vars(p).values())[:4], p.weights * next(shares), p.points) for p in pair_terms]
    atoms = CASES[case](alloys)
    expected = Evaluator(fitted, 0.0)(atoms)
    ready = covariance.prepare(atoms)
    assert ready.energies @ coefficients == pytest.approx(expected.energy, abs=1e-11)
    forces, strain = np.full((len(atoms), 3), np.nan), np.zeros(STRAINS)
    for species, movers in covariance.pieces(atoms.numbers):
        rows, share = covariance.of_atoms(ready, species, movers, with_strain=True)
        forces[movers] = -rows @ coefficients
        strain += share @ coefficients
    np.testing.assert_allclose(forces, expected.forces, atol=1e-11)
    if atoms.pbc.all():
        np.testing.assert_allclose(strain / atoms.get_volume(), expected.stress, atol=1e-11)


def dense(parts, pair_terms, structures, sigmas):
    """Return the whole matrix of a fit and its targets, as one would write it down."""
    covariance = Covariance(parts, pair_terms)
    fit = fitting.Fit(structures, sigmas, ThreadPoolExecutor(1), solve.Keeper(None), silent)
    rows = fit._rows(covariance, structures)
    return covariance, rows[:, :-1], rows[:, -1]


def test_blocks_give_the_least_squares_of_all_rows_at_once(alloys, monkeypatch):
    sigmas = fitting.Sigmas(0.01, 0.05, 0.05, 1e-8)
    parts, pair_terms = terms((29, 79), alloys[:8], np.random.default_rng(1), True)
    covariance, rows, targets = dense(parts, pair_terms, alloys[:8], sigmas)
    assert len(rows) == sum(1 + 3 * len(atoms) + STRAINS for atoms in alloys[:8])
    upper = np.linalg.cholesky(covariance.of_sparse_points() + 1e-8 * np.eye(covariance.n_columns)).T
    padded = np.concatenate([targets, np.zeros(covariance.n_columns)])
    expected = np.linalg.lstsq(np.concatenate([rows, upper]), padded, rcond=None)[0]
    monkeypatch.setattr(fitting, "ROWS_PER_BLOCK", 70)
    triangle = solve.Triangle.of(covariance.of_sparse_points(), sigmas.jitter)
    with ThreadPoolExecutor(2) as threads:
        fit = fitting.Fit(alloys[:8], sigmas, threads, solve.Keeper(None), silent)
        assert len(fit._blocks()) == 4
        fit._take_all(covariance, triangle, [])
    found = triangle.coefficients()
    np.testing.assert_allclose(rows @ found, rows @ expected, atol=1e-9 * np.abs(targets).max())
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


def with_points_of(fitted, structures, hypers):
    """Fit with our kernels and the sparse points of a potential, and return its terms."""
    ones = []
    for part in fitted.parts_:
        if isinstance(part, Part):
            ones.append(
                Part(part.soap, part.zeta, np.full(len(part.points), hypers["delta"] ** 2), part.points)
            )
    others = []
    for pair in fitted.parts_:
        if isinstance(pair, Pair):
            smooth, _ = pairs.smooth_cutoff(pair.points, pair.cutoff, pair.width)
            scale = 2.0**2 * smooth
            others.append(Pair(pair.numbers, pair.cutoff, pair.width, pair.theta, scale, pair.points))
    sigmas = fitting.Sigmas(0.01, 0.05, 0.05, 1e-8)
    without = [
        labelled(
            Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc),
            atoms.calc.results["energy"] - fitted._zeros()[atoms.numbers].sum(),
            atoms.calc.results["forces"],
            atoms.calc.results.get("stress"),
        )
        for atoms in structures
    ]
    covariance = Covariance(ones, others)
    triangle = solve.Triangle.of(covariance.of_sparse_points(), sigmas.jitter)
    with ThreadPoolExecutor(2) as threads:
        fitting.Fit(without, sigmas, threads, solve.Keeper(None), silent)._take_all(covariance, triangle, [])
    shares = np.split(triangle.coefficients(), covariance.ends)
    weights = [one.weights * share for one, share in zip([*ones, *others], shares, strict=True)]
    theirs = [p for p in fitted.parts_ if isinstance(p, Part)]
    theirs += [p for p in fitted.parts_ if isinstance(p, Pair)]
    return weights, theirs


@pytest.mark.parametrize("pair", [False, True])
def test_the_same_sparse_points_give_the_coefficients_of_gap_fit(alloys, pair):
    hypers = SMALL | {"delta": 0.7, "pair": pair, "pair_n_sparse": 8, "pair_cutoff": 5.0}
    theirs = GAP(**hypers, fit_with="quip").fit(alloys[:12])
    weights, fitted = with_points_of(theirs, alloys[:12], hypers)
    ours = []
    for weight, term in zip(weights, fitted, strict=True):
        np.testing.assert_allclose(weight, term.weights, rtol=1e-3, atol=1e-4 * np.abs(term.weights).max())
        ours.append(type(term)(**(vars(term) | {"weights": weight})))
    for atoms in alloys[12:16]:
        one, other = Evaluator(ours, 0.0)(atoms), Evaluator(theirs.parts_, 0.0)(atoms)
        assert one.energy == pytest.approx(other.energy, abs=1e-5)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)


# -- sparse points -------------------------------------------------------------------------------------


def spectra_of(soap, structures):
    return np.concatenate([spectra(soap, neighbourhood(atoms, soap.cutoff)).unit for atoms in structures])


def test_leverages_are_those_of_the_whole_matrix(alloys, monkeypatch):
    """Of the singular vectors of all different environments at once, as gap_fit takes them."""
    monkeypatch.setattr(sparse, "ROWS", 30)
    soap = Soap(29, (29, 79), 4.0, 0.5, 3, 2, 0.5)
    crystal = bulk("Cu", cubic=True)  # four atoms in one environment
    structures = [*alloys[:10], crystal, crystal]
    whole = spectra_of(soap, [*alloys[:10], bulk("Cu")])
    left, singular, _ = np.linalg.svd(whole, full_matrices=False)
    rank = (singular > 1e-13).sum() // 2
    expected = np.square(left[:, :rank]).sum(axis=1) / rank
    environments = sparse.Environments(soap, structures, map)
    assert len(environments) == len(whole)
    np.testing.assert_allclose(environments.leverages(), expected, rtol=1e-6)
    chosen = np.array([0, 5, 31, len(whole) - 1])
    np.testing.assert_allclose(environments[chosen], whole[chosen], atol=1e-12)


def missed(points, whole):
    """The share of all environments that is outside of the span of the points."""
    rest = whole - whole @ np.linalg.pinv(points, rcond=1e-10) @ points
    return np.linalg.norm(rest) / np.linalg.norm(whole)


def test_our_choice_spans_the_environments_as_that_of_gap_fit(embedded):
    train = embedded.train[:20]
    hypers = SMALL | {"n_max": 6, "l_max": 6, "n_sparse": 40}
    quip, ours = (GAP(**hypers, fit_with=name).fit(train).parts_[0] for name in ("quip", "mlip-bench"))
    whole = spectra_of(ours.soap, train)
    by_lot = whole[np.random.default_rng(0).permutation(len(whole))[:40]]
    for part in (quip, ours):  # both are chosen among the environments of the data
        nearest = np.abs(part.points[:, None] - whole).max(axis=2).min(axis=1)
        assert nearest.max() < 1e-8
    assert missed(ours.points, whole) < 1.5 * missed(quip.points, whole)
    assert missed(ours.points, whole) < missed(by_lot, whole)


def test_equal_environments_are_one_sparse_point():
    atoms = bulk("Cu", cubic=True).repeat(2)
    flat = labelled(atoms, -1.0 * len(atoms), np.zeros((len(atoms), 3)), np.zeros(6))
    rattled = atoms.copy()
    rattled.rattle(0.1, seed=1)
    found = GAP(**(SMALL | {"n_sparse": 100})).fit([flat, labelled(rattled, -31.0, np.zeros((32, 3)), None)])
    assert found.n_parameters == 1 + len(rattled)


# -- the fit as a whole --------------------------------------------------------------------------------


def test_errors_are_those_of_gap_fit(embedded):
    """Sparse points are drawn, so over a few seeds: energies of one seed and another differ by 30 %."""
    hypers = SMALL | {"n_max": 6, "l_max": 6, "n_sparse": 100, "cutoff": 4.7, "sigma_energy": 0.002}
    train, test = embedded.train[:24], embedded.train[24:32]

    def errors(name, seed):
        found = GAP(**hypers, fit_with=name).fit(train, seed=seed)
        squares = []
        for atoms in [*train, *test]:
            one, other = found.predict([atoms])[0], atoms.calc.results
            squares.append(
                ((one.energy - other["energy"]) ** 2 / len(atoms) ** 2, one.forces - other["forces"])
            )
        energy = np.sqrt(np.mean([square for square, _ in squares[: len(train)]]))
        parts = squares[: len(train)], squares[len(train) :]
        forces = [np.sqrt(np.mean(np.concatenate([f for _, f in part]) ** 2)) for part in parts]
        return [energy, *forces]

    ours = np.mean([errors("mlip-bench", seed) for seed in range(4)], axis=0)
    theirs = np.mean([errors("quip", seed) for seed in range(2)], axis=0)
    assert np.all(ours < np.array([1.3, 1.05, 1.15]) * theirs)


def test_the_number_of_threads_changes_nothing(alloys, monkeypatch):
    found = []
    for cores in ([0], [0, 1, 2]):
        monkeypatch.setattr("mlip_bench.potentials.gap.model.available_cores", lambda cores=cores: cores)
        found.append(GAP(**SMALL, pair=True).fit(alloys[:10]))
    assert found[0].files_ == found[1].files_


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_fit_goes_on_to_the_same_potential(stop, alloys, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "ROWS_PER_BLOCK", 70)
    monkeypatch.setattr(solve, "CHECKPOINT_SECONDS", 0.0)
    undisturbed = GAP(**SMALL, pair=True).fit(alloys[:12])
    told = []

    def stop_there(share, message):
        told.append(message)
        if sum(one.startswith("covariance") for one in told) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GAP(**SMALL, pair=True).fit(alloys[:12], progress=stop_there, checkpoint=tmp_path)
    again = []
    resumed = GAP(**SMALL, pair=True).fit(
        alloys[:12], progress=lambda share, message: again.append(message), checkpoint=tmp_path
    )
    assert resumed.files_ == undisturbed.files_
    if stop > 1:
        assert len(again) < len(told) + 6
        assert "choosing sparse points" not in again


def test_virials_are_fitted_where_the_data_has_them(alloys):
    """Structures without a stress are among the others; half of the data decides nearly as all of it."""
    bare = [
        labelled(atoms.copy(), atoms.calc.results["energy"], atoms.calc.results["forces"], None)
        for atoms in alloys[:12]
    ]

    def error(train):
        found = GAP(**SMALL, sigma_virial=0.01).fit(train).predict(alloys[:12])
        of = zip(found, alloys[:12], strict=True)
        return np.sqrt(np.mean([np.square(one.stress - atoms.calc.results["stress"]) for one, atoms in of]))

    without, half, whole = error(bare), error([*alloys[:6], *bare[6:]]), error(alloys[:12])
    assert whole < half < without


def test_a_covariance_that_is_singular_gets_more_jitter_and_says_so():
    points = np.ones((5, 1)) * 1e4
    triangle = solve.Triangle.of(points @ points.T, 1e-12)
    assert triangle.jitter > 1e-12
    regularised = points @ points.T + triangle.jitter * np.eye(5)
    np.testing.assert_allclose(triangle.factor[:-1, :-1].T @ triangle.factor[:-1, :-1], regularised)


def test_too_many_radial_functions_are_one_sentence(alloys):
    with pytest.raises(UserError, match=r"gap: 80 radial functions .*; lower gap\.n_max"):
        GAP(n_max=80, l_max=1).fit(alloys[:2])


def test_who_fits_is_named(alloys, tmp_path):
    with pytest.raises(UserError, match=r"fit_with = 'lammps': must be one of mlip-bench, quip"):
        GAP(fit_with="lammps")
    GAP(**SMALL, fit_with="quip").fit(alloys[:4]).save(tmp_path)
    assert load(tmp_path).hypers.fit_with == "quip"
