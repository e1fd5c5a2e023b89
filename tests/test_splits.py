"""Setting a tenth aside: at random within groups, or in blocks of a trajectory."""

from collections import Counter

import ase.io
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlip_bench.cli import app
from mlip_bench.cli.choices import read_dataset
from mlip_bench.data import reference
from mlip_bench.data.dataset import own_data
from mlip_bench.data.splits import split
from mlip_bench.errors import UserError


def frame(number, group="all", symbols="Cu2"):
    atoms = Atoms(
        symbols, [[0, 0, 0], [2.5, 0, 0]][: len(Atoms(symbols))], info={"config_type": group, "step": number}
    )
    return reference.labelled(atoms, float(number), np.zeros((len(atoms), 3)), None)


def steps(frames):
    return [atoms.info["step"] for atoms in frames]


groups = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["Cu2", "CuAu", "Au2"])), min_size=12, max_size=80
)


@given(members=groups, seed=st.integers(0, 100), kind=st.sampled_from(["random", "blocks"]))
@settings(max_examples=60, deadline=None)
def test_a_split_is_a_partition_by_seed_that_keeps_elements_and_isolated_atoms(members, seed, kind):
    frames = [frame(index, group, symbols) for index, (group, symbols) in enumerate(members)]
    frames.append(frame(len(frames), "isolated", "Cu"))
    train, test = split(frames, seed, "my.xyz", kind)
    assert sorted(steps(train) + steps(test)) == list(range(len(frames)))
    assert 1 <= len(test) <= max(1, round(0.1 * len(members)))
    assert reference.elements(train) == reference.elements(frames)
    assert frames[-1] in train
    assert steps(split(frames, seed, "my.xyz", kind)[1]) == steps(test)


@given(sizes=st.lists(st.integers(10, 60), min_size=1, max_size=5), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_random_split_takes_a_tenth_of_each_group(sizes, seed):
    names = [f"group {index}" for index, size in enumerate(sizes) for _ in range(size)]
    frames = [frame(index, name) for index, name in enumerate(names)]
    _, test = split(frames, seed, "my.xyz")
    assert len(test) == round(0.1 * len(frames))
    taken = Counter(reference.group(atoms) for atoms in test)
    for index, size in enumerate(sizes):
        assert abs(taken[f"group {index}"] - 0.1 * size) <= 1


@given(sizes=st.lists(st.integers(10, 60), min_size=1, max_size=5), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_blocks_are_runs_of_neighbours_of_each_trajectory(sizes, seed):
    frames = [frame(step, f"group {index}") for index, size in enumerate(sizes) for step in range(size)]
    _, test = split(frames, seed, "my.xyz", "blocks")
    for index in range(len(sizes)):
        run = [atoms.info["step"] for atoms in test if reference.group(atoms) == f"group {index}"]
        assert run == list(range(run[0], run[0] + len(run))) if run else True


def test_trajectories_of_other_atoms_in_one_group_are_blocks_of_their_own():
    frames = [frame(step, symbols=symbols) for symbols in ("Cu2", "CuAu") for step in range(40)]
    _, test = split(frames, 0, "my.xyz", "blocks")
    assert Counter(str(atoms.symbols) for atoms in test) == {"Cu2": 4, "CuAu": 4}


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match=r"--split block: not a way to split.*did you mean 'blocks'"):
        split([frame(0), frame(1)], 0, "my.xyz", "block")


def test_a_large_list_is_split_in_no_time():
    frames = [frame(0)] * 100_000
    train, test = split(frames, 0, "my.xyz")
    assert (len(train), len(test)) == (90_000, 10_000)


def test_the_origin_says_how_own_data_was_split(tmp_path):
    path = tmp_path / "my.extxyz"
    ase.io.write(path, [frame(index) for index in range(30)], format="extxyz")
    assert "split 27/3 by seed 0, at random within each group" in own_data(path, None, 0, None).origin
    blocks = own_data(path, None, 0, None, kind="blocks")
    assert "split 27/3 by seed 0, in blocks of neighbouring frames" in blocks.origin
    assert np.ptp(steps(blocks.test)) == 2


def test_a_split_of_what_is_split_already_is_refused(tmp_path):
    path = tmp_path / "my.extxyz"
    ase.io.write(path, [frame(index) for index in range(30)], format="extxyz")
    for arguments in ((None, "auto", path, path), ("Mo", "embedded", None, None)):
        with pytest.raises(UserError, match="--split blocks: nothing is split here"):
            read_dataset(*arguments, 0, split="blocks")


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_help_explains_the_split(command):
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert "--split" in text
    assert "blocks" in text
