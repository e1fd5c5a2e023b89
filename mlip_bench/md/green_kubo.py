"""Thermal conductivity from the heat flux of dynamics at equilibrium (Green and Kubo).

    κ_ab = 1 / (V k_B T²) ∫_0^∞ <J_a(t) J_b(0)> dt

J is extensive, as ``heat_flux`` of a potential gives it. Half the spectrum of J at zero frequency is that
integral, so three estimates stand side by side: cepstral analysis (:mod:`mlip_bench.md.cepstral`, the one
that is quoted), a fit of the spectrum by STACIE, and the running integral itself, which shows what both see.

For a solid, and a fluid of one element. In a fluid of several elements heat and matter flow together, and
this is the conductivity without that correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from ase import units
from scipy.integrate import cumulative_trapezoid

from mlip_bench.errors import UserError
from mlip_bench.md.cepstral import SMALLEST_WINDOW, ZeroFrequency, at_zero_frequency, unbiased_log

# One eV/(Å fs K) in W/(m K).
WATT_PER_METRE_KELVIN = units._e / (1e-10 * 1e-15)

# One per femtosecond in THz.
TERAHERTZ = 1e3

# Fewest samples of a series: two of the smallest windows, and the frequencies on both sides of zero.
FEWEST_SAMPLES = 4 * SMALLEST_WINDOW + 2

# The running integral goes as far as this share of a series: beyond, few pairs of times are left.
LONGEST_LAG = 0.1

# The spectrum must have come to its level at zero within the series: the mean logarithm of the first two
# ordinates may stand this far above that of the fifth to eighth, or this many standard errors.
LARGEST_RISE = 1.5
RISE_IN_ERRORS = 3.5


class FluxUnusable(UserError):
    """A series of heat fluxes from which no conductivity follows; the message says why."""


@dataclass(frozen=True)
class FluxSeries:
    """Heat fluxes of independent runs of one system.

    Parameters
    ----------
    flux : (n_runs, n_samples, 3) in eV Å/fs, extensive; a constant part does not matter.
    interval : time between two samples (fs).
    volume : of the cell (Å³).
    temperature : mean of the runs (K).

    Raises :class:`FluxUnusable` for what cannot be right: NaN, no volume, too few samples, no motion.
    """

    flux: np.ndarray
    interval: float
    volume: float
    temperature: float

    def __post_init__(self) -> None:
        """Refuse what cannot be right."""
        if self.flux.ndim != 3 or self.flux.shape[0] == 0 or self.flux.shape[2] != 3:
            raise FluxUnusable(f"heat fluxes are (runs, samples, 3), these are {self.flux.shape}")
        for name, value, unit in (
            ("volume", self.volume, "Å³"),
            ("temperature", self.temperature, "K"),
            ("time between samples", self.interval, "fs"),
        ):
            if not (np.isfinite(value) and value > 0):
                raise FluxUnusable(f"the {name} of the heat fluxes is {value:g} {unit}, not above zero")
        if not np.isfinite(self.flux).all():
            run, sample, axis = np.argwhere(~np.isfinite(self.flux))[0]
            raise FluxUnusable(
                f"the heat flux along {'xyz'[axis]} of run {run} is {self.flux[run, sample, axis]} "
                f"at sample {sample}"
            )
        if self.flux.shape[1] < FEWEST_SAMPLES:
            raise FluxUnusable(
                f"the heat flux has {self.flux.shape[1]} samples a run, fewer than {FEWEST_SAMPLES}: "
                "run longer, or sample more often"
            )
        still = np.ptp(self.flux, axis=1) == 0
        if still.any():
            run, axis = np.argwhere(still)[0]
            raise FluxUnusable(f"the heat flux along {'xyz'[axis]} of run {run} never changes")

    @classmethod
    def of(
        cls, runs: Sequence[np.ndarray], interval: float, volume: float, temperature: float
    ) -> "FluxSeries":
        """Put runs (n_samples, 3) together; the end of longer ones is left out."""
        shortest = min((len(run) for run in runs), default=0)
        flux = np.array([np.asarray(run, dtype=float)[:shortest] for run in runs])
        return cls(flux, interval, volume, temperature)

    @property
    def prefactor(self) -> float:
        """What turns ∫<JJ>dt in eV²Å²/fs into W/mK."""
        return WATT_PER_METRE_KELVIN / (self.volume * units.kB * self.temperature**2)

    @property
    def length(self) -> float:
        """The time that a run lasts (fs)."""
        return self.interval * self.flux.shape[1]

    @cached_property
    def frequencies(self) -> np.ndarray:
        """The frequencies of the spectrum (THz), without zero and the highest of an even number."""
        count = (self.flux.shape[1] - 1) // 2
        return np.arange(1, count + 1) / self.length * TERAHERTZ

    def spectrum(self, directions: np.ndarray) -> np.ndarray:
        """Return the mean periodogram (n_frequencies,) of J along directions (n, 3), as W/mK.

        Its limit at zero frequency is the conductivity along the directions. Constant parts of J drop out.
        """
        n_samples = self.flux.shape[1]
        along = np.moveaxis(self.flux @ np.asarray(directions).T, 1, -1).reshape(-1, n_samples)
        transforms = np.fft.rfft(along, axis=1)[:, 1 : len(self.frequencies) + 1]
        power = (transforms.real**2 + transforms.imag**2).mean(axis=0)
        return self.prefactor * self.interval / (2 * n_samples) * power


@dataclass(frozen=True)
class RunningIntegral:
    """The integral up to a time, mean over runs and directions, with its standard error.

    Where directions are not equivalent it comes from the scatter of the runs, and is NaN for a single one.
    """

    times: np.ndarray  # (n,) ps
    values: np.ndarray  # (n,) W/mK
    spreads: np.ndarray  # (n,) W/mK


@dataclass(frozen=True)
class Conductivity:
    """Thermal conductivity in W/mK; every spread is one standard error."""

    kappa: float
    """The mean of the three directions."""
    spread: float
    tensor: np.ndarray  # (3, 3), symmetric
    tensor_spread: np.ndarray  # (3, 3)
    by_run: np.ndarray  # (n_runs,) what each run alone gives
    cut: float
    """The frequency (THz) up to which the window of largest weight goes."""
    n_coefficients: int
    """The number of cepstral coefficients in that window by Akaike's criterion."""
    frequencies: np.ndarray  # (n,) THz
    spectrum: np.ndarray  # (n,) W/mK, mean over runs and directions
    at_highest_frequency: float
    """The mean spectrum over the highest tenth of the frequencies, as a share of κ: where it is not small,
    the samples are too far apart."""
    integral: RunningIntegral

    @property
    def spread_of_runs(self) -> float:
        """The standard error of κ by the scatter of the runs alone; NaN for one run.

        It needs no theory of the noise, and is larger than ``spread`` where runs differ by more than noise.
        """
        n_runs = len(self.by_run)
        return float(self.by_run.std(ddof=1) / np.sqrt(n_runs)) if n_runs > 1 else float("nan")


def conductivity(series: FluxSeries, isotropic: bool) -> Conductivity:
    """Return the thermal conductivity by cepstral analysis, and what shows how far it can be trusted.

    ``isotropic`` says that the three directions are equivalent (a cubic crystal, a liquid, a glass): then
    their spectra are averaged first, which gives the smallest error. Raises :class:`FluxUnusable` where the
    series ends before the slowest motion has passed.
    """
    everywhere = series.spectrum(np.eye(3))
    n_runs = len(series.flux)
    _require_a_level_at_zero(series, everywhere, n_runs * (3 if isotropic else 1))
    tensor, tensor_spread = _tensor(series)
    mean = at_zero_frequency(everywhere, 3 * n_runs)
    kappa, spread = mean.value, mean.spread
    if not isotropic:
        kappa = float(np.trace(tensor) / 3)
        spread = float(np.linalg.norm(np.diag(tensor_spread)) / 3)
    window = mean.main_window
    return Conductivity(
        kappa=kappa,
        spread=spread,
        tensor=tensor,
        tensor_spread=tensor_spread,
        by_run=_by_run(series, isotropic),
        cut=float(series.frequencies[window.n_ordinates - 1]),
        n_coefficients=window.n_coefficients,
        frequencies=series.frequencies,
        spectrum=everywhere,
        at_highest_frequency=float(everywhere[-(len(everywhere) // 10) :].mean() / kappa),
        integral=running_integral(series, isotropic),
    )


def running_integral(series: FluxSeries, isotropic: bool) -> RunningIntegral:
    """Return the Green-Kubo integral up to a tenth of the length of the runs.

    Only where directions are equivalent (``isotropic``) do they scatter by noise alone.
    """
    n_samples = series.flux.shape[1]
    n_lags = max(2, int(LONGEST_LAG * n_samples))
    centred = series.flux - series.flux.mean(axis=1, keepdims=True)
    transforms = np.fft.rfft(centred, n=n_samples + n_lags, axis=1)
    power = transforms.real**2 + transforms.imag**2
    pairs = np.arange(n_samples, n_samples - n_lags, -1)[:, None]
    correlation = np.fft.irfft(power, n=n_samples + n_lags, axis=1)[:, :n_lags] / pairs
    step = series.interval * series.prefactor
    integrals = cumulative_trapezoid(correlation, dx=step, axis=1, initial=0.0)
    each = np.moveaxis(integrals, 1, -1).reshape(-1, n_lags) if isotropic else integrals.mean(axis=2)
    scatter = each.std(axis=0, ddof=1) if len(each) > 1 else np.full(n_lags, np.nan)
    return RunningIntegral(
        times=np.arange(n_lags) * series.interval / TERAHERTZ,
        values=each.mean(axis=0),
        spreads=scatter / np.sqrt(len(each)),
    )


def _along(series: FluxSeries, directions: np.ndarray) -> ZeroFrequency:
    return at_zero_frequency(series.spectrum(directions), len(series.flux) * len(directions))


def _tensor(series: FluxSeries) -> tuple[np.ndarray, np.ndarray]:
    """Return the tensor and its standard errors (3, 3).

    Off the diagonal, κ_ab is half the difference of the conductivities along (a + b)/√2 and (a - b)/√2,
    of which the noise is independent as far as κ_aa = κ_bb.
    """
    tensor, spread = np.zeros((3, 3)), np.zeros((3, 3))
    for a in range(3):
        along = _along(series, np.eye(3)[[a]])
        tensor[a, a], spread[a, a] = along.value, along.spread
    for a, b in combinations(range(3), 2):
        plus, minus = (
            _along(series, (np.eye(3)[[a]] + sign * np.eye(3)[[b]]) / np.sqrt(2)) for sign in (1, -1)
        )
        tensor[a, b] = tensor[b, a] = (plus.value - minus.value) / 2
        spread[a, b] = spread[b, a] = np.hypot(plus.spread, minus.spread) / 2
    return tensor, spread


def _by_run(series: FluxSeries, isotropic: bool) -> np.ndarray:
    """Return the mean conductivity of the three directions of each run alone (n_runs,).

    The logarithm of a mean of spectra is corrected for so many that are alike: others are taken one by one.
    """
    groups = [np.eye(3)] if isotropic else [np.eye(3)[[axis]] for axis in range(3)]
    runs = (
        FluxSeries(flux[None], series.interval, series.volume, series.temperature) for flux in series.flux
    )
    return np.array([np.mean([_along(run, directions).value for directions in groups]) for run in runs])


def _require_a_level_at_zero(series: FluxSeries, spectrum: np.ndarray, n_independent: int) -> None:
    """Refuse a spectrum that still rises at the lowest frequencies that the length of a run allows."""
    logarithms, variance = unbiased_log(spectrum, n_independent)
    rise = logarithms[:2].mean() - logarithms[4:8].mean()
    error = np.sqrt(variance * (1 / 2 + 1 / 4))
    if rise > max(LARGEST_RISE, RISE_IN_ERRORS * error):
        raise FluxUnusable(
            f"runs of {series.length / TERAHERTZ:g} ps are too short for the slowest motion of the heat "
            f"flux: its spectrum still rises by a factor {np.exp(rise):.0f} between "
            f"{series.frequencies[5]:.2g} and {series.frequencies[0]:.2g} THz; run longer"
        )
