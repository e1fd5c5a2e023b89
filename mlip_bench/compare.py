r"""Did a potential get slower? Cost ratios of two runs, or of two benchmark files, set side by side.

Both sides are ratios to the ruler, timed in the same process, so machines and loads drop out. A ratio is the
median of n blocks with half the interquartile range h, so its standard error is about

.. math:: s = 1.253\, \frac{h / 0.6745}{\sqrt{n}}

(of a median, for normally distributed blocks). A potential is called slower where the change is larger than
the limit, and larger than ``SIGNIFICANCE`` standard errors of the change. Only like is set against like: what
differs in hyper-parameters, preset, data or device is named, not compared.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mlip_bench.errors import UserError
from mlip_bench.results import DESCRIPTION, LAMMPS, RESULTS, Row, read_rows

SIGNIFICANCE = 3.0
NORMAL_QUARTILE = 0.6745
MEDIAN_EFFICIENCY = 1.2533

SLOWER, FASTER, SAME = "slower", "faster", "same"

# What must be alike for two timings to be set against each other, as the table says it.
ALIKE = {
    "hypers_sha256": "hyper-parameters",
    "preset": "preset",
    "dataset_sha256": "data",
    "device": "device",
}


@dataclass(frozen=True)
class Timing:
    """A cost ratio: median of ``n_blocks``, with half their interquartile range."""

    ratio: float
    spread: float
    n_blocks: int
    processor: str
    of: Mapping[str, str] = field(default_factory=dict)
    """What was timed, by the keys of ``ALIKE`` that are known."""

    @property
    def relative_error(self) -> float:
        """Standard error over the ratio itself."""
        return MEDIAN_EFFICIENCY * self.spread / NORMAL_QUARTILE / np.sqrt(self.n_blocks) / self.ratio


Timings = dict[tuple[str, int], Timing]
"""By name of the potential and number of atoms."""


@dataclass(frozen=True)
class Change:
    """One potential at one size: old and new ratio; None where a side lacks it."""

    name: str
    n_atoms: int
    old: Timing | None
    new: Timing | None
    verdict: str

    @property
    def relative(self) -> float:
        """New over old, less one."""
        return self.new.ratio / self.old.ratio - 1 if self.old and self.new else float("nan")

    @property
    def error(self) -> float:
        """Standard error of ``relative``."""
        return _error(self.old, self.new) if self.old and self.new else float("nan")


def read(path: Path) -> Timings:
    """Read the folder of a run, or a JSON file of pytest-benchmark; raises :class:`UserError` for others."""
    found = _of_benchmarks(path) if path.is_file() else _of_run(path)
    if not found:
        raise UserError(f"{path}: has no cost against the ruler; measure 'cost' first")
    return found


def _of_run(folder: Path) -> Timings:
    rows = [row for row in read_rows(folder / RESULTS) if row.measure == "cost" and row.value is not None]
    n_blocks = {_timed(row, rows): int(row.value or 0) for row in rows if row.metric == "n_blocks"}
    preset = _preset(folder)
    return {
        (_timed(row, rows), int(row.n_atoms or 0)): Timing(
            float(row.value or 0),
            row.spread or 0.0,
            n_blocks[_timed(row, rows)],
            row.cpu,
            {key: getattr(row, key) for key in ALIKE if key != "preset"} | preset,
        )
        for row in rows
        if row.metric == "cost_ratio" and _timed(row, rows) in n_blocks
    }


def _timed(row: Row, rows: Sequence[Row]) -> str:
    """Return what was timed: a potential; the other than LAMMPS's pair style, where there is one, by name.

    And on how many cores, where that is more than one.
    """
    native = {other.potential for other in rows if other.implementation == LAMMPS}
    twice = row.potential in native and row.implementation != LAMMPS
    name = f"{row.potential}, {row.implementation}" if twice else row.potential
    return name if row.threads < 2 else f"{name}, {row.threads} cores"


def _preset(folder: Path) -> dict[str, str]:
    """Return the preset of a run under its key, or nothing where the folder does not tell it."""
    try:
        return {"preset": str(tomllib.loads((folder / DESCRIPTION).read_text())["preset"])}
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        return {}


def _of_benchmarks(path: Path) -> Timings:
    try:
        content = json.loads(path.read_text())
        processor = str(content["machine_info"]["cpu"].get("brand_raw", ""))
        extras = [(one["name"], one["extra_info"]) for one in content["benchmarks"]]
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON file of pytest-benchmark ({error!r})") from error
    return {
        (extra.get("potential", name), int(extra["n_atoms"])): Timing(
            extra["cost_ratio"],
            extra["cost_ratio_spread"],
            int(extra["n_blocks"]),
            processor,
            {key: str(extra[key]) for key in ALIKE if key in extra},
        )
        for name, extra in extras
        if "cost_ratio" in extra
    }


def compare(old: Timings, new: Timings, limit: float) -> list[Change]:
    """Compare what both have; what only one has is listed too."""
    changes = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if before and after and (other := differences(before, after)):
            verdict = f"not compared: {other}"
        elif before and after:
            verdict = _verdict(after.ratio / before.ratio - 1, _error(before, after), limit)
        else:
            verdict = "only in the old" if before else "only in the new"
        changes.append(Change(*key, before, after, verdict))
    return changes


def differences(old: Timing, new: Timing) -> str:
    """Say in what two timings are not alike, or nothing; what one side does not tell does not count."""
    other = [key for key in ALIKE if key in old.of and key in new.of and old.of[key] != new.of[key]]
    words = []
    for key in other:
        presets = f"{old.of['preset']} against {new.of['preset']}" if "preset" in other else ""
        if key == "hypers_sha256":
            words.append("other hyper-parameters" + (f" ({presets})" if presets else ""))
        elif key == "dataset_sha256":
            words.append("other data")
        elif key == "device" or "hypers_sha256" not in other:
            words.append(f"other {ALIKE[key]} ({old.of[key]} against {new.of[key]})")
    return ", ".join(words)


def _verdict(relative: float, error: float, limit: float) -> str:
    if abs(relative) <= max(limit, SIGNIFICANCE * error):
        return SAME
    return SLOWER if relative > 0 else FASTER


def _error(old: Timing, new: Timing) -> float:
    return new.ratio / old.ratio * float(np.hypot(old.relative_error, new.relative_error))


def rows(changes: list[Change]) -> list[list[str]]:
    """Return the cells of a table with ``HEADINGS``."""
    found = []
    for change in changes:
        ratios = [f"{side.ratio:.3f}" if side else "–" for side in (change.old, change.new)]
        both = change.old and change.new and not differences(change.old, change.new)
        difference = f"{100 * change.relative:+.1f} ± {100 * change.error:.1f} %" if both else "–"
        found.append([change.name, str(change.n_atoms), *ratios, difference, change.verdict])
    return found


HEADINGS = ["potential", "atoms", "old (× ruler)", "new (× ruler)", "change", "verdict"]


def markdown(changes: list[Change]) -> str:
    """Return the table in Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows(changes)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def parse_limit(text: str) -> float:
    """Read ``10%`` or ``0.1``; a share of 1 and more is written with its ``%``."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = float("nan")
    if not 0 <= value < np.inf or (value >= 1 and not text.endswith("%")):
        raise UserError(f"--fail-above {text}: must be a share such as 10% or 0.1")
    return value
