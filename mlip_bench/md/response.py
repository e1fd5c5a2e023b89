"""Thermal conductivity from heat currents that a field drives: the mean current over the field.

    κ_ab = <J_a> / (T V F_b)

of :class:`mlip_bench.md.driven.FluxDriver`. The noise of a mean follows from the spectrum of J at zero
frequency, S(0) / t in a time t, which cepstral analysis gives with little noise of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import units

from mlip_bench.md.cepstral import at_zero_frequency
from mlip_bench.md.green_kubo import TERAHERTZ, WATT_PER_METRE_KELVIN, FluxSeries, FluxUnusable

# Share of a trajectory, at its beginning, in which the current comes to its mean.
ONSET = 0.2

# Conductivities at two fields that differ by more standard errors are of no linear response.
NOT_LINEAR = 2.5


@dataclass(frozen=True)
class Driven:
    """A trajectory with a field: heat fluxes (n_samples, 3) in eV Å/fs, and the field (3,) in 1/Å."""

    flux: np.ndarray
    field: np.ndarray

    @property
    def axis(self) -> int:
        """The axis of the field."""
        return int(np.argmax(np.abs(self.field)))

    @property
    def strength(self) -> float:
        """Its size (1/Å)."""
        return float(self.field[self.axis])

    @property
    def steady(self) -> np.ndarray:
        """The heat fluxes after the onset."""
        return self.flux[int(ONSET * len(self.flux)) :]


@dataclass(frozen=True)
class Response:
    """Thermal conductivity in W/mK; every spread is one standard error, NaN where nothing was driven."""

    kappa: float
    spread: float
    tensor: np.ndarray  # (3, 3), the axis of the current first
    tensor_spread: np.ndarray  # (3, 3)
    by_run: np.ndarray  # (n_runs,) along the field of each
    by_field: dict[float, tuple[float, float]]
    """Conductivity and spread at each strength of the field (1/Å), rising; where three directions differ,
    the means over them, at strengths along all three."""
    series: FluxSeries
    """The fluctuations about the means, as those at equilibrium are used."""

    @property
    def spread_of_runs(self) -> float:
        """The standard error of κ by the scatter of the runs alone; NaN for one run."""
        n_runs = len(self.by_run)
        return float(self.by_run.std(ddof=1) / np.sqrt(n_runs)) if n_runs > 1 else float("nan")


def response(
    runs: Sequence[Driven], interval: float, volume: float, temperature: float, isotropic: bool
) -> Response:
    """Return the thermal conductivity from driven trajectories, each with its field along an axis.

    ``interval`` in fs, ``volume`` in Å³, ``temperature`` in K. Raises :class:`FluxUnusable` where an axis of
    three that differ was not driven, or the response at two strengths of the field is not the same.
    """
    series = FluxSeries.of([run.steady for run in runs], interval, volume, temperature)
    noise = _noise(series, isotropic)
    unit = WATT_PER_METRE_KELVIN / (temperature * volume)
    means = np.array([unit * run.steady.mean(axis=0) / run.strength for run in runs])
    spreads = np.array([noise / run.strength for run in runs])
    tensor, tensor_spread = _tensor(runs, means, spreads)
    own = [run.axis for run in runs]
    by_run, by_run_spread = (values[np.arange(len(runs)), own] for values in (means, spreads))
    alike = [own] if isotropic else [[axis] for axis in sorted(set(own))]
    groups = [[place for place, axis in enumerate(own) if axis in axes] for axes in alike]
    each = [_by_field([runs[i] for i in group], by_run[group], by_run_spread[group]) for group in groups]
    if isotropic:
        kappa, spread = _weighted(by_run, by_run_spread)
    else:
        _require_all_axes(runs)
        kappa = float(np.trace(tensor) / 3)
        spread = float(np.linalg.norm(np.diag(tensor_spread)) / 3)
    for one in each:
        _require_linear(one)
    return Response(kappa, spread, tensor, tensor_spread, by_run, _over_directions(each), series)


def _noise(series: FluxSeries, isotropic: bool) -> np.ndarray:
    """Return the standard error (3,) of the mean current of one run, as a conductivity at a field of 1/Å.

    The spectrum of a series is that of J over 2 V k_B T², so that the square is 2 k_B κ / (V t).
    """
    directions = [np.eye(3)] * 3 if isotropic else [np.eye(3)[[axis]] for axis in range(3)]
    at_zero = np.array(
        [at_zero_frequency(series.spectrum(d), len(series.flux) * len(d)).value for d in directions]
    )
    square = 2 * units.kB * at_zero / (series.volume * series.length)
    return np.asarray(np.sqrt(square * WATT_PER_METRE_KELVIN))


def _tensor(runs: Sequence[Driven], means: np.ndarray, spreads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tensor, tensor_spread = np.full((3, 3), np.nan), np.full((3, 3), np.nan)
    for axis in {run.axis for run in runs}:
        chosen = [index for index, run in enumerate(runs) if run.axis == axis]
        for a in range(3):
            tensor[a, axis], tensor_spread[a, axis] = _weighted(means[chosen, a], spreads[chosen, a])
    return tensor, tensor_spread


def _by_field(
    runs: Sequence[Driven], values: np.ndarray, spreads: np.ndarray
) -> dict[float, tuple[float, float]]:
    strengths = np.array([run.strength for run in runs])
    return {
        float(strength): _weighted(values[strengths == strength], spreads[strengths == strength])
        for strength in np.unique(strengths)
    }


def _over_directions(each: Sequence[dict[float, tuple[float, float]]]) -> dict[float, tuple[float, float]]:
    """Return the means over directions of what each has at a strength of the field, and their spreads."""
    found = {}
    for strength in sorted(set.intersection(*map(set, each))):
        values, spreads = np.array([one[strength] for one in each]).T
        found[strength] = float(values.mean()), float(np.linalg.norm(spreads) / len(each))
    return found


def _weighted(values: np.ndarray, spreads: np.ndarray) -> tuple[float, float]:
    """Return the mean of values with weights by their errors, and its error."""
    weights = spreads**-2.0
    return float(weights @ values / weights.sum()), float(weights.sum() ** -0.5)


def _require_all_axes(runs: Sequence[Driven]) -> None:
    missing = [name for axis, name in enumerate("xyz") if axis not in {run.axis for run in runs}]
    if missing:
        raise FluxUnusable(
            f"no trajectory has its field along {', '.join(missing)}, and the three directions differ: take "
            "six seeds or more"
        )


def _require_linear(by_field: dict[float, tuple[float, float]]) -> None:
    """Refuse conductivities that depend on the field."""
    if len(by_field) < 2:
        return
    (weak, (kappa_weak, error_weak)), *_, (strong, (kappa_strong, error_strong)) = by_field.items()
    if abs(kappa_weak - kappa_strong) > NOT_LINEAR * np.hypot(error_weak, error_strong):
        raise FluxUnusable(
            f"the heat current is not linear in the field: {kappa_weak:.3g} ± {error_weak:.2g} W/mK at "
            f"{weak:g} /Å, {kappa_strong:.3g} ± {error_strong:.2g} W/mK at {strong:g} /Å; take a weaker one"
        )


def running_mean(
    runs: Sequence[Driven], response_of: Response, isotropic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return times (ps) after the onset, and the mean conductivity of all runs up to each (W/mK).

    Where the three directions differ, the mean over them of that of each.
    """
    series = response_of.series
    unit = WATT_PER_METRE_KELVIN / (series.temperature * series.volume)
    strengths = np.array([run.strength for run in runs])
    along = np.array([run[:, one.axis] for run, one in zip(series.flux, runs, strict=True)])
    n_samples = along.shape[1]
    axes = np.zeros(len(runs)) if isotropic else np.array([run.axis for run in runs])
    of_axes = []
    for axis in np.unique(axes):
        own = strengths[axes == axis]
        of_axes.append(np.cumsum(own @ along[axes == axis]) / (own**2).sum() * unit)
    sums = np.mean(of_axes, axis=0)
    counts = np.arange(1, n_samples + 1)
    return counts * series.interval / TERAHERTZ, sums / counts
