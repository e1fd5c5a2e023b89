"""Commands that measure one potential: evaluate, measure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mlip_bench.cli import completion
from mlip_bench.cli.answers import Answer, answering
from mlip_bench.cli.arguments import (
    CrystalFile,
    DatasetName,
    OfFile,
    Saved,
    System,
    Trust,
    with_measure_options,
    with_reading_options,
)
from mlip_bench.cli.choices import chosen, read_dataset, read_potential
from mlip_bench.cli.printing import say, say_of_data
from mlip_bench.errors import UserError

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from ase import Atoms

    from mlip_bench.data.reading import ReadingOptions
    from mlip_bench.measure.base import Found, Options
    from mlip_bench.potentials import Potential


@answering
@with_reading_options
def evaluate(
    path: Saved,
    system: System = None,
    dataset: DatasetName = "auto",
    test: Annotated[Path | None, typer.Option("--test", help="Own structures to evaluate on.")] = None,
    settings: OfFile = None,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> Answer:
    """Print the errors of a saved or published potential on test data."""
    from mlip_bench.measure.errors import METRICS, counts, errors_of, predict_each

    potential = read_potential(path, settings or [], trust)
    for note in potential.notes_:
        say(f"{path}: {note}")
    structures, origin, said = _test_data(system, dataset, test, reading)
    say_of_data(said)
    predicted = predict_each(potential, structures)
    if predicted.failed and not predicted.structures:
        number, reason = next(iter(predicted.failed.items()))
        raise UserError(f"{origin}: no structure can be predicted; structure {number}: {reason}")
    found = errors_of(predicted)
    errors: list[dict[str, Any]] = [
        {
            "metric": one.metric,
            "description": METRICS[one.metric].description,
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "unit": METRICS[one.metric].unit,
        }
        for one in found
    ]
    counted = [
        {
            "metric": count.metric,
            "description": METRICS[count.metric].description,
            "value": int(count.value),
            "note": count.note,
        }
        for count in counts(predicted)
    ]
    document = {
        "potential": path,
        "family": potential.family,
        "data": origin,
        "n_structures": len(structures),
        "errors": errors,
        "counts": counted,
        "notes": [*potential.notes_, *said],
    }
    table = Table(
        "error",
        "value",
        "95 % interval",
        "unit",
        title=f"{potential.family} on {len(structures)} structures, {origin}",
    )
    for error in errors:
        ends = "" if error["low"] is None else f"{error['low']:.3f} to {error['high']:.3f}"
        table.add_row(error["description"], f"{error['value']:.3f}", ends, error["unit"])
    sentences = [note for note in dict.fromkeys(one.note for one in found) if note]
    sentences += [
        f"{count['value']} {count['description']}" + (f" ({count['note']})" if count["note"] else "")
        for count in counted
    ]
    return Answer(document, [table], sentences)


def _test_data(
    system: str | None, dataset: str, test: Path | None, reading: "ReadingOptions"
) -> tuple[Sequence["Atoms"], str, Sequence[str]]:
    """Return the structures to evaluate on, where they are from, and what is to be said of them."""
    from mlip_bench.data import consistency
    from mlip_bench.data.files import read_structures

    if test is None:
        if system is None and dataset == "auto":
            raise UserError("give --system (for example Mo) or your own data with --test FILE")
        data = read_dataset(system, dataset, None, None, 0, reading)
        return data.test, data.origin, data.notes
    if system is not None or dataset != "auto":
        raise UserError("--test names the data to evaluate on: leave --dataset and --system out")
    found = read_structures(test, reading)
    return found.structures, str(test), (*found.notes, *consistency.findings(found.structures))


@answering
@with_measure_options
def measure(
    path: Saved,
    measures: Annotated[
        str,
        typer.Option(
            "--measure",
            help="Properties, separated by commas: eos, elastic, phonons, defects (all), physicality, "
            "conductivity.",
            autocompletion=completion.some_of(completion.properties),
        ),
    ] = "all",
    system: System = None,
    crystal: CrystalFile = None,
    settings: OfFile = None,
    trust: Trust = False,
    *,
    given: dict[str, dict[str, Any]],
) -> Answer:
    """Print properties of a saved or published potential beside those of first principles."""
    from mlip_bench.data import records
    from mlip_bench.data.files import read_crystal
    from mlip_bench.measure import BY_NAME, MEASURES, PROPERTIES, first_principles, properties
    from mlip_bench.run.plan import options_of

    known = [*PROPERTIES, *BY_NAME]
    names = list(PROPERTIES) if measures == "all" else chosen(measures, known, "property")
    options = options_of(names, "standard", given)
    potential = read_potential(path, settings or [], trust)
    for note in potential.notes_:
        say(f"{path}: {note}")
    name = system or "-".join(potential.elements_)
    atoms = records.crystal(name) if crystal is None else read_crystal(crystal)
    failures: list[str] = []
    findings: list[str] = []
    values: list[dict[str, Any]] = []
    tables = []
    for title in names:
        impossible = MEASURES[title].impossible(type(potential))
        if impossible is not None and measures != "all":
            raise UserError(f"{title}: {impossible}")
        if impossible is not None:
            findings.append(f"{title}: {impossible}")
            continue
        try:
            found = _found(potential, title, atoms, options[title])
        except UserError as error:
            failures.append(str(error))
            continue
        expected = first_principles.of(name, atoms, title)
        table = Table("property", "potential", "reference", "deviation", title=f"{title} of {atoms.symbols}")
        for cells in properties.beside_reference(title, found, expected):
            table.add_row(*cells)
        tables.append(table)
        values += _beside_reference(title, found, expected)
        findings += found.errors
    # What does not hold within a property is a finding; one that cannot be measured at all is a failure.
    failed = list(dict.fromkeys(findings + failures))
    document = {
        "potential": path,
        "family": potential.family,
        "crystal": str(atoms.symbols),
        "properties": values,
        "failed": failed,
        "notes": potential.notes_,
    }
    return Answer(document, tables, [f"failed: {sentence}" for sentence in failed], failed=bool(failures))


def _found(potential: "Potential", title: str, atoms: "Atoms", options: "Options") -> "Found":
    """Return a property; of one that takes long, say how far it has come."""
    from mlip_bench.measure import BY_NAME, MEASURES, property_of

    if title not in BY_NAME:
        return property_of(potential, title, atoms)
    if MEASURES[title].parts is not None:
        again = f"run --potential file:... --measure {title}"
        say(f"{title}: not kept if it is ended; {again} goes on, side by side")
    tenths: set[int] = set()

    def progress(share: float, message: str) -> None:
        if (tenth := int(10 * share)) not in tenths:
            tenths.add(tenth)
            say(f"{title}: {100 * share:.0f} %, {message}")

    found = BY_NAME[title](potential, atoms, options, progress)
    for note in dict.fromkeys(value.note for value in found.values if value.note):
        say(f"{title}: {note}")
    return found


def _beside_reference(title: str, found: "Found", expected: "Found | None") -> list[dict[str, Any]]:
    """Return each number of a property with that of the reference and the deviation from it."""
    from mlip_bench.measure import metric
    from mlip_bench.measure.properties import Property, deviation

    known = (
        {(one.metric, one.group): one.value for one in expected.values if one.error is None}
        if expected
        else {}
    )
    values = []
    for value in found.values:
        reference = known.get((value.metric, value.group))
        declared = metric(title, value.metric)
        values.append(
            {
                "measure": title,
                "metric": value.metric,
                "description": declared.description,
                "group": value.group,
                "value": value.value,
                "spread": value.spread,
                "unit": declared.unit,
                "reference": reference,
                "deviation_percent": deviation(
                    value.value, reference, Property(title, value.metric, value.group)
                ),
                "error": value.error,
                "note": value.note,
            }
        )
    return values
