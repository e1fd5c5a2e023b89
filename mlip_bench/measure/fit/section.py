"""Fits in the report: time, memory, and the error against the time."""

from collections.abc import Sequence

import pandas as pd

from mlip_bench.measure.fit import REPORTED
from mlip_bench.section import against, tables
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Column, Part, Plot, Section, Term
from mlip_bench.section.terms import of_ranking

TIME = "fit_s"
COLUMNS = (Column("fit time (s)", TIME, ".1f"), Column("peak memory (MiB)", "peak_rss_mib", ".0f"))


def sections(evidence: Evidence) -> list[Section]:
    """Return the section, where anything was fitted."""
    if evidence.of(REPORTED.name).empty:
        return []
    note = f"Threads given to each fit: {evidence.threads(REPORTED.name)}."
    parts: list[Part] = [tables.plain("fits", "potential", evidence.ranking, COLUMNS, note)]
    if not against.having(evidence, TIME).empty:
        parts.insert(0, _against_time(evidence))
    return [Section("Time and memory of each fit", parts, place=20)]


def terms(evidence: Evidence) -> list[Term]:
    """Return time and memory of the fit, and the number of parameters that it found."""
    return [
        of_ranking(evidence, TIME, "fit time", "time of the fit (s)", spec=".1f", floor=1.0),
        of_ranking(evidence, "peak_rss_mib", "memory of the fit", "peak memory of the fit (MiB)", spec=".0f"),
        of_ranking(evidence, "n_parameters", "parameters", "number of parameters", spec=".0f"),
    ]


def treated(evidence: Evidence, family: str) -> str:
    """Say what data a family was given, and whether its fits used the stress."""
    entries = [entry for entry in evidence.run["potentials"].values() if entry["family"] == family]
    fitted = [entry for entry in entries if "source" not in entry]
    found = ["Read as it is, not fitted here."] if len(fitted) < len(entries) else []
    if fitted:
        shares = sorted({float(entry["hypers"].get(VALIDATION, 0.0)) for entry in fitted})
        found += [_on_validation(shares), _on_stress([entry.get("fits_stress") for entry in fitted])]
    return " ".join(filter(None, found))


# The hyper-parameter of families that set data aside while they train.
VALIDATION = "validation_fraction"


def _on_validation(shares: Sequence[float]) -> str:
    if shares[-1] == 0:
        return "Fitted to all training data."
    said = f"{100 * shares[-1]:g} %"
    if len(shares) > 1:
        said = f"{100 * shares[0]:g} to {said}"
    return (
        f"{said} of the training data was set aside to tell when to stop (validation); the rest was fitted."
    )


def _on_stress(fits: Sequence[bool | None]) -> str:
    """Say whether the stress was fitted; nothing where the run does not say."""
    known = set(fits) - {None}
    if not known:
        return ""
    if len(known) > 1:
        return "Stress was fitted by some of its potentials."
    return "Stress was fitted, too." if True in known else "Stress was not fitted."


def _against_time(evidence: Evidence) -> Plot:
    remarks = f"{against.on_lines(evidence)}{against.on_cut(evidence)}{against.remarks(evidence)}"
    caption = f"{evidence.split.capitalize()} error against the time of the fit.{remarks}"
    label = "time of the fit (s)"
    return Plot("training", caption, lambda: against.draw(evidence, "training", TIME, label, _tip))


def _tip(row: pd.Series) -> str:
    return f"fitted in {row[TIME]:.0f} s, {row['n_parameters']:.0f} parameters"
