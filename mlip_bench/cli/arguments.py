"""The arguments and options that commands share: their types, names and help."""

import functools
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mlip_bench.cli import completion

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
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


def with_reading_options(command: Callable[..., Answered]) -> Callable[..., Answered]:
    """Give a command the options of ``READING``, and hand them to it as its argument ``reading``."""

    @functools.wraps(command)
    def with_options(**arguments: Any) -> Answered:
        from mlip_bench.data.reading import ReadingOptions

        given = {name: arguments.pop(name) for name in READING}
        given["elements"] = tuple(filter(None, (given["elements"] or "").replace(" ", "").split(",")))
        return command(**arguments, reading=ReadingOptions(**given))

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
    declare(with_options, [*own, *added])
    return with_options


def declare(function: Callable[..., Any], parameters: Sequence[Parameter]) -> None:
    """Show typer these parameters as those of a function."""
    vars(function)["__signature__"] = Signature(parameters)
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
