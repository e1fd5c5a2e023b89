"""Learning curves: the law and what its intervals hold, and the command from end to end."""

import tomllib

import ase.io
import numpy as np
import pytest
from command import mlip_bench
from scipy import optimize

from mlip_bench.data.reference import labelled
from mlip_bench.measure.errors import comparison
from mlip_bench.measure.errors.sums import Sums
from mlip_bench.measure.learning import Point, fitted, section
from mlip_bench.measure.learning.law import Series
from mlip_bench.potentials import family
from mlip_bench.potentials.prediction import Prediction
from mlip_bench.report import content
from mlip_bench.results import read_rows
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.learning import potentials

# Draws of a test set and of fits.
DRAWS = 300
N_TEST = 25


def series(generator, n_train, exponent=0.3, offset=0.0, scatter=0.03, falls=0.5, n_test=N_TEST, alone=0.2):
    """Return force errors of fits with E = N^-b + c: structures are hard for all fits, and scatter in each.

    ``scatter`` is that of the largest fit, and falls with N to the power ``falls``; ``alone`` is that of a
    fit on one structure; both of the logarithm.
    """
    numbers = np.asarray(n_train, dtype=float)
    counts = generator.choice([27.0, 81.0, 162.0, 324.0], n_test)
    hard = np.exp(2 * generator.normal(0, 0.5, n_test) - 2 * 0.5**2)
    sums = [
        (number**-exponent + offset) ** 2
        * np.exp(2 * generator.normal(0, scatter * (numbers.max() / number) ** falls))
        * np.exp(2 * generator.normal(0, alone, n_test) - 2 * alone**2)
        * hard
        * generator.chisquare(counts)
        for number in numbers
    ]
    return Series(numbers, np.arange(1, n_test + 1), np.repeat("all", n_test), counts, np.array(sums), 0.5)


@pytest.mark.parametrize(
    ("n_train", "scatter", "falls"),
    [
        ((20, 40, 100, 200), 0.02, 0.5),
        ((20, 40, 100, 200), 0.1, 0.0),
        ((20, 20, 40, 40, 100, 100, 200), 0.03, 0.5),
        ((20, 20, 40, 40, 100, 100, 200), 0.02, 1.0),
    ],
    ids=["four fits", "that scatter alike", "two seeds", "large ones scatter far less"],
)
def test_intervals_hold_the_exponent_and_the_error_of_a_fit_to_twice_the_data(n_train, scatter, falls):
    generator = np.random.default_rng(1)
    held = {"exponent": [], "at twice": []}
    for _ in range(DRAWS):
        found = series(generator, n_train, scatter=scatter, falls=falls)
        then = -0.3 * np.log(400) + generator.normal(0, scatter)  # of one more fit, on all structures
        for name, estimate, truth in (
            ("exponent", found.law.exponent, 0.3),
            ("at twice", found.law.log_at(400), then),
        ):
            ends = found.interval(estimate)
            if ends is not None:  # seldom, neighbours seem so alike that there are too few blocks
                held[name].append(ends[0] <= truth <= ends[1])
    for within in held.values():
        assert len(within) > 0.97 * DRAWS
        assert np.mean(within) >= 0.93


def test_few_fits_that_scatter_do_not_seem_sure():
    """Two degrees of freedom: the interval is far wider than twice the standard error."""
    found = series(np.random.default_rng(2), (20, 40, 100, 200), scatter=0.1)
    low, high = found.interval(found.law.exponent)
    _, covariance = np.polyfit(np.log(found.n_train), found.logs, 1, w=found.n_train**0.5, cov=True)
    assert high - low > 2 * 4 * covariance[0, 0] ** 0.5


def test_the_law_is_the_one_that_least_squares_of_others_find():
    found = series(np.random.default_rng(3), (20, 40, 100, 200))
    slope, height = np.polyfit(np.log(found.n_train), found.logs, 1, w=found.n_train**0.5)
    assert found.law.exponent.value == pytest.approx(-slope)
    assert found.law.log_factor.value == pytest.approx(height)
    assert found.law.log_at(400).value == pytest.approx(height + slope * np.log(400))
    # All of it is a sum of logarithms with these weights.
    assert found.law.log_of_more(200, 2).value == pytest.approx(slope * np.log(2))
    for estimate in (
        *(found.law.exponent, found.law.log_factor),
        *(found.law.log_at(400), found.law.log_of_more(200, 2)),
    ):
        assert estimate.weights @ found.logs == pytest.approx(estimate.value)


def test_an_offset_is_fitted_where_the_points_have_one_and_only_there():
    numbers = (10, 20, 40, 80, 160, 320)
    with_one = [
        series(np.random.default_rng(seed), numbers, 0.8, 0.08, scatter=0.01, alone=0.05).law
        for seed in range(20)
    ]
    without = [series(np.random.default_rng(seed), numbers).law for seed in range(40)]
    offsets = [float(np.exp(law.log_offset.value)) for law in with_one if law.log_offset is not None]
    assert len(offsets) >= 15
    assert np.median(offsets) == pytest.approx(0.08, rel=0.2)
    assert sum(law.log_offset is not None for law in without) <= 4


def test_a_law_with_an_offset_is_that_of_scipy():
    numbers = (10, 20, 40, 80, 160, 320)
    found = series(np.random.default_rng(4), numbers, 0.8, 0.08, scatter=0.01, alone=0.05)
    assert found.law.log_offset is not None

    def law(n, log_a, b, log_c):
        return np.log(np.exp(log_a) * n**-b + np.exp(log_c))

    expected, covariance = optimize.curve_fit(
        law, found.n_train, found.logs, p0=[0.0, 0.5, -3.0], sigma=found.n_train**-0.5
    )
    assert found.law.log_factor.value == pytest.approx(expected[0], abs=1e-4)
    assert found.law.exponent.value == pytest.approx(expected[1], abs=1e-4)
    assert found.law.log_offset.value == pytest.approx(expected[2], abs=1e-4)
    n = np.array([320.0, 640.0])
    one, twice = law(n, *expected)
    assert found.law.log_of_more(320, 2).value == pytest.approx(twice - one, abs=1e-4)
    # The weights give scipy's standard error from the residuals.
    left = (found.logs - law(found.n_train, *expected)) * found.n_train**0.5
    error = (left @ left / 3) ** 0.5 * np.linalg.norm(found.law.exponent.weights / found.n_train**0.5)
    assert error == pytest.approx(covariance[1, 1] ** 0.5, rel=1e-3)


def test_a_hard_structure_that_all_fits_share_makes_no_exponent_unsure():
    """The same structures are hard for every fit: how hard is in the error, and cancels in the exponent."""
    widths = []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        found = series(generator, (20, 40, 100, 200), scatter=0.0, alone=0.001)
        sums = found.sums * np.exp(generator.normal(0, 1, N_TEST))
        harder = Series(found.n_train, found.numbers, found.groups, found.counts, sums, 0.5)
        ends = [harder.interval(one) for one in (harder.law.exponent, harder.law.log_at(400))]
        widths.append([high - low for low, high in ends])
    of_exponent, of_error = np.median(widths, axis=0)
    assert of_exponent < 0.3 * of_error


def test_structures_that_one_fit_could_not_predict_are_left_out_of_all(embedded):
    generator = np.random.default_rng(6)
    points = []
    for number in (10, 20, 40):
        predictions = []
        for atoms in embedded.test:
            noise = number**-0.5
            predictions.append(
                Prediction(
                    atoms.get_potential_energy() + noise * generator.normal(),
                    atoms.get_forces() + noise * generator.normal(size=(len(atoms), 3)),
                    atoms.get_stress() + noise * generator.normal(size=6),
                )
            )
        kept = slice(None) if number != 20 else slice(2, None)
        table = comparison(embedded.test[kept], predictions[kept], range(1, len(embedded.test) + 1)[kept])
        points.append(Point(number, {key: Sums.of(table, key) for key in ("energy", "force", "stress")}))
    found = fitted(points, 40)
    assert len(found.curves["force_numbers"]) == len(embedded.test) - 2
    assert found.value("force_rmse_exponent") == pytest.approx(0.5, abs=0.1)
    twice, factor = found.value("force_rmse_at_twice"), found.value("force_rmse_factor")
    assert twice == pytest.approx(factor * 80 ** -found.value("force_rmse_exponent"))


def test_a_potential_for_each_share_and_seed():
    planned = [PotentialPlan(name, name, {}) for name in ("snap", "nnp")]
    assert family("nnp").stochastic
    found = potentials(planned, [0.1, 1.0], range(3, 5), 50)
    assert [(one.name, one.share, one.seed) for one in found] == [
        ("snap-n5", 0.1, None),
        ("snap", None, None),
        ("snap-n5-seed4", 0.1, 4),  # which structures it has is chance, but of all of them it is the same fit
        ("nnp-n5", 0.1, None),
        ("nnp", None, None),
        ("nnp-n5-seed4", 0.1, 4),
        ("nnp-seed4", None, 4),
    ]


# -- the command -----------------------------------------------------------------------------------------

SNAP = ("--potential", "snap", "--set", "snap.twojmax=2")


def learn(*arguments, folder):
    return mlip_bench("learn", "--system", "Mo", "--dataset", "embedded", *arguments, folder=folder)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A run of two families."""
    folder = tmp_path_factory.mktemp("learnt")
    done = learn(
        "--potential", "snap,qsnap", "--preset", "quick", "--fractions", "0.1,0.2,0.5,1", folder=folder
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_rows_say_how_many_structures_they_are_of(learnt):
    rows = read_rows(learnt[0] / "reports" / "Mo-learn" / "results.jsonl")
    of_errors = {
        (row.potential, row.n_train)
        for row in rows
        if (row.measure, row.metric, row.split) == ("errors", "force_rmse", "test")
    }
    numbers = (6, 11, 28, 55)
    assert of_errors == {
        (name if number == 55 else f"{name}-n{number}", number)
        for name in ("snap", "qsnap")
        for number in numbers
    }
    (exponent,) = [row for row in rows if (row.potential, row.metric) == ("snap", "force_rmse_exponent")]
    assert (exponent.measure, exponent.split, exponent.unit, exponent.n_train) == (
        "learning",
        "test",
        "1",
        55,
    )
    assert exponent.low < exponent.value < exponent.high
    value = {row.metric: row.value for row in rows if row.measure == "learning" and row.potential == "snap"}
    errors = {
        row.n_train: row.value
        for row in rows
        if (row.family, row.measure, row.metric, row.split) == ("snap", "errors", "force_rmse", "test")
    }
    numbers = np.array(list(errors), dtype=float)
    logs = np.log(list(errors.values()))
    slope, height = np.polyfit(np.log(numbers), logs, 1, w=numbers**0.5)
    assert value["force_rmse_exponent"] == pytest.approx(-slope)
    assert value["force_rmse_at_twice"] == pytest.approx(np.exp(height) * 110**slope)


def test_all_of_the_data_is_the_fit_of_a_run(learnt):
    """What ``run`` has fitted is not fitted again, and it has the same errors."""
    folder, _ = learnt
    done = mlip_bench(
        "run", "--system", "Mo", "--dataset", "embedded", "--potential", "snap,qsnap", "--preset", "quick",
        "--measure", "errors", "--out", "reports/run", folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nothing had to be done" in done.stdout


def test_a_second_time_nothing_is_done_and_it_is_repeated_from_its_description(learnt):
    folder, first = learnt
    again = learn("--potential", "snap,qsnap", "--preset", "quick", folder=folder)
    assert again.returncode == 0, again.stderr
    assert "nothing had to be done: all 18 tasks" in again.stdout
    repeated = mlip_bench(
        "learn", "--from", "reports/Mo-learn/run.toml", "--out", "reports/again", folder=folder
    )
    assert repeated.returncode == 0, repeated.stderr
    assert "nothing had to be done: all 18 tasks" in repeated.stdout
    sentences = [line for line in first.stdout.splitlines() if line.startswith("snap: ")]
    assert len(sentences) == 1
    assert sentences[0] in repeated.stdout
    one, other = ((folder / "reports" / name / "results.jsonl").read_text() for name in ("Mo-learn", "again"))
    assert one == other


def test_the_report_has_a_section_and_its_ranking_the_whole_fits_alone(learnt):
    read = content.read(learnt[0] / "reports" / "Mo-learn")
    assert sorted(read.ranking.index) == ["qsnap", "snap"]
    (section,) = [one for one in read.sections if one.heading == "Learning curves"]
    assert [plot.name for plot in section.plots] == ["learning"]
    sentences = section.parts[0].sentences
    assert [sentence.split(":")[0] for sentence in sentences] == list(read.ranking.index)
    assert all("more data" in one or "another family" in one or "distinguishable" in one for one in sentences)
    force, energy = section.tables
    assert force.rows[0][1] == "6, 11, 28, 55"
    assert "exponent b" in force.headings
    assert "meV/atom" in energy.headings[2]
    (plot,) = section.plots
    assert len(plot.data.rows) == 2 * 2 * 4
    html = (learnt[0] / "reports" / "Mo-learn" / "report.html").read_text()
    assert 'id="figure-learning"' in html
    assert "twice the data: " in html


def test_a_potential_that_is_opened_shows_its_curve_as_far_as_twice_the_data(learnt):
    read = content.read(learnt[0] / "reports" / "Mo-learn")
    force, energy = section.charts(read.evidence, "snap")
    assert [one.y_label for one in (force, energy)] == [
        "test force RMSE (meV/Å)",
        "test energy RMSE (meV/atom)",
    ]
    assert list(force.x) == [6, 11, 28, 55]
    rows = read_rows(learnt[0] / "reports" / "Mo-learn" / "results.jsonl")
    (twice,) = [row for row in rows if (row.potential, row.metric) == ("snap", "force_rmse_at_twice")]
    (line,) = force.lines
    assert (line.x[-1], line.y[-1]) == pytest.approx((110, twice.value))
    assert section.charts(read.evidence, "no such") == []


def test_every_subset_is_in_the_next_and_the_test_data_is_one(learnt):
    run = tomllib.loads((learnt[0] / "reports" / "Mo-learn" / "run.toml").read_text())
    assert {name: one.get("share") for name, one in run["potentials"].items() if one["family"] == "snap"} == {
        "snap-n6": 0.1, "snap-n11": 0.2, "snap-n28": 0.5, "snap": None,
    }  # fmt: skip
    predictions = learnt[0] / "reports" / "Mo-learn" / "predictions"
    references = []
    for name in ("snap-n6", "snap"):
        with np.load(predictions / f"{name}.npz") as kept:
            references.append(kept["test_force"][:, 0])
    assert (references[0] == references[1]).all()


def test_two_numbers_of_structures_have_no_exponent_and_it_is_said(tmp_path):
    done = learn(*SNAP, "--fractions", "0.5,1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "No exponent of learning curves: 2 numbers of structures, and it takes 3" in done.stdout
    assert "no law through 2 points, fewer than 3 numbers of structures" in done.stdout
    rows = read_rows(tmp_path / "reports" / "Mo-learn" / "results.jsonl")
    assert not [row for row in rows if row.measure == "learning"]


def test_seeds_draw_orders_of_their_own(tmp_path):
    done = learn(*SNAP, "--fractions", "0.2,0.5,1", "--seeds", "2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "reports" / "Mo-learn"
    rows = [
        row
        for row in read_rows(folder / "results.jsonl")
        if (row.measure, row.metric, row.split) == ("errors", "force_rmse", "test")
    ]
    assert {(row.potential, row.seed, row.n_train) for row in rows} == {
        ("snap-n11", 0, 11), ("snap-n28", 0, 28), ("snap", 0, 55),
        ("snap-n11-seed1", 1, 11), ("snap-n28-seed1", 1, 28),
    }  # fmt: skip
    by_name = {row.potential: row.value for row in rows}
    assert by_name["snap-n11"] != by_name["snap-n11-seed1"]
    assert list(content.read(folder).ranking.index) == ["snap"]


def test_a_fit_that_fails_is_a_row_and_the_others_go_on(tmp_path):
    """A GAP with a basis that no memory holds fails at every size; SNAP beside it has its curve."""
    done = learn(
        "--potential", "snap,gap", "--set", "snap.twojmax=2", "--set", "gap.n_max=80", "--set", "gap.l_max=1",
        "--fractions", "0.2,0.5,1", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    folder = tmp_path / "reports" / "Mo-learn"
    failed = [row for row in read_rows(folder / "results.jsonl") if row.error is not None]
    assert {(row.potential, row.n_train) for row in failed} == {("gap-n11", 11), ("gap-n28", 28), ("gap", 55)}
    assert any(row.metric == "force_rmse_exponent" for row in read_rows(folder / "results.jsonl"))
    read = content.read(folder)
    assert set(read.failures["potential"]) == {"gap-n11", "gap-n28", "gap"}


def test_groups_that_a_small_subset_lacks_are_named(tmp_path):
    done = learn(*SNAP, "--fractions", "0.04,0.5,1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Among 2 training structures")]
    assert "drawn by seed 0, none is of" in line
    read = content.read(tmp_path / "reports" / "Mo-learn")
    assert line in read.warnings


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ("0,1", "0 is not above 0 and at most 1"),
        ("0.5,1.5,1", "1.5 is not above 0 and at most 1"),
        ("-0.1,1", "-0.1 is not above 0 and at most 1"),
        ("nan,1", "nan is not above 0 and at most 1"),
        ("0.5,0.50,1", "0.50 is there twice"),
        ("half,1", "'half' is no number; write them as 0.1,0.2,0.5,1"),
        ("", "'' is no number"),
        ("0.1,0.5", "1, all of the data, must be among them"),
        ("1", "all of the data alone is no curve"),
        ("0.001,1", "of 55 training structures that is none"),
        ("0.1,0.105,1", "0.1 and 0.105 are both 6 of 55 training structures"),
    ],
)
def test_bad_fractions_are_one_line(fractions, message, tmp_path):
    done = learn(*SNAP, f"--fractions={fractions}", folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "reports").exists()


def test_elements_never_vanish(alloys, tmp_path):
    """Copper and gold in structures of their own: one of them would lack one."""
    copper = [atoms for atoms in alloys if "Au" not in atoms.symbols]
    gold = []
    for atoms in copper[:2]:
        other = atoms.copy()
        other.symbols[:] = "Au"
        gold.append(labelled(other, atoms.get_potential_energy(), atoms.get_forces(), None))
    ase.io.write(tmp_path / "train.xyz", [*copper, *gold], format="extxyz")
    ase.io.write(tmp_path / "test.xyz", alloys[:3], format="extxyz")
    n = len(copper) + len(gold)

    def with_least(share):
        return mlip_bench(
            *("learn", *SNAP, "--train", "train.xyz", "--test", "test.xyz", "--jobs", "1"),
            *("--fractions", f"{share},0.5,1"),
            folder=tmp_path,
        )

    refused = with_least(1 / n)
    assert refused.returncode == 2
    assert f"that is 1 of {n} training structures, and 2 are needed to have all elements" in refused.stderr
    done = with_least(2 / n)
    assert done.returncode == 0, done.stderr


def test_a_run_without_shares_is_not_repeated_as_learning_curves(learnt, tmp_path):
    described = (learnt[0] / "reports" / "Mo-learn" / "run.toml").read_text()
    without = "\n".join(line for line in described.splitlines() if not line.startswith("share = "))
    (tmp_path / "run.toml").write_text(without)
    done = mlip_bench("learn", "--from", "run.toml", folder=tmp_path)
    assert done.returncode == 2
    assert "run.toml: no learning curves; repeat it with: mlip-bench run --from" in done.stderr
    other = mlip_bench("learn", "--from", "run.toml", "--fractions", "0.5,1", folder=tmp_path)
    assert other.returncode == 2
    assert "leave --fractions out" in other.stderr
