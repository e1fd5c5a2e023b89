"""The arguments and options that commands share: their types, names and help."""

import functools
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mlip_bench.cli import completion

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.data.reading import ReadingOptions
    from mlip_bench.data.splits import Kind

Answered = TypeVar("Answered")

# How the test data is set aside where nobody says.
RANDOM: "Kind" = "random"

# The scheduler that is none: tasks are done on this machine.
LOCAL = "local"

Potentials = Annotated[
    str,
    typer.Option(
        "--potential",
        help="'all', or names separated by commas; file:PATH takes a potential as it is.",
        autocompletion=completion.potentials,
    ),
]
Families = Annotated[
    str,
    typer.Option(
        "--potential",
        help="'all', or names separated by commas.",
        autocompletion=completion.some_of(completion.families),
    ),
]
Family = Annotated[
    str,
    typer.Argument(
        help="Name of a family, e.g. snap.", autocompletion=completion.one_of(completion.families)
    ),
]
Measures = Annotated[
    str,
    typer.Option(
        "--measure",
        help="Measurements, separated by commas.",
        autocompletion=completion.some_of(completion.measures),
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="cpu or cuda.", autocompletion=completion.one_of(completion.devices)),
]
CrystalFile = Annotated[
    Path | None,
    typer.Option(
        "--crystal", help="A crystal to measure on, not the data's own; for dynamics, any structure."
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="Chemical system of a named dataset, e.g. Mo.",
        autocompletion=completion.one_of(completion.systems),
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="What the verdict weighs: balanced, accuracy, md-speed, phonons, or your own FILE.toml.",
        autocompletion=completion.one_of(completion.profiles),
    ),
]
Weights = Annotated[
    str | None, typer.Option("--weights", help="The same as weights: force_rmse=2,cost_ratio=1.")
]
DatasetName = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="'auto', the name of a dataset, or a file of your own.",
        autocompletion=completion.dataset,
    ),
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
        autocompletion=completion.one_of(completion.splits),
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        help="quick, standard, paper or tuned.",
        autocompletion=completion.one_of(completion.presets),
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A hyper-parameter, e.g. snap.twojmax=8; repeatable.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every random choice.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Read files of others that can run code of their authors.")
]
StoreFolder = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="Where finished work is kept, for one or many runs; default mlip-bench-store beside the run.",
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do all of it anew, whatever the store has.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Tasks side by side, which share the cores; default a core each."),
]
Scheduler = Annotated[
    str,
    typer.Option(
        "--scheduler",
        help="Where tasks are done: 'local', this machine, or on the workers of a Dask scheduler: its "
        "address (tcp://HOST:PORT) or the file that it wrote (FILE.json).",
    ),
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", help="Time that a fit or measurement may take: 30min, 2h.")
]
Cores = Annotated[
    str,
    typer.Option(
        "--cores",
        help="Numbers of cores that cost and scaling are measured on, e.g. 1,2,4: threads of kernels, "
        "MPI ranks of LAMMPS's pair styles.",
    ),
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


# What can be chosen of a measure: an option for each entry, in a panel of the measure's name.
OF_MEASURES: Mapping[str, Mapping[str, tuple[Any, str]]] = {
    "conductivity": {
        "temperature": (float | None, "Temperature (K) of the dynamics; default 300."),
        "seeds": (
            int | None,
            "Trajectories; quick 2, standard 4, paper 8. More leave the first ones as they are.",
        ),
        "length": (float | None, "Time (ps) that each is observed; quick 5, standard 25, paper 100."),
        "supercell": (str | None, "Repeats along the axes, 3,3,3, or fewest atoms, 216."),
        "method": (str | None, "green-kubo, at equilibrium, or hnemd, driven by a field."),
        "field": (
            float | None,
            "The field of hnemd (1/Å); default 0.001. Half the trajectories have half of it.",
        ),
        "timestep": (float | None, "Time step (fs); default 1."),
        "keep_cell": (
            bool,
            "Take cell and positions as given, as of a liquid, or a crystal's at its temperature.",
        ),
    },
    "physicality": {
        "starts": (int | None, "Random starts that come to rest; quick 1, standard 2, paper 4."),
    },
}


def with_reading_options(command: Callable[..., Answered]) -> Callable[..., Answered]:
    """Give a command the options of ``READING``, and hand them to it as its argument ``reading``."""

    def of(given: dict[str, Any]) -> "ReadingOptions":
        from mlip_bench.data.reading import ReadingOptions

        given["elements"] = tuple(filter(None, (given["elements"] or "").replace(" ", "").split(",")))
        return ReadingOptions(**given)

    return _with_panel(command, "reading", READING, "Reading own data", of)


def with_measure_options(command: Callable[..., Answered]) -> Callable[..., Answered]:
    """Give a command the options of every measure, and hand it those given, by measure, as ``given``."""

    @functools.wraps(command)
    def with_given(**arguments: Any) -> Answered:
        given = {measure: arguments.pop(measure) for measure in OF_MEASURES}
        return command(**arguments, given=given)

    own = [parameter for name, parameter in signature(command).parameters.items() if name != "given"]
    declare(with_given, own)
    with_options: Callable[..., Answered] = with_given
    for measure, options in OF_MEASURES.items():
        with_options = _with_panel(with_options, measure, options, f"With --measure {measure}", _given)
    return with_options


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value is not False}


def _with_panel(
    command: Callable[..., Answered],
    argument: str,
    options: Mapping[str, tuple[Any, str]],
    panel: str,
    together: Callable[[dict[str, Any]], Any],
) -> Callable[..., Answered]:
    """Give a command options in a panel of their own, and hand them to it ``together`` as one argument."""

    @functools.wraps(command)
    def with_options(**arguments: Any) -> Answered:
        given = {name: arguments.pop(name) for name in options}
        return command(**arguments, **{argument: together(given)})

    own = [parameter for name, parameter in signature(command).parameters.items() if name != argument]
    added = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=False if kind is bool else None,
            annotation=Annotated[
                kind, typer.Option(f"--{name.replace('_', '-')}", help=text, rich_help_panel=panel)
            ],
        )
        for name, (kind, text) in options.items()
    ]
    declare(with_options, [*own, *added])
    return with_options


def declare(function: Callable[..., Any], parameters: Sequence[Parameter]) -> None:
    """Show typer these parameters as those of a function."""
    vars(function)["__signature__"] = Signature(parameters)
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
