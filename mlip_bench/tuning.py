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
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from ase import Atoms
from ase.calculators.calculator import Calculator
from scipy.optimize import differential_evolution, minimize
from scipy.stats.qmc import LatinHypercube

from mlip_bench.child import pinned_pool
from mlip_bench.data import reference
from mlip_bench.data.dataset import Dataset
from mlip_bench.errors import UserError
from mlip_bench.measure import elastic, first_principles
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials import family, presets
from mlip_bench.potentials.base import silent
from mlip_bench.potentials.linear_fit import stratified_folds

KEPT = "evaluations.jsonl"
# What the numbers of a trial are; trials of an older meaning are not taken over.
MEANING = "mean over groups, C of the fit to all"
GROUPS = "group_weights"

# What the elastic constants count beside the errors: 5 % off as much as an error that is half as large again.
ELASTIC_WEIGHT = 0.5
ELASTIC_SCALE = 0.05

# Members of a generation per dimension, and the share of the ranges over which the first is spread.
POPULATION = 6
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
    """Everything that decides the score of a trial; it can be sent to another process."""

    family: str
    start: Mapping[str, Any]
    dimensions: tuple[Dimension, ...]
    train: tuple[Atoms, ...]
    crystal: Atoms | None
    system: str
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
class Trial:
    """What a trial gave: held-out errors (meV/atom, meV/Å) with equal groups, and the share a C_ij is off."""

    hypers: dict[str, Any]
    energy_rmse: float
    force_rmse: float
    elastic_deviation: float | None

    def score(self, start: "Trial") -> float:
        """Return the score, lower is better; see the module's equation."""
        errors = self.energy_rmse / start.energy_rmse + self.force_rmse / start.force_rmse
        if self.elastic_deviation is None:
            return errors if start.elastic_deviation is None else FAILED
        return errors + ELASTIC_WEIGHT * self.elastic_deviation / ELASTIC_SCALE


def problem(
    name: str, hypers: Mapping[str, Any], data: Dataset, n_folds: int, seed: int, trust: bool = False
) -> Problem:
    """Return the problem of a family; raises UserError where its table names nothing to tune."""
    ranges = presets.tables(name).get("tune", {})
    if not ranges:
        raise UserError(f"{name}: its table in potentials/ has no key 'tune', so nothing to tune")
    start = dataclasses.asdict(family(name)(**hypers).hypers)
    groups = sorted({reference.group(atoms) for atoms in data.train})
    dimensions = []
    for key, (low, high) in ranges.items():
        named: list[str | None] = [*groups] if key == GROUPS else [None]
        # With one group only, its weight is that of all.
        if key != GROUPS or len(groups) > 1:
            dimensions += [Dimension(key, low, high, group) for group in named]
    return Problem(
        name, start, tuple(dimensions), tuple(data.train), data.crystal, data.system, n_folds, seed, trust
    )


def evaluate(task: Problem, factors: Sequence[float]) -> Trial:
    """Fit on all folds but one, each in turn, and predict the one left out; C is of the fit to all."""
    hypers = task.hypers(factors)
    folds = stratified_folds(task.train, task.n_folds, task.seed)
    expected = first_principles.of(task.system, task.crystal, "elastic")
    tables = []
    potential = family(task.family)(**hypers).trusting(task.trust)
    fits = potential.fits_without(task.train, folds, seed=task.seed)
    for fold, potential in zip(range(max(folds) + 1), fits, strict=False):
        held_out = [atoms for atoms, place in zip(task.train, folds, strict=True) if place == fold]
        tables.append(comparison(held_out, potential.predict(held_out)))
    deviation = None
    if expected is not None:
        constants = np.array(elastic_constants(task, next(fits).calculator()))
        reference_values = np.array([expected.value(name) for name in elastic.CUBIC])
        deviation = float(np.max(np.abs(constants / reference_values - 1)))
    return Trial(hypers, *_over_groups(tables), deviation)


def _over_groups(tables: Sequence[dict[str, np.ndarray]]) -> tuple[float, float]:
    """Return the errors of energy and force, root of the mean over groups of the mean square in each."""
    table = {key: np.concatenate([one[key] for one in tables]) for key in tables[0]}
    groups = [summary(table, name) for name in np.unique(table["energy_group"]).tolist()]
    energy, force = (
        float(np.sqrt(np.mean([group[f"{quantity}_rmse"] ** 2 for group in groups])))
        for quantity in ("energy", "force")
    )
    return energy, force


def elastic_constants(task: Problem, calculator: Calculator) -> list[float]:
    """Return C11, C12 and C44 of the crystal (GPa)."""
    assert task.crystal is not None
    found = elastic.compute(task.crystal, calculator, silent)
    return [found.value(name) for name in elastic.CUBIC]


def tune(
    task: Problem, folder: Path, n_trials: int, jobs: int, say: Callable[[str], None]
) -> tuple[Trial, Trial]:
    """Return the first trial and the best one; trials are kept in ``folder`` and not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = Kept(folder / KEPT)
    bounds = [(np.log(dimension.low), np.log(dimension.high)) for dimension in task.dimensions]
    members = POPULATION * len(bounds)
    n_generations = max(1, int(EVOLUTION * n_trials / members))
    with _workers(jobs) as run:
        search = Search(task, kept, run, say)
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
                options={
                    "maxfev": left,
                    "initial_tr_radius": FIRST_RADIUS,
                    "final_tr_radius": LAST_RADIUS,
                },
            )
    return search.start, search.best


class Search:
    """Scores points of a search, and keeps the best trial."""

    def __init__(
        self,
        task: Problem,
        kept: "Kept",
        run: Callable[..., Iterator[Trial | None]],
        say: Callable[[str], None],
    ):
        self._task, self._kept, self._run, self._say = task, kept, run, say
        (start,) = kept.all(task, [np.zeros(len(task.dimensions))], run)
        if start is None:
            raise UserError(f"{task.family}: the values to start from do not fit the data")
        self.start = self.best = start
        say(f"start: {_told(start, start)}")

    def scores(self, points: np.ndarray) -> np.ndarray:
        """Return the scores of points (n_dimensions, n_points), logarithms of factors."""
        trials = self._kept.all(self._task, list(np.atleast_2d(points.T)), self._run)
        found = np.array([FAILED if trial is None else trial.score(self.start) for trial in trials])
        winner = trials[int(np.argmin(found))]
        if winner is not None and winner.score(self.start) < self.best.score(self.start):
            self.best = winner
        self._say(f"{len(self._kept.trials)} trials: {_told(self.best, self.start)}")
        return found


def _first_generation(bounds: np.ndarray, members: int, seed: int) -> np.ndarray:
    """Return points (members, n_dimensions) evenly spread around the start, which is the first of them.

    Over the whole ranges nearly all would be far worse than the start, and their search lost.
    """
    spread = LatinHypercube(len(bounds), rng=seed).random(members) - 0.5
    points = SPREAD * spread * (bounds[:, 1] - bounds[:, 0])
    points[0] = 0.0
    return np.clip(points, bounds[:, 0], bounds[:, 1])


class Kept:
    """Trials by their hyper-parameters, in a file: a repeated search finds them again."""

    def __init__(self, path: Path):
        self._path = path
        self.trials: dict[str, Trial | None] = {}
        lines = path.read_text().splitlines() if path.is_file() else []
        for line in lines:
            entry = json.loads(line)
            self.trials[entry["key"]] = Trial(**entry["trial"]) if entry["trial"] else None

    def all(
        self, task: Problem, points: Sequence[np.ndarray], run: Callable[..., Iterator[Trial | None]]
    ) -> list[Trial | None]:
        """Return the trials at points (logarithms of factors); new ones are computed and written down."""
        factors = [np.exp(point).tolist() for point in points]
        keys = [_key(task, task.hypers(values)) for values in factors]
        missing = {key: values for key, values in zip(keys, factors, strict=True) if key not in self.trials}
        for key, trial in zip(missing, run(_safely, [task] * len(missing), missing.values()), strict=True):
            self.trials[key] = trial
            entry = {"key": key, "trial": dataclasses.asdict(trial) if trial else None}
            with self._path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        return [self.trials[key] for key in keys]


def _safely(task: Problem, factors: Sequence[float]) -> Trial | None:
    """Evaluate a trial; None where its fit, or its elastic constants, cannot be had."""
    try:
        return evaluate(task, factors)
    except (UserError, np.linalg.LinAlgError, ArithmeticError, RuntimeError):
        return None


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[..., Iterator[Trial | None]]]:
    if jobs == 1:
        yield map
        return
    with pinned_pool(jobs) as pool:
        yield pool.map


def _key(task: Problem, hypers: Mapping[str, Any]) -> str:
    data = reference.fingerprint(task.train)
    parts = [task.family, dict(hypers), data, task.n_folds, task.seed, MEANING]
    content = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _rounded(value: float) -> float:
    """Keep three digits: more mean nothing, and a table is read by people."""
    return float(f"{value:.3g}")


def _told(trial: Trial, start: Trial) -> str:
    elastic_part = (
        "" if trial.elastic_deviation is None else f", C off by {100 * trial.elastic_deviation:.1f} %"
    )
    return (
        f"{trial.energy_rmse:.2f} meV/atom, {trial.force_rmse:.1f} meV/Å held out{elastic_part}; "
        f"score {trial.score(start):.3f}"
    )


def entry(task: Problem, data: Dataset, start: Trial, best: Trial) -> str:
    """Return the winner as a table of ``potentials/<family>.toml``, each value with where it comes from."""
    source = (
        f"mlip-bench tune, {task.n_folds} folds of {data.name} {data.system} training "
        f"(SHA-256 {data.sha256[:12]}), seed {task.seed}: {_told(best, start)}; before: {_told(start, start)}"
    )
    changed = {
        name: {"value": value, "source": source}
        for name, value in best.hypers.items()
        if value != start.hypers.get(name)
    }
    return tomli_w.dumps({"tuned": {task.system: changed}})
