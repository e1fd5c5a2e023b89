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
            ones.append(Part(part.soap, part.zeta, np.full(len(part.points), hypers["delta"] ** 2), part.points))
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
