"""Drift of energies in dynamics at constant energy.

The total energy of conservative forces does not drift. Forces that are no gradient heat or cool: their work
along the path is the change of the kinetic energy, whether there is a potential energy or not. So the slope
of the kinetic energy says of any forces what they do to the temperature, though it fluctuates far more than a
total energy; in a harmonic crystal the lattice takes as much again.
"""

import numpy as np

MEV = 1e3


def drift(picoseconds: np.ndarray, energies: np.ndarray) -> tuple[float, float]:
    """Return the slope of energies (eV) at times (n,), in meV/ps, and its standard error.

    By linear regression, with its residuals taken for independent; NaN of fewer than three.
    """
    if len(energies) < 3:
        return float("nan"), float("nan")
    (slope, _), covariance = np.polyfit(picoseconds, energies, 1, cov=True)
    return MEV * float(slope), MEV * float(np.sqrt(covariance[0, 0]))
