"""Commands that make something of what is there: report, compare, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mlip_bench.cli.answers import Answer, answering
from mlip_bench.cli.arguments import OfFile, Profile, Saved, Trust, Weights
from mlip_bench.cli.choices import read_potential
from mlip_bench.cli.printing import say
from mlip_bench.errors import UserError, did_you_mean

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.compare import Change


@answering
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    other: Annotated[Path | None, typer.Argument(help="A second run, to set beside the first.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report of two runs; default reports/pair.")
    ] = None,
    profile: Profile = None,
    weights: Weights = None,
) -> Answer:
    """Build the report of a run again from its rows, or one of two runs side by side."""
    from mlip_bench.report import content, pair, profiles, verdict, write

    is_given = profile is not None or weights is not None
    chosen = profiles.chosen(profile, weights) if is_given else None  # then the run's own, if it has one
    if other is not None:
        merged = out or Path("reports/pair")
        pair.merge(folder, other, merged)
        folder = merged
    elif out is not None:
        raise UserError(f"--out {out}: only for two runs; the report of one is written into its folder")
    read = content.read(folder, chosen)
    paths = write(read, folder)
    document = {"report": paths, "verdict": verdict.document(read.evidence, read.verdict)}
    lines = [verdict.sentence(read.evidence, read.verdict), *(f"report: {path}" for path in paths)]
    return Answer(document, [escape(line) for line in lines])


@answering
def compare_(
    old: Annotated[Path, typer.Argument(help="Folder of a run, or a JSON file of pytest-benchmark.")],
    new: Annotated[Path, typer.Argument(help="The same, made later.")],
    fail_above: Annotated[str, typer.Option(help="Smallest slowdown that counts.")] = "10%",
    write: Annotated[Path | None, typer.Option("--markdown", help="Write the table here too.")] = None,
) -> Answer:
    """Tell whether a potential got slower between two runs; exit code 1 if one did."""
    from mlip_bench import compare

    limit = compare.parse_limit(fail_above)
    before, after = compare.read(old), compare.read(new)
    changes = compare.compare(before, after, limit)
    if not any(change.old and change.new for change in changes):
        raise UserError(
            f"{old} and {new}: nothing was timed at the same size in both, so nothing is compared"
        )
    processors = sorted({timing.processor for timing in (*before.values(), *after.values())})
    if len(processors) > 1:
        say(f"timed on different processors: {', '.join(processors)}; ratios travel, but not exactly")
    table = Table(*compare.HEADINGS)
    for cells in compare.rows(changes):
        table.add_row(*cells)
    if write is not None:
        write.write_text(compare.markdown(changes))
    slower = [f"{one.name} ({one.n_atoms} atoms)" for one in changes if one.verdict == compare.SLOWER]
    document = {"limit": limit, "processors": processors, "changes": [_plain(change) for change in changes]}
    sentences = [f"slower by more than {100 * limit:g} %: {', '.join(slower)}"] if slower else []
    return Answer(document, [table], sentences, failed=bool(slower))


def _plain(change: "Change") -> dict[str, Any]:
    """Return the numbers of a change; what one side lacks, or is not compared, is None."""
    from mlip_bench.compare import differences

    both = change.old is not None and change.new is not None and not differences(change.old, change.new)
    return {
        "potential": change.name,
        "n_atoms": change.n_atoms,
        "old_ratio": change.old.ratio if change.old else None,
        "new_ratio": change.new.ratio if change.new else None,
        "change": change.relative if both else None,
        "change_error": change.error if both else None,
        "verdict": change.verdict,
    }


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
