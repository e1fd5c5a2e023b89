r"""SNAP and qSNAP: energies linear, or quadratic, in bispectrum components.

The energy of atom i of element μ is linear in the bispectrum components B of its neighbour density
(Zuo et al., doi:10.1021/acs.jpca.9b08723, equations 9 to 13; Thompson et al.,
doi:10.1016/j.jcp.2014.12.018, equations 2 to 10):

.. math:: E_i = β_0^μ + \sum_k β_k^μ B_k^i

and in qSNAP also quadratic (Wood and Thompson, doi:10.1063/1.5017641, equation 4):

.. math:: E_i = β_0^μ + \sum_k β_k^μ B_k^i + \tfrac12 \sum_{kl} α_{kl}^μ B_k^i B_l^i

Forces and stress are linear in the same coefficients (equations 14 and 15 of Zuo et al.). Predictions are
made by ``kernel``, the rows of a fit by ``design``; ``lammps`` gives LAMMPS's ``pair_style snap``, which
predicts the same.

Where ``zbl`` names two cutoffs, the screened repulsion of nuclei (``repulsion``) is added between all pairs:
it is taken off energies, forces and stresses before the fit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from mlip_bench.data import reference
from mlip_bench.data.splits import stratified_folds
from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.lammps.style import LammpsStyle
from mlip_bench.potentials.base import Potential, Prediction, Progress, require, silent
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.linear_fit import NormalEquations, at_edge
from mlip_bench.potentials.memory import DOUBLE, refuse_too_much
from mlip_bench.potentials.snap import files
from mlip_bench.potentials.snap.components import equalised, n_components
from mlip_bench.potentials.snap.evaluation import (
    Designer,
    Evaluator,
    Model,
    energy,
    isolated,
    repulsion_of,
    zbl,
)
from mlip_bench.potentials.snap.kernel import Neighbourhood
from mlip_bench.potentials.snap.tables import tables
from mlip_bench.potentials.stepping import Stepping

COEFFICIENTS = "potential.snapcoeff"
PARAMETERS = "potential.snapparam"
DEFINITION = "potential.snap"

# Of the folds that choose the ridge.
FOLDS_SEED = 0

# A quantity whose references are smaller than this (RMS; eV/atom, eV/Å, eV/Å³) is rounding of a code that
# found them to be zero, as forces of perfect lattices are: it does not choose the ridge.
ALL_BUT_ZERO = 1e-8


# Arrays of the size of the normal matrix, beside one per fold, while eigenvalues are found: the matrix, its
# vectors, and LAPACK's workspace of two more.
MATRICES_OF_SOLVER = 4

# Coefficients of equal components that differ by less, over the largest, are the same but for rounding.
ROUNDING_OF_FILES = 1e-6

# Copies of the rows of the largest structure: as they are, times the weight of a group, and of a quantity.
COPIES_OF_ROWS = 3

# The design rows and the targets of one structure, by quantity: energy, forces, stress.
Design = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


# Flags of a .snapparam file whose default is ours as well.
HONOURED_FLAGS = ("switchflag", "chemflag", "bnormflag", "wselfallflag")

# The charges of the nuclei of two atom types, as arguments of pair_coeff.
ZBL_OF_PAIR = "{i} {j} zbl {charge_i} {charge_j}"


class SNAP(Potential):
    """Spectral neighbour analysis potential, linear in the bispectrum components."""

    family: ClassVar[str] = "snap"
    revision: ClassVar[int] = 3
    packages: ClassVar[tuple[str, ...]] = (
        "ase",
        "lammps",
        "llvmlite",
        "matscipy",
        "numba",
        "numpy",
        "scipy",
    )
    look: ClassVar[tuple[str, str] | None] = ("#56B4E9", "o")
    native_suffix: ClassVar[str] = ".snapcoeff"
    more_suffixes: ClassVar[tuple[str, ...]] = files.DEFINITIONS
    stochastic: ClassVar[bool] = False
    fits_folds_together: ClassVar[bool] = True
    native_in_lammps: ClassVar[bool] = True
    quadratic: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Hypers:
        """Hyper-parameters of SNAP; ``rfac0``, ``rmin0`` and ``radii`` as LAMMPS defines them."""

        twojmax: int = 6
        """Twice the largest angular momentum J of the expansion; even or odd, 6 gives 30 components."""
        cutoff: float = 5.0
        """LAMMPS's rcutfac (Å): atoms i and j interact within cutoff (R_i + R_j), with R 0.5 by default."""
        rfac0: float = 0.99363
        """Fraction of π that the polar angle θ0 reaches at the cutoff."""
        rmin0: float = 0.0
        """Distance (Å) at which θ0 starts from zero."""
        radii: dict[str, float] = field(default_factory=dict)
        """R of each element, without unit; 0.5 where not given, so that the cutoff is a plain distance."""
        weights: dict[str, float] = field(default_factory=dict)
        """Weight w of each element in the density. Where not given: evenly spaced from 1 for the
        heaviest element down to 0.5 for the lightest, so that elements can be told apart."""
        bzeroflag: int = 0
        """1 subtracts the components of an isolated atom, as LAMMPS's keyword does."""
        zbl: list[float] = field(default_factory=list)
        """Inner and outer cutoff (Å) of a ZBL repulsion that SNAP is fitted on top of; empty for none."""
        switchflag: int = 1
        """0 leaves the density without a smooth end at the cutoff, as LAMMPS's keyword does."""
        chemflag: int = 0
        """1 keeps the densities of the elements apart: n_elements³ times the components."""
        bnormflag: int = 0
        """1 divides each component by 2j + 1; LAMMPS advises it with ``chemflag``."""
        wselfallflag: int = 0
        """1 adds the central atom to the density of every element, with ``chemflag``."""
        sinner: dict[str, float] = field(default_factory=dict)
        """Middle (Å) of a second switching at short distance, of each element; empty for none."""
        dinner: dict[str, float] = field(default_factory=dict)
        """Half the width (Å) of that switching, of each element; empty for none."""
        energy_weight: float = 200.0
        """Weight of the energy per atom (eV) against a force component (eV/Å)."""
        stress_weight: float = 100.0
        """Weight of a stress component (eV/Å³) against a force component; 0 leaves stress out."""
        group_weights: dict[str, float] = field(default_factory=dict)
        """Further factor on all rows of a group of structures, 1 where not given; for rare groups."""
        n_folds: int = 10
        """Folds of the cross-validation that chooses the ridge parameter on the training data."""

        def __post_init__(self) -> None:
            require(0 <= self.twojmax <= 20, "twojmax", self.twojmax, "must be between 0 and 20")
            require(self.cutoff > 0, "cutoff", self.cutoff, "must be above 0 Å")
            require(0 < self.rfac0 <= 1, "rfac0", self.rfac0, "must be above 0 and at most 1")
            for name in ("bzeroflag", "switchflag", "chemflag", "bnormflag", "wselfallflag"):
                require(getattr(self, name) in (0, 1), name, getattr(self, name), "must be 0 or 1")
            zbl = self.zbl
            good = not zbl or (len(zbl) == 2 and 0 < zbl[0] < zbl[1])
            require(good, "zbl", zbl, "must be an inner and a larger outer cutoff (Å), or empty")
            within = f"must be from 0 to below the cutoff, {self.cutoff} Å"
            require(0 <= self.rmin0 < self.cutoff, "rmin0", self.rmin0, within)
            for name in ("radii", "dinner"):
                for element, value in getattr(self, name).items():
                    require(value > 0, f"{name}.{element}", value, "must be above 0")
            for group, weight in self.group_weights.items():
                require(weight >= 0, f"group_weights.{group}", weight, "must not be negative")
            same = set(self.sinner) == set(self.dinner)
            require(same, "dinner", self.dinner, "must name the same elements as sinner")
            require(self.energy_weight >= 0, "energy_weight", self.energy_weight, "must not be negative")
            require(self.stress_weight >= 0, "stress_weight", self.stress_weight, "must not be negative")
            require(self.n_folds >= 2, "n_folds", self.n_folds, "must be at least 2")

    hypers: Hypers

    def __init__(self, **hypers: Any):
        super().__init__(**hypers)
        self.coefficients_ = np.empty((0, 0))
        """(n_elements, n_coefficients): β and, for qSNAP, the upper triangle of α, eV; β0 is in ``zero_``."""
        self.ridge_: float | None = None

    @property
    def fits_stress(self) -> bool:
        """Whether stress has a weight in the fit."""
        return bool(self.hypers.stress_weight > 0)

    @property
    def n_parameters(self) -> int:
        """The number of coefficients of all elements, β0 included."""
        return self.coefficients_.size + self.zero_.size

    @property
    def reach(self) -> float:
        """The largest cutoff (Å) of any two elements."""
        return self._largest_cutoff()

    @property
    def _pair_cutoff(self) -> float:
        return self._largest_cutoff()

    def lammps(self) -> LammpsStyle:
        """Return ``pair_style snap`` with its two files, as ``hybrid/overlay`` on ZBL where there is one."""
        self._refuse_unfitted()
        return self._style(self.zero_)

    def _style(self, zero: np.ndarray) -> LammpsStyle:
        """Return the pair style with these β0, (n_elements,), eV."""
        style = "snap " if self.hypers.zbl else ""
        interaction = LammpsStyle(
            pair_style=f"hybrid/overlay {self._zbl_style()} snap" if self.hypers.zbl else "snap",
            pair_coeff=(f"* * {style}{COEFFICIENTS} {PARAMETERS} {{elements}}",),
            cutoff=self._largest_cutoff(),
            files={COEFFICIENTS: self._coefficients_text(zero), PARAMETERS: self._parameters_text()},
            pair_coeff_of_pairs=ZBL_OF_PAIR if self.hypers.zbl else "",
            order=self.elements_ if self.hypers.chemflag or self.hypers.sinner else (),
        )
        commands = [self._title(), *interaction.commands(self.elements_)]
        interaction.files[DEFINITION] = "\n".join(commands) + "\n"
        return interaction

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        evaluator = self._evaluator(skin=0.0)
        return [evaluator(atoms) for atoms in structures]

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        return self._evaluator(stepping)

    def _edge_stepper(self, stepping: Stepping) -> Callable[[Atoms], EdgeGradients]:
        return self._evaluator(stepping).with_edges

    def _evaluator(self, skin: float | Stepping) -> Evaluator:
        model = self._model()
        return Evaluator(model, energy(self.coefficients_, model.zero, self.quadratic), skin)

    def _model(self) -> Model:
        """Return all but the coefficients, as the kernels take it."""
        hypers, elements = self.hypers, self.elements_
        radii = np.array([self._radius(element) for element in elements])
        flags = bool(hypers.chemflag), bool(hypers.bnormflag), bool(hypers.wselfallflag)
        zero = isolated(hypers.twojmax, len(elements), *flags)
        return Model(
            elements,
            self._largest_cutoff(),
            Neighbourhood(
                hypers.cutoff * (radii[:, None] + radii),
                np.array([self._weight(element) for element in elements]),
                self._inner_switching(),
                hypers.rfac0,
                hypers.rmin0,
                bool(hypers.switchflag),
                len(elements) if hypers.chemflag else 1,
                bool(hypers.wselfallflag),
            ),
            hypers.bzeroflag * zero,
            tables(hypers.twojmax, bool(hypers.bnormflag)),
            zbl(elements, hypers.zbl),
        )

    def _inner_switching(self) -> np.ndarray:
        """Return the middle and half width (Å) of each pair, the means of its elements; or nothing."""
        hypers = self.hypers
        if not hypers.sinner:
            return np.empty((0, 0, 2))
        given = np.array([[hypers.sinner[element], hypers.dinner[element]] for element in self.elements_])
        return 0.5 * (given[:, None] + given)

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, train: Sequence[Atoms], seed: int, progress: Progress) -> None:
        self._refuse_unknown_names(self.elements_)
        refuse_too_much(self.family, self._memory(train), self._advice())
        self._solve(train, self._rows(train), progress)

    def fits_without(self, train: Sequence[Atoms], folds: Sequence[int], *, seed: int = 0) -> Iterator[Self]:
        """Yield the potentials of the base class's contract; descriptors are computed once for all folds."""
        whole = self._unfitted()
        indices = [index for index, atoms in enumerate(train) if not reference.is_isolated_atom(atoms)]
        structures = [train[index] for index in indices]
        whole.elements_ = reference.elements(structures)
        whole._refuse_unknown_names(whole.elements_)
        all_rows = DOUBLE * whole.n_columns * sum(7 + 3 * len(atoms) for atoms in structures)
        refuse_too_much(self.family, whole._memory(structures) + all_rows, self._advice())
        designs = dict(zip(indices, whole._rows(structures), strict=True))
        for held_out in range(max(folds) + 2):
            kept = [index for index, fold in enumerate(folds) if fold != held_out]
            potential = self._unfitted()
            potential.elements_ = whole.elements_
            potential._solve_without_zero(
                [train[index] for index in kept], [designs[i] for i in kept if i in designs]
            )
            yield potential

    def _solve_without_zero(self, train: Sequence[Atoms], designs: Sequence[Design]) -> None:
        """Find the zero of the energy, as the base class does, and the coefficients for what it leaves."""
        structures, isolated = reference.split_off_isolated_atoms(train)
        self.zero_ = reference.energy_zero(structures, self.elements_, isolated, self.centred)
        shares = reference.composition(structures, self.elements_)
        zeros = shares @ self.zero_ / shares.sum(axis=1)
        reduced = [
            (rows, targets | {"energy": targets["energy"] - zero})
            for (rows, targets), zero in zip(designs, zeros, strict=True)
        ]
        self._solve(reference.with_zero(structures, self.elements_, -self.zero_), reduced, silent)

    def _solve(self, train: Sequence[Atoms], design: Iterable[Design], progress: Progress) -> None:
        """Find the coefficients from the rows and targets of each structure."""
        weights = {"energy": self.hypers.energy_weight, "forces": 1.0, "stress": self.hypers.stress_weight}
        n_folds = min(self.hypers.n_folds, len(train))
        # The same whatever the seed: a family without chance is one potential.
        folds = stratified_folds(train, n_folds, FOLDS_SEED)
        self._say_unknown_groups(train)
        equations = NormalEquations(weights, _all_but_zero(train))
        for index, (fold, (rows, targets)) in enumerate(zip(folds, design, strict=True)):
            factor = self.hypers.group_weights.get(reference.group(train[index]), 1.0)
            for quantity, target in targets.items():
                equations.add(fold, quantity, factor * rows[quantity], factor * target)
            progress(0.9 * (index + 1) / len(train), f"bispectrum {index + 1}/{len(train)}")
        progress(0.9, "least squares")
        solution, self.ridge_ = equations.solve()
        by_element = solution.reshape(len(self.elements_), -1)
        if self.hypers.chemflag:
            by_element = equalised(by_element, self.hypers.twojmax, len(self.elements_))
        self.zero_, self.coefficients_ = self.zero_ + by_element[:, 0], by_element[:, 1:]
        if sentence := at_edge(self.ridge_):
            self.notes_.append(sentence)

    def _say_unknown_groups(self, train: Sequence[Atoms]) -> None:
        """Say which weights are of groups that the data lacks, as those of a preset may be."""
        unknown = sorted(set(self.hypers.group_weights) - set(map(reference.group, train)))
        if unknown:
            self.notes_.append(f"group_weights of {', '.join(unknown)}: no such group in the training data")

    @property
    def n_columns(self) -> int:
        """The number of coefficients of all elements that a fit looks for."""
        n_elements = len(self.elements_)
        return n_elements * (1 + n_components(self.hypers.twojmax, n_elements * self.hypers.chemflag,
                                              self.quadratic))  # fmt: skip

    def _memory(self, train: Sequence[Atoms]) -> float:
        """Estimate the memory (bytes) of a fit: a normal matrix per fold, and the rows of one structure."""
        n_folds = min(self.hypers.n_folds, len(train))
        rows = COPIES_OF_ROWS * max(7 + 3 * len(atoms) for atoms in train)
        return float(DOUBLE * self.n_columns * ((n_folds + MATRICES_OF_SOLVER) * self.n_columns + rows))

    def _advice(self) -> str:
        name = self.family
        return f"lower {name}.twojmax or {name}.n_folds" + (
            f", or set {name}.chemflag to 0" * self.hypers.chemflag
        )

    def _refuse_unknown_names(self, known: Sequence[str]) -> None:
        """Refuse radii or weights of elements that the data lacks."""
        hypers = self.hypers
        for name in ("radii", "weights", "sinner", "dinner"):
            for element in getattr(hypers, name):
                if element not in known:
                    hint = did_you_mean(element, known)
                    raise UserError(f"{self.family}.{name}: no '{element}' in the training data{hint}")
        if not any(self._weight(element) for element in known):
            raise UserError(f"{self.family}.weights: all are 0, so that no atom sees any other")
        for element in known:
            if hypers.sinner and element not in hypers.sinner:
                raise UserError(f"{self.family}.sinner: no value for '{element}' of the training data")

    def _rows(self, structures: Sequence[Atoms]) -> Iterator[Design]:
        """Yield the design rows and the targets of each structure, by quantity.

        Energy per atom (1 row, eV), forces (3 n_atoms rows, eV/Å) and stress (6 rows, eV/Å³). Targets are
        what ZBL leaves.
        """
        design = Designer(self._model(), self.quadratic)
        repulsion_in = repulsion_of(self.elements_, self.hypers.zbl)
        for atoms in structures:
            matrix, repulsion, n_atoms = design(atoms), repulsion_in(atoms), len(atoms)
            rows = {"energy": matrix[:1] / n_atoms, "forces": matrix[1 : 1 + 3 * n_atoms]}
            targets = {
                "energy": np.array([(reference.energy(atoms) - repulsion.energy) / n_atoms]),
                "forces": (reference.forces(atoms) - repulsion.forces).ravel(),
            }
            stress = reference.stress(atoms)
            if stress is not None:
                rows["stress"] = matrix[1 + 3 * n_atoms :] / atoms.get_volume()
                targets["stress"] = stress - repulsion.stress
            yield rows, targets

    def _zbl_style(self) -> str:
        inner, outer = self.hypers.zbl
        return f"zbl {inner!r} {outer!r}"

    def _radius(self, element: str) -> float:
        return self.hypers.radii.get(element, 0.5)

    def _weight(self, element: str) -> float:
        if element in self.hypers.weights:
            return self.hypers.weights[element]
        heaviest_first = sorted(self.elements_, key=lambda symbol: -atomic_numbers[symbol])
        steps = max(len(heaviest_first) - 1, 1)
        return 1.0 - 0.5 * heaviest_first.index(element) / steps

    def _largest_cutoff(self) -> float:
        of_snap = 2 * self.hypers.cutoff * max(self._radius(element) for element in self.elements_)
        return max([of_snap, *self.hypers.zbl])

    # -- files -----------------------------------------------------------------------------------------

    def _title(self) -> str:
        return f"# {self.family} written by mlip-bench; units: metal"

    def _coefficients_text(self, zero: np.ndarray) -> str:
        lines = [
            self._title(),
            f"{len(self.elements_)} {1 + self.coefficients_.shape[1]}",
        ]
        for element, constant, rest in zip(self.elements_, zero, self.coefficients_, strict=True):
            lines.append(f"{element} {self._radius(element)!r} {self._weight(element)!r}")
            lines += [repr(float(value)) for value in (constant, *rest)]
        return "\n".join(lines) + "\n"

    def _parameters_text(self) -> str:
        hypers = self.hypers
        values = {
            "rcutfac": hypers.cutoff,
            "twojmax": hypers.twojmax,
            "rfac0": hypers.rfac0,
            "rmin0": hypers.rmin0,
            "bzeroflag": hypers.bzeroflag,
            "quadraticflag": int(self.quadratic),
            "switchflag": hypers.switchflag,
            "chemflag": hypers.chemflag,
            "bnormflag": hypers.bnormflag,
            "wselfallflag": hypers.wselfallflag,
            "switchinnerflag": int(bool(hypers.sinner)),
        }
        lines = [self._title(), *(f"{key} {value}" for key, value in values.items())]
        for name in files.PER_ELEMENT if hypers.sinner else ():
            given = getattr(hypers, name)
            lines.append(" ".join([name, *(repr(given[element]) for element in self.elements_)]))
        return "\n".join(lines) + "\n"

    def _write(self, folder: Path) -> None:
        self.lammps().write_files(folder)

    def _read(self, folder: Path) -> None:
        content = files.read_coefficients(folder / COEFFICIENTS)
        self.elements_ = content.elements
        self._take(content.values)

    def _take(self, coefficients: np.ndarray) -> None:
        """Take the coefficients as a file has them, (n_elements, 1 + n_coefficients): β0 is the zero."""
        self.zero_, self.coefficients_ = coefficients[:, 0], coefficients[:, 1:]

    def _take_equalised(self, coefficients: np.ndarray) -> None:
        """Take a file's coefficients; where those of equal components differ (``chemflag``), their mean."""
        self._take(coefficients)
        if not self.hypers.chemflag:
            return
        mean = equalised(coefficients, self.hypers.twojmax, len(self.elements_))
        if np.abs(mean - coefficients).max() > ROUNDING_OF_FILES * np.abs(coefficients).max():
            self._take(mean)
            self.notes_.append(
                "the file has different coefficients for components that are equal; their mean is taken: the "
                "energy is the same, and only so are the forces of LAMMPS's pair style its gradient"
            )

    @classmethod
    def from_native(cls, path: Path) -> Self:
        """Read a ``.snapcoeff`` file with those beside it, or the ``.snap`` or ``.mod`` file that names them.

        A file whose parameters say ``quadraticflag 1`` gives a :class:`QSNAP`. A definition beside it that
        adds ZBL is honoured; one that adds anything else raises :class:`UserError`.
        """
        if path.suffix in files.DEFINITIONS:
            definition: files.Definition | None = files.read_definition(path)
        else:
            definition = files.definition_of(path)
        if definition is None:
            content = files.read_coefficients(path)
            parameters = files.read_parameters(path.with_suffix(".snapparam"))
            return cls._of_files(path, content, parameters, ())
        elements = tuple(dict.fromkeys(definition.elements))
        content = files.read_coefficients(definition.coefficients).of(elements, definition.coefficients)
        parameters = files.read_parameters(definition.parameters)
        return cls._of_files(definition.coefficients, content, parameters, definition.zbl)

    @classmethod
    def _of_files(
        cls,
        path: Path,
        content: files.Coefficients,
        parameters: files.Parameters,
        zbl: Sequence[float],
    ) -> Self:
        flags = parameters.flags
        for keyword, values in parameters.per_element.items():
            if len(values) != len(content.elements):
                raise UserError(
                    f"{path}: {len(values)} values of '{keyword}', {len(content.elements)} elements"
                )
        family: type[SNAP] = QSNAP if flags.get("quadraticflag", 0) else SNAP
        potential = family(
            twojmax=parameters.twojmax,
            cutoff=parameters.numbers["rcutfac"],
            rfac0=parameters.numbers.get("rfac0", 0.99363),
            rmin0=parameters.numbers.get("rmin0", 0.0),
            bzeroflag=flags.get("bzeroflag", 1),
            radii=content.radii,
            weights=content.weights,
            zbl=list(zbl),
            **{name: flags[name] for name in HONOURED_FLAGS if name in flags},
            **{
                name: dict(zip(content.elements, values, strict=True))
                for name, values in parameters.per_element.items()
            },
        )
        potential.elements_ = content.elements
        expected = potential.n_columns // len(content.elements)
        if content.values.shape[1] != expected:
            raise UserError(
                f"{path}: {content.values.shape[1]} coefficients per element, but its parameters ask for "
                f"{expected}"
            )
        potential._take_equalised(content.values)
        return potential  # type: ignore[return-value]  # the file decides between the two classes


class QSNAP(SNAP):
    """SNAP with all products of two bispectrum components as further terms."""

    family: ClassVar[str] = "qsnap"
    revision: ClassVar[int] = 3
    look: ClassVar[tuple[str, str] | None] = ("#0072B2", "D")
    quadratic: ClassVar[bool] = True


def _all_but_zero(train: Sequence[Atoms]) -> list[str]:
    """Return the quantities whose references are rounding."""
    energies = np.array([reference.energy(atoms) / len(atoms) for atoms in train])
    forces = np.concatenate([reference.forces(atoms).ravel() for atoms in train])
    stresses = [stress for atoms in train if (stress := reference.stress(atoms)) is not None]
    given = {"energy": energies, "forces": forces, "stress": np.array(stresses or [np.zeros(6)])}
    return [name for name, values in given.items() if np.sqrt(np.mean(values**2)) < ALL_BUT_ZERO]
