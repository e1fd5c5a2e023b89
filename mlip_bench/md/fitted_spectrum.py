"""The second opinion on a conductivity: STACIE fits a model to the spectrum of the heat flux near zero.

Toraman, Fauconnier and Verstraelen, doi:10.1021/acs.jcim.5c01475. The model is the ratio of polynomials of
the second degree in the frequency, (p₀ + p₂f²)/(1 + q₂f²): a Lorentz peak, or a dip, upon a constant.
"""

from dataclasses import dataclass

import numpy as np
from stacie import PadeModel, compute_spectrum, estimate_acint

from mlip_bench.md.green_kubo import TERAHERTZ, FluxSeries


@dataclass(frozen=True)
class FittedConductivity:
    """A conductivity by STACIE with its standard error, in W/mK, and the cut of its fit in THz."""

    kappa: float
    spread: float
    cut: float
    failure: str = ""
    """Why STACIE found no fit; the numbers are NaN then."""


def fitted_conductivity(series: FluxSeries, isotropic: bool) -> FittedConductivity:
    """Return the conductivity, mean of the three directions, as STACIE estimates it from the same series.

    ``isotropic`` says that the three directions are equivalent; otherwise each is fitted by itself.
    """
    groups = [[0, 1, 2]] if isotropic else [[0], [1], [2]]
    fits = [_fit(series, axes) for axes in groups]
    return FittedConductivity(
        kappa=float(np.mean([fit.kappa for fit in fits])),
        spread=float(np.linalg.norm([fit.spread for fit in fits]) / len(fits)),
        cut=float(np.mean([fit.cut for fit in fits])),
        failure="; ".join(fit.failure for fit in fits if fit.failure),
    )


def _fit(series: FluxSeries, axes: list[int]) -> FittedConductivity:
    sequences = np.moveaxis(series.flux[:, :, axes], 1, -1).reshape(-1, series.flux.shape[1])
    spectrum = compute_spectrum(
        sequences, prefactors=series.prefactor, timestep=series.interval, include_zero_freq=False
    )
    try:
        found = estimate_acint(spectrum, PadeModel([0, 2], [2]))
    except (ValueError, FloatingPointError) as error:
        return FittedConductivity(np.nan, np.nan, np.nan, f"STACIE: {error}")
    return FittedConductivity(float(found.acint), float(found.acint_std), float(found.fcut) * TERAHERTZ)
