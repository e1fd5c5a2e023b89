"""What the shell completes: names of potentials, systems, datasets, measurements, presets, devices."""

from collections.abc import Callable, Iterable
from pathlib import Path

Complete = Callable[[str], list[str]]
"""Returns what a word that was begun can become."""

# Before the path of a potential that a run reads rather than fits.
FILE = "file:"


def one_of(known: Callable[[], Iterable[str]]) -> Complete:
    """Complete one name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in known() if name.startswith(incomplete)]

    return complete


def some_of(known: Callable[[], Iterable[str]]) -> Complete:
    """Complete the last name of several separated by commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        return [f"{before}{comma}{name}" for name in known() if name.startswith(last) and name not in taken]

    return complete


def dataset(incomplete: str) -> list[str]:
    """Complete the name of a dataset, or of a file."""
    return one_of(lambda: ["auto", *datasets()])(incomplete) + _paths(incomplete)


def potentials(incomplete: str) -> list[str]:
    """Complete the last of several families, or of the files of potentials."""
    before, comma, last = incomplete.rpartition(",")
    if last.startswith(FILE):
        return [f"{before}{comma}{FILE}{path}" for path in _paths(last.removeprefix(FILE))]
    return some_of(lambda: ["all", *families(), FILE])(incomplete)


def families() -> list[str]:
    """Return the names of all families."""
    from mlip_bench.potentials import family_names

    return family_names()


def systems() -> list[str]:
    """Return the systems that some dataset has."""
    from mlip_bench.data import records

    return sorted({system for record in records.records().values() for system in record.systems})


def measures() -> list[str]:
    """Return the names of all measurements."""
    from mlip_bench.measure import MEASURES

    return list(MEASURES)


def properties() -> list[str]:
    """Return the names of the properties of a crystal."""
    from mlip_bench.measure import FROM_DYNAMICS, PROPERTIES

    return ["all", *PROPERTIES, *FROM_DYNAMICS]


def presets() -> tuple[str, ...]:
    """Return the names of all presets."""
    from mlip_bench.potentials.presets import PRESETS

    return PRESETS


def profiles() -> list[str]:
    """Return what a verdict can weigh by name."""
    from mlip_bench.report.profiles import names

    return names()


def splits() -> tuple[str, ...]:
    """Return the ways to set test data aside."""
    from mlip_bench.data.splits import KINDS

    return KINDS


def devices() -> tuple[str, ...]:
    """Return where a family can compute."""
    from mlip_bench.cli.choices import DEVICES

    return DEVICES


def datasets() -> list[str]:
    """Return the names of all datasets."""
    from mlip_bench.data import records

    return list(records.records())


def _paths(incomplete: str) -> list[str]:
    """Return the files and folders whose path begins so; folders end in a slash."""
    folder, slash, begun = incomplete.rpartition("/")
    try:
        entries = sorted(Path(folder or slash or ".").iterdir())
    except OSError:
        return []
    return [
        f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(begun) and (begun or not entry.name.startswith("."))
    ]
