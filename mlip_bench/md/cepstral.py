"""A spectrum at zero frequency by cepstral analysis, with an error that counts the choices made on the way.

The ordinates of a periodogram averaged over ``n`` independent series are the spectrum times independent
gamma variables of known law: their logarithms are the logarithm of the spectrum plus a constant bias and
a noise of known variance. Few coefficients of the cosine transform of that (the cepstrum) hold a smooth
spectrum, and leaving out the rest takes most of the noise away: Ercole, Marcolongo and Baroni,
doi:10.1038/s41598-017-15843-2.

Two things have to be chosen: how many coefficients, and up to which frequency (the window). One choice by
Akaike's criterion gives errors that are too small, and a peak at zero that is narrow beside the rest of the
spectrum is cut off. So all choices are averaged: over the number of coefficients with Akaike's weights,
and over windows with weights that fall where ordinates next to zero stand above the fit.
The error of such an average is that of Buckland, Burnham and Augustin, doi:10.2307/2533961.

What is left: the top of a peak at zero that is only some ten ordinates wide is smoothed, so that series of a
few hundred correlation times give a value too low by half of the error stated. Longer series cure it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct
from scipy.special import digamma, polygamma

# Ordinates in the smallest window, and the step from one window to the next.
SMALLEST_WINDOW = 16
WINDOW_RATIO = 1.1

# The largest window ends where this share of the power lies below it: beyond, there is only noise.
POWER_SHARE = 0.999

# Coefficients considered in a window, at most: half of what it has, and never more than these.
MOST_COEFFICIENTS = 600

# Sums over the first ordinates by which a fit is judged: this many, spaced geometrically.
N_SUMS = 12


@dataclass(frozen=True)
class Window:
    """What the ordinates up to one frequency say about zero frequency."""

    n_ordinates: int
    n_coefficients: int
    """The number of coefficients that Akaike's criterion likes best."""
    log_value: float
    log_spread: float
    misfit: float
    """By how much the first ordinates stand above the fit: twice the logarithm of a likelihood ratio."""


@dataclass(frozen=True)
class ZeroFrequency:
    """A spectrum at zero frequency; ``log_spread`` is one standard error of ``log_value``."""

    log_value: float
    log_spread: float
    windows: tuple[Window, ...]
    weights: np.ndarray
    """The weight of each window in the average; they add up to one."""

    @property
    def value(self) -> float:
        """The spectrum at zero frequency."""
        return float(np.exp(self.log_value))

    @property
    def spread(self) -> float:
        """One standard error of the value."""
        return self.value * self.log_spread

    @property
    def main_window(self) -> Window:
        """The window of the largest weight."""
        return self.windows[int(np.argmax(self.weights))]


def at_zero_frequency(ordinates: np.ndarray, n_independent: int) -> ZeroFrequency:
    """Return the limit of a spectrum at zero frequency.

    ``ordinates`` (n,) is the mean periodogram of ``n_independent`` independent series of equal spectrum at
    1, 2, ... n times the lowest frequency, without zero and without the highest frequency of an even number
    of samples; all above zero, at least ``SMALLEST_WINDOW``.
    """
    log_ordinates, variance = unbiased_log(ordinates, n_independent)
    windows = tuple(
        _window(ordinates[:size], log_ordinates[:size], variance, n_independent)
        for size in window_sizes(ordinates)
    )
    values = np.array([window.log_value for window in windows])
    spreads = np.array([window.log_spread for window in windows])
    misfits = np.array([window.misfit for window in windows])
    # The powers were chosen on synthetic series of many spectra, so that errors cover the truth: higher ones
    # of the spread cut off narrow peaks, lower ones let the smallest windows add noise.
    weights = np.exp(misfits.min() - misfits) * spreads**-4.5
    weights /= weights.sum()
    value, spread = averaged(values, spreads**2, weights)
    return ZeroFrequency(value, spread, windows, weights)


def unbiased_log(ordinates: np.ndarray, n_independent: int) -> tuple[np.ndarray, float]:
    """Return the logarithm of a mean periodogram without its bias, and the variance of its noise."""
    bias = float(digamma(n_independent)) - np.log(n_independent)
    return np.log(ordinates) - bias, float(polygamma(1, n_independent))


def window_sizes(ordinates: np.ndarray) -> np.ndarray:
    """Return how many ordinates each window has, rising."""
    power = np.cumsum(ordinates)
    largest = int(np.searchsorted(power, POWER_SHARE * power[-1])) + 1
    largest = min(max(largest, 2 * SMALLEST_WINDOW), len(ordinates))
    steps = max(2, round(np.log(largest / SMALLEST_WINDOW) / np.log(WINDOW_RATIO)))
    return np.unique(np.geomspace(SMALLEST_WINDOW, largest, steps).astype(int))


def averaged(values: np.ndarray, variances: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return the average of estimates of one number, and its standard error with their disagreement."""
    mean = float(weights @ values)
    return mean, float(weights @ np.sqrt(variances + (values - mean) ** 2))


def _window(ordinates: np.ndarray, log_ordinates: np.ndarray, variance: float, n_independent: int) -> Window:
    """Fit one window; ordinates are taken as the middles of their intervals, half a step from zero."""
    size = len(ordinates)
    cepstrum = dct(log_ordinates, type=2) / (2 * size)
    most = min(size // 2, MOST_COEFFICIENTS)
    numbers = np.arange(1, most + 1)
    # The noise of a coefficient has this variance, that of the first twice as much.
    noise = variance / (2 * size)
    left_out = np.append(np.cumsum(cepstrum[::-1] ** 2)[::-1], 0.0)[numbers]
    criterion = left_out / noise + 2 * numbers
    weights = np.exp(-0.5 * (criterion - criterion.min()))
    weights /= weights.sum()
    values = np.cumsum(np.append(cepstrum[0], 2 * cepstrum[1:most]))
    value, spread = averaged(values, noise * (4 * numbers - 2), weights)
    kept = np.zeros(size)
    kept[:most] = cepstrum[:most] * np.cumsum(weights[::-1])[::-1]
    misfit = _misfit(ordinates / np.exp(dct(kept, type=3)), n_independent)
    return Window(size, int(numbers[np.argmin(criterion)]), value, spread, misfit)


def _misfit(ratios: np.ndarray, n_independent: int) -> float:
    """Return how unlikely it is that the first ordinates stand so far above a fit, as ratios to it.

    The mean of the first n ratios is a gamma variable with n times ``n_independent`` degrees of freedom.
    The largest value over several n counts: a peak may be as narrow as it likes. Ordinates below the fit do
    not count: the logarithm of one can be far off by chance, and a narrow gap carries no heat.
    """
    counts = np.unique(np.geomspace(2, len(ratios) // 2, N_SUMS).astype(int))
    means = np.maximum(np.cumsum(ratios)[counts - 1] / counts, 1.0)
    return float((2 * counts * n_independent * (means - 1 - np.log(means))).max())
