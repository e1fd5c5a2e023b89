"""The report as a PDF, laid out with fpdf2; the fonts are those that matplotlib brings.

A figure that does not fit on what is left of a page waits for the top of the next one, while tables and
sentences go on below: no page stays half empty.
"""

import dataclasses
import io
import os
import textwrap
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import MethodType
from typing import cast

import matplotlib as mpl
import numpy as np
from fpdf import FPDF
from fpdf.enums import MethodReturnValue
from fpdf.fonts import FontFace

from mlip_bench.report import tables, verdict
from mlip_bench.report.content import Content
from mlip_bench.report.figures import FRONT
from mlip_bench.section.drawing import Figure
from mlip_bench.section.parts import SHADE_COLORS, Plot, Sentences, Table

FONT = "DejaVu Sans"
INK = (31, 41, 51)
SOFT = (82, 96, 109)
LINE = (217, 222, 228)
MM_PER_INCH = 25.4


# Sizes (points) of the letters of a table: the first, or smaller ones where it is too wide for the page.
TABLE_SIZES = (7.5, 7.0, 6.5, 6.0, 5.5)
SMALL_PRINT = 5.5

# Of longer tables paper has so many rows, and those that are emphasised; the page has all.
MOST_ROWS = 100

# Text with more letters goes on in the next row: one that is higher than a page cannot be written.
MOST_LETTERS = 2500

# Room (mm) beside the text of a table's cell.
PADDING = 3.4

# Room (mm) that a heading needs with what stands below it, and a caption.
HEADING = 14.0
CAPTION = 14.0

# Room (mm) that is left below a figure at the top of a page: a table may go on there.
BELOW = 40.0

APPENDIX = "Appendix: hyper-parameters"

Drawn = Figure | Sentences | Table


class Document(FPDF):
    """An A4 page with the project's fonts, a page number, and figures that wait for room.

    Without ``draws`` everything takes its room and figures are left out: that tells the pages of headings.
    """

    def __init__(self, draws: bool = True) -> None:
        super().__init__(format="A4")
        self._draws = draws
        self._waiting: deque[tuple[str, Figure]] = deque()
        self._n_figures = 0
        self.pages_of: dict[str, int] = {}
        self.set_margin(16)
        self.set_auto_page_break(True, margin=18)
        fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
        self.add_font(FONT, "", fonts / "DejaVuSans.ttf")
        self.add_font(FONT, "B", fonts / "DejaVuSans-Bold.ttf")
        self.add_font("Mono", "", fonts / "DejaVuSansMono.ttf")
        self.set_font(FONT, size=9)
        self.set_text_color(*INK)
        self.set_draw_color(*LINE)

    def header(self) -> None:
        """Place figures that wait; fpdf2 calls this at the top of every page, also within a table."""
        # fpdf2 measures a text by writing it to nowhere, over the end of a page too: nothing is placed there.
        if isinstance(self._out, MethodType):
            self.place_waiting(BELOW)

    def footer(self) -> None:
        """Write the page number; fpdf2 calls this on every page."""
        self.set_y(-13)
        self.set_font(FONT, size=7)
        self.set_text_color(*SOFT)
        self.cell(0, 5, f"{self.page_no()} / {{nb}}", align="C")
        self.set_text_color(*INK)

    def normalize_text(self, text: str) -> str:
        """Write characters that the font has not by their numbers: a name without them would be another."""
        known = getattr(self.current_font, "cmap", {})
        return super().normalize_text(
            "".join(one if ord(one) in known or one in "\n\t" else f"\\u{ord(one):04x}" for one in text)
        )

    # -- text ----------------------------------------------------------------------------------------------

    def heading(self, text: str, size: int = 12) -> None:
        """Write a heading, on the next page where nothing would fit below it."""
        if self.will_page_break(30):
            self.add_page()
        self.ln(3)
        self.set_font(FONT, "B", size)
        self.pages_of[text] = self.page_no()
        self.start_section(text)
        self.multi_cell(0, size * 0.55, text, new_x="LMARGIN", new_y="NEXT")
        self.ln(1.5)
        self.set_font(FONT, size=9)

    def paragraph(self, text: str, size: float = 9, soft: bool = False, mono: bool = False) -> None:
        """Write a paragraph, one of a few lines whole on one page."""
        font = "Mono" if mono else FONT
        self.set_font(font, size=size)
        found = self.multi_cell(0, size * 0.52, text, dry_run=True, output=MethodReturnValue.LINES)
        height = size * 0.52 * len(cast("list[str]", found))
        if height < BELOW and self.will_page_break(height):
            self.add_page()
            self.set_font(font, size=size)
        self.set_text_color(*(SOFT if soft else INK))
        self.multi_cell(0, size * 0.52, text, align="L", new_x="LMARGIN", new_y="NEXT")
        self.set_text_color(*INK)
        self.ln(1)

    def bullets(self, sentences: Sequence[str]) -> None:
        """Write sentences as a list."""
        for sentence in sentences:
            self.paragraph(f"•  {sentence}")

    def contents(self, pages: Mapping[str, int]) -> None:
        """Write where the sections are, in two columns, each a link."""
        entries = list(pages.items())
        n_rows = -(-len(entries) // 2)
        if self.will_page_break(4.4 * n_rows + 3):
            self.add_page()
        self.set_font(FONT, size=8)
        self.set_text_color(*SOFT)
        width, top = self.epw / 2 - 4, self.get_y() + 1
        for place, (title, page) in enumerate(entries):
            column, row = divmod(place, n_rows)
            self.set_xy(self.l_margin + column * (width + 8), top + 4.4 * row)
            link = self.add_link(page=page)
            self.cell(width - 8, 4.4, title, link=link)
            self.cell(8, 4.4, str(page), align="R", link=link)
        self.set_xy(self.l_margin, top + 4.4 * n_rows + 2)
        self.set_text_color(*INK)

    # -- figures -------------------------------------------------------------------------------------------

    def height_of(self, figure: Figure) -> float:
        """Return the height (mm) of a figure over the whole width, or of a whole page."""
        return min(self.epw * _aspect(figure.png), self.eph - HEADING - CAPTION - BELOW)

    def wait(self, heading: str, figure: Figure) -> None:
        """Let a figure wait for room; with a heading, where it takes that along."""
        self._waiting.append((heading, figure))

    def place_waiting(self, below: float = 0.0) -> None:
        """Place figures that wait, as many as there is room for, and leave some room (mm) below them."""
        while self._waiting:
            heading, figure = self._waiting[0]
            if self.will_page_break(self.height_of(figure) + CAPTION + below + (HEADING if heading else 0)):
                return
            self._waiting.popleft()
            if heading:
                self.heading(heading)
            self._place(figure)

    def flush(self) -> None:
        """Place all figures that wait, on new pages where they need them."""
        self.place_waiting()
        while self._waiting:
            self.add_page()

    def figure(self, figure: Figure) -> None:
        """Place a figure with its caption over the whole width, here or where there is room for it."""
        self.wait("", figure)
        self.place_waiting()

    def _place(self, figure: Figure) -> None:
        height = self.height_of(figure)
        width = height / _aspect(figure.png)
        if self._draws:
            self.image(
                io.BytesIO(figure.png),
                x=self.l_margin + (self.epw - width) / 2,
                w=width,
                h=height,
                alt_text=figure.caption,
            )
        else:
            self.set_y(self.get_y() + height)
        self.ln(1)
        self._n_figures += 1
        self.paragraph(f"Figure {self._n_figures}. {figure.caption}", size=7.5, soft=True)

    # -- tables --------------------------------------------------------------------------------------------

    def show(self, table: Table, sizes: Sequence[float] = TABLE_SIZES) -> None:
        """Write a table; one that is too wide in parts, each with the first column."""
        if not table.rows:
            return
        table = _on_paper(table)
        if table.text:
            table = _in_pieces(table)
            self._write(table, sizes[0], table.widths or self._column_widths(table, sizes[0]))
        else:
            fitting = [size for size in sizes if sum(self._least_widths(table, size)) <= self.epw + 0.01]
            size = fitting[0] if fitting else sizes[0]
            for part in self._parts(table, size):
                self._write(part, size, self._column_widths(part, size))
                self.ln(1)
        if table.note:
            self.paragraph(table.note, size=7.5, soft=True)
        self.place_waiting()

    def _parts(self, table: Table, size: float) -> Iterator[Table]:
        """Return the columns of a table in as few parts as fit the page, each with the first one."""
        least = np.array(self._least_widths(table, size))
        for n_parts in range(1, max(2, len(least))):
            parts = np.array_split(np.arange(1, len(least)), n_parts)
            if all(least[0] + least[part].sum() <= self.epw + 0.01 for part in parts):
                break
        for part in parts:
            yield _of_columns(table, [0, *part.tolist()])

    def _least_widths(self, table: Table, size: float) -> list[float]:
        """Return widths (mm) that break no word: names on one line, headings between words."""
        return self._widths_of(table, size, lambda column, cell: [cell] if column == 0 else cell.split())

    def _column_widths(self, table: Table, size: float) -> tuple[float, ...]:
        """Return widths (mm) that fill the page; what is left goes to columns whose cells are broken."""
        least = self._least_widths(table, size)
        whole = self._widths_of(table, size, lambda column, cell: [cell])
        room = max(0.0, self.epw - sum(least))
        wanted = [max(0.0, long - short) for long, short in zip(whole, least, strict=True)]
        share = min(1.0, room / sum(wanted)) if sum(wanted) else 0.0
        widths = [short + share * more for short, more in zip(least, wanted, strict=True)]
        left = max(0.0, self.epw - sum(widths)) / len(widths)
        return tuple(width + left for width in widths)

    def _widths_of(self, table: Table, size: float, pieces: Callable[[int, str], list[str]]) -> list[float]:
        self.set_font(FONT, "B", size)
        rows = [row for row in (table.headings, *table.rows) if row]
        found = [
            PADDING
            + max(
                (self.get_string_width(piece) for cell in cells for piece in pieces(column, cell)),
                default=0.0,
            )
            for column, cells in enumerate(zip(*rows, strict=True))
        ]
        found[0] = min(found[0], self.epw / 2)
        return found

    def _write(self, table: Table, size: float, widths: tuple[float, ...]) -> None:
        """Write a table with letters of a size (points); numbers to the right unless it holds text."""
        n_columns = len(table.rows[0])
        align = ("LEFT",) * n_columns if table.text else ("LEFT",) + ("RIGHT",) * (n_columns - 1)
        if self.will_page_break(3 * 4.6):  # a heading with a row
            self.add_page()
        self.set_font(FONT, size=size)
        with self.table(
            headings_style=FontFace(emphasis="BOLD", color=INK),
            line_height=min(4.6, 0.62 * size),
            text_align=align,
            borders_layout="HORIZONTAL_LINES",
            col_widths=widths,
            padding=0.6,
            first_row_as_headings=bool(table.headings),
        ) as layout:
            if table.headings:
                layout.row(table.headings)
            for index, cells in enumerate(table.rows):
                bold = FontFace(emphasis="BOLD") if index in table.emphasised else None
                row = layout.row(style=bold)
                for column, text in enumerate(cells):
                    shade = table.shades.get((index, column), 0)
                    filled = FontFace(fill_color=SHADE_COLORS[shade - 1]) if shade else bold
                    row.cell(text, style=filled)

    # -- sections ------------------------------------------------------------------------------------------

    def section(self, title: str, parts: Sequence[Drawn]) -> None:
        """Write a heading and what stands below it.

        Where its first figure finds no room, tables and sentences come first; a section of figures alone
        waits with its heading.
        """
        figures = [part for part in parts if isinstance(part, Figure)]
        others = [part for part in parts if not isinstance(part, Figure)]
        first = parts[0]
        fits = not isinstance(first, Figure) or not self.will_page_break(
            HEADING + self.height_of(first) + CAPTION
        )
        if fits and not self._waiting:
            self.heading(title)
            self._lay_out(parts)
        elif others:
            self.heading(title)
            self._lay_out([*others, *figures] if self._waiting else [*figures, *others])
        else:
            for heading, figure in zip([title, *[""] * len(figures)], figures, strict=False):
                self.wait(heading, figure)
            self.place_waiting()

    def _lay_out(self, parts: Sequence[Drawn]) -> None:
        for part in parts:
            if isinstance(part, Figure):
                self.figure(part)
            elif isinstance(part, Table):
                self.show(part)
            else:
                self.bullets(part.sentences)


def _on_paper(table: Table) -> Table:
    """Return the rows of a table that paper has, and say how many are left out."""
    kept = sorted({*range(min(MOST_ROWS, len(table.rows))), *table.emphasised})
    if len(kept) == len(table.rows):
        return table
    places = {row: place for place, row in enumerate(kept)}
    left = f"{len(table.rows) - len(kept)} more rows are in the HTML report."
    return dataclasses.replace(
        table,
        rows=[table.rows[row] for row in kept],
        emphasised=frozenset(places[row] for row in table.emphasised),
        note=f"{table.note} {left}".strip(),
        families=tuple(table.families[row] for row in kept) if table.families else (),
        shades={(places[row], c): shade for (row, c), shade in table.shades.items() if row in places},
    )


def _in_pieces(table: Table) -> Table:
    """Return a table of text in which no cell is higher than a page."""
    rows = []
    for row in table.rows:
        cells = [textwrap.wrap(cell, MOST_LETTERS) or [cell] for cell in row]
        rows += [list(pieces) for pieces in zip_longest(*cells, fillvalue="")]
    places = len(rows) == len(table.rows)
    return table if places else dataclasses.replace(table, rows=rows, shades={}, emphasised=frozenset())


def _of_columns(table: Table, columns: Sequence[int]) -> Table:
    """Return some columns of a table."""
    if len(columns) == len(table.rows[0]):
        return table
    places = {column: place for place, column in enumerate(columns)}
    return dataclasses.replace(
        table,
        headings=[table.headings[column] for column in columns] if table.headings else [],
        rows=[[row[column] for column in columns] for row in table.rows],
        shades={(row, places[c]): shade for (row, c), shade in table.shades.items() if c in places},
    )


def _aspect(png: bytes) -> float:
    """Return height over width of a PNG, from its header."""
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    return height / width


def write(content: Content, figures: list[Figure], path: Path) -> None:
    """Lay the content out and write it: once to find the pages of the sections, and once with them."""
    expected = dict.fromkeys([title for title, _ in _sections(content, figures)] + [REPEAT, APPENDIX], 1)
    first = _document(content, figures, expected, draws=False)
    first.output()  # closes the fonts
    pages = {title: first.pages_of[title] for title in expected}
    document = _document(content, figures, pages, draws=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    document.output(str(partial))
    partial.replace(path)


REPEAT = "How to repeat it"


def _document(content: Content, figures: list[Figure], pages: Mapping[str, int], draws: bool) -> Document:
    document = Document(draws)
    document.set_title(content.title)
    document.add_page()
    document.set_font(FONT, "B", 18)
    document.multi_cell(0, 10, content.title, new_x="LMARGIN", new_y="NEXT")
    document.ln(1)
    document.paragraph(verdict.sentence(content.evidence, content.verdict), size=10.5)
    document.show(verdict.table(content.verdict))
    document.bullets(content.findings)
    document.bullets([f"Note: {warning}" for warning in content.warnings])
    document.contents(pages)
    for title, parts in _sections(content, figures):
        document.section(title, parts)
    document.heading(REPEAT)
    document.paragraph(tables.repeat(content), size=8, mono=True)
    document.paragraph(tables.footer(), size=7.5, soft=True)
    document.heading(APPENDIX)
    document.show(tables.hypers(content), (SMALL_PRINT,))
    document.flush()
    return document


def _sections(content: Content, figures: list[Figure]) -> list[tuple[str, list[Drawn]]]:
    """Return the headings of the report with what stands below each."""
    by_name = {figure.name: figure for figure in figures}
    found: list[tuple[str, list[Drawn]]] = []
    if FRONT in by_name:
        found.append((content.versus, [by_name[FRONT]]))
    if content.is_sweep:
        found.append(("Families", [tables.families(content)]))
    found.append(("Ranking", [tables.ranking(content)]))
    facts = [list(pair) for pair in tables.facts(content)]
    found.append(("About this run", [Table([], facts, widths=(1.2, 5), text=True)]))
    for section in content.sections:
        parts: list[Drawn] = [by_name[one.name] if isinstance(one, Plot) else one for one in section.parts]
        found.append((section.heading, parts))
    if not content.failures.empty:
        found.append(("Failures", [tables.failures(content)]))
    return found
