"""SevenNet and SevenNet-dFS against the package's own calculator, e3nn, and each other."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk

from mlip_bench.data import reference
from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.measure.memory import peak_of
from mlip_bench.potentials import load
from mlip_bench.potentials.networks.evaluation import Evaluator
from mlip_bench.potentials.networks.graphs import labelled_graph
from mlip_bench.potentials.networks.scales import scales_of
from mlip_bench.potentials.sevennet import (
    SevenNet,
    SevenNetDirect,
    accelerators,
    backbone,
    heads,
)
from mlip_bench.potentials.sevennet.network import SevenNetwork, data_of
from mlip_bench.potentials.sevennet.package import keys

SMALL = {"channels": 4, "lmax": 2, "layers": 2, "cutoff": 4.0, "steps": 8, "atoms_per_step": 32}


@pytest.fixture(scope="module")
def fitted(alloys):
    return SevenNet(**SMALL).fit(alloys[:16])


@pytest.fixture(scope="module")
def fitted_direct(alloys):
    return SevenNetDirect(**SMALL).fit(alloys[:16])


# -- conservative --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_predictions_are_those_of_the_packages_own_calculator(fitted, alloys, tmp_path):
    """From the checkpoint that we write: energy, forces, and stress with its order and sign."""
    from sevenn.calculator import SevenNetCalculator

    fitted.save(tmp_path)
    calculator = SevenNetCalculator(str(tmp_path / "model.pth"), device="cpu")
    for atoms in alloys[16:19]:
        theirs = atoms.copy()
        theirs.calc = calculator
        ours = fitted.predict([atoms])[0]
        assert ours.energy == pytest.approx(theirs.get_potential_energy(), abs=1e-4)
        np.testing.assert_allclose(ours.forces, theirs.get_forces(), atol=1e-4)
        np.testing.assert_allclose(ours.stress, theirs.get_stress(), atol=1e-5)


def test_training_learns(alloys):
    errors = []
    for steps in (4, 120):
        potential = SevenNet(**(SMALL | {"steps": steps, "averaging": 0.5})).fit(alloys[:16])
        errors.append(summary(comparison(alloys[:16], potential.predict(alloys[:16])))["force_rmse"])
    assert errors[1] < 0.7 * errors[0]


def test_a_checkpoint_is_measured_as_it_is(fitted, alloys, tmp_path):
    """Without steps nothing is trained, so the predictions stay those of the checkpoint."""
    fitted.save(tmp_path)
    again = SevenNet(checkpoint=str(tmp_path / "model.pth"), steps=0).fit(alloys[:4])
    one, other = fitted.predict(alloys[:1])[0], again.predict(alloys[:1])[0]
    assert one.energy == pytest.approx(other.energy, abs=1e-6)


def test_training_starts_from_a_checkpoint(fitted, alloys, tmp_path):
    """A few tiny steps from a checkpoint stays near it; from random weights it would not."""
    fitted.save(tmp_path)
    tuned = SevenNet(checkpoint=str(tmp_path / "model.pth"), steps=4, learning_rate=1e-6).fit(alloys[:16])
    one, other = fitted.predict(alloys[:1])[0], tuned.predict(alloys[:1])[0]
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-2)


def test_the_pretrained_model_of_the_package():
    """SevenNet-0 knows bcc molybdenum: its lattice constant within 1 % of PBE's 3.168 Å."""
    potential = SevenNet(checkpoint="7net-0", steps=0)
    structures = []
    for a in np.linspace(3.0, 3.35, 8):
        structures.append(labelled(bulk("Mo", "bcc", a=a), 0.0, np.zeros((1, 3)), None))
    energies = [prediction.energy for prediction in potential.fit(structures).predict(structures)]
    a, b, _ = np.polyfit(np.linspace(3.0, 3.35, 8), energies, 2)
    assert -b / (2 * a) == pytest.approx(3.168, rel=0.01)


def test_the_pretrained_model_survives_saving(alloys, tmp_path):
    """It is of an older version of sevenn, whose order of weights is changed on reading: once only."""
    potential = SevenNet(checkpoint="7net-0", steps=0).fit(alloys[:2])
    potential.save(tmp_path)
    one, other = potential.predict(alloys[:1])[0], load(tmp_path).predict(alloys[:1])[0]
    np.testing.assert_allclose(other.forces, one.forces, atol=1e-5)
    assert other.energy == pytest.approx(one.energy, abs=1e-4)


def test_data_without_stress_trains(alloys):
    bare = [
        labelled(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces(), None) for atoms in alloys[:8]
    ]
    for family in (SevenNet, SevenNetDirect):
        assert np.isfinite(family(**SMALL).fit(bare).predict(bare[:1])[0].forces).all()


def test_a_checkpoint_that_lacks_an_element(fitted, tmp_path):
    fitted.save(tmp_path)
    atoms = labelled(bulk("Ag"), -1.0, np.zeros((1, 3)), None)
    with pytest.raises(UserError, match="knows Au, Cu, not Ag of the data"):
        SevenNet(checkpoint=str(tmp_path / "model.pth")).fit([atoms])


@pytest.mark.parametrize("name", ["nowhere.pth", "7net-99"])
def test_a_checkpoint_that_is_not_there(name, alloys):
    with pytest.raises(UserError, match=f"{name}: not a checkpoint that sevenn"):
        SevenNet(checkpoint=name).fit(alloys[:4])


@pytest.mark.parametrize("family", [SevenNet, SevenNetDirect])
def test_a_broken_checkpoint(family, alloys, tmp_path):
    family(**SMALL).fit(alloys[:6]).save(tmp_path)
    path = tmp_path / "model.pth"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.pth: not a (checkpoint|model)"):
        load(tmp_path)


# -- direct --------------------------------------------------------------------------------------------


def test_the_matrix_of_the_slide_is_e3nns_change_of_basis():
    """A, to 1e-12: columns are the l = 2 components of a symmetric tensor, rows xx yy zz xy yz zx."""
    from e3nn.io import CartesianTensor

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        symmetric = CartesianTensor("ij=ji")
        basis = symmetric.reduced_tensor_products().change_of_basis.numpy()
    finally:
        torch.set_default_dtype(default)
    rows = basis[1:6, [0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]].T
    np.testing.assert_allclose(heads.TENSOR, rows, atol=1e-12)


def test_direct_forces_take_no_gradient(fitted_direct, alloys):
    """The model has no module that differentiates, and works where torch records nothing."""
    names = [name for name, _ in fitted_direct.model_.named_children()]
    assert "force_output" not in names
    with torch.inference_mode():
        assert np.isfinite(fitted_direct.predict(alloys[:1])[0].forces).all()


def test_direct_forces_are_no_gradient_and_say_so(fitted_direct, alloys):
    assert not SevenNetDirect.conservative
    atoms = alloys[17]
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 0] += sign * 1e-2
        energies.append(fitted_direct.predict([moved])[0].energy)
    slope = (energies[0] - energies[1]) / 2e-2
    assert abs(fitted_direct.predict([atoms])[0].forces[0, 0] + slope) > 1e-3


@pytest.mark.parametrize("remove", [True, False])
def test_net_force(remove, alloys):
    potential = SevenNetDirect(**SMALL, remove_net_force=remove).fit(alloys[:8])
    net = np.abs(potential.predict(alloys[8:9])[0].forces.sum(0)).max()
    assert net < 1e-5 if remove else net > 1e-5


def test_the_heads_see_the_last_messages(fitted_direct):
    """The parity trap: with parity the last layer drops odd vectors, and forces come from one layer less."""
    last = fitted_direct.model_.get_submodule("1_convolution")
    assert any(irrep.l == 1 for _, irrep in last.convolution.irreps_out)
    assert any(irrep.l == 2 for _, irrep in last.convolution.irreps_out)


def test_scales_are_taken_from_the_data(alloys):
    """In sevenn's sign, per atom, as the docstring says."""
    graphs = [labelled_graph(atoms, 4.0) for atoms in alloys[:10]]
    found = heads.in_sevenns_sign(scales_of(alloys[:10], graphs))
    virials = np.array([-a.get_stress()[[0, 1, 2, 5, 3, 4]] * a.get_volume() / len(a) for a in alloys[:10]])
    assert found.shift == pytest.approx(virials[:, :3].mean())
    assert found.isotropic == pytest.approx(virials[:, :3].std())
    assert found.anisotropic == pytest.approx(np.sqrt((virials[:, 3:] ** 2).mean()))


@pytest.mark.slow
def test_direct_heads_learn_stress(alloys):
    errors = []
    for steps in (4, 120):
        settings = SMALL | {"steps": steps, "averaging": 0.5, "stress_weight": 1.0, "force_weight": 0.01}
        potential = SevenNetDirect(**settings).fit(alloys[:16])
        errors.append(summary(comparison(alloys[:16], potential.predict(alloys[:16])))["stress_rmse"])
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.slow
def test_training_on_the_gradient_brings_the_energy_near_the_forces(alloys):
    """The slope of the energy along the forces of the data; predictions take no gradient all the same."""
    missed = []
    for weight in (0.0, 1.0):
        settings = SMALL | {"steps": 120, "averaging": 0.5, "gradient_weight": weight}
        potential = SevenNetDirect(**settings).fit(alloys[:16])
        assert potential.model_.key_grad is None
        slopes, expected = [], []
        for atoms in alloys[:16]:
            forces = reference.forces(atoms)
            step = 0.01 * forces / np.linalg.norm(forces)
            ahead, behind = atoms.copy(), atoms.copy()
            ahead.positions += step
            behind.positions -= step
            energies = [one.energy for one in potential.predict([ahead, behind])]
            slopes.append((energies[1] - energies[0]) / 0.02)
            expected.append(np.linalg.norm(forces))
        missed.append(np.sqrt(np.mean(np.subtract(slopes, expected) ** 2)))
    assert missed[1] < 0.5 * missed[0]


def test_many_channels_train(embedded):
    """A copy of this very model has its buffers in another order; the average of torch fell over that."""
    potential = SevenNetDirect(channels=16, cutoff=4.0, steps=1).fit(embedded.train[:4])
    assert np.isfinite(potential.predict(embedded.test[:1])[0].forces).all()


def pages_are_huge():
    """Tell whether Linux gives out pages of 2 MiB unasked, of which there are few to fault on."""
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return path.is_file() and "[always]" in path.read_text()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told to keep memory"
)
@pytest.mark.skipif(pages_are_huge(), reason="huge pages are always on: page faults cannot be counted")
def test_memory_of_a_step_is_kept_for_the_next(fitted):
    """Getting it anew from the system is a page fault per 4 KiB, which large systems paid in every step."""
    fitted.calculator()
    fitted.on("cpu").predict([bulk("Cu", a=3.6, cubic=True)])
    n_faults = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.zeros(50 * 2**20 // 4)
        n_faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert n_faults[-1] < 0.05 * 50 * 2**20 / resource.getpagesize()


def test_memory_that_is_kept_is_measured_nevertheless(fitted):
    """A second measurement would find the memory of the first one there, and count nothing."""
    fitted.calculator()
    found = []
    for _ in range(2):
        with peak_of("cpu") as peak:
            torch.zeros(50 * 2**20 // 4)
        found.append(peak.mib)
    assert found == pytest.approx([50, 50], abs=3)


def test_the_last_layer_of_the_heads_stops_at_tensors(alloys):
    """Higher degrees would be computed and read by nobody."""
    deep = SevenNetDirect(**SMALL | {"lmax": 3, "steps": 1}).fit(alloys[:4])
    assert deep.config_[keys.IRREPS_MANUAL][1:] == [
        "4x0e + 4x1o + 4x2e + 4x3o",
        "4x0e + 4x1o + 4x2e",
        # The layer that sevenn takes odd vectors from, and that is left out again.
        "4x0e + 4x1o + 4x2e",
    ]


@pytest.mark.parametrize("kind", [SevenNet, SevenNetDirect])
def test_a_network_as_readout_trains_and_is_kept(kind, alloys, tmp_path):
    fitted = kind(**SMALL | {"readout_nodes": [6]}).fit(alloys[:8])
    linear = kind(**SMALL).fit(alloys[:8])
    assert fitted.n_parameters != linear.n_parameters
    fitted.save(tmp_path / "one")
    (before,), (after,) = fitted.predict(alloys[:1]), load(tmp_path / "one").predict(alloys[:1])
    assert after.energy == pytest.approx(before.energy, abs=1e-5)
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-5)


def test_direct_needs_tensors():
    with pytest.raises(UserError, match="lmax = 1: must be at least 2 for the stress head"):
        SevenNetDirect(lmax=1)


def test_hyper_parameters_need_no_torch():
    """Commands that only look at plans stay quick: torch is imported when something is computed."""
    code = (
        "import sys; from mlip_bench.potentials import family\n"
        "for name in ('sevennet', 'sevennet-dfs'): family(name)(channels=4)\n"
        "sys.exit('torch' in sys.modules or 'sevenn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("frozen", [True, False])
def test_heads_start_from_a_trained_sevennet(fitted, alloys, tmp_path, frozen):
    """Below the last layer a frozen backbone keeps the weights of the checkpoint, a free one does not."""
    fitted.save(tmp_path)
    settings = {"checkpoint": str(tmp_path / "model.pth"), "steps": 1, "frozen_backbone": frozen}
    direct = SevenNetDirect(**settings).fit(alloys[:8])
    before, after = dict(fitted.model_.named_parameters()), dict(direct.model_.named_parameters())
    name = "0_self_interaction_2.linear.weight"
    assert torch.equal(before[name], after[name]) == frozen
    assert not torch.equal(
        before["reduce_hidden_to_energy.linear.weight"][:1],
        after["reduce_hidden_to_energy.linear.weight"][:1],
    )
    direct.save(tmp_path / "direct")
    again = load(tmp_path / "direct")
    assert again.n_parameters == direct.n_parameters > fitted.n_parameters
    one, other = again.predict(alloys[:1])[0], direct.predict(alloys[:1])[0]
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-6)


def test_heads_start_from_the_pretrained_model(alloys):
    """SevenNet-0 has 128, 64 and 32 channels, and no tensors in its last layer."""
    direct = SevenNetDirect(checkpoint="7net-0", steps=1, frozen_backbone=True)
    prediction = direct.fit([alloys[0]] * 2).predict([alloys[0]])[0]
    assert np.isfinite(prediction.forces).all()
    assert np.abs(prediction.forces).max() > 0


@pytest.mark.parametrize("family", [SevenNet, SevenNetDirect])
def test_forces_turn_round_with_the_structure(family, alloys):
    """Inversion is exact, in three layers too, where products of both parities would be possible."""
    potential = family(**SMALL | {"layers": 3, "steps": 1}, double_precision=True).fit(alloys[:4])
    atoms = alloys[17].copy()
    turned = atoms.copy()
    turned.positions *= -1
    turned.wrap()
    one, other = potential.predict([atoms, turned])
    assert other.energy == pytest.approx(one.energy, abs=1e-8)
    np.testing.assert_allclose(other.forces, -one.forces, atol=1e-8)
    np.testing.assert_allclose(other.stress, one.stress, atol=1e-8)
    assert np.abs(one.forces).max() > 1e-3


def test_products_that_nothing_uses_are_left_out(alloys):
    """The middle of three layers: sevenn makes features of both parities, and drops half of them."""
    potential = SevenNet(**SMALL | {"layers": 3, "steps": 1}).fit(alloys[:4])
    middle = potential.model_.get_submodule("1_convolution")
    kept = middle.weights(torch.rand(3, 8)).shape[1]
    assert kept < middle.weight_nn(torch.rand(3, 8)).shape[1]
    stored = sum(one.numel() for one in potential.model_.parameters() if one.requires_grad)
    assert potential.n_parameters == stored - middle.n_unused < stored
    # The same as e3nn's own convolution in the whole network.
    atoms = alloys[17]
    plain = backbone.build_E3_equivariant_model(dict(potential.config_))
    plain.load_state_dict(potential.model_.state_dict())
    plain.set_is_batch_data(True)
    expected = plain.eval()(data_of(labelled_graph(atoms, 4.0)))
    ours = potential._predict([atoms])[0]
    assert ours.energy == pytest.approx(float(expected[keys.PRED_TOTAL_ENERGY].detach()[0]), abs=1e-4)
    np.testing.assert_allclose(ours.forces, expected[keys.PRED_FORCE].detach().numpy(), atol=1e-4)


@pytest.mark.parametrize(("channels", "parity"), [(4, True), (12, True), (16, False)])
def test_our_convolutions_train_as_sevenns_do(channels, parity, alloys):
    """Rows of whole vectors, with a rest, and of less than one; with biases. Derivatives of forces too."""
    elements = sorted(set(alloys[0].symbols))
    config = backbone.configuration(elements, 4.0, channels, 2, 2, [8], [], 1.0, 20.0)
    config |= {keys.IS_PARITY: parity, keys.USE_BIAS_IN_LINEAR: True}
    if not parity:
        config[keys.IRREPS_MANUAL] = False
    torch.manual_seed(0)
    ours, theirs = backbone.build(config), backbone.build_E3_equivariant_model(dict(config))
    for name, weights in ours.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(weights)
    theirs.load_state_dict(ours.state_dict())
    derivatives = []
    for model in (ours, theirs):
        model.set_is_batch_data(True)
        output = model.train()(data_of(labelled_graph(alloys[0], 4.0)))
        loss = output[keys.PRED_TOTAL_ENERGY].sum() + (output[keys.PRED_FORCE] ** 2).sum()
        used = {name: one for name, one in model.named_parameters() if one.requires_grad}
        found = torch.autograd.grad(loss, list(used.values()), allow_unused=True)
        derivatives.append({name: one for name, one in zip(used, found, strict=True) if one is not None})
    assert derivatives[0].keys() == derivatives[1].keys()
    for name, expected in derivatives[1].items():
        largest = float(expected.abs().max())
        np.testing.assert_allclose(derivatives[0][name], expected, atol=1e-4 * largest + 1e-6, err_msg=name)


def test_heads_on_features_of_both_parities_are_refused(fitted, alloys, tmp_path):
    config = fitted.config_ | {keys.IRREPS_MANUAL: False}
    backbone.write(tmp_path / "parity.pth", config, backbone.build(config), {})
    with pytest.raises(UserError, match=r"parity\.pth has features of both parities"):
        SevenNetDirect(checkpoint=str(tmp_path / "parity.pth"), steps=1).fit(alloys[:4])


def test_heads_start_from_a_checkpoint_with_settings_per_layer(fitted, alloys, tmp_path):
    """As sevenn's own training writes them; the heads' spare layer needs some, too."""
    config = fitted.config_ | {keys.CONV_DENOMINATOR: [3.0, 4.0], keys.SELF_CONNECTION_TYPE: ["nequip"] * 2}
    backbone.write(tmp_path / "lists.pth", config, backbone.build(config), {})
    direct = SevenNetDirect(checkpoint=str(tmp_path / "lists.pth"), steps=1).fit(alloys[:4])
    assert np.isfinite(direct.predict(alloys[:1])[0].forces).all()


def test_heads_without_vectors_are_refused(fitted, alloys, tmp_path):
    """Pseudovectors are no forces: they would stay where the structure is inverted."""
    config = fitted.config_ | {keys.IRREPS_MANUAL: ["4x0e", "4x0e + 4x1e + 4x2e", "4x0e"]}
    backbone.write(tmp_path / "pseudo.pth", config, backbone.build(config), {})
    with pytest.raises(UserError, match=r"pseudo\.pth has features .* needs vectors and tensors"):
        SevenNetDirect(checkpoint=str(tmp_path / "pseudo.pth"), steps=1).fit(alloys[:4])


def test_heads_start_from_a_checkpoint_without_parity(fitted, alloys, tmp_path):
    """As SevenNet-0 and potentials of ours from before features had a parity."""
    config = fitted.config_ | {keys.IRREPS_MANUAL: False, keys.IS_PARITY: False}
    backbone.write(tmp_path / "none.pth", config, backbone.build(config), {})
    direct = SevenNetDirect(checkpoint=str(tmp_path / "none.pth"), steps=1).fit(alloys[:4])
    assert "1x1e" in str(direct.model_.get_submodule("direct_heads").force.irreps_out)
    assert np.isfinite(direct.predict(alloys[:1])[0].forces).all()


# -- accelerators --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cuequivariance", "flashtp", "openequivariance"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: the accelerator may be too")
def test_an_accelerator_that_is_not_there(name, alloys):
    with pytest.raises(UserError, match=f"{name} is not there, or finds no GPU"):
        SevenNet(**SMALL, accelerator=name).fit(alloys[:4])


@pytest.mark.parametrize("kind", [SevenNet, SevenNetDirect])
def test_the_way_through_sevenns_conversion_keeps_the_network(kind, alloys, monkeypatch):
    """With a switch that turns nothing on, what comes back is the same network, heads included."""
    nothing = accelerators.Accelerator("enable_flash", lambda: True, "")
    monkeypatch.setitem(accelerators.ACCELERATORS, "flashtp", nothing)
    monkeypatch.setattr(accelerators, "load_checkpoint", lambda path: Unswitched(accelerators_load(path)))
    potential = kind(**SMALL, readout_nodes=[6]).fit(alloys[:6])
    expected = potential._predict(alloys[:1])[0]
    made = accelerators.accelerated("flashtp", potential.config_, potential.model_)
    evaluator = Evaluator(SevenNetwork(made).eval(), 4.0, 0.0, "cpu", torch.float32)
    found = evaluator(alloys[0])
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-4)
    assert found.energy == pytest.approx(expected.energy, abs=1e-4)


accelerators_load = accelerators.load_checkpoint


class Unswitched:
    """A checkpoint that builds without its accelerator."""

    def __init__(self, checkpoint):
        self._checkpoint = checkpoint

    def build_model(self, **switches):
        """Build the network of e3nn."""
        assert switches == {"enable_flash": True}
        return self._checkpoint.build_model()


def test_an_accelerator_that_nobody_knows():
    with pytest.raises(UserError, match="accelerator = 'warp': must be one of cuequivariance, flashtp"):
        SevenNet(accelerator="warp")
