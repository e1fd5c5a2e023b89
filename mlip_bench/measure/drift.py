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

# Of a trajectory for the error of its slope.
BLOCKS = 10


def drift(picoseconds: np.ndarray, energies: np.ndarray) -> tuple[float, float]:
    """Return the slope of energies (eV) at times (n,), in meV/ps, and its standard error.

    By linear regression of the means of ``BLOCKS`` blocks, which are taken for independent: single values are
    not. A kinetic energy swings about its mean, and a total energy of forces that jump goes at random from
    where it was: of that the error is still four times too small. NaN of fewer than three values.
    """
    if len(energies) < 3:
        return float("nan"), float("nan")
    n_blocks = min(BLOCKS, len(energies))
    times, means = (
        np.array([block.mean() for block in np.array_split(values, n_blocks)])
        for values in (picoseconds, energies)
    )
    (slope, _), covariance = np.polyfit(times, means, 1, cov=True)
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
