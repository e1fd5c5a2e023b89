"""Properties from first principles, computed here by the same measurements and shipped, to compare with.

A reference is a folder ``datasets/references/<system>``: ``labels.extxyz`` with every structure that the code
was asked for, and ``properties.json`` with the numbers and curves that follow from them.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk

from mlip_bench.data.labels import Journals, Labels, Recipe, Worker, label_structures
from mlip_bench.data.shipped import shipped_folder
from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.measure import crystals
from mlip_bench.measure.base import Found, Value
from mlip_bench.potentials.base import Progress
from mlip_bench.results import write_atomically

REFERENCES = "references"
LABELS = "labels.extxyz"
PROPERTIES = "properties.json"
LOG = "calculator.log"

Compute = Callable[..., Found]

# Curves are kept with as many digits as they have.
DIGITS = 7


@dataclasses.dataclass(frozen=True)
class Reference:
    """What first principles say of a crystal."""

    system: str
    level_of_theory: str
    crystal: Atoms
    properties: Mapping[str, Found]


@cache
def shipped(system: str) -> Reference | None:
    """Return the reference of a system, or None where none ships."""
    path = _path(system)
    return read(path) if path.is_file() else None


def of(system: str, atoms: Atoms | None, measure: str) -> Found | None:
    """Return a property of the reference, or None where there is none of this crystal."""
    reference = shipped(system)
    if reference is None or not is_of(system, atoms):
        return None
    return reference.properties.get(measure)


def is_of(system: str, atoms: Atoms | None) -> bool:
    """Tell whether a reference of this crystal ships."""
    reference = shipped(system)
    return reference is not None and atoms is not None and _same_crystal(atoms, reference.crystal)


def digest(system: str, atoms: Atoms | None) -> str:
    """Return the SHA-256 of the reference of a crystal, or ``none``: deviations follow from it."""
    if not is_of(system, atoms):
        return "none"
    return hashlib.sha256(_path(system).read_bytes()).hexdigest()


def _path(system: str) -> Path:
    return shipped_folder("datasets") / REFERENCES / system / PROPERTIES


def _same_crystal(one: Atoms, other: Atoms) -> bool:
    return crystals.equivalent(crystals.standard(one), crystals.standard(other))


def compute(
    recipe: Recipe, labels: Labels, properties: Mapping[str, Compute], progress: Progress
) -> Reference:
    """Measure each property that the recipe names, with labels as the calculator."""
    for name in recipe.measures:
        if name not in properties:
            hint = did_you_mean(name, properties)
            raise UserError(f"recipe of {recipe.system}: unknown property '{name}'{hint}")
    crystal = start(recipe)
    found = {}
    for index, (name, settings) in enumerate(recipe.measures.items()):

        def within(share: float, message: str, index: int = index, name: str = name) -> None:
            progress((index + share) / len(recipe.measures), f"{name}: {message}")

        if labels.worker is not None:
            labels.worker.use({**recipe.settings, **recipe.settings_of.get(name, {})})
        found[name] = properties[name](crystal, labels, within, **settings)
        for error in found[name].errors:
            raise UserError(error)
    return Reference(recipe.system, recipe.level_of_theory, crystal, found)


def build(
    recipe: Recipe,
    properties: Mapping[str, Compute],
    python: str,
    folder: Path,
    journals: Journals,
    progress: Progress,
    timeout_s: float | None = None,
) -> Reference:
    """Make a reference in a folder, asking the recipe's calculator for every label that no journal has."""
    worker = Worker(recipe, python, folder / LOG, timeout_s)
    labels = Labels(folder / LABELS, worker, journals)
    try:
        reference = compute(recipe, labels, properties, progress)
    finally:
        worker.close()
    labels.write()
    write(reference, folder / PROPERTIES)
    return reference


def label_file(
    path: Path,
    recipe: Recipe,
    python: str,
    out: Path,
    journals: Journals,
    progress: Progress,
    timeout_s: float | None = None,
) -> None:
    """Label the structures of a file, keeping their notes; answers are kept in journals as they come."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        structures = ase.io.read(path, index=":")
    except Exception as error:  # a reader for any format may raise anything on a broken file
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    if any(atoms.has("initial_magmoms") for atoms in structures):
        raise UserError(f"{path}: magnetic moments are given per element, by the recipe; take them out of it")
    worker = Worker(recipe, python, out.with_name(f"{out.name}.log"), timeout_s)
    labels = Labels(out, worker, journals)
    try:
        answers = []
        for index, atoms in enumerate(structures):
            answers += label_structures([atoms], labels)
            progress((index + 1) / len(structures), f"structure {index + 1} of {len(structures)}")
    finally:
        worker.close()
    text = io.StringIO()
    ase.io.write(text, answers, format="extxyz")
    write_atomically(out, text.getvalue())


def start(recipe: Recipe) -> Atoms:
    """Return the crystal that the recipe starts from; raises UserError where none can be built."""
    lengths = {key: recipe.crystal[key] for key in ("a", "c") if key in recipe.crystal}
    try:
        # With a second length it is hexagonal or tetragonal.
        return bulk(recipe.system, recipe.crystal["lattice"], cubic="c" not in lengths, **lengths)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"recipe of {recipe.system}: [crystal] needs the lattice's name and a (Å), or a and c ({error})"
        ) from error


def write(reference: Reference, path: Path) -> None:
    """Write a reference as text."""
    content = {
        "system": reference.system,
        "level_of_theory": reference.level_of_theory,
        "crystal": reference.crystal.todict() | {"pbc": True},
        "properties": {
            name: {
                "values": [_without_none(value) for value in found.values],
                "curves": {key: _rounded(curve) for key, curve in found.curves.items()},
            }
            for name, found in reference.properties.items()
        },
    }
    write_atomically(path, json.dumps(content, indent=1, default=np.ndarray.tolist) + "\n")


def read(path: Path) -> Reference:
    """Read what :func:`write` wrote."""
    content = json.loads(path.read_text())
    return Reference(
        content["system"],
        content["level_of_theory"],
        Atoms.fromdict({key: np.array(value) for key, value in content["crystal"].items()}),
        {
            name: Found(
                [Value(**value) for value in found["values"]],
                {key: np.array(curve) for key, curve in found["curves"].items()},
            )
            for name, found in content["properties"].items()
        },
    )


def _without_none(value: Value) -> dict[str, object]:
    content = {key: entry for key, entry in dataclasses.asdict(value).items() if entry is not None}
    return content | {"value": float(f"{value.value:.{DIGITS}g}")}


def _rounded(curve: np.ndarray) -> list[object]:
    return curve.tolist() if curve.dtype.kind == "U" else np.round(curve, DIGITS).tolist()
