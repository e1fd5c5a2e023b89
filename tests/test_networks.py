"""What families of networks share: graphs, gradients, losses, training, prediction."""

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers

from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.potentials.leignn import LEIGNN, LEIGNNGradient
from mlip_bench.potentials.networks import losses, training
from mlip_bench.potentials.networks.averaging import MovingAverage
from mlip_bench.potentials.networks.batches import batches, shared
from mlip_bench.potentials.networks.evaluation import Evaluator
from mlip_bench.potentials.networks.graphs import inverted, joined, labelled_graph
from mlip_bench.potentials.networks.network import GradientNetwork
from mlip_bench.potentials.networks.schedule import Schedule
from mlip_bench.potentials.networks.training import Trainer
from mlip_bench.potentials.sevennet import SevenNet, SevenNetDirect
from mlip_bench.testing.lennard_jones import LennardJones

SMALL = {"channels": 2, "lmax": 2, "layers": 2, "cutoff": 4.0, "steps": 8, "atoms_per_step": 32}
SCHEDULE = Schedule(
    steps=60,
    minutes=0.0,
    atoms_per_step=32,
    learning_rate=0.05,
    huber_delta=0.1,
    energy_weight=1.0,
    late_energy_weight=1.0,
    force_weight=1.0,
    stress_weight=0.0,
    gradient_weight=0.0,
    averaging=0.5,
)


class Pairs(GradientNetwork):
    """Energies that are a sum over pairs: a width and a depth of each element."""

    def __init__(self):
        super().__init__()
        self.depth = torch.nn.Parameter(torch.full((119,), 0.3))
        self.width = torch.nn.Parameter(torch.full((119,), 1.2))

    def energies(self, graphs):
        """Return Gaussians of the distances."""
        of_centres = graphs.numbers[graphs.centres]
        lengths = graphs.vectors.norm(dim=1)
        return graphs.sum_by_centre(
            self.depth[of_centres] * torch.exp(-((lengths / self.width[of_centres]) ** 2))
        )


@pytest.fixture(scope="module")
def graphs(alloys):
    return [labelled_graph(atoms, 5.0) for atoms in alloys[:8]]


# -- graphs --------------------------------------------------------------------------------------------


def test_forces_and_stress_are_those_of_a_pair_potential(alloys):
    """Lennard-Jones with energies from one place, derivatives from another, many structures at once."""
    pairs = LennardJones.of(["Au", "Cu"], cutoff=4.5, onset=3.5)

    class Wrapped(GradientNetwork):
        def energies(self, graphs):
            return pairs.energies_of_atoms(graphs)

    whole = joined([labelled_graph(atoms, 4.5, torch.float64) for atoms in alloys[:3]])
    output = Wrapped().eval()(whole)
    for axis in range(3):
        moved = [atoms.copy() for atoms in alloys[:3]]
        slopes = []
        for sign in (1, -1):
            for atoms, original in zip(moved, alloys, strict=False):
                atoms.positions = original.positions.copy()
                atoms.positions[2, axis] += sign * 1e-4
                atoms.calc = original.calc
            graph = joined([labelled_graph(atoms, 4.5, torch.float64) for atoms in moved])
            slopes.append(graph.sum_by_structure(pairs.energies_of_atoms(graph)))
        numerical = -(slopes[0] - slopes[1]) / 2e-4
        torch.testing.assert_close(output.forces[[2, 10, 18], axis].detach(), numerical, atol=1e-6, rtol=1e-6)
    strained = []
    for sign in (1, -1):
        atoms = alloys[1].copy()
        atoms.calc = alloys[1].calc
        cell = np.array(atoms.cell)
        deformation = np.eye(3)
        deformation[0, 1] += sign * 5e-5
        deformation[1, 0] += sign * 5e-5
        atoms.set_cell(cell @ deformation, scale_atoms=True)
        strained.append(float(pairs.energies_of_atoms(labelled_graph(atoms, 4.5, torch.float64)).sum()))
    numerical = (strained[0] - strained[1]) / (2e-4 * alloys[1].get_volume())
    assert float(output.stresses[1, 5]) == pytest.approx(numerical, abs=1e-7)


def test_graphs_side_by_side_are_the_same_graphs(graphs):
    whole = joined(graphs[:3])
    assert whole.structure.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    first = len(graphs[0].centres)
    np.testing.assert_array_equal(whole.neighbours[:first], graphs[0].neighbours)
    last = len(graphs[2].centres)
    np.testing.assert_array_equal(whole.neighbours[-last:], graphs[2].neighbours + 16)
    np.testing.assert_array_equal(whole.vectors[-last:], graphs[2].vectors)


def test_structures_are_shown_inverted(graphs):
    """Edges and forces of a structure turn together, or neither; all else stays."""
    whole = joined(graphs[:2])
    after = inverted(whole, torch.tensor([1.0, -1.0]))
    first = len(graphs[0].centres)
    torch.testing.assert_close(after.vectors[:first], whole.vectors[:first])
    torch.testing.assert_close(after.vectors[first:], -whole.vectors[first:])
    torch.testing.assert_close(after.forces, whole.forces * torch.tensor([1.0] * 8 + [-1.0] * 8)[:, None])
    torch.testing.assert_close(after.energies, whole.energies)
    torch.testing.assert_close(after.stresses, whole.stresses)


@pytest.mark.parametrize("kind", [LEIGNN, LEIGNNGradient])
def test_clusters_without_a_cell_train_beside_crystals(kind, alloys):
    """They have no volume and no stress, and their NaN once was in the gradient of every weight."""
    cluster = Atoms("Cu3", [[0, 0, 0], [2.3, 0, 0], [0, 2.4, 0.3]])
    bare = labelled_graph(labelled(cluster, -1.0, np.zeros((3, 3)), None), 4.0)
    whole = joined([labelled_graph(alloys[0], 4.0), bare])
    potential = kind(channels=4, layers=1, cutoff=4.0, steps=1, atoms_per_step=32).fit(alloys[:4])
    network = potential.network_.train()
    weights = losses.Weights(1.0, 1.0, 0.01, 0.0, 0.1)
    losses.loss(network(whole), whole, weights, losses.Counts.of(whole)).backward()
    assert all(one.grad is None or torch.isfinite(one.grad).all() for one in network.parameters())
    assert any(one.grad is not None and one.grad.abs().max() > 0 for one in network.parameters())


# -- losses and steps ----------------------------------------------------------------------------------


def test_losses_of_parts_add_up(graphs):
    """However a step is shared among cores, and with structures that have no stress."""
    network = Pairs().train()
    bare = copy.copy(graphs[1])
    object.__setattr__(bare, "stresses", torch.full((1, 6), torch.nan))
    weights = losses.Weights(1.0, 2.0, 0.01, 0.0, 0.1)
    members = [graphs[0], bare, graphs[2]]
    whole = joined(members)
    counts = losses.Counts.of(whole)
    assert counts == losses.Counts(3, 72, 12)
    assert losses.total([losses.Counts.of(one) for one in members]) == counts
    together = losses.loss(network(whole), whole, weights, counts)
    apart = sum(losses.loss(network(one), one, weights, counts) for one in members)
    assert float(apart.detach()) == pytest.approx(float(together.detach()), rel=1e-5)


def test_a_loss_by_hand():
    """One atom in a cell of 10 Å³: every number of the formula can be told."""
    atoms = labelled(
        Atoms("Cu", cell=np.eye(3) * 10 ** (1 / 3), pbc=True), 1.0, np.zeros((1, 3)), np.zeros(6)
    )
    graph = labelled_graph(atoms, 2.0)
    output = losses.Output(
        torch.tensor([1.05]),
        torch.tensor([[0.3, 0.0, 0.0]]),
        torch.tensor([[1.0, 0, 0, 0, 0, 0]]) / 16021.766,
    )
    weights = losses.Weights(energy=2.0, force=3.0, stress=5.0, gradient=0.0, huber_delta=0.1)
    expected = 2 * 0.05**2 / 2 + 3 * 0.1 * (0.3 - 0.05) / 3 + 5 * 0.1**2 / 2 / 6
    found = losses.loss(output, graph, weights, losses.Counts.of(graph))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_batches_have_about_so_many_atoms_and_miss_nothing():
    sizes = [8, 54, 16, 30, 2, 100, 1]
    drawn = batches(sizes, 60, seed=1)
    seen = [next(drawn) for _ in range(40)]
    counts = [sum(sizes[one] for one in batch) for batch in seen]
    assert np.mean(counts) == pytest.approx(60, rel=0.25)
    assert max(counts) <= 100 + 60
    order = [one for batch in seen for one in batch]
    for start in range(0, len(order) - 7, 7):
        assert sorted(order[start : start + 7]) == list(range(7))
    later = batches(sizes, 60, seed=1, skipped=30)
    assert [next(later) for _ in range(10)] == seen[30:]


def test_a_batch_is_shared_evenly():
    costs = [5, 1, 1, 1, 1, 1, 9]
    parts = shared(list(range(7)), costs, 2)
    assert sorted(one for part in parts for one in part) == list(range(7))
    assert sorted(sum(costs[one] for one in part) for part in parts) == [9, 10]
    assert shared([3], costs, 2) == [[3]]


@pytest.mark.parametrize("kind", [SevenNet, SevenNetDirect])
def test_two_threads_train_as_one(kind, alloys, monkeypatch):
    """Derivatives of parts that are computed at the same time add up to those of the whole step."""
    found = []
    for cores in ([0], [0, 1]):
        monkeypatch.setattr("mlip_bench.potentials.networks.potential.available_cores", lambda n=cores: n)
        found.append(kind(**SMALL).fit(alloys[:12]).predict(alloys[12:14]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-3)
        assert one.energy == pytest.approx(other.energy, abs=1e-3)


# -- training ------------------------------------------------------------------------------------------


def test_training_finds_the_parameters_of_its_own_data(graphs):
    """Data of the same form with other parameters: they are found."""
    truth = Pairs()
    with torch.no_grad():
        truth.depth[atomic_numbers["Au"]], truth.width[atomic_numbers["Au"]] = 0.5, 1.5
        truth.depth[atomic_numbers["Cu"]], truth.width[atomic_numbers["Cu"]] = 0.4, 1.3
    known = []
    for graph in graphs:
        output = truth(graph)
        known.append(copy.copy(graph))
        object.__setattr__(known[-1], "forces", output.forces.detach())
        object.__setattr__(known[-1], "energies", output.energies.detach().sum()[None])
    network, told = Pairs(), []
    schedule = Schedule(**(vars(SCHEDULE) | {"steps": 400}))
    trainer = Trainer(network, known, [], schedule, 0, "cpu", 1)
    trainer.run(None, lambda share, message: told.append((share, message)))
    assert told[-1][0] == 1.0
    copper = atomic_numbers["Cu"]
    assert float(network.width.detach()[copper]) == pytest.approx(1.3, abs=0.02)
    assert float(network.depth.detach()[copper]) == pytest.approx(0.4, abs=0.04)


def test_training_for_a_time(graphs):
    trainer = Trainer(
        Pairs(), graphs, [], Schedule(**(vars(SCHEDULE) | {"minutes": 0.02, "steps": 10**9})), 0, "cpu", 1
    )
    trainer.run(None, lambda *_: None)
    assert trainer._state.seconds >= 1.2
    assert trainer._state.step > 1


def test_the_best_weights_on_structures_held_out_are_kept(graphs):
    """With a rate that is far too large the last weights are not the best."""
    schedule = Schedule(**(vars(SCHEDULE) | {"learning_rate": 1.0, "averaging": 0.0}))
    network = Pairs()
    trainer = Trainer(network, graphs, [0, 1], schedule, 0, "cpu", 1)
    trainer.run(None, lambda *_: None)
    energy, force = training.errors(network, graphs[:2], "cpu")
    assert energy * force == pytest.approx(trainer._state.best, rel=1e-5)


@pytest.mark.parametrize("kind", [SevenNet, SevenNetDirect])
def test_a_killed_fit_goes_on_to_the_same_result(kind, alloys, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    undisturbed = kind(**SMALL).fit(alloys[:8], seed=3)

    def stop(share, message):
        if share >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kind(**SMALL).fit(alloys[:8], seed=3, progress=stop, checkpoint=tmp_path)
    again = []
    resumed = kind(**SMALL).fit(
        alloys[:8], seed=3, progress=lambda share, message: again.append(share), checkpoint=tmp_path
    )
    assert min(again) >= 0.5
    one, other = undisturbed.predict(alloys[:1])[0], resumed.predict(alloys[:1])[0]
    assert one.energy == other.energy
    np.testing.assert_array_equal(one.forces, other.forces)


class Explosive(Pairs):
    """A network whose energies are not a number once its weights have gone too far."""

    def energies(self, graphs):
        """Return those of pairs, or NaN."""
        far = (self.depth - 0.3).abs().max() > 0.35
        return super().energies(graphs) * (torch.nan if far else 1.0)


def test_a_loss_that_is_not_finite_halves_the_rate_and_is_told_once(graphs):
    told = []
    schedule = Schedule(**(vars(SCHEDULE) | {"learning_rate": 0.3}))
    network = Explosive()
    trainer = Trainer(network, graphs, [], schedule, 0, "cpu", 1)
    trainer.run(None, lambda share, message: told.append(message))
    (note,) = trainer.notes
    assert "the loss was not finite at step" in note
    assert told.count(note) == 1
    assert trainer._state.rate_share < 1
    assert all(torch.isfinite(one).all() for one in network.parameters())


def test_a_loss_that_is_never_finite_is_a_sentence(graphs):
    network = Pairs()
    with torch.no_grad():
        network.width.fill_(torch.nan)
    with pytest.raises(UserError, match="loss of the training is not finite, at a learning rate of"):
        Trainer(network, graphs, [], SCHEDULE, 0, "cpu", 1).run(None, lambda *_: None)


def test_the_average_lags_and_gives_the_weights_back():
    model = torch.nn.Linear(2, 1)
    start = model.weight.detach().clone()
    averaged = MovingAverage(model, 0.9)
    with torch.no_grad():
        model.weight += 1.0
    averaged.update(1000)
    with averaged.in_place_of(model):
        assert torch.allclose(model.weight, start + 0.1)
    assert torch.allclose(model.weight, start + 1.0)


def test_a_short_training_forgets_where_it_began():
    """Of 60 steps at a decay of 0.99 more than half of the first weights once were in what was kept."""
    model = torch.nn.Linear(2, 1)
    start = model.weight.detach().clone()
    averaged = MovingAverage(model, 0.99)
    with torch.no_grad():
        model.weight += 1.0
    for step in range(60):
        averaged.update(step)
    assert torch.allclose(averaged.weights["weight"], start + 1.0, atol=1e-6)


def test_data_without_neighbours_is_refused():
    atoms = labelled(Atoms("Cu2", [[0, 0, 0], [9, 0, 0]]), 0.0, np.zeros((2, 3)), None)
    with pytest.raises(UserError, match="sevennet: no two atoms of the data are within the cutoff of 4 Å"):
        SevenNet(**SMALL).fit([atoms])


def test_one_atom_is_a_structure_to_train_on():
    """In a small cell it has neighbours, its own images; a step of it alone is a step."""
    atoms = labelled(bulk("Cu"), -0.1, np.zeros((1, 3)), np.zeros(6))
    fitted = SevenNet(**SMALL | {"atoms_per_step": 1, "steps": 3}).fit([atoms])
    assert np.isfinite(fitted.predict([atoms])[0].energy)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("steps", 0, "steps = 0: without a checkpoint there must be training"),
        ("minutes", -1.0, "minutes = -1.0: must be at least 0"),
        ("atoms_per_step", 0, "atoms_per_step = 0: must be at least 1"),
        ("learning_rate", 0.0, "learning_rate = 0.0: must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused(name, value, told):
    with pytest.raises(UserError, match=told):
        SevenNet(**{name: value})


# -- memory of a GPU -----------------------------------------------------------------------------------


class Full(GradientNetwork):
    """A network whose memory holds so many structures."""

    def __init__(self, network, most):
        super().__init__()
        self.network, self.most = network, most

    def energies(self, graphs):
        """Compute, or run out of memory."""
        if len(graphs) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network.energies(graphs)


def test_training_goes_on_in_smaller_parts_when_memory_is_full(graphs):
    """The gradients stay the same."""
    gradients = []
    for most, expected in ((4, 1), (1, 4)):
        network = Full(Pairs(), most)
        trainer = Trainer(network, graphs[:4], [], SCHEDULE, 0, "cpu", 1)
        with training.ThreadPoolExecutor(1) as pool:
            trainer._add_gradients([0, 1, 2, 3], SCHEDULE.weights(0.0), pool, lambda *_: None)
        assert trainer._n_parts == expected
        gradients.append(torch.cat([one.grad for one in network.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)
    trainer = Trainer(Full(Pairs(), 0), graphs[:4], [], SCHEDULE, 0, "cpu", 1)
    with pytest.raises(UserError, match="memory of cpu is too small for 8 atoms"):
        trainer.run(None, lambda *_: None)


def test_prediction_goes_on_by_halves_when_memory_is_full(alloys):
    network = Pairs().eval()
    expected = Evaluator(network, 4.0, 0.0, "cpu", torch.float32).batch(alloys[:3])
    with pytest.warns(RuntimeWarning, match="GPU memory is full: 1 structures"):
        found = Evaluator(Full(network, 1).eval(), 4.0, 0.0, "cpu", torch.float32).batch(alloys[:3])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)
    with pytest.raises(UserError, match="too small for"):
        Evaluator(Full(network, 0).eval(), 4.0, 0.0, "cpu", torch.float32).batch(alloys[:1])
