"""Reference values from a first-principles code: asked of it once, kept in a file, read from there after.

A recipe (``datasets/recipes/*.toml``) names an ASE calculator and its settings. The calculator runs in a
Python of its own (``--python``), because codes such as GPAW come with the system and not with this package.
"""

import hashlib
import io
import json
import select
import subprocess
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlip_bench.data import label_worker
from mlip_bench.data.reference import geometry_fingerprint, labelled
from mlip_bench.data.shipped import shipped_folder
from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.results import Journal, write_atomically

RECIPES = "recipes"

# The note of a label (``info``) that tells which calculator and settings it comes from.
SETTINGS = "settings_sha256"

# The journal of the labels that were made with some settings, by their SHA-256.
Journals = Callable[[str], Journal]

# Two structures whose positions and cell agree to this (Å) are the same: files keep eight decimals.
SAME = 1e-5


@dataclass(frozen=True)
class Recipe:
    """How structures of a system are labelled, and which properties its reference has."""

    system: str
    calculator: str
    level_of_theory: str
    settings: Mapping[str, Any]
    settings_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings that the labels of one measure have instead, by its name; labels of earlier measures stay."""
    magnetic_moments: Mapping[str, float] = field(default_factory=dict)
    """Moments (µB) per element to start from; none for a calculation without spin."""
    crystal: Mapping[str, Any] = field(default_factory=dict)
    """Lattice and lattice constant (Å) to start from: ``lattice``, ``a``."""
    measures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Properties of the reference, each with the settings of its measurement."""

    def sha256_with(self, settings: Mapping[str, Any]) -> str:
        """Return the SHA-256 of what decides a label: calculator, settings and magnetic moments."""
        decides = [self.calculator, dict(settings), dict(self.magnetic_moments)]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def read_recipe(name: str) -> Recipe:
    """Return a recipe from a file, or the one that ships for a system."""
    shipped = {path.stem: path for path in sorted((shipped_folder("datasets") / RECIPES).glob("*.toml"))}
    path = Path(name) if Path(name).is_file() else shipped.get(name)
    if path is None:
        raise UserError(f"no recipe '{name}'{did_you_mean(name, shipped)}; or give a TOML file")
    try:
        recipe = Recipe(**tomllib.loads(path.read_text()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise UserError(f"{path}: not a recipe ({error})") from error
    for name in ("settings", "settings_of", "magnetic_moments", "crystal", "measures"):
        if not isinstance(getattr(recipe, name), dict):
            raise UserError(f"{path}: not a recipe ({name} must be a table)")
    return recipe


class Worker:
    """A calculator in a Python of its own, asked one structure after the other.

    ``timeout_s`` is the time that one label may take; None for no limit.
    """

    def __init__(self, recipe: Recipe, python: str, log: Path, timeout_s: float | None = None):
        self._log = log
        self._timeout_s = timeout_s
        self._recipe = recipe
        self._settings = dict(recipe.settings)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as output:
            try:
                self._process = subprocess.Popen(
                    [python, label_worker.__file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    text=True,
                )
            except OSError as error:
                raise UserError(f"{python}: cannot be started ({error.strerror}); see --python") from error
        self._send(
            {
                "calculator": recipe.calculator,
                "magnetic_moments": dict(recipe.magnetic_moments),
            }
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of what decides a label: calculator, present settings and magnetic moments."""
        return self._recipe.sha256_with(self._settings)

    def use(self, settings: Mapping[str, Any]) -> None:
        """Label with settings other than the recipe's from here on."""
        self._settings = dict(settings)

    def label(self, atoms: Atoms, stress: bool) -> dict[str, Any]:
        """Return energy (eV) and forces (eV/Å) of a structure, and its stress (eV/Å³) if asked for."""
        self._send(
            {
                "settings": self._settings,
                "stress": stress,
                **geometry(atoms),
            }
        )
        pipe = self._pipe(self._process.stdout)
        if not select.select([pipe], [], [], self._timeout_s)[0]:
            raise UserError(
                f"a label of {atoms.symbols} took longer than {self._timeout_s:g} s, the limit (--timeout); "
                "what was computed before is kept"
            )
        answer = pipe.readline()
        if not answer:
            raise self._died()
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _send(self, content: dict[str, Any]) -> None:
        pipe = self._pipe(self._process.stdin)
        try:
            pipe.write(json.dumps(content) + "\n")
            pipe.flush()
        except BrokenPipeError as error:
            raise self._died() from error

    def _died(self) -> UserError:
        lines = self._log.read_text().strip().splitlines()
        last = lines[-1] if lines else "it printed nothing"
        advice = "; --python names an interpreter that has it" if "ModuleNotFoundError" in last else ""
        return UserError(f"the calculator ended: {last} (all of it in {self._log}){advice}")

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None  # opened with PIPE above
        return pipe


class Labels(Calculator):
    """An ASE calculator that knows structures, and asks a worker for others, if it has one.

    Without a worker it knows those of a file. With one, each answer goes into the journal of the settings it
    was made with, before it counts, so what was computed once is never computed again. Energy in eV, forces
    in eV/Å, stress in eV/Å³ (ASE's sign and order).
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012  # ASE asks for a list

    def __init__(self, path: Path, worker: Worker | None = None, journals: Journals | None = None):
        super().__init__()
        self.path = path
        self.worker = worker
        self._journals = journals
        self.known: list[Atoms] = []
        """The labels of the file, or those that were asked for so far."""
        self._of_settings: dict[str, list[Atoms]] = {}
        if worker is None and path.is_file():
            self.known = list(ase.io.iread(path, index=":"))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Look the structure up; raises :class:`UserError` where it is not known and nobody can be asked."""
        super().calculate(atoms, properties, system_changes)
        # Of supercells only forces are asked for: the stress of a large cell takes a code a while.
        stress = "stress" in (properties or ())
        found = _find(self.known if self.worker is None else self._made(), self.atoms, stress)
        if found is None:
            found = self._ask(self.atoms, stress)
        if self.worker is not None and not any(found is known for known in self.known):
            self.known.append(found)
        self.results = dict(found.calc.results)
        self.results["free_energy"] = self.results["energy"]

    def write(self) -> None:
        """Write the labels that were asked for to the file, as a whole."""
        text = io.StringIO()
        ase.io.write(text, self.known, format="extxyz")
        write_atomically(self.path, text.getvalue())

    def _made(self) -> list[Atoms]:
        """Return the labels that were made with the worker's present settings, now or before."""
        assert self.worker is not None
        sha256 = self.worker.sha256
        if sha256 not in self._of_settings:
            records = self._journals(sha256).records() if self._journals else []
            self._of_settings[sha256] = [_from_record(record) for record in records]
        return self._of_settings[sha256]

    def _ask(self, atoms: Atoms, stress: bool) -> Atoms:
        if self.worker is None:
            raise UserError(f"{self.path} lacks a structure of {atoms.symbols}: label it first")
        if self._journals is None:
            return self._compute(atoms, stress, None)
        journal = self._journals(self.worker.sha256)
        with journal.held(geometry_fingerprint(atoms)[:16]):
            # Another command may have computed it meanwhile.
            found = _find([_from_record(record) for record in journal.records()], atoms, stress)
            if found is None:
                return self._compute(atoms, stress, journal)
            self._made().append(found)
            return found

    def _compute(self, atoms: Atoms, stress: bool, journal: Journal | None) -> Atoms:
        """Ask the worker, and write its answer down before it counts."""
        assert self.worker is not None
        values = self.worker.label(atoms, stress)
        record = {**geometry(atoms), **values, SETTINGS: self.worker.sha256}
        if journal is not None:
            journal.append(record)
        answer = _from_record(record)
        self._made().append(answer)
        return answer


def geometry(atoms: Atoms) -> dict[str, Any]:
    """Return numbers, positions (Å), cell (Å) and periodicity of a structure as JSON."""
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": np.array(atoms.cell).tolist(),
        "pbc": atoms.pbc.tolist(),
    }


def _from_record(record: Mapping[str, Any]) -> Atoms:
    bare = Atoms(record["numbers"], record["positions"], cell=record["cell"], pbc=record["pbc"])
    bare.info[SETTINGS] = record[SETTINGS]
    return labelled(bare, record["energy"], np.array(record["forces"]), record.get("stress"))


def _find(labels: Sequence[Atoms], atoms: Atoms, stress: bool) -> Atoms | None:
    return next((known for known in labels if _answers(known, atoms, stress)), None)


def _answers(known: Atoms, atoms: Atoms, stress: bool) -> bool:
    return (not stress or "stress" in known.calc.results) and _same(known, atoms)


def _same(one: Atoms, other: Atoms) -> bool:
    return (
        len(one) == len(other)
        and bool(np.array_equal(one.numbers, other.numbers))
        and bool(np.array_equal(one.pbc, other.pbc))
        and bool(np.allclose(one.cell, other.cell, rtol=0, atol=SAME))
        and bool(np.allclose(one.positions, other.positions, rtol=0, atol=SAME))
    )


def label_structures(structures: Sequence[Atoms], labels: Labels) -> list[Atoms]:
    """Return the structures with the values of ``labels``, their notes (``info``) kept."""
    answers = []
    for atoms in structures:
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=dict(atoms.info))
        labels.calculate(bare, ["stress"] if bare.pbc.all() else ["forces"])
        results = labels.results
        answers.append(labelled(bare, results["energy"], results["forces"], results.get("stress")))
    return answers
