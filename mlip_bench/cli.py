"""The command ``mlip-bench``: one thin function per command."""

import functools
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlip_bench.data import records
from mlip_bench.data.dataset import Dataset, with_crystal
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.data.splits import RANDOM
from mlip_bench.errors import UserError, did_you_mean, is_disk_full
from mlip_bench.options import (
    apart,
    chosen,
    parse_settings,
    parse_varied,
    plan_files,
    plan_potentials,
    read_dataset,
    read_potential,
)
from mlip_bench.potentials import family, family_names, kind_of, notes, presets
from mlip_bench.potentials.base import refuse_missing_gpu

if TYPE_CHECKING:  # it takes most of a second to import, which `mlip-bench list` need not wait for
    from mlip_bench.study import PotentialPlan

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fit machine-learning interatomic potentials on the same data; compare error, cost and physics.",
)
data_app = typer.Typer(no_args_is_help=True, help="Datasets: what there is, download, look into one.")
app.add_typer(data_app, name="data")

# Without a terminal (a file, CI) there is no width to keep to: tables stay whole.
console = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)

# The folder in which a sweep leaves the potential that it recommends.
RECOMMENDED = "recommended"

BAD_ARGUMENTS = 2
SOMETHING_FAILED = 1
INTERRUPTED = 130

Potentials = Annotated[
    str,
    typer.Option(
        "--potential", help="'all', or names separated by commas; file:PATH takes a potential as it is."
    ),
]
Families = Annotated[str, typer.Option("--potential", help="'all', or names separated by commas.")]
CrystalFile = Annotated[
    Path | None,
    typer.Option(
        "--crystal", help="A crystal to measure on, not the data's own; for dynamics, any structure."
    ),
]
System = Annotated[str | None, typer.Option("--system", help="Chemical system of a named dataset, e.g. Mo.")]
DatasetName = Annotated[
    str, typer.Option("--dataset", help="'auto', the name of a dataset, or a file of your own.")
]
Train = Annotated[Path | None, typer.Option("--train", help="Own training data: a file or a folder.")]
Test = Annotated[Path | None, typer.Option("--test", help="Own test data; without it a tenth is set aside.")]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        help="How the tenth is set aside: 'random', a tenth of each group by chance, or 'blocks', a run of "
        "neighbouring frames of each trajectory (same group and atoms), so that test frames are not "
        "neighbours in time of training frames.",
    ),
]
Preset = Annotated[str, typer.Option("--preset", help="quick, standard, paper or tuned.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A hyper-parameter, e.g. snap.twojmax=8; repeatable.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every random choice.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Read files of others that can run code of their authors.")
]
OfFile = Annotated[
    list[str] | None,
    typer.Option("--set", help="What a file leaves open, e.g. sevennet.modal=PBE; repeatable."),
]
Saved = Annotated[Path, typer.Argument(help="A saved potential, or a file in a format of its field.")]

# How a file is read: one option for each field of ReadingOptions, in a panel of its own.
READING = {
    "energy_key": (str | None, "Key of the energy (eV) in each frame."),
    "forces_key": (str | None, "Key of the forces (eV/Å)."),
    "stress_key": (str | None, "Key of the stress (eV/Å³), or of the virial (eV)."),
    "stress_unit": (
        str | None,
        "eV/A3, GPa, kbar, bar, MPa, Pa, or eV where it is not divided by the volume.",
    ),
    "turn_stress": (bool, "Turn the sign of the stress: the file's is positive in compression."),
    "elements": (str | None, "Elements of the types 0, 1, ... of a .cfg of MLIP, for example Mo,Si."),
    "units": (str | None, "Units of n2p2's input.data: metal (eV, Å) or atomic (Hartree, Bohr)."),
    "skip_bad": (bool, "Leave frames out that cannot be used, and name them."),
}


def with_reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``READING``, and hand them to it as its argument ``reading``."""

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in READING}
        given["elements"] = tuple(filter(None, (given["elements"] or "").replace(" ", "").split(",")))
        command(**arguments, reading=ReadingOptions(**given))

    own = [parameter for name, parameter in signature(command).parameters.items() if name != "reading"]
    added = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=False if kind is bool else None,
            annotation=Annotated[
                kind,
                typer.Option(f"--{name.replace('_', '-')}", help=text, rich_help_panel="Reading own data"),
            ],
        )
        for name, (kind, text) in READING.items()
    ]
    vars(with_options)["__signature__"] = Signature([*own, *added])
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    return with_options


@app.command()
@with_reading_options
def run(
    potential: Potentials = "all",
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    test: Test = None,
    split: Split = RANDOM,
    preset: Preset = "standard",
    measure: Annotated[str, typer.Option(help="Measurements, separated by commas.")] = "errors,cost",
    settings: Settings = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default reports/<system>.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what the folder has and start over.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Fits side by side; they share the cores.")] = 1,
    crystal: CrystalFile = None,
    trust: Trust = False,
    *,
    reading: ReadingOptions,
) -> None:
    """Fit potentials, measure them, and write the report; what is done already is kept."""
    from mlip_bench import report, study
    from mlip_bench.measure import MEASURES

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
    from mlip_bench.progress import watcher

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


@app.command()
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
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder; default reports/<system>-sweep.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Fits side by side; they share the cores.")] = 2,
    crystal: CrystalFile = None,
    trust: Trust = False,
    *,
    reading: ReadingOptions,
) -> None:
    """Fit sizes of every family within a budget of time; what is done already is kept."""
    from mlip_bench import report, study
    from mlip_bench import sweep as sweeping
    from mlip_bench.progress import watcher

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


@app.command()
@with_reading_options
def tune(
    potential: Annotated[str, typer.Argument(help="Name of a family, e.g. snap.")],
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
    reading: ReadingOptions,
) -> None:
    """Search cutoff and weights on the training data; what was tried is kept."""
    from mlip_bench import study, tuning

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


@app.command()
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
    reading: ReadingOptions,
) -> None:
    """Fit one potential on the training data and save it."""
    (name,) = chosen(potential, family_names(), "potential")
    overrides = parse_settings(settings or [], [name])
    plan_potentials([name], preset, system or "", overrides)
    data = read_dataset(system, dataset, train, None, seed, reading, whole=True)
    (planned,) = plan_potentials([name], preset, data.system, overrides)
    say(f"data: {data.origin} ({len(data.train)} training)")
    say_of_data(data.notes)
    from rich.progress import Progress

    from mlip_bench.child import ChildFailed, available_cores, run_in_child
    from mlip_bench.measure.fit import fit as fit_and_save

    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"fit {name}", total=1.0)
        try:
            run_in_child(
                fit_and_save,
                *(family(name)(**planned.hypers).trusting(trust), data, seed, out, None),
                cores=available_cores(),
                progress=lambda share, _: progress.update(bar, completed=share),
            )
        except ChildFailed as failure:
            complain(f"failed: fit {name}: {failure}")
            raise typer.Exit(SOMETHING_FAILED) from None
    for note in notes(out):
        say(f"{name}: {note}")
    say(f"{name}: {out}")


@app.command()
@with_reading_options
def evaluate(
    path: Saved,
    system: System = None,
    dataset: DatasetName = "auto",
    test: Annotated[Path | None, typer.Option("--test", help="Own structures to evaluate on.")] = None,
    settings: OfFile = None,
    trust: Trust = False,
    *,
    reading: ReadingOptions,
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


@app.command()
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
    from mlip_bench.data.files import read_crystal
    from mlip_bench.measure import PROPERTIES, first_principles, properties, property_of

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


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    other: Annotated[Path | None, typer.Argument(help="A second run, to set beside the first.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report of two runs.")] = Path("reports/pair"),
) -> None:
    """Build the report of a run again from its rows, or one of two runs side by side."""
    from mlip_bench.report import build, pair

    if other is not None:
        pair.merge(folder, other, out)
        folder = out
    for path in build(folder):
        say(f"report: {path}")


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="Folder of a run, or a JSON file of pytest-benchmark.")],
    new: Annotated[Path, typer.Argument(help="The same, made later.")],
    fail_above: Annotated[str, typer.Option(help="Smallest slowdown that counts.")] = "10%",
    write: Annotated[Path | None, typer.Option("--markdown", help="Write the table here too.")] = None,
) -> None:
    """Tell whether a potential got slower between two runs; exit code 1 if one did."""
    from mlip_bench import compare as regression

    limit = regression.parse_limit(fail_above)
    before, after = regression.read(old), regression.read(new)
    changes = regression.compare(before, after, limit)
    processors = {timing.processor for timing in (*before.values(), *after.values())}
    if len(processors) > 1:
        say(f"timed on different processors: {', '.join(sorted(processors))}; ratios travel, but not exactly")
    table = Table(*regression.HEADINGS)
    for cells in regression.rows(changes):
        table.add_row(*cells)
    console.print(table)
    if write is not None:
        write.write_text(regression.markdown(changes))
    slower = [change for change in changes if change.verdict == regression.SLOWER]
    if slower:
        names = ", ".join(f"{change.name} ({change.n_atoms} atoms)" for change in slower)
        complain(f"slower by more than {100 * limit:g} %: {names}")
        raise typer.Exit(SOMETHING_FAILED)


@app.command()
def export(
    path: Saved,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    file_format: Annotated[str, typer.Option("--format", help="lammps.")] = "lammps",
    settings: OfFile = None,
    trust: Trust = False,
) -> None:
    """Write a folder with the potential, an input script that runs, and a README."""
    from mlip_bench.export import to_lammps

    if file_format != "lammps":
        raise UserError(f"unknown format '{file_format}'{did_you_mean(file_format, ['lammps'])}")
    potential = read_potential(path, settings or [], trust)
    for note in potential.notes_:
        say(f"{path}: {note}")
    to_lammps(potential, out)
    say(f"{potential.family} for LAMMPS: {out}")


@app.command("list")
def list_(
    potential: Annotated[str | None, typer.Argument(help="A family: its hyper-parameters.")] = None,
    system: System = None,
    preset: Preset = "standard",
) -> None:
    """List the families, or the hyper-parameters of one with the source of each value."""
    if potential is None:
        table = Table("name", "forces", "native in LAMMPS", "what it is")
        for name in family_names():
            kind = family(name)
            native = "yes" if kind.native_in_lammps else "no, through fix external"
            forces = "gradient of the energy" if kind.conservative else "predicted directly"
            table.add_row(name, forces, native, (kind.__doc__ or "").splitlines()[0])
    else:
        (name,) = chosen(potential, family_names(), "potential")
        sourced = presets.with_sources(name, preset, system or "")
        values = vars(family(name)(**{key: value for key, (value, _) in sourced.items()}).hypers)
        table = Table(
            "hyper-parameter", "value", "source", title=f"{name}, {preset}, {system or 'any system'}"
        )
        for key, value in values.items():
            table.add_row(key, str(value), sourced.get(key, ("", "default of the code"))[1])
    console.print(table)


@app.command()
def doctor() -> None:
    """Say what is installed, what works here, which threads and which GPU there are."""
    from mlip_bench.doctor import examine

    findings = examine()
    for finding in findings:
        mark = "[green]ok[/]     " if finding.good else "[red]problem[/]"
        console.print(f"{mark} {finding.text}", highlight=False, soft_wrap=True)
    if not all(finding.good for finding in findings):
        raise typer.Exit(SOMETHING_FAILED)


@data_app.command("list")
def data_list() -> None:
    """List the datasets, their systems, and where each file would come from."""
    table = Table("dataset", "system", "here", "level of theory", "licence")
    for record in records.records().values():
        for system in record.systems:
            found = record.locate(system, download=False)
            where = "no, will be downloaded" if found is None else found["train"].source
            table.add_row(
                record.name, system, where, record.content["level_of_theory"], record.content["licence"]
            )
    console.print(table)


@data_app.command("fetch")
def data_fetch(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset.")],
    system: System = None,
) -> None:
    """Download a dataset into the cache, all systems or one, and verify it."""
    known = records.records()
    if dataset not in known:
        raise UserError(f"unknown dataset '{dataset}'{did_you_mean(dataset, known)}")
    systems = [system] if system else known[dataset].systems
    for name in systems:
        data = records.load(dataset, name)
        say(f"{data.origin}: {len(data.train)} training, {len(data.test)} test structures")


@data_app.command("show")
@with_reading_options
def data_show(
    system: System = None,
    dataset: DatasetName = "auto",
    train: Train = None,
    test: Test = None,
    histogram: Annotated[Path | None, typer.Option(help="Write histograms to this PNG, SVG or PDF.")] = None,
    *,
    reading: ReadingOptions,
) -> None:
    """Print sizes per group, elements, ranges of energy, force and stress, and the closest distance."""
    from mlip_bench.data.summary import COLUMNS, draw_histograms, summarise

    data = read_dataset(system, dataset, train, test, 0, reading, whole=test is None)
    say(f"{data.origin}; {data.level_of_theory}; {data.licence}")
    say_of_data(data.notes)
    table = Table("split", "group", "structures", "atoms", "elements", *COLUMNS, title=data.system)
    for line in summarise(data):
        table.add_row(*map(escape, line))
    console.print(table)
    if histogram is not None:
        draw_histograms(data, histogram)
        say(f"histograms: {histogram}")


@data_app.command("label")
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
) -> None:
    """Compute reference values with a first-principles code; what is done already is kept."""
    import dataclasses

    from mlip_bench.data.labels import read_recipe
    from mlip_bench.measure import PROPERTIES, first_principles

    chosen_recipe = read_recipe(recipe)
    if calculator is not None:
        chosen_recipe = dataclasses.replace(chosen_recipe, calculator=calculator)
    if structures is not None:
        first_principles.label_file(
            structures, chosen_recipe, python, out or structures.with_suffix(".labelled.xyz"), tell
        )
        return
    folder = out or Path(f"reference-{chosen_recipe.system}")
    first_principles.build(chosen_recipe, PROPERTIES, python, folder, tell)
    say(f"reference: {folder / first_principles.PROPERTIES}")


# -- shared --------------------------------------------------------------------------------------------


def say_of_dynamics(data: Dataset, measures: Sequence[str]) -> None:
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


def with_device(names: list[str], device: str) -> list[str]:
    """Return the families that can compute on a device, and say which cannot; raises where none can."""
    if device not in ("cpu", "cuda"):
        raise UserError(f"unknown device '{device}'{did_you_mean(device, ['cpu', 'cuda'])}")
    if device == "cpu":
        return names
    able = [name for name in names if device in family(name).devices]
    others = [name for name in names if name not in able]
    if not able:
        raise UserError(f"--device cuda: no code for GPUs in {', '.join(names)}; use cpu")
    refuse_missing_gpu()
    if others:
        say(f"left out, without code for GPUs: {', '.join(others)}")
    return able


def command_line() -> list[str]:
    """Return the command as it was typed, to be repeated."""
    return ["mlip-bench", *(shlex.quote(word) for word in sys.argv[1:])]


def say(text: str) -> None:
    """Print one plain line."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def say_of_data(sentences: Sequence[str]) -> None:
    """Print what is to be said of the data, a line each."""
    for sentence in sentences:
        say(f"data: {sentence}")


def tell(share: float, message: str) -> None:
    """Print how far a long step is."""
    say(f"{100 * share:.0f} %: {message}")


def complain(text: str) -> None:
    """Print one line to standard error."""
    errors.print(f"mlip-bench: {text}", highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Run the command line; every foreseeable problem is one line and an exit code."""
    try:
        app()
    except UserError as error:
        complain(str(error))
        sys.exit(BAD_ARGUMENTS)
    except OSError as error:
        if not is_disk_full(error):
            if error.filename is None:
                raise
            complain(f"{error.filename}: {error.strerror}; check the path and its permissions")
            sys.exit(BAD_ARGUMENTS)
        complain(f"no space left on the disk ({error.filename or error}); free some and repeat the command")
        sys.exit(BAD_ARGUMENTS)
    except SystemExit as end:
        # typer turns Ctrl-C into this exit code, without a word.
        if end.code == INTERRUPTED:
            complain("interrupted; the same command goes on from here")
        raise
