"""The parts of a section: sentences, tables of text, and figures that are drawn when they are needed."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mlip_bench.section.drawing import Sketch
    from mlip_bench.section.evidence import Evidence

# Stands where there is no number.
MISSING = "–"

# From light to strong; text stays readable on all of them, also in grey.
SHADE_COLORS = ("#FFF3D6", "#FFDD9E", "#F9B96B")


@dataclass(frozen=True)
class Mark:
    """A sign beside a number that must be read with care."""

    sign: str
    of: Callable[["Evidence"], frozenset[str]]
    """The potentials whose number has the mark."""
    note: Callable[["Evidence"], str]
    """What it means, below a table that has it."""


@dataclass(frozen=True)
class Second:
    """A second reading of a number, which some potentials have: it stands in a row of its own."""

    key: str
    first_name: str
    """What the row of the first reading is called, beside the name of the potential."""
    name: str
    note: str


@dataclass(frozen=True)
class Column:
    """One column: heading with unit, key in the data, and how a number is written."""

    heading: str
    key: str
    spec: str = ".3g"
    mark: Mark | None = None
    second: Second | None = None


@dataclass(frozen=True)
class Axis:
    """A number of each potential that the first page sets against others: an error, or what one pays with.

    The functions take a row of the ranking, which has all numbers of a potential.
    """

    metric: str
    quantity: str
    """What it is of, in a word or two."""
    label: str
    """Name and unit, as an axis has them."""
    spec: str
    say: Callable[[Mapping[str, Any]], str]
    """The number and its unit in a sentence."""
    tip: Callable[[Mapping[str, Any]], str]
    """The same with more digits, beside a point."""
    statistic: str = ""
    """How it was averaged, in brackets after the number where it is said first."""
    long_label: str = ""
    """The label of its own figure, where that says more."""
    alone: Callable[[Mapping[str, Any]], str] | None = None
    """The number and its unit in a sentence of its own, where that differs from ``say``."""
    bars: str = ""
    """What its error bars are."""
    remark: Callable[["Evidence"], str] = lambda evidence: ""
    """What a figure that draws it must say in its caption."""


@dataclass(frozen=True)
class Term:
    """A number of each potential that a score can weigh, and that an axis can have."""

    metric: str
    """Its name in profiles."""
    quantity: str
    """What it is, in a few words: ``force error``."""
    label: str
    """Name and unit, as an axis has them."""
    values: "pd.DataFrame"
    """Of each potential that has one: ``value``, and ``low`` and ``high``, the ends of its 95 % interval, NaN
    where it has none."""
    spec: str = ".3g"
    floor: float = 0.0
    """What is below counts as this much: nearer to zero no difference says anything."""
    lower_is_better: bool = True
    decides: bool = True
    """False where a score must not weigh it: errors on the test data choose nothing."""
    note: str = ""
    """What must be said where it is weighed."""


@dataclass(frozen=True)
class Table:
    """Headings, rows of text, and how they are set."""

    headings: list[str]
    rows: list[list[str]]
    emphasised: frozenset[int] = frozenset()
    """The rows to set in bold."""
    note: str = ""
    families: tuple[str, ...] = ()
    """The family of each row, where rows are potentials: a page can switch it off."""
    shades: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """How much the cell in a row and column is shaded, from 0 to the number of ``SHADE_COLORS``."""
    name: str = "table"
    """Of the file that it can be saved to."""
    widths: tuple[float, ...] | None = None
    """Widths of the columns on paper, relative to each other; None where what they hold decides."""
    text: bool = False
    """True where cells hold sentences, which begin at the left and may be broken."""

    def followed_by(self, other: "Table") -> "Table":
        """Return one table of the rows of both, which have the same headings."""
        below = len(self.rows)
        return dataclasses.replace(
            self,
            rows=self.rows + other.rows,
            emphasised=self.emphasised | {below + row for row in other.emphasised},
            note=" ".join(dict.fromkeys(filter(None, (self.note, other.note)))),
            families=self.families + other.families,
            shades={**self.shades, **{(below + r, c): shade for (r, c), shade in other.shades.items()}},
        )


@dataclass(frozen=True)
class Plot:
    """A figure to be drawn."""

    name: str
    """Of its file; no two of a report have the same."""
    caption: str
    draw: Callable[[], "Sketch"]
    data: Table | None = None
    """The numbers that are drawn, to be saved from the page, where no table has them."""


@dataclass(frozen=True)
class Line:
    """A line of a chart."""

    x: "Sequence[float] | np.ndarray"
    y: "Sequence[float] | np.ndarray"
    """As long as ``x``; NaN interrupts it."""
    grey: bool = False
    """True of what is not the potential's: a reference."""


@dataclass(frozen=True)
class Chart:
    """What the page draws itself of one potential when a reader opens it: points with tips, and lines."""

    title: str
    x_label: str
    y_label: str
    x: "Sequence[float] | np.ndarray" = ()
    y: "Sequence[float] | np.ndarray" = ()
    tips: Sequence[str] = ()
    """What each point says under the pointer."""
    lines: Sequence[Line] = ()
    equal: bool = False
    """True where both axes have one scale, and points on the diagonal agree."""
    logarithmic: bool = False
    """True where axes whose values differ much are logarithmic."""
    x_ticks: Sequence[tuple[float, str]] | None = None
    """Places and texts along the lower axis, where numbers say nothing."""
    note: str = ""


@dataclass(frozen=True)
class Sentences:
    """What the numbers say in words."""

    sentences: list[str]


Part = Plot | Sentences | Table


@dataclass(frozen=True)
class Section:
    """A section of the report: its parts in the order in which they stand.

    Sections of one heading become one: see :func:`joined`. One without parts is not shown, but its
    warnings are.
    """

    heading: str
    parts: list[Part] = field(default_factory=list)
    place: int = 100
    """Where it stands: sections follow each other by their places."""
    warnings: list[str] = field(default_factory=list)
    """What a reader must know before trusting the numbers: on the first page."""

    @property
    def plots(self) -> list[Plot]:
        """The figures of the section."""
        return [part for part in self.parts if isinstance(part, Plot)]

    @property
    def tables(self) -> list[Table]:
        """The tables of the section."""
        return [part for part in self.parts if isinstance(part, Table)]


def joined(sections: Iterable[Section]) -> list[Section]:
    """Return sections in order, with one of each heading: where their tables have one heading, one table."""
    found: dict[str, Section] = {}
    for section in sorted(sections, key=lambda section: section.place):
        one = found.get(section.heading)
        if one is None:
            found[section.heading] = section
        else:
            parts = _with_parts(one.parts, section.parts)
            warnings = [*one.warnings, *section.warnings]
            found[section.heading] = dataclasses.replace(one, parts=parts, warnings=warnings)
    return list(found.values())


def _with_parts(parts: list[Part], more: list[Part]) -> list[Part]:
    parts = list(parts)
    for part in more:
        places = [
            place
            for place, one in enumerate(parts)
            if isinstance(one, Table) and isinstance(part, Table) and one.headings == part.headings
        ]
        if places and isinstance(part, Table):
            one = parts[places[0]]
            assert isinstance(one, Table)
            parts[places[0]] = one.followed_by(part)
        else:
            parts.append(part)
    return parts
