"""What a run found, as the sections of its report see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlip_bench.results import BY_GROUP, DRAWN, PREDICTED, file_name
from mlip_bench.section.looks import Look, looks
from mlip_bench.section.parts import Axis

# Details of more potentials than this would fill pages.
MOST_DETAILED = 8


@dataclass(frozen=True)
class Evidence:
    """The rows of a run, and what stands beside them."""

    folder: Path
    run: Mapping[str, Any]
    """The content of ``run.toml``."""
    rows: pd.DataFrame
    """The measured numbers: all rows without an error, as ``results.Row`` describes them."""
    ranking: pd.DataFrame
    """One row per potential, best first: the numbers that each has one of, by metric, with ``family``,
    ``n_parameters``, ``on_front``, columns ``<metric>_spread`` for what is drawn with bars, and
    ``<metric>_low`` and ``<metric>_high`` for what has an interval. Where held-out errors decide, those on
    the test data stand beside them as ``<metric>_test``."""
    errors: tuple[Axis, ...] = ()
    """The errors that potentials are ranked by, the first before all."""
    costs: tuple[Axis, ...] = ()
    """What they are paid with; the first decides the front."""
    split: str = "test"
    """Whose errors stand in the ranking and decide: ``held-out`` from training, or ``test``."""
    partial: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The measured numbers of fits to shares of the training data: rows as ``rows``, but not among them."""
    fits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of potentials whose fits differ in their seed, and that stand under one name: the names of the fits."""

    def of(self, measure: str) -> pd.DataFrame:
        """Return the rows of a measure."""
        return self.rows[self.rows["measure"] == measure]

    def by_group(self, measure: str) -> pd.DataFrame:
        """Return the rows of a measure that are of groups of structures."""
        return self.of(measure + BY_GROUP)

    def ranked(self, names: pd.Series | pd.Index) -> list[str]:
        """Return those of the ranking's potentials that are among ``names``, in its order."""
        having = set(names)
        return [str(name) for name in self.ranking.index if name in having]

    @property
    def shown(self) -> list[str]:
        """The potentials whose details are drawn: all of a run, the best of each family of a sweep."""
        names = self.ranking.index
        if len(names) > MOST_DETAILED:
            names = self.ranking.drop_duplicates("family").index
        return list(map(str, names))

    @property
    def is_sweep(self) -> bool:
        """Whether there are several sizes of the families."""
        return len(self.shown) < len(self.ranking)

    def threads(self, measure: str) -> int | None:
        """Return the threads that a measure was given, at most; None where it has no rows."""
        rows = self.of(measure)
        return None if rows.empty else int(rows["threads"].max())

    @cached_property
    def predictions(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """The predictions that were kept of each potential with rows: arrays by name."""
        return self._arrays(PREDICTED, {str(name): str(name) for name in self.rows["potential"].unique()})

    def curves(self, measure: str) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Return what a measure left to be drawn, by potential, in the order of the ranking."""
        if measure not in self._read:
            # A file without rows is of an earlier crystal.
            plain = self.rows["measure"].str.removesuffix(BY_GROUP)
            names = self.ranked(self.rows.loc[plain == measure, "potential"])
            self._read[measure] = self._arrays(DRAWN, {name: f"{name}-{measure}" for name in names})
        return self._read[measure]

    def of_each_fit(self, measure: str | None = None) -> Mapping[str, Sequence[Mapping[str, np.ndarray]]]:
        """Return the predictions of every fit of each potential, or what a measure left to be drawn."""
        first = self.predictions if measure is None else self.curves(measure)
        kind, ending = (PREDICTED, "") if measure is None else (DRAWN, f"-{measure}")
        others = {
            name: f"{name}{ending}" for fits in self.fits.values() for name in fits if name not in first
        }
        every = {**first, **self._arrays(kind, others)}
        return {name: [every[fit] for fit in self.fits.get(name, (name,)) if fit in every] for name in first}

    @cached_property
    def _read(self) -> dict[str, Mapping[str, Mapping[str, np.ndarray]]]:
        """The curves that were read, by measure: each is wanted once for each potential."""
        return {}

    def _arrays(self, kind: str, stems: Mapping[str, str]) -> dict[str, dict[str, np.ndarray]]:
        found = {}
        for name, stem in stems.items():
            path = self.folder / kind / f"{file_name(stem)}.npz"
            if path.is_file():
                with np.load(path) as file:
                    found[name] = dict(file)
        return found

    @cached_property
    def _looks(self) -> Mapping[str, Look]:
        return looks(self.ranking["family"].unique())

    def color(self, family: str) -> str:
        """Return the colour of a family."""
        return self._looks[family][0]

    def style(self, family: str) -> dict[str, Any]:
        """Return how the points of a family are drawn."""
        color, marker = self._looks[family]
        return {"color": color, "marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.6}


def wide(rows: pd.DataFrame, index: list[str], values: str = "value") -> pd.DataFrame:
    """Return rows side by side: a column per metric; what is there several times as its mean."""
    return rows.pivot_table(index=index, columns="metric", values=values, sort=False)
