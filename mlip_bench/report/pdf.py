"""The report as a PDF, laid out with fpdf2; the fonts are those that matplotlib brings."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from fpdf import FPDF
from fpdf.fonts import FontFace

from mlip_bench.report import tables, verdict
from mlip_bench.report.content import Content
from mlip_bench.report.figures import FRONT
from mlip_bench.section.drawing import Figure
from mlip_bench.section.parts import SHADE_COLORS, Part, Plot, Sentences, Table

FONT = "DejaVu Sans"
INK = (31, 41, 51)
SOFT = (82, 96, 109)
LINE = (217, 222, 228)
MM_PER_INCH = 25.4


# Sizes (points) of the letters of a table: the first, or smaller ones where it is too wide for the page.
TABLE_SIZES = (7.5, 7.0, 6.5, 6.0)

# Room (mm) beside the text of a table's cell.
PADDING = 4.2


class Document(FPDF):
    """An A4 page with the project's fonts and a page number."""

    def __init__(self) -> None:
        super().__init__(format="A4")
        self.set_margin(16)
        self.set_auto_page_break(True, margin=18)
        fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
        self.add_font(FONT, "", fonts / "DejaVuSans.ttf")
        self.add_font(FONT, "B", fonts / "DejaVuSans-Bold.ttf")
        self.add_font("Mono", "", fonts / "DejaVuSansMono.ttf")
        self.set_font(FONT, size=9)
        self.set_text_color(*INK)
        self.set_draw_color(*LINE)

    def footer(self) -> None:
        """Write the page number; fpdf2 calls this on every page."""
        self.set_y(-13)
        self.set_font(FONT, size=7)
        self.set_text_color(*SOFT)
        self.cell(0, 5, f"{self.page_no()} / {{nb}}", align="C")
        self.set_text_color(*INK)

    def heading(self, text: str, size: int = 12) -> None:
        """Write a heading, on the next page where nothing would fit below it."""
        if self.will_page_break(30):
            self.add_page()
        self.ln(3)
        self.set_font(FONT, "B", size)
        self.multi_cell(0, size * 0.55, text, new_x="LMARGIN", new_y="NEXT")
        self.ln(1.5)
        self.set_font(FONT, size=9)

    def paragraph(self, text: str, size: float = 9, soft: bool = False, mono: bool = False) -> None:
        """Write a paragraph."""
        self.set_font("Mono" if mono else FONT, size=size)
        self.set_text_color(*(SOFT if soft else INK))
        self.multi_cell(0, size * 0.52, text, align="L", new_x="LMARGIN", new_y="NEXT")
        self.set_text_color(*INK)
        self.ln(1)

    def figure(self, figure: Figure) -> None:
        """Place a figure with its caption, whole on one page."""
        width = min(self.epw, figure.width_in * MM_PER_INCH)
        image = io.BytesIO(figure.png)
        height = width * _aspect(figure.png)
        tallest = self.eph - 30  # with the heading above it and the caption below
        if height > tallest:
            width, height = width * tallest / height, tallest
        if self.will_page_break(height + 14):
            self.add_page()
        self.image(image, w=width, h=height, alt_text=figure.caption)
        self.ln(1)
        self.paragraph(figure.caption, size=7.5, soft=True)

    def _sized(self, table: Table) -> tuple[float, tuple[float, ...]]:
        """Return the largest size of letters (points) at which the table fits the page, and its widths."""
        for size in TABLE_SIZES:
            widths = self._column_widths(table, size)
            if sum(widths) <= self.epw + 0.01:
                break
        return size, widths

    def _column_widths(self, table: Table, size: float) -> tuple[float, ...]:
        """Return widths (mm) that break no word: names on one line, headings between words."""
        self.set_font(FONT, "B", size)
        rows = [row for row in (table.headings, *table.rows) if row]
        needed = []
        for column, cells in enumerate(zip(*rows, strict=True)):
            pieces = cells if column == 0 else [word for cell in cells for word in cell.split()]
            needed.append(PADDING + max(map(self.get_string_width, pieces), default=0.0))
        needed[0] = min(needed[0], self.epw / 2)
        room = max(0.0, self.epw - sum(needed)) / len(needed)
        return tuple(width + room for width in needed)

    def show(self, table: Table) -> None:
        """Write a table; numbers to the right unless it holds text."""
        if not table.rows:
            return
        n_columns = len(table.rows[0])
        align = ("LEFT",) * n_columns if table.text else ("LEFT",) + ("RIGHT",) * (n_columns - 1)
        size, fitting = (TABLE_SIZES[0], table.widths) if table.widths else self._sized(table)
        self.set_font(FONT, size=size)
        head = FontFace(emphasis="BOLD", color=INK)
        with self.table(
            headings_style=head,
            line_height=4.6,
            text_align=align,
            borders_layout="HORIZONTAL_LINES",
            col_widths=fitting,
            padding=0.6,
            first_row_as_headings=bool(table.headings),
        ) as layout:
            if table.headings:
                layout.row(table.headings)
            for index, cells in enumerate(table.rows):
                bold = FontFace(emphasis="BOLD") if index in table.emphasised else None
                row = layout.row(style=bold)
                for column, text_ in enumerate(cells):
                    shade = table.shades.get((index, column), 0)
                    filled = FontFace(fill_color=SHADE_COLORS[shade - 1]) if shade else bold
                    row.cell(text_, style=filled)
        self.ln(1)
        if table.note:
            self.paragraph(table.note, size=7.5, soft=True)


def _aspect(png: bytes) -> float:
    """Return height over width of a PNG, from its header."""
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    return height / width


def write(content: Content, figures: list[Figure], path: Path) -> None:
    """Lay the content out and write it."""
    by_name = {figure.name: figure for figure in figures}
    document = Document()
    document.set_title(content.title)
    document.add_page()
    document.heading(content.title, size=18)
    document.paragraph(verdict.sentence(content.evidence, content.verdict), size=10.5)
    document.show(verdict.table(content.verdict))
    _bullets(document, content.findings)
    _bullets(document, [f"Note: {warning}" for warning in content.warnings])
    if FRONT in by_name:
        _section(document, content.versus, [by_name[FRONT]])
    if content.is_sweep:
        _section(document, "Families", [tables.families(content)])
    _section(document, "Ranking", [tables.ranking(content)])
    facts = [list(pair) for pair in tables.facts(content)]
    _section(document, "About this run", [Table([], facts, widths=(1, 5), text=True)])
    for section in content.sections:
        _section(document, section.heading, [_drawn(part, by_name) for part in section.parts])
    if not content.failures.empty:
        _section(document, "Failures", [tables.failures(content)])
    document.heading("How to repeat it")
    document.paragraph(tables.repeat(content), size=8, mono=True)
    document.show(tables.hypers(content))
    document.paragraph(tables.footer(), size=7.5, soft=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    document.output(str(partial))
    partial.replace(path)


Drawn = Figure | Sentences | Table


def _drawn(part: Part, figures: Mapping[str, Figure]) -> Drawn:
    return figures[part.name] if isinstance(part, Plot) else part


def _section(document: Document, title: str, parts: Sequence[Drawn]) -> None:
    """Write a heading and what stands below it; a figure that comes first stays with its heading."""
    first = parts[0]
    if isinstance(first, Figure) and document.will_page_break(
        first.width_in * MM_PER_INCH * _aspect(first.png) + 30
    ):
        document.add_page()
    document.heading(title)
    for part in parts:
        if isinstance(part, Figure):
            document.figure(part)
        elif isinstance(part, Table):
            document.show(part)
        else:
            _bullets(document, part.sentences)


def _bullets(document: Document, sentences: Sequence[str]) -> None:
    for sentence in sentences:
        document.paragraph(f"•  {sentence}")
