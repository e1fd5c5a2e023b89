"""Drift of energies in dynamics at constant energy.

The total energy of conservative forces does not drift. Forces that are no gradient heat or cool: their work
along the path is the change of the kinetic energy, whether there is a potential energy or not. So the slope
of the kinetic energy says of any forces what they do to the temperature, though it fluctuates far more than a
total energy; in a harmonic crystal the lattice takes as much again.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # what is said of rows is no part of a measurement
    import pandas as pd

MEV = 1e3

# A total energy that changes faster (meV/atom/ps) in NVE drifts, where that is more than so many standard
# errors of its slope.
LARGE = 1.0
STANDARD_ERRORS = 3.0

METRIC = "energy_drift"


def drift(picoseconds: np.ndarray, energies: np.ndarray) -> tuple[float, float]:
    """Return the slope of energies (eV) at times (n,), in meV/ps, and its standard error.

    By linear regression, with its residuals taken for independent; NaN of fewer than three.
    """
    if len(energies) < 3:
        return float("nan"), float("nan")
    (slope, _), covariance = np.polyfit(picoseconds, energies, 1, cov=True)
    return MEV * float(slope), MEV * float(np.sqrt(covariance[0, 0]))


def cautions(rows: "pd.DataFrame") -> list[str]:
    """Return a sentence for each row of :data:`METRIC` that says that an energy drifts."""
    own = rows[rows["metric"] == METRIC]
    sure = own["value"].abs() > STANDARD_ERRORS * own["spread"].fillna(0.0)
    found = []
    for row in own[sure & (own["value"].abs() > LARGE)].itertuples():
        at = f" at {row.group}" if isinstance(row.group, str) else ""
        found.append(f"the energy of NVE dynamics{at} drifts by {row.value:+.2g} meV/atom/ps")
    return found
