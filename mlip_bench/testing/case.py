"""A family with what it takes to check it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ase import Atoms

from mlip_bench.potentials.base import Potential, Prediction

# Rounding of double-precision sums over an environment, in eV, eV/Å and eV/Å³.
ROUNDING = 1e-7

Check = Callable[["Case"], None]


class Skipped(Exception):
    """A check that the family is exempt from; the message is the reason."""


@dataclass
class Case:
    """A family with small hyper-parameters, data to fit it on, and structures to probe it with.

    ``probes`` should hold an unsymmetric periodic structure first.
    """

    family: type[Potential]
    hypers: dict[str, Any]
    train: Sequence[Atoms]
    probes: Sequence[Atoms]

    @cached_property
    def potential(self) -> Potential:
        """The fitted potential that the checks share."""
        return self.fitted()

    def fitted(self) -> Potential:
        """Fit a new one."""
        return self.family(**self.hypers).fit(self.train, seed=1)

    def predict(self, atoms: Atoms) -> Prediction:
        """Predict one structure."""
        return self.potential.predict([atoms])[0]

    def run(self, check: Check) -> None:
        """Run one check; raises :class:`Skipped` where the family is exempt."""
        reason = self.family.exemptions.get(check.__name__)
        if reason is not None:
            raise Skipped(f"{self.family.family} is exempt from {check.__name__}: {reason}")
        check(self)
