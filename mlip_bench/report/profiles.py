"""Profiles: what a verdict weighs, and how much: TOML files with a table ``weights`` by metric."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlip_bench.errors import UserError, did_you_mean

FOLDER = files("mlip_bench.report") / "profiles"
SUFFIX = ".toml"
DEFAULT = "balanced"


@dataclass(frozen=True)
class Profile:
    """Weights of the numbers of a potential, by metric; those that are not named weigh nothing."""

    name: str
    description: str
    weights: Mapping[str, float]


def names() -> list[str]:
    """Return the profiles that ship, the default first."""
    found = [entry.name.removesuffix(SUFFIX) for entry in FOLDER.iterdir() if entry.name.endswith(SUFFIX)]
    return sorted(found, key=lambda name: (name != DEFAULT, name))


def shipped(name: str) -> Profile:
    """Return a profile that ships."""
    return _parsed(name, (FOLDER / f"{name}{SUFFIX}").read_text())


def is_shipped(profile: Profile) -> bool:
    """Tell whether a profile is one that ships."""
    return profile.name in names() and profile == shipped(profile.name)


def chosen(profile: str | None, weights: str | None) -> Profile:
    """Return the profile of a name or file, or of weights as they are typed: ``force_rmse=2,cost_ratio=1``.

    The default where neither is given; both, and what is no profile, are a :class:`UserError`.
    """
    if profile is not None and weights is not None:
        raise UserError("--weights are a profile of their own: leave --profile out")
    if weights is not None:
        return _typed(weights)
    if profile is None or profile in names():
        return shipped(profile or DEFAULT)
    path = Path(profile)
    if path.suffix != SUFFIX and not path.exists():
        raise UserError(f"--profile {profile}: no such profile{did_you_mean(profile, names())}")
    try:
        return _parsed(profile, path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--profile {profile}: cannot be read ({error})") from error


def check(profile: Profile, known: Iterable[str]) -> None:
    """Raise :class:`UserError`, with the nearest name, for a metric that nothing measures."""
    known = list(known)
    for metric in profile.weights:
        if metric not in known:
            raise UserError(
                f"{profile.name}: '{metric}' is no metric that can be weighed{did_you_mean(metric, known)}"
            )


def _typed(text: str) -> Profile:
    weights: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        metric, equals, weight = part.partition("=")
        if not equals:
            raise UserError(f"--weights {part}: not a metric and its weight, as force_rmse=2")
        if metric.strip() in weights:
            raise UserError(f"--weights: {metric.strip()} is given twice")
        try:
            weights[metric.strip()] = float(weight)
        except ValueError:
            raise UserError(f"--weights {part}: {weight or 'nothing'} is no number") from None
    return _checked(f"--weights {text}", "own weights", weights, "own weights")


def _parsed(name: str, text: str) -> Profile:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"--profile {name}: not TOML ({error})") from error
    unknown = sorted(set(content) - {"description", "weights"})
    if unknown:
        raise UserError(
            f"--profile {name}: unknown key {unknown[0]}; a profile has description and [weights]"
        )
    weights = content.get("weights")
    if not isinstance(weights, dict):
        raise UserError(f"--profile {name}: a profile has a table [weights] by metric")
    description = str(content.get("description", "own weights"))
    return _checked(f"--profile {name}", Path(name).stem, weights, description)


def _checked(where: str, name: str, weights: Mapping[str, Any], description: str) -> Profile:
    """Return the profile; weights that are no numbers from zero up, or are all zero, are refused."""
    for metric, weight in weights.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (is_number and math.isfinite(weight) and weight >= 0):
            raise UserError(f"{where}: the weight of {metric} is {weight}; it must be a number, 0 or more")
    if not any(weights.values()):
        raise UserError(f"{where}: nothing has a weight above 0, so nothing can be chosen")
    return Profile(name, description, {metric: float(weight) for metric, weight in weights.items()})
