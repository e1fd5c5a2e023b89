"""Our convolutions on a CPU against those of sevenn and e3nn."""

import copy

import numpy as np
import pytest
import torch

from mlip_bench.potentials.networks import derivatives
from mlip_bench.potentials.networks.graphs import joined, labelled_graph
from mlip_bench.potentials.sevennet import backbone, convolution, harmonics
from mlip_bench.potentials.sevennet.network import data_of
from mlip_bench.potentials.sevennet.package import (
    build_E3_equivariant_model,
    keys,
    spherical_harmonics,
)

# Channels that differ by degree, as in SevenNet-0.
UNEVEN = ["6x0e", "6x0e + 3x1e + 2x2e", "6x0e + 3x1e + 2x2e", "6x0e"]


@pytest.fixture(scope="module")
def models(alloys):
    """The same network with sevenn's convolutions and with ours, in double precision."""
    elements = sorted({symbol for atoms in alloys for symbol in atoms.get_chemical_symbols()})

    def make(**other):
        config = backbone.configuration(elements, 4.0, 4, 2, 2, [8], [], 1.0, 12.0) | other
        torch.manual_seed(1)
        theirs = build_E3_equivariant_model(copy.deepcopy(config))
        ours = backbone.build(config)
        ours.load_state_dict(theirs.state_dict())
        for model in (theirs, ours):
            model.set_is_batch_data(True)
        return theirs, ours

    return make


def loss_and_gradients(model, batch):
    output = model(dict(batch))
    total = sum((output[key] ** 2).sum() for key in (keys.PRED_FORCE, keys.PRED_STRESS))
    total = total + output[keys.PRED_TOTAL_ENERGY].sum()
    model.zero_grad()
    with derivatives.alone(derivatives.WEIGHTS):
        total.backward(inputs=[one for one in model.parameters() if one.requires_grad])
    return output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("irreps", [None, UNEVEN])
def test_derivatives_of_a_loss_are_those_of_sevenn_in_double_precision(models, alloys, irreps):
    """sevenn's own constants are in single precision, ours are not."""
    extra = {} if irreps is None else {keys.IRREPS_MANUAL: irreps, keys.NUM_CONVOLUTION: len(irreps) - 1}
    theirs, ours = (model.double() for model in models(**extra))
    theirs.get_submodule("onehot_idx_to_onehot").register_forward_hook(
        lambda module, inputs, output: output.update(
            {name: output[name].double() for name in (keys.NODE_FEATURE, keys.NODE_ATTR)}
        )
    )
    batch = data_of(joined([labelled_graph(atoms, 4.0, torch.float64) for atoms in alloys[:8]]))
    expected = loss_and_gradients(theirs, batch)[1]
    found = loss_and_gradients(ours, batch)[1]
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        np.testing.assert_allclose(found[name], gradient, atol=1e-6 * scale, err_msg=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("irreps", [None, UNEVEN])
def test_forces_and_their_derivatives_by_weights_are_those_of_sevenn(models, alloys, irreps, n_threads):
    """A loss of forces takes the second derivatives of the kernels."""
    extra = {} if irreps is None else {keys.IRREPS_MANUAL: irreps, keys.NUM_CONVOLUTION: len(irreps) - 1}
    theirs, ours = models(**extra)
    batch = data_of(joined([labelled_graph(atoms, 4.0) for atoms in alloys[:8]]))
    assert batch[keys.EDGE_IDX].shape[1] >= 1000, "too few edges for a second thread"
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        expected, found = loss_and_gradients(theirs, batch), loss_and_gradients(ours, batch)
    finally:
        torch.set_num_threads(before)
    for key in (keys.PRED_TOTAL_ENERGY, keys.PRED_FORCE, keys.PRED_STRESS):
        scale = float(expected[0][key].detach().abs().max())
        np.testing.assert_allclose(
            found[0][key].detach(), expected[0][key].detach(), atol=3e-5 * scale, rtol=1e-5
        )
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = float(gradient.abs().max())
        np.testing.assert_allclose(found[1][name], gradient, atol=1e-4 * scale + 1e-9, err_msg=name)


def test_kernels_pass_gradient_checks_in_double_precision(alloys):
    """First derivatives of the messages by finite differences, and second ones but those by Y."""
    model = backbone.build(
        backbone.configuration(("Al",), 4.0, 3, 1, 2, [], [], 1.0, 12.0)
        | {keys.IRREPS_MANUAL: ["2x0e", "3x0e + 2x1e", "3x0e + 2x1e"]}
    )
    layer = model.get_submodule("1_convolution")
    generator = torch.Generator().manual_seed(0)
    edges = np.array([0, 0, 1, 2, 2]), np.array([1, 2, 0, 0, 1])
    product = layer.convolution

    def messages(x, y, r, w):
        paths, n_target = layer.paths[torch.float64], product.irreps_out.dim
        return convolution._Messages.apply(x, y, r, w, edges, paths, n_target)

    shapes = ((3, product.irreps_in1.dim), (5, product.irreps_in2.dim), (5, 4), (4, product.weight_numel))
    inputs = [
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes
    ]
    assert torch.autograd.gradcheck(messages, inputs)
    with derivatives.alone(derivatives.WEIGHTS):
        x, y, r, w = inputs
        assert torch.autograd.gradcheck(lambda x, r, w: messages(x, y.detach(), r, w), (x, r, w))
    g = torch.randn(3, product.irreps_out.dim, dtype=torch.float64, generator=generator).requires_grad_()

    def gradients(g, x, r, w):
        return convolution._Gradients.apply(g, x, y.detach(), r, w, edges, layer.paths[torch.float64])[:3]

    with derivatives.alone(derivatives.POSITIONS):
        assert torch.autograd.gradcheck(gradients, (g, x, r, w))


def test_derivatives_that_nobody_asks_for_are_no_numbers(alloys):
    """Never wrong ones; and what is derived twice has them as they are."""
    model = backbone.build(backbone.configuration(("Cu",), 4.0, 2, 1, 2, [], [], 1.0, 12.0))
    layer = model.get_submodule("1_convolution")
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 8), (2, 4), (2, 3), (3, int(layer.paths[torch.float32].channels.sum())))
    given = [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]
    edges = np.array([0, 1]), np.array([1, 0])
    sums = convolution._Messages.apply(*given, edges, layer.paths[torch.float32], layer.target.dim)
    both = torch.autograd.grad(sums.sum(), given, retain_graph=True)
    for kind, missing in ((derivatives.POSITIONS, 3), (derivatives.WEIGHTS, 1)):
        with derivatives.alone(kind):
            found = torch.autograd.grad(sums.sum(), given, retain_graph=True)
        for index, (one, expected) in enumerate(zip(found, both, strict=True)):
            if index == missing:
                assert one.isnan().all()
            else:
                torch.testing.assert_close(one, expected)
    again = torch.autograd.grad(sums.sum(), given, create_graph=True)
    with pytest.raises(NotImplementedError, match="not derived again"):
        torch.autograd.grad(again[3].sum(), given)


@pytest.mark.parametrize("lmax", [1, 3, 6])
def test_spherical_harmonics_are_those_of_e3nn(lmax):
    """Values; derivatives by vectors; and derivatives of those by what they were summed with."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(7, 3, dtype=torch.float64, generator=generator).requires_grad_()
    table = harmonics.terms(lmax, torch.float64)
    degrees = list(range(lmax + 1))
    expected = spherical_harmonics(degrees, vectors, normalize=True, normalization="component")
    found = harmonics._Values.apply(vectors, table)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    summed = torch.randn(found.shape, dtype=torch.float64, generator=generator).requires_grad_()
    moves = torch.randn(7, 3, dtype=torch.float64, generator=generator)
    results = []
    for values in (expected, found):
        (forces,) = torch.autograd.grad((values * summed).sum(), vectors, create_graph=True)
        (second,) = torch.autograd.grad((forces * moves).sum(), summed)
        results.append((forces, second))
    torch.testing.assert_close(results[1], results[0], atol=1e-11, rtol=1e-11)


def test_features_with_an_irrep_in_two_places_are_left_to_sevenn(models, alloys):
    """Nothing in ``sevennet`` makes such a network; a checkpoint of others may be one."""
    twice = ["4x0e", "2x0e + 2x1e + 2x0e", "4x0e"]
    theirs, ours = models(**{keys.IRREPS_MANUAL: twice, keys.NUM_CONVOLUTION: 2})
    batch = data_of(joined([labelled_graph(atoms, 4.0) for atoms in alloys[:2]]))
    expected, found = theirs.eval()(dict(batch)), convolution.tabulated(ours.eval())(dict(batch))
    torch.testing.assert_close(found[keys.PRED_FORCE].detach(), expected[keys.PRED_FORCE].detach())


def test_tables_of_weights_change_nothing_but_rounding(models, alloys):
    _, model = models()
    model.eval()
    batch = data_of(joined([labelled_graph(atoms, 4.0) for atoms in alloys[:8]]))
    expected, found = model(dict(batch)), convolution.tabulated(model)(dict(batch))
    for key, tolerance in ((keys.ATOMIC_ENERGY, 2e-6), (keys.PRED_FORCE, 1e-4), (keys.PRED_STRESS, 1e-4)):
        values = expected[key].detach()
        scale = float(values.abs().max())
        np.testing.assert_allclose(found[key].detach(), values, atol=tolerance * scale, err_msg=key)
