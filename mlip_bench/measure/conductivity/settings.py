"""What a user can choose of a thermal conductivity, and what it is where nothing is chosen."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.md.driver import TEMPERATURE_K, TIMESTEP_FS

GREEN_KUBO = "green-kubo"
DRIVEN = "hnemd"
METHODS = (GREEN_KUBO, DRIVEN)

# The field that drives a heat current (1/Å), where none is given.
FIELD = 1e-3

# Of two trajectories with a field, one has this share of it: only where both agree is the response linear.
WEAKER = 0.5

# By preset: seeds, length of each (ps), fewest atoms of the supercell.
PRESETS: Mapping[str, tuple[int, float, int]] = {
    "quick": (2, 5.0, 54),
    "standard": (4, 25.0, 128),
    "paper": (8, 100.0, 250),
}

# Hotter than this (K) no solid is, and no potential was fitted to.
HOTTEST = 1e5


@dataclass(frozen=True)
class Settings:
    """One trajectory: how the heat flux is observed, of which structure, for how long."""

    seed: int = 1
    """Of the initial velocities."""
    method: str = GREEN_KUBO
    temperature: float = TEMPERATURE_K
    length: float = 25.0
    """Of what is recorded (ps), after the time in which heat and motion come to their balance."""
    supercell: tuple[int, int, int] | int = 128
    """Repeats of the cell along its axes, or the fewest atoms that it is repeated to."""
    keep_cell: bool = False
    """Take cell and positions as they are given, as of a liquid, or of a crystal at its volume when hot."""
    timestep: float = TIMESTEP_FS
    field: float = 0.0
    """That drives the heat current (1/Å); 0 at equilibrium."""
    axis: int = 0
    """Along which it does."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Settings":
        """Return the settings that options are of a part."""
        supercell = options["supercell"]
        return cls(**{**options, "supercell": supercell if isinstance(supercell, int) else tuple(supercell)})


def options(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options; raises UserError where one is wrong."""
    seeds, length, n_atoms = PRESETS.get(preset, PRESETS["standard"])
    found: dict[str, Any] = {
        "method": GREEN_KUBO,
        "temperature": TEMPERATURE_K,
        "seeds": seeds,
        "length": length,
        "supercell": n_atoms,
        "keep_cell": False,
        "timestep": TIMESTEP_FS,
    } | dict(given)
    if found["method"] not in METHODS:
        raise UserError(f"--method {found['method']}: not known{did_you_mean(found['method'], METHODS)}")
    if found["method"] == DRIVEN:
        found = {"field": FIELD} | found
        _require_within("field", found["field"], 1.0, "1/Å")
    elif "field" in found:
        raise UserError(f"--field: only with --method {DRIVEN}; at equilibrium there is none")
    _require_within("temperature", found["temperature"], HOTTEST, "K")
    _require_within("length", found["length"], np.inf, "ps")
    _require_within("timestep", found["timestep"], 100.0, "fs")
    if found["seeds"] < 1:
        raise UserError(f"--seeds {found['seeds']}: at least one trajectory is needed")
    if isinstance(found["supercell"], str):
        found["supercell"] = supercell_of(found["supercell"])
    return found


def _require_within(name: str, value: float, most: float, unit: str) -> None:
    if not (np.isfinite(value) and 0 < value <= most):
        raise UserError(f"--{name} {value:g}: it must be a number of {unit} above zero, and a sensible one")


def supercell_of(text: str) -> int | list[int]:
    """Return the repeats along the axes in ``3,3,3``, or the number of atoms in ``216``."""
    if re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*,\s*\d+\s*)?", text):
        numbers = [int(word) for word in text.split(",")]
        if min(numbers) > 0:
            return numbers if len(numbers) == 3 else numbers[0]
    raise UserError(
        f"--supercell {text}: write it as repeats along the three axes, 3,3,3, or as a number of atoms, 216"
    )


def split(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the options of each trajectory: more seeds leave the first ones as they are.

    Fields act along x, y and z in turn, with full strength and with a share of it.
    """
    shared = {name: value for name, value in found.items() if name != "seeds"}
    parts = [shared | {"seed": seed} for seed in range(1, found["seeds"] + 1)]
    if found["method"] != DRIVEN:
        return parts
    return [
        part | {"axis": index // 2 % 3, "field": part["field"] * (WEAKER if index % 2 else 1.0)}
        for index, part in enumerate(parts)
    ]
