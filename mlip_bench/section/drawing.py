"""How figures are drawn: points with tooltips, axes, and SVG that a page can work with."""

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from mlip_bench.section.parts import Plot, Table

# Errors that differ by more than this are drawn on a logarithmic axis.
WIDE_RANGE = 5.0

RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E7EB",
    "legend.frameon": False,
    "svg.fonttype": "path",
    # Names of groups and potentials are the user's: a dollar sign is a dollar sign.
    "text.parse_math": False,
}

PRINT_DPI = 200

Side: TypeAlias = Literal["left", "center", "right"]

# Where a name may stand beside its point (points), and how it is aligned there: the first that is free.
SIDES: tuple[tuple[int, float, Side], ...] = ((1, 7.0, "left"), (-1, 7.0, "right"), (1, 0.0, "center"))
PLACES: tuple[tuple[tuple[float, float], Side], ...] = tuple(
    ((side * away, up), align)
    for up in (3.0, -9.0, 13.0, -19.0, 23.0)
    for side, away, align in SIDES
    if away or abs(up) > 8
)

# Half the width of a marker (pixels).
HALF_MARKER = 5.0

SVG = "http://www.w3.org/2000/svg"

Floats: TypeAlias = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Figure:
    """One drawn figure."""

    name: str
    caption: str
    svg: str
    png: bytes
    width_in: float
    data: Table | None = None
    """The numbers that it shows, where no table of the report has them."""


@dataclass
class Sketch:
    """A figure being drawn: its canvas and the tooltips of its points."""

    name: str
    canvas: Canvas
    tips: dict[str, list[str]] = field(default_factory=dict)
    """Of each artist with an identifier, those of its markers in order."""
    families: dict[str, str] = field(default_factory=dict)
    """The family that what has an identifier belongs to: a page can switch it off."""

    def point(self, axes: Axes, x: float, y: float, tip: str, family: str = "", **style: Any) -> None:
        """Draw one marker that shows ``tip`` under the pointer."""
        self.points(axes, [x], [y], [tip], family, **style)

    def points(
        self, axes: Axes, x: Floats, y: Floats, tips: Sequence[str], family: str = "", **style: Any
    ) -> None:
        """Draw markers that look the same, each of which shows its tip under the pointer, if it has any."""
        (markers,) = axes.plot(x, y, linestyle="none", **style)
        self.tips[self.own(markers, family)] = list(tips)

    def segments(
        self, axes: Axes, x: tuple[Floats, Floats], y: tuple[Floats, Floats], family: str = "", **style: Any
    ) -> None:
        """Draw lines from the first x and y to the second ones, as one path."""
        gaps = np.full(len(x[0]), np.nan)
        (lines,) = axes.plot(*(np.stack([*ends, gaps], axis=1).ravel() for ends in (x, y)), **style)
        self.own(lines, family)

    def own(self, artist: Artist, family: str) -> str:
        """Mark what was drawn as a family's; return its identifier."""
        identifier = f"{self.name}-{len(self.families)}"
        artist.set_gid(identifier)
        self.families[identifier] = family
        return identifier


def new_sketch(name: str, width: float, height: float) -> Sketch:
    """Return an empty figure of a size in inches."""
    return Sketch(name, Canvas(figsize=(width, height), layout="constrained"))


def scales(axes: Axes, x: Iterable[float], y: Iterable[float]) -> None:
    """Make x logarithmic, and y where errors differ much; leave room around the points for their labels."""
    xs, ys = (values[np.isfinite(values)] for values in (np.array(list(x), float), np.array(list(y), float)))
    if not (len(xs) and len(ys)):
        return
    axes.set_xscale("log")
    axes.set_xlim(xs.min() / 1.6, xs.max() * 2.2)
    plain_numbers(axes.xaxis, np.log10(xs.max() * 2.2 / (xs.min() / 1.6)))
    if ys.min() > 0 and ys.max() > WIDE_RANGE * ys.min():
        axes.set_yscale("log")
        axes.set_ylim(ys.min() / 1.4, ys.max() * 1.5)
        plain_numbers(axes.yaxis, np.log10(ys.max() * 1.5 / (ys.min() / 1.4)))
    else:
        axes.set_ylim(0, ys.max() * 1.2)


def plain_numbers(axis: Axis, decades: float) -> None:
    """Write 1, 2, 5, 10 instead of powers of ten."""
    steps = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def label_points(
    sketch: Sketch, axes: Axes, names: Iterable[Any], x: Iterable[float], y: Iterable[float]
) -> None:
    """Write each name beside its point, where it covers least of points, of other names and of the edge."""
    points = [(str(name), (float(a), float(b))) for name, a, b in zip(names, x, y, strict=True)]
    sketch.canvas.draw_without_rendering()  # places the axes
    middles = [axes.transData.transform(at) for _, at in points]
    taken = [Bbox([middle - HALF_MARKER, middle + HALF_MARKER]) for middle in middles]
    for name, at in points:
        text = axes.annotate(name, at, xytext=(0, 0), textcoords="offset points", fontsize=8.5)
        covered = []
        for place in PLACES:
            _put(text, *place)
            box = text.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            covered.append(box.count_overlaps(taken) + (not inside))
        _put(text, *PLACES[int(np.argmin(covered))])
        taken.append(text.get_window_extent())


def _put(text: Annotation, offset: tuple[float, float], side: Side) -> None:
    text.set_position(offset)
    text.set_horizontalalignment(side)


def drawn(plot: Plot) -> Figure:
    """Draw a figure and return it as SVG and PNG."""
    svg, png = io.StringIO(), io.BytesIO()
    with mpl.rc_context(RC | {"svg.hashsalt": plot.name}):
        sketch = plot.draw()
        sketch.canvas.savefig(svg, format="svg", dpi=PRINT_DPI, metadata={"Date": None})
        sketch.canvas.set_layout_engine("none")  # everything has its place now
        sketch.canvas.savefig(png, format="png", dpi=PRINT_DPI)
    width = float(sketch.canvas.get_figwidth())
    page = _with_tips(svg.getvalue(), sketch)
    return Figure(plot.name, plot.caption, page, png.getvalue(), width, plot.data)


def _tell(markers: ElementTree.Element, tips: Sequence[str]) -> None:
    """Give the markers of an artist their tooltips; what all of them look like is said once."""
    drawn = list(markers.iter(f"{{{SVG}}}use"))
    if not drawn or len(drawn) != len(tips):
        return  # there are none, or some lie outside the figure
    markers.set("style", drawn[0].get("style", ""))
    for marker, tip in zip(drawn, tips, strict=True):
        marker.attrib.pop("style", None)
        for axis in "xy":
            marker.set(axis, f"{float(marker.get(axis, 0)):.2f}")
        if tip:
            marker.set("class", "point")
            ElementTree.SubElement(marker, f"{{{SVG}}}title").text = tip


def _with_tips(svg: str, sketch: Sketch) -> str:
    """Give each point its tooltip, and make identifiers unique among the figures of one page."""
    for prefix, uri in (("", SVG), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        identifier = element.get("id", "")
        if sketch.families.get(identifier):
            element.set("data-family", sketch.families[identifier])
        if identifier in sketch.tips:
            _tell(element, sketch.tips[identifier])
    root.set("role", "img")
    root.set("width", "100%")
    root.attrib.pop("height", None)
    root.set("aria-label", sketch.name)
    text = ElementTree.tostring(root, encoding="unicode")
    for kind in ('id="', 'href="#', "url(#"):
        text = text.replace(kind, f"{kind}{sketch.name}_")
    return text.replace(f'id="{sketch.name}_{sketch.name}-', f'id="{sketch.name}-')
