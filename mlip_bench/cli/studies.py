"""Commands of several potentials: run, sweep, tune."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlip_bench.cli.arguments import (
    RANDOM,
    CrystalFile,
    DatasetName,
    Device,
    Families,
    Family,
    Measures,
    Potentials,
    Preset,
    Seed,
    Settings,
    Split,
    System,
    Test,
    Train,
    Trust,
    with_reading_options,
)
from mlip_bench.cli.choices import (
    apart,
    chosen,
    parse_settings,
    parse_varied,
    plan_files,
    plan_potentials,
    read_dataset,
    with_device,
)
from mlip_bench.cli.printing import SOMETHING_FAILED, complain, console, say, say_of_data

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.dataset import Dataset
    from mlip_bench.data.reading import ReadingOptions
    from mlip_bench.study import PotentialPlan

# The folder in which a sweep leaves the potential that it recommends.
RECOMMENDED = "recommended"


@with_reading_options
def run(
    potential: Potentials = "all",
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    test: Test = None,
    split: Split = RANDOM,
    preset: Preset = "standard",
    measure: Measures = "errors,cost",
    settings: Settings = None,
    device: Device = "cpu",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default reports/<system>.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what the folder has and start over.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Fits side by side; they share the cores.")] = 1,
    crystal: CrystalFile = None,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Fit potentials, measure them, and write the report; what is done already is kept."""
    from mlip_bench import report, study
    from mlip_bench.data.dataset import with_crystal
    from mlip_bench.measure import MEASURES
    from mlip_bench.potentials import family_names, kind_of

    files, potential = apart(potential)
    names = with_device(chosen(potential, family_names(), "potential"), device) if potential else []
    measures = chosen(measure, list(MEASURES), "measure")
    of_files = [kind_of(path).family for path in files]
    overrides = parse_settings(settings or [], list(dict.fromkeys(names + of_files)))
    published = plan_files(files, names, device, overrides, trust)
    plan_potentials(names, preset, system or "", overrides)  # before any download: are they right?
    data = read_dataset(system, dataset, train, test, seed, reading, split)
    if crystal is not None:
        data = with_crystal(data, crystal)
    fitted = plan_potentials(names, preset, data.system, overrides)
    plan = study.Plan(data, fitted + published, tuple(measures), seed, device, preset, trust)
    folder = out or Path("reports") / data.system
    say(f"data: {data.origin} ({len(data.train)} training, {len(data.test)} test)")
    say_of_data(data.notes)
    say_of_dynamics(data, measures)
    from mlip_bench.cli.progress import watcher

    with study.sole_writer(folder):
        if fresh:
            study.forget(folder)
        study.describe(plan, folder, command_line())
        with watcher(console) as watching:
            outcome = study.Study(plan, folder, jobs, watching).run()
        say_notes(folder, plan.potentials)
        if not outcome.n_done and not outcome.failures:
            say(f"nothing had to be done: all {outcome.n_kept} tasks were finished before")
        if not report.is_current(folder):
            report.build(folder)
    say(f"report: {folder / report.HTML} and {report.PDF}")
    finish(outcome)


@with_reading_options
def sweep(
    potential: Families = "all",
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    test: Test = None,
    split: Split = RANDOM,
    budget: Annotated[str, typer.Option(help="Time that the sweep may take: 30min, 2h.")] = "2h",
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each size of a family with random choices.")] = 1,
    vary: Annotated[
        list[str] | None, typer.Option(help="Sizes of your own: snap.twojmax=2,4,6; repeatable.")
    ] = None,
    settings: Settings = None,
    device: Device = "cpu",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder; default reports/<system>-sweep.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Fits side by side; they share the cores.")] = 2,
    crystal: CrystalFile = None,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Fit sizes of every family within a budget of time; what is done already is kept."""
    from mlip_bench import report, study
    from mlip_bench import sweep as sweeping
    from mlip_bench.cli.progress import watcher
    from mlip_bench.data.dataset import with_crystal
    from mlip_bench.potentials import family_names

    names = with_device(chosen(potential, family_names(), "potential"), device)
    overrides, varied = parse_settings(settings or [], names), parse_varied(vary or [], names)
    budget_s = sweeping.parse_budget(budget)
    for name in names:  # before any download: are they right?
        sweeping.ladder(name, system or "", overrides[name], varied[name])
    data = read_dataset(system, dataset, train, test, seed, reading, split)
    if crystal is not None:
        data = with_crystal(data, crystal)
    ladders = [sweeping.ladder(name, data.system, overrides[name], varied[name]) for name in names]
    order = sweeping.batches(ladders, seeds, seed)
    plan = study.Plan(data, (), sweeping.MEASURES, seed, device, trust=trust)
    folder = out or Path("reports") / f"{data.system}-sweep"
    say(f"data: {data.origin} ({len(data.train)} training, {len(data.test)} test)")
    say_of_data(data.notes)
    say_of_dynamics(data, sweeping.MEASURES)
    with study.sole_writer(folder):
        study.describe(plan, folder, command_line())
        with watcher(console) as watching:
            done = sweeping.run(plan, order, folder, budget_s, jobs, watching, say)
        study.describe(done.plan, folder, command_line())
        say_notes(folder, done.plan.potentials)
        if not report.is_current(folder):
            report.build(folder)
        recommend(folder)
    for size in done.left_out:
        say(f"left out, about {size.seconds:.0f} s on the machine of the ladders: {size.potential.name}")
    say(f"report: {folder / report.HTML} and {report.PDF}")
    finish(done.outcome)


@with_reading_options
def tune(
    potential: Family,
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    trials: Annotated[int, typer.Option(min=1, help="Fits to spend, about.")] = 200,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 3,
    settings: Settings = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder; default reports/<system>-tune-<family>.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trials side by side.")] = 2,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Search cutoff and weights on the training data; what was tried is kept."""
    from mlip_bench import study, tuning
    from mlip_bench.potentials import family_names

    (name,) = chosen(potential, family_names(), "potential")
    overrides = parse_settings(settings or [], [name])
    plan_potentials([name], "standard", system or "", overrides)
    data = read_dataset(system, dataset, train, None, seed, reading, whole=True)
    (planned,) = plan_potentials([name], "standard", data.system, overrides)
    task = tuning.problem(name, planned.hypers, data, folds, seed, trust)
    folder = out or Path("reports") / f"{data.system}-tune-{name}"
    say(f"data: {data.origin} ({len(data.train)} training); {len(task.dimensions)} numbers to tune")
    say_of_data(data.notes)
    with study.sole_writer(folder):
        start, best = tuning.tune(task, folder, trials, jobs, say)
        table = folder / f"{name}.toml"
        table.write_text(tuning.entry(task, data, start, best))
    say(f"winner: {table}; put it into potentials/{name}.toml and run with --preset tuned")


def say_of_dynamics(data: "Dataset", measures: Sequence[str]) -> None:
    """Print what those of the measures that run dynamics are done on, where that is no crystal."""
    from mlip_bench.measure import MEASURES

    names = [name for name in measures if MEASURES[name].alone]
    if names and data.on_copies is not None:
        say(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} timed {data.on_copies}")


def recommend(folder: Path) -> None:
    """Leave the potential that the report recommends ready for LAMMPS in the folder of a sweep."""
    from mlip_bench.export import to_lammps
    from mlip_bench.potentials import load
    from mlip_bench.report import content, fronts
    from mlip_bench.study import POTENTIALS

    name = fronts.recommended(content.read(folder).ranking)
    if name is not None:
        to_lammps(load(folder / POTENTIALS / name), folder / RECOMMENDED)
        say(f"recommended, for LAMMPS: {name}, {folder / RECOMMENDED}")


def say_notes(folder: Path, potentials: Iterable["PotentialPlan"]) -> None:
    """Print what the fits of a run left out, assumed or clipped; what several have in common once."""
    from mlip_bench.potentials import notes
    from mlip_bench.study import POTENTIALS

    names: dict[str, list[str]] = {}
    for potential in potentials:
        for note in notes(folder / POTENTIALS / potential.name):
            names.setdefault(note, []).append(potential.name)
    for note, having in names.items():
        say(f"{', '.join(having)}: {note}")


def finish(outcome: Any) -> None:
    """Name what failed, and end with the exit code for it."""
    for failure in outcome.failures:
        complain(f"failed: {failure.measure} {failure.potential}: {failure.error}")
    if outcome.failures:
        raise typer.Exit(SOMETHING_FAILED)


def command_line() -> list[str]:
    """Return the command as it was typed, to be repeated."""
    return ["mlip-bench", *(shlex.quote(word) for word in sys.argv[1:])]
