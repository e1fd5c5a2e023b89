"""A sweep: sizes of every family, from cheap to dear, within a budget of time.

Each family has a ladder of sizes (``potentials/<family>.toml``, key ``ladder``) with the seconds that each
took on mlearn Mo. What was measured so far on this machine and data corrects these estimates; a size whose
estimate exceeds what is left of the budget is left out, and named.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mlip_bench.data.dataset import Dataset
from mlip_bench.errors import UserError
from mlip_bench.potentials import family, presets
from mlip_bench.study import Outcome, Plan, PotentialPlan, Study, Watcher

MEASURES = ("errors", "cost")

# Atoms in the training structures of mlearn Mo, which the seconds of the ladders belong to: fits take longer
# with more of them.
ATOMS_OF_LADDERS = 10087

# The measured seconds over the estimated ones of this many last sizes correct the next estimates.
LAST = 3

# Sizes that are planned together; after each such batch the estimates are corrected.
BATCH = 8

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Size:
    """One size of a family, and the seconds that it is expected to take in all."""

    potential: PotentialPlan
    seconds: float


@dataclass
class Result:
    """What a sweep did: its plan as far as it was followed, and what it left out."""

    plan: Plan
    outcome: Outcome
    left_out: list[Size] = field(default_factory=list)


def parse_budget(text: str) -> float:
    """Return a budget in seconds from ``90s``, ``30min``, ``30m`` or ``2h``."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip() or "s"
    try:
        seconds = float(number) * UNITS[unit]
    except (ValueError, KeyError) as error:
        raise UserError(f"--budget {text}: write it as 90s, 30min or 2h") from error
    if not seconds > 0:
        raise UserError(f"--budget {text}: it must be longer than nothing")
    return seconds


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
    sizes = []
    for rung in rungs or [{"seconds": 60.0}]:
        sizing = {key: value for key, value in rung.items() if key != "seconds"}
        potential = PotentialPlan(_name(name, sizing), name, base | sizing)
        potential.resolved()
        sizes.append(Size(potential, rung["seconds"]))
    return sizes


def _name(family_name: str, sizing: Mapping[str, Any]) -> str:
    """Return a name for a size that is a folder's, too: ``gap-n_sparse400-l_max8``."""

    def plain(value: Any) -> str:
        return "x".join(map(str, value)) if isinstance(value, list) else str(value)

    return "-".join([family_name, *(f"{key}{plain(value)}" for key, value in sizing.items())])


def batches(ladders: Sequence[Sequence[Size]], n_seeds: int, seed: int) -> list[list[Size]]:
    """Return the sizes in the order of doing: from cheap to dear, and then again with other seeds.

    What is alike in seconds is done side by side, so that no core waits long for the end of a batch.
    """
    first = sorted((size for sizes in ladders for size in sizes), key=lambda size: size.seconds)
    by_chance = [size for size in first if family(size.potential.family).stochastic]
    repeats = [[_seeded(size, seed + repeat) for size in by_chance] for repeat in range(1, n_seeds)]
    return [
        sizes[start : start + BATCH] for sizes in (first, *repeats) for start in range(0, len(sizes), BATCH)
    ]


def _seeded(size: Size, seed: int) -> Size:
    potential = dataclasses.replace(size.potential, name=f"{size.potential.name}-seed{seed}", seed=seed)
    return Size(potential, size.seconds)


class Estimates:
    """Seconds that sizes will take, corrected by what others took."""

    def __init__(self, data: Dataset):
        self._scale = sum(map(len, data.train)) / ATOMS_OF_LADDERS
        self._ratios: dict[str, list[float]] = {}

    def of(self, size: Size) -> float:
        """Return the estimate for a size: by its own family's ratios, else by those of all."""
        own = self._ratios.get(size.potential.family, [])
        every = [ratio for ratios in self._ratios.values() for ratio in ratios]
        ratios = own[-LAST:] or every
        # Data larger than the ladders' takes longer; once something was measured, that says it better.
        correction = float(np.median(ratios)) if ratios else max(1.0, self._scale)
        return size.seconds * correction

    def learn(self, size: Size, seconds: float) -> None:
        """Keep what a size took."""
        self._ratios.setdefault(size.potential.family, []).append(seconds / size.seconds)


def run(
    plan: Plan,
    order: Sequence[Sequence[Size]],
    folder: Path,
    budget_s: float,
    jobs: int,
    watcher: Watcher,
    say: Callable[[str], None],
) -> Result:
    """Do as many sizes as the budget allows; ``plan`` has everything but the potentials."""
    start = time.monotonic()
    estimates = Estimates(plan.dataset)
    refuse_too_small(order, estimates, plan, folder, budget_s)
    followed, left_out, outcome = plan, [], Outcome()
    for sizes in order:
        left = budget_s - (time.monotonic() - start)
        chosen, too_dear = affordable(sizes, estimates, followed, folder, left, jobs)
        left_out += too_dear
        if not chosen:
            continue
        followed = dataclasses.replace(
            followed, potentials=(*followed.potentials, *(size.potential for size in chosen))
        )
        study = Study(followed, folder, jobs, watcher)
        # Where an estimate was too low, what is not done by then is left out, too.
        deadline = threading.Timer(left, study.stop)
        deadline.start()
        try:
            done = study.run()
        finally:
            deadline.cancel()
        outcome = Outcome(outcome.n_done + done.n_done, done.n_kept, done.failures)
        for size in chosen:
            tasks = [task for task in followed.tasks(folder) if task.potential == size.potential]
            if all(task.is_done for task in tasks):
                estimates.learn(size, sum(task.wall_s for task in tasks))
            elif not any(failure.potential == size.potential.name for failure in done.failures):
                left_out.append(size)
        minutes = (time.monotonic() - start) / 60
        say(f"{len(followed.potentials)} sizes after {minutes:.1f} of {budget_s / 60:.1f} min")
    return Result(_without(followed, left_out), outcome, left_out)


def affordable(
    sizes: Sequence[Size], estimates: Estimates, plan: Plan, folder: Path, left_s: float, jobs: int
) -> tuple[list[Size], list[Size]]:
    """Return the sizes that fit into the seconds left, cheap ones first, and those that do not."""
    chosen, too_dear, planned = [], [], 0.0
    for size in sorted(sizes, key=estimates.of):
        seconds = 0.0 if _is_done(size, plan, folder) else estimates.of(size)
        # Side by side they take their sum over the jobs, but no less than the dearest.
        if max(seconds, (planned + seconds) / jobs) <= left_s:
            planned += seconds
            chosen.append(size)
        else:
            too_dear.append(size)
    return chosen, too_dear


def refuse_too_small(
    order: Sequence[Sequence[Size]], estimates: Estimates, plan: Plan, folder: Path, budget_s: float
) -> None:
    """Raise :class:`UserError` where the budget is too small for any size."""
    if any(affordable(sizes, estimates, plan, folder, budget_s, 1)[0] for sizes in order):
        return
    cheapest = min((size for sizes in order for size in sizes), key=estimates.of)
    raise UserError(
        f"the budget of {budget_s:.0f} s is too small: {cheapest.potential.name}, the cheapest, takes about "
        f"{estimates.of(cheapest):.0f} s"
    )


def _is_done(size: Size, plan: Plan, folder: Path) -> bool:
    alone = dataclasses.replace(plan, potentials=(size.potential,))
    return all(task.is_done for task in alone.tasks(folder))


def _without(plan: Plan, left_out: Sequence[Size]) -> Plan:
    """Return the plan without the potentials of sizes that were not finished in time."""
    names = {size.potential.name for size in left_out}
    kept = tuple(potential for potential in plan.potentials if potential.name not in names)
    return dataclasses.replace(plan, potentials=kept)
