"""What tasks begin with: a potential as it is wanted, and data by its hashes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ase import Atoms

from mlip_bench.data.dataset import Dataset
from mlip_bench.data.reference import is_isolated_atom, stress
from mlip_bench.measure import first_principles
from mlip_bench.potentials import Potential, family, load
from mlip_bench.potentials.base import DESCRIPTION
from mlip_bench.run.contents import digest, digests, files_of


@dataclass(frozen=True)
class PotentialPlan:
    """One potential: its name in the report, its family, and its hyper-parameters.

    It is fitted, or read from ``source``, a saved or published potential, and measured as it is.
    """

    name: str
    family: str
    hypers: Mapping[str, Any]
    source: Path | None = None
    seed: int | None = None
    """Of this potential, where it is not the plan's."""
    share: float | None = None
    """The share of the training data that it is fitted to, drawn by its seed; None for all of it."""

    @cached_property
    def content(self) -> dict[str, Any]:
        """All hyper-parameters, defaults included, files by their content, and those of one that is read.

        Raises :class:`UserError` where a hyper-parameter is wrong or a file cannot be read.
        """
        hypers = self.resolved()
        for name in family(self.family).file_hypers:
            if Path(hypers[name]).is_file():  # else the word is a name, of a model that ships
                hypers[name] = digests(Path(hypers[name]), [Path(hypers[name])])
        return (
            hypers
            if self.source is None
            else {"hypers": hypers, "source": digests(self.source, files_of(self.source))}
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content."""
        return digest(self.content)

    def resolved(self) -> dict[str, Any]:
        """Return all hyper-parameters, defaults included; raises UserError where one is wrong."""
        return dataclasses.asdict(family(self.family)(**self.hypers).hypers)

    def with_whole_paths(self) -> dict[str, Any]:
        """Return all hyper-parameters; files that they name are found from any folder."""
        hypers = self.resolved()
        for name in family(self.family).file_hypers:
            if Path(hypers[name]).is_file():
                hypers[name] = str(Path(hypers[name]).absolute())
        return hypers

    @property
    def files(self) -> dict[str, tuple[Path, str]]:
        """The files that hyper-parameters name: by the hyper-parameter, path and SHA-256 of the content."""
        hypers, content = self.resolved(), self.content
        if self.source is not None:
            content = content["hypers"]
        return {
            name: (path, content[name][path.name])
            for name in family(self.family).file_hypers
            if isinstance(content[name], dict) and (path := Path(hypers[name]))
        }

    def fits_stress(self, train: Sequence[Atoms]) -> bool | None:
        """Tell whether the fit uses stress, which ``train`` must have; None of what is read: nobody says."""
        if self.source is not None:
            return None
        fits = family(self.family)(**self.hypers).fits_stress
        return fits and any(stress(atoms) is not None for atoms in train)

    def read(self, trust: bool) -> Potential:
        """Read a potential that is not fitted, with the hyper-parameters that its file leaves open."""
        assert self.source is not None
        names = () if (self.source / DESCRIPTION).is_file() else family(self.family).set_on_reading
        hypers = self.resolved()
        return load(self.source, trust=trust, **{name: hypers[name] for name in names})


@dataclass(frozen=True)
class Data:
    """A dataset as tasks know it: hashes by which the store has its structures, and its names."""

    system: str
    name: str
    sha256: str
    train: str
    test: str
    crystal: str | None
    named: str | None
    """The slab or molecule that the user named for dynamics."""
    sample: str | None
    """The structure that dynamics are run on."""
    reference: str
    """SHA-256 of the reference from first principles, or ``none``."""
    n_train: int
    """Structures in training, isolated atoms not counted."""
    subsets: Mapping[tuple[float, int], tuple[str, int]] = field(default_factory=dict)
    """Of subsets of the training data, by share and seed: the hash, and ``n_train``."""

    @property
    def structures(self) -> tuple[str, ...]:
        """The hashes of all structures."""
        every = (self.train, self.test, self.crystal, self.named)
        return tuple(dict.fromkeys(sha256 for sha256 in every if sha256 is not None))

    def subset(self, share: float, seed: int) -> "Data":
        """Return the same data with a share of the training structures; all else stays."""
        train, n_train = self.subsets[share, seed]
        return dataclasses.replace(self, train=train, n_train=n_train, subsets={})

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        put: Callable[[Sequence[Atoms]], str],
        subsets: Mapping[tuple[float, int], Sequence[Atoms]] = MappingProxyType({}),
    ) -> "Data":
        """Return what tasks know of a dataset; ``put`` keeps structures and returns their SHA-256."""
        return cls(
            system=dataset.system,
            name=dataset.name,
            sha256=dataset.sha256,
            train=put(dataset.train),
            test=put(dataset.test),
            crystal=None if dataset.crystal is None else put([dataset.crystal]),
            named=None if dataset.named is None else put([dataset.named]),
            sample=None if dataset.sample is None else put([dataset.sample]),
            reference=first_principles.digest(dataset.system, dataset.crystal),
            n_train=n_surroundings(dataset.train),
            subsets={drawn: (put(train), n_surroundings(train)) for drawn, train in subsets.items()},
        )


def n_surroundings(structures: Sequence[Atoms]) -> int:
    """Return how many structures there are, isolated atoms not counted: they only fix a zero."""
    return sum(not is_isolated_atom(atoms) for atoms in structures)
