"""A sweep: sizes of every family, from cheap to dear, within a budget of time.

Each family has a ladder of sizes (``potentials/<family>.toml``, key ``ladder``) with the seconds that each
took on mlearn Mo: fit, errors and cost together. What was measured so far on this machine and data corrects
these estimates; a size whose estimate exceeds what is left of the budget is left out, and named. A size is
paid for as a whole, one after the other, so that none is fitted that is not timed.

What is chosen among sizes is chosen by errors on structures held out from training. The test data is read at
the end, for what was chosen alone: the front of error and cost, and the best size of each family. So is what
else is to be known of these: the physics of the finalists.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from mlip_bench.data.dataset import Dataset
from mlip_bench.errors import UserError
from mlip_bench.measure import cost_axes, error_axes, errors, held_out, reported
from mlip_bench.potentials import family, presets
from mlip_bench.results import BY_GROUP, Row, table
from mlip_bench.run.executor import Executor
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.schedule import Outcome, Results, do
from mlip_bench.run.tasks import PotentialTask
from mlip_bench.section.fronts import on_front

# What the choice rests on; and the last, which reads the test data.
FOR_ALL = (held_out.NAME, "cost")
MEASURES = (*FOR_ALL, errors.MEASURE.name)

# A fit to all folds but one takes as much of a whole one, about.
SHARE_OF_A_FIT = 0.8

# Atoms in the training structures of mlearn Mo, which the seconds of the ladders belong to: fits take longer
# with more of them.
ATOMS_OF_LADDERS = 10087

# This share of the budget is kept for what is measured of what was chosen, beside test errors.
SHARE_OF_FINALISTS = 0.25

# The measured seconds over the estimated ones of this many last sizes correct the next estimates.
LAST = 3


@dataclass(frozen=True)
class Size:
    """One size of a family, and the seconds that it is expected to take in all."""

    potential: PotentialPlan
    seconds: float


@dataclass
class Swept:
    """What a sweep did: its plan as far as it was followed, what it left out, and what failed."""

    plan: Plan
    outcome: Outcome
    left_out: list[Size] = field(default_factory=list)
    """Sizes that the budget did not pay for."""
    cut_off: list[Size] = field(default_factory=list)
    """Sizes that were not whole when the budget was spent."""
    unmeasured: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By measure of what was chosen: the potentials without it, because the budget was spent."""

    @property
    def notes(self) -> list[str]:
        """What the first page says of sizes that are not among the results, or only in part."""
        untimed = [
            failure.potential
            for failure in self.outcome.failures
            if failure.measure in MEASURES and failure.potential in {one.name for one in self.plan.potentials}
        ]
        found = {
            "Fitted, but without an error or a cost, so not on the front": list(dict.fromkeys(untimed)),
            "Left out, the budget does not pay for them": [size.potential.name for size in self.left_out],
            "Not finished when the budget was spent": [size.potential.name for size in self.cut_off],
        }
        for measure, names in self.unmeasured.items():
            what = "test errors" if measure == errors.MEASURE.name else measure
            found[f"Chosen, but without {what} when the budget was spent"] = list(names)
        return [f"{what}: {', '.join(names)}." for what, names in found.items() if names]


def of_chosen(plan: Plan) -> list[str]:
    """Return the measures of a sweep's plan that are for what was chosen alone: test errors, then others."""
    return [measure for measure in plan.measures if measure not in FOR_ALL]


def before_choice(plan: Plan) -> Plan:
    """Return the plan as long as nothing is chosen, and nothing is measured that is for what is."""
    return dataclasses.replace(plan, limited=dict.fromkeys(of_chosen(plan), ()))


def ladder(
    name: str, system: str, overrides: Mapping[str, Any], varied: Mapping[str, Sequence[Any]]
) -> list[Size]:
    """Return the sizes of a family, from cheap to dear, with all other hyper-parameters as in ``standard``.

    ``varied`` replaces the family's own ladder by the values of hyper-parameters that are named.
    """
    base = presets.hypers(name, "standard", system) | dict(overrides)
    rungs = presets.ladder(name)
    if varied:
        seconds = float(np.median([rung["seconds"] for rung in rungs])) if rungs else 60.0
        grid = product(*varied.values())
        rungs = [dict(zip(varied, values, strict=True)) | {"seconds": seconds} for values in grid]
    for key in overrides:
        if any(key in rung for rung in rungs):
            raise UserError(
                f"--set {name}.{key}: a sweep varies it; leave it out, or name its values with "
                f"--vary {name}.{key}=..."
            )
    sizes = []
    for rung in rungs or [{"seconds": 60.0}]:
        sizing = {key: value for key, value in rung.items() if key != "seconds"}
        potential = PotentialPlan(_name(name, sizing), name, base | sizing)
        potential.resolved()
        sizes.append(Size(potential, rung["seconds"]))
    return list({size.potential.name: size for size in sizes}.values())


def _name(family_name: str, sizing: Mapping[str, Any]) -> str:
    """Return the name of a size: ``gap-n_sparse400-l_max8``."""

    def plain(value: Any) -> str:
        return "x".join(map(plain, value)) if isinstance(value, list) else str(value)

    return "-".join([family_name, *(f"{key}{plain(value)}" for key, value in sizing.items())])


def in_order(ladders: Sequence[Sequence[Size]], n_seeds: int, seed: int) -> list[Size]:
    """Return the sizes in the order of doing: from cheap to dear, and then again with other seeds."""
    first = sorted((size for sizes in ladders for size in sizes), key=lambda size: size.seconds)
    by_chance = [size for size in first if family(size.potential.family).stochastic]
    return first + [_seeded(size, seed + repeat) for repeat in range(1, n_seeds) for size in by_chance]


def _seeded(size: Size, seed: int) -> Size:
    potential = dataclasses.replace(size.potential, name=f"{size.potential.name}-seed{seed}", seed=seed)
    return Size(potential, size.seconds)


def finalists(rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Return family and SHA-256 of the hyper-parameters of what is chosen by held-out errors.

    That is the front of error and cost, and the best size of each family. Fits that differ in their seed
    alone count by their means, as in the report.
    """
    good = table(row for row in rows if row.error is None)
    for one in reported():
        good = one.adjusted(good)
    key = ["family", "hypers_sha256"]
    of_held_out = (good["measure"] == held_out.NAME) & (good["metric"] == error_axes()[0].metric)
    error = good[of_held_out].groupby(key)["value"].mean()
    price = good[good["metric"] == cost_axes()[0].metric].groupby(key)["value"].mean().reindex(error.index)
    best = error.groupby("family").idxmin()
    return {*error.index[on_front(price, error)], *best}


class Estimates:
    """Seconds that sizes will take, corrected by what others took."""

    def __init__(self, data: Dataset, n_folds: int = 0):
        self._n_folds = n_folds
        self._scale = sum(map(len, data.train)) / ATOMS_OF_LADDERS
        self._ratios: dict[str, list[float]] = {}

    def of(self, size: Size) -> float:
        """Return the estimate for a size: by its own family's ratios, else by those of all."""
        own = self._ratios.get(size.potential.family, [])
        every = [ratio for ratios in self._ratios.values() for ratio in ratios]
        ratios = own[-LAST:] or every
        # Data larger than the ladders' takes longer; once something was measured, that says it better.
        correction = float(np.median(ratios)) if ratios else max(1.0, self._scale)
        return self._expected(size) * correction

    def _expected(self, size: Size) -> float:
        """Return the seconds of a size with its folds; at most, where the fit is all that takes time."""
        together = family(size.potential.family).fits_folds_together
        return size.seconds * (1 if together else 1 + SHARE_OF_A_FIT * self._n_folds)

    def learn(self, size: Size, rows: Sequence[Row], whole: bool = True) -> None:
        """Keep what a size took; of one that is not ``whole`` only that it takes more than was expected."""
        took = {(row.measure.removesuffix(BY_GROUP), row.started): row.wall_s for row in rows}
        folds = sum(row.value or 0.0 for row in rows if row.metric == held_out.SECONDS)
        seconds = sum(took.values()) + folds
        if not whole and seconds <= self.of(size):
            return
        ratio = seconds / self._expected(size)
        self._ratios.setdefault(size.potential.family, []).append(ratio)


class Sweep:
    """Sizes one after the other on an executor, as far as the budget goes.

    ``plan`` has everything but the potentials; ``say`` prints a line.
    """

    def __init__(
        self,
        plan: Plan,
        data: Data,
        executor: Executor,
        results: Results,
        budget_s: float,
        say: Callable[[str], None],
    ):
        self._plan, self._data, self._executor, self._results = plan, data, executor, results
        self._budget_s, self._say = budget_s, say
        self._start = time.monotonic()
        n_folds = plan.options[held_out.NAME]["folds"] if held_out.NAME in plan.measures else 0
        self._estimates = Estimates(plan.dataset, n_folds)
        self._followed: list[Size] = []
        self._left_out: list[Size] = []

    def run(self, sizes: Sequence[Size]) -> Swept:
        """Do the sizes that are finished already, which cost nothing, and then what the budget pays for."""
        tasks = {size.potential.name: self._first_of(size) for size in sizes}
        kept = self._kept(sizes)
        self._do(kept, tasks)
        to_do = [size for size in sizes if size not in kept]
        # Where an estimate was too low, what is not done by then is cut off.
        deadline = threading.Timer(self._left_s, self._executor.stop)
        deadline.daemon = True
        deadline.start()
        try:
            while to_do:
                n_next = self._executor.jobs  # on a cluster it is another number each time
                self._do(self.affordable(to_do[:n_next]), tasks)
                to_do = to_do[n_next:]
            chosen = self._chosen(tasks)
            unmeasured = {measure: self._measure(measure, chosen) for measure in of_chosen(self._plan)}
        finally:
            deadline.cancel()
        swept = self._swept(tasks)
        limited = {measure: [size.potential.name for size in chosen] for measure in unmeasured}
        return dataclasses.replace(
            swept, plan=dataclasses.replace(swept.plan, limited=limited), unmeasured=unmeasured
        )

    def _first_of(self, size: Size) -> list[PotentialTask]:
        """Return the tasks of a size but those that are for what is chosen."""
        return before_choice(self._plan).tasks_of(size.potential, self._data)

    def _chosen(self, tasks: Mapping[str, Sequence[PotentialTask]]) -> list[Size]:
        """Return the sizes on the front of held-out error and cost, and the best of each family."""
        whole = [size for size in self._followed if not self._is_cut_off(tasks[size.potential.name])]
        chosen = finalists([row for size in whole for row in self._rows(tasks[size.potential.name])])
        return [size for size in whole if (size.potential.family, size.potential.sha256) in chosen]

    def _measure(self, measure: str, sizes: Sequence[Size]) -> list[str]:
        """Measure what was chosen; return the names of the potentials that the budget left without."""
        wanted = [
            task
            for size in sizes
            for task in self._plan.tasks_of(size.potential, self._data)
            if task.kind == measure
        ]
        self._results.expect(wanted)
        do(wanted, self._executor, self._results)
        ended = {*self._results.finished, *self._results.failed}
        return [task.fit.potential.name for task in wanted if task not in ended]

    @property
    def _left_s(self) -> float:
        return self._budget_s - (time.monotonic() - self._start)

    @property
    def _left_for_sizes_s(self) -> float:
        """What is left (s) for sizes, without what is kept for finalists where any are asked for."""
        share = SHARE_OF_FINALISTS if len(of_chosen(self._plan)) > 1 else 0.0
        return self._left_s - share * self._budget_s

    def affordable(self, sizes: Sequence[Size]) -> list[Size]:
        """Return the sizes that what is left of the budget pays for: their timings follow each other."""
        chosen: list[Size] = []
        for size in sizes:
            if sum(map(self._estimates.of, [*chosen, size])) <= self._left_for_sizes_s:
                chosen.append(size)
            else:
                self._left_out.append(size)
        return chosen

    def _kept(self, sizes: Sequence[Size]) -> list[Size]:
        """Return the sizes that need not be done."""
        return [size for size in sizes if all(map(self._executor.has, self._first_of(size)))]

    def refuse_too_small(self, sizes: Sequence[Size]) -> None:
        """Raise :class:`UserError` where the budget pays for nothing and nothing was done before."""
        if self._kept(sizes):
            return
        cheapest = min(sizes, key=self._estimates.of)
        if self._estimates.of(cheapest) > self._left_for_sizes_s:
            raise UserError(
                f"the budget of {self._budget_s:.0f} s is too small: {cheapest.potential.name}, the "
                f"cheapest, takes about {self._estimates.of(cheapest):.0f} s"
            )

    def _do(self, sizes: Sequence[Size], tasks: Mapping[str, Sequence[PotentialTask]]) -> None:
        """Do sizes side by side, each whole: fit, errors and cost."""
        if not sizes:
            return
        wanted = [task for size in sizes for task in tasks[size.potential.name]]
        self._results.expect(wanted)
        do(wanted, self._executor, self._results)
        self._followed += sizes
        for size in sizes:
            own = tasks[size.potential.name]
            whole = all(task in self._results.finished for task in own)
            self._estimates.learn(size, self._rows(own), whole)
        minutes = (time.monotonic() - self._start) / 60
        done = "1 size" if len(self._followed) == 1 else f"{len(self._followed)} sizes"
        self._say(f"{done} after {minutes:.1f} of {self._budget_s / 60:.1f} min")

    def _rows(self, tasks: Sequence[PotentialTask]) -> list[Row]:
        """Return the rows of finished and failed tasks."""
        rows = [self._results.failed[task] for task in tasks if task in self._results.failed]
        return rows + [
            row
            for task in tasks
            if task in self._results.finished
            for row in task.rows(self._results.finished[task])
        ]

    def _swept(self, tasks: Mapping[str, Sequence[PotentialTask]]) -> Swept:
        """Return what was done; what was cut off is not shown, unless it failed by itself."""
        cut_off = [size for size in self._followed if self._is_cut_off(tasks[size.potential.name])]
        for size in cut_off:
            self._results.drop(tasks[size.potential.name])
        self._results.write()
        shown = tuple(size.potential for size in self._followed if size not in cut_off)
        plan = dataclasses.replace(self._plan, potentials=shown)
        return Swept(plan, self._results.outcome, self._left_out, cut_off)

    def _is_cut_off(self, tasks: Sequence[PotentialTask]) -> bool:
        """Tell whether a size is not whole, and not because one of its tasks failed."""
        failed = any(task in self._results.failed for task in tasks)
        return not failed and not all(task in self._results.finished for task in tasks)
