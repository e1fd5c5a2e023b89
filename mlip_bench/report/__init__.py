"""The report of a run: one self-contained HTML file, one PDF, and the figures.

What it is made with takes a second to import, and is imported when one is made.
"""

from pathlib import Path

from mlip_bench.results import DESCRIPTION, RESULTS

__all__ = ["HTML", "PDF", "build", "is_current"]

HTML = "report.html"
PDF = "report.pdf"
FIGURES = "figures"


def is_current(folder: Path) -> bool:
    """Tell whether the report was built after the last change of the rows and the description of the run."""
    report = folder / PDF  # written last
    if not report.is_file():
        return False
    built = report.stat().st_mtime_ns
    return all((folder / name).stat().st_mtime_ns <= built for name in (RESULTS, DESCRIPTION))


def build(folder: Path) -> list[Path]:
    """Write ``report.html``, ``report.pdf`` and ``figures/`` of a run folder from its rows."""
    from mlip_bench.report import figures, html, pdf
    from mlip_bench.report.content import read

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
