"""The interface that every family of potentials honours.

A family is one class in one file: a frozen dataclass of hyper-parameters, ``_fit``, ``_predict``,
``_write`` and ``_read``. Everything else (validation, the ASE calculator, saving and loading) is here.

Conventions, for all families: energies in eV of the whole structure; forces in eV/Å; stress in eV/Å³
with ASE's sign (the derivative of the energy by strain over the volume, so positive under tension)
and ASE's order xx yy zz yz xz xy.
"""

import dataclasses
import json
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.data import atomic_numbers

import mlip_bench
from mlip_bench.data import reference
from mlip_bench.data.reference import LARGEST_NUMBER
from mlip_bench.errors import NotFinite, UserError, did_you_mean
from mlip_bench.lammps.style import LammpsStyle
from mlip_bench.potentials import unseen_pairs
from mlip_bench.potentials.heat_flux import EdgeFlux, EdgeGradients, FluxStepper, HeatFlux
from mlip_bench.potentials.prediction import Prediction as Prediction
from mlip_bench.potentials.stepping import Stepping

Progress = Callable[[float, str], None]
"""Called with the share that is done (0 to 1) and a few words on what is being done."""

DESCRIPTION = "potential.json"
EXAMPLE = "example.extxyz"


def silent(share: float, message: str) -> None:
    """Ignore progress."""


class Potential(ABC):
    """One potential: hyper-parameters, and after ``fit`` or ``load`` a learnt state.

    Parameters are the fields of the class's ``Hypers``; an unknown name or a wrong type raises
    :class:`UserError`. Learnt attributes end in an underscore; ``fit`` twice equals ``fit`` once.
    """

    family: ClassVar[str]
    revision: ClassVar[int]
    """Raised whenever a fit or a prediction changes: one of another revision is never taken for it."""
    packages: ClassVar[tuple[str, ...]]
    """Distributions whose version decides the result of a fit or a prediction."""
    predicts: ClassVar[frozenset[str]] = frozenset({"energy", "forces", "stress"})
    """What predictions hold: ``forces`` always; without ``energy`` or ``stress`` these are NaN."""
    conservative: ClassVar[bool] = True
    """False where forces are predicted directly and are not the gradient of the energy."""
    counterpart: ClassVar[str] = ""
    """Of a family with direct forces: the conservative one that differs in nothing else, by its name."""
    stochastic: ClassVar[bool] = True
    """False where a fit has no random choice, so that other seeds give the same potential."""
    fits_folds_together: ClassVar[bool] = False
    """True where :meth:`fits_without` costs much less than its fits one by one."""
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    """Where the family can compute: ``cpu``, and ``cuda`` where it has code for GPUs."""
    native_in_lammps: ClassVar[bool] = False
    """True where ``lammps`` gives a native pair style."""
    exemptions: ClassVar[dict[str, str]] = {}
    """Conformance checks that the family cannot pass, each with the reason; empty means all must pass."""
    centred: ClassVar[bool] = True
    """False where the zero of the energy is that of the isolated atoms alone, where the data has them; else
    the mean of what then remains is part of it."""
    native_suffix: ClassVar[str] = ""
    """Ending of the field's own file format that ``from_native`` reads, if there is one."""
    more_suffixes: ClassVar[tuple[str, ...]] = ()
    """Endings of further files from which ``from_native`` finds the potential."""
    reads_pickles: ClassVar[bool] = False
    """True where such a file can run code when it is read; ``from_native`` then takes ``trust``."""
    look: ClassVar[tuple[str, str] | None] = None
    """Colour and marker (matplotlib's) of the family in figures; without them it takes some that are left."""
    set_on_reading: ClassVar[tuple[str, ...]] = ()
    """Hyper-parameters that such a file leaves open; ``from_native`` takes them by name."""
    file_hypers: ClassVar[tuple[str, ...]] = ()
    """Hyper-parameters that name a file or a folder, whose content decides the result."""
    retired: ClassVar[tuple[str, ...]] = ()
    """Hyper-parameters of earlier versions that said how to train: a saved potential may still name them."""

    @dataclass(frozen=True)
    class Hypers:
        """The family's hyper-parameters; each family defines its own."""

    def __init__(self, **hypers: Any):
        self.hypers = checked_hypers(self.family, self.Hypers, hypers)
        self.elements_: tuple[str, ...] = ()
        self.zero_ = np.empty(0)
        """Energy (eV) of each element that predictions are counted from, (n_elements,)."""
        self.notes_: list[str] = []
        """What the fit, or reading a file, left out, assumed or clipped: one sentence each."""
        self.unseen_: unseen_pairs.Pairs = ()
        """Pairs of elements that are never within the cutoff of each other in training."""
        self.example_: Atoms | None = None
        """A structure of the training data, without values, to begin a simulation from."""
        self.device = "cpu"
        self.trusted = False
        self.copies: Mapping[str, Path] = {}
        """By hyper-parameter: where a copy lies of the file that it names."""
        self._checkpoint: Path | None = None

    # -- what a family provides ------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, train: Sequence[Atoms], seed: int, progress: Progress) -> None:
        """Learn from structures with reference values, none of them an isolated atom.

        ``self.elements_`` and ``self.zero_`` are set, and the zero is taken off the energies already. A
        family that learns energies per element adds them to ``self.zero_``.
        """

    @abstractmethod
    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        """Predict structures whose elements are all known, with energies that ``zero_`` is missing from.

        None of the structures may be changed.
        """

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write the learnt state, in the field's own format where there is one: with the zero in it."""

    @abstractmethod
    def _read(self, folder: Path) -> None:
        """Read what ``_write`` wrote, and set ``zero_`` where the format has it."""

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """The number of fitted parameters."""

    @property
    def predicts_energy(self) -> bool:
        """Whether there is an energy."""
        return "energy" in self.predicts

    @property
    def predicts_stress(self) -> bool:
        """Whether there is a stress."""
        return "stress" in self.predicts

    @property
    def fits_stress(self) -> bool:
        """Whether a fit with these hyper-parameters uses the stress of the training data."""
        return True

    @property
    def reach(self) -> float | None:
        """How far (Å) the surroundings go that decide the energy of an atom, or a force predicted directly.

        The cutoff, times the layers of a network that passes messages; infinite where all atoms of a
        structure act on each other; None where the family does not say.
        """
        return None

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        """Return a function as :meth:`_predict` for one structure after the other, as in dynamics.

        A family that keeps its neighbour list from step to step gives its own, which heeds ``stepping``. This
        one keeps nothing.
        """

        def step(atoms: Atoms) -> Prediction:
            stepping.n_builds += 1
            return self._predict([atoms])[0]

        return step

    def _edge_stepper(self, stepping: Stepping) -> Callable[[Atoms], EdgeGradients] | None:
        """Return a function as :meth:`_stepper` that gives the gradient by edges too, with ``energies``.

        For families whose energies of atoms depend on the edges of their centre alone; None for others.
        """
        return None

    def _flux_stepper(self, stepping: Stepping) -> FluxStepper | None:
        """Return predictions with the heat flux that belongs to them; None where there is none.

        Networks that pass messages give their own. Energies lack ``zero_``, as in :meth:`_predict`.
        """
        edge_stepper = self._edge_stepper(stepping)
        return None if edge_stepper is None else EdgeFlux(edge_stepper)

    def lammps(self) -> LammpsStyle | None:
        """Return the native LAMMPS pair style, or None where LAMMPS has none."""
        return None

    @classmethod
    def from_native(cls, path: Path) -> Self:
        """Read a potential published in the field's own format."""
        raise UserError(f"{path}: {cls.family} has no file format of its own to read")

    # -- what follows from it --------------------------------------------------------------------------

    def fit(
        self,
        train: Sequence[Atoms],
        *,
        seed: int = 0,
        progress: Progress = silent,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn from ``train`` and return the potential itself.

        A family that learns for long keeps its state in the folder ``checkpoint`` and goes on from there, to
        the same result; the caller removes the folder when the fit is done, or when anything else changed.

        Each structure carries energy, forces and possibly stress in its calculator. A structure of one
        isolated atom fixes the zero of that element. A family that predicts no energy needs none. Readers of
        files check structures as they read them; here it is only refused what has no values.
        """
        if not train:
            raise UserError(f"{self.family}: there are no structures to train on")
        for index, atoms in enumerate(train):
            reference.refuse_unlabelled(atoms, f"training structure {index + 1}")
            if self.predicts_energy and not reference.has_energy(atoms):
                raise UserError(
                    f"{self.family} learns energies, and training structure {index + 1} has none; only a "
                    "family that predicts forces alone does without"
                )
        structures, isolated = reference.split_off_isolated_atoms(train)
        if not structures:
            raise UserError(f"{self.family}: the training data has isolated atoms only")
        self.elements_, self.unseen_ = reference.elements(structures), ()
        self.example_ = example_of(structures)
        self._checkpoint = checkpoint
        if self.predicts_energy:
            self.notes_ = _on_isolated_atoms(isolated, self.elements_)
            self.zero_ = reference.energy_zero(structures, self.elements_, isolated, self.centred)
            structures = reference.with_zero(structures, self.elements_, -self.zero_)
        else:
            self.notes_, self.zero_ = [], np.zeros(len(self.elements_))
        self._learn_unseen(structures)
        self._fit(structures, seed, progress)
        return self

    def _learn_unseen(self, structures: Sequence[Atoms]) -> None:
        """Keep, and say, which pairs of elements are never near each other in training."""
        if self._pair_cutoff is None or len(self.elements_) < 2:
            return
        self.unseen_ = unseen_pairs.of(structures, self.elements_, self._pair_cutoff)
        if self.unseen_:
            self.notes_.append(unseen_pairs.sentence(self.unseen_, self._pair_cutoff))

    @property
    def _pair_cutoff(self) -> float | None:
        """How far (Å) an atom sees another directly: ``hypers.cutoff``, where a family has one."""
        cutoff = getattr(self.hypers, "cutoff", None)
        return None if cutoff is None else float(cutoff)

    def _refit_zero(self, structures: Sequence[Atoms]) -> list[Atoms]:
        """Add to the zero what the potential, as it is, misses of energies without it; return them without.

        For training that starts from a potential of other data, whose zero is another.
        """
        predictions = self._predict(structures)
        missing = [
            reference.labelled(
                atoms.copy(),
                reference.energy(atoms) - prediction.energy,
                reference.forces(atoms),
                reference.stress(atoms),
            )
            for atoms, prediction in zip(structures, predictions, strict=True)
        ]
        rest = reference.energies_per_element(missing, self.elements_)
        self.zero_ = self.zero_ + rest
        return reference.with_zero(structures, self.elements_, -rest)

    def fits_without(self, train: Sequence[Atoms], folds: Sequence[int], *, seed: int = 0) -> Iterator[Self]:
        """Yield, for each fold in order, a potential fitted to all others; and last, one fitted to all.

        Their hyper-parameters are those of this one. ``folds`` has the fold of each structure, from 0.
        """
        decided = self.decided_on(train)
        for held_out in range(max(folds) + 2):
            kept = [atoms for atoms, fold in zip(train, folds, strict=True) if fold != held_out]
            yield decided._unfitted().fit(kept, seed=seed)

    def decided_on(self, train: Sequence[Atoms]) -> Self:
        """Return an unfitted potential of which nothing is left for a part of the training data to decide.

        A family that lets the structures of its training data decide what kind of potential it is (never the
        values) decides it here for all its fits to parts of them, which are else of different kinds.
        """
        return self

    def _unfitted(self) -> Self:
        fresh = type(self)(**dataclasses.asdict(self.hypers)).on(self.device)
        return fresh.trusting(self.trusted).reading(self.copies)

    def on(self, device: str) -> Self:
        """Compute on ``cpu`` or ``cuda`` from now on, in fit and predict; return the potential itself."""
        if device not in self.devices:
            raise UserError(f"{self.family} cannot compute on {device}, only on {', '.join(self.devices)}")
        if device == "cuda":
            refuse_missing_gpu()
        self.device = device
        return self

    def trusting(self, trust: bool) -> Self:
        """Let files that hyper-parameters name run code when they are read, or not; return the potential."""
        self.trusted = trust
        return self

    def reading(self, copies: Mapping[str, Path]) -> Self:
        """Read copies of the files that hyper-parameters name, by the hyper-parameter; return the potential.

        For another machine, where the files themselves are not.
        """
        self.copies = copies
        return self

    def predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        """Return energy, forces and stress of each structure, in order; NaN of what the family has not."""
        for atoms in structures:
            self._refuse_foreign_elements(atoms)
        predictions = self._predict(structures) if structures else []
        zeros = self._zeros()
        return [
            _with_zeros(self._with_unseen(prediction, atoms), zeros[atoms.numbers])
            for atoms, prediction in zip(structures, predictions, strict=True)
        ]

    def _with_unseen(self, prediction: Prediction, atoms: Atoms) -> Prediction:
        """Count as extrapolating the atoms with neighbours of which the potential knows nothing."""
        if not self.unseen_ or self._pair_cutoff is None:
            return prediction
        n_atoms = unseen_pairs.n_atoms_of(atoms, self.unseen_, self._pair_cutoff)
        return dataclasses.replace(prediction, n_extrapolating=max(n_atoms, prediction.n_extrapolating))

    def heat_flux(self, atoms: Atoms, velocities: np.ndarray) -> HeatFlux:
        """Return the heat flux of a structure whose atoms have ``velocities`` (n_atoms, 3) in Å/fs.

        Both parts are extensive, in eV Å/fs (:class:`mlip_bench.potentials.heat_flux.HeatFlux`). Raises
        :class:`UserError` for a family without energies of atoms that its forces are the gradient of, and for
        velocities that are missing or not finite; :class:`NotFinite` where the flux is not.
        """
        self._refuse_foreign_elements(atoms)
        stepper = self.flux_stepper()
        velocities = np.asarray(velocities, dtype=float)
        if velocities.shape != (len(atoms), 3):
            raise UserError(
                f"{atoms.symbols}: a heat flux needs the velocity (Å/fs) of each of {len(atoms)} atoms, "
                f"(n_atoms, 3), not an array of shape {velocities.shape}"
            )
        if not np.isfinite(velocities).all():
            raise UserError(
                f"{atoms.symbols}: a velocity (Å/fs) of an atom is not finite, so no heat flux is"
            )
        flux = stepper.heat_flux(stepper.predict(atoms), atoms.get_masses(), velocities)
        if not np.isfinite(flux.total).all():
            raise NotFinite(f"the heat flux of {atoms.symbols} is not finite (NaN)")
        return flux

    def flux_stepper(self, stepping: Stepping | None = None) -> FluxStepper:
        """Return predictions of one structure after the other with their heat fluxes, as dynamics need them.

        ``stepping`` says how steps are done, as it does of a calculator. Raises :class:`UserError` as
        :meth:`heat_flux`.
        """
        self._refuse_unfitted()
        if not self.conservative:
            raise UserError(
                f"{self.family} predicts forces directly: they are not the gradient of energies of atoms, so "
                "there is no heat flux"
            )
        stepper = self._flux_stepper(stepping or Stepping())
        if stepper is None:
            raise UserError(
                f"{self.family} gives no energy of each atom by its edges, so there is no heat flux"
            )
        return _WithZeros(stepper, self._zeros())

    def _zeros(self) -> np.ndarray:
        """Return the zero of each atomic number (eV), NaN of elements that are not known."""
        zeros = np.full(LARGEST_NUMBER + 1, np.nan)
        zeros[[atomic_numbers[symbol] for symbol in self.elements_]] = self.zero_
        return zeros

    def calculator(self) -> "PotentialCalculator":
        """Return an ASE calculator that gives energy, forces and stress: what of these is predicted."""
        self._refuse_unfitted()
        stepping = Stepping()
        step, zeros = self._stepper(stepping), self._zeros()

        def predict(atoms: Atoms) -> Prediction:
            of_atoms = zeros[atoms.numbers]
            if np.isnan(of_atoms).any():
                self._refuse_foreign_elements(atoms)
            return _with_zeros(step(atoms), of_atoms)

        return PotentialCalculator(predict, self.predicts, stepping)

    def save(self, folder: Path | str) -> None:
        """Write the potential into a folder that :func:`mlip_bench.potentials.load` reads."""
        self._refuse_unfitted()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        description = {
            "family": self.family,
            "mlip_bench": mlip_bench.__version__,
            "elements": list(self.elements_),
            "n_parameters": self.n_parameters,
            "hypers": dataclasses.asdict(self.hypers),
            "zero": self.zero_.tolist(),
            "notes": self.notes_,
            "unseen_pairs": list(map(list, self.unseen_)),
        }
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        if self.example_ is not None:
            ase.io.write(folder / EXAMPLE, self.example_, format="extxyz")
        self._write(folder)

    @classmethod
    def load(cls, folder: Path | str, *, trust: bool = False) -> Self:
        """Read what ``save`` wrote for this family; ``trust`` lets files of others run code."""
        folder = Path(folder)
        description = json.loads((folder / DESCRIPTION).read_text())
        hypers = {name: value for name, value in description["hypers"].items() if name not in cls.retired}
        potential = cls(**hypers)
        potential.elements_ = tuple(description["elements"])
        potential.trusted = trust
        potential._read(folder)
        if "zero" in description:  # what is in the field's format may be less precise
            potential.zero_ = np.array(description["zero"], dtype=float)
        potential.notes_ = list(description.get("notes", []))
        potential.unseen_ = tuple((one, other) for one, other in description.get("unseen_pairs", []))
        if (folder / EXAMPLE).is_file():
            (potential.example_,) = ase.io.iread(folder / EXAMPLE, format="extxyz")
        return potential

    def _refuse_unfitted(self) -> None:
        if not self.elements_:
            raise UserError(f"this {self.family} potential is not fitted yet; call fit or load first")

    def _refuse_foreign_elements(self, atoms: Atoms) -> None:
        self._refuse_unfitted()
        foreign = sorted(set(atoms.get_chemical_symbols()) - set(self.elements_))
        if foreign:
            raise UserError(
                f"structure {atoms.symbols}: this {self.family} potential knows {', '.join(self.elements_)}, "
                f"not {', '.join(foreign)}; train it on data with that element"
            )


class _WithZeros(FluxStepper):
    """A flux stepper whose energies have the zero of each element in them."""

    def __init__(self, stepper: FluxStepper, zeros: np.ndarray):
        self._stepper, self._zero_of = stepper, zeros

    def predict(self, atoms: Atoms) -> Prediction:
        """Predict a structure."""
        return _with_zeros(self._stepper.predict(atoms), self._zero_of[atoms.numbers])

    def potential_flux(self, velocities: np.ndarray) -> np.ndarray:
        """Return the potential part, in which the zeros cancel."""
        return self._stepper.potential_flux(velocities)

    def flux_by_velocities(self) -> np.ndarray:
        """Return its derivative."""
        return self._stepper.flux_by_velocities()


def _with_zeros(prediction: Prediction, zeros: np.ndarray) -> Prediction:
    """Add the zero of each atom (n_atoms,) in eV."""
    energies = prediction.energies
    return dataclasses.replace(
        prediction,
        energy=prediction.energy + float(zeros.sum()),
        energies=None if energies is None else energies + zeros,
    )


def _on_isolated_atoms(isolated: Mapping[str, float], elements: Sequence[str]) -> list[str]:
    """Return sentences on what the isolated atoms of the training data were used for."""
    used = [f"{symbol} {energy:.6g} eV" for symbol, energy in isolated.items() if symbol in elements]
    left = sorted(set(isolated) - set(elements))
    notes = [f"isolated atoms fix the zero of the energy: {', '.join(used)}"] if used else []
    if left:
        notes.append(
            f"{', '.join(left)} is in the training data as an isolated atom only, so this potential does not "
            "know it"
        )
    return notes


def example_of(structures: Sequence[Atoms]) -> Atoms:
    """Return the structure to begin a simulation from: with the most elements, least force, without values.

    Periodic ones come first.
    """

    def rank(atoms: Atoms) -> tuple[int, int, float]:
        largest = float(np.abs(reference.forces(atoms)).max())
        return -int(atoms.pbc.sum()), -len(set(atoms.numbers)), largest

    best = min(structures, key=rank)
    return Atoms(best.numbers, best.positions, cell=best.cell, pbc=best.pbc)


def refuse_missing_gpu() -> None:
    """Raise :class:`UserError` where torch is not installed or finds no GPU."""
    try:
        import torch
    except ImportError as error:
        raise UserError("cuda needs torch, which is not installed: pip install torch") from error
    if not torch.cuda.is_available():
        raise UserError(f"torch {torch.__version__} finds no GPU here; compute on the cpu")


class PotentialCalculator(Calculator):
    """A function that predicts one structure as an ASE calculator: what of energy, forces, stress it has.

    For what is not among ``predicts`` ASE raises ``PropertyNotImplementedError``.
    """

    def __init__(
        self,
        predict: Callable[[Atoms], Prediction],
        predicts: frozenset[str] = Potential.predicts,
        stepping: Stepping | None = None,
    ):
        super().__init__()
        self._predict = predict
        self.stepping = stepping or Stepping()
        """How the function predicts one structure after the other, where it heeds that."""
        self.implemented_properties = [
            name
            for name in ("energy", "free_energy", "forces", "stress")
            if name.removeprefix("free_") in predicts
        ]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Predict one structure; raises for the stress of a structure without a volume, as ASE does.

        Raises :class:`NotFinite` where energy, forces or the stress of a crystal are not finite.
        """
        super().calculate(atoms, properties, system_changes)
        prediction = self._predict(self.atoms)
        has_energy, has_stress = (name in self.implemented_properties for name in ("energy", "stress"))
        finite_stress = bool(np.all(np.isfinite(prediction.stress)))
        finite = np.all(np.isfinite(prediction.forces)) and (np.isfinite(prediction.energy) or not has_energy)
        if not finite or (has_stress and self.atoms.pbc.all() and not finite_stress):
            raise NotFinite(f"the potential's prediction for {self.atoms.symbols} is not finite (NaN)")
        self.results = {"forces": prediction.forces}
        if has_energy:
            self.results |= {"energy": prediction.energy, "free_energy": prediction.energy}
        if finite_stress:
            self.results["stress"] = prediction.stress
        elif properties and "stress" in properties:
            raise PropertyNotImplementedError("the structure has no three-dimensional cell, so no stress")


def checked_hypers(family: str, hypers_class: type, values: dict[str, Any]) -> Any:
    """Build a family's frozen hyper-parameters; an unknown name or wrong type is a :class:`UserError`."""
    fields = typing.get_type_hints(hypers_class)
    for name, value in values.items():
        if name not in fields:
            raise UserError(f"{family} has no hyper-parameter '{name}'{did_you_mean(name, fields)}")
        values = values | {name: _as_type(f"{family}.{name}", value, fields[name])}
    return hypers_class(**values)


def _as_type(name: str, value: Any, wanted: Any) -> Any:
    """Return ``value`` if it has the wanted type (an int serves as a float), else raise UserError."""
    if isinstance(wanted, types.UnionType):
        options = typing.get_args(wanted)
        if value is None and type(None) in options:
            return None
        return _as_type(name, value, next(option for option in options if option is not type(None)))
    origin = typing.get_origin(wanted) or wanted
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is float and isinstance(value, float) and not np.isfinite(value):
        raise UserError(f"{name} must be a finite number, not {value!r}")
    if origin is dict and isinstance(value, dict):
        _, of_values = typing.get_args(wanted)
        return {key: _as_type(f"{name}.{key}", entry, of_values) for key, entry in value.items()}
    if origin is list and isinstance(value, list | tuple):
        (of_entries,) = typing.get_args(wanted)
        return [_as_type(name, entry, of_entries) for entry in value]
    if isinstance(value, origin) and not (origin is int and isinstance(value, bool)):
        return value
    raise UserError(f"{name} must be {getattr(wanted, '__name__', wanted)}, not {value!r}")


def require(condition: bool, name: str, value: object, what: str) -> None:
    """Raise :class:`UserError` where a hyper-parameter's value is out of its range."""
    if not condition:
        raise UserError(f"{name} = {value!r}: {what}")
