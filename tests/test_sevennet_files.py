"""Checkpoints of sevenn: levels of theory, what is refused by name, and code that is not run unasked."""

import copy
import pickle
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlip_bench import cli
from mlip_bench.data.dataset import own_data
from mlip_bench.errors import UserError
from mlip_bench.potentials import load
from mlip_bench.potentials.networks.graphs import labelled_graph
from mlip_bench.potentials.sevennet import SevenNet, SevenNetDirect, backbone, checkpoints
from mlip_bench.potentials.sevennet.network import data_of
from mlip_bench.potentials.sevennet.package import (
    build_E3_equivariant_model,
    keys,
    pretrained_name_to_path,
)
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan

SMALL = {"channels": 4, "lmax": 2, "layers": 2, "cutoff": 4.0, "steps": 4, "atoms_per_step": 32}
LEVELS = ["PBE", "R2SCAN", "SCAN"]
BLOCKS = [
    keys.USE_MODAL_NODE_EMBEDDING,
    keys.USE_MODAL_SELF_INTER_INTRO,
    keys.USE_MODAL_SELF_INTER_OUTRO,
    keys.USE_MODAL_OUTPUT_BLOCK,
]


def multi_fidelity(channels=4, lmax=1, levels=2, blocks=tuple(BLOCKS), parity=True, bias=False, scaled=False):
    """Return configuration and network of Cu and Au, as sevenn builds it, for some levels of theory."""
    config = backbone.configuration(["Cu", "Au"], 4.0, channels, lmax, 2, [8], [], 1.5, 20.0)
    names = LEVELS[:levels]
    shifts = [[1.0 + index, -2.0 - index] for index in range(levels)]
    config |= {
        keys.IS_PARITY: parity,
        keys.IRREPS_MANUAL: False,
        keys.USE_BIAS_IN_LINEAR: bias,
        keys.USE_MODALITY: True,
        keys.NUM_MODALITIES: levels,
        keys.MODAL_MAP: {name: index for index, name in enumerate(names)},
        keys.USE_MODAL_WISE_SHIFT: True,
        keys.USE_MODAL_WISE_SCALE: scaled,
        keys.SHIFT: shifts,
        keys.SCALE: [[1.0 + index, 2.0] for index in range(levels)] if scaled else 1.5,
    } | {block: block in blocks for block in BLOCKS}
    model = build_E3_equivariant_model(copy.deepcopy(config))
    for name, weights in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(weights)
    return config, model


def write(path, config, model):
    torch.save({"config": config, "model_state_dict": model.state_dict(), "epoch": 0}, path)
    return path


@pytest.fixture
def levels(tmp_path):
    """A checkpoint of two levels of theory."""
    torch.manual_seed(0)
    return write(tmp_path / "levels.pth", *multi_fidelity())


@pytest.fixture(scope="module")
def fitted(alloys):
    return SevenNet(**SMALL).fit(alloys[:8])


# -- levels of theory ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("modal", ["PBE", "R2SCAN"])
def test_the_installed_multi_fidelity_model_is_that_of_sevenns_calculator(modal):
    from sevenn.calculator import SevenNetCalculator

    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.05, seed=1)
    found = load(pretrained_name_to_path("7net-mf-0"), modal=modal).predict([atoms])[0]
    atoms.calc = SevenNetCalculator("7net-mf-0", modal=modal, device="cpu")
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-5)
    np.testing.assert_allclose(found.stress, atoms.get_stress(), atol=1e-5)


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(
    channels=st.integers(2, 4),
    lmax=st.integers(0, 2),
    levels=st.integers(2, 3),
    blocks=st.sets(st.sampled_from(BLOCKS)),
    parity=st.booleans(),
    bias=st.booleans(),
    scaled=st.booleans(),
    seed=st.integers(0, 100),
)
def test_one_level_of_theory_predicts_as_it_does_among_the_others(levels, seed, alloys, **kind):
    """Whatever part of the network knows of the levels, with biases or without."""
    from sevenn.atom_graph_data import AtomGraphData

    torch.manual_seed(seed)
    config, model = multi_fidelity(levels=levels, **kind)
    atoms = alloys[0]
    modal = LEVELS[seed % levels]
    completed = checkpoints.completed_configuration(copy.deepcopy(config))
    _, single = checkpoints.one_modality(completed, model, modal, "model.pth")
    energies, forces = [], []
    for network in (model, single):
        graph = AtomGraphData(**data_of(labelled_graph(atoms, 4.0)))
        graph[keys.DATA_MODALITY] = [modal]
        network.set_is_batch_data(True)
        output = network.eval()(graph)
        energies.append(float(output[keys.PRED_TOTAL_ENERGY].detach()))
        forces.append(output[keys.PRED_FORCE].detach().numpy())
    assert energies[1] == pytest.approx(energies[0], rel=1e-5, abs=1e-4)
    np.testing.assert_allclose(forces[1], forces[0], atol=1e-4 * (1 + np.abs(forces[0]).max()))


def test_levels_of_theory_differ_and_are_kept(levels, alloys, tmp_path):
    first, other = load(levels, modal="PBE"), load(levels, modal="R2SCAN")
    assert first.hypers.modal == "PBE"
    one, two = first.predict(alloys[:1])[0], other.predict(alloys[:1])[0]
    assert abs(one.energy - two.energy) > 1e-2
    assert np.abs(one.forces - two.forces).max() > 1e-3
    other.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.hypers.modal == "R2SCAN"
    assert again.predict(alloys[:1])[0].energy == pytest.approx(two.energy, abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_saved_level_of_theory_is_read_by_sevenn(levels, alloys, tmp_path):
    from sevenn.calculator import SevenNetCalculator

    potential = load(levels, modal="PBE")
    potential.save(tmp_path / "saved")
    atoms = alloys[0].copy()
    atoms.calc = SevenNetCalculator(str(tmp_path / "saved" / "model.pth"), device="cpu")
    assert potential.predict(alloys[:1])[0].energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)


def test_training_starts_from_one_level_of_theory(levels, alloys):
    settings = {"checkpoint": str(levels), "modal": "R2SCAN", "steps": 4, "learning_rate": 1e-6}
    tuned = SevenNet(**settings).fit(alloys[:8])
    expected = load(levels, modal="R2SCAN").predict(alloys[:1])[0]
    np.testing.assert_allclose(tuned.predict(alloys[:1])[0].forces, expected.forces, atol=1e-2)


@pytest.mark.parametrize(
    ("modal", "sentence"),
    [
        ("", r"modal is not given: .*levels\.pth has several levels .* one of PBE, R2SCAN$"),
        ("HSE", r"modal = 'HSE': .*levels\.pth has several levels .* one of PBE, R2SCAN$"),
    ],
)
def test_a_level_of_theory_that_is_not_there(levels, modal, sentence, alloys):
    for read in (
        lambda: load(levels, modal=modal),
        lambda: SevenNet(checkpoint=str(levels), modal=modal).fit(alloys[:4]),
    ):
        with pytest.raises(UserError, match=sentence):
            read()


def test_a_level_of_theory_of_a_checkpoint_that_has_one(fitted, tmp_path):
    fitted.save(tmp_path)
    with pytest.raises(UserError, match=r"modal = 'PBE': .* has one level of theory; leave modal empty"):
        load(tmp_path / "model.pth", modal="PBE")


# -- what is refused by name ---------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(
    name=st.sampled_from(["zbl", "lora", "spin", "use_charge", "long_range"]),
    value=st.sampled_from([True, 1, "on", {"rank": 4}, [1.0]]),
)
def test_a_network_of_something_that_sevenn_does_not_know(name, value, fitted):
    with pytest.raises(UserError, match=rf"model\.pth: its network is set up by {name}, which sevenn"):
        checkpoints.refuse_unknown(fitted.config_ | {name: value}, "model.pth")


def test_what_is_switched_off_or_of_training_is_no_reason():
    config = {"zbl": False, "lora": {}, "spin": None, "load_mine_path": ["a"], "shift_cp": [1.0], "epoch": 3}
    checkpoints.refuse_unknown(config, "model.pth")


def test_weights_that_the_network_does_not_have_are_named(fitted, tmp_path):
    fitted.save(tmp_path)
    kept = torch.load(tmp_path / "model.pth", weights_only=True)
    kept["model_state_dict"]["0_convolution.adapter"] = torch.zeros(2)
    torch.save(kept, tmp_path / "more.pth")
    with pytest.raises(UserError, match=r"more\.pth: not a checkpoint .*0_convolution\.adapter"):
        load(tmp_path / "more.pth")


# -- trust ---------------------------------------------------------------------------------------------


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (Path.touch, (self._path,))


@pytest.fixture
def foreign(fitted, tmp_path):
    """A checkpoint that leaves the file ``ran`` beside it when it is read as a pickle."""
    fitted.save(tmp_path / "saved")
    kept = torch.load(tmp_path / "saved" / "model.pth", weights_only=True)
    kept["config"]["loss_param"] = Touch(tmp_path / "ran")
    torch.save(kept, tmp_path / "foreign.pth")
    return tmp_path / "foreign.pth"


def test_what_is_ours_is_plain_numbers(fitted, alloys, tmp_path):
    """torch alone reads it, and makes nothing but tensors and plain values."""
    fitted.save(tmp_path / "one")
    SevenNetDirect(**SMALL).fit(alloys[:4]).save(tmp_path / "two")
    for name in ("one", "two"):
        assert torch.load(tmp_path / name / "model.pth", weights_only=True)["config"]


@pytest.mark.parametrize("name", ["7net-0", "7net-0_22may2024", "7net-l3i5", "7net-mf-0"])
def test_installed_checkpoints_need_no_trust(name):
    assert checkpoints.content(Path(pretrained_name_to_path(name)))["config"]


def test_a_folder_of_before_with_arrays_in_it_is_read(fitted, alloys, tmp_path):
    """Configurations were written as they came out of the checkpoint that training started from."""
    fitted.save(tmp_path)
    path = tmp_path / "model.pth"
    kept = torch.load(path, weights_only=True)
    kept["config"] |= {keys.SHIFT: np.array(kept["config"][keys.SHIFT]), "scale_cp": np.float64(1.0)}
    torch.save(kept, path)
    one, other = fitted.predict(alloys[:1])[0], load(tmp_path).predict(alloys[:1])[0]
    assert other.energy == pytest.approx(one.energy, abs=1e-5)


def test_a_file_that_can_run_code_asks_for_trust_and_runs_none(foreign, alloys):
    ran = foreign.with_name("ran")
    sentence = r"foreign\.pth: holds pathlib\.Path\.touch|foreign\.pth: holds .* repeat with --trust"
    for read in (
        lambda: load(foreign),
        lambda: SevenNet(checkpoint=str(foreign)).fit(alloys[:4]),
        lambda: SevenNetDirect(checkpoint=str(foreign)).fit(alloys[:4]),
    ):
        with pytest.raises(UserError, match=sentence):
            read()
        assert not ran.exists()


def test_a_file_that_is_trusted_is_read_and_saved_without_its_code(foreign, fitted, alloys):
    potential = load(foreign, trust=True)
    assert foreign.with_name("ran").exists()
    one, other = fitted.predict(alloys[:1])[0], potential.predict(alloys[:1])[0]
    assert other.energy == pytest.approx(one.energy, abs=1e-5)
    SevenNet(checkpoint=str(foreign), steps=0).trusting(True).fit(alloys[:4])
    potential.save(foreign.with_name("again"))
    load(foreign.with_name("again"))


@pytest.mark.parametrize("kind", [SevenNet, SevenNetDirect])
def test_a_folder_of_someone_else_asks_for_trust(kind, alloys, tmp_path):
    kind(**SMALL).fit(alloys[:4]).save(tmp_path)
    path = tmp_path / "model.pth"
    kept = torch.load(path, weights_only=True)
    torch.save(kept | {"epoch": Touch(tmp_path / "ran")}, path)
    with pytest.raises(UserError, match="repeat with --trust if you trust its source"):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()
    load(tmp_path, trust=True)
    assert (tmp_path / "ran").exists()


def test_the_state_of_a_training_runs_no_code(alloys, tmp_path):
    torch.save({"states": Touch(tmp_path / "ran")}, tmp_path / "training.pt")
    with pytest.raises(UserError, match=r"training\.pt: not the state of a training"):
        SevenNet(**SMALL).fit(alloys[:4], checkpoint=tmp_path)
    assert not (tmp_path / "ran").exists()


@settings(max_examples=40, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), st.builds(pickle.dumps, st.lists(st.text(max_size=5)))))
def test_bytes_that_are_no_checkpoint_are_one_sentence(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "model.pth"
    path.write_bytes(content)
    for trust in (False, True):
        with pytest.raises(UserError, match=r"model\.pth: not a checkpoint that sevenn"):
            load(path, trust=trust)


# -- the command line ----------------------------------------------------------------------------------


def mlip_bench(*words):
    """Run a command; return the UserError that it ends with, or None, and what it printed."""
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    if isinstance(result.exception, UserError):
        return result.exception, result.output
    assert result.exception is None, result.exception
    return None, result.output


@pytest.fixture
def data(alloys, tmp_path):
    ase.io.write(tmp_path / "test.extxyz", alloys[:10])
    return tmp_path / "test.extxyz"


def test_evaluate_takes_the_level_of_theory(levels, data):
    error, _ = mlip_bench("evaluate", levels, "--test", data)
    assert "set modal to one of PBE, R2SCAN" in str(error)
    error, output = mlip_bench("evaluate", levels, "--test", data, "--set", "sevennet.modal=PBE")
    assert error is None
    assert "sevennet on 10 structures" in output


def test_a_setting_that_a_file_does_not_leave_open(levels, data):
    error, _ = mlip_bench("evaluate", levels, "--test", data, "--set", "sevennet.cutoff=3")
    assert "sevennet.cutoff cannot be set for a file that is read" in str(error)


def test_evaluate_and_export_ask_for_trust(foreign, data):
    ran = foreign.with_name("ran")
    for words in (
        ("evaluate", foreign, "--test", data),
        ("export", foreign, "--out", foreign.with_name("out")),
    ):
        error, _ = mlip_bench(*words)
        assert "repeat with --trust" in str(error)
        assert not ran.exists()
        error, _ = mlip_bench(*words, "--trust")
        assert error is None
        ran.unlink()


def test_trust_reaches_the_tasks_of_a_run(foreign, levels, data, tmp_path, do_plan):
    """Fits from a checkpoint and potentials of files, in child processes."""
    dataset = own_data(data, data, 0, None)
    hypers = {"checkpoint": str(foreign), "steps": 0}
    plans = (
        PotentialPlan("tuned", "sevennet", hypers),
        PotentialPlan("levels", "sevennet", {"modal": "R2SCAN"}, levels),
    )
    for trust, n_failures in ((False, 1), (True, 0)):
        plan = Plan(dataset, plans, (), trust=trust)
        outcome = do_plan(plan, tmp_path / "run")
        assert [failure.potential for failure in outcome.failures] == ["tuned"] * n_failures
