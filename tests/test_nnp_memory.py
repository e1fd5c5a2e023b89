"""NNP's training data in blocks: the same numbers, bounded memory, and a sentence where it cannot fit."""

import resource
import subprocess
import sys

import numpy as np
import pytest

from mlip_bench.errors import UserError
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials.nnp import NNP, blocks, model
from mlip_bench.potentials.symmetry_functions import choice

SMALL = {"cutoff": 4.2, "radial_shifts": [0.0, 1.5, 3.0], "zetas": [1.0, 2.0], "hidden": [7, 5]}


def in_small_blocks(monkeypatch, structures_per_block):
    """Cut the alloys' data (8 atoms each) into blocks of about so many structures."""
    monkeypatch.setattr(blocks, "IN_MEMORY", 0)
    monkeypatch.setattr(blocks, "PER_BLOCK", structures_per_block)
    monkeypatch.setattr(model, "SINGLE", 0)
    monkeypatch.setattr(model, "cut", lambda sizes, *rest: blocks.cut([1] * len(sizes), *rest))


def test_the_blocks_hold_every_structure_once():
    """What is held out has blocks of its own, none is larger than asked for, and the seed decides."""
    sizes = np.random.default_rng(0).integers(1, 40, 300) * 2**20
    held_out = np.arange(0, 300, 10)
    parts = blocks.cut(sizes.tolist(), held_out, 1)
    assert len(parts) > 10
    assert sorted(np.concatenate([block for block, _ in parts]).tolist()) == list(range(300))
    for block, mask in parts:
        np.testing.assert_array_equal(mask, np.isin(block, held_out))
        assert mask.all() or not mask.any()
        assert sizes[block].sum() <= blocks.PER_BLOCK + 40 * 2**20
    again, other = (blocks.cut(sizes.tolist(), held_out, seed) for seed in (1, 2))
    assert all(np.array_equal(one, two) for (one, _), (two, _) in zip(parts, again, strict=True))
    assert not all(np.array_equal(one, two) for (one, _), (two, _) in zip(parts, other, strict=False))


def test_little_data_is_one_block():
    (part,) = blocks.cut([1000] * 20, np.array([3]), 0)
    np.testing.assert_array_equal(part[0], np.arange(20))
    assert np.flatnonzero(part[1]).tolist() == [3]


def test_gauss_newton_does_not_depend_on_the_blocks(alloys, monkeypatch):
    """Normal equations are a sum over blocks, so training by it alone gives the same potential in any."""
    settings = SMALL | {"epochs": 0, "gauss_newton_steps": 4}
    whole = NNP(**settings).fit(alloys[:18]).predict(alloys[18:20])
    in_small_blocks(monkeypatch, 4)
    in_blocks = NNP(**settings).fit(alloys[:18]).predict(alloys[18:20])
    for one, other in zip(whole, in_blocks, strict=True):
        assert other.energy == pytest.approx(one.energy, abs=1e-5)
        np.testing.assert_allclose(other.forces, one.forces, atol=1e-4)


@pytest.mark.parametrize("validation_fraction", [0.0, 0.2])
def test_the_filter_learns_in_blocks_as_well(validation_fraction, alloys, monkeypatch):
    """The order of the observations is another, the error about the same; the same seed gives the same."""
    settings = SMALL | {"epochs": 12, "gauss_newton_steps": 0, "validation_fraction": validation_fraction}

    def error():
        potential = NNP(**settings).fit(alloys[:18], seed=2)
        return summary(comparison(alloys[:18], potential.predict(alloys[:18])))["force_rmse"]

    whole = error()
    in_small_blocks(monkeypatch, 5)
    first = error()
    assert first == error()
    assert first < 1.5 * whole


def test_a_killed_fit_in_blocks_goes_on_to_the_same_result(alloys, tmp_path, monkeypatch):
    from mlip_bench.potentials.nnp import training

    in_small_blocks(monkeypatch, 5)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    settings = SMALL | {"epochs": 5, "gauss_newton_steps": 2}
    undisturbed = NNP(**settings).fit(alloys[:12], seed=3)

    def stop(share, message):
        if message.startswith("epoch 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NNP(**settings).fit(alloys[:12], seed=3, progress=stop, checkpoint=tmp_path)
    resumed = NNP(**settings).fit(alloys[:12], seed=3, checkpoint=tmp_path)
    one, other = undisturbed.predict(alloys[:1])[0], resumed.predict(alloys[:1])[0]
    assert one.energy == pytest.approx(other.energy, abs=1e-9)


def test_functions_chosen_from_parts_are_those_chosen_at_once(alloys, monkeypatch):
    """A QR decomposition of the factors of parts has the pivots of the whole."""
    settings = SMALL | {"epochs": 1, "gauss_newton_steps": 0, "n_functions": 6}
    whole = NNP(**settings).fit(alloys[:18]).functions_
    monkeypatch.setattr(choice, "ROWS_AT_ONCE", 30)
    assert NNP(**settings).fit(alloys[:18]).functions_ == whole


def test_a_fit_beyond_memory_is_refused_in_a_sentence(alloys):
    with pytest.raises(UserError, match=r"nnp: this fit needs about .* GB of memory .*nnp\.hidden"):
        NNP(hidden=[2000, 2000]).fit(alloys[:4])


def test_a_fit_beyond_the_disk_is_refused_in_a_sentence(alloys, monkeypatch):
    in_small_blocks(monkeypatch, 5)
    usage = type("Usage", (), {"free": -1})
    monkeypatch.setattr(blocks.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match="GB on disk, and"):
        NNP(**SMALL).fit(alloys[:18])


SCRIPT = """
import sys
import numpy as np
from pathlib import Path
from ase.build import bulk
from mlip_bench.data.reference import labelled
from mlip_bench.potentials import load
from mlip_bench.potentials.nnp import NNP
from mlip_bench.lammps.loading import potentials_folder

snap = load(Path(potentials_folder()) / "Mo_Zuo_JPCA2020.snapcoeff")
generator = np.random.default_rng(0)
structures = []
for index in range(int(sys.argv[1])):
    atoms = bulk("Mo", cubic=True).repeat(3)
    atoms.set_cell(atoms.cell.array * (1 + 0.02 * generator.normal()), scale_atoms=True)
    atoms.rattle(0.15, seed=index)
    said = snap.predict([atoms])[0]
    structures.append(labelled(atoms, said.energy, said.forces, said.stress))
functions = {"radial_etas": [0.036, 0.071, 0.179], "angular_etas": [0.036, 0.071, 0.179]}
settings = {"cutoff": 5.2, "hidden": [8, 8], "epochs": 1, "gauss_newton_steps": 1}
NNP(**functions, **settings).fit(structures)
"""


@pytest.mark.slow
def test_ten_thousand_frames_fit_within_four_gibibytes():
    """54 atoms each, labelled by the published SNAP of Mo; the preset quick with one epoch."""
    subprocess.run([sys.executable, "-c", SCRIPT, "10000"], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak {peak:.2f} GiB")
    assert peak < 4
