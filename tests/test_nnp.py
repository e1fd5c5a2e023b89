"""NNP against the published potential, torch, finite differences, and n2p2's files."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import has_mlearn

from mlip_bench.data import records, voigt
from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials import load
from mlip_bench.potentials.heat_flux import EdgeFlux
from mlip_bench.potentials.nnp import NNP, samples, training
from mlip_bench.potentials.nnp.kalman import Kalman
from mlip_bench.potentials.nnp.model import Evaluator
from mlip_bench.potentials.nnp.networks import Network
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.potentials.symmetry_functions import choice, kernel
from mlip_bench.potentials.symmetry_functions.descriptors import descriptors, scaling
from mlip_bench.potentials.symmetry_functions.functions import Switch
from mlip_bench.potentials.symmetry_functions.geometry import Neighbourhood, tables

SMALL = {"cutoff": 4.2, "radial_shifts": [0.0, 1.5, 3.0], "zetas": [1.0, 2.0, 16.0], "hidden": [7, 5]}
PUBLISHED = Path(os.environ.get("MLIP_BENCH_DATA", "nowhere")).parent / "published" / "Mo" / "nnp"


@pytest.fixture(scope="module")
def fitted(alloys):
    return NNP(**SMALL, epochs=4, gauss_newton_steps=3).fit(alloys[:18])


@pytest.mark.skipif(
    not (has_mlearn() and PUBLISHED.is_dir()),
    reason="no published n2p2 potential beside MLIP_BENCH_DATA: its errors are not checked",
)
def test_published_potential_gives_the_published_errors():
    """Recomputed from the published file: NNP of Mo on the mlearn test split."""
    test = records.load("mlearn", "Mo").test
    errors = summary(comparison(test, load(PUBLISHED / "input.nn").predict(test)))
    assert errors["energy_mae"] == pytest.approx(3.646, abs=5e-4)
    assert errors["force_mae"] == pytest.approx(125.1, abs=0.05)
    assert errors["force_rmse"] == pytest.approx(203.6, abs=0.05)


def test_kernels_agree_with_torch(fitted, alloys):
    """Energy, forces and stress of two elements, from an independent list and automatic differentiation."""
    from nnp_reference import energy_forces_stress

    for atoms in alloys[18:19]:
        energy, forces, stress = energy_forces_stress(fitted, atoms)
        ours = fitted.predict([atoms])[0]
        assert ours.energy == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(ours.forces, forces.numpy(), atol=1e-9)
        np.testing.assert_allclose(voigt.to_matrix(ours.stress), stress.numpy(), atol=1e-10)


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


def test_energy_is_continuous_at_the_cutoff(fitted):
    """A third atom that crosses the cutoff changes energy and force by nothing that can be seen."""
    cutoff = fitted.hypers.cutoff
    found = []
    for distance in (cutoff - 1e-6, cutoff + 1e-6):
        atoms = Atoms("CuAuCu", [[0, 0, 0], [2.5, 0, 0], [-distance, 0.0, 0]])
        found.append(fitted.predict([atoms])[0])
    assert found[0].energy == pytest.approx(found[1].energy, abs=1e-10)
    np.testing.assert_allclose(found[0].forces, found[1].forces, atol=1e-5)


# Of n2p2's own unit test (test/cpp, CutoffFunction): f_c and its slope at 2.4 for a cutoff of 3 and α = 0.2,
# and both at 0.3, for each cutoff_type.
N2P2_CUTOFFS = [
    (1.0, 0.0, 1.0, 0.0),
    (1.4644660940672610e-01, -4.6280030605816297e-01, 1.0, 0.0),
    (7.6891537120697701e-03, -3.7439367857705103e-02, 3.6752000144553820e-01, -2.4982884456067705e-01),
    (1.7406350897769030e-02, -8.4753511078717925e-02, 8.3197479809356334e-01, -5.6555099503099682e-01),
    (2.7645304662956416e-01, -9.0270382572918983e-01, 1.0, 0.0),
    (1.5624999999999989e-01, -4.6874999999999989e-01, 1.0, 0.0),
    (1.0351562500000003e-01, -4.3945312499999917e-01, 1.0, 0.0),
    (7.0556640624999140e-02, -3.8452148437500033e-01, 1.0, 0.0),
    (4.8927307128909442e-02, -3.2444000244141674e-01, 1.0, 0.0),
]


@pytest.mark.parametrize("kind", list(Switch), ids=lambda kind: kind.name)
def test_cutoff_functions_are_those_of_n2p2(kind):
    value, slope, inner, inner_slope = N2P2_CUTOFFS[kind]
    assert kernel.cutoff_function(int(kind), 0.2, 2.4, 3.0) == pytest.approx((value, slope), abs=1e-14)
    assert kernel.cutoff_function(int(kind), 0.2, 0.3, 3.0) == pytest.approx((inner, inner_slope), abs=1e-14)
    assert kernel.cutoff_function(int(kind), 0.2, 3.0, 3.0) == (0.0, 0.0)


@pytest.mark.parametrize("kind", [kind for kind in Switch if kind != Switch.HARD], ids=lambda kind: kind.name)
def test_files_with_other_cutoff_functions_and_several_cutoffs(kind, fitted, tmp_path):
    """Edited as a user of n2p2 would; kernels and torch agree, and the potential is written back whole."""
    from nnp_reference import energy_forces_stress

    fitted.save(tmp_path)
    path = tmp_path / "input.nn"
    text = path.read_text().replace("cutoff_type 1 0.0", f"cutoff_type {int(kind)} 0.1")
    path.write_text(text.replace(" 1.5 4.2\n", " 1.5 3.6\n"))
    edited = load(path)
    assert edited.functions_.cutoffs == [3.6, 4.2]
    cluster = Atoms("CuAu2Cu2", [[0, 0, 0], [2.3, 0, 0], [0.4, 2.5, 0], [1, 1, 2.4], [-1.5, -2, 1.6]])
    energy, forces = energy_forces_stress(edited, cluster)[:2]
    ours = edited.predict([cluster])[0]
    assert ours.energy == pytest.approx(energy, abs=1e-8)
    np.testing.assert_allclose(ours.forces, forces.numpy(), atol=1e-7)
    edited.save(tmp_path / "again")
    again = load(tmp_path / "again" / "input.nn").predict([cluster])[0]
    assert again.energy == pytest.approx(ours.energy, abs=1e-9)


def test_skin_list_gives_the_same_along_a_trajectory(fitted, alloys):
    """Moves and cell changes, small and large: the kept list never differs from a fresh one."""
    generator = np.random.default_rng(0)
    atoms = alloys[2].copy()
    kept = Evaluator(fitted, skin=0.6)
    for step in range(30):
        atoms.positions += generator.normal(scale=0.03, size=atoms.positions.shape)
        deform = np.eye(3) + generator.normal(scale=0.004, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ deform, scale_atoms=True)
        if step == 20:
            atoms.positions[0] += atoms.cell[1]  # wrapped by whoever drives the dynamics
        one, other = kept(atoms), fitted._predict([atoms])[0]
        assert one.energy == pytest.approx(other.energy, abs=1e-9)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-9)


def test_the_list_is_really_kept(fitted, monkeypatch):
    built = []
    build = Neighbourhood._build
    monkeypatch.setattr(Neighbourhood, "_build", lambda self, *rest: (built.append(1), build(self, *rest)))
    atoms = bulk("Cu", cubic=True).repeat(2)
    evaluate = Evaluator(fitted, skin=0.6)
    for _ in range(5):
        atoms.positions += 0.01
        evaluate(atoms)
    assert len(built) == 1


def test_gradients_by_weights_equal_finite_differences():
    """What the filter is given: derivatives of energies and of slopes by every weight, two at once."""
    generator = np.random.default_rng(1)
    network = Network(4, (5, 3))
    network.randomise(generator)
    inputs, directions = generator.normal(size=(2, 2, 6, 4))
    share = np.array([[1.0] * 6, [1.0] * 4 + [0.0] * 2])
    _, by_energy = network.energy_gradients(inputs, share)
    slopes, by_slope = network.slope_gradients(inputs, directions)
    np.testing.assert_allclose(
        slopes, [(network.energies(rows)[1] * v).sum() for rows, v in zip(inputs, directions, strict=True)]
    )
    start, step = network.weights.copy(), 1e-6
    for index in range(network.n_weights):
        found = []
        for sign in (1, -1):
            network.weights = start.copy()
            network.weights[index] += sign * step
            found.append(
                [
                    network.energy_gradients(inputs, share)[0],
                    network.slope_gradients(inputs, directions)[0],
                ]
            )
        energies, slopes = (np.array(found[0]) - np.array(found[1])) / (2 * step)
        np.testing.assert_allclose(by_energy[:, index], energies, atol=1e-7)
        np.testing.assert_allclose(by_slope[:, index], slopes, atol=1e-7)


@pytest.fixture(scope="module")
def trainer(alloys):
    """Two elements, untrained, some structures held out."""
    return untrained(alloys[:10], lambda data: data)


def untrained(structures, moved):
    potential = NNP(**SMALL, validation_fraction=0.2)
    potential.elements_ = ("Au", "Cu")
    potential.functions_ = choice.wanted(potential.hypers, potential.elements_, structures)
    layout = tables(potential.functions_, potential.elements_)
    raw = [descriptors(atoms, layout) for atoms in structures]
    ranges = scaling(raw, layout)
    data = samples.join(structures, raw, ranges, 1.0)
    return potential._trainer([moved(data)], [np.isin(np.arange(len(structures)), [2, 5])], 0, None)


def test_observations_are_errors_of_what_is_predicted(trainer):
    energies, forces = trainer.predict()
    components = np.array([0, 4, 35])
    errors, _ = trainer._observe_forces(components)
    np.testing.assert_allclose(errors, (trainer.data.forces - forces).ravel()[components], atol=1e-6)
    errors, _ = trainer._observe_energies(np.array([1, 3]))
    missed = (trainer.data.energies - energies)[[1, 3]] / trainer.data.n_atoms[[1, 3]]
    np.testing.assert_allclose(errors, NNP.Hypers.energy_weight * missed, atol=1e-9)


def test_normal_equations_are_those_of_all_observations(trainer, monkeypatch):
    """H ξ is minus half the slope of the squares, H Hᵀ of all gradients, however they are cut."""
    weights, direction = trainer.weights, np.random.default_rng(0).normal(size=len(trainer.weights))
    atoms = np.concatenate([trainer.data.members[k, : trainer.data.n_atoms[k]] for k in trainer.training])
    components = (3 * atoms[:, None] + np.arange(3)).ravel()
    parts = [trainer._observe_energies(trainer.training), trainer._observe_forces(components)]
    gradients = np.concatenate([part[1] for part in parts])
    monkeypatch.setattr(training, "OBSERVATIONS_AT_ONCE", 7)
    matrix, vector = trainer.normal_equations()
    np.testing.assert_allclose(matrix, gradients.T @ gradients, atol=1e-9 * np.abs(matrix).max())
    assert trainer.squares() == pytest.approx(sum((part[0] ** 2).sum() for part in parts), rel=1e-5)
    found = []
    for step in (1e-3, -1e-3):
        trainer.weights = weights + step * direction
        found.append(trainer.squares())
    trainer.weights = weights
    assert (found[0] - found[1]) / 2e-3 == pytest.approx(-2 * vector @ direction, rel=1e-3)


def test_steps_of_gauss_and_newton_go_down(trainer):
    """Each lowers the squares, and soon their slope is a small part of that before."""
    start, damping, squares = trainer.weights, trainer.damping, [trainer.squares()]
    slope = np.linalg.norm(trainer.normal_equations()[1])
    for _ in range(12):
        trainer.gauss_newton()
        squares.append(trainer.squares())
    assert (np.diff(squares) < 0).all()
    assert np.linalg.norm(trainer.normal_equations()[1]) < 0.05 * slope
    trainer.weights, trainer.damping = start, damping


def test_training_in_torch_is_that_in_numpy(trainer, alloys):
    """The code that a GPU runs, on torch's CPU device: an epoch and a step of Gauss-Newton from one start."""
    in_torch = untrained(alloys[:10], lambda data: data.on_torch("cpu"))
    for one in (trainer, in_torch):
        one.epoch(one.predict()[1])
        one.gauss_newton()
    np.testing.assert_allclose(in_torch.weights.numpy(), trainer.weights, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(trainer.predict(), in_torch.predict(), strict=True):
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-4, atol=1e-4)


def test_batches_in_torch_agree_with_the_kernels(fitted, alloys, monkeypatch):
    """The code that a GPU runs, on torch's CPU device, in several batches: 1e-6 relative."""
    from mlip_bench.potentials.nnp import on_torch

    monkeypatch.setattr(on_torch, "TRIPLES_PER_BATCH", 3000)
    squeezed = alloys[0].copy()
    squeezed.set_cell(squeezed.cell.array * 0.9, scale_atoms=True)
    structures = [*alloys[:4], Atoms("Cu"), squeezed]
    for ours, theirs in zip(fitted._predict(structures), fitted._in_batches(structures, "cpu"), strict=True):
        assert theirs.energy == pytest.approx(ours.energy, rel=1e-6)
        np.testing.assert_allclose(theirs.forces, ours.forces, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(theirs.stress, ours.stress, rtol=1e-6, atol=1e-10)
        np.testing.assert_allclose(theirs.energies, ours.energies, rtol=1e-6)
        assert theirs.n_extrapolating == ours.n_extrapolating


def test_torch_keeps_its_list_as_the_kernels_do(fitted, alloys):
    stepping = Stepping(0.6)
    kept, anew = fitted._on_torch("cpu").one_by_one(stepping), fitted._on_torch("cpu")
    for seed in range(3):
        atoms = alloys[3].copy()
        atoms.rattle(0.05, seed=seed)
        (expected,) = anew([atoms])
        found = kept(atoms)
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)
        np.testing.assert_allclose(found.stress, expected.stress, atol=1e-12)
        assert found.energy == pytest.approx(expected.energy, abs=1e-12)
    assert stepping.n_builds == 1


def test_gradients_by_edges_in_torch_are_those_of_the_kernels(fitted, alloys):
    atoms = alloys[3]
    ours, theirs = fitted._edge_stepper(Stepping())(atoms), fitted._on_torch("cpu").with_edges(atoms)
    np.testing.assert_allclose(theirs.prediction.forces, ours.prediction.forces, rtol=1e-6, atol=1e-9)
    velocities = np.random.default_rng(0).normal(size=(len(atoms), 3))
    fluxes = []
    for edges in (ours, theirs):
        flux = EdgeFlux(lambda _, edges=edges: edges)
        flux.predict(atoms)
        fluxes.append(flux.potential_flux(velocities))
    np.testing.assert_allclose(fluxes[1], fluxes[0], rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 5])
def test_filter_solves_a_linear_problem_as_ridge_regression_does(batch):
    """Without noise and at a fixed rate the filter is recursive least squares, in any batches."""
    generator = np.random.default_rng(2)
    gradients, targets = generator.normal(size=(20, 6)), generator.normal(size=20)
    kalman = Kalman(np.eye(6) / 0.1, q0=0.0, q_min=0.0, eta0=0.7, eta_max=0.7)
    weights = np.zeros(6)
    for begin in range(0, 20, batch):
        part = gradients[begin : begin + batch]
        weights += kalman.update(part, targets[begin : begin + batch] - part @ weights)
    expected = np.linalg.solve(0.7 * gradients.T @ gradients + 0.1 * np.eye(6), 0.7 * gradients.T @ targets)
    np.testing.assert_allclose(weights, expected, atol=1e-10)


def test_covariance_stays_symmetric_and_positive():
    """Observations of large weight, many times: an update that lost symmetry made the filter diverge."""
    generator = np.random.default_rng(3)
    kalman = Kalman(np.eye(40) / 0.01, threads=None)
    for _ in range(300):
        kalman.update(100 * generator.normal(size=(16, 40)), generator.normal(size=16))
    np.testing.assert_allclose(kalman.covariance, kalman.covariance.T, atol=1e-12)
    assert np.linalg.eigvalsh(kalman.covariance)[0] > 0


def test_threads_do_not_change_the_result(alloys):
    """Parts of the covariance are the same on any number of cores."""
    generator = np.random.default_rng(4)
    observations = [(generator.normal(size=(16, 50)), generator.normal(size=16)) for _ in range(5)]
    found = []
    for n_threads in (1, 3):
        with ThreadPoolExecutor(n_threads) as threads:
            kalman = Kalman(np.eye(50), threads=threads)
            found.append([kalman.update(*observation) for observation in observations])
    np.testing.assert_array_equal(found[0], found[1])


def test_training_learns(alloys):
    """More epochs bring a smaller error on structures that were not trained on."""
    errors = []
    for epochs in (1, 12):
        potential = NNP(**SMALL, epochs=epochs, gauss_newton_steps=0).fit(alloys[:18])
        errors.append(summary(comparison(alloys[18:], potential.predict(alloys[18:])))["force_rmse"])
    assert errors[1] < 0.8 * errors[0]


def test_gauss_newton_learns_alone(alloys):
    """With no epochs of the filter the other optimiser trains; it beats its own start by far."""
    errors = []
    for steps in (1, 15):
        potential = NNP(**SMALL, epochs=0, gauss_newton_steps=steps).fit(alloys[:18])
        errors.append(summary(comparison(alloys[:18], potential.predict(alloys[:18])))["force_rmse"])
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("stop", ["epoch 3", "Gauss-Newton 2"])
def test_a_killed_fit_goes_on_to_the_same_result(stop, alloys, tmp_path, monkeypatch):
    """Stopped in either stage and fitted again with its checkpoint: the result of an undisturbed fit."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    settings = SMALL | {"epochs": 6, "gauss_newton_steps": 4}
    undisturbed = NNP(**settings).fit(alloys[:12], seed=3)

    def stop_there(share, message):
        if message.startswith(stop):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NNP(**settings).fit(alloys[:12], seed=3, progress=stop_there, checkpoint=tmp_path)
    again = []
    resumed = NNP(**settings).fit(
        alloys[:12], seed=3, progress=lambda share, message: again.append(message), checkpoint=tmp_path
    )
    steps = [f"epoch {k}" for k in range(1, 7)] + [f"Gauss-Newton {k}" for k in range(1, 5)]
    done = [message.split(":")[0] for message in again if ":" in message]
    assert done == steps[steps.index(stop) :] or done == steps[steps.index(stop) + 1 :]
    one, other = undisturbed.predict(alloys[:1])[0], resumed.predict(alloys[:1])[0]
    assert one.energy == other.energy


def test_atoms_outside_the_training_range_are_counted(fitted, alloys):
    assert all(prediction.n_extrapolating == 0 for prediction in fitted.predict(alloys[:18]))
    squeezed = alloys[0].copy()
    squeezed.set_cell(squeezed.cell.array * 0.8, scale_atoms=True)
    assert fitted.predict([squeezed])[0].n_extrapolating == len(squeezed)


def test_files_of_n2p2_are_read_back(fitted, tmp_path, alloys):
    fitted.save(tmp_path)
    again = load(tmp_path / "input.nn")
    assert again.elements_ == ("Au", "Cu")
    assert again.hypers.hidden == [7, 5]
    for one, other in zip(fitted.predict(alloys[:2]), again.predict(alloys[:2]), strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-9)


def test_functions_follow_the_data_where_nobody_names_them(fitted):
    layout = tables(choice.wanted(fitted.hypers, fitted.elements_, [bulk("Cu")]), fitted.elements_)
    # Three η, three shifts, two neighbours; three η, three ζ, two λ, three pairs.
    assert layout.n_inputs == (18 + 54, 18 + 54)


def test_functions_that_hardly_vary_are_left_out(alloys):
    """η of 20 Å⁻² sees nothing at the distances of metals: scaled, the least surprise would blow it up."""
    settings = SMALL | {"radial_etas": [0.05, 20.0], "angular_etas": [0.05, 20.0], "epochs": 1}
    fitted = NNP(**settings).fit(alloys[:18])
    functions = [*fitted.functions_.radial, *fitted.functions_.angular]
    assert {f.eta for f in fitted.functions_.angular} == {0.05}
    assert 0 < len(functions) < 72
    for low, high in zip(fitted.ranges_.low, fitted.ranges_.high, strict=True):
        assert (high - low >= fitted.hypers.least_range).all()


def test_a_perfect_crystal_keeps_its_functions():
    """One environment only, so every function is flat: the fit still works."""
    atoms = labelled(bulk("Cu", cubic=True), -14.0, np.zeros((4, 3)), None)
    fitted = NNP(**SMALL, epochs=1, gauss_newton_steps=0).fit([atoms])
    assert np.isfinite(fitted.predict([atoms])[0].energy)


def test_the_functions_kept_explain_the_others(alloys):
    structures = alloys[:18]
    settings = SMALL | {"epochs": 1, "gauss_newton_steps": 0}
    everything = NNP(**settings).fit(structures)
    few = NNP(**settings, n_functions=6).fit(structures)
    assert tables(few.functions_, few.elements_).n_inputs == (6, 6)
    assert few.networks_[0].n_inputs == 6
    layout = tables(everything.functions_, everything.elements_)
    described = [descriptors(atoms, layout, derive=False) for atoms in structures]
    for species, functions in enumerate(layout.order):
        rows = [one.values[one.species == species, : len(functions)] for one in described]
        scaled = np.concatenate(rows) * everything.ranges_.factors[species]
        scaled -= scaled.mean(0)
        of_few = {*few.functions_.radial, *few.functions_.angular}
        kept = [index for index, function in enumerate(functions) if function in of_few]

        def unexplained(columns, scaled=scaled):
            coefficients = np.linalg.lstsq(scaled[:, columns], scaled, rcond=None)[0]
            return np.sum((scaled - scaled[:, columns] @ coefficients) ** 2)

        generator = np.random.default_rng(0)
        by_chance = [generator.choice(len(functions), 6, replace=False) for _ in range(20)]
        assert unexplained(kept) < np.median([unexplained(columns) for columns in by_chance])


def test_of_functions_that_are_nearly_the_same_one_is_kept(alloys):
    """By their own sizes alone, without what the others explain, both would be."""
    settings = SMALL | {"radial_etas": [0.3, 0.3001], "angular_etas": [0.05], "epochs": 1}
    few = NNP(**settings, n_functions=12).fit(alloys[:18])
    radial = [(f.centre, f.neighbour, f.shift) for f in few.functions_.radial]
    assert len(radial) == len(set(radial)) > 4


def test_truncated_weights(fitted, tmp_path):
    fitted.save(tmp_path)
    path = tmp_path / "weights.029.data"
    path.write_text("\n".join(path.read_text().splitlines()[:50]))
    with pytest.raises(UserError, match=r"weights.029.data: \d+ weights and \d+ biases, but"):
        load(tmp_path)


def test_fewer_functions_than_weights(fitted, tmp_path):
    fitted.save(tmp_path)
    path = tmp_path / "input.nn"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match=r"scaling.data: 59 symmetry functions of Cu, but input.nn has 58"):
        load(tmp_path)


def test_unsupported_function(fitted, tmp_path):
    fitted.save(tmp_path)
    path = tmp_path / "input.nn"
    path.write_text(path.read_text().replace(" 3 Au Au ", " 4 Au Au "))
    with pytest.raises(UserError, match="symmetry function of type 4"):
        load(tmp_path)


def test_elements_that_the_network_lacks(fitted):
    with pytest.raises(UserError, match="knows Au, Cu, not Ag"):
        fitted.predict([bulk("Ag")])
