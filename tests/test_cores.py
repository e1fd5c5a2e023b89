"""Cost and scaling on several cores: what is asked for, what is reserved, what the report makes of it."""

import dataclasses
import tomllib

import pytest
from command import mlip_bench
from test_report_marks import EXAMPLE
from test_slots import FAST, Some, worker

from mlip_bench import compare
from mlip_bench.cli.choices import parse_cores
from mlip_bench.errors import UserError
from mlip_bench.hardware import available_cores
from mlip_bench.measure.cost import MEASURE, on_cores
from mlip_bench.report import build, content
from mlip_bench.results import DESCRIPTION, RESULTS, read_rows, write_rows
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.slots import Slots

RUN = ("run", "--potential", "snap", "--system", "Mo", "--dataset", "embedded", "--preset", "quick")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--cores", "0"), "--cores 0: write it as numbers of cores, for example 1,2,4"),
        (("--cores", "two"), "--cores two: write it as numbers of cores"),
        (("--cores", ""), "--cores : write it as numbers of cores"),
        (("--cores", "4096"), "--cores 4096: this process may use "),
        (("--cores", "1,2", "--measure", "errors"), "--cores: only with --measure cost or scaling"),
    ],
)
def test_what_cannot_be_is_one_sentence(given, sentence, tmp_path):
    done = mlip_bench(*RUN, "--out", tmp_path / "out", *given)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_gpu_has_one_core():
    with pytest.raises(UserError, match="a GPU is fed by one core"):
        parse_cores("1,2", ["cost"], "cuda", here=False)
    assert parse_cores("1", ["cost"], "cuda", here=False) == (1,)
    assert parse_cores("4, 1,2,2", ["cost", "errors"], "cpu", here=False) == (1, 2, 4)


def test_only_cost_and_scaling_are_measured_on_several_and_each_is_a_task_of_its_own(embedded):
    measures = ("errors", "cost", "stability", "scaling")
    potential = PotentialPlan("snap", "snap", {})
    tasks = Plan(embedded, (potential,), measures, cores=(1, 2)).tasks(Data.of(embedded, lambda some: "hash"))
    found = [(task.kind, task.cores, task.label) for task in tasks]
    assert found == [
        ("fit", 1, "fit snap"),
        ("errors", 1, "errors snap"),
        ("cost", 1, "cost snap"),
        ("cost", 2, "cost snap on 2 cores"),
        ("stability", 1, "stability snap"),
        ("scaling", 1, "scaling snap"),
        ("scaling", 2, "scaling snap on 2 cores"),
    ]
    assert len({task.key for task in tasks}) == len(tasks)
    assert [task.decides["threads"] for task in tasks if task.kind == "cost"] == [1, 2]


@dataclasses.dataclass(frozen=True, eq=False)
class OnCores(Some):
    n: int = 2

    @property
    def cores(self):
        return self.n


def test_a_slot_has_as_many_cores_as_are_timed():
    workers = [worker("few", "a", cores=(0, 1), timing=1), worker("many", "b", timing=1)]
    slot = Slots().take(OnCores(timed=True, n=3), workers, FAST)
    assert (slot.worker.name, slot.cores) == ("many", [1, 2, 3])
    slot = Slots().take(OnCores(timed=True, n=5), workers, FAST)
    assert str(slot.error) == "no worker that times has 5 cores"


@pytest.fixture
def folder(tmp_path):
    """The committed example with one potential timed on two cores as well, in half the time."""
    rows = read_rows(EXAMPLE / RESULTS)
    several = [
        dataclasses.replace(row, threads=2, value=row.value / 2)
        for row in rows
        if row.measure == MEASURE.name and row.potential == rows[0].potential and row.value is not None
    ]
    assert several
    (tmp_path / DESCRIPTION).write_text((EXAMPLE / DESCRIPTION).read_text())
    write_rows(tmp_path / RESULTS, rows + several)
    return tmp_path


def test_several_cores_have_no_place_on_the_front_of_one(folder):
    alone, both = content.read(EXAMPLE), content.read(folder)
    costs = [axis.metric for axis in alone.evidence.costs]
    assert alone.ranking[costs].equals(both.ranking[costs])
    assert list(alone.ranking["on_front"]) == list(both.ranking["on_front"])
    table = on_cores.table(both.evidence.rows[both.evidence.rows["measure"].str.startswith(MEASURE.name)])
    assert {row[1] for row in table.rows} == {"2"}
    assert all(row[2].endswith("[2.00]") for row in table.rows)
    keys = compare.read(folder).keys() - compare.read(EXAMPLE).keys()
    assert keys
    assert all(name.endswith(", 2 cores") for name, _ in keys)


def test_cost_on_several_cores_alone_is_said(folder):
    rows = read_rows(folder / RESULTS)
    name = rows[0].potential
    kept = [row for row in rows if row.threads > 1 or (row.measure, row.potential) != (MEASURE.name, name)]
    write_rows(folder / RESULTS, kept)
    said = [one for one in content.read(folder).warnings if "several cores alone" in one]
    assert said == [f"Timed on several cores alone, so not on the front of one: {name}."]


@pytest.mark.slow
@pytest.mark.skipif(len(available_cores()) < 2, reason="this machine has one core")
def test_a_run_on_one_core_and_two(tmp_path):
    out = tmp_path / "out"
    done = mlip_bench(*RUN, "--measure", "errors,cost", "--cores", "1,2", "--out", out)
    assert done.returncode == 0, done.stderr
    rows = read_rows(out / RESULTS)
    found = {(row.implementation, row.threads) for row in rows if row.measure == "cost"}
    assert found == {(name, cores) for name in ("lammps", "mlip-bench") for cores in (1, 2)}
    assert tomllib.loads((out / DESCRIPTION).read_text())["cores"] == [1, 2]
    (ratio,) = content.read(out).ranking["cost_ratio"]
    of_one = [row.value for row in rows if (row.metric, row.threads) == ("cost_ratio", 1)]
    assert ratio == min(of_one)
    build(out)
    assert "how many times as fast as on one core" in (out / "report.html").read_text()
    again = mlip_bench("run", "--from", out, "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert "nothing had to be done" in again.stdout
