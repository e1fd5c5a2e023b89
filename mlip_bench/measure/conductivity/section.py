"""Thermal conductivity in the report: integrals, spectra, and what follows from them beside a measurement."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mlip_bench.measure import properties
from mlip_bench.measure.conductivity import MEASURE
from mlip_bench.measure.conductivity.settings import DRIVEN
from mlip_bench.section import tables
from mlip_bench.section.drawing import Sketch, new_sketch, plain_numbers
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.looks import GREY
from mlip_bench.section.parts import MISSING, Part, Plot, Section, Table

# Measured conductivity (W/mK) by temperature (K), of crystals in which electrons carry little of the heat:
# Bergman, Lavine, Incropera and DeWitt, Fundamentals of Heat and Mass Transfer, 7th edition, table A.1.
MEASURED = {"Si": {200.0: 264.0, 300.0: 148.0, 400.0: 98.9, 600.0: 61.9, 1000.0: 31.2}}
EXPERIMENT = "experiment"

# How far beside a conductivity its other readings are drawn.
ASIDE = 0.2

# Spectra have many decades: only powers of ten are written.
WIDE = 3.0

# Columns: heading, metric, how the number is written, and whether its standard error stands beside it.
COLUMNS = (
    ("κ (W/mK)", "kappa", ".3g", True),
    ("STACIE (W/mK)", "kappa_stacie", ".3g", True),
    ("κ_xx (W/mK)", "kappa_xx", ".3g", True),
    ("κ_yy (W/mK)", "kappa_yy", ".3g", True),
    ("κ_zz (W/mK)", "kappa_zz", ".3g", True),
    ("temperature (K)", "temperature", ".1f", True),
    ("drift (K/ps)", "temperature_drift", "+.1e", False),
    ("drift (meV/atom/ps)", "energy_drift", "+.1e", False),
    ("pressure (GPa)", "pressure", ".2f", False),
    ("volume (Å³)", "volume", ".1f", False),
    ("observed (ps)", "time", ".0f", False),
    ("computed (h)", "core_hours", ".2g", False),
)


def sections(evidence: Evidence) -> list[Section]:
    """Return the section, where there is any number of the measure."""
    rows = evidence.of(MEASURE.name)
    if rows.empty:
        return []
    parts: list[Part] = [table(evidence)]
    if evidence.curves(MEASURE.name):
        parts.append(Plot("conductivity", _caption(evidence), lambda: _draw(evidence), data(evidence)))
    return [Section("Thermal conductivity", parts, place=55)]


def table(evidence: Evidence) -> Table:
    """Conductivities, second opinions, and what the dynamics were."""
    rows = evidence.of(MEASURE.name)
    having = [column for column in COLUMNS if (rows["metric"] == column[1]).any()]
    lines, families = [], []
    for name in evidence.ranked(rows["potential"]):
        own = _of_all_fits(rows[rows["potential"] == name])
        n_atoms = f"{own['n_atoms'].iloc[0]:.0f}"
        lines.append([name, n_atoms, *(_cell(own, *column[1:]) for column in having)])
        families.append(str(own["family"].iloc[0]))
    measured = experiment(evidence)
    if measured is not None:
        lines.append([EXPERIMENT, MISSING, f"{measured:.3g}", *[MISSING] * (len(having) - 1)])
        families.append("")
    headings = ["potential", "atoms", *(column[0] for column in having)]
    return Table(headings, lines, note=_note(evidence), families=tuple(families), name="conductivity")


def _of_all_fits(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per metric: the mean over the fits of several seeds, and the standard error of that.

    It is what the errors of the fits make, or their scatter where that is more.
    """
    groups = rows.groupby("metric", sort=False)
    found = groups[["value", "n_atoms"]].mean().assign(family=groups["family"].first())
    n_fits = groups.size()
    within = np.sqrt(groups["spread"].agg(lambda own: np.square(own).mean()) / n_fits)
    scatter = groups["value"].std() / np.sqrt(n_fits)
    return found.assign(spread=within.where(within.isna() | ~(scatter > within), scatter))


def data(evidence: Evidence) -> Table:
    """The numbers of the curves."""
    kind = "running mean" if is_driven(evidence) else "integral"
    rows = []
    for name, curves in evidence.curves(MEASURE.name).items():
        for x, y, error in zip(curves["times"], curves["integral"], curves["integral_spread"], strict=True):
            rows.append([name, kind, f"{x:.6g}", f"{y:.6g}", tables.number(error, ".3g")])
        for x, y in zip(curves["frequencies"], curves["spectrum"], strict=True):
            rows.append([name, "spectrum", f"{x:.6g}", f"{y:.6g}", MISSING])
    headings = ["potential", "curve", "ps or THz", "W/mK", "standard error (W/mK)"]
    return Table(headings, rows, name="conductivity-curves")


def asked(evidence: Evidence) -> dict[str, Any]:
    """Return the options of the measure in this run."""
    return dict(evidence.run.get("options", {}).get(MEASURE.name, {}))


def is_driven(evidence: Evidence) -> bool:
    """Tell whether the heat currents of this run were driven by a field."""
    return bool(asked(evidence).get("method") == DRIVEN)


def experiment(evidence: Evidence) -> float | None:
    """Return what was measured of the system at the temperature (W/mK), or None where nothing is known."""
    known = MEASURED.get(evidence.run["dataset"]["system"], {})
    temperature = asked(evidence).get("temperature")
    if temperature is None or not known or not min(known) <= temperature <= max(known):
        return None
    logs = np.interp(np.log(temperature), np.log(list(known)), np.log(list(known.values())))
    return float(np.exp(logs))


def _note(evidence: Evidence) -> str:
    options = asked(evidence)
    said = (
        f"{options['seeds']} trajectories of {options['length']:g} ps at {options['temperature']:g} K, "
        f"{options['method']}. "
        if options
        else ""
    )
    measured = (
        " Experiment: Bergman, Lavine, Incropera and DeWitt, Fundamentals of Heat and Mass Transfer, table "
        "A.1, of a crystal without limit of size."
        if experiment(evidence) is not None
        else ""
    )
    several = (
        " Potentials of several seeds: the mean of their fits, with the scatter in the standard error."
        if evidence.fits
        else ""
    )
    return (
        f"{said}±: one standard error.{several} κ by cepstral analysis; STACIE: a second opinion from the "
        "same heat fluxes. This is what the motion of atoms conducts: in a metal electrons carry more. A "
        f"periodic cell lacks long waves, so that crystals of high conductivity need large ones.{measured}"
    )


def _cell(own: pd.DataFrame, metric: str, spec: str, with_spread: bool) -> str:
    if metric not in own.index:
        return MISSING
    row = own.loc[metric]
    text = tables.number(row["value"], spec)
    if not with_spread or pd.isna(row["spread"]):
        return text
    return f"{text} ± {format(row['spread'], spec if spec.endswith('f') else '.2g')}"


def _caption(evidence: Evidence) -> str:
    reference = " Grey: experiment." if experiment(evidence) is not None else ""
    if is_driven(evidence):
        return (
            "Left: the heat current over the field, mean up to a time, with one standard error. Middle: the "
            "spectrum of its fluctuations, whose limit on the left makes the error. Right: conductivities; "
            f"small: each trajectory alone.{reference}"
        )
    return (
        "Left: the Green-Kubo integral up to a time, with one standard error; what is quoted stands on its "
        "right. Middle: the spectrum of the heat flux, used up to the dotted line; the conductivity is its "
        "limit on the left. Right: conductivities; hollow: by STACIE; small: each trajectory alone."
        f"{reference}"
    )


def _draw(evidence: Evidence) -> Sketch:
    """Draw integral, spectrum and conductivity of each potential."""
    sketch = new_sketch("conductivity", 7.4, 3.6)
    integrals, spectra, values = sketch.canvas.subplots(1, 3, width_ratios=(3, 3, 2))
    drawn = evidence.curves(MEASURE.name)
    for place, (name, curves) in enumerate(drawn.items()):
        look = properties.line(evidence, name)
        _draw_integral(integrals, curves, look, name)
        spectra.plot(curves["frequencies"], curves["spectrum"], **(look | {"linewidth": 0.8}))
        if np.isfinite(curves["cut"]):
            spectra.axvline(float(curves["cut"]), color=look["color"], linewidth=0.8, linestyle=":")
        _draw_value(evidence, sketch, values, place, name, curves)
    spectra.set(xscale="log", yscale="log", xlabel="frequency (THz)", ylabel="spectrum (W/mK)")
    plain_numbers(spectra.xaxis, WIDE)
    plain_numbers(spectra.yaxis, WIDE)
    ylabel = "running mean (W/mK)" if is_driven(evidence) else "integral (W/mK)"
    integrals.set(xlabel="time (ps)", ylabel=ylabel)
    values.set(ylabel="κ (W/mK)", ylim=(0, None))
    values.set_xticks(range(len(drawn)), list(drawn), rotation=35, ha="right")
    values.set_xlim(-0.6, len(drawn) - 0.4)
    reference = experiment(evidence)
    if reference is not None:
        values.axhline(reference, color=GREY, linewidth=1.5)
    handles, names = integrals.get_legend_handles_labels()
    sketch.canvas.legend(handles, names, loc="outside upper center", ncols=min(len(names), 5))
    return sketch


def _draw_integral(axes: Axes, curves: Any, look: dict[str, Any], name: str) -> None:
    times, values, spreads = (curves[key] for key in ("times", "integral", "integral_spread"))
    axes.plot(times, values, label=name, **look)
    axes.fill_between(times, values - spreads, values + spreads, color=look["color"], alpha=0.15, linewidth=0)
    kappa, spread = float(curves["kappa"]), float(curves["spread"])
    end = times[-1]
    axes.errorbar([end * 1.03], [kappa], yerr=[spread], color=look["color"], fmt="_", markersize=9)


def _draw_value(evidence: Evidence, sketch: Sketch, axes: Axes, place: int, name: str, curves: Any) -> None:
    """Draw a conductivity, what each trajectory gives alone, and the second opinion."""
    family = evidence.ranking.at[name, "family"]
    look = evidence.style(family)
    alone = curves["by_run"]
    left = [place - ASIDE] * len(alone)
    axes.plot(left, alone, linestyle="none", marker=".", color=look["color"], alpha=0.5)
    hollow = look | {"markerfacecolor": "white", "markeredgecolor": look["color"]}
    rows = evidence.of(MEASURE.name)
    fitted = rows[(rows["potential"] == name) & (rows["metric"] == "kappa_stacie")]
    points: list[tuple[float, float, float, str, dict[str, Any]]] = [
        (place, float(curves["kappa"]), float(curves["spread"]), name, look)
    ]
    points += [
        (place + ASIDE, row.value, row.spread, f"{name}, STACIE", hollow) for row in fitted.itertuples()
    ]
    for x, kappa, spread, label, style in points:
        bars = axes.errorbar([x], [kappa], yerr=[spread], color=look["color"], linewidth=1.0)
        sketch.own(bars[2][0], family)
        tip = f"{label}: {kappa:.3g} ± {spread:.2g} W/mK"
        sketch.point(axes, x, kappa, tip, family, markersize=7, **style)
