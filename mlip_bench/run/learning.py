"""Learning curves: potentials are fitted to shares of the training data, each of which has the smaller ones.

The order in which structures come into the subsets is drawn once for each seed, and is the same for all
potentials; the test data is the same for all fits. With several seeds each draws an order of its own, also
for a potential whose fit has no chance in it: which structures it was given is chance, too.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from mlip_bench.data import reference
from mlip_bench.errors import UserError
from mlip_bench.measure.learning import FEWEST_POINTS, is_enough
from mlip_bench.potentials import family
from mlip_bench.run.inputs import PotentialPlan, n_surroundings
from mlip_bench.run.plan import Plan

# All of the training data.
WHOLE = 1.0


def potentials(
    planned: Iterable[PotentialPlan], shares: Sequence[float], seeds: Sequence[int], n_whole: int
) -> tuple[PotentialPlan, ...]:
    """Return a potential for each share of ``n_whole`` structures and seed; the first seed is the plan's.

    Raises :class:`UserError` where two shares are equally many structures.
    """
    numbers: dict[int, float] = {}
    for share in sorted(shares):
        number = round(share * n_whole)
        if number in numbers:
            raise UserError(
                f"--fractions: {numbers[number]:g} and {share:g} are both {number} of {n_whole} training "
                "structures"
            )
        numbers[number] = share
    return tuple(
        _with_share(one, share, number, None if seed == seeds[0] else seed)
        for one in planned
        for seed in seeds
        for number, share in numbers.items()
        # All of the data is the same whatever the order.
        if share < WHOLE or seed == seeds[0] or family(one.family).stochastic
    )


def _with_share(one: PotentialPlan, share: float, number: int, seed: int | None) -> PotentialPlan:
    of_share = "" if share == WHOLE else f"-n{number}"
    name = one.name + of_share + ("" if seed is None else f"-seed{seed}")
    return dataclasses.replace(one, name=name, seed=seed, share=None if share == WHOLE else share)


def notes(plan: Plan) -> list[str]:
    """Return what is to be said of the subsets of a plan: which groups they lack, and if they are too few."""
    if not plan.subsets:
        return []
    found = []
    every = {reference.group(atoms) for atoms in plan.dataset.train}
    for (_, seed), train in plan.subsets.items():
        lacking = sorted(every - {reference.group(atoms) for atoms in train})
        if lacking:
            found.append(
                f"Among {n_surroundings(train)} training structures, drawn by seed {seed}, none is of "
                f"{len(lacking)} of {len(every)} groups: {', '.join(lacking)}."
            )
    numbers = {n_surroundings(train) for train in (plan.dataset.train, *plan.subsets.values())}
    if not is_enough(numbers):
        found.append(
            f"No exponent of learning curves: {len(numbers)} numbers of structures, and it takes "
            f"{FEWEST_POINTS}."
        )
    return found
