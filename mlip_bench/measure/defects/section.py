"""Defects in the report: rows of the table of properties."""

from mlip_bench.measure import properties
from mlip_bench.measure.defects import MEASURE
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Section, Term


def sections(evidence: Evidence) -> list[Section]:
    """Return the rows, where they were measured."""
    return properties.sections(evidence, MEASURE, place=43)


def terms(evidence: Evidence) -> list[Term]:
    """Return the mean deviation from first principles."""
    return [properties.term(evidence, MEASURE, "defects")]
