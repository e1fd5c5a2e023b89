"""The report as one HTML file that opens offline."""

from pathlib import Path

import jinja2

from mlip_bench.report import direct, properties, scaling, tables
from mlip_bench.report.content import Content
from mlip_bench.report.drawing import Figure, style
from mlip_bench.results import write_atomically

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
    text = environment.get_template(TEMPLATE).render(
        content=content,
        tables=tables,
        direct=direct,
        scaling=scaling,
        properties=properties,
        families=sorted(content.ranking["family"].unique()),
        colors={family: style(family)["color"] for family in content.ranking["family"]},
        figures={figure.name: figure for figure in figures},
    )
    write_atomically(path, text)
