"""The command that fits one potential."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mlip_bench
from mlip_bench.cli.arguments import (
    DatasetName,
    Device,
    Family,
    Preset,
    Seed,
    Settings,
    System,
    Train,
    Trust,
    with_reading_options,
)
from mlip_bench.cli.choices import chosen, parse_settings, plan_potentials, read_dataset, with_device
from mlip_bench.cli.printing import SOMETHING_FAILED, complain, console, say, say_of_data

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.dataset import Dataset
    from mlip_bench.data.reading import ReadingOptions
    from mlip_bench.potentials import Potential


@with_reading_options
def fit(
    potential: Family,
    out: Annotated[Path, typer.Option(help="Folder for the potential.")],
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    preset: Preset = "standard",
    settings: Settings = None,
    device: Device = "cpu",
    seed: Seed = 0,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Fit one potential on the training data and save it; an interrupted fit goes on from where it was."""
    from mlip_bench.child import ChildFailed
    from mlip_bench.potentials import family, family_names, notes

    (name,) = with_device(chosen(potential, family_names(), "potential"), device)
    overrides = parse_settings(settings or [], [name])
    plan_potentials([name], preset, system or "", overrides)
    data = read_dataset(system, dataset, train, None, seed, reading, whole=True)
    (planned,) = plan_potentials([name], preset, data.system, overrides)
    say(f"data: {data.origin} ({len(data.train)} training)")
    say_of_data(data.notes)
    out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is said before the fit
    try:
        _fit(family(name)(**planned.hypers).on(device).trusting(trust), data, seed, out)
    except ChildFailed as failure:
        complain(f"failed: fit {name}: {failure}")
        raise typer.Exit(SOMETHING_FAILED) from None
    for note in notes(out):
        say(f"{name}: {note}")
    say(f"{name}: {out}")


def _fit(potential: "Potential", data: "Dataset", seed: int, out: Path) -> None:
    """Fit in a child process, with the state kept beside ``out`` until the potential is saved."""
    from rich.progress import Progress

    from mlip_bench.child import available_cores, run_in_child
    from mlip_bench.cli import unfinished
    from mlip_bench.measure.fit import fit as fit_and_save

    with (
        unfinished.checkpoint(unfinished.folder_of(out), _decides(potential, data, seed)) as state,
        Progress(console=console, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task(f"fit {potential.family}", total=1.0)
        run_in_child(
            fit_and_save,
            *(potential, data, seed, out, state),
            cores=available_cores(),
            progress=lambda share, _: progress.update(bar, completed=share),
        )


def _decides(potential: "Potential", data: "Dataset", seed: int) -> dict[str, Any]:
    """Return all that decides the result of a fit, as a sentence would name it."""
    from mlip_bench.cli import unfinished

    hypers = dataclasses.asdict(potential.hypers)
    return {
        "version of mlip-bench": mlip_bench.__version__,
        "family": potential.family,
        "hyper-parameters": hypers,
        "files of hyper-parameters": unfinished.file_digests(hypers),
        "data": data.sha256,
        "seed": seed,
        "device": potential.device,
    }
