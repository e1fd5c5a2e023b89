"""Physicality: Lennard-Jones, of which each number is known, and potentials each broken in one way."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones as ASELennardJones
from ase.units import GPa
from command import mlip_bench
from conftest import needs_mlearn
from scipy.optimize import brentq
from test_samples import molecules, written

from mlip_bench.data import records
from mlip_bench.data.base import Dataset
from mlip_bench.data.dataset import own_data
from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.measure import MEASURES, physicality
from mlip_bench.measure.base import Subject
from mlip_bench.measure.cost.timing import RULER
from mlip_bench.measure.physicality import curves, limits, locality, pairs, quench, strains
from mlip_bench.potentials import family, load
from mlip_bench.potentials.base import silent
from mlip_bench.report import build
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.testing.lennard_jones import LennardJones

EPSILON, SIGMA, CUTOFF, ONSET = 0.4, 2.4, 7.0, 5.0
# Of the face-centred cubic crystal without a cutoff: nearest distance over σ and energy over ε.
NEAREST, COHESION = 1.0902, -8.610


class Pairwise(LennardJones):
    """Energies of pairs by any function of the distance, which ends smoothly at the cutoff."""

    def of_pair(self, distances, first, second):
        """Return the energy (eV) of pairs (n_edges,) at distances (Å), of atomic numbers."""
        raise NotImplementedError

    def energies_of_atoms(self, graph):
        """Return half of each pair's energy to its centre."""
        distances = graph.vectors.norm(dim=1)
        first, second = graph.numbers[graph.centres], graph.numbers[graph.neighbours]
        share = ((distances - self.hypers.onset) / (self.hypers.cutoff - self.hypers.onset)).clamp(0, 1)
        switch = 1 - share**3 * (10 - 15 * share + 6 * share**2)
        found = self.of_pair(distances, first, second) * switch
        return torch.zeros(len(graph.numbers), dtype=found.dtype).index_add(0, graph.centres, found / 2)


def lennard_jones(distances, epsilon=EPSILON):
    sixth = (SIGMA / distances) ** 6
    return 4 * epsilon * (sixth**2 - sixth)


class Buckingham(Pairwise):
    """A exp(-Br) - C/r⁶, which falls without end at short distance."""

    A, B, C = 2000.0, 3.6, 60.0

    def of_pair(self, distances, first, second):
        return self.A * torch.exp(-self.B * distances) - self.C / distances**6

    def maximum(self):
        """Return the distance (Å) at which the two terms have the same slope, inside of the well."""
        return brentq(lambda r: -self.A * self.B * np.exp(-self.B * r) + 6 * self.C / r**7, 0.3, 1.6)


class Attractive(Pairwise):
    """A well at no distance."""

    def of_pair(self, distances, first, second):
        return -torch.exp(-((distances / 2.5) ** 2))


class Kinked(Pairwise):
    """A slope that jumps at 2.75 Å, by twice ``SLOPE``."""

    SLOPE = 1.0

    def of_pair(self, distances, first, second):
        return lennard_jones(distances) + self.SLOPE * (2.75 - distances).abs()


class Stepped(Pairwise):
    """An energy that jumps at 2.75 Å, of which the forces see nothing."""

    STEP = 0.05

    def of_pair(self, distances, first, second):
        return lennard_jones(distances) + self.STEP * (distances > 2.75)


class Bumped(Pairwise):
    """A hill beyond the first neighbours."""

    def of_pair(self, distances, first, second):
        return lennard_jones(distances) + 0.5 * torch.exp(-(((distances - 3.4) / 0.25) ** 2))


class Divided(Pairwise):
    """Copper atoms hold to each other twice as much as to gold."""

    def of_pair(self, distances, first, second):
        return lennard_jones(distances) * (1 + ((first == 29) & (second == 29)))


class Bottomless(Pairwise):
    """Attracts without end, to where nothing is a number."""

    def of_pair(self, distances, first, second):
        return -torch.abs(lennard_jones(distances)) * torch.sqrt(distances - 2.2)


class Crowded(LennardJones):
    """The energy of an atom grows with the number of all atoms."""

    PER_ATOM = 1e-3

    def energies_of_atoms(self, graph):
        return super().energies_of_atoms(graph) + self.PER_ATOM * len(graph.numbers)


class ShortSighted(LennardJones):
    """It says that it reaches less far than it does."""

    @property
    def reach(self):
        """Half of the cutoff that it states would be a quarter of what counts."""
        return 1.5


class Forceful(LennardJones):
    """Forces alone, that are no gradient."""

    family = "forceful"
    predicts = frozenset({"forces"})
    conservative = False

    def _predict(self, structures):
        found = super()._predict(structures)
        return [dataclasses.replace(one, energy=np.nan, stress=np.full(6, np.nan)) for one in found]

    def _stepper(self):
        return lambda atoms: self._predict([atoms])[0]


def potential_of(kind, elements=("Cu",)):
    return kind.of(elements, epsilon=EPSILON, sigma=SIGMA, cutoff=CUTOFF, onset=ONSET)


def data_of(crystal, near=0.85):
    """Training data that has the crystal, compressed so that its shortest distance is ``near`` of its own."""
    frames = []
    for scale in (near, 1.0):
        atoms = crystal.repeat(2)
        atoms.set_cell(np.array(atoms.cell) * scale, scale_atoms=True)
        frames.append(labelled(atoms, 0.0, np.zeros((len(atoms), 3)), None))
    return Dataset("own", "Cu", frames, [], crystal, "here")


@pytest.fixture(scope="module")
def copper():
    return bulk("Cu", "fcc", a=np.sqrt(2) * NEAREST * SIGMA)


@pytest.fixture(scope="module")
def measured(copper, tmp_path_factory):
    """A function that measures a kind of potential; returns values by metric and group, and sentences."""

    def of(kind, elements=("Cu",), crystal=copper, **options):
        folder = tmp_path_factory.mktemp("physicality")
        chosen = physicality.options("quick", options)
        subject = Subject(potential_of(kind, elements), data_of(crystal), folder, options=chosen)
        values = physicality.run(subject, silent)
        assert {value.metric for value in values} <= set(physicality.METRICS)
        found = {(value.metric, value.group): value for value in values}
        return found, (found["unphysical", None].note or "").split("; ")

    return of


@pytest.fixture(scope="module")
def sound(measured):
    return measured(LennardJones)


# -- numbers that are known ------------------------------------------------------------------------------


def test_a_lennard_jones_dimer(sound):
    found, _ = sound
    value = {metric: one.value for (metric, group), one in found.items() if group == "Cu-Cu"}
    assert value["shortest"] == pytest.approx(0.85 * NEAREST * SIGMA)
    assert value["wells"] == 1
    assert value["dimer_turn"] == value["pushed_turn"] == 0
    assert value["bond_length"] == pytest.approx(2 ** (1 / 6) * SIGMA, abs=pairs.DIMER_STEP / 2)
    assert value["bond_energy"] == pytest.approx(EPSILON, rel=1e-3)
    assert value["wall"] == pytest.approx(lennard_jones(0.5))
    # h² s'''/2 over s' at the shortest distance, where both are largest.
    r = value["shortest"] + np.linspace(0, 0.1, 6)
    second = 4 * EPSILON * (156 * SIGMA**12 / r**14 - 42 * SIGMA**6 / r**8)
    fourth = 4 * EPSILON * (156 * 14 * 15 * SIGMA**12 / r**16 - 42 * 8 * 9 * SIGMA**6 / r**10)
    # The last points of the curve are not among the middles: within 2 steps.
    expected = pairs.DIMER_STEP**2 / 2 * fourth / second
    assert min(expected) < value["roughness"] < max(expected)


def test_a_lennard_jones_crystal(sound, copper):
    found, sentences = sound
    assert found["unphysical", None].value == 0, sentences
    assert found["compression_turn", None].value == found["dilation_turn", None].value == 0
    assert found["lowest_pressure", None].value > 0
    # The minimum is in the grid; a cutoff of 2.9 σ takes some per cent.
    own = strains.crystal_energy(potential_of(LennardJones), copper)
    assert own == pytest.approx(COHESION * EPSILON, rel=0.08)
    assert found["quench_energy", None].value > 0
    assert found["quench_distance", None].value > 1
    assert found["work_mismatch", None].value < 0.01
    for group in ("cell", "clusters"):
        assert found["copy_energy", group].value < 1e-9
        assert found["copy_force", group].value < 1e-6
    assert found["response_beyond", None].value < 1e-9


def test_pressures_and_energies_of_strain_are_those_of_ase(copper):
    theirs = ASELennardJones(epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF, ro=ONSET, smooth=True)
    curves_of = strains.compressed(potential_of(LennardJones), copper).curves
    energies, pressures = [], []
    for atoms in strains.scaled(copper, strains.LENGTHS):
        atoms.calc = theirs
        energies.append(atoms.get_potential_energy())
        pressures.append(-atoms.get_stress()[:3].mean() / GPa)
    np.testing.assert_allclose(curves_of["strain energy"], np.array(energies) - min(energies), atol=1e-6)
    np.testing.assert_allclose(curves_of["strain pressure"], pressures, rtol=1e-6, atol=1e-6)


def test_the_response_is_that_of_ase(copper):
    found = locality.response(potential_of(LennardJones), copper)
    theirs = ASELennardJones(epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF, ro=ONSET, smooth=True)
    distances = found.curves["response distance"]
    assert distances.max() > 2 * CUTOFF
    n_cells = len(distances)
    bar = locality.boxes.rattled(copper.repeat((n_cells, 1, 1)))
    moved = bar.copy()
    moved.positions[0] += locality.MOVED / np.sqrt(3)
    forces = []
    for atoms in (bar, moved):
        atoms.calc = theirs
        forces.append(atoms.get_forces())
    change = 1e3 * np.linalg.norm(forces[1] - forces[0], axis=1)
    np.testing.assert_allclose(found.curves["response change"], change, atol=1e-6)
    assert found.value("response_range") == distances[change > locality.NO_CHANGE].max()
    assert found.value("response_range") <= CUTOFF


def test_roughness_has_its_two_limits():
    places = np.arange(-1, 1, 0.01)
    assert curves.roughness(np.cos(3 * places), 0.01) == pytest.approx((3 * 0.01) ** 2 / 2, rel=0.01)
    jump = 0.2
    broken = 5 * places + jump * (places > 0.003)
    # The step is once within both differences: Δ/2h without, Δ/4h with twice the step.
    assert curves.roughness(broken, 0.01) == pytest.approx((jump / 0.04) / (5 + jump / 0.04))
    assert curves.roughness(np.zeros(9), 0.01) == 0


def test_work_is_the_integral():
    places = np.arange(0, 1.005, 0.01)
    smooth = np.sin(places)
    assert locality.work_mismatch(smooth, np.cos(places), 0.01) < 1e-9
    assert locality.work_mismatch(smooth + 0.3 * (places > 0.555), np.cos(places), 0.01) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("forces", "turn", "n_wells"),
    [
        ([5, 4, 3, 2, 1], 0, 1 - 1),  # repulsive all the way: no minimum within
        ([5, 4, -1, -1, -1], 0, 1),  # a well below training is one
        ([-5, -4, -3, -2, -1], 5, 1),  # they fall into each other
        ([-5, -4, 3, 2, -1], 2, 2),
        ([5, -4, 3, 2, -1], 2, 2),  # a second well behind a hill
        ([5, 4, 1e-5, -1e-5, -1e-4], 0, 0),  # no force at all
    ],
)
def test_turns_and_wells(forces, turn, n_wells):
    distances = np.arange(1.0, 6.0)
    assert pairs.turning_point(distances, np.array(forces, float), 5.0) == turn
    assert pairs.wells(np.array(forces, float)) == n_wells


def test_shortest_distances_are_those_of_the_structures(alloys):
    found = pairs.shortest_distances(alloys, ["Au", "Cu"])
    for pair, distance in found.items():
        expected = []
        for atoms in alloys:
            every = atoms.repeat(3).get_all_distances()
            symbols = np.array(atoms.repeat(3).get_chemical_symbols())
            every[np.diag_indices(len(every))] = np.inf
            expected.append(every[np.ix_(symbols == pair[0], symbols == pair[1])].min(initial=np.inf))
        assert distance == pytest.approx(min(expected))
    assert set(found) == {("Au", "Au"), ("Au", "Cu"), ("Cu", "Cu")}


def test_random_starts_are_dense_and_apart_and_the_same_each_time(copper):
    crystal = bulk("NaCl", "rocksalt", a=5.6)
    nearest = {("Na", "Na"): 2.5, ("Cl", "Na"): 2.0, ("Cl", "Cl"): 2.5}
    one, again, other = (quench.random_start(crystal, nearest, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert len(one) == 32
    assert one.get_volume() / len(one) == pytest.approx(crystal.get_volume() / len(crystal))
    assert one.symbols.get_chemical_formula() == "Cl16Na16"
    for pair, distance in pairs.shortest_distances([one], ["Cl", "Na"]).items():
        assert distance >= nearest[pair]
    # What has no room begins nearer, and ends.
    crowded = quench.random_start(copper, {("Cu", "Cu"): 4.0}, 0)
    assert len(crowded) == 32


# -- what is broken is found -----------------------------------------------------------------------------


def test_attraction_at_short_distance_is_found(measured):
    found, sentences = measured(Buckingham)
    maximum = potential_of(Buckingham).maximum()
    for metric, step in (("dimer_turn", pairs.DIMER_STEP), ("pushed_turn", 0.3)):
        # Of a pushed atom the other neighbours pull it back.
        assert found[metric, "Cu-Cu"].value == pytest.approx(maximum, abs=step)
    assert found["wells", "Cu-Cu"].value == 2
    assert any("alone attract each other from" in sentence for sentence in sentences)


def test_a_collapse_is_found(measured):
    found, sentences = measured(Attractive)
    assert found["dimer_turn", "Cu-Cu"].value == pytest.approx(found["shortest", "Cu-Cu"].value, abs=0.02)
    assert found["wall", "Cu-Cu"].value < 0
    assert found["compression_turn", None].value > 0.9
    assert found["quench_distance", None].value < 0.1
    assert found["quench_energy", None].value < -1
    assert len(sentences) >= 5
    assert found["unphysical", None].value == len(sentences)


def test_what_blows_up_is_unphysical(measured):
    """Where a number could not be had, nothing was found, and so nothing unphysical was."""
    found, sentences = measured(Bottomless)
    assert found["quench_distance", None].error.startswith("a random start ends where the prediction is not")
    assert any("random start" in sentence for sentence in sentences)
    assert any("the force of Cu-Cu at" in sentence for sentence in sentences)
    assert found["unphysical", None].value == len(sentences)


@pytest.mark.parametrize("group", ["Cu-Cu", "path"])
def test_a_kink_is_found(measured, sound, group):
    found, sentences = measured(Kinked)
    limit = limits.LIMITS["roughness"]
    assert limit.is_passed(found["roughness", group].value)
    assert not limit.is_passed(sound[0]["roughness", group].value)
    assert any(f"curvature ({group}) changes" in sentence for sentence in sentences)


def test_a_jump_of_the_energy_is_found(measured):
    found, _ = measured(Stepped)
    # Several pairs of the path's atoms cross the distance.
    assert found["work_mismatch", None].value > 1e3 * Stepped.STEP / 32
    assert not limits.LIMITS["roughness"].is_passed(found["roughness", "path"].value)


def test_a_hill_on_the_way_apart_is_found(measured):
    found, sentences = measured(Bumped)
    # Neighbours at 3.4 Å.
    assert found["dilation_turn", None].value == pytest.approx((3.3 / (NEAREST * SIGMA)) ** 3, rel=0.15)
    assert any("the crystal's energy falls" in sentence for sentence in sentences)


def test_what_is_not_extensive_is_found(measured):
    found, sentences = measured(Crowded)
    # c N² of N atoms: the copies have c (2N)² - 2 c N² more, of 2N atoms.
    for group, n_atoms in (("cell", 4), ("clusters", 8)):
        assert found["copy_energy", group].value == pytest.approx(1e3 * Crowded.PER_ATOM * n_atoms)
        assert any(f"two copies ({group})" in sentence for sentence in sentences)


def test_what_is_not_local_is_found(measured, copper):
    found, sentences = measured(ShortSighted)
    curve = locality.response(potential_of(LennardJones), copper).curves
    # Its bar is shorter, but long enough for the neighbours.
    second = np.sort(curve["response change"])[-2:]
    assert locality.NO_CHANGE < found["response_beyond", None].value < second[0]
    assert any("beyond its reach" in sentence for sentence in sentences)


def test_elements_that_part_are_found(measured):
    crystal = bulk("Cu", "fcc", a=np.sqrt(2) * NEAREST * SIGMA, cubic=True)
    crystal.symbols[:2] = "Au"
    found, sentences = measured(Divided, ("Au", "Cu"), crystal)
    assert found["exchange_energy", "Au-Cu"].value == pytest.approx(0, abs=1e-6)  # as many of both
    # An atom of copper has 4 neighbours of its own and 8 others: 1.5 times ε for half of the atoms.
    energy = COHESION * EPSILON
    expected = (energy + 2 * energy) / 2 - (energy + energy * (1 + 4 / 12)) / 2
    assert found["decomposition_energy", None].value == pytest.approx(expected, rel=0.2)
    assert any("its elements apart are" in sentence for sentence in sentences)


def test_no_zero_of_an_energy_is_in_what_is_exchanged():
    """A compound of three to one was set beside that of one to three."""
    symbols = ["Ni", "Al", "Al", "Al"]
    assert strains.exchanged(symbols, ("Al", "Ni")) == ["Al", "Ni", "Al", "Al"]
    assert strains.exchanged(["Cu", "Cu", "Au", "Au"], ("Au", "Cu")) == ["Au", "Au", "Cu", "Cu"]


def test_a_frame_of_dynamics_is_no_crystal_at_rest(measured):
    """Its energy is above that of any start that comes to rest, by any potential."""
    crystal = bulk("Cu", "fcc", a=np.sqrt(2) * NEAREST * SIGMA, cubic=True)
    crystal.rattle(0.15, seed=1)
    found, sentences = measured(LennardJones, ("Cu",), crystal)
    assert "no symmetry, as a frame of dynamics" in found["quench_energy", None].error
    assert not any("from the crystal's energy" in sentence for sentence in sentences)


def test_a_bond_is_no_collapse():
    """Two protons at 0.74 Å, where training has water alone, whose nearest are at 1.53 Å."""
    bonded = Atoms("H2", [(0, 0, 0), (0, 0, 0.74)], cell=[10] * 3, pbc=True)
    assert quench.nearest_ratio(bonded, {("H", "H"): 1.53}) > 1
    collapsed = Atoms("H2", [(0, 0, 0), (0, 0, 0.3)], cell=[10] * 3, pbc=True)
    assert quench.nearest_ratio(collapsed, {("H", "H"): 1.53}) < 0.5


def test_equal_elements_do_not_part(measured):
    crystal = bulk("Cu", "fcc", a=np.sqrt(2) * NEAREST * SIGMA, cubic=True)
    crystal.symbols[0] = "Au"
    found, sentences = measured(LennardJones, ("Au", "Cu"), crystal)
    assert found["exchange_energy", "Au-Cu"].value == pytest.approx(0, abs=1e-9)
    assert found["decomposition_energy", None].value == pytest.approx(0, abs=0.01)
    assert found["wells", "Au-Cu"].value == found["wells", "Au-Au"].value == 1
    assert found["unphysical", None].value == 0, sentences


# -- what is left out ------------------------------------------------------------------------------------


def test_forces_alone_say_what_needs_an_energy(measured):
    found, _ = measured(Forceful)
    left = {metric for (metric, _), value in found.items() if value.error}
    assert left == {
        "copy_energy",
        "compression_turn",
        "dilation_turn",
        "lowest_pressure",
        "quench_energy",
        "work_mismatch",
    }
    assert all("forceful predicts no energy" in value.error for value in found.values() if value.error)
    assert found["wells", "Cu-Cu"].value == 1
    assert found["quench_distance", None].value > 1


def test_molecules_say_what_needs_a_crystal(tmp_path):
    data = own_data(written(tmp_path / "train.extxyz", molecules()), None, 0, None)
    potential = family("snap")(twojmax=2, cutoff=4.0).fit(data.train)
    subject = Subject(potential, data, tmp_path, options=physicality.options("quick", {}))
    values = physicality.run(subject, silent)
    left = {value.metric: value.error for value in values if value.error and value.group is None}
    assert set(left) == set(physicality.OF_CRYSTAL)
    assert all("needs a crystal" in sentence for sentence in left.values())
    groups = {value.group for value in values if value.metric == "wells"}
    assert groups == {"C-C", "C-H", "C-O", "H-H", "H-O", "O-O"}
    assert {value.metric for value in values if value.error is None} >= {"roughness", "copy_energy"}


def test_options_are_checked():
    assert physicality.options("quick", {}) == {"starts": 1}
    with pytest.raises(UserError, match=r"--starts 0: at least one"):
        physicality.options("standard", {"starts": 0})


# -- real potentials -------------------------------------------------------------------------------------


def test_a_published_potential_holds_where_small_fits_collapse(embedded, tmp_path):
    """Fits to the embedded set have no surroundings as dense as a random start's."""
    chosen = physicality.options("quick", {})
    found = {}
    for name, potential in {
        "ruler": load(potentials_folder() / RULER),
        "snap": family("snap")(twojmax=4, cutoff=4.6).fit(embedded.train),
    }.items():
        values = physicality.run(Subject(potential, embedded, tmp_path, options=chosen), silent)
        found[name] = {value.metric: value.value for value in values}
    assert found["ruler"]["quench_distance"] > 1
    assert found["ruler"]["quench_energy"] > 0
    assert found["snap"]["quench_distance"] < 0.7
    assert found["ruler"]["response_beyond"] < 1e-6


def test_keys_change_with_training_and_crystal(embedded, tmp_path):
    from mlip_bench.run.inputs import Data
    from mlip_bench.run.store import Store

    def key(data):
        plan = Plan(data, (PotentialPlan("snap", "snap", {}),), ("physicality",))
        tasks = plan.tasks(Data.of(data, Store(tmp_path / "store").put_structures))
        return tasks[1].decides

    before = key(embedded)
    other = key(dataclasses.replace(embedded, crystal=bulk("Mo", "bcc", a=3.2, cubic=True)))
    assert {name for name in before if before[name] != other[name]} == {"sample"}
    assert "test" not in before
    assert {"train", "sample", "options"} <= set(before)


def test_the_report_has_a_section_a_figure_and_the_findings(do_plan, embedded, tmp_path):
    potentials = tuple(PotentialPlan(name, name, {"twojmax": 2, "cutoff": 4.6}) for name in ("snap", "qsnap"))
    plan = Plan(embedded, potentials, ("errors", "physicality"), preset="quick")
    assert not do_plan(plan, tmp_path / "run").failures
    rows = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    own = [row for row in rows if row["measure"].startswith("physicality")]
    assert {row["metric"] for row in own} <= set(MEASURES["physicality"].metrics)
    assert all(row["unit"] == MEASURES["physicality"].metrics[row["metric"]].unit for row in own)
    build(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Physicality" in page
    assert (tmp_path / "run" / "figures" / "physicality.svg").is_file()
    for row in own:
        if row["note"]:
            assert row["note"].split("; ")[0].replace("'", "&#39;") in page


def test_a_published_file_is_measured_from_the_command_line(tmp_path):
    ruler = potentials_folder() / RULER
    arguments = ("--potential", f"file:{ruler}", "--measure", "physicality", "--starts", "1")
    data = ("--system", "Mo", "--dataset", "embedded", "--out", "run")
    done = mlip_bench("run", *arguments, *data, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert any(row["metric"] == "quench_distance" and row["value"] > 1 for row in rows)
    again = mlip_bench("run", *arguments, *data, folder=tmp_path)
    assert "nothing had to be done" in again.stdout
    printed = mlip_bench("measure", ruler, "--measure", "physicality", "--json", folder=tmp_path)
    document = json.loads(printed.stdout)
    numbers = {(one["metric"], one["group"]): one for one in document["properties"]}
    assert numbers["quench_distance", None]["value"] > 0.7
    assert "training data is not known" in numbers["unphysical", None]["note"]
    refused = mlip_bench("run", "--measure", "errors", "--starts", "2", *data, folder=tmp_path)
    assert refused.returncode == 2
    assert "--starts: only with --measure physicality" in refused.stderr


@needs_mlearn
def test_published_quadratic_potentials_have_holes_that_linear_ones_have_not(tmp_path):
    """The table of docs/physicality."""
    data = records.load("mlearn", "Mo")
    turns = {}
    for suffix in ("", ".quadratic"):
        potential = load(potentials_folder() / f"Mo_Zuo_JPCA2020{suffix}.snapcoeff")
        found = physicality.compute(potential, data.crystal, {"starts": 1}, silent, data.train)
        turns[suffix] = (found.value("dimer_turn", "Mo-Mo"), found.value("unphysical"))
    assert turns[""] == (0.0, 0.0)
    assert turns[".quadratic"][0] == pytest.approx(1.09, abs=0.03)
