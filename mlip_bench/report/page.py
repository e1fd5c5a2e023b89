"""What the script of the page works with: numbers that are weighed and drawn, and what opens on demand."""

import base64
import gzip
import importlib.util
import io
import json
import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
from markupsafe import Markup

from mlip_bench.measure import reported
from mlip_bench.report import profiles, tables, verdict
from mlip_bench.report.content import Content
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import MISSING, Chart, Term
from mlip_bench.section.tables import MOST_NAMED

# Digits of the numbers in the page: more would make it large.
DIGITS = 7

# Packed rows larger than this (bytes) stay beside the page.
MOST_BYTES = 1_500_000


def of(content: Content) -> dict[str, Markup]:
    """Return the data of the page as JSON, and details and rows as packed JSON; no rows where too many."""
    rows = _packed(_rows(content.rows))
    parquet = _parquet(content.rows)
    return {
        "data": _plain(_data(content)),
        "details": Markup(_packed(_details(content))),
        "rows": Markup(rows if len(rows) <= MOST_BYTES else ""),
        "parquet": Markup(parquet if len(parquet) <= MOST_BYTES // 2 else ""),
    }


def _parquet(rows: pd.DataFrame) -> str:
    """Return the rows as a file of Apache Parquet, in letters; nothing where its library is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return ""
    file = io.BytesIO()
    _flat(rows).to_parquet(file, engine="pyarrow", index=False, compression="zstd")
    return base64.b64encode(file.getvalue()).decode()


def _flat(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with what is a table in a cell as text."""
    return rows.assign(versions=[json.dumps(versions) for versions in rows["versions"]])


def _data(content: Content) -> dict[str, Any]:
    evidence, names = content.evidence, [str(name) for name in content.ranking.index]
    families = list(map(str, content.ranking["family"]))
    shown = [profiles.shipped(name) for name in profiles.names()]
    if content.verdict.profile not in shown:
        shown.insert(0, content.verdict.profile)
    return {
        "potentials": names,
        "families": families,
        "looks": {family: _look(evidence, family) for family in dict.fromkeys(families)},
        "terms": [_term(term, names) for term in verdict.terms_of(evidence)],
        "profiles": [vars(profile) for profile in shown],
        "profile": content.verdict.profile.name,
        "x": evidence.costs[0].metric,
        "y": evidence.errors[0].metric,
        "said": [verdict.numbers(evidence, name) for name in names],
        "treatment": tables.treatment(content),
        "fits": {name: list(fits) for name, fits in evidence.fits.items()},
        "missing": MISSING,
        "mostNamed": MOST_NAMED,
    }


def _look(evidence: Evidence, family: str) -> list[str]:
    style = evidence.style(family)
    return [style["color"], style["marker"]]


def _term(term: Term, names: list[str]) -> dict[str, Any]:
    values = term.values.reindex(names)
    ends = [
        None if pd.isna(low) else [_number(low), _number(high)]
        for low, high in zip(values["low"], values["high"], strict=True)
    ]
    return {
        "metric": term.metric,
        "quantity": term.quantity,
        "label": term.label,
        "floor": term.floor,
        "lower": term.lower_is_better,
        "decides": term.decides,
        "note": term.note.strip(),
        "values": [_number(value) for value in values["value"]],
        "ends": ends if any(ends) else None,
    }


def _details(content: Content) -> dict[str, Any]:
    """Return hyper-parameters and charts of each potential."""
    evidence = content.evidence
    hypers = {name: tables.written(entry["hypers"]) for name, entry in content.run["potentials"].items()}
    return {
        name: {
            "hypers": hypers.get(name, ""),
            "charts": [_chart(one) for kind in reported() for one in kind.charts(evidence, name)],
        }
        for name in map(str, content.ranking.index)
    }


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "x_label": chart.x_label,
        "y_label": chart.y_label,
        "x": _numbers(chart.x),
        "y": _numbers(chart.y),
        "tips": list(chart.tips),
        "lines": [{"x": _numbers(line.x), "y": _numbers(line.y), "grey": line.grey} for line in chart.lines],
        "equal": chart.equal,
        "logarithmic": chart.logarithmic,
        "x_ticks": None if chart.x_ticks is None else [[_number(at), text] for at, text in chart.x_ticks],
        "note": chart.note,
    }


def _rows(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the rows as lists, and once what is the same in all of them."""
    frame = _flat(rows).astype(object)
    frame = frame.where(frame.notna(), None)
    constant = {key: frame[key].iloc[0] for key in frame if frame[key].nunique(dropna=False) == 1}
    kept = frame.drop(columns=list(constant))
    return {"constant": constant, "keys": list(kept.columns), "rows": kept.to_numpy().tolist()}


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(value, 5) for value in values]


def _number(value: float, digits: int = DIGITS) -> float | None:
    """Return a number of so many digits; None of what is no number."""
    value = float(value)
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _plain(content: Any) -> Markup:
    """Return JSON that may stand in a page: nothing in it ends a script."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _packed(content: Any) -> str:
    """Return JSON, packed with gzip, as letters; the same content gives the same letters."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
