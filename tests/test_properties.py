import dataclasses
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.collections import dcdft
from ase.constraints import FixAtoms
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS
from ase.phonons import Phonons

from mlip_bench.data import records
from mlip_bench.data.labels import SETTINGS, Labels, Recipe, Worker, read_recipe
from mlip_bench.data.shipped import shipped_folder
from mlip_bench.errors import UserError
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.measure import (
    PROPERTIES,
    crystals,
    defects,
    elastic,
    eos,
    first_principles,
    phonons,
    property_of,
)
from mlip_bench.potentials import load
from mlip_bench.potentials.base import PotentialCalculator, Prediction, silent
from mlip_bench.run.store import Store
from mlip_bench.testing.lennard_jones import LennardJones

THZ_PER_EV = 1e-12 / (2 * np.pi * 6.582119569e-16)

# Recomputed from the published potentials of maml. Lattice constant (Å), C11, C12, C44 (GPa),
# vacancy formation energy (eV).
PUBLISHED = {
    "Ni": ((3.5215, 282.9, 168.3, 129.3, 1.471), (3.5208, 267.6, 155.4, 125.7, 1.474)),
    "Cu": ((3.6338, 178.4, 125.7, 86.1, 1.191), (3.6355, 178.2, 124.3, 82.0, 1.151)),
    "Li": ((3.5062, 18.3, 5.7, 10.2, 0.633), (3.4690, 12.1, 6.2, 11.2, 0.585)),
    "Mo": ((3.1693, 456.6, 158.4, 109.2, 2.715), (3.1701, 435.7, 166.4, 103.8, 2.791)),
    "Si": ((5.4741, 128.1, 75.4, 70.8, 2.706), (5.4644, 155.0, 57.5, 69.2, 2.363)),
}
# One of each lattice in every run; the others are slow checks.
QUICK = {("Ni", 0), ("Mo", 1), ("Si", 0)}
CASES = [
    pytest.param(element, kind, marks=() if (element, kind) in QUICK else pytest.mark.slow)
    for element in PUBLISHED
    for kind in range(2)
]


def published(element, kind=0):
    suffix = ("", ".quadratic")[kind]
    return load(potentials_folder() / f"{element}_Zuo_JPCA2020{suffix}.snapcoeff")


@pytest.mark.parametrize(("element", "kind"), CASES)
def test_published_potentials_have_their_published_constants(element, kind):
    calculator, crystal = published(element, kind).calculator(), records.crystal(element)
    lattice_constant, c11, c12, c44, vacancy = PUBLISHED[element][kind]
    found = eos.compute(crystal, calculator, silent, structures=False)
    assert found.value("lattice_constant") == pytest.approx(lattice_constant, abs=1e-3)
    stiffness = elastic.compute(crystal, calculator, silent)
    for name, value in (("c11", c11), ("c12", c12), ("c44", c44)):
        # The table has one decimal.
        assert stiffness.value(name) == pytest.approx(value, rel=0.02, abs=0.05)
    energies = defects.compute(crystal, calculator, silent, migration=False, surfaces=False)
    assert energies.value("vacancy_formation") == pytest.approx(vacancy, abs=0.02)


def test_phonons_agree_with_ase(tmp_path):
    calculator = published("Mo", 1).calculator()
    crystal = crystals.relaxed(records.crystal("Mo"), calculator)
    ours = phonons.force_constants(crystal, calculator, silent)
    theirs = Phonons(
        crystal.conventional, calculator, supercell=(3, 3, 3), delta=0.005, name=tmp_path / "ase"
    )
    theirs.run()
    theirs.read(acoustic=False)
    reciprocal = crystal.primitive.cell.reciprocal()
    # Points that the supercell holds, where neither code has to interpolate.
    for point in ([0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1]):
        at = np.array(point) / 3
        expected = np.sort(theirs.band_structure([at], verbose=False)[0]) * THZ_PER_EV
        found = []
        # The conventional cell has two atoms: a point of its zone is two points of the primitive cell's.
        for shift in ([0, 0, 0], [1, 0, 0]):
            wave_vector = (at + shift) @ crystal.conventional.cell.reciprocal()
            found += list(ours.run_qpoints([np.linalg.solve(reciprocal.T, wave_vector)]).frequencies[0])
        assert np.sort(found) == pytest.approx(expected, abs=0.02)


def test_frequencies_follow_from_elastic_constants_at_long_waves():
    # Along [100], sqrt(C11/rho) and sqrt(C44/rho) are the velocities of sound.
    calculator = EMT()
    stiffness = elastic.compute(bulk("Cu"), calculator, silent)
    crystal = crystals.relaxed(bulk("Cu"), calculator)
    ours = phonons.force_constants(crystal, calculator, silent)
    length = 0.02  # 1/Å
    reduced = np.linalg.solve(crystal.primitive.cell.reciprocal().T, [length, 0, 0])
    frequencies = ours.run_qpoints([reduced]).frequencies[0]
    density = crystal.primitive.get_masses().sum() / crystal.primitive.get_volume() * 1.66053907e3  # kg/m³
    sound = [np.sqrt(1e9 * stiffness.value(name) / density) for name in ("c44", "c44", "c11")]
    assert frequencies == pytest.approx(1e-2 * np.array(sound) * length, rel=0.04)


def test_an_unstable_crystal_has_imaginary_modes():
    simple_cubic = bulk("Cu", "sc", a=2.4)
    found = phonons.compute(simple_cubic, EMT(), silent)
    assert found.value("lowest_frequency") < -0.5
    assert found.value("imaginary_share") > 5


def test_free_energy_and_states_are_those_of_debye_einstein_limits():
    found = phonons.compute(bulk("Cu", cubic=True), EMT(), silent)
    frequencies, states = found.curves["dos_frequency"], found.curves["dos"]
    assert np.trapezoid(states, frequencies) == pytest.approx(3, rel=0.02)
    # Independent: the sum over the density of states of kT ln(2 sinh(h nu / 2 kT)).
    thermal, quantum = 8.617333262e-5 * 300, 4.135667696e-3 * frequencies
    real = frequencies > 0.05
    integrand = states[real] * thermal * np.log(2 * np.sinh(quantum[real] / (2 * thermal)))
    assert found.value("free_energy") == pytest.approx(
        1e3 * np.trapezoid(integrand, frequencies[real]), abs=1
    )


def test_forces_without_a_gradient_show_as_asymmetry():
    class Turning(EMT):
        """Turns each force by a little: no energy has such forces."""

        def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
            super().calculate(atoms, properties, system_changes)
            forces = self.results["forces"]
            self.results["forces"] = forces + 0.05 * np.cross(forces, [0, 0, 1.0])

    honest = phonons.compute(bulk("Cu", cubic=True), EMT(), silent, symmetrised=False)
    turned = phonons.compute(bulk("Cu", cubic=True), Turning(), silent, symmetrised=False)
    assert honest.value("force_constant_asymmetry") < 1e-3
    # Of the two components in the plane, the turn makes 0.1 of each the difference of Φ and its transpose.
    assert turned.value("force_constant_asymmetry") == pytest.approx(0.1 * np.sqrt(2 / 3), rel=0.1)
    symmetrised = phonons.compute(bulk("Cu", cubic=True), EMT(), silent)
    assert honest.value("highest_frequency") == pytest.approx(
        symmetrised.value("highest_frequency"), abs=0.01
    )
    assert honest.value("n_displacements") > symmetrised.value("n_displacements") == 1


def test_deviations_are_zero_from_itself_and_known_from_a_scaled_one():
    found = phonons.compute(bulk("Cu", cubic=True), EMT(), silent)
    values = {v.metric: v.value for v in phonons.deviations(found.curves, -10.0, found.curves, -10.0)}
    assert set(values.values()) == {0.0}
    scaled = found.curves | {"frequency": found.curves["frequency"] + 0.5}
    values = {v.metric: v.value for v in phonons.deviations(scaled, -12.0, found.curves, -10.0)}
    assert values["frequency_rms_deviation"] == pytest.approx(0.5)
    assert values["frequency_max_deviation"] == pytest.approx(0.5)
    assert values["free_energy_deviation"] == -2.0


def test_hexagonal_constants_obey_their_symmetry(monkeypatch):
    hexagonal = bulk("Cu", "hcp", a=2.56, c=4.18)
    found = elastic.compute(hexagonal, EMT(), silent)
    constants = [value.metric for value in found.values if value.metric in elastic.ALL]
    assert constants == ["c11", "c12", "c13", "c33", "c44"]
    # All 21 constants are measured; hexagonal symmetry makes C66 = (C11 - C12) / 2 and C11 = C22.
    monkeypatch.setitem(elastic.INDEPENDENT, 194, tuple(elastic.ALL))
    found = elastic.compute(hexagonal, EMT(), silent)
    assert found.value("c66") == pytest.approx((found.value("c11") - found.value("c12")) / 2, rel=0.03)
    assert found.value("c11") == pytest.approx(found.value("c22"), rel=0.01)
    assert abs(found.value("c14")) < 0.02 * found.value("c11")


@pytest.mark.parametrize(
    ("crystal", "n_independent"),
    [
        (bulk("NaCl", "rocksalt", a=5.6), 3),
        (bulk("Cu", "bct", a=3.6, c=3.9), 6),
        (Atoms("Cu2", [(0, 0, 0), (1.9, 2.0, 2.1)], cell=[3.8, 4.0, 4.2], pbc=True), 9),
        (bulk("Bi", "rhombohedral", a=3.3, alpha=87), 6),
        (Atoms("CuAuAg", np.eye(3) * 1.7, cell=[3.1, 4.3, 5.2, 80, 95, 100], pbc=True), 21),
    ],
)
def test_as_many_constants_are_independent_as_symmetry_leaves(crystal, n_independent):
    """J. F. Nye, Physical Properties of Crystals, table 9."""
    assert len(elastic.independent(crystals.standard(crystal).space_group)) == n_independent


def test_positions_are_relaxed_in_soft_crystals_too():
    """Half a per cent of strain makes forces of less than 2e-3 eV/Å in argon: C66 was 24 % too high."""
    argon = LennardJones.of(["Ar"]).calculator()
    crystal = bulk("Ar", "hcp", a=3.75, c=3.75 * 1.633)
    found = elastic.compute(crystal, argon, silent)
    exact = elastic.compute(crystal, argon, silent, force_tolerance=1e-6)
    for name in ("c11", "c12", "c33", "c44"):
        assert found.value(name) == pytest.approx(exact.value(name), rel=0.01)


@pytest.mark.parametrize("ratio", [1.56, 1.60, 1.633, 1.66, 1.86])
def test_a_vacancy_of_hcp_hops_in_the_basal_plane(ratio):
    """The ratio of its axes, another one for each potential, decided which of two hops was measured."""
    crystal = crystals.standard(bulk("Mg", "hcp", a=3.2, c=3.2 * ratio))
    perfect = crystals.supercell(crystal)
    neighbour = defects.nearest_site(perfect, crystal.is_cubic)
    hop = perfect.get_distance(0, neighbour, mic=True, vector=True)
    assert np.linalg.norm(hop) == pytest.approx(3.2)
    assert hop[2] == pytest.approx(0, abs=1e-9)


def test_moduli_of_an_isotropic_solid_are_exact():
    # Lamé's constants 60 and 40 GPa.
    stiffness = np.zeros((6, 6))
    stiffness[:3, :3] = 60
    stiffness += np.diag([80, 80, 80, 40, 40, 40])
    found = elastic.moduli(stiffness)
    assert found["bulk_modulus"] == pytest.approx(60 + 2 / 3 * 40)
    assert found["shear_modulus"] == pytest.approx(40)
    assert found["youngs_modulus"] == pytest.approx(40 * (3 * 60 + 2 * 40) / (60 + 40))


def test_bulk_moduli_of_energies_and_of_stresses_agree():
    crystal = bulk("Cu", cubic=True)
    found = eos.compute(crystal, EMT(), silent)
    assert found.value("bulk_modulus_eos") == pytest.approx(
        elastic.compute(crystal, EMT(), silent).value("bulk_modulus"), rel=0.02
    )
    assert found.value("structure_energy", "bcc") > 0
    assert {value.group for value in found.values} == {None, "bcc", "hcp", "sc", "diamond"}


def test_a_crystal_in_any_setting_gives_the_same_properties():
    turned = bulk("Cu", cubic=True)
    turned.rotate(30, (1, 2, 3), rotate_cell=True)
    shaken = make_supercell(turned, np.diag([2, 1, 1]))
    expected = elastic.compute(bulk("Cu"), EMT(), silent)
    found = elastic.compute(shaken, EMT(), silent)
    for name in ("c11", "c12", "c44"):
        assert found.value(name) == pytest.approx(expected.value(name), rel=1e-3)


def test_migration_barrier_is_that_of_the_symmetric_saddle():
    # Half way between two sites of fcc, symmetry holds the atom on the ridge: no band is needed there.
    crystal = crystals.relaxed(bulk("Cu", cubic=True), EMT())
    perfect = crystals.supercell(crystal)
    vacancy = perfect.copy()
    del vacancy[0]
    vacancy.calc = EMT()
    BFGS(vacancy, logfile=None).run(fmax=0.005)
    neighbour = 1 + int(np.argmin(perfect.get_distances(0, range(1, len(perfect)), mic=True)))
    saddle = perfect.copy()
    hop = perfect.get_distance(neighbour, 0, mic=True, vector=True)
    saddle.positions[neighbour] += hop / 2
    del saddle[0]
    saddle.set_constraint(FixAtoms([neighbour - 1]))
    saddle.calc = EMT()
    BFGS(saddle, logfile=None).run(fmax=0.005)
    expected = saddle.get_potential_energy() - vacancy.get_potential_energy()
    found = defects.compute(bulk("Cu", cubic=True), EMT(), silent, surfaces=False)
    assert found.value("vacancy_migration") == pytest.approx(expected, abs=0.01)
    assert found.value("vacancy_formation") < found.value("vacancy_formation_unrelaxed")


def test_surface_energies_do_not_depend_on_thickness(monkeypatch):
    crystal = crystals.relaxed(bulk("Cu", cubic=True), EMT())
    thin = {value.group: value.value for value in defects.surface_energies(crystal, EMT())}
    monkeypatch.setattr(defects, "THICKNESS", 22.0)
    thick = {value.group: value.value for value in defects.surface_energies(crystal, EMT())}
    assert set(thin) == {"(100)", "(110)", "(111)"}
    for plane, value in thin.items():
        assert thick[plane] == pytest.approx(value, rel=0.01)
    assert thin["(111)"] < thin["(100)"] < thin["(110)"]


# -- what cannot be measured -----------------------------------------------------------------------------


class Repelling(Calculator):
    """Pushes atoms apart without end."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, properties, system_changes)
        volume = atoms.get_volume()
        pressure = 1.0
        energy = -pressure * volume
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.array([-pressure] * 3 + [0.0] * 3),
        }


class Choosy(Calculator):
    """Copper of which simple cubic crystals and (110) surfaces do not come to rest."""

    implemented_properties = Repelling.implemented_properties

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, properties, system_changes)
        angles = atoms.cell.cellpar()[3:]
        cell = atoms.cell.lengths()
        simple_cubic = len(atoms) == 1 and np.allclose(angles, 90)
        surface = len(atoms) > 4 and abs(cell[0] - cell[1]) > 0.5
        calculator = Repelling() if simple_cubic else EMT()
        calculator.calculate(atoms, self.implemented_properties)
        self.results = dict(calculator.results)
        if surface:
            self.results["forces"] = self.results["forces"] + 1.0


def test_what_does_not_hold_among_others_says_so():
    found = eos.compute(bulk("Cu", cubic=True), Choosy(), silent)
    (error,) = found.errors
    assert error.startswith("eos, sc: Cu does not hold")
    assert {v.group for v in found.values if v.metric == "structure_energy" and v.error is None} == {
        "bcc",
        "hcp",
        "diamond",
    }
    with pytest.raises(KeyError):
        found.value("structure_energy", "sc")
    surfaces = defects.surface_energies(crystals.relaxed(bulk("Cu", cubic=True), Choosy()), Choosy())
    assert {value.group: value.error for value in surfaces} == {
        "(100)": None,
        "(110)": "defects: the atoms around the surface (110) do not come to rest within 300 steps",
        "(111)": None,
    }


def test_a_crystal_that_does_not_hold_says_so():
    with pytest.raises(UserError, match=r"phonons: Cu4 does not hold: its volume becomes \d\.\d+ times"):
        phonons.compute(bulk("Cu", cubic=True), Repelling(), silent)


def test_a_stress_that_is_not_finite_names_the_strain():
    class Breaking(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
            super().calculate(atoms, properties, system_changes)
            if abs(atoms.cell.angles() - 60).max() > 0.1:
                self.results["stress"] = np.full(6, np.nan)

    with pytest.raises(UserError, match=r"no finite stress at a strain of \[\[.*\]\] %"):
        elastic.compute(bulk("Cu"), Breaking(), silent)


def test_a_crystal_without_symmetry_is_refused_for_phonons():
    disordered = bulk("Cu", cubic=True) * (3, 3, 2)
    disordered.rattle(0.1, seed=1)
    crystal = crystals.standard(disordered)
    with pytest.raises(UserError, match=r"so little symmetry that .* give the crystal itself with --crystal"):
        phonons.force_constants(crystal, EMT(), silent)


def test_a_cluster_is_no_crystal():
    with pytest.raises(UserError, match="not periodic"):
        elastic.compute(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]), EMT(), silent)


def test_vacancies_of_compounds_are_refused():
    with pytest.raises(UserError, match="several elements"):
        defects.compute(bulk("CuAu", "cesiumchloride", a=3.1), EMT(), silent)


def test_forces_without_energy_are_not_symmetrised():
    class Direct:
        conservative = False

        def calculator(self):
            return EMT()

    class Gradient(Direct):
        conservative = True

    copper = bulk("Cu", cubic=True)
    assert property_of(Direct(), "phonons", copper).value("n_displacements") == 6
    assert property_of(Gradient(), "phonons", copper).value("n_displacements") == 1


class Broken(PotentialCalculator):
    """A potential whose predictions are not numbers where atoms are near each other."""

    def __init__(self):
        super().__init__(self._nan_below)

    def _nan_below(self, atoms):
        atoms = atoms.copy()
        atoms.calc = EMT()
        volume = atoms.get_volume() / len(atoms)
        scale = np.nan if volume < 10.0 else 1.0
        return Prediction(atoms.get_potential_energy(), scale * atoms.get_forces(), atoms.get_stress())


def test_a_prediction_that_is_not_finite_says_so():
    copper = bulk("Cu", cubic=True, a=3.3)
    copper.calc = Broken()
    with pytest.raises(UserError, match=r"the potential's prediction for Cu4 is not finite"):
        copper.get_potential_energy()
    with pytest.raises(UserError, match="is not finite"):
        eos.compute(copper, Broken(), silent)


def test_an_energy_without_minimum_has_no_bulk_modulus():
    volumes = np.linspace(10, 12, 7)
    with pytest.raises(UserError, match=r"no minimum between 10\.00 and 12\.00"):
        eos.birch_murnaghan(volumes, -((volumes - 11) ** 2))
    with pytest.raises(UserError, match="no minimum"):
        eos.birch_murnaghan(volumes, (volumes - 13) ** 2)
    volume, energy, modulus, _ = eos.birch_murnaghan(volumes, 0.5 + 0.25 * (volumes - 11) ** 2)
    assert (volume, energy) == (pytest.approx(11, abs=0.02), pytest.approx(0.5, abs=1e-3))
    assert modulus == pytest.approx(11 * 0.5, rel=0.02)


def test_the_shape_of_a_crystal_relaxes_at_each_volume():
    layered = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.8, 2.8, 3.7], pbc=True)
    relaxed = crystals.relaxed(layered, EMT())
    volumes, energies = eos.energy_curve(relaxed, EMT())
    rigid = []
    for factor in eos.VOLUMES:
        atoms = relaxed.primitive.copy()
        atoms.set_cell(atoms.cell * factor ** (1 / 3), scale_atoms=True)
        atoms.calc = EMT()
        rigid.append(atoms.get_potential_energy() / len(atoms))
    assert volumes == pytest.approx(eos.VOLUMES * volumes[3])
    assert np.all(energies <= np.array(rigid) + 1e-9)
    assert energies[0] < rigid[0] - 1e-6


def test_an_unstable_crystal_has_no_moduli():
    # The Bain path: bcc copper is a saddle by EMT, C11 < C12.
    found = elastic.compute(bulk("Cu", "bcc", a=2.87, cubic=True), EMT(), silent)
    assert found.value("c11") < found.value("c12")
    assert len(found.errors) == 3
    assert found.errors[0].startswith("elastic: Cu2 is not stable against strain")


@pytest.mark.slow
def test_a_vacancy_whose_migration_fails_keeps_its_energy(monkeypatch):
    monkeypatch.setattr(defects, "BAND_TOLERANCE", 1e-9)
    monkeypatch.setattr(defects, "MOST_STEPS", 30)
    found = defects.compute(bulk("Cu", cubic=True), EMT(), silent, surfaces=False)
    assert found.value("vacancy_formation") > 0.5
    (error,) = found.errors
    assert "the band of a vacancy's migration does not settle" in error


def test_surfaces_of_diamond_cut_one_bond_per_atom():
    slab = defects._slab(defects.diamond111, crystals.standard(bulk("Si", "diamond", a=5.43)))
    neighbours = np.bincount(neighbor_list("i", slab, 2.6))
    assert np.count_nonzero(neighbours == 3) == 2
    assert np.count_nonzero(neighbours == 4) == len(slab) - 2
    assert np.ptp(slab.positions[:, 2]) >= defects.THICKNESS


def test_surfaces_are_of_structures_that_can_be_built():
    simple = crystals.relaxed(bulk("Cu", "sc", a=2.4), EMT())
    (value,) = defects.surface_energies(simple, EMT())
    assert value.error == "defects: slabs are of bcc, fcc, hcp and diamond, not of Cu in space group 221"


def test_close_packed_planes_of_hcp_and_fcc_are_alike():
    hexagonal = crystals.relaxed(bulk("Cu", "hcp", a=2.55, c=4.2), EMT())
    (value,) = defects.surface_energies(hexagonal, EMT())
    cubic = defects.surface_energies(crystals.relaxed(bulk("Cu", cubic=True), EMT()), EMT())
    (expected,) = (surface.value for surface in cubic if surface.group == "(111)")
    assert (value.group, value.value) == ("(0001)", pytest.approx(expected, rel=0.03))


# -- labels and references -------------------------------------------------------------------------------


@pytest.fixture
def recipe():
    return Recipe(
        system="Cu",
        calculator="emt",
        level_of_theory="EMT",
        settings={},
        crystal={"lattice": "fcc", "a": 3.6},
        measures={"eos": {"structures": False}, "elastic": {}},
    )


@pytest.fixture
def journals(tmp_path):
    return Store(tmp_path / "store").labels


def test_a_worker_labels_as_its_calculator_does(recipe, tmp_path, journals):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    worker = Worker(recipe, sys.executable, tmp_path / "log")
    atoms.calc = labels = Labels(tmp_path / "labels.extxyz", worker, journals)
    found = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    worker.close()
    atoms.calc = EMT()
    expected = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-9)
    labels.write()
    # What was asked once is in the file: no worker is needed any more.
    atoms.calc = Labels(tmp_path / "labels.extxyz")
    assert atoms.get_potential_energy() == pytest.approx(expected[0], abs=1e-7)
    atoms.positions[0, 0] += 0.01
    with pytest.raises(UserError, match="lacks a structure of Cu4"):
        atoms.get_potential_energy()


def test_a_reference_is_that_of_its_calculator_and_is_resumed(recipe, tmp_path, journals, monkeypatch):
    built = first_principles.build(recipe, PROPERTIES, sys.executable, tmp_path, journals, silent)
    expected = elastic.compute(bulk("Cu", cubic=True), EMT(), silent)
    assert built.properties["elastic"].value("c11") == pytest.approx(expected.value("c11"), rel=1e-3)
    read = first_principles.read(tmp_path / first_principles.PROPERTIES)
    assert read.properties["eos"].curves["volume"] == pytest.approx(built.properties["eos"].curves["volume"])
    n_labels = len(Labels(tmp_path / first_principles.LABELS).known)
    # A second time, every label is there: nobody is asked.
    monkeypatch.setattr(Worker, "label", lambda *arguments: pytest.fail("asked again"))
    first_principles.build(recipe, PROPERTIES, sys.executable, tmp_path, journals, silent)
    assert len(Labels(tmp_path / first_principles.LABELS).known) == n_labels


def test_labels_of_other_settings_are_made_anew(recipe, tmp_path, journals):
    """They are kept apart: whoever goes back to the first settings finds those again."""
    first = first_principles.build(recipe, PROPERTIES, sys.executable, tmp_path, journals, silent)
    other = dataclasses.replace(recipe, settings={"asap_cutoff": True})
    changed = first_principles.build(other, PROPERTIES, sys.executable, tmp_path, journals, silent)
    assert changed.properties["elastic"].value("c11") != first.properties["elastic"].value("c11")
    assert len({atoms.info[SETTINGS] for atoms in Labels(tmp_path / first_principles.LABELS).known}) == 1
    again = first_principles.build(recipe, PROPERTIES, sys.executable, tmp_path, journals, silent)
    assert again.properties["elastic"].value("c11") == first.properties["elastic"].value("c11")


def test_one_measure_of_a_reference_can_have_settings_of_its_own(recipe, tmp_path, journals):
    own = dataclasses.replace(recipe, settings_of={"elastic": {"asap_cutoff": True}})
    first_principles.build(own, PROPERTIES, sys.executable, tmp_path, journals, silent)
    strained = [
        atoms for atoms in Labels(tmp_path / first_principles.LABELS).known if not atoms.cell.orthorhombic
    ]
    expected = {}
    for cutoff in (False, True):
        bare = strained[-1].copy()
        bare.calc = EMT(asap_cutoff=cutoff)
        expected[cutoff] = bare.get_potential_energy()
    assert strained[-1].get_potential_energy() == pytest.approx(expected[True], abs=1e-6)
    assert strained[-1].get_potential_energy() != pytest.approx(expected[False], abs=1e-4)
    eos_only = dataclasses.replace(own, measures={"eos": {"structures": False}})
    found = first_principles.build(eos_only, PROPERTIES, sys.executable, tmp_path / "eos", journals, silent)
    plain = eos.compute(bulk("Cu", cubic=True, a=3.6), EMT(), silent, structures=False)
    assert found.properties["eos"].curves["energy"] == pytest.approx(plain.curves["energy"], abs=1e-6)


def test_a_calculator_that_fails_is_one_line(recipe, tmp_path, journals):
    broken = dataclasses.replace(recipe, calculator="no-such-calculator")
    with pytest.raises(UserError, match=r"the calculator ended: .*no_such_calculator|no-such-calculator"):
        first_principles.build(broken, PROPERTIES, sys.executable, tmp_path / "a", journals, silent)
    with pytest.raises(UserError, match=r"cannot be started .* see --python"):
        first_principles.build(recipe, PROPERTIES, "/no/such/python", tmp_path / "b", journals, silent)


def test_a_recipe_is_checked(tmp_path):
    with pytest.raises(UserError, match=r"no recipe 'Moo' \(did you mean 'Mo'\?\)"):
        read_recipe("Moo")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("system = 'Mo'\ncolour = 'blue'\n")
    with pytest.raises(UserError, match=r"wrong\.toml: not a recipe"):
        read_recipe(str(wrong))


def test_what_a_recipe_asks_for_is_checked(recipe, tmp_path, journals):
    misspelt = dataclasses.replace(recipe, measures={"eoss": {}})
    with pytest.raises(UserError, match=r"recipe of Cu: unknown property 'eoss' \(did you mean 'eos'\?\)"):
        first_principles.build(misspelt, PROPERTIES, sys.executable, tmp_path, journals, silent)
    for crystal in ({}, {"lattice": "cubicle", "a": 3.6}, {"lattice": "fcc", "a": "long"}):
        with pytest.raises(UserError, match=r"recipe of Cu: \[crystal\] needs"):
            first_principles.start(dataclasses.replace(recipe, crystal=crystal))
    hexagonal = first_principles.start(
        dataclasses.replace(recipe, crystal={"lattice": "hcp", "a": 2.5, "c": 4.0})
    )
    assert hexagonal.cell.lengths() == pytest.approx([2.5, 2.5, 4.0])


FOLDER = shipped_folder("datasets") / first_principles.REFERENCES
SHIPPED = sorted(path.parent.name for path in FOLDER.glob(f"*/{first_principles.PROPERTIES}"))


@pytest.mark.parametrize("system", SHIPPED)
def test_shipped_references_follow_from_their_labels(system):
    found = first_principles.shipped(system)
    known = Labels(FOLDER / system / first_principles.LABELS)
    recipe = read_recipe(system)
    assert {atoms.info[SETTINGS] for atoms in known.known} == {recipe.sha256_with(recipe.settings)}
    chosen = {name: settings for name, settings in recipe.measures.items() if name in found.properties}
    again = first_principles.compute(dataclasses.replace(recipe, measures=chosen), known, PROPERTIES, silent)
    assert set(again.properties) == set(chosen)
    for name, expected in found.properties.items():
        for value in expected.values:
            result = again.properties[name].value(value.metric, value.group)
            assert result == pytest.approx(value.value, rel=1e-4, abs=1e-5)


def test_a_reference_is_of_its_crystal_only():
    assert first_principles.is_of("Mo", records.crystal("Mo"))
    assert first_principles.is_of("Mo", bulk("Mo", "bcc", a=3.3) * (2, 2, 2))
    assert not first_principles.is_of("Mo", bulk("Mo", "fcc", a=4.0))
    assert not first_principles.is_of("Mo", bulk("W"))
    assert not first_principles.is_of("Mo", None)
    assert not first_principles.is_of("no such system", bulk("Mo"))


@pytest.mark.parametrize("system", SHIPPED)
def test_shipped_references_agree_with_published_pbe(system):
    # All-electron PBE (WIEN2k) of K. Lejaeghere et al., doi:10.1080/10408436.2013.772503, as ASE ships it.
    published_pbe = dcdft.data[system]
    found = first_principles.shipped(system).properties["eos"]
    assert found.value("volume_per_atom") ** (1 / 3) == pytest.approx(
        published_pbe["wien2k_volume"] ** (1 / 3), rel=5e-3
    )
    assert found.value("bulk_modulus_eos") == pytest.approx(published_pbe["wien2k_B"], rel=0.05)


# Frequencies (THz) of Si in PBE at Γ, X and L, by phonopy from the forces (VASP, PAW_PBE, 300 eV, 4x4x4 mesh,
# a = 5.466 Å) that it publishes: github.com/phonopy/phonopy, example/Si/vasprun.xml at 7f5a732.
SILICON = {
    "G": (0, 0, 0, 15.111, 15.111, 15.111),
    "X": (4.389, 4.389, 12.055, 12.055, 13.426, 13.426),
    "L": (3.333, 3.333, 11.142, 12.023, 14.334, 14.334),
}


def test_phonons_of_silicon_agree_with_published_pbe():
    curves = first_principles.shipped("Si").properties["phonons"].curves
    segments = np.split(np.sort(curves["frequency"], axis=1), len(curves["labels"]))
    at = {
        name: segment[place]
        for names, segment in zip(curves["labels"], segments, strict=True)
        for name, place in zip(names, (0, -1), strict=True)
    }
    for point, expected in SILICON.items():
        assert at[point] == pytest.approx(expected, rel=0.03, abs=0.05)


def test_a_label_that_takes_too_long_is_one_line(recipe, tmp_path, journals):
    with pytest.raises(UserError, match=r"a label of Cu took longer than 0.001 s, the limit \(--timeout\)"):
        first_principles.build(recipe, PROPERTIES, sys.executable, tmp_path, journals, silent, 0.001)
