"""The equation of state in the report: rows of the table of properties, and E(V) of all potentials."""

from mlip_bench.measure import properties
from mlip_bench.measure.eos import MEASURE
from mlip_bench.section.drawing import Sketch, new_sketch
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Chart, Line, Plot, Section, Term

# What a name takes beside the figure (inches).
NAME_HEIGHT = 0.25

# A structure that is lower than the crystal by less (meV/atom) may be as good.
LOWER = 10.0


def sections(evidence: Evidence) -> list[Section]:
    """Return the rows and the figure, where they were measured."""
    caption = "Energy over volume, above the minimum of each curve."
    plots = [Plot("eos", caption, lambda: _draw(evidence))] if evidence.curves(MEASURE.name) else []
    return properties.sections(evidence, MEASURE, plots, place=40)


def terms(evidence: Evidence) -> list[Term]:
    """Return the mean deviation from first principles."""
    return [properties.term(evidence, MEASURE, "equation of state")]


def cautions(evidence: Evidence, potential: str) -> list[str]:
    """Say which structures a potential puts well below the crystal, which then would not last."""
    rows = evidence.by_group(MEASURE.name)
    rows = rows[(rows["potential"] == potential) & (rows["metric"] == "structure_energy")]
    found = rows.groupby("group", sort=False)["value"].mean()
    return [
        f"by it {structure} lies {-energy:.0f} meV/atom below the crystal"
        for structure, energy in found.items()
        if energy < -LOWER
    ]


def charts(evidence: Evidence, name: str) -> list[Chart]:
    """Return energy over volume of one potential, beside first principles."""
    curves = properties.with_reference(evidence, MEASURE.name)
    if name not in curves or name == properties.REFERENCE:
        return []
    lines = [
        Line(one["volume"], 1e3 * (one["energy"] - one["minimum"][1]), grey=whose == properties.REFERENCE)
        for whose, one in curves.items()
        if whose in (properties.REFERENCE, name)
    ]
    labels = "volume (Å³/atom)", "energy above the minimum (meV/atom)"
    return [Chart("Energy over volume", *labels, lines=lines, note=properties.on_grey(curves))]


def _draw(evidence: Evidence) -> Sketch:
    """Draw energy over volume of all potentials, each from its own minimum of energy."""
    every = properties.with_reference(evidence, MEASURE.name)
    sketch = new_sketch("eos", 7.4, max(3.4, NAME_HEIGHT * len(every)))
    axes = sketch.canvas.subplots()
    for name, curves in every.items():
        energies = 1e3 * (curves["energy"] - curves["minimum"][1])
        axes.plot(curves["volume"], energies, label=name, marker=".", **properties.line(evidence, name))
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy above the minimum (meV/atom)")
    sketch.canvas.legend(loc="outside right center")
    return sketch
