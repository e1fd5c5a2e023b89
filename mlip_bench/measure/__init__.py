"""Measurements of fitted potentials; each is one folder, with its section of the report."""

from collections.abc import Callable

from ase import Atoms

from mlip_bench.measure import (
    conductivity,
    cost,
    defects,
    direct,
    elastic,
    eos,
    errors,
    fit,
    held_out,
    learning,
    phonons,
    physicality,
    scaling,
    stability,
)
from mlip_bench.measure.base import Found, Measure, Metric, Options, Reported, Subject, Value
from mlip_bench.potentials.base import Potential, Progress, silent
from mlip_bench.results import BY_GROUP
from mlip_bench.section.parts import Axis

__all__ = [
    "BY_GROUP",
    "BY_NAME",
    "FROM_DYNAMICS",
    "MEASURES",
    "PROPERTIES",
    "Measure",
    "Metric",
    "Reported",
    "Subject",
    "Value",
    "cost_axes",
    "error_axes",
    "metric",
    "property_of",
    "reported",
]

# What is told of beside the measures: rows that other tasks leave.
OTHERS = {one.name: one for one in (fit.REPORTED, learning.REPORTED)}

MODULES = (
    errors,
    held_out,
    cost,
    scaling,
    stability,
    direct,
    phonons,
    elastic,
    eos,
    defects,
    physicality,
    conductivity,
)
MEASURES = {module.MEASURE.name: module.MEASURE for module in MODULES}

# Properties of a crystal, which a reference from first principles can have, too.
PROPERTIES: dict[str, Callable[..., Found]] = {
    "eos": eos.compute,
    "elastic": elastic.compute,
    "phonons": phonons.compute,
    "defects": defects.compute,
}


# Measured of a structure where they are asked for by name: they take long dynamics, or are no property of it.
BY_NAME: dict[str, Callable[[Potential, Atoms, Options, Progress], Found]] = {
    physicality.MEASURE.name: physicality.compute,
    conductivity.MEASURE.name: conductivity.compute,
}


def reported() -> list[Reported]:
    """Return all that a report tells of: the fit, every registered measure, and learning curves."""
    return [fit.REPORTED, *MEASURES.values(), learning.REPORTED]


def error_axes() -> tuple[Axis, ...]:
    """Return the errors that potentials are ranked by, the first before all."""
    return tuple(axis for one in reported() for axis in one.errors)


def cost_axes() -> tuple[Axis, ...]:
    """Return what potentials are paid with; the first decides the front."""
    return tuple(axis for one in reported() for axis in one.costs)


def property_of(potential: Potential, name: str, atoms: Atoms) -> Found:
    """Return a property of a crystal by a potential, as a run measures it."""
    settings = {"symmetrised": potential.conservative} if name == phonons.MEASURE.name else {}
    return PROPERTIES[name](atoms, potential.calculator(), silent, **settings)


def metric(measure: str, name: str) -> Metric:
    """Return the declaration of a metric; ``errors-by-group`` shares those of ``errors``."""
    measure = measure.removesuffix(BY_GROUP)
    return (OTHERS if measure in OTHERS else MEASURES)[measure].metrics[name]
