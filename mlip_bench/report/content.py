"""What the report says: the rows of a run, what they decide, and the sections that measures make of them."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlip_bench.errors import UserError
from mlip_bench.measure import cost_axes, error_axes, reported
from mlip_bench.potentials import family, family_names
from mlip_bench.report import findings, verdict
from mlip_bench.report.profiles import DEFAULT, Profile, shipped
from mlip_bench.results import BY_GROUP, DESCRIPTION, HELD_OUT, RESULTS, TEST, read_rows, table
from mlip_bench.section.evidence import Evidence, wide
from mlip_bench.section.fronts import on_front
from mlip_bench.section.parts import Axis, Section, joined
from mlip_bench.section.tables import counted, several

# Test sets smaller than this give errors that are themselves uncertain: said in the report.
FEW_TEST_STRUCTURES = 50


@dataclass(frozen=True)
class Content:
    """A run, ready to be laid out."""

    evidence: Evidence
    sections: list[Section]
    """Those of the measures, in order."""
    failures: pd.DataFrame
    """One row per failed task, or part of one: potential, measure, error."""
    findings: list[str]
    warnings: list[str]
    verdict: verdict.Verdict
    rows: pd.DataFrame
    """All rows of the run as they were measured, failures too."""

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return len(self.rows)

    @property
    def run(self) -> Mapping[str, Any]:
        """The content of ``run.toml``."""
        return self.evidence.run

    @property
    def ranking(self) -> pd.DataFrame:
        """One row per potential: see :class:`Evidence`."""
        return self.evidence.ranking

    @property
    def shown(self) -> list[str]:
        """The potentials whose details are drawn."""
        return self.evidence.shown

    @property
    def is_sweep(self) -> bool:
        """Whether there are several sizes of the families."""
        return self.evidence.is_sweep

    @property
    def versus(self) -> str:
        """What the first page sets against what: the heading of its figure."""
        return f"{self.evidence.split.capitalize()} error against {self.evidence.costs[0].quantity}"

    @property
    def lead(self) -> str:
        """What is compared, in one sentence."""
        price = self.evidence.costs[0]
        what = f"{self.evidence.split.capitalize()} error"
        if self.ranking[price.metric].notna().any():
            what += f" against measured {price.quantity}"
        names = list(map(str, self.ranking.index))
        if not names:
            return "No potential has a number: see the section on failures."
        if not self.is_sweep:
            return f"{what}: {', '.join(names)}."
        families = ", ".join(sorted(self.ranking["family"].unique()))
        return f"{what}: {len(names)} sizes of {families}."

    @property
    def title(self) -> str:
        """The headline."""
        return f"Interatomic potentials for {self.run['dataset']['system']}"


def read(folder: Path, profile: Profile | None = None) -> Content:
    """Read a run folder; one without results, and a profile that weighs nothing known, is a UserError.

    Without a profile it is the one that the run was asked to weigh by, or the default.
    """
    rows = table(read_rows(folder / RESULTS))
    if rows.empty:
        raise UserError(f"{folder / RESULTS}: no rows yet; let the run finish a task first")
    run = _described(folder)
    rows, foreign = _of_data(rows, run["dataset"]["sha256"])
    good = rows[rows["error"].isna()]
    of_shares = good["potential"].isin(_of_shares(run))
    partial, (good, fits) = good[of_shares], _pooled(good[~of_shares], run)
    for one in reported():
        good = one.adjusted(good)
    split = _deciding(good)
    ranking = _ranking(good, split)
    errors = _known(error_axes(), ranking)
    evidence = Evidence(folder, run, good, ranking, errors, cost_axes(), split, partial, fits)
    evidence = dataclasses.replace(evidence, ranking=_compared(evidence))
    sections = joined(section for one in reported() for section in one.sections(evidence))
    failures = rows.loc[rows["error"].notna(), ["potential", "measure", "error"]]
    failures = failures.assign(measure=failures["measure"].str.removesuffix(BY_GROUP)).drop_duplicates()
    warnings = [
        *run.get("notes", []),
        *_on_data(run),
        *_on_choice(evidence),
        *(warning for section in sections for warning in section.warnings),
        *_on_direct_forces(good),
        *_notes_of_values(pd.concat([good, partial])),
        *_on_revisions(good),
        *_on_failures(failures),
        *foreign,
    ]
    shown = [section for section in sections if section.parts]
    judged = verdict.of(evidence, profile or _asked_for(run) or shipped(DEFAULT))
    first = next(iter(judged.first), None)
    return Content(evidence, shown, failures, findings.of(evidence, first), warnings, judged, rows)


def refuse_unknown_weights(folder: Path) -> None:
    """Raise :class:`UserError` where a run that has no rows yet is to be weighed by what nothing measures."""
    run, rows = _described(folder), table([])
    asked_for = _asked_for(run)
    if asked_for is not None:
        nothing = Evidence(folder, run, rows, _ranking(rows, TEST), error_axes(), cost_axes(), TEST)
        verdict.of(nothing, asked_for)


def _described(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / DESCRIPTION).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{folder / DESCRIPTION}: cannot be read ({error})") from error


def _asked_for(run: Mapping[str, Any]) -> Profile | None:
    """Return the profile that a run was asked to weigh by; UserError where somebody made it none."""
    if "profile" not in run:
        return None
    try:
        return Profile(**run["profile"])
    except TypeError as error:
        raise UserError(
            f"{DESCRIPTION}: its profile has not name, description and weights ({error})"
        ) from error


def _known(errors: tuple[Axis, ...], ranking: pd.DataFrame) -> tuple[Axis, ...]:
    """Return the first error, and of the others those that any potential has: some predict forces alone."""
    first, *others = errors
    return (first, *(axis for axis in others if ranking[axis.metric].notna().any()))


def _compared(evidence: Evidence) -> pd.DataFrame:
    """Return the ranking with what measures find where they set its potentials against each other."""
    found = [one.compared(evidence) for one in reported() if one.compared is not None]
    return pd.concat([evidence.ranking, *found], axis=1).loc[evidence.ranking.index]


def _of_data(rows: pd.DataFrame, sha256: str) -> tuple[pd.DataFrame, list[str]]:
    """Keep the rows of the run's data, and say how many are left out because they belong to other data."""
    own = rows["dataset_sha256"] == sha256
    if own.all():
        return rows, []
    names = ", ".join(sorted(rows.loc[~own, "dataset"].unique()))
    return rows[own], [f"{(~own).sum()} rows belong to other data ({names}) and are not shown."]


def _of_shares(run: Mapping[str, Any]) -> list[str]:
    """Return the potentials that were fitted to shares of the training data: they stand in no ranking."""
    return [name for name, entry in run["potentials"].items() if "share" in entry]


def _pooled(good: pd.DataFrame, run: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Give fits that differ in their seed only one name, that of the first: their numbers become means.

    Fits of one run: of two that are shown side by side each keeps its own. Returned with the names of the
    fits that stand under one.
    """
    of_runs = {name: entry.get("run", "") for name, entry in run["potentials"].items()}
    runs = [of_runs.get(name, "") for name in good["potential"]]
    fits: dict[str, list[str]] = {}
    for _, own in good.groupby(["family", "hypers_sha256", pd.Series(runs, good.index)], sort=False):
        if own["seed"].nunique() > 1:
            names = list(map(str, own["potential"].unique()))
            fits[names[0]] = names
    pooled = {name: first for first, names in fits.items() for name in names}
    return good.assign(potential=[pooled.get(name, name) for name in good["potential"]]), fits


def _deciding(good: pd.DataFrame) -> str:
    """Return the split whose errors decide: what was held out, where every potential has such errors."""
    rows = good[good["metric"] == error_axes()[0].metric]
    having = {split: set(rows.loc[rows["split"] == split, "potential"]) for split in (HELD_OUT, TEST)}
    return HELD_OUT if having[HELD_OUT] and having[TEST] <= having[HELD_OUT] else TEST


def _ranking(good: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return one row per potential with everything that decides, best of the first error of a split first."""
    errors, costs = error_axes(), cost_axes()
    names = [one.name for one in reported() if one.ranked]
    ranked = good[good["measure"].isin(names)]
    rows = ranked[ranked["split"].isna() | (ranked["split"] == split)]
    frame = wide(rows, ["potential"])
    keys = [*(axis.metric for axis in (*errors, *costs)), *(c.key for one in reported() for c in one.columns)]
    frame = frame.reindex(columns=list(dict.fromkeys([*frame.columns, *keys])))
    first = good.drop_duplicates("potential").set_index("potential")
    frame["n_parameters"] = first["n_parameters"].astype(int)
    frame["family"] = first["family"]
    over_seeds = rows.groupby(["potential", "metric"])["value"].std().unstack("metric")
    within = rows.groupby(["potential", "metric"])["spread"].mean().unstack("metric")
    # Of one fit there is no spread over seeds.
    for axis, spreads in [*((axis, over_seeds) for axis in errors), *((axis, within) for axis in costs)]:
        frame[f"{axis.metric}_spread"] = spreads.get(axis.metric, np.nan)
    for end in ("low", "high"):
        ends = wide(rows[rows[end].notna()], ["potential"], end)
        frame = frame.join(ends.add_suffix(f"_{end}"))
    if split != TEST:
        tested = ranked[ranked["split"] == TEST]
        for values, ending in (("value", ""), ("low", "_low"), ("high", "_high")):
            beside = wide(tested[tested[values].notna()], ["potential"], values)
            frame = frame.join(beside.add_suffix(f"_{TEST}{ending}"))
    frame["on_front"] = on_front(frame[costs[0].metric], frame[errors[0].metric])
    return frame.sort_values(errors[0].metric)


def _on_choice(evidence: Evidence) -> list[str]:
    """Say where sizes were chosen by test errors: a sweep of an earlier version."""
    if not evidence.is_sweep or evidence.split == HELD_OUT:
        return []
    return [
        "Front, hyper-volumes and recommendation are chosen by the test errors that are shown, which "
        "flatters them: this sweep has no errors held out from training (an earlier version made it)."
    ]


def _on_data(run: Mapping[str, Any]) -> list[str]:
    found, dataset = [], run["dataset"]
    if dataset["name"] == "embedded":
        found.append(
            "The data is the embedded demonstration set: labelled consistently but with coarse k-points, "
            "not converged. Use it to see how the suite works, not to choose a potential."
        )
    found += [f"Test data: {leak}." for leak in dataset.get("leaks", [])]
    if dataset["n_test"] < FEW_TEST_STRUCTURES:
        few = counted(dataset["n_test"], "structure")
        found.append(f"The test errors come from {few} and are themselves uncertain.")
    return found


def _on_direct_forces(good: pd.DataFrame) -> list[str]:
    known = set(family_names())
    kinds = {name: family(name) for name in good["family"].unique() if name in known}
    return [
        f"{name} predicts forces directly: they are not the gradient of "
        f"{'its energy' if 'energy' in kind.predicts else 'an energy, and it has none'}, so molecular "
        "dynamics with it does not conserve energy."
        for name, kind in kinds.items()
        if not kind.conservative
    ]


def _notes_of_values(good: pd.DataFrame) -> list[str]:
    """Return the notes on values; what several potentials have in common once.

    What a section says in full is left to it.
    """
    told = {(one.name, metric) for one in reported() for metric in one.told}
    elsewhere = [one in told for one in zip(good["measure"], good["metric"], strict=True)]
    here = good[good["note"].notna() & ~np.array(elsewhere, bool)]
    noted = here[["measure", "potential", "split", "note"]].drop_duplicates()
    names: dict[tuple[str, str, str], list[str]] = {}
    for row in noted.itertuples():
        measure = row.measure.removesuffix(BY_GROUP)
        on = f" on {row.split} data" if isinstance(row.split, str) else ""
        what = (f"{measure} errors", "") if measure == row.split else (measure, on)
        names.setdefault((*what, row.note), []).append(row.potential)
    return [
        f"{measure} of {several(dict.fromkeys(having))}{on}: {note}."
        for (measure, on, note), having in names.items()
    ]


def _on_revisions(good: pd.DataFrame) -> list[str]:
    """Say where numbers that stand side by side were made by several revisions of the code."""
    plain = good.assign(measure=good["measure"].str.removesuffix(BY_GROUP))
    found = []
    for what, key, made in (("measure", "revision", "measured"), ("family", "family_revision", "fitted")):
        for name, own in plain.groupby(what, sort=False):
            numbers = sorted(set(own[key].dropna().astype(int)))
            said = [*(["one before they were counted"] if own[key].isna().any() else []), *map(str, numbers)]
            if len(said) > 1:
                found.append(
                    f"Numbers of {name} were {made} with several revisions of its code ({', '.join(said)}): "
                    "they may differ for that alone."
                )
    return found


def _on_failures(failures: pd.DataFrame) -> list[str]:
    if failures.empty:
        return []
    what = "A task, or a part of it," if len(failures) == 1 else f"{len(failures)} tasks, or parts of them,"
    return [f"{what} failed; see the section on failures."]
