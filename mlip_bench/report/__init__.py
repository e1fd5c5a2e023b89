"""The report of a run: one self-contained HTML file, one PDF, and the figures.

What it is made with takes a second to import, and is imported when one is made.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from mlip_bench.results import DESCRIPTION, RESULTS

if TYPE_CHECKING:
    from mlip_bench.report.content import Content
    from mlip_bench.report.profiles import Profile

__all__ = ["HTML", "PDF", "build", "is_current", "write"]

HTML = "report.html"
PDF = "report.pdf"
FIGURES = "figures"


def is_current(folder: Path) -> bool:
    """Tell whether the report was built after the last change of the rows and the description of the run."""
    report = folder / PDF  # written last
    if not (report.is_file() and (folder / HTML).is_file()):
        return False
    built = report.stat().st_mtime_ns
    return all((folder / name).stat().st_mtime_ns <= built for name in (RESULTS, DESCRIPTION))


def build(folder: Path, profile: "Profile | None" = None) -> list[Path]:
    """Write ``report.html``, ``report.pdf`` and ``figures/`` of a run folder from its rows.

    The verdict is that of ``profile``, or of the default one.
    """
    from mlip_bench.report.content import read

    return write(read(folder, profile), folder)


def write(content: "Content", folder: Path) -> list[Path]:
    """Write the report of what was read into a folder."""
    from mlip_bench.report import figures, html, pdf

    drawn = figures.draw(content)
    figures_folder = folder / FIGURES
    figures_folder.mkdir(exist_ok=True)
    for figure in drawn:
        (figures_folder / f"{figure.name}.svg").write_text(figure.svg)
        (figures_folder / f"{figure.name}.png").write_bytes(figure.png)
    html.write(content, drawn, folder / HTML)
    pdf.write(content, drawn, folder / PDF)
    return [folder / HTML, folder / PDF]
