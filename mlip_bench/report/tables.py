"""The tables that every report has: headings with units, and cells as text, the same for HTML and PDF."""

from collections.abc import Mapping
from typing import Any

import mlip_bench
from mlip_bench.data.base import NOT_STATED
from mlip_bench.measure import reported
from mlip_bench.report import fronts
from mlip_bench.report.content import Content
from mlip_bench.results import HELD_OUT, TEST
from mlip_bench.section import tables
from mlip_bench.section.parts import MISSING, Column, Table


def ranking(content: Content) -> Table:
    """The potentials by the error that decides, with what each measure brings, and their size."""
    first, price = content.evidence.errors[0], content.evidence.costs[0]
    columns = [
        Column("place", "place"),
        *(
            Column(f"test {axis.label}", f"{axis.metric}_{TEST}", axis.spec)
            for axis in content.evidence.errors
        ),
        *(column for one in reported() for column in one.columns),
    ]
    columns.append(Column("parameters", "n_parameters", ".0f"))
    notes = [_on_errors(content)]
    if "place" in content.ranking:
        notes.append(
            f"Place: by {first.quantity} error, from the best that each may have to the worst; each two are "
            "told apart where chance does as much in one of twenty."
        )
    notes.append(f"Bold: on the Pareto front of {first.quantity} error and {price.quantity}.")
    notes += [one.note(content.evidence) for one in reported()]
    return tables.of_potentials(
        content.evidence, "ranking", "potential", content.ranking, columns, filter(None, notes)
    )


def _on_errors(content: Content) -> str:
    """Say whose errors the ranking has, and what they decided."""
    if content.evidence.split == HELD_OUT:
        return (
            "Errors on structures held out from training, in folds: by them everything is chosen. The test "
            "data was read once, for what was chosen."
        )
    if content.is_sweep:
        return "Test errors."
    return "Test errors of potentials as they were asked for: none was chosen among sizes by them."


def families(content: Content) -> Table:
    """The families of a sweep by what their sizes cover."""
    errors, price = content.evidence.errors, content.evidence.costs[0]
    columns = (
        Column("sizes", "sizes", ".0f"),
        *(Column(f"least {axis.label}", axis.metric, axis.spec) for axis in (*errors, price)),
        *(
            Column(f"hyper-volume ({axis.quantity})", fronts.volume_key(axis.metric), ".3f")
            for axis in errors
        ),
    )
    note = (
        f"Hyper-volume: share of the plane of log({price.quantity}) and error that the family's sizes "
        "dominate; larger is better, at most 1."
    )
    return tables.plain("families", "family", fronts.families(content.ranking), columns, note)


def failures(content: Content) -> Table:
    """The tasks that failed, each with its error."""
    rows = content.failures.astype(str).to_numpy().tolist()
    return Table(["potential", "task", "error"], rows, name="failures", widths=(1, 1, 5), text=True)


def facts(content: Content) -> list[tuple[str, str]]:
    """What was run on what, as pairs of name and text."""
    run, dataset = content.run, content.run["dataset"]
    notes = [" ".join(note.split()) for note in dataset.get("notes", [])]
    return [
        ("System", dataset["system"]),
        ("Data", f"{dataset['origin']} (SHA-256 {dataset['sha256'][:12]}...)"),
        *([("Reading it", ". ".join(f"{note[0].upper()}{note[1:]}" for note in notes))] if notes else []),
        ("Structures", f"{dataset['n_train']} training, {dataset['n_test']} test"),
        ("Level of theory", dataset["level_of_theory"]),
        ("Source", _source(dataset["citation"], dataset["licence"])),
        *_circumstances(run),
        *((f"How {family} was treated", text) for family, text in treatment(content).items()),
    ]


def _circumstances(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return with what a run was made; of two side by side, for each where they differ."""
    of_each = {label: _made_with(one) for label, one in run.get("runs", {"": run}).items()}
    found = []
    for what in next(iter(of_each.values())):
        said = {label: facts[what] for label, facts in of_each.items()}
        if len(set(said.values())) > 1:
            found += [(f"{what} ({label})", text) for label, text in said.items()]
        else:
            found.append((what, next(iter(said.values()))))
    return found


def _made_with(run: Mapping[str, Any]) -> dict[str, str]:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return {
        "Preset and seed": f"{run['preset']}, seed {run['seed']}",
        "Hardware": f"{run['hardware']['cpu']}, {run['hardware']['cores']} cores; {run['device']}",
        "Versions": versions,
    }


def treatment(content: Content) -> dict[str, str]:
    """Say in plain words what was done with the potentials of each family."""
    said = {
        family: " ".join(filter(None, (one.treated(content.evidence, family) for one in reported())))
        for family in sorted(content.ranking["family"].unique())
    }
    return {family: text for family, text in said.items() if text}


def hypers(content: Content) -> Table:
    """The hyper-parameters of each potential; of a sweep what the sizes of a family share is said once."""
    potentials = content.run["potentials"]
    shared: dict[str, dict[str, Any]] = {}
    if content.is_sweep:
        for entry in potentials.values():
            before = shared.setdefault(entry["family"], entry["hypers"])
            shared[entry["family"]] = {
                key: value
                for key, value in before.items()
                if key in entry["hypers"] and entry["hypers"][key] == value
            }
    rows = [[f"all {family}", written(common)] for family, common in shared.items()]
    for name, entry in potentials.items():
        common = shared.get(entry["family"], {})
        rows.append([name, written({k: v for k, v in entry["hypers"].items() if k not in common})])
    headings = ["potential", "hyper-parameters"]
    return Table(headings, rows, name="hyper-parameters", widths=(1, 6), text=True)


def repeat(content: Content) -> str:
    """The command that repeats the run."""
    return content.run["command"]


def footer() -> str:
    """Who made the report."""
    return f"Made by mlip-bench {mlip_bench.__version__}. Numbers: results.jsonl; settings: run.toml."


def written(hypers: Mapping[str, Any]) -> str:
    """Write hyper-parameters as text."""
    return ", ".join(f"{key} = {_plain(value)}" for key, value in hypers.items()) or MISSING


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {entry}" for key, entry in value.items()) + "}"
    return str(value)


def _source(citation: str, licence: str) -> str:
    """Return where data is from, and its licence where that is known."""
    return citation if licence == NOT_STATED else f"{citation} ({licence})"
