"""The commands of data: list, fetch, show, label."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mlip_bench.cli import completion
from mlip_bench.cli.arguments import (
    DatasetName,
    StoreFolder,
    System,
    Test,
    Timeout,
    Train,
    with_reading_options,
)
from mlip_bench.cli.choices import parse_duration, read_dataset
from mlip_bench.cli.printing import console, say, say_of_data, tell
from mlip_bench.errors import UserError, did_you_mean

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.reading import ReadingOptions

app = typer.Typer(no_args_is_help=True, help="Datasets: what there is, download, look into one.")


@app.command("list")
def data_list() -> None:
    """List the datasets, their systems, and where each file would come from."""
    from mlip_bench.data import records

    table = Table("dataset", "system", "here", "level of theory", "licence")
    for record in records.records().values():
        for system in record.systems:
            found = record.locate(system, download=False)
            where = "no, will be downloaded" if found is None else found["train"].source
            table.add_row(
                record.name, system, where, record.content["level_of_theory"], record.content["licence"]
            )
    console.print(table)


@app.command("fetch")
def data_fetch(
    dataset: Annotated[
        str,
        typer.Argument(help="Name of a dataset.", autocompletion=completion.one_of(completion.datasets)),
    ],
    system: System = None,
) -> None:
    """Download a dataset into the cache, all systems or one, and verify it."""
    from mlip_bench.data import records

    known = records.records()
    if dataset not in known:
        raise UserError(f"unknown dataset '{dataset}'{did_you_mean(dataset, known)}")
    systems = [system] if system else known[dataset].systems
    for name in systems:
        data = records.load(dataset, name)
        say(f"{data.origin}: {len(data.train)} training, {len(data.test)} test structures")


@app.command("show")
@with_reading_options
def data_show(
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    test: Test = None,
    histogram: Annotated[Path | None, typer.Option(help="Write histograms to this PNG, SVG or PDF.")] = None,
    *,
    reading: "ReadingOptions",
) -> None:
    """Print sizes per group, elements, ranges of energy, force and stress, and the closest distance."""
    from mlip_bench.data.base import NOT_STATED
    from mlip_bench.data.summary import COLUMNS, draw_histograms, summarise

    data = read_dataset(system, dataset, train, test, 0, reading, whole=test is None)
    say("; ".join([data.origin, *(one for one in (data.level_of_theory, data.licence) if one != NOT_STATED)]))
    say_of_data(data.notes)
    table = Table("split", "group", "structures", "atoms", "elements", *COLUMNS, title=data.system)
    for line in summarise(data):
        table.add_row(*map(escape, line))
    console.print(table)
    if histogram is not None:
        draw_histograms(data, histogram)
        say(f"histograms: {histogram}")


@app.command("label")
def data_label(
    structures: Annotated[
        Path | None, typer.Argument(help="Structures to label; without them, the recipe's reference is made.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A recipe that ships (Mo, Si, ...) or a TOML file.")] = "Mo",
    out: Annotated[Path | None, typer.Option(help="File of labelled structures, or folder.")] = None,
    calculator: Annotated[
        str | None, typer.Option(help="Another calculator of ASE than the recipe's, with its settings.")
    ] = None,
    python: Annotated[str, typer.Option(help="The Python that has the calculator.")] = "/usr/bin/python3",
    store: StoreFolder = None,
    timeout: Timeout = None,
) -> None:
    """Compute reference values with a first-principles code; what is done already is kept."""
    import dataclasses

    from mlip_bench.data.labels import read_recipe
    from mlip_bench.measure import PROPERTIES, first_principles
    from mlip_bench.run.store import STORE, Store, sole_writer

    limit = parse_duration(timeout, "--timeout")
    chosen_recipe = read_recipe(recipe)
    if calculator is not None:
        chosen_recipe = dataclasses.replace(chosen_recipe, calculator=calculator)
    if structures is not None:
        target = out or _labelled(structures)
        journals = Store(store or target.absolute().parent / STORE).labels
        first_principles.label_file(structures, chosen_recipe, python, target, journals, tell, limit)
        return
    folder = out or Path(f"reference-{chosen_recipe.system}")
    with sole_writer(folder):
        journals = Store(store or folder.absolute().parent / STORE).labels
        first_principles.build(chosen_recipe, PROPERTIES, python, folder, journals, tell, limit)
    say(f"reference: {folder / first_principles.PROPERTIES}")


def _labelled(structures: Path) -> Path:
    """Return where the labels of a file go by themselves; of a name with dots, all of it is kept."""
    name = structures.name.removesuffix(".xyz").removesuffix(".extxyz")
    return structures.with_name(f"{name}.labelled.xyz")
