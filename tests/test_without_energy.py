"""A family that predicts forces alone, through the suite: what is measured of it, and what cannot be."""

import json
import shutil

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from command import mlip_bench

from mlip_bench.data import base, consistency, reference
from mlip_bench.data.files import read_structures
from mlip_bench.data.reference import forces, labelled
from mlip_bench.errors import UserError
from mlip_bench.md.driver import Simulation, natural_ensemble
from mlip_bench.measure import MEASURES, cost, errors, phonons
from mlip_bench.measure.base import Subject
from mlip_bench.measure.drift import drift
from mlip_bench.potentials.base import Potential, PotentialCalculator, Prediction, silent
from mlip_bench.report import build, content
from mlip_bench.results import RESULTS

STIFFNESS = 2.0  # eV/Å²
LATTICE = bulk("Mo").cell


class Springs(Potential):
    """Every atom is pulled back to its site of a lattice, and pushed across by a share: no gradient."""

    family = "springs"
    revision = 1
    packages = ()
    conservative = False
    predicts = frozenset({"forces"})

    def __init__(self, across=0.0):
        super().__init__()
        self.elements_, self.zero_, self.across = ("Mo",), np.zeros(1), across

    def _fit(self, train, seed, progress):
        raise NotImplementedError

    def _predict(self, structures):
        turn = np.array([[1, -self.across, 0], [self.across, 1, 0], [0, 0, 1]])
        found = []
        for atoms in structures:
            moved = np.linalg.solve(np.array(LATTICE).T, atoms.positions.T).T
            pull = -STIFFNESS * ((moved - np.round(moved)) @ np.array(LATTICE)) @ turn.T
            found.append(Prediction(float("nan"), pull, np.full(6, np.nan)))
        return found

    def _write(self, folder):
        raise NotImplementedError

    def _read(self, folder):
        raise NotImplementedError

    n_parameters = 0


@pytest.fixture
def crystal():
    return bulk("Mo", cubic=True).repeat(3)


@pytest.fixture
def springs():
    return Springs()


def bare(atoms):
    """A structure with forces and nothing else."""
    return labelled(atoms.copy(), None, forces(atoms), None)


# -- data ----------------------------------------------------------------------------------------------------


def test_files_without_energies_are_read_and_it_is_said(embedded, tmp_path):
    frames = []
    for atoms in embedded.train[:3]:
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        frame.calc = SinglePointCalculator(frame, forces=forces(atoms))
        frames.append(frame)
    ase.io.write(tmp_path / "forces.extxyz", frames)
    read = read_structures(tmp_path / "forces.extxyz")
    assert not any(map(reference.has_energy, read.structures))
    np.testing.assert_allclose(forces(read.structures[1]), forces(embedded.train[1]), atol=1e-6)
    assert "no energy, forces from 'forces', no stress" in read.notes
    assert any(
        "3 frames without an energy: only potentials that predict forces alone" in n for n in read.notes
    )


@pytest.mark.parametrize("key", ["mace_energy", "E", "Etot_dft", "TOTEN", "energies"])
def test_a_key_that_may_be_an_energy_is_not_passed_over(tmp_path, key):
    frame = bulk("Mo")
    frame.info[key] = -10.9
    frame.arrays["forces"] = np.zeros((1, 3))
    ase.io.write(tmp_path / "one.extxyz", frame)
    with pytest.raises(UserError, match=r"energy"):
        read_structures(tmp_path / "one.extxyz")


def test_data_without_energies_has_no_least_energy_but_least_forces(embedded):
    structures = [bare(atoms) for atoms in embedded.train[:8]]
    least = min(structures, key=lambda atoms: (forces(atoms) ** 2).mean())
    assert base.most_stable(structures).positions.tolist() == least.positions.tolist()
    assert consistency.findings(structures) == consistency.findings(structures[:1])
    assert reference.fingerprint(structures) == reference.fingerprint(structures)


def test_families_with_energies_are_refused_by_name_and_left_out_of_all(embedded, tmp_path):
    ase.io.write(tmp_path / "forces.extxyz", [bare(atoms) for atoms in embedded.train[:12]])
    data = ["--train", "forces.extxyz", "--preset", "quick", "--measure", "errors"]
    refused = mlip_bench("run", "--potential", "snap,nnff", *data, folder=tmp_path)
    assert refused.returncode == 2
    assert "training structures have no energy; only a family that predicts forces alone" in refused.stderr
    done = mlip_bench("run", *data, "--out", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out, because" in done.stderr + done.stdout
    rows = [json.loads(line) for line in (tmp_path / "run" / RESULTS).read_text().splitlines()]
    assert {row["potential"] for row in rows} == {"nnff"}
    assert {row["metric"] for row in rows if row["measure"] == "errors"} >= {"force_mae", "force_rmse"}
    assert not any("energy" in row["metric"] for row in rows)
    # A measure that needs an energy: refused by its name, a row among all.
    by_name = mlip_bench("measure", "run/potentials/nnff", "--measure", "eos", folder=tmp_path)
    assert by_name.returncode == 2
    assert "eos: not possible: nnff predicts no energy and no stress" in by_name.stderr


# -- prediction and dynamics ---------------------------------------------------------------------------------


def test_the_calculator_has_forces_and_no_more(springs, crystal):
    crystal.calc = springs.calculator()
    assert crystal.get_forces() == pytest.approx(0, abs=1e-12)
    for ask in (crystal.get_potential_energy, crystal.get_stress):
        with pytest.raises(PropertyNotImplementedError):
            ask()
    assert springs.calculator().implemented_properties == ["forces"]


def test_a_calculator_without_an_energy_still_refuses_what_is_not_finite(crystal):
    nothing = Prediction(float("nan"), np.full((len(crystal), 3), np.nan), np.full(6, np.nan))
    crystal.calc = PotentialCalculator(lambda atoms: nothing, frozenset({"forces"}))
    with pytest.raises(UserError, match="not finite"):
        crystal.get_forces()


def test_dynamics_are_at_constant_volume(springs, crystal):
    assert natural_ensemble(springs) == "nvt"
    with pytest.raises(UserError, match=r"springs predicts no stress: .* constant volume"):
        Simulation(springs, crystal, ensemble="npt")
    with Simulation(springs, crystal) as simulation:
        simulation.run(20)
        assert simulation.thermo("pe") == 0
        assert simulation.thermo("temp") > 10
        assert simulation.thermo("vol") == pytest.approx(crystal.get_volume())
        with pytest.raises(UserError, match="constant volume"):
            simulation.switch("npt")


def kinetic_energies(potential, crystal):
    found = []
    with Simulation(potential, crystal, ensemble="nve", temperature=600) as simulation:
        for _ in range(80):
            simulation.run(25)
            found.append(simulation.thermo("ke") / len(crystal))
    return np.array(found)


def test_forces_that_are_no_gradient_show_in_the_kinetic_energy(crystal):
    """Springs that push across a rotating atom do work on it; without that the kinetic energy stays."""
    picoseconds = 0.025 * np.arange(80)
    still, error = drift(picoseconds, kinetic_energies(Springs(), crystal))
    assert abs(still) < 4 * error
    heated, error = drift(picoseconds, kinetic_energies(Springs(across=0.1), crystal))
    assert heated > max(6 * error, 20 * abs(still))


def test_the_drift_and_its_error_are_those_of_a_line():
    generator = np.random.default_rng(0)
    times = np.linspace(0, 2, 400)
    slopes = [drift(times, 0.003 * times + 0.01 * generator.normal(size=400)) for _ in range(200)]
    found, errors_of = np.array(slopes).T
    assert found.mean() == pytest.approx(3.0, abs=0.2)
    assert found.std() == pytest.approx(errors_of.mean(), rel=0.15)
    # A walk at random, as the total energy of forces that jump: its values are anything but independent.
    walks = [drift(times, np.cumsum(0.01 * generator.normal(size=400))) for _ in range(200)]
    found, errors_of = np.array(walks).T
    assert found.std() < 5 * errors_of.mean()  # of values, one by one, it was 27 times
    assert np.isnan(drift(times[:2], times[:2])).all()


# -- measures ------------------------------------------------------------------------------------------------


def test_errors_are_of_forces_only(springs, embedded, tmp_path):
    values = errors.run(Subject(springs_of(embedded), embedded, tmp_path), silent)
    metrics = {value.metric for value in values}
    assert metrics == {"force_mae", "force_rmse"}
    assert all(np.isfinite(value.value) for value in values)


def springs_of(embedded):
    class AnyMo(Springs):
        def _predict(self, structures):
            return [Prediction(np.nan, 0 * forces(atoms), np.full(6, np.nan)) for atoms in structures]

    return AnyMo()


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("eos", "no energy and no stress"), ("elastic", "no stress"), ("defects", "no energy and no stress")],
)
def test_what_needs_an_energy_says_so(springs, embedded, tmp_path, name, lacking):
    (value,) = MEASURES[name].measured(Subject(springs, embedded, tmp_path), silent)
    assert np.isnan(value.value)
    assert value.error == f"{name}: not possible: springs predicts {lacking}"
    assert value.metric in MEASURES[name].metrics


@pytest.mark.filterwarnings("ignore:The acoustic frequencies")  # springs to sites know where they are
def test_phonons_come_from_forces_at_the_size_of_the_data(crystal):
    """Atoms on springs of their own all swing at sqrt(k / m); what breaks the symmetry is not made up for."""
    primitive = bulk("Mo", cubic=True)
    found = phonons.compute(primitive, Springs().calculator(), silent, symmetrised=False)
    expected = np.sqrt(STIFFNESS / primitive.get_masses()[0]) / (2 * np.pi) * 98.2269  # (eV/Å²/u)^½ in THz
    assert found.value("highest_frequency") == pytest.approx(expected, rel=1e-3)
    assert found.value("force_constant_asymmetry") == pytest.approx(0, abs=1e-9)
    turned = phonons.compute(primitive, Springs(0.1).calculator(), silent, symmetrised=False)
    # J = -k (1 + a T) with T antisymmetric in x and y: 2 a √2 over √(3 + 2 a²).
    asymmetry = 2 * 0.1 * np.sqrt(2) / np.sqrt(3 + 2 * 0.1**2)
    assert turned.value("force_constant_asymmetry") == pytest.approx(asymmetry, rel=1e-6)


def test_steps_are_timed_at_constant_volume_and_it_is_said(crystal, brief_timings):
    values = cost.timed(Springs(), crystal, len(crystal), least=1)
    assert all(value.note.startswith(cost.TIMED_NVT) for value in values)
    assert next(v for v in values if v.metric == "cost_ratio").value > 0


# -- the report ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [True, False], ids=["beside others", "alone"])
def test_a_report_never_compares_what_is_not_there(tmp_path, others):
    """The example with the energies of its best potential taken away: it stays first, by its forces."""
    from test_report_marks import EXAMPLE

    folder = tmp_path / "run"
    shutil.copytree(EXAMPLE, folder)
    rows = [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]
    best = content.read(folder).ranking.index[0]
    kept = [
        row
        for row in rows
        if (others or row["potential"] == best)
        and not (row["potential"] == best and row["metric"].startswith(("energy", "stress")))
    ]
    (folder / RESULTS).write_text("".join(json.dumps(row) + "\n" for row in kept))
    read = content.read(folder)
    assert read.ranking.index[0] == best
    assert np.isnan(read.ranking.at[best, "energy_rmse"])
    assert len(read.evidence.errors) == (2 if others else 1)
    said = " ".join(read.findings)
    assert "nan" not in said
    assert f"Smallest force error on the test data: {best}, " in said
    build(folder)
    html = (folder / "report.html").read_text()
    assert ">nan" not in html
    if others:
        assert f"No energy is predicted by {best}." in html
