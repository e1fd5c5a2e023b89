"""Commands of several potentials: run, sweep, learn, tune."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlip_bench.cli import completion
from mlip_bench.cli.arguments import (
    LOCAL,
    RANDOM,
    Cores,
    CrystalFile,
    DatasetName,
    Device,
    Families,
    Family,
    Fresh,
    Jobs,
    Measures,
    Potentials,
    Preset,
    Profile,
    Scheduler,
    Seed,
    Settings,
    Split,
    StoreFolder,
    System,
    Test,
    Timeout,
    Train,
    Trust,
    Weights,
    with_measure_options,
    with_reading_options,
)
from mlip_bench.cli.choices import (
    apart,
    chosen,
    fit_for,
    only_one,
    parse_cores,
    parse_duration,
    parse_fractions,
    parse_settings,
    parse_varied,
    plan_files,
    plan_potentials,
    refuse_impossible,
    with_device,
)
from mlip_bench.cli.printing import say, say_of_data
from mlip_bench.cli.working import Work, perform, perform_sweep, prepared, say_of, scheduled, working
from mlip_bench.errors import UserError

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.dataset import Dataset
    from mlip_bench.data.reading import ReadingOptions

# Of a run and of a sweep.
Folds = typer.Option(
    "--folds",
    min=1,
    help="Folds of the training data for errors that are held out (measure held-out); 1: one fifth, once.",
)

# What can be given beside --from: nothing that decides a result.
BESIDE_FROM = (
    "from_",
    "out",
    "store",
    "fresh",
    "jobs",
    "scheduler",
    "timeout",
    "trust",
    "profile",
    "weights",
)


@with_measure_options
@with_reading_options
def run(
    context: typer.Context,
    potential: Potentials = "all",
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    test: Test = None,
    split: Split = RANDOM,
    preset: Preset = "standard",
    measure: Measures = "errors,cost",
    cores: Cores = "1",
    folds: Annotated[int | None, Folds] = None,
    profile: Profile = None,
    weights: Weights = None,
    settings: Settings = None,
    device: Device = "cpu",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default reports/<system>.")] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Repeat a run: its run.toml, with the same data and hyper-parameters."),
    ] = None,
    store: StoreFolder = None,
    fresh: Fresh = False,
    jobs: Jobs = None,
    scheduler: Scheduler = LOCAL,
    timeout: Timeout = None,
    crystal: CrystalFile = None,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
    given: dict[str, dict[str, Any]],
) -> None:
    """Fit potentials, measure them, and write the report; what is done already is kept."""
    from mlip_bench.cli.requests import DataRequest, repeated
    from mlip_bench.measure import MEASURES
    from mlip_bench.potentials import family_names, kind_of
    from mlip_bench.run.plan import Plan

    weighed = weighed_by(profile, weights)
    if from_ is not None:
        refuse_beside_from(context)
        request, plan, said = repeated(from_, trust, scheduler == LOCAL)
        plan = plan if weighed is None else dataclasses.replace(plan, profile=weighed)
        say_of_data(said)
    else:
        files, potential = apart(potential)
        names = chosen(potential, family_names(), "potential") if potential else []
        names = with_device(names, device, scheduler == LOCAL) if names else []
        measures = chosen(measure, list(MEASURES), "measure")
        on_cores = parse_cores(cores, measures, device, scheduler == LOCAL)
        if "all" not in (potential, measure):
            refuse_impossible(names, measures)
        of_files = [kind_of(path).family for path in files]
        overrides = parse_settings(settings or [], list(dict.fromkeys(names + of_files)))
        published = plan_files(files, names, device if scheduler == LOCAL else "cpu", overrides, trust)
        plan_potentials(names, preset, system or "", overrides)  # before any download: are they right?
        request = DataRequest(system, dataset, train, test, split, seed, crystal, reading)
        data = request.read()
        names = fit_for(names, data, potential == "all")
        fitted = plan_potentials(names, preset, data.system, overrides)
        given |= of_held_out(measures, folds, split)
        of_all = seed, device, preset, trust, given
        plan = Plan(data, fitted + published, tuple(measures), *of_all, cores=on_cores, profile=weighed)
    folder = out or Path("reports") / plan.dataset.system
    say_of(plan)
    limit = parse_duration(timeout, "--timeout")
    with prepared(folder, store) as kept, scheduled(scheduler, jobs, kept, plan) as (cluster, plan):
        perform(plan, request, Work(folder, kept, fresh, jobs, limit, cluster))


def of_held_out(measures: "Sequence[str]", folds: int | None, split: str) -> dict[str, dict[str, Any]]:
    """Return what a run chooses of held-out errors; raises UserError where there are none to choose for."""
    from mlip_bench.measure import held_out

    if held_out.NAME in measures:
        return {held_out.NAME: {"split": split} | ({} if folds is None else {"folds": folds})}
    if folds is not None:
        raise UserError(
            f"--folds {folds}: only for held-out errors; name them with --measure {held_out.NAME}"
        )
    return {}


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
    folds: Annotated[int, Folds] = 5,
    finalists: Annotated[
        str,
        typer.Option(
            help="Measurements, separated by commas, of what is on the front and of the best of each family, "
            "e.g. phonons,stability; a quarter of the budget is kept for them.",
            autocompletion=completion.some_of(completion.measures),
        ),
    ] = "",
    vary: Annotated[
        list[str] | None, typer.Option(help="Sizes of your own: snap.twojmax=2,4,6; repeatable.")
    ] = None,
    profile: Profile = None,
    weights: Weights = None,
    settings: Settings = None,
    device: Device = "cpu",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder; default reports/<system>-sweep.")] = None,
    store: StoreFolder = None,
    fresh: Fresh = False,
    jobs: Jobs = None,
    scheduler: Scheduler = LOCAL,
    timeout: Timeout = None,
    crystal: CrystalFile = None,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Fit sizes of every family within a budget of time; what is done already is kept."""
    from mlip_bench.cli.requests import DataRequest
    from mlip_bench.measure import held_out
    from mlip_bench.potentials import family_names
    from mlip_bench.run.plan import Plan
    from mlip_bench.run.sweep import MEASURES, in_order, ladder

    wanted, weighed = of_finalists(finalists), weighed_by(profile, weights)
    names = with_device(chosen(potential, family_names(), "potential"), device, scheduler == LOCAL)
    overrides, varied = parse_settings(settings or [], names), parse_varied(vary or [], names)
    budget_s, limit = parse_duration(budget, "--budget"), parse_duration(timeout, "--timeout")
    for name in names:  # before any download: are they right?
        ladder(name, system or "", overrides[name], varied[name])
    request = DataRequest(system, dataset, train, test, split, seed, crystal, reading)
    data = request.read()
    names = fit_for(names, data, potential == "all")
    ladders = [ladder(name, data.system, overrides[name], varied[name]) for name in names]
    chosen_by = {held_out.NAME: {"folds": folds, "split": split}}
    measures = (*MEASURES, *measurable(wanted, data))
    plan = Plan(data, (), measures, seed, device, trust=trust, given=chosen_by, profile=weighed)
    held_out.places_of(data.train, plan.options[held_out.NAME])  # before any fit: are there enough?
    folder = out or Path("reports") / f"{data.system}-sweep"
    say_of(plan)
    with prepared(folder, store) as kept, scheduled(scheduler, jobs, kept, plan) as (cluster, plan):
        sizes = in_order(ladders, seeds, seed)
        work = Work(folder, kept, fresh, jobs, limit, cluster)
        perform_sweep(plan, sizes, request, work, budget_s)


def weighed_by(profile: str | None, weights: str | None) -> dict[str, Any] | None:
    """Return what the verdict is to weigh, for the description of a run; nothing where nobody says."""
    from mlip_bench.report import profiles

    if profile is None and weights is None:
        return None
    return dataclasses.asdict(profiles.chosen(profile, weights))


def of_finalists(text: str) -> list[str]:
    """Return the measures that finalists are asked for; raises UserError for others."""
    from mlip_bench.measure import MEASURES
    from mlip_bench.run.sweep import MEASURES as OF_SWEEP

    if not text.strip():
        return []
    known = [name for name in MEASURES if name not in OF_SWEEP]
    of_all = [name for name in map(str.strip, text.split(",")) if name in OF_SWEEP]
    if of_all:
        raise UserError(f"--finalists {text}: {', '.join(of_all)} is measured in every sweep; leave it out")
    return chosen(text, known, "measure")


def measurable(measures: "Sequence[str]", data: "Dataset") -> list[str]:
    """Return the measures that the data allows, and say which need a crystal that it has not."""
    from mlip_bench.measure import MEASURES

    if data.crystal is not None:
        return list(measures)
    without = [name for name in measures if MEASURES[name].of_crystal]
    if without:
        say(f"finalists: no crystal in the data (give one with --crystal), so no {', '.join(without)}")
    return [name for name in measures if name not in without]


@with_reading_options
def learn(
    context: typer.Context,
    potential: Families = "all",
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    test: Test = None,
    split: Split = RANDOM,
    fractions: Annotated[
        str, typer.Option(help="Shares of the training data, each with the smaller ones in it.")
    ] = "0.1,0.2,0.5,1",
    seeds: Annotated[
        int, typer.Option(min=1, help="Orders in which structures are taken, each with its own fits.")
    ] = 1,
    preset: Preset = "standard",
    settings: Settings = None,
    device: Device = "cpu",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder; default reports/<system>-learn.")] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Repeat it: its run.toml, with the same data and hyper-parameters."),
    ] = None,
    store: StoreFolder = None,
    fresh: Fresh = False,
    jobs: Jobs = None,
    scheduler: Scheduler = LOCAL,
    timeout: Timeout = None,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Fit potentials to shares of the training data: would more data help? What is done already is kept."""
    from mlip_bench.cli.requests import DataRequest, repeated
    from mlip_bench.measure import errors
    from mlip_bench.potentials import family_names
    from mlip_bench.run import learning
    from mlip_bench.run.inputs import n_surroundings
    from mlip_bench.run.plan import Plan

    if from_ is not None:
        refuse_beside_from(context)
        request, plan, said = repeated(from_, trust, scheduler == LOCAL)
        if not plan.subsets:
            raise UserError(f"{from_}: no learning curves; repeat it with: mlip-bench run --from")
        say_of_data(said)
    else:
        shares = parse_fractions(fractions)
        names = with_device(chosen(potential, family_names(), "potential"), device, scheduler == LOCAL)
        overrides = parse_settings(settings or [], names)
        plan_potentials(names, preset, system or "", overrides)  # before any download: are they right?
        request = DataRequest(system, dataset, train, test, split, seed, None, reading)
        data = request.read()
        names = fit_for(names, data, potential == "all")
        planned = plan_potentials(names, preset, data.system, overrides)
        every = learning.potentials(planned, shares, range(seed, seed + seeds), n_surroundings(data.train))
        plan = Plan(data, every, (errors.MEASURE.name,), seed, device, preset, trust, split=split)
    folder = out or Path("reports") / f"{plan.dataset.system}-learn"
    say_of(plan)
    limit = parse_duration(timeout, "--timeout")
    learning.notes(plan)  # before any file is written: are there enough structures?
    with prepared(folder, store) as kept, scheduled(scheduler, jobs, kept, plan) as (cluster, plan):
        perform(plan, request, Work(folder, kept, fresh, jobs, limit, cluster))


@with_reading_options
def tune(
    potential: Family,
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    trials: Annotated[int, typer.Option(min=1, help="Fits to spend, about; six at least.")] = 200,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 3,
    settings: Settings = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder; default reports/<system>-tune-<family>.")] = None,
    store: StoreFolder = None,
    fresh: Fresh = False,
    jobs: Jobs = None,
    scheduler: Scheduler = LOCAL,
    timeout: Timeout = None,
    trust: Trust = False,
    *,
    reading: "ReadingOptions",
) -> None:
    """Search cutoff and weights on the training data; what was tried is kept."""
    from mlip_bench.cli.requests import DataRequest
    from mlip_bench.results import write_atomically
    from mlip_bench.run import tuning
    from mlip_bench.run.inputs import Data

    name = only_one(potential)[0]
    overrides = parse_settings(settings or [], [name])
    limit = parse_duration(timeout, "--timeout")
    plan_potentials([name], "standard", system or "", overrides)
    data = DataRequest(system, dataset, train, None, RANDOM, seed, None, reading).read(whole=True)
    fit_for([name], data, are_all=False)
    (planned,) = plan_potentials([name], "standard", data.system, overrides)
    folder = out or Path("reports") / f"{data.system}-tune-{name}"
    with prepared(folder, store) as kept, scheduled(scheduler, jobs, kept) as (cluster, _):
        known = Data.of(data, kept.put_structures)
        task = tuning.problem(name, planned.hypers, data, known, folds, seed, trust)
        say(f"data: {data.origin} ({len(data.train)} training); {len(task.dimensions)} numbers to tune")
        say_of_data(data.notes)
        work = Work(folder, kept, fresh, jobs, limit, cluster)
        with working(work, tuning.first(task), quiet=True) as executor:
            start, best = tuning.tune(task, executor, trials, say)
        table = folder / f"{name}.toml"
        write_atomically(table, tuning.entry(task, start, best))
    say(f"winner: {table}; put it into potentials/{name}.toml and run with --preset tuned")


def refuse_beside_from(context: typer.Context) -> None:
    """Raise :class:`UserError` where an option is given beside --from that would change the run."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in BESIDE_FROM and source is not None and source.name == "COMMANDLINE":
            (option,) = (one.opts[0] for one in context.command.params if one.name == name)
            raise UserError(f"--from repeats a run as it was: leave {option} out")
