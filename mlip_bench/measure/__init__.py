"""Measurements of fitted potentials; each is one file."""

from ase import Atoms

from mlip_bench.measure import cost, defects, direct, elastic, eos, errors, fit, phonons, scaling, stability
from mlip_bench.measure.base import Found, Measure, Metric, Subject, Value
from mlip_bench.potentials.base import Potential, silent
from mlip_bench.results import BY_GROUP

__all__ = [
    "BY_GROUP",
    "FIT_METRICS",
    "MEASURES",
    "PROPERTIES",
    "Measure",
    "Metric",
    "Subject",
    "Value",
    "metric",
    "property_of",
]

FIT_METRICS = fit.METRICS

MODULES = (errors, cost, scaling, stability, direct, phonons, elastic, eos, defects)
MEASURES = {module.MEASURE.name: module.MEASURE for module in MODULES}

# Properties of a crystal, which a reference from first principles can have, too.
PROPERTIES = {
    "eos": eos.compute,
    "elastic": elastic.compute,
    "phonons": phonons.compute,
    "defects": defects.compute,
}


def property_of(potential: Potential, name: str, atoms: Atoms) -> Found:
    """Return a property of a crystal by a potential, as a run measures it."""
    settings = {"symmetrised": potential.conservative} if name == phonons.MEASURE.name else {}
    return PROPERTIES[name](atoms, potential.calculator(), silent, **settings)


def metric(measure: str, name: str) -> Metric:
    """Return the declaration of a metric; ``errors-by-group`` shares those of ``errors``."""
    measure = measure.removesuffix(BY_GROUP)
    return FIT_METRICS[name] if measure == "fit" else MEASURES[measure].metrics[name]
