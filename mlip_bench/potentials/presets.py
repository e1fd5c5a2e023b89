"""Hyper-parameters per family, preset and system, from the folder ``potentials/``."""

import tomllib
from typing import Any

from mlip_bench.data.shipped import shipped_folder
from mlip_bench.errors import UserError, did_you_mean

PRESETS = ("quick", "standard", "paper", "tuned")

# Keys of a table that are no systems: presets, and what a sweep and a tuning go through.
RESERVED = (*PRESETS, "ladder", "tune")

# A preset that another one fills where it says nothing.
BASED_ON = {"tuned": "standard"}


def tables(family: str) -> dict[str, Any]:
    """Return the content of ``potentials/<family>.toml``, or nothing where there is no such file."""
    path = shipped_folder("potentials") / f"{family}.toml"
    return tomllib.loads(path.read_text()) if path.is_file() else {}


def with_sources(family: str, preset: str, system: str) -> dict[str, tuple[Any, str]]:
    """Return value and source of each hyper-parameter that the preset sets for this system.

    The tables ``[all]``, ``[<system>]``, ``[<preset>.all]`` and ``[<preset>.<system>]`` are read in this
    order, and later ones win; ``tuned`` comes after those of ``standard``.
    """
    if preset not in PRESETS:
        raise UserError(f"unknown preset '{preset}'{did_you_mean(preset, PRESETS)}")
    content = tables(family)
    based_on = content.get(BASED_ON.get(preset, ""), {})
    of_preset = content.get(preset, {})
    found: dict[str, tuple[Any, str]] = {}
    # The names of presets are tables of tables, also where someone calls a system so.
    of_system = {} if system in RESERVED else content.get(system, {})
    for table in (
        content.get("all", {}),
        of_system,
        based_on.get("all", {}),
        based_on.get(system, {}),
        of_preset.get("all", {}),
        of_preset.get(system, {}),
    ):
        found |= {name: (entry["value"], entry["source"]) for name, entry in table.items()}
    return found


def fills_in(family: str, preset: str, system: str) -> str | None:
    """Return the preset whose values are taken where this one says nothing of a system, else None."""
    other = BASED_ON.get(preset)
    said = tables(family).get(preset, {})
    return None if other is None or said.get("all") or said.get(system) else other


def ladder(family: str) -> list[dict[str, Any]]:
    """Return the sizes of a family for a sweep, from cheap to dear: hyper-parameters and ``seconds``."""
    return list(tables(family).get("ladder", []))


def hypers(family: str, preset: str, system: str) -> dict[str, Any]:
    """Return the value of each hyper-parameter that the preset sets for this system."""
    return {name: value for name, (value, _) in with_sources(family, preset, system).items()}
