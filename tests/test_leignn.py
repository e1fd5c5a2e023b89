"""LEIGNN against its formulas by hand, its symmetries, and its kernels against torch."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.leignn import LEIGNN, LEIGNNGradient, messages
from mlip_bench.potentials.leignn.network import DirectLEIGNN, GradientLEIGNN
from mlip_bench.potentials.leignn.shape import Shape
from mlip_bench.potentials.networks.graphs import joined, labelled_graph
from mlip_bench.potentials.networks.scales import Scales

CUTOFF = 4.0
SCALES = Scales(force=1.7, neighbours=12.0, isotropic=0.8, shift=-0.3, anisotropic=0.6)
SMALL = {"channels": 4, "layers": 2, "radial": 8, "cutoff": CUTOFF, "steps": 4, "atoms_per_step": 32}
KINDS = [("nmu", True), ("nmu", False), ("painn", True), ("painn", False)]


def network(update="nmu", global_node=True, *, direct=True, channels=10, layers=2, cutoff=CUTOFF):
    """Return a network of random weights, biases too, in double precision; ten channels fill no vector."""
    torch.manual_seed(1)
    shape = Shape(cutoff, channels, layers, radial=8, update=update, global_node=global_node)
    made = DirectLEIGNN(shape, SCALES, True) if direct else GradientLEIGNN(shape, SCALES)
    for name, weights in made.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(weights, std=0.3)
    return made.double().eval()


def graph_of(atoms, cutoff=CUTOFF):
    return labelled_graph(atoms, cutoff, torch.float64)


# -- by hand -------------------------------------------------------------------------------------------


def act(y):
    return y / (1 + np.exp(-y)) / 0.6


def by_hand(made, atoms, update, global_node):
    """Energies and forces of atoms, in loops over atoms and neighbours, from the formulas of the module."""
    weights = {name: value.detach().numpy() for name, value in made.state_dict().items()}
    trunk = {name.removeprefix("trunk."): value for name, value in weights.items()}
    n, n_atoms = trunk["embedding.weight"].shape[1], len(atoms)
    graph = graph_of(atoms)
    x = [trunk["embedding.weight"][number] for number in atoms.numbers]
    v = [np.zeros((3, n)) for _ in range(n_atoms)]
    of_all, v_all = trunk["of_structure"], np.zeros((3, n))
    n_layers = len(made.trunk.layers)
    for k in range(n_layers):
        own = {name.removeprefix(f"layers.{k}."): value for name, value in trunk.items()}

        def mapped(name, y, own=own):
            return own[f"{name}.weight"] @ y + own.get(f"{name}.bias", 0.0)

        def from_both(name, one, other, mapped=mapped):
            return act(
                mapped(f"{name}.second", act(mapped(f"{name}.one", one) + mapped(f"{name}.other", other)))
            )

        if global_node:
            x = [one + from_both("from_global.scalars", one, of_all) for one in x]
            if k:
                v = [one + np.array([mapped("from_global.vectors", y) for y in one + v_all]) for one in v]
        h = [mapped("senders.2", act(mapped("senders.0", one))) for one in x]
        dx, dv = np.zeros((n_atoms, n)), np.zeros((n_atoms, 3, n))
        for i, j, d in zip(
            graph.centres.tolist(), graph.neighbours.tolist(), graph.vectors.numpy(), strict=True
        ):
            r = np.linalg.norm(d)
            gaussians = np.exp(-0.5 * ((r / CUTOFF - np.linspace(0, 1, 8)) * 7) ** 2)
            u = r / CUTOFF
            envelope = 1 - 21 * u**5 + 35 * u**6 - 15 * u**7
            p = h[j] * mapped("messages.linear", gaussians) * envelope / np.sqrt(3)
            dx[i] += p[-n:]
            dv[i] += np.outer(d / r, p[-2 * n : -n])
            if k:
                dv[i] += p[:n] * v[j]
        x = [(one + change) / np.sqrt(2) for one, change in zip(x, dx, strict=True)]
        v = [one + change / np.sqrt(n) for one, change in zip(v, dv, strict=True)]
        for i in range(n_atoms):
            a, b = np.split(np.array([mapped("update.vectors", y) for y in v[i]]), 2, axis=1)
            inner = np.concatenate([x[i], np.sqrt((b**2).sum(0) + 1e-8)])
            q1, q2, q3 = np.split(mapped("update.network.2", act(mapped("update.network.0", inner))), 3)
            if update == "nmu":
                x[i] = x[i] + q1 / np.sqrt(2) + x[i] * np.tanh(q2)
            else:
                x[i] = x[i] + (q1 + q2 * (a * b).sum(0) / np.sqrt(n)) / np.sqrt(2)
            v[i] = v[i] + q3 * a
        if global_node and k < n_layers - 1:
            of_all = of_all + from_both("to_global.scalars", np.mean(x, 0), of_all)
            v_all = v_all + np.array([mapped("to_global.vectors", y) for y in np.mean(v, 0) + v_all])
    energies = []
    for one in x:
        inner = act(trunk["energy.0.weight"] @ one + trunk["energy.0.bias"])
        energies.append(SCALES.force * (trunk["energy.2.weight"] @ inner + trunk["energy.2.bias"])[0])
    forces = SCALES.force * np.array([one @ weights["heads.force.weight"][0] for one in v])
    return np.array(energies), forces - forces.mean(0)


@pytest.mark.parametrize(("update", "global_node"), KINDS)
def test_energies_and_forces_are_those_of_the_formulas(update, global_node, alloys):
    made = network(update, global_node)
    energies, forces = by_hand(made, alloys[1], update, global_node)
    with torch.no_grad():
        output = made(graph_of(alloys[1]))
    np.testing.assert_allclose(output.energies, energies, atol=1e-11)
    np.testing.assert_allclose(output.forces, forces, atol=1e-11)


# -- symmetries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("update", "global_node"), KINDS)
def test_forces_and_stress_turn_with_the_structure(update, global_node, alloys):
    """Rotation and inversion, to rounding of double precision."""
    made = network(update, global_node)
    matrix = -Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    atoms = alloys[2].copy()
    atoms.calc = alloys[2].calc
    turned = atoms.copy()
    turned.calc = atoms.calc
    turned.set_cell(np.array(atoms.cell) @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    with torch.no_grad():
        one, other = made(graph_of(atoms)), made(graph_of(turned))
    np.testing.assert_allclose(other.energies, one.energies, atol=1e-12)
    np.testing.assert_allclose(other.forces, one.forces.numpy() @ matrix.T, atol=1e-12)
    tensors = [
        output.stresses[0][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3).numpy() for output in (one, other)
    ]
    np.testing.assert_allclose(tensors[1], matrix @ tensors[0] @ matrix.T, atol=1e-12)
    assert float(one.forces.abs().max()) > 1e-3


@pytest.mark.parametrize("direct", [True, False])
def test_nothing_jumps_as_a_neighbour_crosses_the_cutoff(direct, alloys):
    atoms = alloys[1].copy()
    atoms.calc = alloys[1].calc
    atoms.pbc = False
    found = []
    for sign in (-1, 1):
        atoms.positions[0] = atoms.positions[1] + (CUTOFF + sign * 1e-7) * np.array([-0.6, 0.0, 0.8])
        graph = graph_of(atoms)
        output = network(direct=direct)(graph)
        found.append((len(graph.centres), output.energies.detach(), output.forces.detach()))
    assert found[0][0] > found[1][0]
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(("update", "global_node"), KINDS)
def test_every_weight_reaches_an_output(update, global_node, direct, alloys):
    """What reaches none is left out, and not counted as a parameter."""
    made = network(update, global_node, direct=direct, layers=3).train()
    graph = graph_of(alloys[1])
    output = made(graph)
    total = (output.energies**2).sum() + (output.forces**2).sum() + (output.stresses**2).sum()
    used = {name: one for name, one in made.named_parameters() if one.requires_grad}
    gradients = torch.autograd.grad(total, list(used.values()), allow_unused=True)
    for (name, _), gradient in zip(used.items(), gradients, strict=True):
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name
    assert made.n_parameters == sum(one.numel() for one in used.values())


# -- kernels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("direct", [True, False])
def test_kernels_are_torch(direct, n_threads, alloys, monkeypatch):
    """With tables so fine that they are no cause of differences: energies, forces and stress."""
    monkeypatch.setattr(messages, "INTERVALS_PER_GAUSSIAN", 1024)
    made = network(direct=direct, layers=3, cutoff=6.0)
    graph = joined([graph_of(atoms, 6.0) for atoms in alloys[3:6]])
    assert len(graph.centres) >= 1000, "too few edges for a second thread"
    expected = made(graph)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with torch.no_grad():
            found = made.ready()(graph)
    finally:
        torch.set_num_threads(before)
    for name in ("energies", "forces", "stresses"):
        one, other = getattr(found, name).detach(), getattr(expected, name).detach()
        np.testing.assert_allclose(one, other, atol=1e-9 * float(other.abs().max()) + 1e-12, err_msg=name)


@pytest.mark.parametrize("direct", [True, False])
def test_tables_change_nothing_but_rounding(direct, alloys):
    made = network(direct=direct).float()
    graph = labelled_graph(alloys[3], CUTOFF)
    expected, found = made(graph), made.ready()(graph)
    scale = float(expected.energies.detach().abs().max())
    np.testing.assert_allclose(found.energies.detach(), expected.energies.detach(), atol=3e-6 * scale)
    scale = float(expected.forces.detach().abs().max())
    np.testing.assert_allclose(found.forces.detach(), expected.forces.detach(), atol=1e-4 * scale)


# -- the family ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LEIGNN, LEIGNNGradient])
def test_training_learns(kind, alloys):
    from mlip_bench.measure.errors import comparison, summary

    errors = []
    for steps in (2, 80):
        potential = kind(**SMALL | {"steps": steps, "averaging": 0.5, "learning_rate": 0.03}).fit(alloys[:12])
        errors.append(summary(comparison(alloys[:12], potential.predict(alloys[:12]))))
    for name in ("force_rmse", "energy_rmse"):
        assert errors[1][name] < 0.7 * errors[0][name]


def test_no_heat_flux_and_why(alloys):
    atoms, still = alloys[0], np.zeros((8, 3))
    with pytest.raises(UserError, match="leignn predicts forces directly"):
        LEIGNN(**SMALL).fit(alloys[:4]).heat_flux(atoms, still)
    with pytest.raises(UserError, match="has a global node: the energy of each atom depends on all atoms"):
        LEIGNNGradient(**SMALL).fit(alloys[:4]).heat_flux(atoms, still)
    with pytest.raises(UserError, match="passes messages, and no heat flux of its layers is implemented"):
        LEIGNNGradient(**SMALL, global_node=False).fit(alloys[:4]).heat_flux(atoms, still)


def test_a_network_of_another_update_is_refused(alloys, tmp_path):
    """Its weights have the same shapes, and would be taken for what they are not."""
    LEIGNN(**SMALL).fit(alloys[:4]).save(tmp_path)
    path = tmp_path / "potential.json"
    description = json.loads(path.read_text())
    description["hypers"]["update"] = "painn"
    path.write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"network\.pt: its update is 'nmu', not 'painn'"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "name", "value", "told"),
    [
        (LEIGNN, "update", "gnn", "update = 'gnn': must be one of nmu, painn"),
        (LEIGNN, "layers", 0, "layers = 0: must be at least 1"),
        (LEIGNN, "radial", 1, "radial = 1: must be at least 2"),
        (LEIGNNGradient, "remove_net_force", False, "a gradient has no net force"),
    ],
)
def test_settings_out_of_range_are_refused(kind, name, value, told):
    with pytest.raises(UserError, match=told):
        kind(**{name: value})
