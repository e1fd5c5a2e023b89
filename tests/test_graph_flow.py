"""The heat flux of networks that pass messages, against those of unfolded and of large cells."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from mlip_bench.potentials.networks.evaluation import Evaluator, ready
from mlip_bench.potentials.sevennet import SevenNet, backbone, flow
from mlip_bench.potentials.sevennet.network import SevenNetwork, data_of
from mlip_bench.potentials.sevennet.package import build_E3_equivariant_model, keys
from mlip_bench.testing.flux import random_velocities, rate_of_barycentre
from mlip_bench.testing.networks import energies_by
from mlip_bench.testing.oracles import hardy_heat_flux, unfolded_heat_flux

ELEMENTS = ("C", "Si")

# The second has channels that differ by degree, as in SevenNet-0, and blocks of 16, 8 and single lanes.
HIDDEN = "25x0e + 9x1o + 3x2e"
UNEVEN = {keys.IRREPS_MANUAL: ["25x0e", HIDDEN, HIDDEN, "25x0e"]}


def network(layers=2, cutoff=4.0, *, plain=False, **extra):
    """Return a network of random weights in double precision, with sevenn's convolutions or with ours."""
    config = backbone.configuration(ELEMENTS, cutoff, 4, 2, layers, [8], [], 2.0, 20.0) | extra
    torch.manual_seed(layers)
    if not plain:
        return ready(SevenNetwork(backbone.build(config)), "cpu", double_precision=True).model
    model = build_E3_equivariant_model(copy.deepcopy(config)).double().eval()
    model.set_is_batch_data(True)
    model.get_submodule("onehot_idx_to_onehot").register_forward_hook(doubled)
    return model


def doubled(module, inputs, output):
    """Undo that sevenn makes one-hot species single."""
    for name in (keys.NODE_FEATURE, keys.NODE_ATTR):
        output[name] = output[name].double()
    return output


def stepper_of(model):
    evaluator = Evaluator(SevenNetwork(model), float(model.cutoff), 0.0, "cpu", torch.float64)
    return flow.GraphFlow(model, lambda atoms: data_of(evaluator.graph(atoms)))


def silicon_carbon(repeat=1):
    """Return distorted diamond with two elements, 8 atoms in 5.43 Å times ``repeat``."""
    atoms = bulk("Si", cubic=True).repeat(repeat)
    atoms.numbers[::3] = 6
    atoms.rattle(0.15, seed=1)
    return atoms


@pytest.mark.filterwarnings("ignore")  # of what sevenn and e3nn stand on
@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "torch"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_flux_is_that_of_the_unfolded_cell(layers, plain):
    """In a cell that is smaller than twice the cutoff; and its derivative by velocities with it."""
    model, atoms = network(layers, plain=plain), silicon_carbon()
    assert atoms.cell.lengths().max() < 2 * 4.0
    velocities = random_velocities(atoms)
    stepper = stepper_of(model)
    stepper.predict(atoms)
    expected = unfolded_heat_flux(energies_by(model), atoms, velocities, 4.0, layers)
    found = stepper.potential_flux(velocities)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    by_velocities = np.einsum("jab,jb->a", stepper.flux_by_velocities(), velocities)
    np.testing.assert_allclose(by_velocities, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_channels_that_differ_by_degree_in_a_supercell_on_two_threads():
    model, atoms, n_cells = network(3, **UNEVEN), silicon_carbon(), 12
    velocities = random_velocities(atoms)
    expected = n_cells * unfolded_heat_flux(energies_by(model), atoms, velocities, 4.0, 3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        stepper = stepper_of(model)
        stepper.predict(atoms.repeat((n_cells, 1, 1)))
        assert len(stepper._vectors) >= 1000, "too few edges for a second thread"
        many = np.tile(velocities, (n_cells, 1))
        found = stepper.potential_flux(many)
        by_velocities = np.einsum("jab,jb->a", stepper.flux_by_velocities(), many)
    finally:
        torch.set_num_threads(before)
    for one in (found, by_velocities):
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_flux_is_hardys_where_no_energy_reaches_half_the_cell():
    cutoff, layers, atoms = 2.7, 2, silicon_carbon(2)
    assert 2 * layers * cutoff < atoms.cell.lengths().min()
    model, velocities = network(layers, cutoff), random_velocities(atoms)
    stepper = stepper_of(model)
    stepper.predict(atoms)
    expected = hardy_heat_flux(energies_by(model), atoms, velocities, cutoff)
    found = stepper.potential_flux(velocities)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_gradients_by_edges_alone_are_no_flux_of_two_layers():
    """What the oracles tell apart: without the power that features carry the flux is wrong."""
    model, atoms = network(2), silicon_carbon()
    velocities, stepper = random_velocities(atoms), stepper_of(model)
    stepper.predict(atoms)
    expected = unfolded_heat_flux(energies_by(model), atoms, velocities, 4.0, 2)
    stepper._layers = stepper._layers[:1]
    assert np.abs(stepper.potential_flux(velocities) - expected).max() > 1e-3 * np.abs(expected).max()


@pytest.fixture(scope="module")
def published():
    """Return 7net-0, of five layers without parity, in either precision, and a cluster off the lattice."""
    cluster = Atoms("Sn4Se4", bulk("Sn", "sc", a=3.0).repeat(2).positions)
    cluster.rattle(0.2, seed=0)
    name = Path("7net-0")
    single, double = (SevenNet.from_native(name, double_precision=precise) for precise in (False, True))
    return single, double, cluster


def test_flux_of_a_published_network_moves_the_energy_of_a_cluster(published):
    """Single precision is held to differences of double precision, which it is too coarse for itself."""
    single, double, cluster = published
    velocities = random_velocities(cluster)
    rate = rate_of_barycentre(double, cluster, velocities, 0.1)
    scale = np.abs(rate).max()
    np.testing.assert_allclose(double.heat_flux(cluster, velocities).total, rate, rtol=0, atol=1e-7 * scale)
    np.testing.assert_allclose(single.heat_flux(cluster, velocities).total, rate, rtol=0, atol=1e-4 * scale)


def test_a_flux_without_a_prediction_is_refused():
    with pytest.raises(ValueError, match="predict one first"):
        stepper_of(network(1)).potential_flux(np.zeros((1, 3)))
