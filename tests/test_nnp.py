"""NNP against the published potential, torch, finite differences, and n2p2's files."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import has_mlearn

from mlip_bench.data import records, voigt
from mlip_bench.errors import UserError
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials import load
from mlip_bench.potentials.nnp import NNP, fitting
from mlip_bench.potentials.nnp.geometry import Neighbourhood, tables
from mlip_bench.potentials.nnp.model import Evaluator
from mlip_bench.potentials.nnp.training import Kalman, Network

SMALL = {"cutoff": 4.2, "radial_shifts": [0.0, 1.5, 3.0], "zetas": [1.0, 2.0, 16.0], "hidden": [7, 5]}
PUBLISHED = Path(os.environ.get("MLIP_BENCH_DATA", "nowhere")).parent / "published" / "Mo" / "nnp"


@pytest.fixture(scope="module")
def fitted(alloys):
    return NNP(**SMALL, epochs=4).fit(alloys[:18])


@pytest.mark.skipif(
    not (has_mlearn() and PUBLISHED.is_dir()),
    reason="no published n2p2 potential beside MLIP_BENCH_DATA: its errors are not checked",
)
def test_published_potential_gives_the_published_errors():
    """reference/zuo2020.md 5.2, NNP of Mo on the mlearn test split."""
    test = records.load("mlearn", "Mo").test
    errors = summary(comparison(test, load(PUBLISHED / "input.nn").predict(test)))
    assert errors["energy_mae"] == pytest.approx(3.646, abs=5e-4)
    assert errors["force_mae"] == pytest.approx(125.1, abs=0.05)
    assert errors["force_rmse"] == pytest.approx(203.6, abs=0.05)


def test_kernels_agree_with_torch(fitted, alloys):
    """Energy, forces and stress of two elements, from an independent list and automatic differentiation."""
    from mlip_bench.potentials.nnp.reference import energy_forces_stress

    for atoms in alloys[18:20]:
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
        one, other = kept(atoms), fitted.predict([atoms])[0]
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
    """What the filter is given: derivatives of an energy and of a slope by every weight."""
    generator = np.random.default_rng(1)
    network = Network(4, (5, 3))
    network.randomise(generator)
    inputs, directions = generator.normal(size=(6, 4)), generator.normal(size=(6, 4))
    by_energy = network.energy_gradient(inputs)
    slope, by_slope = network.slope_gradient(inputs, directions)
    assert slope == pytest.approx(float((network.energies(inputs)[1] * directions).sum()))
    start, step = network.weights.copy(), 1e-6
    for index in range(network.n_weights):
        energies, slopes = [], []
        for sign in (1, -1):
            network.weights = start.copy()
            network.weights[index] += sign * step
            energies.append(network.energies(inputs)[0].sum())
            slopes.append((network.energies(inputs)[1] * directions).sum())
        assert by_energy[index] == pytest.approx((energies[0] - energies[1]) / (2 * step), abs=1e-7)
        assert by_slope[index] == pytest.approx((slopes[0] - slopes[1]) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("batch", [1, 5])
def test_filter_solves_a_linear_problem_as_ridge_regression_does(batch):
    """Without noise and at a fixed rate the filter is recursive least squares, in any batches."""
    generator = np.random.default_rng(2)
    gradients, targets = generator.normal(size=(6, 20)), generator.normal(size=20)
    kalman = Kalman(6, epsilon=0.1, q0=0.0, q_min=0.0, eta0=0.7, eta_max=0.7)
    weights = np.zeros(6)
    for begin in range(0, 20, batch):
        part = gradients[:, begin : begin + batch]
        weights += kalman.update(part, targets[begin : begin + batch] - part.T @ weights)
    expected = np.linalg.solve(0.7 * gradients @ gradients.T + 0.1 * np.eye(6), 0.7 * gradients @ targets)
    np.testing.assert_allclose(weights, expected, atol=1e-10)


def test_training_learns(alloys):
    """More epochs bring a smaller error on structures that were not trained on."""
    errors = []
    for epochs in (1, 12):
        potential = NNP(**SMALL, epochs=epochs).fit(alloys[:18])
        errors.append(summary(comparison(alloys[18:], potential.predict(alloys[18:])))["force_rmse"])
    assert errors[1] < 0.8 * errors[0]


def test_a_killed_fit_goes_on_to_the_same_result(alloys, tmp_path, monkeypatch):
    """Stopped after some epochs and fitted again with its checkpoint: the result of an undisturbed fit."""
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    undisturbed = NNP(**SMALL, epochs=6).fit(alloys[:12], seed=3)
    seen = []

    def stop_after_three(share, message):
        seen.append(message)
        if message.startswith("epoch 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NNP(**SMALL, epochs=6).fit(alloys[:12], seed=3, progress=stop_after_three, checkpoint=tmp_path)
    again = []
    resumed = NNP(**SMALL, epochs=6).fit(
        alloys[:12], seed=3, progress=lambda share, message: again.append(message), checkpoint=tmp_path
    )
    assert [message.split(":")[0] for message in again if "epoch" in message] == [
        "epoch 4",
        "epoch 5",
        "epoch 6",
    ]
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
    layout = tables(fitted.functions_, fitted.elements_)
    # Three η, three shifts, two neighbours; three η, three ζ, two λ, three pairs.
    assert layout.n_inputs == (18 + 54, 18 + 54)


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
    with pytest.raises(UserError, match=r"scaling.data: 72 symmetry functions of Cu, but input.nn has 71"):
        load(tmp_path)


def test_unsupported_function(fitted, tmp_path):
    fitted.save(tmp_path)
    path = tmp_path / "input.nn"
    path.write_text(path.read_text().replace(" 3 Au Au ", " 9 Au Au "))
    with pytest.raises(UserError, match="symmetry function of type 9"):
        load(tmp_path)


def test_elements_that_the_network_lacks(fitted):
    with pytest.raises(UserError, match="knows Au, Cu, not Ag"):
        fitted.predict([bulk("Ag")])
