"""The report as one HTML file that opens offline."""

from pathlib import Path

import jinja2

from mlip_bench.report import tables
from mlip_bench.report.content import Content
from mlip_bench.report.figures import FRONT
from mlip_bench.results import write_atomically
from mlip_bench.section.drawing import Figure
from mlip_bench.section.parts import SHADE_COLORS, Plot, Table

TEMPLATE = "report.html.jinja"


def write(content: Content, figures: list[Figure], path: Path) -> None:
    """Lay the content out and write it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlip_bench.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.tests |= {
        "plot": lambda part: isinstance(part, Plot),
        "table": lambda part: isinstance(part, Table),
    }
    families = sorted(content.ranking["family"].unique())
    text = environment.get_template(TEMPLATE).render(
        content=content,
        tables=tables,
        shades=SHADE_COLORS,
        front=FRONT,
        families=families,
        colors={family: content.evidence.color(family) for family in families},
        figures={figure.name: figure for figure in figures},
    )
    write_atomically(path, text)
