"""The command that fits one potential."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlip_bench.cli.arguments import (
    DatasetName,
    Preset,
    Seed,
    Settings,
    System,
    Train,
    Trust,
    with_reading_options,
)
from mlip_bench.cli.choices import chosen, parse_settings, plan_potentials, read_dataset
from mlip_bench.cli.printing import SOMETHING_FAILED, complain, console, say, say_of_data

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.reading import ReadingOptions


@with_reading_options
def fit(
    potential: Annotated[str, typer.Argument(help="Name of a family, e.g. snap.")],
    out: Annotated[Path, typer.Option(help="Folder for the potential.")],
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    preset: Preset = "standard",
    settings: Settings = None,
    seed: Seed = 0,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Fit one potential on the training data and save it."""
    from rich.progress import Progress

    from mlip_bench import measure
    from mlip_bench.hardware import available_cores
    from mlip_bench.potentials import family, family_names, notes
    from mlip_bench.run.child import ChildFailed, run_in_child

    (name,) = chosen(potential, family_names(), "potential")
    overrides = parse_settings(settings or [], [name])
    plan_potentials([name], preset, system or "", overrides)
    data = read_dataset(system, dataset, train, None, seed, reading, whole=True)
    (planned,) = plan_potentials([name], preset, data.system, overrides)
    say(f"data: {data.origin} ({len(data.train)} training)")
    say_of_data(data.notes)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"fit {name}", total=1.0)
        try:
            run_in_child(
                measure.fit.fit,
                *(family(name)(**planned.hypers).trusting(trust), data.train, seed, out, None),
                cores=available_cores(),
                progress=lambda share, _: progress.update(bar, completed=share),
            )
        except ChildFailed as failure:
            complain(f"failed: fit {name}: {failure}")
            raise typer.Exit(SOMETHING_FAILED) from None
    for note in notes(out):
        say(f"{name}: {note}")
    say(f"{name}: {out}")
