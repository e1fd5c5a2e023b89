"""Direct against conservative forces in the report: one table, what it says in words, and its ratios.

The ratios stand beside those of the slide that introduced SevenNet-dFS: for Li6PS5Cl with 416
atoms, training 480 s against 302 s, inference 26.51 s against 130.15 s, dynamics 2.96 s against 755.63 s.
"""

from dataclasses import dataclass

import pandas as pd

from mlip_bench.report import tables
from mlip_bench.report.content import Content
from mlip_bench.report.tables import Table

CONSERVATIVE, DIRECT = "sevennet", "sevennet-dfs"

# A ratio within this share of the slide's is called reproduced.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Quantity:
    """One row: its key among the rows of the run, how it is written, and whether its ratio means anything."""

    heading: str
    key: str
    spec: str
    factor: float = 1.0
    ratio: bool = False


ERRORS = (
    Quantity("test energy RMSE (meV/atom)", "energy_rmse", ".2f"),
    Quantity("test force RMSE (meV/Å)", "force_rmse", ".1f"),
    Quantity("test stress RMSE (GPa)", "stress_rmse", ".2f"),
    Quantity("training (s)", "fit_s", ".0f", ratio=True),
)
MEASURED = (
    Quantity("single point (ms)", "single_point_s", ".3g", 1e3, ratio=True),
    Quantity("MD step (ms)", "md_s_per_step", ".3g", 1e3, ratio=True),
    Quantity("memory of a single point (MiB)", "single_point_mib", ".0f", ratio=True),
    Quantity("curl of the forces, ‖J - Jᵀ‖ / ‖J‖", "curl", ".1e"),
    Quantity("net force per atom (meV/Å)", "net_force", ".1e"),
    Quantity("net torque on a cluster, per atom (meV)", "net_torque", ".1e"),
    Quantity("drift of the energy in NVE (meV/atom/ps)", "energy_drift", "+.1e"),
    Quantity("temperature at the end of NVE (K)", "nve_temperature", ".0f"),
)


@dataclass(frozen=True)
class Ratio:
    """Time or memory of the conservative over that of the direct network, and what the slide has."""

    label: str
    value: float
    slide: float | None = None


def comparison(content: Content) -> Table:
    """All numbers of the measure with errors and training times, one column per potential."""
    names = list(content.direct.columns)
    both = _has_both(content)
    rows = []
    for quantity, label, values in _rows(content):
        marks = [
            tables.UNFITTED if quantity.key == "stress_rmse" and name in content.without_stress else ""
            for name in names
        ]
        cells = [
            label,
            *(
                "–" if pd.isna(v) else format(v * quantity.factor, quantity.spec) + mark
                for v, mark in zip(values, marks, strict=True)
            ),
        ]
        if both:
            value = values[CONSERVATIVE] / values[DIRECT] if quantity.ratio else float("nan")
            cells.append("" if pd.isna(value) else f"{value:.2f}")
        rows.append(cells)
    note = (
        "Times on one core, except training. J: derivatives of the forces by the positions, 0 curl for a "
        "gradient. The net force is taken off by sevennet-dfs itself unless remove_net_force is off."
    )
    if any(tables.UNFITTED in cell for row in rows for cell in row):
        note += f" {tables.stress_note(content)}"
    heading = [f"{CONSERVATIVE} / {DIRECT}"] if both else []
    return Table(["", *map(str, names), *heading], rows, note=note)


def ratios(content: Content) -> list[Ratio]:
    """The ratios of sevennet to sevennet-dfs; none where the run has not both."""
    if not _has_both(content):
        return []
    slide = {"fit_s": 302 / 480, "md_s_per_step": 755.63 / 2.96}
    found: list[Ratio] = []
    for quantity, label, values in _rows(content):
        value = values[CONSERVATIVE] / values[DIRECT]
        if quantity.ratio and pd.notna(value):
            of_slide = slide.get(quantity.key)
            if quantity.key == "single_point_s" and not any(r.slide == 130.15 / 26.51 for r in found):
                of_slide = 130.15 / 26.51  # the slide's cell has 416 atoms, as ours that comes first
            found.append(Ratio(label.rsplit(" (", 1)[0], float(value), of_slide))
    return found


def findings(content: Content) -> list[str]:
    """Say of each ratio of the slide whether this run has it too."""
    sentences = []
    for ratio in ratios(content):
        if ratio.slide is None:
            continue
        verdict = "reproduced" if abs(ratio.value / ratio.slide - 1) <= TOLERANCE else "not reproduced"
        sentences.append(
            f"{ratio.label}: sevennet takes {ratio.value:.2f} times as long as sevennet-dfs; "
            f"on the slide {ratio.slide:.2f} times: {verdict}."
        )
    if sentences:
        sentences.append(
            "A step of dynamics is a single point with a kept neighbour list, so leaving out the gradient "
            "gains there about what it gains in a single point; what else made 255 the slide does not say."
        )
    return sentences


def _has_both(content: Content) -> bool:
    return {CONSERVATIVE, DIRECT} <= set(content.direct.columns)


def _rows(content: Content) -> list[tuple[Quantity, str, pd.Series]]:
    """Return quantity, label and the values of all potentials for each row."""
    measured = content.direct
    found = []
    for quantity in ERRORS:
        if quantity.key in content.ranking:
            values = content.ranking[quantity.key].reindex(measured.columns)
            if values.notna().any():
                found.append((quantity, quantity.heading, values))
    for quantity in MEASURED:
        for key, n_atoms in measured.index:
            if key == quantity.key:
                name, _, unit = quantity.heading.partition(" (")
                label = f"{name}, {n_atoms:.0f} atoms" + (f" ({unit}" if unit else "")
                found.append((quantity, label, measured.loc[(key, n_atoms)]))
    return found
