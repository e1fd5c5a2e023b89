"""The command ``mlip-bench``: one thin function per command, in a module per subject.

Whatever takes long to import is imported by the command that needs it, so that ``--help`` answers at once.
"""

import os
import sys
from typing import Annotated, Any

import typer

import mlip_bench
from mlip_bench.cli import datasets, fitting, inventory, measuring, outputs, studies
from mlip_bench.cli.printing import BAD_ARGUMENTS, INTERRUPTED, complain
from mlip_bench.errors import LammpsError, UserError, is_disk_full
from mlip_bench.run.child import WAITING

PROGRAM = "mlip-bench"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fit machine-learning interatomic potentials on the same data; compare error, cost and physics.",
)

# What is wrong in how a command was typed; of all the kinds of it typer names this one alone.
UsageError: Any = typer.BadParameter.__base__


def _print_version(asked: bool) -> None:
    if asked:
        print(PROGRAM, mlip_bench.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take what is asked of no command in particular."""


# In the order in which the help lists them.
for command in (
    studies.run,
    studies.sweep,
    studies.learn,
    studies.tune,
    fitting.fit,
    measuring.evaluate,
    measuring.measure,
    outputs.report,
    outputs.compare_,
    outputs.export,
    inventory.list_,
    inventory.doctor,
):
    app.command(command.__name__.rstrip("_"))(command)
app.add_typer(datasets.app, name="data")


# Commands that keep what they have done when they are interrupted.
KEEPING = {"run", "sweep", "learn", "tune", "fit", "data"}


def main() -> None:
    """Run the command line; every foreseeable problem is one line and an exit code."""
    for name, value in WAITING.items():  # before anything imports numpy
        os.environ.setdefault(name, value)
    try:
        _refuse_what_is_no_text(sys.argv)
        # Not standalone: typer's own message of a usage error is a box of many lines.
        code = app(prog_name=PROGRAM, standalone_mode=False)
    except (UserError, LammpsError) as error:
        complain(str(error))
        sys.exit(BAD_ARGUMENTS)
    except UsageError as error:
        _complain_of_usage(error)
        sys.exit(BAD_ARGUMENTS)
    except OSError as error:
        if not is_disk_full(error):
            where = f"{error.filename}: " if error.filename else ""
            complain(f"{where}{error.strerror or error}; check the path and its permissions")
            sys.exit(BAD_ARGUMENTS)
        complain(f"no space left on the disk ({error.filename or error}); free some and repeat the command")
        sys.exit(BAD_ARGUMENTS)
    # typer turns Ctrl-C into this exit code, without a word.
    if code == INTERRUPTED:
        keeps = sys.argv[1] in KEEPING
        complain("interrupted; the same command goes on from here" if keeps else "interrupted")
    sys.exit(code)


def _refuse_what_is_no_text(words: list[str]) -> None:
    """Raise :class:`UserError` for a name whose bytes are no UTF-8: it could not be written down."""
    for word in words:
        if not word.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise UserError(f"{word!a}: a name whose bytes are not UTF-8; rename it")


def _complain_of_usage(error: Any) -> None:
    """Say in one line what is wrong in how the command was typed; without a command the help was shown."""
    message = " ".join(error.format_message().split())
    if message:
        command = error.ctx.command_path if error.ctx else PROGRAM
        complain(f"{message.rstrip('.')}; see: {command} --help")
