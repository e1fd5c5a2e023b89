"""What a run is to do: potentials, measures, and the tasks of each.

Nothing is computed here and nothing is written: two plans with the same content have the same keys.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ase import Atoms

from mlip_bench.data.dataset import Dataset
from mlip_bench.data.splits import RANDOM, subset
from mlip_bench.errors import UserError
from mlip_bench.measure import MEASURES
from mlip_bench.measure.base import Options
from mlip_bench.run.inputs import Data, PotentialPlan
from mlip_bench.run.tasks import Fit, Measurement, PotentialTask


@dataclass(frozen=True)
class Plan:
    """Everything that decides the results of a run."""

    dataset: Dataset
    potentials: tuple[PotentialPlan, ...]
    measures: tuple[str, ...]
    seed: int = 0
    device: str = "cpu"
    preset: str = "standard"
    trust: bool = False
    """Let files that are read run code of their authors; it changes no result."""
    given: Mapping[str, Options] = field(default_factory=dict)
    """What the user chose of measures, by their names; the preset decides the rest."""
    timed_on: tuple[str, str] | None = None
    """Processor and device of timings, where they are not made on this machine."""
    cores: tuple[int, ...] = (1,)
    """The numbers of cores that measures of the cost are made on, each in rows of its own."""
    split: str = RANDOM
    """How shares of the training data are drawn."""
    limited: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By measure: the potentials that alone are measured, where these are not all."""
    profile: Mapping[str, Any] | None = None
    """What the report weighs, where that is not its default: name, description, and weights by metric."""

    def __post_init__(self) -> None:
        """Raise :class:`UserError` where two potentials have one name: their results would be mixed up.

        And where options are of no measure of the plan, or wrong.
        """
        options_of(self.measures, self.preset, self.given)
        seen: dict[str, PotentialPlan] = {}
        for potential in self.potentials:
            if potential.name in seen:
                raise UserError(f"two potentials of this run are called '{potential.name}'; name them apart")
            seen[potential.name] = potential

    def data(self, put: Callable[[Sequence[Atoms]], str]) -> Data:
        """Return what the tasks know of the data; ``put`` keeps structures and returns their SHA-256."""
        return Data.of(self.dataset, put, self.subsets)

    @cached_property
    def subsets(self) -> dict[tuple[float, int], list[Atoms]]:
        """The shares of the training data that potentials are fitted to, by share and seed.

        Raises :class:`UserError` where one is too small.
        """
        drawn = {(one.share, self._seed(one)) for one in self.potentials if one.share is not None}
        train = self.dataset.train
        return {(share, seed): subset(train, share, seed, self.split) for share, seed in sorted(drawn)}

    def _seed(self, potential: PotentialPlan) -> int:
        return self.seed if potential.seed is None else potential.seed

    def tasks(self, data: Data) -> list["PotentialTask"]:
        """Return all tasks in the order in which their rows stand in the results."""
        return [task for potential in self.potentials for task in self.tasks_of(potential, data)]

    def tasks_of(self, potential: PotentialPlan, data: Data) -> list["PotentialTask"]:
        """Return the tasks of one potential: the fit and then its measurements."""
        seed = self._seed(potential)
        own = data if potential.share is None else data.subset(potential.share, seed)
        fit = Fit(potential, own, seed, self.device, self.trust)
        options = self.options
        return [
            fit,
            *(
                Measurement(fit, measure, self.preset, options[measure], self.timed_on, cores)
                for measure in self.measures
                for cores in (self.cores if MEASURES[measure].on_cores else (1,))
                if potential.name in self.limited.get(measure, (potential.name,))
            ),
        ]

    @property
    def options(self) -> dict[str, Options]:
        """All options of each measure."""
        return options_of(self.measures, self.preset, self.given)


def options_of(measures: Sequence[str], preset: str, given: Mapping[str, Options]) -> dict[str, Options]:
    """Return all options of each measure: of the preset, and those that the user chose, by measure.

    Raises :class:`UserError` where one is wrong, or of a measure that is not among them.
    """
    for measure, chosen in given.items():
        if chosen and measure not in measures:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
            raise UserError(f"{names}: only with --measure {measure}")
    return {measure: MEASURES[measure].options(preset, given.get(measure, {})) for measure in measures}
