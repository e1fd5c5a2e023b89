"""What the report says: tables and sentences, taken from the rows of a run and nothing else."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlip_bench.errors import UserError
from mlip_bench.measure import (
    BY_GROUP,
    MEASURES,
    PROPERTIES,
    direct,
    first_principles,
    phonons,
    scaling,
    stability,
)
from mlip_bench.measure.base import Curves, Found
from mlip_bench.potentials import family, family_names
from mlip_bench.report import fronts, ruler
from mlip_bench.results import DESCRIPTION, DRAWN, PREDICTED, RESULTS, read_rows, table

# Test sets smaller than this give errors that are themselves uncertain: said in the report.
FEW_TEST_STRUCTURES = 50

# A ruler whose blocks differ by more than this share was timed on a busy machine.
NOISY_RULER = 0.05

# What the reference from first principles is called.
REFERENCE = "DFT"

# Details of more potentials than this would fill pages.
MOST_DETAILED = 8

# A warning names no more potentials than these.
MOST_NAMED = 4

ERROR_METRICS = ("energy_mae", "energy_rmse", "force_mae", "force_rmse", "stress_mae", "stress_rmse")


# What the energy errors of a potential that was read are called.
AS_IT_IS = "as it is"
AFTER_SHIFT = "after a shift per element"


@dataclass(frozen=True)
class Content:
    """A run, ready to be laid out."""

    run: dict[str, Any]
    """The content of ``run.toml``."""
    ranking: pd.DataFrame
    """One row per potential: test errors, cost, size, fit; by test force error."""
    train_errors: pd.DataFrame
    """One row per potential: errors on the training data."""
    by_group: pd.DataFrame
    """One row per group and potential: test errors."""
    extrapolation: pd.DataFrame
    """One row per potential and test structure with atoms in surroundings outside those of training."""
    direct: pd.DataFrame
    """Of the measure direct-vs-conservative: a row per metric and number of atoms, a column per potential."""
    scaling: pd.DataFrame
    """The rows of the measure scaling, in the order of the ranking."""
    stability: pd.DataFrame
    """Of the measure stability: one row per potential and temperature."""
    properties: pd.DataFrame
    """A row per property of the crystal (measure, metric, group), a column per potential."""
    reference: Mapping[str, Found]
    """What first principles say of each measured property; empty where no reference ships."""
    reference_level: str
    """The level of theory of the reference."""
    curves: Mapping[tuple[str, str], Curves]
    """What the measurements of properties draw, by potential and measure."""
    failures: pd.DataFrame
    """One row per failed task, or part of one: potential, measure, error."""
    findings: list[str]
    warnings: list[str]
    predictions: dict[str, dict[str, np.ndarray]]
    """Per potential: reference and predicted numbers, as ``measure.errors`` keeps them."""
    threads: dict[str, int]
    """Threads of each measure."""
    rulers: list[ruler.RulerTime]
    """The time of the ruler that all µs are scaled by, of each processor."""

    @property
    def without_stress(self) -> frozenset[str]:
        """The potentials that were not fitted to stress, as far as the run says."""
        entries = self.run["potentials"].items()
        return frozenset(name for name, entry in entries if entry.get("fits_stress") is False)

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

    @property
    def lead(self) -> str:
        """What is compared, in one sentence."""
        names = list(map(str, self.ranking.index))
        if not self.is_sweep:
            return f"Test error against measured cost: {', '.join(names)}."
        families = ", ".join(sorted(self.ranking["family"].unique()))
        return f"Test error against measured cost: {len(names)} sizes of {families}."

    @property
    def title(self) -> str:
        """The headline."""
        return f"Interatomic potentials for {self.run['dataset']['system']}"


def read(folder: Path) -> Content:
    """Read a run folder; one without results is a :class:`UserError`."""
    rows = table(read_rows(folder / RESULTS))
    if rows.empty:
        raise UserError(f"{folder / RESULTS}: no rows yet; let the run finish a task first")
    try:
        run = tomllib.loads((folder / DESCRIPTION).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{folder / DESCRIPTION}: cannot be read ({error})") from error
    rows, foreign = _of_data(rows, run["dataset"]["sha256"])
    good = _pooled(rows[rows["error"].isna()])
    rulers = ruler.times(good)
    good = ruler.scaled(good, rulers)
    errors = good[good["measure"] == "errors"]
    ranking = _ranking(good)
    failures = rows.loc[rows["error"].notna(), ["potential", "measure", "error"]]
    failures = failures.assign(measure=failures["measure"].str.removesuffix(BY_GROUP)).drop_duplicates()
    by_group = good[(good["measure"] == "errors" + BY_GROUP) & (good["split"] == "test")]
    predictions = _predictions(folder, good)
    reference = _reference(run)
    return Content(
        run=run,
        ranking=ranking,
        train_errors=_wide(errors[errors["split"] == "train"], ["potential"]).loc[
            [name for name in ranking.index if name in set(errors["potential"])]
        ],
        by_group=_wide(by_group, ["group", "potential"]),
        extrapolation=_extrapolation(predictions),
        direct=_direct(good, ranking),
        scaling=_scaling(good, ranking),
        stability=_stability(good),
        properties=_properties(good, ranking),
        reference=reference.properties if reference else {},
        reference_level=reference.level_of_theory if reference else "",
        curves=_curves(folder, good),
        failures=failures,
        findings=_findings(ranking),
        warnings=[*_warnings(run, good, failures), *foreign],
        predictions=predictions,
        threads=good.groupby("measure")["threads"].max().to_dict(),
        rulers=rulers,
    )


def _of_data(rows: pd.DataFrame, sha256: str) -> tuple[pd.DataFrame, list[str]]:
    """Keep the rows of the run's data, and say how many are left out because they belong to other data."""
    own = rows["dataset_sha256"] == sha256
    if own.all():
        return rows, []
    names = ", ".join(sorted(rows.loc[~own, "dataset"].unique()))
    return rows[own], [f"{(~own).sum()} rows belong to other data ({names}) and are not shown."]


def _pooled(good: pd.DataFrame) -> pd.DataFrame:
    """Give fits that differ in their seed only one name, that of the first: their numbers become means."""
    first = good.drop_duplicates(["family", "hypers_sha256"]).set_index(["family", "hypers_sha256"])[
        "potential"
    ]
    several = good.groupby(["family", "hypers_sha256"])["seed"].nunique()
    pooled = [key for key, n_seeds in several.items() if n_seeds > 1]
    names = {key: first[key] for key in pooled}
    keys = zip(good["family"], good["hypers_sha256"], strict=True)
    return good.assign(
        potential=[names.get(key, own) for key, own in zip(keys, good["potential"], strict=True)]
    )


def _wide(rows: pd.DataFrame, index: list[str]) -> pd.DataFrame:
    return rows.pivot_table(index=index, columns="metric", values="value", sort=False)


def _ranking(good: pd.DataFrame) -> pd.DataFrame:
    """Return one row per potential with everything that decides, best test force error first."""
    test = good[(good["measure"] == "errors") & (good["split"] == "test")]
    others = good[good["measure"].isin(["cost", "fit"])]
    wide = _wide(pd.concat([test, others]), ["potential"])
    cost = good[good["measure"] == "cost"]
    spread = cost[cost["metric"] == "cost_ratio"].groupby("potential")["spread"].mean()
    wide = wide.reindex(columns=list(dict.fromkeys([*wide.columns, *ERROR_METRICS, "cost_ratio"])))
    first = good.drop_duplicates("potential").set_index("potential")
    wide["n_parameters"] = first["n_parameters"].astype(int)
    wide["family"] = first["family"]
    wide["cost_ratio_spread"] = spread
    seeds = test.groupby(["potential", "metric"])["value"].std().unstack("metric")
    for metric in ("energy_rmse", "force_rmse"):
        # Of one fit there is no spread.
        wide[f"{metric}_spread"] = seeds.get(metric, np.nan)
    wide["on_front"] = fronts.on_front(wide["cost_ratio"], wide["force_rmse"])
    return wide.sort_values("force_rmse")


def _findings(ranking: pd.DataFrame) -> list[str]:
    """Say in words what the numbers decide."""
    known = ranking.dropna(subset=["force_rmse"])
    if known.empty:
        return ["No potential was measured."]
    best = known.iloc[0]
    sentences = [
        f"Smallest force error on the test data: {best.name}, {best['force_rmse']:.0f} meV/Å (RMSE), "
        f"{energy_error(best)}."
    ]
    choice = fronts.recommended(known)
    if choice is not None and choice != best.name:
        chosen = known.loc[choice]
        sentences.append(
            f"Cheapest within {100 * fronts.WITHIN:.0f} % of the best force error: {choice}, "
            f"{chosen['force_rmse']:.0f} meV/Å and {energy_error(chosen)} at "
            f"{chosen['cost_ratio']:.2f} × ruler ({chosen['us_per_atom_step']:.0f} µs per atom and step)."
        )
    front = known[known["on_front"]].sort_values("cost_ratio")
    if len(front) > 1 and pd.notna(best["cost_ratio"]):
        cheapest = front.iloc[0]
        times = best["cost_ratio"] / cheapest["cost_ratio"]
        sentences.append(
            f"Cheapest: {cheapest.name}, {cheapest['us_per_atom_step']:.0f} µs per atom and step on one "
            f"core, {times:.1f} times cheaper than {best.name}, at {cheapest['force_rmse']:.0f} meV/Å."
        )
    if not front.empty:
        names = ", ".join(map(str, front.index))
        sentences.append(f"On the Pareto front of force error and cost, from cheap to dear: {names}.")
    return sentences


def energy_error(row: pd.Series, spec: str = ".1f") -> str:
    """Say the energy error (RMSE); of a potential that was read also that after a shift per element."""
    as_it_is = f"{row['energy_rmse']:{spec}} meV/atom"
    shifted = row.get("energy_rmse_shifted", np.nan)
    return as_it_is if pd.isna(shifted) else f"{as_it_is} {AS_IT_IS}, {shifted:{spec}} {AFTER_SHIFT}"


def _warnings(run: dict[str, Any], good: pd.DataFrame, failures: pd.DataFrame) -> list[str]:
    """Say what a reader must know before trusting the numbers."""
    found = []
    dataset = run["dataset"]
    if dataset["name"] == "embedded":
        found.append(
            "The data is the embedded demonstration set: labelled consistently but with coarse k-points, "
            "not converged. Use it to see how the suite works, not to choose a potential."
        )
    if dataset["n_test"] < FEW_TEST_STRUCTURES:
        found.append(
            f"The test errors come from {dataset['n_test']} structures and are themselves uncertain."
        )
    found += _warnings_of_potentials(good)
    found += _notes_of_values(good)
    processors = good.loc[good["measure"] == "cost", "cpu"].unique()
    if len(processors) > 1:
        found.append(f"Timings of different processors, compare ratios only: {', '.join(processors)}.")
    if not failures.empty:
        found.append(f"{len(failures)} tasks, or parts of them, failed; see the section on failures.")
    return found


def _notes_of_values(good: pd.DataFrame) -> list[str]:
    """Return the notes on values; what several potentials have in common once."""
    noted = good.loc[good["note"].notna(), ["measure", "potential", "split", "note"]].drop_duplicates()
    names: dict[tuple[str, str, str], list[str]] = {}
    for row in noted.itertuples():
        on = f" on {row.split} data" if row.split else ""
        names.setdefault((row.measure.removesuffix(BY_GROUP), on, row.note), []).append(row.potential)
    return [
        f"{measure} of {_several(list(dict.fromkeys(having)))}{on}: {note}."
        for (measure, on, note), having in names.items()
    ]


def _warnings_of_potentials(good: pd.DataFrame) -> list[str]:
    """Say it once of all potentials that it is true of: a sweep has many."""
    found = []
    ruler = good[(good["measure"] == "cost") & (good["metric"] == "ruler_s_per_step")]
    spread = ruler["spread"] / ruler["value"]
    noisy = ruler[spread > NOISY_RULER]
    if not noisy.empty:
        found.append(
            f"The machine was busy while it timed {_several(noisy['potential'])}: the ruler's blocks spread "
            f"by up to {100 * spread.max():.0f} %. Trust the ratios, not the seconds."
        )
    outside = good[(good["metric"] == "extrapolating_atoms") & (good["split"] == "test")]
    if not outside.empty:
        counts = [f"{row.potential} ({row.value:.0f})" for row in outside.itertuples()]
        found.append(
            f"Atoms of the test data whose surroundings lie outside those of training, where a potential "
            f"extrapolates: {_several(counts)}."
        )
    lowest = good[(good["metric"] == "lowest_frequency") & (good["value"] < phonons.IMAGINARY)]
    found += [
        f"{row.potential} has imaginary phonons (down to {row.value:.2f} THz): the crystal is not stable."
        for row in lowest.itertuples()
    ]
    known = set(family_names())
    families = [name for name in good["family"].unique() if name in known]
    found += [
        f"{name} predicts forces directly: they are not the gradient of its energy, so molecular dynamics "
        "with it does not conserve energy."
        for name in families
        if not family(name).conservative
    ]
    return found


def _several(names: Iterable[str]) -> str:
    """Join names, of many only the first."""
    names = list(map(str, names))
    more = len(names) - MOST_NAMED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:MOST_NAMED])} and {more} more"


def _direct(good: pd.DataFrame, ranking: pd.DataFrame) -> pd.DataFrame:
    """Set the potentials side by side, in the order of the ranking."""
    rows = good[good["measure"] == direct.MEASURE.name]
    wide = rows.pivot_table(index=["metric", "n_atoms"], columns="potential", values="value", sort=False)
    return wide[[name for name in ranking.index if name in wide]]


def _scaling(good: pd.DataFrame, ranking: pd.DataFrame) -> pd.DataFrame:
    rows = good[good["measure"] == scaling.MEASURE.name]
    order = {name: place for place, name in enumerate(ranking.index)}
    return rows.sort_values("potential", key=lambda names: names.map(order), kind="stable")


def _stability(good: pd.DataFrame) -> pd.DataFrame:
    rows = good[good["measure"] == stability.MEASURE.name + BY_GROUP]
    wide = _wide(rows, ["potential", "group"])
    return wide.set_axis([f"{potential}: {temperature}" for potential, temperature in wide.index])


def _properties(good: pd.DataFrame, ranking: pd.DataFrame) -> pd.DataFrame:
    """Set the potentials side by side, in the order of the ranking and of the measurements."""
    plain = good["measure"].str.removesuffix(BY_GROUP)
    rows = good.assign(measure=plain, group=good["group"].fillna(""))[plain.isin(PROPERTIES)]
    index = ["measure", "metric", "group"]
    wide = rows.pivot_table(index=index, columns="potential", values="value", sort=False)
    wide = wide[[name for name in ranking.index if name in wide]]
    places = {measure: list(MEASURES[measure].metrics) for measure in PROPERTIES}
    order = [(list(places).index(m), places[m].index(name), group) for m, name, group in wide.index]
    return wide.iloc[sorted(range(len(order)), key=order.__getitem__)]


def _reference(run: dict[str, Any]) -> first_principles.Reference | None:
    """Return the reference of the crystal that the run measured."""
    dataset = run["dataset"]
    return first_principles.shipped(dataset["system"]) if dataset.get("reference") else None


def _curves(folder: Path, good: pd.DataFrame) -> dict[tuple[str, str], Curves]:
    """Read what each measurement of a property left to be drawn."""
    found = {}
    measured = set(zip(good["potential"], good["measure"].str.removesuffix(BY_GROUP), strict=True))
    for name in good["potential"].unique():
        for measure in PROPERTIES:
            path = folder / DRAWN / f"{name}-{measure}.npz"
            # A file without rows is of an earlier crystal.
            if (name, measure) in measured and path.is_file():
                with np.load(path) as file:
                    found[str(name), measure] = dict(file)
    return found


def _extrapolation(predictions: dict[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """List the test structures in which atoms extrapolate, those with the largest share first."""
    found = []
    for name, kept in predictions.items():
        rows = kept.get("test_extrapolating", np.empty((0, 3), int))
        groups = kept["test_energy_group"].tolist()
        found += [
            (name, number, group, n_outside, n_atoms)
            for (number, n_atoms, n_outside), group in zip(rows.tolist(), groups, strict=False)
            if n_outside
        ]
    columns = ["potential", "structure", "group", "n_outside", "n_atoms"]
    frame = pd.DataFrame(found, columns=columns)
    order = (-frame["n_outside"] / frame["n_atoms"]).sort_values(kind="stable").index
    return frame.loc[order].sort_values("potential", kind="stable")


def _predictions(folder: Path, good: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Read the predictions of each potential that the run measured."""
    found = {}
    for name in good["potential"].unique():
        path = folder / PREDICTED / f"{name}.npz"
        if path.is_file():
            with np.load(path) as file:
                found[str(name)] = dict(file)
    return found
