r"""SNAP and qSNAP: energies linear, or quadratic, in bispectrum components.

The energy of atom i of element μ is linear in the bispectrum components B of its neighbour density
(seeds/004 equations 9 to 13; Thompson et al., doi:10.1016/j.jcp.2014.12.018, equations 2 to 10):

.. math:: E_i = β_0^μ + \sum_k β_k^μ B_k^i

and in qSNAP also quadratic (Wood and Thompson, doi:10.1063/1.5017641, equation 4):

.. math:: E_i = β_0^μ + \sum_k β_k^μ B_k^i + \tfrac12 \sum_{kl} α_{kl}^μ B_k^i B_l^i

Forces and stress are linear in the same coefficients (seeds/004 equations 14 and 15). The components and
their derivatives come from LAMMPS's ``compute snap``; prediction runs its ``pair_style snap``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from mlip_bench.data import structures as reference
from mlip_bench.data import voigt
from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.lammps_session import LammpsSession, LammpsStyle, in_periodic_box
from mlip_bench.potentials.base import Potential, Prediction, Progress, require, silent
from mlip_bench.potentials.linear_fit import NormalEquations, stratified_folds

COEFFICIENTS = "potential.snapcoeff"
PARAMETERS = "potential.snapparam"

# Keywords of .snapparam files that change the physics and that we do not offer; their default is harmless.
UNSUPPORTED = {"chemflag": 0, "bnormflag": 0, "wselfallflag": 0, "switchflag": 1, "switchinnerflag": 0}

# The design rows and the targets of one structure, by quantity: energy, forces, stress.
Design = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


class SNAP(Potential):
    """Spectral neighbour analysis potential, linear in the bispectrum components."""

    family: ClassVar[str] = "snap"
    native_suffix: ClassVar[str] = ".snapcoeff"
    stochastic: ClassVar[bool] = False
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
            require(self.bzeroflag in (0, 1), "bzeroflag", self.bzeroflag, "must be 0 or 1")
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
    def n_parameters(self) -> int:
        """The number of coefficients of all elements, β0 included."""
        return self.coefficients_.size + self.zero_.size

    def lammps(self) -> LammpsStyle:
        """Return ``pair_style snap`` with its two files."""
        self._refuse_unfitted()
        return self._style(self.zero_)

    def _style(self, zero: np.ndarray) -> LammpsStyle:
        """Return the pair style with these β0, (n_elements,), eV."""
        return LammpsStyle(
            pair_style="snap",
            pair_coeff=(f"* * {{folder}}/{COEFFICIENTS} {{folder}}/{PARAMETERS} {{elements}}",),
            cutoff=self._largest_cutoff(),
            files={COEFFICIENTS: self._coefficients_text(zero), PARAMETERS: self._parameters_text()},
        )

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        style = self._style(np.zeros(len(self.elements_)))
        with LammpsSession(self.elements_) as session:
            style.write_files(session.folder)
            return [Prediction(*session.single_point(atoms, style)) for atoms in structures]

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, train: Sequence[Atoms], seed: int, progress: Progress) -> None:
        self._refuse_unknown_names(self.elements_)
        self._solve(train, self._rows(train), seed, progress)

    def fits_without(self, train: Sequence[Atoms], folds: Sequence[int], *, seed: int = 0) -> Iterator[Self]:
        """Yield the potentials of the base class's contract; descriptors are computed once for all folds."""
        whole = self._unfitted()
        whole.elements_ = reference.elements(train)
        whole._refuse_unknown_names(whole.elements_)
        rows = list(whole._rows(train))
        for held_out in range(max(folds) + 2):
            kept = [index for index, fold in enumerate(folds) if fold != held_out]
            potential = self._unfitted()
            potential.elements_ = whole.elements_
            potential._solve([train[index] for index in kept], [rows[index] for index in kept], seed, silent)
            yield potential

    def _solve(self, train: Sequence[Atoms], design: Iterable[Design], seed: int, progress: Progress) -> None:
        """Find the coefficients from the rows and targets of each structure."""
        weights = {"energy": self.hypers.energy_weight, "forces": 1.0, "stress": self.hypers.stress_weight}
        n_folds = min(self.hypers.n_folds, len(train))
        folds = stratified_folds(train, n_folds, seed)
        equations = NormalEquations(weights)
        for index, (fold, (rows, targets)) in enumerate(zip(folds, design, strict=True)):
            factor = self.hypers.group_weights.get(reference.group(train[index]), 1.0)
            for quantity, target in targets.items():
                equations.add(fold, quantity, factor * rows[quantity], factor * target)
            progress(0.9 * (index + 1) / len(train), f"bispectrum {index + 1}/{len(train)}")
        progress(0.9, "least squares")
        solution, self.ridge_ = equations.solve()
        by_element = solution.reshape(len(self.elements_), -1)
        self.zero_, self.coefficients_ = self.zero_ + by_element[:, 0], by_element[:, 1:]

    def _refuse_unknown_names(self, known: Sequence[str]) -> None:
        """Refuse radii or weights of elements that the data lacks; presets may name groups that it lacks."""
        for name, given in (("radii", self.hypers.radii), ("weights", self.hypers.weights)):
            for element in given:
                if element not in known:
                    hint = did_you_mean(element, known)
                    raise UserError(f"{self.family}.{name}: no '{element}' in the training data{hint}")

    def _rows(self, structures: Sequence[Atoms]) -> Iterator[Design]:
        """Yield the design rows and the targets of each structure, by quantity.

        Energy per atom (1 row, eV), forces (3 n_atoms rows, eV/Å) and stress (6 rows, eV/Å³), forces and
        stress in LAMMPS's frame, in which the descriptors are computed: the sum of squares is the same.
        """
        with LammpsSession(self.elements_) as session:
            for atoms in structures:
                matrix = self._compute_snap(session, atoms)
                rotation = session.prism.rot_mat
                n_atoms = len(atoms)
                rows = {"energy": matrix[:1] / n_atoms, "forces": matrix[1 : 1 + 3 * n_atoms]}
                targets = {
                    "energy": np.array([reference.energy(atoms) / n_atoms]),
                    "forces": (reference.forces(atoms) @ rotation).ravel(),
                }
                stress = reference.stress(atoms)
                if stress is not None:
                    # compute snap gives the virial in the order xx yy zz yz xz xy, positive in compression.
                    rows["stress"] = -matrix[1 + 3 * n_atoms :] / atoms.get_volume()
                    targets["stress"] = voigt.from_matrix(rotation.T @ voigt.to_matrix(stress) @ rotation)
                yield rows, targets

    def _compute_snap(self, session: LammpsSession, atoms: Atoms) -> np.ndarray:
        """Return LAMMPS's matrix with a column for β0 of each element, (1 + 3 n_atoms + 6, n_columns)."""
        cutoff = self._largest_cutoff()
        session.place(in_periodic_box(atoms, cutoff))
        radii = " ".join(repr(self._radius(element)) for element in self.elements_)
        weights = " ".join(repr(self._weight(element)) for element in self.elements_)
        hypers = self.hypers
        session.command(f"pair_style zero {cutoff + 0.1}")
        session.command("pair_coeff * *")
        session.command("neighbor 0.1 bin")
        session.command(
            f"compute snap all snap {hypers.cutoff} {hypers.rfac0} {hypers.twojmax} {radii} {weights} "
            f"rmin0 {hypers.rmin0} bzeroflag {hypers.bzeroflag} quadraticflag {int(self.quadratic)}"
        )
        session.command("run 0 post no")
        # The last column is the reference pair style, which is zero here.
        components = session.lmp.numpy.extract_compute("snap", 0, 2)[:, :-1]
        n_elements = len(self.elements_)
        blocks = components.reshape(len(components), n_elements, -1)
        constant = np.zeros((len(components), n_elements, 1))
        constant[0, :, 0] = reference.composition([atoms], self.elements_)[0]
        return np.concatenate([constant, blocks], axis=2).reshape(len(components), -1)

    def _radius(self, element: str) -> float:
        return self.hypers.radii.get(element, 0.5)

    def _weight(self, element: str) -> float:
        if element in self.hypers.weights:
            return self.hypers.weights[element]
        heaviest_first = sorted(self.elements_, key=lambda symbol: -atomic_numbers[symbol])
        steps = max(len(heaviest_first) - 1, 1)
        return 1.0 - 0.5 * heaviest_first.index(element) / steps

    def _largest_cutoff(self) -> float:
        return 2 * self.hypers.cutoff * max(self._radius(element) for element in self.elements_)

    # -- files -----------------------------------------------------------------------------------------

    def _coefficients_text(self, zero: np.ndarray) -> str:
        lines = [
            f"# {self.family} fitted by mlip-bench; units: metal",
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
        }
        lines = [f"# {self.family} fitted by mlip-bench; units: metal"]
        return "\n".join(lines + [f"{key} {value}" for key, value in values.items()]) + "\n"

    def _write(self, folder: Path) -> None:
        self.lammps().write_files(folder)

    def _read(self, folder: Path) -> None:
        self.elements_, _, _, coefficients = _read_coefficients(folder / COEFFICIENTS)
        self._take(coefficients)

    def _take(self, coefficients: np.ndarray) -> None:
        """Take the coefficients as a file has them, (n_elements, 1 + n_coefficients): β0 is the zero."""
        self.zero_, self.coefficients_ = coefficients[:, 0], coefficients[:, 1:]

    @classmethod
    def from_native(cls, path: Path) -> Self:
        """Read a ``.snapcoeff`` file with the ``.snapparam`` file beside it.

        A file whose parameters say ``quadraticflag 1`` gives a :class:`QSNAP`.
        """
        elements, radii, weights, coefficients = _read_coefficients(path)
        parameters = _read_parameters(path.with_suffix(".snapparam"))
        family: type[SNAP] = QSNAP if int(parameters.get("quadraticflag", 0)) else SNAP
        potential = family(
            twojmax=int(parameters["twojmax"]),
            cutoff=parameters["rcutfac"],
            rfac0=parameters.get("rfac0", 0.99363),
            rmin0=parameters.get("rmin0", 0.0),
            bzeroflag=int(parameters.get("bzeroflag", 1)),
            radii=radii,
            weights=weights,
        )
        potential.elements_ = elements
        potential._take(coefficients)
        return potential  # type: ignore[return-value]  # the file decides between the two classes


class QSNAP(SNAP):
    """SNAP with all products of two bispectrum components as further terms."""

    family: ClassVar[str] = "qsnap"
    quadratic: ClassVar[bool] = True


def _read_coefficients(
    path: Path,
) -> tuple[tuple[str, ...], dict[str, float], dict[str, float], np.ndarray]:
    """Return elements, radii, weights and coefficients (n_elements, n_coefficients) of a ``.snapcoeff``."""
    lines = _content(path)
    try:
        n_elements, n_coefficients = (int(word) for word in lines[0].split()[:2])
        blocks = [
            lines[1 + index * (n_coefficients + 1) :][: n_coefficients + 1] for index in range(n_elements)
        ]
        headers = [block[0].split() for block in blocks]
        coefficients = np.array([[float(value) for value in block[1:]] for block in blocks])
        radii = {header[0]: float(header[1]) for header in headers}
        weights = {header[0]: float(header[2]) for header in headers}
    except (IndexError, ValueError) as error:
        raise UserError(f"{path}: not a complete .snapcoeff file ({error})") from error
    if coefficients.shape != (n_elements, n_coefficients):
        raise UserError(f"{path}: {n_elements} x {n_coefficients} coefficients announced, fewer found")
    return tuple(header[0] for header in headers), radii, weights, coefficients


def _read_parameters(path: Path) -> dict[str, float]:
    """Return the keywords of a ``.snapparam`` file; one that we do not offer is refused."""
    try:
        parameters = {line.split()[0]: float(line.split()[1]) for line in _content(path)}
    except (IndexError, ValueError) as error:
        raise UserError(f"{path}: not a .snapparam file ({error})") from error
    for keyword in ("rcutfac", "twojmax"):
        if keyword not in parameters:
            raise UserError(f"{path}: no '{keyword}'")
    for keyword, harmless in UNSUPPORTED.items():
        if parameters.get(keyword, harmless) != harmless:
            raise UserError(f"{path}: '{keyword} {parameters[keyword]:g}' is not supported")
    return parameters


def _content(path: Path) -> list[str]:
    """Return the lines of a file without comments and blank lines."""
    try:
        text = path.read_text()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]
