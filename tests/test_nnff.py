"""NNFF: forces that turn with the structure, against torch, symmetry, and what its axes are said to be."""

import copy
import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.spatial.transform import Rotation

from mlip_bench.data.reference import forces, labelled
from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.nnff import NNFF, covariant_axes, samples, training
from mlip_bench.potentials.nnff.model import Evaluator
from mlip_bench.potentials.nnff.on_torch import TorchEvaluator
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.potentials.symmetry_functions.descriptors import descriptors
from mlip_bench.potentials.symmetry_functions.geometry import tables

SMALL = {
    "cutoff": 4.2,
    "radial_shifts": [0.0, 1.5, 3.0],
    "zetas": [1.0, 2.0, 16.0],
    "hidden": [12, 12],
    "invariant_epochs": 2,
    "epochs": 8,
    "batch": 16,
    "lbfgs_iterations": 50,
}
RANKED = SMALL | {"axes": "ranked", "n_ranked": 5}
EXACT = 1e-12


@pytest.fixture(scope="module")
def moments(alloys):
    return NNFF(**SMALL).fit(alloys[:18])


@pytest.fixture(scope="module")
def ranked(alloys):
    return NNFF(**RANKED).fit(alloys[:18])


@pytest.fixture(scope="module", params=["moments", "ranked"])
def either(request):
    return request.getfixturevalue(request.param)


def predicted(potential, atoms):
    return potential.predict([atoms])[0].forces


def root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(values))))


# -- symmetry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handedness", [1, -1], ids=["rotation", "rotation and inversion"])
def test_forces_turn_with_the_structure(either, alloys, handedness):
    matrix = handedness * Rotation.from_rotvec([0.4, -1.3, 0.8]).as_matrix()
    atoms = alloys[20]
    turned = Atoms(atoms.numbers, atoms.positions @ matrix.T, cell=np.array(atoms.cell) @ matrix.T, pbc=True)
    expected = predicted(either, atoms) @ matrix.T
    assert np.abs(predicted(either, turned) - expected).max() < EXACT * max(1, np.abs(expected).max())


@pytest.mark.parametrize("crystal", ["bcc", "fcc", "diamond"])
def test_a_perfect_crystal_has_no_forces_and_a_rattled_one_has(moments, crystal):
    """No sum is a vector where the symmetry of the site allows none, also without inversion."""
    atoms = bulk("Cu", crystal, a={"bcc": 2.9, "fcc": 3.65, "diamond": 5.4}[crystal], cubic=True).repeat(2)
    assert np.abs(predicted(moments, atoms)).max() < 1e-11
    atoms.rattle(0.1, seed=1)
    assert np.abs(predicted(moments, atoms)).max() > 0.1


def test_moments_are_continuous_where_a_neighbour_leaves(moments):
    """Across the cutoff neither a force nor its derivative jumps."""

    def along(distance):
        pair = Atoms("CuAu", [[0, 0, 0], [distance, 0.3, 0.1]])
        return predicted(moments, pair)[0, 0]

    edge = np.sqrt(SMALL["cutoff"] ** 2 - 0.3**2 - 0.1**2)
    step = 1e-4
    values = np.array([along(edge + step * k) for k in range(-4, 5)])
    assert np.abs(np.diff(values)).max() < 1e-5
    assert np.abs(np.diff(values, 2)).max() < 1e-7
    assert np.ptp([along(edge - 0.5), along(edge)]) > 1e-4


def test_ranked_axes_jump_where_neighbours_change_ranks(ranked, moments):
    """Two atoms change places in the order of distances: the axes jump, and so does the force."""

    def change(potential):
        around = bulk("Cu", cubic=True).repeat(2)
        around.rattle(0.15, seed=4)
        distances = around.get_distances(0, range(1, len(around)), mic=True)
        first, second = 1 + np.argsort(distances)[:2]
        gap = around.get_distance(0, second, mic=True) - around.get_distance(0, first, mic=True)
        away = around.get_distance(0, first, mic=True, vector=True)
        before, after = around.copy(), around.copy()
        for atoms, over in ((before, -1e-7), (after, 1e-7)):
            atoms.positions[first] += away / np.linalg.norm(away) * (gap + over)
        return np.abs(predicted(potential, after)[0] - predicted(potential, before)[0]).max()

    assert change(moments) < 1e-5
    assert change(ranked) > 1e-3


def test_no_net_force_unless_it_is_left_in(alloys, moments):
    assert np.abs(predicted(moments, alloys[20]).sum(axis=0)).max() < EXACT * 10
    left_in = copy.copy(moments)
    left_in.hypers = dataclasses.replace(moments.hypers, remove_net_force=False)
    found = predicted(left_in, alloys[20])
    assert np.abs(found.sum(axis=0)).max() > 1e-3
    # Nothing else differs.
    np.testing.assert_allclose(found - found.mean(axis=0), predicted(moments, alloys[20]), atol=1e-10)


# -- against other code --------------------------------------------------------------------------------------


def test_kernels_agree_with_torch(either, alloys):
    """Torch writes down every function and axis on its own; on GPUs it is what predicts."""
    on_torch = TorchEvaluator(either, "cpu")
    for atoms in alloys[18:22]:
        here, there = either.predict([atoms])[0], on_torch(atoms)
        np.testing.assert_allclose(here.forces, there.forces, atol=1e-11)
        assert here.n_extrapolating == there.n_extrapolating


def test_torch_keeps_its_list_as_the_kernels_do(either, alloys):
    stepping = Stepping(0.6)
    kept, anew = TorchEvaluator(either, "cpu", stepping), TorchEvaluator(either, "cpu")
    for seed in range(3):
        atoms = alloys[18].copy()
        atoms.rattle(0.05, seed=seed)
        np.testing.assert_allclose(kept(atoms).forces, anew(atoms).forces, atol=1e-12)
    assert stepping.n_builds == 1


def test_fingerprints_are_the_symmetry_functions(moments, alloys):
    layout = tables(moments.functions_, moments.elements_)
    for atoms in alloys[18:21]:
        species, values, _ = covariant_axes.described(moments.axes_, atoms)
        expected = descriptors(atoms, layout, derive=False)
        np.testing.assert_array_equal(species, expected.species)
        np.testing.assert_allclose(values, expected.values, rtol=1e-12, atol=1e-14)


def test_moments_are_the_sums_that_they_are_said_to_be(moments, alloys):
    """Two-body axes of one atom, from ASE's neighbour list."""
    from ase.neighborlist import neighbor_list

    atoms, layout = alloys[19], tables(moments.functions_, moments.elements_)
    species, _, found = covariant_axes.described(moments.axes_, atoms)
    i, j, r, d = neighbor_list("ijdD", atoms, layout.cutoff)
    for f, (element, eta, shift, _) in enumerate(layout.radial[species[0]]):
        near = (i == 0) & (species[j] == element)
        terms = np.exp(-eta * (r[near] - shift) ** 2) * 0.5 * (1 + np.cos(np.pi * r[near] / layout.cutoff))
        np.testing.assert_allclose(found[0, f], terms @ (d[near] / r[near, None]), atol=1e-12)


@pytest.mark.parametrize("remove_net_force", [True, False])
def test_training_sees_what_prediction_says(either, alloys, remove_net_force):
    """The trainer's forces, from its own arrays, are those of the kernels, net force taken off or not."""
    axes_of, kept = either.axes_, [network.kept for network in either.networks_]
    parts = [samples.described(axes_of, atoms, kept, either.two_sided) for atoms in alloys[:6]]
    n_inputs = [len(low) for low in either.ranges_.low]
    n_pulls = [len(radial) if either.two_sided else 0 for radial in axes_of.layout.radial]
    scale = samples.scales(samples.joined(parts), n_inputs, list(map(len, kept)), n_pulls)
    data = samples.samples(alloys[:6], parts, axes_of, scale, 2.0, either.hypers.regularisation, "cpu")
    schedule = training.Schedule([12, 12], 0, 1, 16, 1e-3, 0, 1)
    sizes = (n_inputs, list(map(len, kept)), n_pulls)
    trainer = training.Trainer(data, np.zeros(6, bool), *sizes, schedule, 7, remove_net_force)
    batch = trainer._batch(np.array([1, 4]))
    found = 2.0 * trainer._forces(batch, *trainer._outputs(batch)).detach().numpy()
    potential = copy.copy(either)
    potential.hypers = dataclasses.replace(either.hypers, remove_net_force=remove_net_force)
    potential.networks_ = [
        potential._in_units(trainer.network(k, which), k, scale, 2.0) for k, which in enumerate(kept)
    ]
    expected = np.concatenate([predicted(potential, alloys[k]) for k in (1, 4)])
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_killed_fit_goes_on_to_the_same_potential(share, alloys, tmp_path, monkeypatch):
    """In the first stage, in the second, and in L-BFGS."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    settings = SMALL | {"invariant_epochs": 2, "epochs": 4, "lbfgs_iterations": 75}
    told, seen, again = [], [], []
    undisturbed = NNFF(**settings).fit(alloys[:18], progress=lambda *step: told.append(step))
    stop = max(2, round(share * len(told)))  # the first that is told is what the networks see

    def stop_there(*step):
        seen.append(step)
        if len(seen) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NNFF(**settings).fit(alloys[:18], progress=stop_there, checkpoint=tmp_path)
    resumed = NNFF(**settings).fit(
        alloys[:18], progress=lambda *step: again.append(step), checkpoint=tmp_path
    )
    # Nothing was kept of the step at which it was stopped.
    assert [told[0], *told[stop - 1 :]] == again
    assert predicted(resumed, alloys[20]) == pytest.approx(predicted(undisturbed, alloys[20]), abs=1e-9)


def test_a_training_that_explodes_says_so(alloys):
    with pytest.raises(UserError, match="not finite at a learning rate of 1e\\+300"):
        NNFF(**SMALL | {"learning_rate": 1e300, "lbfgs_iterations": 0}).fit(alloys[:18])


def test_a_two_sided_force_knows_what_is_around_the_neighbours(alloys):
    """An atom beyond the cutoff of the first, but not of the second: only then it changes the force."""
    settings = SMALL | {"remove_net_force": False}
    one_sided = NNFF(**settings, two_sided=False).fit(alloys[:18])
    two_sided = NNFF(**settings).fit(alloys[:18])
    chain = Atoms("CuCu", [[0, 0, 0], [2.6, 0, 0]])
    longer = chain + Atoms("Au", [[5.2, 0.3, 0]])

    def change(potential):
        return np.abs(predicted(potential, longer)[0] - predicted(potential, chain)[0]).max()

    assert change(one_sided) == 0
    assert change(two_sided) > 1e-3


def test_dynamics_keep_their_list_and_give_the_same(either, alloys):
    step = Evaluator(either, skin=0.5)
    atoms = alloys[20].repeat(2)
    for _ in range(4):
        atoms.rattle(0.02, seed=3)
        np.testing.assert_allclose(step(atoms).forces, predicted(either, atoms), atol=1e-10)


# -- learning ------------------------------------------------------------------------------------------------


def errors(potential, structures):
    return root_mean_square(
        np.concatenate([predicted(potential, atoms) - forces(atoms) for atoms in structures])
    )


def test_forces_are_learnt(moments, alloys):
    alone = root_mean_square(np.concatenate([forces(atoms) for atoms in alloys[18:]]))
    assert errors(moments, alloys[18:]) < 0.7 * alone


def test_the_invariants_alone_already_say_much_of_the_forces(alloys):
    """After the first stage, of projections, the forces are there: the second goes on from it."""
    alone = root_mean_square(np.concatenate([forces(atoms) for atoms in alloys[18:]]))
    settings = SMALL | {"invariant_epochs": 30, "epochs": 1, "lbfgs_iterations": 0}
    for more in ({}, {"axes": "ranked", "n_ranked": 5}):
        assert errors(NNFF(**(settings | more)).fit(alloys[:18]), alloys[18:]) < 0.9 * alone


def test_projections_turn_back_into_the_vector():
    """(AᵀA + ε 1)⁻¹ Aᵀ (A F) is F but for ε; along what no axis has, it is zero."""
    generator = np.random.default_rng(2)
    many, force = generator.normal(size=(20, 5, 3)), generator.normal(size=(20, 3))
    projections = np.einsum("akx,ax->ak", many, force)
    back = np.einsum("axk,ak->ax", covariant_axes.inverse(many, 1e-10), projections)
    np.testing.assert_allclose(back, force, atol=1e-7)
    flat = many * [1, 1, 0]
    back = np.einsum("axk,ak->ax", covariant_axes.inverse(flat, 1e-10), np.einsum("akx,ax->ak", flat, force))
    np.testing.assert_allclose(back, force * [1, 1, 0], atol=1e-7)
    assert covariant_axes.n_nearly_coplanar(np.concatenate([many, flat])) >= 20


def test_axes_kept_are_those_that_explain_the_others():
    generator = np.random.default_rng(3)
    independent = generator.normal(size=(200, 3, 3))
    mixed = np.einsum("akx,kl->alx", independent, generator.normal(size=(3, 4)))
    vanishing = np.zeros((200, 1, 3))
    everything = np.concatenate([vanishing, independent, mixed], axis=1)
    assert covariant_axes.kept(everything, 0).tolist() == list(range(1, 8))
    few = everything[:, covariant_axes.kept(everything, 3)].transpose(0, 2, 1).reshape(-1, 3)
    rest = everything.transpose(0, 2, 1).reshape(-1, 8)
    left = rest - few @ np.linalg.lstsq(few, rest, rcond=None)[0]
    assert np.abs(left).max() < 1e-10


def test_few_axes_and_functions_are_kept_and_read_back(alloys, tmp_path):
    potential = NNFF(**SMALL, n_axes=8, n_functions=7).fit(alloys[:18])
    assert [len(network.kept) for network in potential.networks_] == [8, 8]
    assert [network.weights[0].shape[0] for network in potential.networks_] == [7, 7]
    potential.save(tmp_path)
    np.testing.assert_array_equal(predicted(load(tmp_path), alloys[20]), predicted(potential, alloys[20]))


def test_atoms_outside_the_range_of_training_are_counted(moments, alloys):
    assert moments.predict([alloys[0]])[0].n_extrapolating == 0
    squeezed = alloys[0].copy()
    squeezed.set_cell(squeezed.cell * 0.8, scale_atoms=True)
    assert moments.predict([squeezed])[0].n_extrapolating == len(squeezed)


# -- what is refused, and what is said -----------------------------------------------------------------------


def test_ranked_axes_need_three_neighbours(alloys):
    pair = labelled(Atoms("CuAu", [[0, 0, 0], [2.5, 0, 0]]), None, np.zeros((2, 3)), None)
    with pytest.raises(
        UserError, match=r"structure 5 .*has an atom with 1 neighbours within 4\.2 Å.*moments"
    ):
        NNFF(**RANKED).fit([*alloys[:4], pair])


def test_nearly_coplanar_axes_are_counted(alloys):
    flat = Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [2.5, 2.5, 0]], cell=[5, 5, 15], pbc=True)
    flat = labelled(flat, None, np.zeros((4, 3)), None)
    potential = NNFF(**RANKED).fit([*alloys[:4], flat])
    assert any("ranked axes of 4 of 36 training atoms lie nearly in a plane" in n for n in potential.notes_)


@pytest.mark.parametrize(
    ("name", "value"),
    [("axes", "ranks"), ("n_ranked", 2), ("regularisation", 0.0), ("hidden", [0]), ("epochs", -1)],
)
def test_hyper_parameters_out_of_range(name, value):
    with pytest.raises(UserError, match=name):
        NNFF(**{name: value})


@pytest.mark.parametrize("settings", [{"n_ranked": 5}, {"axes": "ranked", "n_axes": 8}])
def test_a_setting_of_the_other_axes_is_refused(settings):
    """It would change nothing, and nobody would know."""
    with pytest.raises(UserError, match="is for axes = "):
        NNFF(**settings)


def test_a_fit_beyond_memory_is_refused_in_a_sentence(alloys, monkeypatch):
    monkeypatch.setattr("mlip_bench.potentials.memory.available_bytes", lambda: 1e4)
    with pytest.raises(UserError, match=r"nnff: this fit needs about .* of memory .*nnff\.n_axes"):
        NNFF(**SMALL).fit(alloys[:4])
