"""What trajectories say of the thermal conductivity, and what is to be said of the trajectories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from mlip_bench.md.green_kubo import TERAHERTZ, Conductivity, FluxSeries, FluxUnusable, conductivity
from mlip_bench.md.response import Driven, Response, response, running_mean
from mlip_bench.measure.base import Curves, Found, Value
from mlip_bench.measure.conductivity.settings import DRIVEN, Settings
from mlip_bench.measure.conductivity.structure import Structure
from mlip_bench.measure.conductivity.trajectory import Trajectory

AXES = "xyz"
TENSOR = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

# Atoms that move this share of the nearest distance (root mean square) are not held at their sites: more than
# twice what Lindemann's rule allows at the melting point, counted from a moment of the dynamics.
DIFFUSING = 0.5

# Modes that live longer than this share of a run are not seen whole: of synthetic fluxes with one decay time,
# the estimate from runs of 240 decay times is 8 % low.
SEEN = 1 / 200

# The mean temperature may be off by this share, and by this many times the scatter of energies at one
# temperature, which small cells of few seeds have: k_B T √(3N) of the total energy.
TEMPERATURE_OFF = 0.05
SCATTERS = 3.0

# Where the spectrum at the highest frequencies is more than this share of that at zero, samples are too rare.
MOST_POWER_AT_END = 0.05

# Two estimates from the same fluxes that differ by more standard errors of both are not what they say.
DISAGREEMENT = 2.5

# Points of an integral that is drawn, and of a spectrum.
DRAWN_POINTS = 300
DRAWN_BANDS = 100


@dataclass(frozen=True)
class Observed:
    """A trajectory, and the structure that it is of."""

    trajectory: Trajectory
    n_atoms: int
    volume: float
    """(Å³)"""
    nearest: float
    """Shortest distance of two atoms at the beginning (Å)."""
    is_crystal: bool
    is_cubic: bool
    elements: tuple[str, ...]
    """By rising atomic number."""
    field: np.ndarray
    """That drove the heat current (3,) in 1/Å; zero at equilibrium."""

    @classmethod
    def of(cls, trajectory: Trajectory, structure: Structure, settings: Settings) -> "Observed":
        """Return a trajectory of a structure."""
        atoms = structure.atoms
        return cls(
            trajectory,
            len(atoms),
            atoms.get_volume(),
            structure.nearest,
            structure.is_crystal,
            structure.is_cubic,
            tuple(Atoms(np.unique(atoms.numbers)).get_chemical_symbols()),
            settings.field * np.eye(3)[settings.axis],
        )

    def arrays(self) -> dict[str, Any]:
        """Return all of it by name, for a file."""
        own = {name: value for name, value in vars(self).items() if name != "trajectory"}
        return {**own, **self.trajectory.arrays()}

    @classmethod
    def read(cls, arrays: Mapping[str, Any]) -> "Observed":
        """Return what :meth:`arrays` gave."""
        own: dict[str, Any] = {
            "n_atoms": int(arrays["n_atoms"]),
            "volume": float(arrays["volume"]),
            "nearest": float(arrays["nearest"]),
            "is_crystal": bool(arrays["is_crystal"]),
            "is_cubic": bool(arrays["is_cubic"]),
            "elements": tuple(map(str, arrays["elements"])),
            "field": np.array(arrays["field"]),
        }
        return cls(Trajectory.of(arrays), **own)


@dataclass(frozen=True)
class Motion:
    """How far atoms moved by the end, of each element: root of the mean square over trajectories (Å)."""

    displacements: Mapping[str, float]
    nearest: float

    @classmethod
    def of(cls, observed: Sequence[Observed]) -> "Motion":
        """Return the motion in trajectories of one structure."""
        squares = np.mean([one.trajectory.squares[-1] for one in observed], axis=0)
        found = dict(zip(observed[0].elements, np.sqrt(squares), strict=True))
        return cls({name: float(value) for name, value in found.items()}, observed[0].nearest)

    @property
    def diffusing(self) -> list[str]:
        """The elements whose atoms are not held at their sites."""
        limit = DIFFUSING * self.nearest
        return [name for name, displacement in self.displacements.items() if displacement > limit]

    @property
    def farthest(self) -> float:
        """The displacement of the element that moved most (Å)."""
        return max(self.displacements.values())

    @property
    def sentence(self) -> str:
        """What was done with the convective part, and why."""
        if not self.diffusing:
            return (
                f"a solid: atoms moved less than {DIFFUSING:g} of the nearest distance, and the convective "
                "part of the heat flux is left out"
            )
        return (
            f"{', '.join(self.diffusing)} diffuses: atoms moved more than {DIFFUSING:g} of the nearest "
            "distance, and the convective part of the heat flux counts"
        )


def found_of(observed: Sequence[Observed], settings: Settings) -> Found:
    """Return the conductivity, or why there is none, and what is to be known of the dynamics."""
    motion = Motion.of(observed)
    state = state_of(observed, motion)
    wrong = what_is_wrong(observed, motion, settings)
    if wrong is not None:
        return Found([_of(observed, "kappa", np.nan, error=wrong), *state])
    by_method = by_response if settings.method == DRIVEN else by_fluctuations
    try:
        found = by_method(observed, motion)
    except FluxUnusable as error:
        return Found([_of(observed, "kappa", np.nan, error=str(error)), *state])
    return Found([*found.values, *state], found.curves)


def is_isotropic(observed: Observed, motion: Motion) -> bool:
    """Tell whether all directions are alike: of a cubic crystal, and of a fluid."""
    return observed.is_cubic or (bool(motion.diffusing) and not observed.is_crystal)


def by_fluctuations(observed: Sequence[Observed], motion: Motion) -> Found:
    """Return the conductivity from the heat fluxes of equilibrium (Green and Kubo)."""
    if motion.diffusing and len(observed[0].elements) > 1:
        # Add a constant to the energy of one element, which changes no motion: J gains its current of matter.
        raise FluxUnusable(
            f"{', '.join(motion.diffusing)} diffuses among several elements: heat and matter flow together, "
            "and the conductivity would depend on the zero of the energies"
        )
    isotropic = is_isotropic(observed[0], motion)
    series = series_of(observed, convective=bool(motion.diffusing))
    result = conductivity(series, isotropic)
    return Found(values_of(observed, series, result, motion, isotropic), curves_of(result))


def by_response(observed: Sequence[Observed], motion: Motion) -> Found:
    """Return the conductivity from heat fluxes that a field drives."""
    first = observed[0]
    if first.is_crystal and motion.diffusing:
        raise FluxUnusable(
            f"{', '.join(motion.diffusing)} diffuses through the crystal, and the field drove no convective "
            "part of the heat flux; take --method green-kubo"
        )
    isotropic = is_isotropic(first, motion)
    runs = [
        Driven(one.trajectory.potential + (0.0 if one.is_crystal else one.trajectory.convective), one.field)
        for one in observed
    ]
    temperature = float(np.mean([one.trajectory.temperatures.mean() for one in observed]))
    result = response(runs, first.trajectory.interval, first.volume, temperature, isotropic)
    times, means = running_mean(runs, result, isotropic)
    values = [_of(observed, "kappa", result.kappa, spread=result.spread, note=_on_field(first, result))]
    for a, b in TENSOR:
        if np.isfinite(result.tensor[a, b]):
            spread = float(result.tensor_spread[a, b])
            values.append(_of(observed, f"kappa_{AXES[a]}{AXES[b]}", result.tensor[a, b], spread=spread))
    if np.isfinite(result.spread_of_runs):
        values.append(_of(observed, "spread_of_runs", result.spread_of_runs))
    return Found(values, _curves_of_response(result, times, means))


def _on_field(first: Observed, result: Response) -> str:
    """Say which parts of the heat flux were driven, and whether the response was seen to be linear."""
    part = "potential part of the heat flux" if first.is_crystal else "heat flux, both parts,"
    each = [
        f"{kappa:.3g} ± {error:.2g} W/mK at {field:g} /Å" for field, (kappa, error) in result.by_field.items()
    ]
    linear = "linear within the errors" if len(each) > 1 else "linearity not tested: take more than one seed"
    return f"the {part} is driven by a field: {', '.join(each)}; {linear}"


def _curves_of_response(result: Response, times: np.ndarray, means: np.ndarray) -> Curves:
    """Return what is drawn: the running mean with the error that a mean up to then has, and the spectrum."""
    series = result.series
    chosen = np.unique(np.linspace(0, len(times) - 1, DRAWN_POINTS).astype(int))
    spreads = result.spread * np.sqrt(times[-1] / times)
    frequencies, spectrum = _by_bands(series.frequencies, series.spectrum(np.eye(3)))
    return {
        "times": times[chosen],
        "integral": means[chosen],
        "integral_spread": spreads[chosen],
        "frequencies": frequencies,
        "spectrum": spectrum,
        "cut": np.array(np.nan),
        "kappa": np.array(result.kappa),
        "spread": np.array(result.spread),
        "by_run": result.by_run,
    }


def series_of(observed: Sequence[Observed], convective: bool) -> FluxSeries:
    """Return the heat fluxes of trajectories of one structure."""
    runs = [one.trajectory.potential + (one.trajectory.convective if convective else 0.0) for one in observed]
    temperature = float(np.mean([one.trajectory.temperatures.mean() for one in observed]))
    return FluxSeries.of(runs, observed[0].trajectory.interval, observed[0].volume, temperature)


def what_is_wrong(observed: Sequence[Observed], motion: Motion, settings: Settings) -> str | None:
    """Say why no conductivity of what was asked for follows, or None."""
    first = observed[0]
    if first.is_crystal and len(motion.diffusing) == len(first.elements):
        return (
            f"the crystal melts at {settings.temperature:g} K: atoms moved {motion.farthest:.2g} Å where the "
            f"nearest is at {motion.nearest:.2g} Å; choose a lower temperature, or --keep-cell with a frame "
            "of the liquid"
        )
    found = float(np.mean([one.trajectory.temperatures.mean() for one in observed]))
    scatter = 1 / np.sqrt(3 * first.n_atoms * len(observed))
    off = found / settings.temperature - 1
    field = ", or the field is too strong" if settings.field else ""
    if abs(off) > max(TEMPERATURE_OFF, SCATTERS * scatter):
        return (
            f"the temperature of the dynamics is {found:.1f} K, {100 * off:+.1f} % off the "
            f"{settings.temperature:g} K asked for: the structure changed, or was not in its balance{field}"
        )
    return None


def state_of(observed: Sequence[Observed], motion: Motion) -> list[Value]:
    """Return what is to be known of the dynamics."""
    trajectories = [one.trajectory for one in observed]
    n_atoms = observed[0].n_atoms
    means = [float(one.temperatures.mean()) for one in trajectories]
    by_temperature = [_slope(one.temperatures, one.interval) for one in trajectories]
    by_energy = [1e3 * _slope(one.energies, one.between_looks) / n_atoms for one in trajectories]
    time = sum(one.interval * len(one.temperatures) for one in trajectories) / 1e3
    return [
        _of(observed, "temperature", float(np.mean(means)), spread=_error(means)),
        _of(observed, "temperature_drift", np.mean(by_temperature), spread=_error(by_temperature)),
        _of(observed, "energy_drift", np.mean(by_energy), spread=_error(by_energy)),
        _of(observed, "pressure", np.mean([one.pressures.mean() for one in trajectories])),
        _of(observed, "volume", observed[0].volume),
        _of(observed, "displacement", motion.farthest),
        _of(observed, "time", time),
        _of(observed, "core_hours", sum(one.seconds for one in trajectories) / 3600),
    ]


def values_of(
    observed: Sequence[Observed],
    series: FluxSeries,
    result: Conductivity,
    motion: Motion,
    isotropic: bool,
) -> list[Value]:
    """Return the conductivity with its tensor, and what the second opinion is."""
    # It is imported here because it is slow to.
    from mlip_bench.md.fitted_spectrum import fitted_conductivity

    fitted = fitted_conductivity(series, isotropic)
    notes = [motion.sentence, _of_length(series)]
    if result.at_highest_frequency > MOST_POWER_AT_END:
        notes.append(f"samples of the heat flux are {series.interval:g} fs apart, too far for this structure")
    if abs(result.kappa - fitted.kappa) > DISAGREEMENT * np.hypot(result.spread, fitted.spread):
        notes.append("STACIE disagrees by more than the errors of both: the trajectories are too short")
    values = [_of(observed, "kappa", result.kappa, spread=result.spread, note="; ".join(notes))]
    for a, b in TENSOR:
        spread = float(result.tensor_spread[a, b])
        values.append(_of(observed, f"kappa_{AXES[a]}{AXES[b]}", result.tensor[a, b], spread=spread))
    by_stacie = _of(observed, "kappa_stacie", fitted.kappa, spread=fitted.spread)
    if fitted.failure:
        by_stacie = _of(observed, "kappa_stacie", np.nan, error=fitted.failure)
    values += [by_stacie, _of(observed, "cut", result.cut)]
    values.append(_of(observed, "power_at_end", result.at_highest_frequency))
    if np.isfinite(result.spread_of_runs):
        values.append(_of(observed, "spread_of_runs", result.spread_of_runs))
    return values


def _of_length(series: FluxSeries) -> str:
    """Say what runs of this length cannot see: no error that is estimated from them knows of it."""
    length = series.interval * series.flux.shape[1] / TERAHERTZ
    return f"what lives longer than about {SEEN * length:.2g} ps is not seen whole in runs of {length:.3g} ps"


def curves_of(result: Conductivity) -> Curves:
    """Return what is drawn: the running integral, and the spectrum up to its cut and beyond."""
    integral = result.integral
    chosen = np.unique(np.linspace(0, len(integral.times) - 1, DRAWN_POINTS).astype(int))
    frequencies, spectrum = _by_bands(result.frequencies, result.spectrum)
    return {
        "times": integral.times[chosen],
        "integral": integral.values[chosen],
        "integral_spread": integral.spreads[chosen],
        "frequencies": frequencies,
        "spectrum": spectrum,
        "cut": np.array(result.cut),
        "kappa": np.array(result.kappa),
        "spread": np.array(result.spread),
        "by_run": result.by_run,
    }


def _by_bands(frequencies: np.ndarray, spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of a spectrum over bands that widen with the frequency."""
    edges = np.unique(np.geomspace(1, len(frequencies) + 1, DRAWN_BANDS).astype(int)) - 1
    counts = np.diff(edges)
    return (
        np.add.reduceat(frequencies, edges[:-1]) / counts,
        np.add.reduceat(spectrum, edges[:-1]) / counts,
    )


def _of(
    observed: Sequence[Observed],
    metric: str,
    value: float | np.floating,
    spread: float | None = None,
    error: str | None = None,
    note: str | None = None,
) -> Value:
    return Value(metric, float(value), n_atoms=observed[0].n_atoms, spread=spread, error=error, note=note)


def _slope(values: np.ndarray, interval: float) -> float:
    """Return the slope of samples per picosecond; zero of one sample."""
    if len(values) < 2:
        return 0.0
    times = np.arange(len(values)) * interval / TERAHERTZ
    return float(np.polyfit(times, values, 1)[0])


def _error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean; None of one value."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
