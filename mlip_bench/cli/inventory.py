"""Commands that say what there is: list, doctor."""

from typing import Annotated

import typer
from rich.table import Table

from mlip_bench.cli.arguments import Preset, System
from mlip_bench.cli.choices import chosen
from mlip_bench.cli.printing import SOMETHING_FAILED, console


def list_(
    potential: Annotated[str | None, typer.Argument(help="A family: its hyper-parameters.")] = None,
    system: System = None,
    preset: Preset = "standard",
) -> None:
    """List the families, or the hyper-parameters of one with the source of each value."""
    from mlip_bench.potentials import family, family_names, presets

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


def doctor() -> None:
    """Say what is installed, what works here, which threads and which GPU there are."""
    from mlip_bench.cli.doctor import examine

    findings = examine()
    for finding in findings:
        mark = "[green]ok[/]     " if finding.good else "[red]problem[/]"
        console.print(f"{mark} {finding.text}", highlight=False, soft_wrap=True)
    if not all(finding.good for finding in findings):
        raise typer.Exit(SOMETHING_FAILED)
