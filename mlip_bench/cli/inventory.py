"""Commands that say what there is: list, doctor."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mlip_bench.cli import completion
from mlip_bench.cli.answers import Answer, answering
from mlip_bench.cli.arguments import LOCAL, Preset, System
from mlip_bench.cli.choices import chosen
from mlip_bench.cli.printing import say

if TYPE_CHECKING:  # what takes long to import, ``--help`` does without
    from mlip_bench.potentials import Potential


@answering
def list_(
    potential: Annotated[
        str | None,
        typer.Argument(
            help="A family: its hyper-parameters.", autocompletion=completion.one_of(completion.families)
        ),
    ] = None,
    system: System = None,
    preset: Preset = "standard",
) -> Answer:
    """List the families, or the hyper-parameters of one with the source of each value."""
    from mlip_bench.potentials import family_names

    if potential is None:
        return _families()
    (name,) = chosen(potential, family_names(), "potential")
    return _hypers(name, preset, system)


def _families() -> Answer:
    from mlip_bench.potentials import family, family_names

    kinds = {name: family(name) for name in family_names()}
    found = [
        {
            "name": name,
            "conservative": kind.conservative,
            "predicts": sorted(kind.predicts),
            "native_in_lammps": kind.native_in_lammps,
            "devices": kind.devices,
            "description": (kind.__doc__ or "").splitlines()[0],
        }
        for name, kind in kinds.items()
    ]
    table = Table("name", "forces", "native in LAMMPS", "what it is")
    for one in found:
        table.add_row(
            str(one["name"]),
            _of_forces(kinds[str(one["name"])]),
            "yes" if one["native_in_lammps"] else "no, through fix external",
            str(one["description"]),
        )
    return Answer({"families": found}, [table])


def _of_forces(kind: "type[Potential]") -> str:
    if kind.conservative:
        return "gradient of the energy"
    return "predicted directly" if "energy" in kind.predicts else "predicted directly, without an energy"


def _hypers(name: str, preset: str, system: str | None) -> Answer:
    from mlip_bench.potentials import family, presets

    sourced = presets.with_sources(name, preset, system or "")
    values = vars(family(name)(**{key: value for key, (value, _) in sourced.items()}).hypers)
    found = [
        {"name": key, "value": value, "source": sourced.get(key, ("", "default of the code"))[1]}
        for key, value in values.items()
    ]
    table = Table("hyper-parameter", "value", "source", title=f"{name}, {preset}, {system or 'any system'}")
    for one in found:
        table.add_row(one["name"], str(one["value"]), one["source"])
    return Answer({"family": name, "preset": preset, "system": system, "hyperparameters": found}, [table])


@answering
def doctor(
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            help="Look at the workers of a Dask scheduler instead: tcp://HOST:PORT or FILE.json.",
        ),
    ] = LOCAL,
) -> Answer:
    """Say what is installed, what works here, which threads and which GPU there are."""
    from mlip_bench.cli.doctor import examine, examine_cluster

    findings = examine(say) if scheduler == LOCAL else examine_cluster(scheduler)
    lines = [
        f"{'[green]ok[/]     ' if finding.good else '[red]problem[/]'} {escape(finding.text)}"
        for finding in findings
    ]
    return Answer({"findings": findings}, lines, failed=not all(finding.good for finding in findings))
