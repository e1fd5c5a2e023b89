"""Tables of potentials: cells as text, with marks, and second rows where a number has a second reading."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import pandas as pd

from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import MISSING, Column, Mark, Second, Table

# A sentence names no more than these.
MOST_NAMED = 4

# More than this are as good as any number.
MOST_NEEDED = 10_000


def plain(name: str, first: str, frame: pd.DataFrame, columns: Sequence[Column], note: str = "") -> Table:
    """Return a table with a row for each of a frame, and the columns that have any number."""
    having = _having(frame, columns)
    rows = [
        [str(label), *(number(row[column.key], column.spec) for column in having)]
        for label, row in frame.iterrows()
    ]
    return Table(_headings(first, having), rows, note=note, families=_families(frame), name=name)


def of_potentials(
    evidence: Evidence,
    name: str,
    first: str,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    notes: Iterable[str] = (),
    potentials: Iterable[str] | None = None,
) -> Table:
    """Return a table with what its columns say of potentials: marks, second readings, and what they mean.

    ``potentials`` has the potential of each row, where it is not the row's name.
    """
    having = _having(frame, columns)
    rows: list[list[str]] = []
    emphasised, families, of_rows = set(), list[str](), _families(frame)
    marked = {column.key: column.mark.of(evidence) for column in having if column.mark is not None}
    records = frame.to_dict("records")
    names = frame.index if potentials is None else potentials
    for place, (label, potential) in enumerate(zip(frame.index, names, strict=True)):
        row = records[place]
        if row.get("on_front", False):
            emphasised.add(len(rows))
        own_marks = {key for key, having_it in marked.items() if str(potential) in having_it}
        cells = [str(label), *(_cell(row[column.key], column, own_marks) for column in having)]
        own = _with_second(cells, having, row)
        rows += own
        families += of_rows[place : place + 1] * len(own)
    readings = _readings(having) if len(rows) > len(frame) else []
    marks = [mark for mark in _marks(having) if any(c.endswith(mark.sign) for cells in rows for c in cells)]
    said = [*notes, *(one.note for one in readings[:1]), *(mark.note(evidence) for mark in marks)]
    note = " ".join(filter(None, said))
    return Table(_headings(first, having), rows, frozenset(emphasised), note, tuple(families), name=name)


def number(value: Any, spec: str) -> str:
    """Write a number; a dash where there is none, and what is a text as it is."""
    if isinstance(value, str):
        return value
    return MISSING if pd.isna(value) else format(float(value), spec)


def about(number: float) -> str:
    """Say how many are needed: to two digits, as nobody knows better, and no more than is an advice."""
    return f"over {MOST_NEEDED}" if number > MOST_NEEDED else f"about {float(f'{number:.2g}'):.0f}"


def counted(number: int, noun: str) -> str:
    """Write a number and what it is of, one or many."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def several(names: Iterable[Any]) -> str:
    """Join names, of many only the first."""
    names = list(map(str, names))
    more = len(names) - MOST_NAMED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:MOST_NAMED])} and {more} more"


def _having(frame: pd.DataFrame, columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column.key in frame and frame[column.key].notna().any()]


def _headings(first: str, columns: Sequence[Column]) -> list[str]:
    return [first, *(column.heading for column in columns)]


def _families(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(frame["family"]) if "family" in frame else ()


def _readings(columns: Sequence[Column]) -> list[Second]:
    return [column.second for column in columns if column.second is not None]


def _marks(columns: Sequence[Column]) -> list[Mark]:
    return list(dict.fromkeys(column.mark for column in columns if column.mark is not None))


def _cell(value: Any, column: Column, marked: Set[str]) -> str:
    sign = column.mark.sign if column.mark is not None and column.key in marked and pd.notna(value) else ""
    return number(value, column.spec) + sign


def _with_second(cells: list[str], columns: Sequence[Column], row: Mapping[str, Any]) -> list[list[str]]:
    """Return the row of a potential, and a second one where a number of it has a second reading."""
    there = [one for one in _readings(columns) if pd.notna(row.get(one.key))]
    if not there:
        return [cells]
    seconds = [
        "" if column.second is None else number(row.get(column.second.key), column.spec) for column in columns
    ]
    return [[f"{cells[0]}, {there[0].first_name}", *cells[1:]], [f"{cells[0]}, {there[0].name}", *seconds]]
