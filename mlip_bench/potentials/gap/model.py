r"""GAP: Gaussian process regression of atomic energies with the SOAP kernel, fitted by QUIP's ``gap_fit``.

The energy of an atom is a sum over sparse points k (Zuo et al.,
doi:10.1021/acs.jpca.9b08723, equations 4 to 8; Bartók et al.,
doi:10.1103/PhysRevLett.104.136403 and doi:10.1103/PhysRevB.87.184115, equation 36):

.. math:: E_i = E_0 + δ^2 \sum_k b_k \, (\hat p_i · \hat p_k)^ζ

where the normalised power spectrum p of the smoothed neighbour density is invariant under rotation and
permutation. One set of sparse points per element, chosen by CUR decomposition.

Data far from equilibrium gets a pair term as well (``distance_2b``), which carries the steep repulsion of
close atoms that SOAP would need many sparse points for; this is standard for random structure search
(Deringer, Pickard, Csányi, doi:10.1103/PhysRevLett.120.156001; Bernstein, Csányi, Deringer,
doi:10.1038/s41524-019-0236-6). For each two elements, with sparse points at distances r_k and from both atoms
of a pair,

.. math:: E_{ij} = f_{cut}(r_{ij}) \, δ_2^2 \sum_k b_k \, f_{cut}(r_k) \, e^{-(r_{ij} - r_k)^2 / 2 θ^2}

Energies and forces come from our kernels (``evaluation``), which take a fifteenth of QUIP's time;
files of others that have other descriptors as well go through QUIP itself.
"""

import os
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self
from xml.etree import ElementTree

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers

from mlip_bench.data import reference, voigt
from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Potential, Prediction, Progress, require
from mlip_bench.potentials.gap import files, pairs
from mlip_bench.potentials.gap.evaluation import Evaluator
from mlip_bench.potentials.gap.files import XML
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.memory import refuse_too_much

# Neighbour skin (Å) in molecular dynamics: the list is rebuilt every few tens of steps at 300 K.
SKIN = 0.5

# Added to the sparse covariance matrix to keep it positive definite; QUIP's documentation uses 1e-8.
SPARSE_JITTER = 1e-8

# gap_fit reads its seed as a Fortran integer of four bytes.
LARGEST_SEED = 2**31 - 2

# Shares of a fit's time: sparse points are chosen, then covariance matrices take nearly all.
CHOSEN, COVERED = 0.05, 0.90


class GAP(Potential):
    """Gaussian approximation potential with SOAP descriptors."""

    family: ClassVar[str] = "gap"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("ase", "matscipy", "numba", "numpy", "quippy-ase", "scipy")
    look: ClassVar[tuple[str, str] | None] = ("#D55E00", "s")
    native_suffix: ClassVar[str] = ".xml"
    centred: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Hypers:
        """Hyper-parameters of GAP, named as ``gap_fit`` and its papers name them."""

        cutoff: float = 5.0
        """Radius (Å) of the neighbourhood."""
        cutoff_transition_width: float = 0.5
        """Width (Å) over which the neighbour density is switched off before the cutoff."""
        n_max: int = 8
        """Number of radial basis functions."""
        l_max: int = 8
        """Largest angular momentum of the spherical harmonics."""
        atom_sigma: float = 0.5
        """Width σ_atom (Å) of the Gaussian on each neighbour (doi:10.1021/acs.jpca.9b08723 equation 5)."""
        zeta: int = 4
        """Power ζ of the kernel (doi:10.1021/acs.jpca.9b08723 equation 8)."""
        delta: float = 1.0
        """Scale δ (eV) of the atomic energies that the kernel describes."""
        n_sparse: int = 1000
        """Sparse points per element; never more than the atoms of that element in the training data."""
        sigma_energy: float = 0.01
        """Expected error of the energy (eV/atom): the smaller, the closer energies are fitted."""
        sigma_force: float = 0.05
        """Expected error of a force component (eV/Å)."""
        sigma_virial: float = 0.05
        """Expected error of a virial component (eV/atom); 0 leaves the virial out."""
        pair: bool | None = None
        """Whether there is a pair term; if None, where the training data is wide (:mod:`.pairs`)."""
        pair_cutoff: float = 6.0
        """Radius (Å) of the pair term."""
        pair_cutoff_transition_width: float = 1.0
        """Width (Å) over which it is switched off before its cutoff."""
        pair_n_sparse: int = 30
        """Sparse points for each two elements, evenly over the distances in the data."""
        pair_delta: float = 2.0
        """Scale δ₂ (eV) of the pair energies."""
        pair_theta: float = 1.0
        """Length θ (Å) over which pair energies change."""

        def __post_init__(self) -> None:
            for name in (
                "cutoff", "cutoff_transition_width", "atom_sigma", "delta", "sigma_energy",
                "pair_cutoff", "pair_cutoff_transition_width", "pair_delta", "pair_theta",
            ):  # fmt: skip
                require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
            for name in ("n_max", "zeta", "n_sparse", "pair_n_sparse"):
                require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
            require(self.l_max >= 0, "l_max", self.l_max, "must not be negative")
            require(self.sigma_force > 0, "sigma_force", self.sigma_force, "must be above 0")
            require(self.sigma_virial >= 0, "sigma_virial", self.sigma_virial, "must not be negative")
            width, cutoff = self.cutoff_transition_width, self.cutoff
            require(width < cutoff, "cutoff_transition_width", width, f"must be below the cutoff, {cutoff}")
            width, cutoff = self.pair_cutoff_transition_width, self.pair_cutoff
            within = f"must not be above pair_cutoff, {cutoff}"
            require(width <= cutoff, "pair_cutoff_transition_width", width, within)

    hypers: Hypers

    def __init__(self, **hypers: Any):
        super().__init__(**hypers)
        self.files_: dict[str, bytes] = {}
        """The XML file and its side files with the sparse points, by name."""
        self.parts_: list[files.Part | files.Pair] | None = None
        """What our kernels evaluate; None where QUIP must."""

    @property
    def fits_stress(self) -> bool:
        """Whether virials are fitted, which ``sigma_virial`` decides."""
        return bool(self.hypers.sigma_virial > 0)

    @property
    def n_parameters(self) -> int:
        """The number of sparse points, each with one coefficient."""
        return sum(1 for _ in files.parse(self.files_[XML], XML).iter("sparseX"))

    def _stepper(self) -> Callable[[Atoms], Prediction]:
        return self._by_quip() if self.parts_ is None else Evaluator(self.parts_, SKIN)

    def _edge_stepper(self) -> Callable[[Atoms], EdgeGradients]:
        if self.parts_ is None:
            raise UserError(
                "gap: this potential has terms that only QUIP evaluates, which gives no gradient by edges, "
                "so there is no heat flux"
            )
        return Evaluator(self.parts_, SKIN).with_edges

    def quip(self) -> Calculator:
        """Return QUIP's own ASE calculator of this potential."""
        from quippy.potential import Potential as QuipPotential

        with tempfile.TemporaryDirectory(prefix="mlip-bench-") as folder, _refusals_of_quip():
            self._write(Path(folder))
            return QuipPotential("", param_filename=str(Path(folder) / XML))

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        evaluate = self._by_quip() if self.parts_ is None else Evaluator(self.parts_, skin=0.0)
        return [evaluate(atoms) for atoms in structures]

    def _by_quip(self) -> Callable[[Atoms], Prediction]:
        """Return what QUIP predicts, where the file has more than SOAP and pair terms."""
        calculator = self.quip()

        def predict(atoms: Atoms) -> Prediction:
            whole = _single_point(calculator, atoms)
            assert whole.energies is not None  # of QUIP
            energies = whole.energies - self._zeros()[atoms.numbers]
            return replace(whole, energy=float(energies.sum()), energies=energies)

        return predict

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        environments = reference.composition(structures, self.elements_).sum(axis=0).astype(int)
        has_virial = self.hypers.sigma_virial > 0 and any(reference.stress(a) is not None for a in structures)
        terms = self._pair_terms(structures)
        reach = max(self.hypers.cutoff, self.hypers.pair_cutoff if terms else 0.0)
        with tempfile.TemporaryDirectory(prefix="mlip-bench-") as name:
            folder = Path(name)
            # QUIP's file holds whole energies and the zero as e0, which gap_fit takes off.
            whole = reference.with_zero(structures, self.elements_, self.zero_)
            _write_training_file(folder / "train.extxyz", whole, reach)
            arguments = self._arguments(terms, environments, has_virial, seed)
            n_descriptors = len(terms) + int((environments > 0).sum())
            _run_gap_fit(arguments, folder, len(structures), n_descriptors, progress)
            found = {path.name: path.read_bytes() for path in folder.glob(f"{XML}*") if path.suffix != ".idx"}
            self._take(found, folder / XML)

    def _pair_terms(self, structures: Sequence[Atoms]) -> list[str]:
        """Return the pair descriptors that the data calls for; say so where nobody asked for them."""
        hypers = self.hypers
        if hypers.pair is None:
            why = pairs.why_wide(structures)
            if why is None:
                return []
            self.notes_.append(
                f"the training data is wide ({why}), so a pair term (distance_2b) is fitted beside SOAP; "
                "gap.pair=false leaves it out"
            )
        elif not hypers.pair:
            return []
        distinct = pairs.distances(structures, hypers.pair_cutoff)
        return [self._pair_descriptor(*numbers, count) for numbers, count in sorted(distinct.items())]

    def _pair_descriptor(self, one: int, other: int, n_distinct: int) -> str:
        """Return the pair term of two elements whose atoms are at so many different distances."""
        hypers = self.hypers
        # A single distance has no range to be uniform over.
        method = "uniform" if n_distinct > 1 else "random"
        return (
            f"distance_2b Z1={one} Z2={other} cutoff={hypers.pair_cutoff} "
            f"cutoff_transition_width={hypers.pair_cutoff_transition_width} covariance_type=ard_se "
            f"delta={hypers.pair_delta} theta_uniform={hypers.pair_theta} "
            f"n_sparse={min(hypers.pair_n_sparse, n_distinct)} sparse_method={method} add_species=F"
        )

    def _arguments(
        self, terms: list[str], environments: np.ndarray, has_virial: bool, seed: int
    ) -> dict[str, object]:
        hypers = self.hypers
        soaps = [
            self._descriptor(element, min(hypers.n_sparse, int(count)))
            for element, count in zip(self.elements_, environments, strict=True)
            if count > 0
        ]
        virial = hypers.sigma_virial if has_virial else 1.0
        zeros = zip(self.elements_, self.zero_, strict=True)
        energies = ":".join(f"{element}:{energy:.12f}" for element, energy in zeros)
        return {
            "atoms_filename": "train.extxyz",
            "gap": f"{{{' : '.join([*terms, *soaps])}}}",
            "e0": f"{{{energies}}}",
            "default_sigma": f"{{{hypers.sigma_energy} {hypers.sigma_force} {virial} 0.0}}",
            "energy_parameter_name": "ref_energy",
            "force_parameter_name": "ref_forces",
            "virial_parameter_name": "ref_virial" if has_virial else "no_virial",
            "sparse_jitter": SPARSE_JITTER,
            "do_copy_atoms_file": "F",
            "sparse_separate_file": "T",
            "gap_file": XML,
            # gap_fit takes its seed from the clock for values below 0, and 0 gives no sequence.
            "rnd_seed": seed % LARGEST_SEED + 1,
        }

    def _descriptor(self, element: str, n_sparse: int) -> str:
        """Return the SOAP descriptor of the environments of one element, with its own sparse points."""
        hypers = self.hypers
        numbers = " ".join(str(atomic_numbers[symbol]) for symbol in self.elements_)
        return (
            f"soap cutoff={hypers.cutoff} cutoff_transition_width={hypers.cutoff_transition_width} "
            f"n_max={hypers.n_max} l_max={hypers.l_max} atom_sigma={hypers.atom_sigma} zeta={hypers.zeta} "
            f"delta={hypers.delta} covariance_type=dot_product n_sparse={n_sparse} sparse_method=cur_points "
            f"Z={atomic_numbers[element]} n_species={len(self.elements_)} species_Z={{{{{numbers}}}}} "
            "add_species=F"
        )

    # -- files -----------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> None:
        files.write(folder, self.files_)

    def _read(self, folder: Path) -> None:
        self._take(files.read(folder / XML), folder / XML)

    def _take(self, content: dict[str, bytes], path: Path) -> None:
        self.files_, self.parts_ = content, files.parts(content, path)
        zeros = files.zeros(content)
        self.zero_ = np.array([zeros.get(atomic_numbers[symbol], 0.0) for symbol in self.elements_])

    @classmethod
    def from_native(cls, path: Path) -> Self:
        """Read a GAP ``.xml`` file with the sparse points in the files beside it."""
        content = files.read(path)
        tree = files.parse(content[XML], path)
        elements = files.elements(tree)
        if not elements:
            raise UserError(f"{path}: no SOAP descriptor and no distance_2b; no other GAPs can be read")
        try:
            potential = cls(**cls._hypers_of(tree))
        except (UserError, ValueError) as error:
            raise UserError(f"{path}: not a GAP that can be read ({error})") from error
        potential.elements_ = elements
        potential._take(content, path)
        return potential

    @classmethod
    def _hypers_of(cls, tree: ElementTree.Element) -> dict[str, Any]:
        """Return the hyper-parameters that the first SOAP and the first pair term of a file tell."""
        defaults = vars(cls.Hypers())
        soap, pair = files.first(tree, "soap") or {}, files.first(tree, "distance_2b")
        renamed = {"pair_" + key.removesuffix("_uniform"): value for key, value in (pair or {}).items()}
        if pair is not None:
            renamed.setdefault("pair_cutoff_transition_width", str(files.TRANSITION_WIDTH))
        given = {key: value for key, value in (soap | renamed).items() if key in defaults}
        return {"pair": pair is not None} | {
            name: type(defaults[name])(float(value)) for name, value in given.items()
        }


@contextmanager
def _refusals_of_quip() -> Iterator[None]:
    """Turn QUIP's complaint about a file or a structure into one sentence."""
    try:
        yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).encode("ascii", "ignore").decode().splitlines()]
        # Where in its sources QUIP stopped says nothing to users.
        said = [line for line in lines if line and not line.startswith(("Traceback", 'File "'))]
        raise UserError(f"gap: QUIP refuses this potential: {'; '.join(said)}") from error


def _single_point(calculator: Calculator, atoms: Atoms) -> Prediction:
    """Run QUIP's calculator on a copy of a structure."""
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    with_stress = atoms.cell.rank == 3
    with _refusals_of_quip():
        calculator.calculate(bare, ["energy", "energies", "forces", *(["stress"] if with_stress else [])])
    results = calculator.results
    stress = np.array(results["stress"]) if with_stress else np.full(6, np.nan)
    forces = np.array(results["forces"]).reshape(-1, 3)
    return Prediction(float(results["energy"]), forces, stress, energies=np.array(results["energies"]))


def _write_training_file(path: Path, structures: Sequence[Atoms], cutoff: float) -> None:
    """Write energies (eV), forces (eV/Å) and virials (eV, minus stress times volume) for ``gap_fit``.

    It treats every frame as periodic and passes over energies of frames without a cell, so directions
    without periodicity get vacuum.
    """
    frames = []
    for atoms in structures:
        frame = in_periodic_box(atoms, cutoff)
        frame.info["ref_energy"] = reference.energy(atoms)
        frame.arrays["ref_forces"] = reference.forces(atoms)
        stress = reference.stress(atoms)
        if stress is not None:
            virial = -atoms.get_volume() * voigt.to_matrix(stress)
            # As nine numbers: ASE would write a matrix as JSON, which gap_fit passes over in silence.
            frame.info["ref_virial"] = " ".join(f"{value:.12f}" for value in virial.ravel())
        frames.append(frame)
    ase.io.write(path, frames, format="extxyz")


def _run_gap_fit(
    arguments: dict[str, object], folder: Path, n_structures: int, n_descriptors: int, progress: Progress
) -> None:
    """Run the ``gap_fit`` program of the quippy package in ``folder``."""
    import quippy

    program = Path(quippy.__path__[0]) / "gap_fit"
    # gfortran holds output back in a pipe unless told otherwise.
    environment = os.environ | {"GFORTRAN_UNBUFFERED_PRECONNECTED": "y"}
    command = [str(program), *(f"{key}={value}" for key, value in arguments.items())]
    report = _ProgressReader(n_descriptors, progress)
    last_lines: deque[str] = deque(maxlen=3)
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            for line in _lines(process):
                last_lines.append(line)
                _refuse_if_too_large(line)
                _refuse_lost_energies(line, n_structures)
                report.read(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise RuntimeError(f"gap_fit ended with code {process.returncode}: {'; '.join(last_lines)}")


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield the lines of a program's output until it ends; progress bars end in a carriage return."""
    assert process.stdout is not None
    rest = b""
    while chunk := process.stdout.read1(65536):  # type: ignore[attr-defined]  # a buffered reader has it
        *lines, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from (line.decode(errors="replace") for line in lines if line.strip())
    process.wait()
    if rest.strip():
        yield rest.decode(errors="replace")


class _ProgressReader:
    """Turns what gap_fit prints into the share of the work that is done."""

    def __init__(self, n_descriptors: int, progress: Progress):
        self._n_descriptors = n_descriptors
        self._progress = progress
        self._n_covered = 0

    def read(self, line: str) -> None:
        """Take one line of output."""
        percent = re.match(r"Covariance matrix\s+(\d+)%", line)
        if line.startswith("Started CUR"):
            self._progress(0.0, "choosing sparse points")
        elif percent:
            self._covering(int(percent[1]) / 100)
        elif line.startswith("Finished sparse covariance"):
            self._covering(1.0)
            self._n_covered += 1
        elif line.startswith("Using LAPACK"):
            self._progress(COVERED, "solving")

    def _covering(self, share: float) -> None:
        done = min((self._n_covered + share) / self._n_descriptors, 1.0)
        self._progress(CHOSEN + (COVERED - CHOSEN) * done, f"covariance matrix {100 * done:.0f} %")


def _refuse_if_too_large(line: str) -> None:
    """Stop before the large allocations where gap_fit's own estimate exceeds the memory of the machine."""
    peak = re.match(r"PEAK\s+(\d+)\s+(KB|MB|GB|TB)", line)
    if not peak:
        return
    needed = int(peak[1]) * {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[peak[2]]
    advice = "lower gap.l_max, gap.n_max or gap.cutoff, or train on fewer structures"
    refuse_too_much("gap", needed, advice)


def _refuse_lost_energies(line: str, n_structures: int) -> None:
    """Stop where gap_fit did not take every energy that it was given."""
    found = re.match(r"Number of target energies .* found: (\d+)", line)
    if found and int(found[1]) != n_structures:
        raise RuntimeError(f"gap_fit read {found[1]} energies of {n_structures} structures")
