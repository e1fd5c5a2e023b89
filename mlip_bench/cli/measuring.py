"""Commands that measure one potential: evaluate, measure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mlip_bench.cli.arguments import (
    CrystalFile,
    DatasetName,
    OfFile,
    Saved,
    System,
    Trust,
    with_reading_options,
)
from mlip_bench.cli.choices import chosen, read_dataset, read_potential
from mlip_bench.cli.printing import SOMETHING_FAILED, complain, console, say, say_of_data
from mlip_bench.errors import UserError

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.reading import ReadingOptions


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
) -> None:
    """Print the errors of a saved or published potential on test data."""
    from mlip_bench.data import consistency
    from mlip_bench.data.files import read_structures
    from mlip_bench.measure.errors import METRICS, comparison, counts, predict_each, summary

    potential = read_potential(path, settings or [], trust)
    for note in potential.notes_:
        say(f"{path}: {note}")
    if test is not None:
        found = read_structures(test, reading)
        structures, origin = found.structures, str(test)
        said = (*found.notes, *consistency.findings(structures))
    else:
        data = read_dataset(system, dataset, None, None, 0, reading)
        structures, origin, said = data.test, data.origin, data.notes
    say_of_data(said)
    predicted = predict_each(potential, structures)
    if predicted.failed and not predicted.structures:
        number, reason = next(iter(predicted.failed.items()))
        raise UserError(f"{origin}: no structure can be predicted; structure {number}: {reason}")
    for count in counts(predicted):
        complain(
            f"{count.value:.0f} {METRICS[count.metric].description}"
            + (f" ({count.note})" if count.note else "")
        )
    table = Table(
        "error", "value", "unit", title=f"{potential.family} on {len(structures)} structures, {origin}"
    )
    for name, value in summary(comparison(predicted.structures, predicted.predictions)).items():
        table.add_row(METRICS[name].description, f"{value:.3f}", METRICS[name].unit)
    console.print(table)


def measure(
    path: Saved,
    measures: Annotated[
        str,
        typer.Option("--measure", help="Properties, separated by commas: eos, elastic, phonons, defects."),
    ] = "all",
    system: System = None,
    crystal: CrystalFile = None,
    settings: OfFile = None,
    trust: Trust = False,
) -> None:
    """Print properties of a saved or published potential beside those of first principles."""
    from mlip_bench.data import records
    from mlip_bench.data.files import read_crystal
    from mlip_bench.measure import PROPERTIES, first_principles, property_of
    from mlip_bench.report import properties

    names = chosen(measures, list(PROPERTIES), "property")
    potential = read_potential(path, settings or [], trust)
    for note in potential.notes_:
        say(f"{path}: {note}")
    name = system or "-".join(potential.elements_)
    atoms = records.crystal(name) if crystal is None else read_crystal(crystal)
    failures: list[str] = []
    findings: list[str] = []
    for title in names:
        try:
            found = property_of(potential, title, atoms)
        except UserError as error:
            failures.append(str(error))
            continue
        table = Table("property", "potential", "reference", "deviation", title=f"{title} of {atoms.symbols}")
        for cells in properties.beside_reference(title, found, first_principles.of(name, atoms, title)):
            table.add_row(*cells)
        console.print(table)
        findings += found.errors
    # What does not hold within a property is a finding; one that cannot be measured at all is a failure.
    for sentence in dict.fromkeys(findings + failures):
        complain(f"failed: {sentence}")
    if failures:
        raise typer.Exit(SOMETHING_FAILED)
