"""Fits in the report: time, memory, and the error against the time."""

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


def _against_time(evidence: Evidence) -> Plot:
    remarks = f"{against.on_lines(evidence)}{against.on_cut(evidence)}{against.remarks(evidence)}"
    caption = f"{evidence.split.capitalize()} error against the time of the fit.{remarks}"
    label = "time of the fit (s)"
    return Plot("training", caption, lambda: against.draw(evidence, "training", TIME, label, _tip))


def _tip(row: pd.Series) -> str:
    return f"fitted in {row[TIME]:.0f} s, {row['n_parameters']:.0f} parameters"
