"""The command that fits one potential."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlip_bench.cli.arguments import (
    RANDOM,
    DatasetName,
    Device,
    Family,
    Fresh,
    Preset,
    Seed,
    Settings,
    StoreFolder,
    System,
    Timeout,
    Train,
    Trust,
    with_reading_options,
)
from mlip_bench.cli.choices import (
    fit_for,
    only_one,
    parse_duration,
    parse_settings,
    plan_potentials,
    with_device,
)
from mlip_bench.cli.printing import SOMETHING_FAILED, complain, say, say_of_data
from mlip_bench.cli.working import Work, prepared, say_taken, working

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.reading import ReadingOptions


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
    store: StoreFolder = None,
    fresh: Fresh = False,
    timeout: Timeout = None,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Fit one potential on the training data and save it; an interrupted fit goes on from where it was."""
    from mlip_bench.cli.requests import DataRequest
    from mlip_bench.potentials import notes
    from mlip_bench.results import TASK
    from mlip_bench.run.contents import TASK_ROWS
    from mlip_bench.run.executor import TaskFailed
    from mlip_bench.run.inputs import Data
    from mlip_bench.run.plan import Plan

    (name,) = with_device(only_one(potential), device)
    overrides, limit = parse_settings(settings or [], [name]), parse_duration(timeout, "--timeout")
    plan_potentials([name], preset, system or "", overrides)
    data = DataRequest(system, dataset, train, None, RANDOM, seed, None, reading).read(whole=True)
    fit_for([name], data, are_all=False)
    planned = plan_potentials([name], preset, data.system, overrides)
    plan = Plan(data, planned, (), seed, device, preset, trust)
    say(f"data: {data.origin} ({len(data.train)} training)")
    say_of_data(data.notes)
    with prepared(out, store) as kept:
        (task,) = plan.tasks(Data.of(data, kept.put_structures))
        with working(Work(out, kept, fresh, 1, limit), [task]) as executor:
            try:
                done = executor.submit(task).result()
            except TaskFailed as failure:
                complain(f"failed: {task.label}: {failure}")
                raise typer.Exit(SOMETHING_FAILED) from None
        say_taken(int(done.kept), 1, kept)
        shutil.copytree(done.folder, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(TASK, TASK_ROWS))
    for note in notes(out):
        say(f"{name}: {note}")
    say(f"{name}: {out}")
