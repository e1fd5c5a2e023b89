"""Files named like checkpoints: pickles that can run code ask for --trust, others what they are."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from mlip_bench.errors import UserError
from mlip_bench.potentials.sevennet import checkpoints


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (Path.touch, (self._path,))


def old_form(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def new_form(content, path):
    torch.save(content, path)


def bare_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


def oldest_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=0))


FORMS = [old_form, new_form, bare_pickle, oldest_pickle]


@pytest.mark.parametrize("save", FORMS)
@pytest.mark.parametrize("weights", [True, False])
def test_a_pickle_of_any_form_asks_for_trust_and_runs_nothing(save, weights, tmp_path):
    path = tmp_path / "model.pth"
    save({"weight": torch.ones(2) if weights else 0, "more": Touch(tmp_path / "ran")}, path)
    with pytest.raises(UserError, match=r"model\.pth: holds .*pathlib.*; repeat with --trust") as refused:
        checkpoints.content(path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [old_form, new_form])
def test_a_whole_module_asks_for_trust_then_says_what_is_needed(save, tmp_path):
    path = tmp_path / "model.pth"
    save(torch.nn.Sequential(torch.nn.Linear(2, 1)), path)
    with pytest.raises(UserError, match=r"model\.pth: holds torch\.nn\.modules.*; repeat with --trust"):
        checkpoints.read(path, "", trust=False)
    with pytest.raises(UserError, match=r"model\.pth: not a checkpoint .*it holds a whole Sequential"):
        checkpoints.read(path, "", trust=True)


def test_numbers_in_the_old_form_need_no_trust(tmp_path):
    path = tmp_path / "model.pth"
    old_form({"config": {"cutoff": 5.0}, "model_state_dict": {"a": torch.arange(3)}}, path)
    assert checkpoints.content(path)["model_state_dict"]["a"].tolist() == [0, 1, 2]


def archive(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, "x")

    return write


def script(path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))


def cut(path):
    new_form({"config": {}, "a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("epochs: 100\nlearning_rate: 0.01\n"), "it is a text file"),
        (lambda path: path.write_text("name,Größe,Å\n" * 200), "it is a text file"),
        (lambda path: path.write_text("(see the other file)\n"), "it is a text file"),
        (lambda path: path.write_text("cold and wet\nI told you\n"), "it is a text file"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
            "a pointer of Git LFS",
        ),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(bytes(range(1, 40)) * 9), "neither a zip archive nor a pickle"),
        (archive("readme.txt"), "it is another zip archive"),
        (script, "it is a TorchScript archive"),
        (cut, "a zip archive that is not whole"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named_for_what_it_is(make, words, tmp_path):
    path = tmp_path / "model.pth"
    make(path)
    for trust in (False, True):
        with pytest.raises(
            UserError, match=rf"model\.pth: not a checkpoint that sevenn .*{words}"
        ) as refused:
            checkpoints.read(path, "", trust)
        assert "\n" not in str(refused.value)
