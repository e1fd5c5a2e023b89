"""What must be said of a potential before anybody takes it: dynamics that exploded or drift, and worse."""

import pandas as pd

from mlip_bench.measure import direct, physicality, stability
from mlip_bench.potentials import family, family_names
from mlip_bench.section.evidence import Evidence

# A total energy that changes faster (meV/atom/ps) in NVE drifts, where that is more than so many standard
# errors of its slope.
DRIFT = 1.0
STANDARD_ERRORS = 3.0


def of(evidence: Evidence, potential: str) -> list[str]:
    """Return what speaks against a potential, worst first; nothing where nothing was found or measured."""
    return [
        *_on_explosions(evidence, potential),
        *_on_direct_forces(evidence, potential),
        *_on_drift(evidence, potential),
        *_on_physicality(evidence, potential),
    ]


def _on_explosions(evidence: Evidence, potential: str) -> list[str]:
    rows = evidence.by_group(stability.MEASURE.name)
    rows = rows[rows["potential"] == potential]
    values = rows.pivot_table(index="group", columns="metric", values="value", sort=False)
    if "exploded" not in values:
        return []
    return [
        f"dynamics exploded at {group} after {row['held_ps']:.3g} ps"
        for group, row in values[values["exploded"] > 0].iterrows()
    ]


def _on_direct_forces(evidence: Evidence, potential: str) -> list[str]:
    name = evidence.ranking.at[potential, "family"]
    if name not in family_names() or family(name).conservative:
        return []
    return ["forces are predicted directly and are no gradient, so dynamics do not conserve energy"]


def _on_drift(evidence: Evidence, potential: str) -> list[str]:
    rows = evidence.rows[(evidence.rows["metric"] == "energy_drift")]
    rows = rows[rows["potential"] == potential]
    found = []
    for name in (stability.MEASURE.name, direct.MEASURE.name):
        own = rows[rows["measure"].str.startswith(name)]
        sure = own["value"].abs() > STANDARD_ERRORS * own["spread"].fillna(0.0)
        for row in own[sure & (own["value"].abs() > DRIFT)].itertuples():
            at = f" at {row.group}" if pd.notna(row.group) else ""
            found.append(f"the energy of NVE dynamics{at} drifts by {row.value:+.2g} meV/atom/ps")
    return found


def _on_physicality(evidence: Evidence, potential: str) -> list[str]:
    rows = evidence.of(physicality.MEASURE.name)
    rows = rows[(rows["potential"] == potential) & (rows["metric"] == "unphysical") & rows["note"].notna()]
    return list(dict.fromkeys(rows["note"]))
