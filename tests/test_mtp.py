"""MTP against the published potential, motep, finite differences, and brute force."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from conftest import has_mlearn

from mlip_bench.data import records
from mlip_bench.data.reference import labelled, shortest_distance
from mlip_bench.errors import UserError
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials import load
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.mtp import MTP, basis, fitting, kernel, row_kernel
from mlip_bench.potentials.mtp.model import Evaluator, basis_of_level
from mlip_bench.potentials.mtp.tables import Tables

SMALL = {"level": 8, "cutoff": 4.2, "radial_basis_size": 4, "iterations": 4, "starts": 2}
PUBLISHED = Path(os.environ.get("MLIP_BENCH_DATA", "nowhere")).parent / "published" / "Mo" / "mtp"
needs_published = pytest.mark.skipif(
    not (has_mlearn() and PUBLISHED.is_dir()),
    reason="no published MTP beside MLIP_BENCH_DATA: its errors are not checked",
)


@pytest.fixture(scope="module")
def fitted(alloys):
    return MTP(**SMALL).fit(alloys[:18])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published file with the line that says what its one species is."""
    path = tmp_path_factory.mktemp("published") / "fitted.mtp"
    text = (PUBLISHED / "fitted.mtp").read_text()
    path.write_text(text.replace("potential_tag =", "potential_tag = Mo"))
    return path


# -- basis ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "n_basic", "n_scalar"), [(8, 11, 9), (16, 130, 92), (20, 295, 288)])
def test_sizes_are_those_of_the_published_bases(level, n_basic, n_scalar):
    """Published files (levels 16 and 20), and 295 components of tensors in the file for Mo."""
    found = basis_of_level(level)
    assert (len(found.index_basic), len(found.moment_mapping)) == (n_basic, n_scalar)


@pytest.mark.slow
def test_level_24_has_as_many_functions_as_the_published_one():
    assert len(basis.build(24).moment_mapping) == 864


def test_every_function_is_the_contraction_that_its_graph_says():
    """Products of components against sums over all indices of full tensors, for random neighbours."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(5, 3))
    weights = generator.normal(size=(4, 5))
    wanted, found = basis.scalars(12), basis.build(12)
    moments = np.zeros(found.moments_count)
    for index, (mu, a, b, c) in enumerate(found.index_basic):
        moments[index] = (weights[mu] * vectors[:, 0] ** a * vectors[:, 1] ** b * vectors[:, 2] ** c).sum()
    for left, right, factor, target in found.index_times:
        moments[target] += factor * moments[left] * moments[right]
    for graph, place in zip(wanted, found.moment_mapping, strict=True):
        assert moments[place] == pytest.approx(full_contraction(graph, vectors, weights), rel=1e-9)


def full_contraction(graph, vectors, weights):
    """Contract the full tensors of a graph with einsum: one letter for each contracted pair of indices."""
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    names = ["" for _ in graph.nodes]
    for a in range(len(graph.nodes)):
        for b in range(a):
            for _ in range(graph.edges[a][b]):
                letter = next(letters)
                names[a] += letter
                names[b] += letter
    tensors = []
    for mu, name in zip(graph.nodes, names, strict=True):
        tensor = np.zeros((3,) * len(name))
        for weight, vector in zip(weights[mu], vectors, strict=True):
            outer = np.array(weight)
            for _ in name:
                outer = np.multiply.outer(outer, vector)
            tensor = tensor + outer
        tensors.append(tensor)
    return float(np.einsum(",".join(names) + "->", *tensors))


def test_a_basis_is_kept_in_the_cache(monkeypatch):
    first = basis.cached(10)
    monkeypatch.setattr(basis, "build", lambda level: pytest.fail("worked out again"))
    again = basis.cached(10)
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))


# -- energies and forces -------------------------------------------------------------------------------


@needs_published
def test_published_potential_gives_the_published_errors(published):
    """Recomputed from the published file: MTP of Mo on the mlearn test split."""
    test = records.load("mlearn", "Mo").test
    errors = summary(comparison(test, load(published).predict(test)))
    assert errors["energy_mae"] == pytest.approx(2.938, abs=5e-4)
    assert errors["energy_rmse"] == pytest.approx(3.978, abs=5e-4)
    assert errors["force_mae"] == pytest.approx(90.1, abs=0.05)
    assert errors["force_rmse"] == pytest.approx(151.4, abs=0.05)


@pytest.mark.parametrize("engine", ["numpy", "cext"])
def test_kernels_agree_with_motep(fitted, alloys, tmp_path, engine):
    """Energy, forces and stress of two elements, by motep from the file that we write."""
    from motep.calculator import MTP as MOTEP
    from motep.io.mlip.mtp import read_mtp

    fitted.save(tmp_path)
    data = read_mtp(tmp_path / "potential.mtp")
    data.species = [79, 29]
    for atoms in alloys[18:20]:
        theirs = atoms.copy()
        theirs.calc = MOTEP(data, engine=engine)
        ours = fitted.predict([atoms])[0]
        assert ours.energy == pytest.approx(theirs.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(ours.forces, theirs.get_forces(), atol=1e-9)
        np.testing.assert_allclose(ours.stress, theirs.get_stress(), atol=1e-10)


def test_forces_equal_finite_differences(fitted, alloys):
    """To 1e-6 eV/Å, with a five-point stencil."""
    atoms = alloys[20]
    forces = fitted.predict([atoms])[0].forces
    step = 1e-3
    for index, axis in ((0, 0), (3, 1), (7, 2)):
        energies = []
        for times in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.positions[index, axis] += times * step
            energies.append(fitted.predict([moved])[0].energy)
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)
        assert forces[index, axis] == pytest.approx(-slope, abs=1e-6)


def test_skin_list_gives_the_same_along_a_trajectory(fitted, alloys):
    generator = np.random.default_rng(0)
    atoms = alloys[2].copy()
    kept = Evaluator(fitted, skin=0.6)
    for _ in range(20):
        atoms.positions += generator.normal(scale=0.03, size=atoms.positions.shape)
        deform = np.eye(3) + generator.normal(scale=0.004, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ deform, scale_atoms=True)
        one, other = kept(atoms), fitted._predict([atoms])[0]
        assert one.energy == pytest.approx(other.energy, abs=1e-9)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-9)


def test_atoms_nearer_than_min_dist_are_counted(fitted):
    least = fitted.tables_.least
    near = Atoms("Cu3", [[0, 0, 0], [least - 0.01, 0, 0], [0, 3.5, 0]])
    assert fitted.predict([near])[0].n_extrapolating == 2


# -- fitting -------------------------------------------------------------------------------------------


def search(alloys, level=8):
    """A search with its examples and a start, as ``fit`` makes them."""
    elements = ("Au", "Cu")
    examples = [fitting.example(atoms, elements, 4.2) for atoms in alloys]
    tables = Tables(basis_of_level(level), 0.01, 2.0, 4.2)
    found = fitting.Search(
        examples,
        lambda level: tables,
        {"energy": 10.0, "forces": 1.0, "stress": 5.0},
        0.0,
        ThreadPoolExecutor(2),
        lambda state: None,
        lambda share, message: None,
    )
    return found, tables, found._start(level, 2, 4, 0, 0)


def test_rows_are_derivatives_by_all_coefficients(alloys):
    """Energy, forces and stress by each linear and radial coefficient, against differences of the kernels."""
    _, tables, state = search(alloys)
    generator = np.random.default_rng(5)
    linear = generator.normal(size=tables.n_scalars)
    atoms = alloys[19]
    edges = Edges(("Au", "Cu"), 4.2)
    vectors = edges.update(atoms)
    lists = (edges.first, edges.neighbours, edges.species, vectors)
    shape = (tables.scaling, tables.least, tables.cutoff)

    def predicted(radial, linear):
        energies, forces, virial, _ = kernel.evaluate(
            (0, len(atoms)),
            *lists,
            *shape,
            radial,
            tables.by_moment(linear),
            np.empty((0, 3)),
            *tables.indices,
        )
        stress = (-virial / atoms.get_volume())[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        return np.concatenate([[energies.sum()], forces.ravel(), stress])

    rows = row_kernel.rows(
        *lists, atoms.get_volume(), *shape, state.radial, tables.by_moment(linear), tables.mapping,
        True, tables.indices, tables.branches,
    )  # fmt: skip
    for index in range(tables.n_scalars):
        np.testing.assert_allclose(
            rows[index], predicted(state.radial, np.eye(tables.n_scalars)[index]), atol=1e-10
        )
    step = 1e-5
    for index in range(0, state.radial.size, 3):
        change = np.zeros(state.radial.size)
        change[index] = step
        change = change.reshape(state.radial.shape)
        slope = predicted(state.radial + change, linear) - predicted(state.radial - change, linear)
        np.testing.assert_allclose(rows[tables.n_scalars + index], slope / (2 * step), rtol=1e-5, atol=1e-6)


def test_the_linear_coefficients_are_the_least_squares_solution(alloys):
    """The cost after the linear solve equals that of numpy's least squares on all rows."""
    found, tables, state = search(alloys[:6])
    state.linear = np.zeros(2 + tables.n_scalars)
    equations = found._pass(state, with_radial=False)
    linear, _, cost = equations.solve(found.weights, None)
    rows, targets = [], []
    for one in found.examples:
        edges = one.edges
        columns = row_kernel.rows(
            edges.first, edges.neighbours, edges.species, one.vectors, one.volume, tables.scaling,
            tables.least, tables.cutoff, state.radial, tables.by_moment(linear[2:]), tables.mapping,
            False, tables.indices, tables.branches,
        )[: tables.n_scalars]  # fmt: skip
        species = np.zeros((2, columns.shape[1]))
        species[:, 0] = one.counts
        weights = np.full(columns.shape[1], 1.0)
        weights[0], weights[-6:] = 10.0 / len(edges.species), 5.0
        rows.append((np.concatenate([species, columns]) * weights).T)
        targets.append(one.targets * weights)
    whole, target = np.concatenate(rows), np.concatenate(targets)
    expected = np.linalg.lstsq(whole, target, rcond=None)[0]
    assert cost == pytest.approx(((whole @ expected - target) ** 2).sum(), rel=1e-4)


def test_steps_lower_the_cost_until_a_minimum(alloys, monkeypatch):
    """At the end the reduced cost has no slope: it does not fall in any direction of the radial functions."""
    monkeypatch.setattr(fitting, "SMALLEST_GAIN_ON_PART", 1e-6)
    found, _, state = search(alloys[:10])
    before = found.level(fitting.State(state.radial, np.empty(0), level=8), 0, 0, 0).cost
    after = found.level(state, 60, 0, 0)
    assert after.cost < 0.7 * before
    generator = np.random.default_rng(1)
    for _ in range(5):
        moved = after.radial * (1 + 1e-3 * generator.normal(size=after.radial.shape))
        cost = found.level(fitting.State(moved, np.empty(0), level=8), 0, 0, 0).cost
        assert cost > after.cost * (1 - 1e-4)


def test_a_higher_level_fits_better(alloys):
    errors = []
    for level in (6, 12):
        potential = MTP(**(SMALL | {"level": level})).fit(alloys[:18])
        errors.append(summary(comparison(alloys[:18], potential.predict(alloys[:18])))["force_rmse"])
    assert errors[1] < 0.8 * errors[0]


def test_stress_is_fitted_where_it_has_weight(alloys):
    errors = []
    for weight in (0.0, 300.0):
        potential = MTP(**SMALL, stress_weight=weight).fit(alloys[:18])
        errors.append(summary(comparison(alloys[:18], potential.predict(alloys[:18])))["stress_rmse"])
    assert errors[1] < errors[0]


@pytest.mark.parametrize("stop", [1, 2])
def test_a_killed_fit_goes_on_to_the_same_result(stop, alloys, tmp_path):
    """Stopped at a step of the last level, after which the lower one is not fitted again."""
    settings = SMALL | {"level": 14, "iterations": 3, "iterations_below": 3, "ridge": 1e-9}
    undisturbed = MTP(**settings).fit(alloys[:12], seed=3)
    first = []

    def stop_there(share, message):
        first.append(message)
        if sum(message.startswith("level 14") for message in first) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MTP(**settings).fit(alloys[:12], seed=3, progress=stop_there, checkpoint=tmp_path)
    again = []
    resumed = MTP(**settings).fit(
        alloys[:12], seed=3, progress=lambda share, message: again.append(message), checkpoint=tmp_path
    )
    assert not [message for message in again if message in first[:-1]]
    np.testing.assert_allclose(resumed.linear_, undisturbed.linear_, rtol=1e-6)


@pytest.fixture
def in_parts(monkeypatch):
    """Levels are searched on five structures, the last one then on all."""
    monkeypatch.setattr(fitting, "STRUCTURES_OF_PART", 5)
    monkeypatch.setattr(fitting, "DATA_PER_COEFFICIENT", 0)


def test_the_last_level_is_searched_on_all_structures(alloys, in_parts, monkeypatch):
    """Starts and levels see a part; the end is lower on all structures than where the part led."""
    found, _, _ = search(alloys[:15])
    monkeypatch.setattr(fitting, "SMALLEST_GAIN_ON_ALL", 1e-5)
    part = found._part(2, 4, 8)
    assert part == found.examples[::3]
    whole = found.run(fitting.Schedule([8], 8, 8, 2), 2, 4, 0, None)
    assert whole.on_all
    of_part = replace(found, examples=part).run(fitting.Schedule([8], 8, 8, 2), 2, 4, 0, None)
    found._solve_linear(of_part)
    assert whole.cost < of_part.cost


def test_a_fit_killed_on_all_structures_goes_on_to_the_same_result(alloys, in_parts, tmp_path):
    settings = SMALL | {"level": 8, "iterations": 4, "starts": 2, "ridge": 1e-9}
    undisturbed = MTP(**settings).fit(alloys[:15], seed=3)
    first, again = [], []

    def stop_in_the_last_stage(share, message):
        first.append(message)
        if share > 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MTP(**settings).fit(alloys[:15], seed=3, progress=stop_in_the_last_stage, checkpoint=tmp_path)
    resumed = MTP(**settings).fit(
        alloys[:15], seed=3, progress=lambda share, message: again.append(message), checkpoint=tmp_path
    )
    assert len(again) < len(first)
    np.testing.assert_allclose(resumed.linear_, undisturbed.linear_, rtol=1e-6)


# -- files and bad input -------------------------------------------------------------------------------


def test_files_are_read_back(fitted, tmp_path, alloys):
    fitted.save(tmp_path)
    again = load(tmp_path / "potential.mtp")
    assert again.elements_ == ("Au", "Cu")
    assert (again.hypers.level, again.hypers.cutoff) == (8, 4.2)
    for one, other in zip(fitted.predict(alloys[:2]), again.predict(alloys[:2]), strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-9)


def edited(fitted, tmp_path, old, new):
    fitted.save(tmp_path)
    path = tmp_path / "potential.mtp"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_a_file_of_another_version(fitted, tmp_path):
    with pytest.raises(UserError, match=r"version 3\.0\.0 of the \.mtp format; 1\.1\.0 is supported"):
        load(edited(fitted, tmp_path, "version = 1.1.0", "version = 3.0.0"))


def test_a_file_that_does_not_name_its_elements(fitted, tmp_path):
    path = edited(fitted, tmp_path, "potential_tag = Au Cu", "potential_tag = ")
    with pytest.raises(UserError, match=r"write the elements into its line 'potential_tag = "):
        load(path)


@pytest.mark.parametrize("block", ["moment_coeffs", "alpha_index_times =", "radial_coeffs"])
def test_a_missing_block(fitted, tmp_path, block):
    fitted.save(tmp_path)
    path = tmp_path / "potential.mtp"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.strip().startswith(block)) + "\n")
    with pytest.raises(UserError, match=r"potential\.mtp: "):
        load(path)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_a_truncated_file(fitted, tmp_path, share):
    fitted.save(tmp_path)
    path = tmp_path / "potential.mtp"
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(UserError, match=r"potential\.mtp: "):
        load(path)


def test_more_parameters_than_data(alloys):
    with pytest.raises(UserError, match=r"level 16 has \d+ parameters, but the training data only 25 ener"):
        MTP(level=16, cutoff=4.2).fit(alloys[:1])
    regularised = MTP(**(SMALL | {"level": 10, "ridge": 1e-6, "starts": 1})).fit(alloys[:1])
    assert np.isfinite(regularised.predict(alloys[:1])[0].energy)


def test_a_distance_below_min_dist_in_the_data_is_named(alloys):
    found = MTP(**(SMALL | {"min_dist": 2.6, "iterations": 1, "starts": 1})).fit(alloys[:18])
    near = [n for n, atoms in enumerate(alloys[:18], start=1) if shortest_distance(atoms, 5.0) < 2.6]
    (note,) = (note for note in found.notes_ if "min_dist" in note)
    assert note.startswith(f"{len(near)} of 18 training structures have atoms nearer than min_dist = 2.6 Å; ")
    assert f"first structure {near[0]}, " in note


def test_data_without_neighbours():
    atoms = Atoms("Cu2", [[0, 0, 0], [10, 0, 0]], cell=[20, 20, 20], pbc=True)
    lonely = labelled(atoms, -1.0, np.zeros((2, 3)), None)
    with pytest.raises(UserError, match="no two atoms of the data are within the cutoff"):
        MTP(**(SMALL | {"ridge": 1e-6})).fit([lonely])
