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
from mlip_bench.data.splits import split, subset
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


# -- nested subsets --------------------------------------------------------------------------------------

shares = st.lists(st.floats(0.05, 1.0), min_size=2, max_size=5, unique=True)


@given(members=groups, seed=st.integers(0, 100), kind=st.sampled_from(["random", "blocks"]), some=shares)
@settings(max_examples=100, deadline=None)
def test_what_a_small_subset_has_a_large_one_has_too(members, seed, kind, some):
    frames = [frame(index, group, symbols) for index, (group, symbols) in enumerate(members)]
    frames.insert(3, frame(len(frames), "isolated", "Cu"))
    before: set[int] = set()
    for share in sorted(some):
        try:
            found = subset(frames, share, seed, kind)
        except UserError:
            # Refused are only those that would lack an element, all of which a larger one brings.
            assert round(share * len(members)) < len(reference.elements(frames))
            assert not before
            continue
        assert before <= set(steps(found))
        assert len(found) == round(share * len(members)) + 1
        assert frames[3] in found
        assert [step for step in steps(frames) if step in steps(found)] == steps(found)
        assert set(reference.elements(found)) == set(reference.elements(frames))
        assert steps(subset(frames, share, seed, kind)) == steps(found)
        before = set(steps(found))
    assert steps(subset(frames, 1.0, seed, kind)) == steps(frames)


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), seed=st.integers(0, 100), data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_subset_has_of_each_group_its_part_and_one_at_least(sizes, seed, data):
    names = [f"group {index}" for index, size in enumerate(sizes) for _ in range(size)]
    frames = [frame(index, name) for index, name in enumerate(names)]
    n_taken = data.draw(st.integers(1, len(frames)))
    found = subset(frames, n_taken / len(frames), seed)
    taken = Counter(reference.group(atoms) for atoms in found)
    assert len(found) == n_taken
    assert len(taken) == min(n_taken, len(sizes))
    if n_taken < len(sizes):  # none of the groups without has more than those with one
        without = [size for index, size in enumerate(sizes) if not taken[f"group {index}"]]
        assert max(without) <= min(sizes[int(name.split()[1])] for name in taken)
    # Who has a first one for nothing takes it from others: from each no more than there are of these.
    expected = {f"group {index}": n_taken * size / len(frames) for index, size in enumerate(sizes)}
    n_given = sum(part < 1 for part in expected.values())
    for name, part in expected.items():
        assert part - 1 - n_given <= taken[name] <= max(1, part + 1)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    seed=st.integers(0, 50),
    share=st.floats(0.05, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_of_a_trajectory_a_subset_has_one_run_of_neighbours(lengths, seed, share):
    """Frames here and there of a trajectory would tell as much as all of it."""
    frames = [
        frame(100 * number + step, f"run {number}") for number, n in enumerate(lengths) for step in range(n)
    ]
    if not round(share * len(frames)):
        return
    found = subset(frames, share, seed, "blocks")
    for number in range(len(lengths)):
        own = [step for step in steps(found) if step // 100 == number]
        assert own == list(range(own[0], own[0] + len(own))) if own else True


def test_a_subset_that_would_lack_an_element_is_refused():
    frames = [frame(index, "all", "Cu2") for index in range(18)] + [
        frame(index, "all", "Au2") for index in (18, 19)
    ]
    assert set(reference.elements(subset(frames, 0.1, 0))) == {"Cu", "Au"}
    with pytest.raises(
        UserError, match=r"--fractions 0.05: that is 1 of 20 .* 2 are needed to have all elements"
    ):
        subset(frames, 0.05, 0)
    with pytest.raises(UserError, match=r"--fractions 0.01: of 20 training structures that is none"):
        subset(frames, 0.01, 0)


def test_another_seed_draws_another_order():
    frames = [frame(index) for index in range(40)]
    assert len({tuple(steps(subset(frames, 0.2, seed))) for seed in range(10)}) == 10
    assert len({tuple(steps(subset(frames, 0.2, seed, "blocks"))) for seed in range(10)}) > 5
