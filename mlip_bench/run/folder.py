"""The folder of a run: its description, the rows of its finished tasks, and what they left by plain names.

All of it is copied from the store, so the folder can be sent to somebody as it is.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import tomli_w
from ase import Atoms

from mlip_bench.hardware import available_cores, cpu_name
from mlip_bench.measure import first_principles
from mlip_bench.measure.base import CURVES
from mlip_bench.measure.errors import PREDICTIONS
from mlip_bench.results import (
    DESCRIPTION,
    DRAWN,
    POTENTIALS,
    PREDICTED,
    RESULTS,
    Row,
    file_name,
    versions,
    write_atomically,
    write_rows,
)
from mlip_bench.run.contents import TASK_ROWS
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan
from mlip_bench.run.store import TASK, commit_of
from mlip_bench.run.tasks import Fit, PotentialTask

# Which result each published file or folder is of, by its commit.
PUBLISHED = "published.json"


class RunFolder:
    """Writes what tasks left into the folder of a run."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / PUBLISHED
        self._commits = _read_commits(self._path)

    def write(self, tasks: Mapping[PotentialTask, Path], failures: Sequence[Row]) -> None:
        """Write the rows of finished tasks, each with its folder in the store, and of failed ones.

        The potentials of fits become ``potentials/<name>``, predictions ``predictions/<name>.npz``, and what
        a measurement draws ``curves/<name>-<measure>.npz``.
        """
        # Read again each time: those of a hundred thousand tasks are too many to be kept.
        rows = (row for task, folder in tasks.items() for row in task.rows(folder))
        write_rows(self.folder / RESULTS, chain(rows, failures))
        wanted = {
            name: (source, commit_of(folder))
            for task, folder in tasks.items()
            for name, source in published(task, folder)
        }
        for name in set(self._commits) - set(wanted):
            self._remove(name)
        for name, (source, commit) in wanted.items():
            if self._commits.get(name) != commit or not (self.folder / name).exists():
                self._copy(source, name)
                self._commits[name] = commit
        write_atomically(self._path, json.dumps(self._commits, indent=1, ensure_ascii=False) + "\n")

    def _remove(self, name: str) -> None:
        path = self.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        del self._commits[name]

    def _copy(self, source: Path, name: str) -> None:
        """Copy a file or folder so that it is never there in part."""
        target = self.folder / name
        partial = target.with_name(f".{target.name}.partial")
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial, ignore=shutil.ignore_patterns(TASK, TASK_ROWS))
            # In runs of version 0.1 it is a link.
            target.unlink() if target.is_symlink() else shutil.rmtree(target, ignore_errors=True)
        else:
            shutil.copy(source, partial)
        partial.replace(target)


def _read_commits(path: Path) -> dict[str, str]:
    """Return which result each published file is of; nothing where that is damaged, so that all is copied."""
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def published(task: PotentialTask, folder: Path) -> list[tuple[str, Path]]:
    """Return what a finished task left beside its rows: its place in a run folder, and where it is."""
    name = task.fit.potential.name
    if isinstance(task, Fit):
        return [(f"{POTENTIALS}/{file_name(name)}", folder)]
    candidates = [
        (f"{PREDICTED}/{file_name(name)}.npz", folder / PREDICTIONS),
        (f"{DRAWN}/{file_name(f'{name}-{task.kind}')}.npz", folder / CURVES),
    ]
    return [(place, path) for place, path in candidates if path.is_file()]


def describe(
    plan: Plan, folder: Path, command: Sequence[str], request: Mapping[str, Any], notes: Sequence[str] = ()
) -> None:
    """Write ``run.toml``: everything that is needed to repeat the run.

    ``request`` is what the run was asked for, which ``run --from`` reads again; ``notes`` what the report is
    to say of the run as a whole.
    """
    dataset = plan.dataset
    content = {
        "command": " ".join(command),
        "preset": plan.preset,
        "seed": plan.seed,
        "device": plan.device,
        "measures": list(plan.measures),
        "cores": list(plan.cores),
        "options": {measure: options for measure, options in plan.options.items() if options},
        "limited": {measure: list(names) for measure, names in plan.limited.items()},
        "notes": list(notes),
        **({"profile": plan.profile} if plan.profile else {}),
        "dataset": {
            "name": dataset.name,
            "system": dataset.system,
            "sha256": dataset.sha256,
            "origin": dataset.origin,
            "level_of_theory": dataset.level_of_theory,
            "licence": dataset.licence,
            "citation": dataset.citation,
            "n_train": len(dataset.train),
            "n_test": len(dataset.test),
            "notes": list(dataset.notes),
            "leaks": list(dataset.leaks),
            "reference": first_principles.is_of(dataset.system, dataset.crystal),
        },
        "request": _without_none(request),
        "hardware": {"cpu": cpu_name(), "cores": len(available_cores()), "platform": sys.platform},
        "versions": versions(),
        "potentials": {potential.name: _described(potential, dataset.train) for potential in plan.potentials},
    }
    write_atomically(folder / DESCRIPTION, tomli_w.dumps(content))


def _described(potential: PotentialPlan, train: Sequence[Atoms]) -> dict[str, Any]:
    """Return what ``run.toml`` says of a potential."""
    found = {
        "family": potential.family,
        "source": str(potential.source) if potential.source else None,
        "seed": potential.seed,
        "share": potential.share,
        "fits_stress": potential.fits_stress(train),
        "hypers": _without_none(potential.with_whole_paths()),
    }
    return _without_none(found)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
