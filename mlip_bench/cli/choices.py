"""What the options of the command line mean: data, families, hyper-parameters, potentials of a plan."""

import dataclasses
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from mlip_bench.cli.arguments import RANDOM
from mlip_bench.cli.completion import FILE
from mlip_bench.cli.printing import say
from mlip_bench.errors import UserError, did_you_mean

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.dataset import Dataset
    from mlip_bench.data.reading import ReadingOptions
    from mlip_bench.potentials import Potential
    from mlip_bench.run.inputs import PotentialPlan

# Units of a time, in seconds.
UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

# Where a family can compute.
DEVICES = ("cpu", "cuda")


def read_dataset(
    system: str | None,
    dataset: str,
    train: Path | None,
    test: Path | None,
    seed: int,
    reading: "ReadingOptions | None" = None,
    split: str = RANDOM,
    whole: bool = False,
) -> "Dataset":
    """Return the data that the options name: own files, or a named dataset.

    ``split`` says how own data without a test file is split; ``whole`` keeps it together instead.
    """
    from mlip_bench.data import records
    from mlip_bench.data.dataset import own_data
    from mlip_bench.data.files import AS_THE_FILE_SAYS
    from mlip_bench.data.splits import KINDS

    reading = reading or AS_THE_FILE_SAYS
    is_file = Path(dataset).suffix or Path(dataset).exists()
    if train is None and is_file and dataset not in records.records():
        train = Path(dataset)
    elif train is not None and dataset != "auto":
        raise UserError(f"--train and --dataset {dataset} both name the data; leave one of them out")
    if train is None and test is not None:
        raise UserError("--test needs --train; to evaluate a saved potential use: mlip-bench evaluate")
    if split not in KINDS:
        raise UserError(f"--split {split}: not a way to split{did_you_mean(split, KINDS)}")
    if split != RANDOM and (train is None or test is not None):
        raise UserError(f"--split {split}: nothing is split here; it is for own data without --test")
    if train is not None:
        return own_data(train, test, seed, system, reading, None if whole else split)
    refuse_reading_options(reading)
    if system is None:
        raise UserError("give --system (for example Mo) or your own data with --train FILE")
    return records.load(dataset, system)


def refuse_reading_options(reading: "ReadingOptions") -> None:
    """Raise :class:`UserError` where options of reading are given, but no file of one's own to read."""
    from mlip_bench.data.files import AS_THE_FILE_SAYS

    if reading != AS_THE_FILE_SAYS:
        given = [field.name for field in dataclasses.fields(reading) if getattr(reading, field.name)]
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"{names}: for own data only; a named dataset is read as its record says")


def only_one(text: str) -> list[str]:
    """Return the one family that is named; raises UserError where there are several."""
    from mlip_bench.potentials import family_names

    names = chosen(text, family_names(), "potential")
    if len(names) != 1:
        raise UserError(f"{text}: one potential at a time here; mlip-bench run takes several")
    return names


def chosen(text: str, known: list[str], what: str) -> list[str]:
    """Return the names in a comma-separated list, or all of them for ``all``."""
    if text == "all":
        return known
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UserError(f"unknown {what} '{name}'{did_you_mean(name, known)}")
    if not names:
        raise UserError(f"no {what} named; known: {', '.join(known)}")
    return list(dict.fromkeys(names))


def parse_settings(
    settings: list[str], names: list[str], option: str = "--set", example: str = "snap.twojmax=8"
) -> dict[str, dict[str, Any]]:
    """Return ``{family: {hyper-parameter: value}}`` from texts like ``snap.twojmax=8``."""
    parsed: dict[str, dict[str, Any]] = {name: {} for name in names}
    for setting in settings:
        key, equals, text = setting.partition("=")
        name, dot, hyper = key.strip().partition(".")
        if not equals or not dot:
            raise UserError(f"{option} {setting}: write it as family.name=value, for example {example}")
        if name not in parsed:
            raise UserError(f"{option} {setting}: '{name}' is not in this run{did_you_mean(name, parsed)}")
        parsed[name][hyper] = _value(text.strip())
    return parsed


def parse_varied(settings: list[str], names: list[str]) -> dict[str, dict[str, list[Any]]]:
    """Return ``{family: {hyper-parameter: values}}`` from texts like ``snap.twojmax=2,4,6``."""
    varied = parse_settings(settings, names, "--vary", "snap.twojmax=4,6,8")
    for name, hypers in varied.items():
        for hyper, value in hypers.items():
            if value in ("", []):
                raise UserError(f"--vary {name}.{hyper}=: no values; write them as --vary snap.twojmax=4,6,8")
    return {
        name: {hyper: value if isinstance(value, list) else _values(value) for hyper, value in hypers.items()}
        for name, hypers in varied.items()
    }


def parse_fractions(text: str) -> list[float]:
    """Return shares of the training data, in ascending order, from ``0.1,0.2,0.5,1``."""
    fractions: list[float] = []
    for word in text.split(","):
        try:
            fraction = float(word)
        except ValueError as error:
            raise UserError(
                f"--fractions {text}: '{word.strip()}' is no number; write them as 0.1,0.2,0.5,1"
            ) from error
        if not 0 < fraction <= 1:
            raise UserError(f"--fractions {text}: {word.strip()} is not above 0 and at most 1")
        if fraction in fractions:
            raise UserError(f"--fractions {text}: {word.strip()} is there twice")
        fractions.append(fraction)
    if fractions == [1.0]:
        raise UserError(f"--fractions {text}: all of the data alone is no curve; write them as 0.1,0.2,0.5,1")
    if 1.0 not in fractions:
        raise UserError(
            f"--fractions {text}: 1, all of the data, must be among them: learning curves are told from there"
        )
    return sorted(fractions)


def plan_potentials(
    names: list[str], preset: str, system: str, overrides: dict[str, dict[str, Any]]
) -> tuple["PotentialPlan", ...]:
    """Return the potentials of a plan, with their hyper-parameters checked."""
    from mlip_bench.potentials import presets
    from mlip_bench.run.inputs import PotentialPlan

    planned = []
    for name in names:
        potential = PotentialPlan(name, name, presets.hypers(name, preset, system) | overrides[name])
        potential.resolved()
        planned.append(potential)
    return tuple(planned)


def apart(potentials: str) -> tuple[list[Path], str]:
    """Return the files that ``file:PATH`` names in a comma-separated list, and the rest of the list."""
    words = [word.strip() for word in potentials.split(",") if word.strip()]
    files = [Path(word.removeprefix(FILE)) for word in words if word.startswith(FILE)]
    rest = ",".join(word for word in words if not word.startswith(FILE))
    return files, rest if files else potentials


def read_potential(path: Path, settings: list[str], trust: bool) -> "Potential":
    """Read a saved potential, or a file with the hyper-parameters that ``settings`` give it."""
    from mlip_bench.potentials import kind_of, load

    name = kind_of(path).family
    return load(path, trust=trust, **parse_settings(settings, [name])[name])


def plan_files(
    files: list[Path],
    taken: list[str],
    device: str,
    overrides: dict[str, dict[str, Any]],
    trust: bool,
) -> tuple["PotentialPlan", ...]:
    """Return the plan of potentials that are read, not fitted, each under a name of its own.

    Of the settings of a family that is fitted as well, files take those that they leave open.
    """
    from mlip_bench.potentials import kind_of, load, whole
    from mlip_bench.run.inputs import PotentialPlan

    planned, names = [], set(taken)
    for path in map(whole, files):
        kind = kind_of(path)
        given = overrides[kind.family]
        if kind.family in taken:
            given = {key: value for key, value in given.items() if key in kind.set_on_reading}
        potential = load(path, trust=trust, **given).on(device)
        # A dot in a folder's name begins no ending.
        name = path.absolute().name if path.is_dir() else path.stem
        if name in names:
            raise UserError(
                f"{path}: another potential of this run is called '{name}' already; rename the file"
            )
        names.add(name)
        planned.append(
            PotentialPlan(name, potential.family, dataclasses.asdict(potential.hypers), path.resolve())
        )
    return tuple(planned)


def with_device(names: list[str], device: str, here: bool = True) -> list[str]:
    """Return the families that can compute on a device, and say which cannot; raises where none can.

    ``here`` also where this machine has no such device.
    """
    from mlip_bench.potentials import family
    from mlip_bench.potentials.base import refuse_missing_gpu

    if device not in DEVICES:
        raise UserError(f"unknown device '{device}'{did_you_mean(device, DEVICES)}")
    if device == "cpu":
        return names
    able = [name for name in names if device in family(name).devices]
    others = [name for name in names if name not in able]
    if not able:
        raise UserError(f"--device cuda: no code for GPUs in {', '.join(names)}; use cpu")
    if here:
        refuse_missing_gpu()
    if others:
        say(f"left out, without code for GPUs: {', '.join(others)}")
    return able


def fit_for(names: list[str], data: "Dataset", are_all: bool) -> list[str]:
    """Return the families that can learn from the data, and say which cannot where all were asked for.

    Raises :class:`UserError` where one that was called by name cannot.
    """
    from mlip_bench.data.reference import has_energy
    from mlip_bench.potentials import family

    n_without = sum(not has_energy(atoms) for atoms in data.train)
    others = [name for name in names if n_without and "energy" in family(name).predicts]
    reason = f"{n_without} of {len(data.train)} training structures have no energy"
    if others and not are_all:
        raise UserError(f"{', '.join(others)}: {reason}; only a family that predicts forces alone needs none")
    if others:
        say(f"left out, because {reason}: {', '.join(others)}")
    return [name for name in names if name not in others]


def parse_cores(text: str, measures: list[str], device: str, here: bool) -> tuple[int, ...]:
    """Return the numbers of cores in a comma-separated list, for measures that can be made on several.

    ``here`` no more than this process may use. Raises :class:`UserError` where one is none.
    """
    from mlip_bench.hardware import available_cores
    from mlip_bench.measure import MEASURES

    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UserError(f"--cores {text}: write it as numbers of cores, for example 1,2,4")
    cores = tuple(sorted({int(word) for word in words}))
    able = [name for name, measure in MEASURES.items() if measure.on_cores]
    if cores != (1,) and not set(able) & set(measures):
        raise UserError(f"--cores: only with --measure {' or '.join(able)}")
    if cores != (1,) and device != "cpu":
        raise UserError("--cores: a GPU is fed by one core; leave it out with --device cuda")
    n_here = len(available_cores())
    if here and cores[-1] > n_here:
        raise UserError(f"--cores {cores[-1]}: this process may use {n_here} core{'s' if n_here > 1 else ''}")
    return cores


def refuse_impossible(names: list[str], measures: list[str]) -> None:
    """Raise :class:`UserError` for a measure that needs what a family, also called by name, has not."""
    from mlip_bench.measure import MEASURES
    from mlip_bench.potentials import family

    for measure in measures:
        for name in names:
            reason = MEASURES[measure].impossible(family(name))
            if reason is not None:
                raise UserError(f"{measure}: {reason}")


@overload
def parse_duration(text: str, option: str) -> float: ...


@overload
def parse_duration(text: None, option: str) -> None: ...


def parse_duration(text: str | None, option: str) -> float | None:
    """Return a time in seconds from ``90s``, ``30min``, ``30m`` or ``2h``; None of nothing."""
    if text is None:
        return None
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip() or "s"
    try:
        seconds = float(number) * UNITS[unit]
    except (ValueError, KeyError) as error:
        raise UserError(f"{option} {text}: write it as 90s, 30min or 2h") from error
    if not 0 < seconds < float("inf"):
        raise UserError(f"{option} {text}: it must be longer than nothing, and end")
    return seconds


def _value(text: str) -> Any:
    """Read a value as TOML does; what is no TOML value, a path with ``#`` for example, is a word."""
    try:
        # In brackets, so that nothing of the text is taken for a comment.
        values = tomllib.loads(f"values = [{text}]")["values"]
    except tomllib.TOMLDecodeError:
        return text
    return values[0] if len(values) == 1 else text


def _values(value: Any) -> list[Any]:
    """Return the values of a comma-separated list that is no TOML value as a whole."""
    if not isinstance(value, str):
        return [value]
    whole = _value(f"[{value}]")
    return whole if isinstance(whole, list) else [word.strip() for word in value.split(",")]
