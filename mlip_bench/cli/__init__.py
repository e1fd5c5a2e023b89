"""The command ``mlip-bench``: one thin function per command, in a module per subject.

Whatever takes long to import is imported by the command that needs it, so that ``--help`` answers at once.
"""

import sys

import typer

from mlip_bench.cli import datasets, fitting, inventory, measuring, outputs, studies
from mlip_bench.cli.printing import BAD_ARGUMENTS, INTERRUPTED, complain
from mlip_bench.errors import UserError, is_disk_full

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fit machine-learning interatomic potentials on the same data; compare error, cost and physics.",
)

# In the order in which the help lists them.
for command in (
    studies.run,
    studies.sweep,
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
