"""The report as one HTML file that opens offline."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from mlip_bench.report import page, tables, verdict
from mlip_bench.report.content import Content
from mlip_bench.report.figures import FRONT
from mlip_bench.results import write_atomically
from mlip_bench.section.drawing import Figure
from mlip_bench.section.parts import SHADE_COLORS, Plot, Table

TEMPLATE = "report.html.jinja"

# The parts of the page's script, in the order in which they need each other.
SCRIPTS = ("state.js", "chart.js", "potential.js", "verdict.js", "front.js", "tables.js", "page.js")


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
    assert environment.loader is not None
    scripts = [environment.loader.get_source(environment, name)[0] for name in SCRIPTS]
    families = sorted(content.ranking["family"].unique())
    text = environment.get_template(TEMPLATE).render(
        content=content,
        tables=tables,
        verdict=verdict,
        page=page.of(content),
        script=Markup("\n".join(scripts)),
        shades=SHADE_COLORS,
        front=FRONT,
        families=families,
        colors={family: content.evidence.color(family) for family in families},
        figures={figure.name: figure for figure in figures},
    )
    write_atomically(path, text)
