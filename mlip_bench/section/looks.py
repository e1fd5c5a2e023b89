"""One colour and one marker per family everywhere.

A family declares its own in ``Potential.look``; one that declares none, or a colour that another has, takes
the next that is left, in alphabetical order, so that it is the same in every report of an installation.
"""

from collections.abc import Iterable, Mapping

from mlip_bench.potentials import family, family_names

Look = tuple[str, str]
"""Colour and marker of matplotlib."""

# What is no family's: references, and lines that carry no number.
GREY = "#7B8794"
INK = "#1F2933"
GUIDE = "#9AA5B1"

# P. Tol, "Colour schemes", SRON/EPS/TN/09-002 (2021), scheme "muted", without those near the colours of
# Okabe and Ito that families declare: told apart by colour-blind readers.
SPARE_COLORS = ("#332288", "#999933", "#882255", "#44AA99", "#661100", "#AA4499", "#DDCC77", "#117733")
SPARE_MARKERS = ("<", ">", "p", "h", "*", "d", "H", "8")


def looks(families: Iterable[str] = ()) -> Mapping[str, Look]:
    """Return the looks of all registered families, and of ``families`` that are not registered here."""
    registered = family_names()
    declared: dict[str, Look] = {}
    for name in registered:
        # What is inherited is another family's.
        look = vars(family(name)).get("look")
        if look is not None and look[0] not in [color for color, _ in declared.values()]:
            declared[name] = look
    others = sorted(set(registered) - set(declared)) + sorted(set(families) - set(registered))
    used = {color for color, _ in declared.values()}
    colors = [color for color in SPARE_COLORS if color not in used]
    return declared | {name: _spare(place, colors) for place, name in enumerate(others)}


def _spare(place: int, colors: list[str]) -> Look:
    """Return colour and marker of the ``place``-th family without its own: no pair occurs twice."""
    turn, index = divmod(place, len(colors))
    return colors[index], SPARE_MARKERS[(index + turn) % len(SPARE_MARKERS)]
