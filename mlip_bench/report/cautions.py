"""What must be said of a potential before anybody takes it: dynamics that exploded or drift, and worse."""

from mlip_bench.measure import reported
from mlip_bench.potentials import family, family_names
from mlip_bench.section.evidence import Evidence


def of(evidence: Evidence, potential: str) -> list[str]:
    """Return what speaks against a potential; nothing where nothing was found or measured."""
    found = [said for one in reported() for said in one.cautions(evidence, potential)]
    return [*found, *_on_direct_forces(evidence, potential)]


def _on_direct_forces(evidence: Evidence, potential: str) -> list[str]:
    name = evidence.ranking.at[potential, "family"]
    if name not in family_names() or family(name).conservative:
        return []
    return ["forces are predicted directly and are no gradient, so dynamics do not conserve energy"]
