"""How errors stand on the first page of a report: axes, columns, and what must be said of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip_bench.section.parts import Axis, Column, Mark, Second

if TYPE_CHECKING:
    from mlip_bench.section.evidence import Evidence

# What the energy errors of a potential that was read are called.
AS_IT_IS = "as it is"
AFTER_SHIFT = "after a shift per element"
SHIFT_NOTE = (
    "A potential that was read may count energies from another zero: its energy errors stand as they are "
    "and after a shift per element, by least squares on the training data alone; all else is the same."
)

# Stands beside a stress error of a potential that was not fitted to stress.
UNFITTED = "†"


def without_stress(evidence: "Evidence") -> frozenset[str]:
    """Return the potentials that were not fitted to stress, as far as the run says."""
    entries = evidence.run["potentials"].items()
    return frozenset(name for name, entry in entries if entry.get("fits_stress") is False)


def stress_note(evidence: "Evidence") -> str:
    """Say what the mark of a stress means."""
    read = any("source" in entry for entry in evidence.run["potentials"].values())
    more = " What was read, not fitted here, has no mark: nothing says what it was fitted to." if read else ""
    return f"{UNFITTED} Stress of a potential that was not fitted to stress.{more}"


def energy_error(row: Mapping[str, Any], spec: str = ".1f") -> str:
    """Say the energy error (RMSE); of a potential that was read also that after a shift per element."""
    as_it_is = f"{row['energy_rmse']:{spec}} meV/atom"
    shifted = row.get("energy_rmse_shifted", np.nan)
    return as_it_is if np.isnan(shifted) else f"{as_it_is} {AS_IT_IS}, {shifted:{spec}} {AFTER_SHIFT}"


def on_shift(evidence: "Evidence") -> str:
    """Say in a caption which energies of potentials that were read are drawn."""
    shifted = evidence.ranking.get("energy_rmse_shifted")
    read = shifted is not None and shifted.notna().any()
    return " Energies of potentials that were read are drawn as they are, without a shift." if read else ""


def on_energies(evidence: "Evidence") -> str:
    """Say in a caption which energies are drawn, and of which potentials there are none."""
    known = evidence.ranking.dropna(subset=["force_rmse"])
    without = known.index[known["energy_rmse"].isna()].tolist()
    missing = f" No energy is predicted by {', '.join(map(str, without))}." if without else ""
    return missing + on_shift(evidence)


def _shifted(key: str) -> Second:
    return Second(f"{key}_shifted", AS_IT_IS, AFTER_SHIFT, SHIFT_NOTE)


NOT_FITTED = Mark(UNFITTED, without_stress, stress_note)

COLUMNS = (
    Column("energy MAE (meV/atom)", "energy_mae", ".2f", second=_shifted("energy_mae")),
    Column("energy RMSE (meV/atom)", "energy_rmse", ".2f", second=_shifted("energy_rmse")),
    Column("force MAE (meV/Å)", "force_mae", ".1f"),
    Column("force RMSE (meV/Å)", "force_rmse", ".1f"),
    Column("stress RMSE (GPa)", "stress_rmse", ".2f", mark=NOT_FITTED),
)

FORCE = Axis(
    "force_rmse",
    "force",
    "force RMSE (meV/Å)",
    ".1f",
    say=lambda row: f"{row['force_rmse']:.0f} meV/Å",
    tip=lambda row: f"{row['force_rmse']:.3g} meV/Å",
    statistic="RMSE",
)
ENERGY = Axis(
    "energy_rmse",
    "energy",
    "energy RMSE (meV/atom)",
    ".2f",
    say=energy_error,
    tip=lambda row: energy_error(row, ".3g"),
    statistic="RMSE",
    remark=on_energies,
)
