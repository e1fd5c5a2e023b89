"""The report of a run: one self-contained HTML file, one PDF, and the figures."""

from pathlib import Path

from mlip_bench.report import figures, html, pdf
from mlip_bench.report.content import read

__all__ = ["HTML", "PDF", "build"]

HTML = "report.html"
PDF = "report.pdf"
FIGURES = "figures"


def build(folder: Path) -> list[Path]:
    """Write ``report.html``, ``report.pdf`` and ``figures/`` of a run folder from its rows."""
    content = read(folder)
    drawn = figures.draw(content)
    figures_folder = folder / FIGURES
    figures_folder.mkdir(exist_ok=True)
    for figure in drawn:
        (figures_folder / f"{figure.name}.svg").write_text(figure.svg)
        (figures_folder / f"{figure.name}.png").write_bytes(figure.png)
    html.write(content, drawn, folder / HTML)
    pdf.write(content, drawn, folder / PDF)
    return [folder / HTML, folder / PDF]
