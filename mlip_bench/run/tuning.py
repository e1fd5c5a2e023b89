"""Tuning of hyper-parameters on training data alone: the outer of the two steps of Zuo et al.

The inner step is the family's own fit. The outer one searches cutoff and weights by differential evolution
(doi:10.1021/acs.jpca.9b08723, section on SNAP; R. Storn and K. Price, J. Global Optim. 11, 341 (1997),
doi:10.1023/A:1008202821328), and from the best of that by quadratic models in a trust region (COBYQA, T. M.
Ragonneau, 2022), which needs far fewer trials near a minimum, for the least score

    E / E₀ + F / F₀ + W max |C / C_ref - 1| / 0.05,

where E and F are the errors of energy and force on held-out folds of the training data, E₀ and F₀ those of
the values that one starts from, and C the elastic constants, where a reference ships (W is 0 elsewhere).
E² and F² are the mean squares in each group (surfaces, snapshots of molecular dynamics, ...), averaged over
groups: nine surfaces among two hundred structures would count for nothing otherwise, and a potential is used
for them too. Test data is never read.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tomli_w
from ase import Atoms
from scipy.optimize import differential_evolution, minimize
from scipy.stats.qmc import LatinHypercube

from mlip_bench.data import reference, splits
from mlip_bench.data.dataset import Dataset
from mlip_bench.errors import NotFinite, UserError
from mlip_bench.measure import crystals, elastic, first_principles
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials import family, presets
from mlip_bench.potentials.base import Progress, silent
from mlip_bench.results import write_atomically
from mlip_bench.run.contents import installed
from mlip_bench.run.executor import Done, Executor, TaskFailed
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.perform import copies, do
from mlip_bench.run.store import Store, Work
from mlip_bench.run.tasks import Task

TRIAL = "trial"
OUTCOME = "trial.json"
# Of what the numbers of a trial are: means over groups, C of the fit to all.
REVISION = 1
GROUPS = "group_weights"

# What the elastic constants count beside the errors: 5 % off as much as an error that is half as large again.
ELASTIC_WEIGHT = 0.5
ELASTIC_SCALE = 0.05

# Members of a generation per dimension, and the share of the ranges over which the first is spread.
POPULATION = 6
FEWEST = 5  # of a generation, for differential evolution
SPREAD = 0.4

# Share of the trials that differential evolution takes, and how far (in logarithms of factors) the trust
# region reaches at first and at last.
EVOLUTION = 0.65
FIRST_RADIUS, LAST_RADIUS = 0.15, 0.01

# What a trial that cannot be had scores where a number must be: far above any that can.
FAILED = 100.0


@dataclass(frozen=True)
class Dimension:
    """One number to tune: a hyper-parameter or the weight of a group, as a factor on its first value."""

    name: str
    low: float
    high: float
    group: str | None = None


@dataclass(frozen=True)
class Problem:
    """Everything that decides the score of a trial but the factors; it can be sent to another process."""

    family: str
    start: Mapping[str, Any]
    dimensions: tuple[Dimension, ...]
    data: Data
    n_folds: int
    seed: int
    trust: bool = False
    """Let files that hyper-parameters name run code of their authors."""

    def hypers(self, factors: Sequence[float]) -> dict[str, Any]:
        """Return the hyper-parameters of a trial."""
        values = dict(self.start)
        groups = dict(values.get(GROUPS, {}))
        for dimension, factor in zip(self.dimensions, factors, strict=True):
            if dimension.group is not None:
                groups[dimension.group] = _rounded(groups.get(dimension.group, 1.0) * factor)
            else:
                values[dimension.name] = _rounded(values[dimension.name] * factor)
        return values | ({GROUPS: groups} if groups else {})


@dataclass(frozen=True)
class Score:
    """What a trial gave: held-out errors (meV/atom, meV/Å) with equal groups, and the share a C_ij is off."""

    hypers: dict[str, Any]
    energy_rmse: float
    force_rmse: float
    elastic_deviation: float | None

    def beside(self, start: "Score") -> float:
        """Return the score beside that of the start, lower is better; see the module's equation."""
        errors = self.force_rmse / start.force_rmse
        if np.isfinite(start.energy_rmse):  # a family that predicts forces alone has none
            errors += self.energy_rmse / start.energy_rmse
        if self.elastic_deviation is None:
            return errors if start.elastic_deviation is None else FAILED
        return errors + ELASTIC_WEIGHT * self.elastic_deviation / ELASTIC_SCALE


@dataclass(frozen=True, eq=False)
class Trial(Task):
    """A fit with some hyper-parameters on all folds but one, each in turn, and its score."""

    problem: Problem
    hypers: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of task."""
        return TRIAL

    @property
    def label(self) -> str:
        """What the user reads."""
        return f"trial of {self.problem.family} {self.key[:6]}"

    @property
    def families(self) -> tuple[str, ...]:
        """The one that is tuned."""
        return (self.problem.family,)

    @property
    def structures(self) -> tuple[str, ...]:
        """Those of its data."""
        return self.problem.data.structures

    @cached_property
    def _potential(self) -> PotentialPlan:
        return PotentialPlan(self.problem.family, self.problem.family, self.hypers)

    @property
    def files(self) -> Mapping[str, tuple[Path, str]]:
        """Those that its fits begin with."""
        return self._potential.files

    @cached_property
    def decides(self) -> dict[str, Any]:
        """All that decides the score."""
        problem = self.problem
        kind = family(problem.family)
        return {
            "task": TRIAL,
            "family": problem.family,
            "revision": [kind.revision, REVISION, elastic.MEASURE.revision],
            "packages": installed((*kind.packages, *elastic.MEASURE.packages)),
            "potential": self._potential.content,
            "train": problem.data.train,
            "crystal": problem.data.crystal,
            "reference": problem.data.reference,
            "folds": problem.n_folds,
            "seed": problem.seed,
        }

    def verify(self, folder: Path) -> None:
        """Raise :class:`ValueError` where a folder does not hold a score or a reason."""
        read_outcome(folder)


def problem(
    name: str,
    hypers: Mapping[str, Any],
    dataset: Dataset,
    data: Data,
    n_folds: int,
    seed: int,
    trust: bool = False,
) -> Problem:
    """Return the problem of a family; raises UserError where its table names nothing to tune."""
    ranges = presets.tables(name).get("tune", {})
    if not ranges:
        raise UserError(f"{name}: its table in potentials/ has no key 'tune', so nothing to tune")
    start = dataclasses.asdict(family(name)(**hypers).hypers)
    splits.folds(dataset.train, n_folds, seed)  # before any fit: are there enough?
    groups = sorted({reference.group(atoms) for atoms in dataset.train})
    dimensions = []
    for key, (low, high) in ranges.items():
        named: list[str | None] = [*groups] if key == GROUPS else [None]
        # With one group only, its weight is that of all.
        if key != GROUPS or len(groups) > 1:
            dimensions += [Dimension(key, low, high, group) for group in named]
    return Problem(name, start, tuple(dimensions), data, n_folds, seed, trust)


@do.register
def _(task: Trial, work: Work, threads: int, progress: Progress) -> None:
    """Evaluate a trial; one whose fit, or whose elastic constants, cannot be had is kept as failed."""
    store, data = Store(work.store), task.problem.data
    crystal = None if data.crystal is None else store.structures(data.crystal)[0]
    train = store.structures(data.train)
    try:
        score = evaluate(task.problem, task.hypers, train, crystal, copies(task, store))
    except (OSError, MemoryError):  # the machine's fault, not the trial's
        raise
    except Exception as error:
        content: dict[str, Any] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    else:
        content = {"score": dataclasses.asdict(score)}
    write_atomically(work.folder / OUTCOME, json.dumps(content, indent=1) + "\n")


def read_outcome(folder: Path) -> Score | str:
    """Return the score of a finished trial, or why there is none."""
    content = json.loads((folder / OUTCOME).read_text())
    if "failed" in content:
        return str(content["failed"])
    return Score(**content["score"])


def evaluate(
    task: Problem,
    hypers: Mapping[str, Any],
    train: Sequence[Atoms],
    crystal: Atoms | None,
    sent: Mapping[str, Path] = MappingProxyType({}),
) -> Score:
    """Fit on all folds but one, each in turn, and predict the one left out; C is of the fit to all.

    Copies that were ``sent`` are read in place of the files that hyper-parameters name.
    """
    folds = splits.folds(train, task.n_folds, task.seed)
    expected = first_principles.of(task.data.system, crystal, "elastic")
    tables = []
    potential = family(task.family)(**hypers).trusting(task.trust).reading(sent)
    fits = potential.fits_without(train, folds, seed=task.seed)
    for fold, potential in zip(range(max(folds) + 1), fits, strict=False):
        held_out = [atoms for atoms, place in zip(train, folds, strict=True) if place == fold]
        tables.append(comparison(held_out, potential.predict(held_out)))
    deviation = None
    if expected is not None and potential.predicts_stress:
        assert crystal is not None  # of which the reference is
        found = elastic.compute(crystal, next(fits).calculator(), silent)
        names = elastic.independent(crystals.standard(crystal).space_group)
        constants = np.array([found.value(name) for name in names])
        reference_values = np.array([expected.value(name) for name in names])
        deviation = float(np.max(np.abs(constants / reference_values - 1)))
    score = Score(dict(hypers), *_over_groups(tables), deviation)
    needed = [score.energy_rmse] if potential.predicts_energy else []
    if not np.all(np.isfinite([*needed, score.force_rmse, deviation or 0.0])):
        raise NotFinite("its errors are not finite")
    return score


def _over_groups(tables: Sequence[dict[str, np.ndarray]]) -> tuple[float, float]:
    """Return the errors of energy and force, root of the mean over groups of the mean square in each."""
    table = {key: np.concatenate([one[key] for one in tables]) for key in tables[0]}
    groups = [summary(table, name) for name in np.unique(table["energy_group"]).tolist()]
    energy, force = (
        float(np.sqrt(np.mean([group.get(f"{quantity}_rmse", np.nan) ** 2 for group in groups])))
        for quantity in ("energy", "force")
    )
    return energy, force


def first(task: Problem) -> list[Trial]:
    """Return the trial of the values that one starts from."""
    return [Trial(task, task.hypers([1.0] * len(task.dimensions)))]


def tune(task: Problem, executor: Executor, n_trials: int, say: Callable[[str], None]) -> tuple[Score, Score]:
    """Return the first score and the best one; trials are kept in the store and not repeated."""
    bounds = [(np.log(dimension.low), np.log(dimension.high)) for dimension in task.dimensions]
    members = max(FEWEST, min(POPULATION * len(bounds), n_trials))
    n_generations = max(1, int(EVOLUTION * n_trials / members))
    search = Search(task, executor, say)
    found = differential_evolution(
        search.scores,
        bounds,
        maxiter=n_generations - 1,
        popsize=POPULATION,
        rng=task.seed,
        polish=False,
        vectorized=True,
        updating="deferred",
        init=_first_generation(np.array(bounds), members, task.seed),
    )
    left = n_trials - n_generations * members
    # Fewer trials than that do not make a first quadratic model.
    if left > 2 * len(bounds) + 1:
        minimize(
            lambda point: float(search.scores(point[:, None])[0]),
            found.x,
            method="COBYQA",
            bounds=bounds,
            options={"maxfev": left, "initial_tr_radius": FIRST_RADIUS, "final_tr_radius": LAST_RADIUS},
        )
    return search.start, search.best


class Search:
    """Scores points of a search, and keeps the best; a trial that fails, by any cause, scores ``FAILED``."""

    def __init__(self, task: Problem, executor: Executor, say: Callable[[str], None]):
        self._task, self._executor, self._say = task, executor, say
        self._n_trials = self._n_failed = 0
        (start,) = self._outcomes([np.zeros(len(task.dimensions))])
        if isinstance(start, str):
            raise UserError(f"{task.family}: the values to start from do not fit the data ({start})")
        self.start = self.best = start
        say(f"start: {_told(start, start)}")

    def scores(self, points: np.ndarray) -> np.ndarray:
        """Return the scores of points (n_dimensions, n_points), logarithms of factors."""
        outcomes = self._outcomes(list(np.atleast_2d(points.T)))
        found = np.array([FAILED if isinstance(one, str) else one.beside(self.start) for one in outcomes])
        winner = outcomes[int(np.argmin(found))]
        if not isinstance(winner, str) and winner.beside(self.start) < self.best.beside(self.start):
            self.best = winner
        failed = f" ({self._n_failed} failed)" if self._n_failed else ""
        self._say(f"{self._n_trials} trials{failed}: {_told(self.best, self.start)}")
        return found

    def _outcomes(self, points: Sequence[np.ndarray]) -> list[Score | str]:
        """Return the scores at points (logarithms of factors), or why there is none."""
        trials = [Trial(self._task, self._task.hypers(np.exp(point).tolist())) for point in points]
        begun = [self._begin(trial) for trial in trials]
        wait([one for one in begun if isinstance(one, Future)])
        outcomes = [one if isinstance(one, str) else _outcome(one) for one in begun]
        self._n_trials += len(outcomes)
        self._n_failed += sum(isinstance(outcome, str) for outcome in outcomes)
        return outcomes

    def _begin(self, trial: Trial) -> "Future[Done] | str":
        """Begin a trial; say why where its values are none that the family takes."""
        try:
            return self._executor.submit(trial)
        except UserError as error:
            return str(error)


def _outcome(future: "Future[Done]") -> Score | str:
    """Return what came of a trial; a crash and a time limit are failures of it, too."""
    try:
        return read_outcome(future.result().folder)
    except TaskFailed as failure:
        return str(failure)


def _first_generation(bounds: np.ndarray, members: int, seed: int) -> np.ndarray:
    """Return points (members, n_dimensions) evenly spread around the start, which is the first of them.

    Over the whole ranges nearly all would be far worse than the start, and their search lost.
    """
    spread = LatinHypercube(len(bounds), rng=seed).random(members) - 0.5
    points = SPREAD * spread * (bounds[:, 1] - bounds[:, 0])
    points[0] = 0.0
    return np.clip(points, bounds[:, 0], bounds[:, 1])


def _rounded(value: float) -> float:
    """Keep three digits: more mean nothing, and a table is read by people."""
    return float(f"{value:.3g}")


def _told(score: Score, start: Score) -> str:
    elastic_part = (
        "" if score.elastic_deviation is None else f", C off by {100 * score.elastic_deviation:.1f} %"
    )
    energy_part = f"{score.energy_rmse:.2f} meV/atom, " if np.isfinite(score.energy_rmse) else ""
    return (
        f"{energy_part}{score.force_rmse:.1f} meV/Å held out{elastic_part}; score {score.beside(start):.3f}"
    )


def entry(task: Problem, start: Score, best: Score) -> str:
    """Return the winner as a table of ``potentials/<family>.toml``, each value with where it comes from."""
    source = (
        f"mlip-bench tune, {task.n_folds} folds of {task.data.name} {task.data.system} training "
        f"(SHA-256 {task.data.train[:12]}), seed {task.seed}: {_told(best, start)}; before: "
        f"{_told(start, start)}"
    )
    # What --set gave is no value of the preset that the table is read with.
    preset = asdict(family(task.family)(**presets.hypers(task.family, "standard", task.data.system)).hypers)
    changed = {
        name: {"value": value, "source": source}
        for name, value in best.hypers.items()
        if value is not None and value != preset[name]
    }
    return tomli_w.dumps({"tuned": {task.data.system: changed}})
