"""Cost of data without a crystal: a box of copies of its slab or molecule, said in a line and in each row."""

import dataclasses

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import molecule, mx2
from command import mlip_bench
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data.base import most_stable
from mlip_bench.data.dataset import own_data, with_crystal
from mlip_bench.data.files import read_crystal
from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.md import boxes
from mlip_bench.measure import cost, direct, elastic, scaling, stability
from mlip_bench.measure.base import Subject
from mlip_bench.measure.cost import timing
from mlip_bench.potentials import family, load
from mlip_bench.potentials.base import silent
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.store import Store

TINY = {"twojmax": 2, "cutoff": 4.0}


def slabs():
    """Molybdenum disulfide, two by two, periodic in its plane only; the third cell vector is zero."""
    frames = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        atoms = mx2("MoS2").repeat((2, 2, 1))
        atoms.cell[2] = 0
        atoms.pbc = [True, True, False]
        frames.append(shaken(atoms, generator, -90.0))
    return frames


def molecules():
    """Ethanol and acetic acid with harmonic forces."""
    frames = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        atoms = molecule(["CH3CH2OH", "CH3COOH"][seed % 2])
        frames.append(shaken(atoms, generator, -6.0 * len(atoms)))
    return frames


def shaken(atoms, generator, energy):
    moves = 0.03 * generator.normal(size=(len(atoms), 3))
    moved = atoms.copy()
    moved.positions += moves
    return labelled(moved, energy + 10 * float((moves**2).sum()), -20 * moves, None)


KINDS = {"slabs": slabs, "molecules": molecules}


def written(path, frames):
    ase.io.write(path, frames, format="extxyz")
    return path


def command(folder, *arguments):
    done = mlip_bench(*arguments, folder=folder)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(params=KINDS)
def data(request, tmp_path):
    return own_data(written(tmp_path / "train.extxyz", KINDS[request.param]()), None, 0, None)


@pytest.fixture
def subject(data, tmp_path, monkeypatch, brief_timings):
    monkeypatch.setattr(cost, "N_ATOMS", 100)
    return Subject(family("snap")(**TINY).fit(data.train), data, tmp_path)


def test_a_box_of_copies_keeps_them_apart(data, tmp_path):
    box = Subject(None, data, tmp_path).sample("cost")
    assert box.pbc.all()
    assert len(box) == len(data.sample)
    repeated = boxes.repeated_to(box, 300)
    open_directions = [axis for axis in range(3) if not data.sample.pbc[axis]]
    for axis in open_directions:
        width = np.ptp(box.positions[:, axis])
        assert box.cell[axis, axis] - width == pytest.approx(10.0)
    assert len(repeated) >= 300


def test_every_measure_of_dynamics_has_values_and_says_on_what(subject, monkeypatch):
    monkeypatch.setattr(scaling, "SIZES", (48, 100))
    monkeypatch.setattr(stability, "N_ATOMS", 48)
    monkeypatch.setattr(stability, "LONG", (0.05, 0.05))
    for name, value in (("SIZES", (48,)), ("NVE_ATOMS", 24), ("NVE_STEPS", 20), ("CLUSTER_ATOMS", 20)):
        monkeypatch.setattr(direct, name, value)
    for module in (cost, scaling, stability, direct):
        values = module.run(subject, silent)
        assert {"s_per_step", "held_ps", "md_s_per_step"} & {value.metric for value in values}
        if module is cost:
            timed = {value.implementation for value in values if value.metric == "cost_ratio"}
            assert timed == {"lammps", "mlip-bench"}
        formula = subject.dataset.sample.get_chemical_formula()
        for value in values:
            assert value.note.endswith(f"on a box of copies of {formula} (no crystal in the data)")


def test_properties_say_that_they_need_a_crystal(subject):
    with pytest.raises(UserError, match=r"elastic: needs a crystal, periodic in three .*--crystal"):
        elastic.run(subject, silent)


def test_the_sample_decides_a_timing_and_nothing_else(data, tmp_path):
    other = tmp_path / "other.xyz"
    moved = data.sample.copy()
    moved.positions[0] += 0.01
    ase.io.write(other, moved, format="extxyz")

    def keys(dataset):
        plan = Plan(dataset, (PotentialPlan("snap", "snap", {}),), ("errors", "cost"))
        store = Store(tmp_path / "store")
        return [task.key for task in plan.tasks(Data.of(dataset, store.put_structures))]

    before, after = keys(data), keys(with_crystal(data, other))
    assert before[:2] == after[:2]
    assert before[2] != after[2]


def test_a_named_molecule_is_what_dynamics_run_on(embedded, tmp_path):
    path = written(tmp_path / "cluster.xyz", Atoms("Mo2", [[0, 0, 0], [2.5, 0, 0]]))
    data = with_crystal(embedded, path)
    assert data.crystal is None
    assert data.on_copies == "on a box of copies of Mo2 (given with --crystal)"
    ruler = load(potentials_folder() / timing.RULER)
    assert len(Subject(ruler, data, tmp_path).sample("cost")) == 2
    with pytest.raises(UserError, match="phonons: needs a crystal"):
        Subject(ruler, data, tmp_path).crystal("phonons")


def test_a_crystal_is_timed_as_before(embedded, tmp_path):
    assert embedded.on_copies is None
    assert embedded.sample is embedded.crystal
    assert embedded.sample_sha256 == embedded.crystal_sha256
    box = Subject(None, embedded, tmp_path).sample("cost")
    assert box == embedded.crystal
    named = with_crystal(embedded, written(tmp_path / "crystal.xyz", embedded.crystal))
    assert named.named is None
    assert named.crystal == embedded.crystal


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("Mo2", [[0, 0, 0], [0.1, 0, 0]]), "0.100 Å apart"),
        (Atoms("Mo", cell=[3, 3, 0], pbc=True), "periodic along a cell vector that is zero"),
    ],
)
def test_a_named_structure_that_cannot_be(embedded, tmp_path, atoms, message):
    with pytest.raises(UserError, match=rf"bad\.xyz: .*{message}"):
        with_crystal(embedded, written(tmp_path / "bad.xyz", atoms))


def test_a_slab_is_no_crystal_to_measure_properties_of(tmp_path):
    path = written(tmp_path / "slab.xyz", slabs()[0])
    with pytest.raises(UserError, match=r"slab\.xyz: not a crystal"):
        read_crystal(path)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([(False,) * 3, (True, True, False), (True,) * 3]),
            st.sampled_from(["Cu", "Cu2", "CuAu", "Cu2Au"]),
            st.floats(-2, 2),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(deadline=None, max_examples=50)
def test_the_sample_is_the_most_stable_of_the_most_periodic(kinds):
    frames = []
    for index, (pbc, formula, energy) in enumerate(kinds):
        # Without a vacuum, but for an isolated atom.
        atoms = Atoms(formula, cell=[20] * 3 if formula == "Cu" else [9, 6, 6], pbc=pbc)
        atoms.positions[:, 0] = (2.5 + 0.01 * index) * np.arange(len(atoms))
        frames.append(labelled(atoms, energy * len(atoms), np.zeros((len(atoms), 3)), None))
    found = most_stable(frames)
    several = [atoms for atoms in frames if len(atoms) > 1]
    if not several:
        assert found is None
        return
    assert found.pbc.sum() == max(atoms.pbc.sum() for atoms in several)
    rivals = [atoms for atoms in several if (atoms.pbc == found.pbc).all()]
    assert len(set(found.numbers)) == max(len(set(atoms.numbers)) for atoms in rivals)
    alike = [atoms for atoms in rivals if atoms.get_chemical_formula() == found.get_chemical_formula()]
    (chosen,) = [atoms for atoms in alike if atoms == found][:1]
    energies = [atoms.calc.results["energy"] for atoms in alike]
    assert chosen.calc.results["energy"] == pytest.approx(min(energies))


@pytest.mark.slow
def test_run_gives_a_row_of_cost_by_each_implementation(tmp_path):
    train = written(tmp_path / "train.extxyz", slabs())
    code, output = command(
        tmp_path,
        *("run", "--potential", "snap", "--measure", "errors,cost", "--train", train, "--out", "out"),
        *("--set", "snap.twojmax=2", "--set", "snap.cutoff=4.0"),
    )
    assert code == 0, output
    assert "cost is timed on a box of copies of " in output
    rows = pd.read_json(tmp_path / "out" / "results.jsonl", lines=True)
    ratios = rows[rows["metric"] == "cost_ratio"]
    assert ratios["implementation"].tolist() == ["lammps", "mlip-bench"]
    assert (ratios["value"] > 0).all()
    assert all("(no crystal in the data)" in note for note in ratios["note"])
    assert rows.loc[rows["measure"] == "errors", "implementation"].isna().all()


@pytest.mark.slow
def test_sweep_times_molecules(tmp_path):
    train = written(tmp_path / "train.extxyz", molecules())
    code, output = command(
        tmp_path,
        *("sweep", "--potential", "snap", "--vary", "snap.twojmax=2", "--budget", "5min", "--train", train),
        *("--out", "out", "--jobs", "1"),
    )
    assert code == 0, output
    assert "cost is timed on a box of copies of " in output
    rows = pd.read_json(tmp_path / "out" / "results.jsonl", lines=True)
    assert (rows.loc[rows["metric"] == "cost_ratio", "value"] > 0).all()


def test_isolated_atoms_alone_are_not_timed(embedded, tmp_path):
    alone = labelled(Atoms("Mo", cell=[20, 20, 20], pbc=True), -1.0, np.zeros((1, 3)), None)
    data = dataclasses.replace(embedded, crystal=None, train=[alone])
    with pytest.raises(UserError, match="isolated atoms only"):
        Subject(None, data, tmp_path).sample("cost")
    assert data.sample_sha256 == "none"
