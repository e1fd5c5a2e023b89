r"""GAP: Gaussian process regression of atomic energies with the SOAP kernel.

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

Fits (``fitting``), energies and forces (``evaluation``) come from our kernels; QUIP's program ``gap_fit``
fits where ``fit_with`` says so. Files are QUIP's; those of others that have other descriptors as well go
through QUIP itself.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self
from xml.etree import ElementTree

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers
from threadpoolctl import threadpool_limits

from mlip_bench.data import reference
from mlip_bench.errors import UserError
from mlip_bench.hardware import available_cores
from mlip_bench.potentials.base import Potential, Prediction, Progress, require
from mlip_bench.potentials.gap import files, fitting, pairs, quip, solve, sparse, writing
from mlip_bench.potentials.gap.evaluation import Evaluator
from mlip_bench.potentials.gap.files import XML
from mlip_bench.potentials.gap.soap import Soap
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.memory import refuse_too_much
from mlip_bench.potentials.stepping import Stepping

# Added to the sparse covariance matrix to keep it positive definite; QUIP's documentation uses 1e-8.
SPARSE_JITTER = 1e-8

# What fits: our kernels or gap_fit.
KERNELS, QUIP = "mlip-bench", "quip"
FITS = (KERNELS, QUIP)


class GAP(Potential):
    """Gaussian approximation potential with SOAP descriptors."""

    family: ClassVar[str] = "gap"
    revision: ClassVar[int] = 2
    packages: ClassVar[tuple[str, ...]] = (
        "ase",
        "llvmlite",
        "matscipy",
        "numba",
        "numpy",
        "quippy-ase",
        "scipy",
    )
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
        fit_with: str = KERNELS
        """``mlip-bench`` fits with our kernels (:mod:`.fitting`), ``quip`` runs the program ``gap_fit``."""

        def __post_init__(self) -> None:
            for name in (
                "cutoff", "cutoff_transition_width", "atom_sigma", "delta", "sigma_energy",
                "pair_cutoff", "pair_cutoff_transition_width", "pair_delta", "pair_theta",
            ):  # fmt: skip
                require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
            for name in ("n_max", "zeta", "n_sparse", "pair_n_sparse"):
                require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
            require(self.fit_with in FITS, "fit_with", self.fit_with, f"must be one of {', '.join(FITS)}")
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

    @property
    def reach(self) -> float | None:
        """The largest cutoff (Å) of its terms; None where some are for QUIP alone."""
        if self.parts_ is None:
            return None
        return max(part.cutoff if isinstance(part, files.Pair) else part.soap.cutoff for part in self.parts_)

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        if self.parts_ is not None:
            return Evaluator(self.parts_, stepping)
        by_quip = self._by_quip()

        def step(atoms: Atoms) -> Prediction:
            stepping.n_builds += 1
            return by_quip(atoms)

        return step

    def _edge_stepper(self, stepping: Stepping) -> Callable[[Atoms], EdgeGradients]:
        if self.parts_ is None:
            raise UserError(
                "gap: this potential has terms that only QUIP evaluates, which gives no gradient by edges, "
                "so there is no heat flux"
            )
        return Evaluator(self.parts_, stepping).with_edges

    def quip(self) -> Calculator:
        """Return QUIP's own ASE calculator of this potential."""
        from quippy.potential import Potential as QuipPotential

        with tempfile.TemporaryDirectory(prefix="mlip-bench-") as folder, quip.refusals():
            self._write(Path(folder))
            return QuipPotential("", param_filename=str(Path(folder) / XML))

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        evaluate = self._by_quip() if self.parts_ is None else Evaluator(self.parts_, skin=0.0)
        return [evaluate(atoms) for atoms in structures]

    def _by_quip(self) -> Callable[[Atoms], Prediction]:
        """Return what QUIP predicts, where the file has more than SOAP and pair terms."""
        calculator = self.quip()

        def predict(atoms: Atoms) -> Prediction:
            whole = quip.single_point(calculator, atoms)
            assert whole.energies is not None  # of QUIP
            energies = whole.energies - self._zeros()[atoms.numbers]
            return replace(whole, energy=float(energies.sum()), energies=energies)

        return predict

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        hypers = self.hypers
        distances = self._distances(structures)
        sigmas = fitting.Sigmas(hypers.sigma_energy, hypers.sigma_force, hypers.sigma_virial, SPARSE_JITTER)
        if hypers.fit_with == QUIP:
            self._fit_by_quip(structures, distances, sigmas, seed, progress)
        else:
            self._fit_by_kernels(structures, distances, sigmas, seed, progress)

    def decided_on(self, train: Sequence[Atoms]) -> Self:
        """Return a potential that has a pair term, or none, in all fits to parts of the training data."""
        if self.hypers.pair is not None:
            return self
        structures, _ = reference.split_off_isolated_atoms(train)
        hypers = dataclasses.asdict(self.hypers) | {"pair": pairs.why_wide(structures) is not None}
        decided = type(self)(**hypers).on(self.device)
        return decided.trusting(self.trusted).reading(self.copies)

    def _distances(self, structures: Sequence[Atoms]) -> dict[tuple[int, int], np.ndarray]:
        """Return the distances of the pair terms that the data calls for; say so where nobody asked."""
        if self.hypers.pair is None:
            why = pairs.why_wide(structures)
            if why is None:
                return {}
            self.notes_.append(
                f"the training data is wide ({why}), so a pair term (distance_2b) is fitted beside SOAP; "
                "gap.pair=false leaves it out"
            )
        elif not self.hypers.pair:
            return {}
        return pairs.distances(structures, self.hypers.pair_cutoff)

    def _fit_by_quip(
        self,
        structures: Sequence[Atoms],
        distances: Mapping[tuple[int, int], np.ndarray],
        sigmas: fitting.Sigmas,
        seed: int,
        progress: Progress,
    ) -> None:
        hypers = self.hypers
        counts = reference.composition(structures, self.elements_).sum(axis=0).astype(int)
        terms = [self._pair_descriptor(numbers, len(found)) for numbers, found in distances.items()]
        for element, count in zip(self.elements_, counts, strict=True):
            terms.append(self._descriptor(element, min(hypers.n_sparse, int(count))))
        reach = max(hypers.cutoff, hypers.pair_cutoff if distances else 0.0)
        zeros = dict(zip(self.elements_, self.zero_.tolist(), strict=True))
        # QUIP's file holds whole energies and the zero as e0, which gap_fit takes off.
        whole = reference.with_zero(structures, self.elements_, self.zero_)
        found = quip.fit(quip.Order(terms, zeros, reach, sigmas, seed), whole, progress)
        self._take(found, XML)

    def _fit_by_kernels(
        self,
        structures: Sequence[Atoms],
        distances: Mapping[tuple[int, int], np.ndarray],
        sigmas: fitting.Sigmas,
        seed: int,
        progress: Progress,
    ) -> None:
        soaps = self._soaps()
        pair_terms = [self._pair(numbers, found) for numbers, found in distances.items()]
        self._refuse_too_little_memory(structures, soaps[0], pair_terms)
        # The threads share out atoms; those of BLAS would get in their way.
        with (
            threadpool_limits(limits=1, user_api="blas"),
            ThreadPoolExecutor(len(available_cores())) as threads,
        ):
            fit = fitting.Fit(structures, sigmas, threads, solve.Keeper(self._checkpoint), progress)
            parts, fitted_pairs, jitter = fit.run(
                soaps, self.hypers.zeta, self.hypers.delta, self.hypers.n_sparse, pair_terms, seed
            )
        if jitter > sigmas.jitter:
            self.notes_.append(
                f"the covariance of the sparse points is singular to rounding: its jitter is {jitter:g} eV², "
                f"not {sigmas.jitter:g}"
            )
        terms = [self._pair_term(pair) for pair in fitted_pairs]
        for element, part in zip(self.elements_, parts, strict=True):
            text = self._descriptor(element, len(part.points))
            terms.append(writing.Term(text, self.hypers.delta, part))
        zeros = {atomic_numbers[e]: zero for e, zero in zip(self.elements_, self.zero_.tolist(), strict=True)}
        self._take(writing.compose(terms, zeros), XML)

    def _pair_term(self, pair: files.Pair) -> writing.Term:
        text = self._pair_descriptor(pair.numbers, len(pair.points))
        return writing.Term(text, self.hypers.pair_delta, pair)

    def _soaps(self) -> list[Soap]:
        """Return the descriptor of each element; too many radial functions are a :class:`UserError`."""
        hypers = self.hypers
        species = tuple(atomic_numbers[symbol] for symbol in self.elements_)
        found = [
            Soap(
                number, species, hypers.cutoff, hypers.cutoff_transition_width, hypers.n_max, hypers.l_max,
                hypers.atom_sigma,
            )
            for number in species
        ]  # fmt: skip
        try:
            is_finite = bool(np.isfinite(found[0].table).all())
        except np.linalg.LinAlgError:
            is_finite = False
        if not is_finite:
            raise UserError(
                f"gap: {hypers.n_max} radial functions within {hypers.cutoff} Å are too alike to be made "
                "orthogonal; lower gap.n_max or gap.atom_sigma"
            )
        return found

    def _pair(self, numbers: tuple[int, int], distances: np.ndarray) -> files.Pair:
        """Return a pair term for coefficients of 1."""
        hypers = self.hypers
        points = sparse.of_distances(distances, hypers.pair_n_sparse)
        cutoff, width = hypers.pair_cutoff, hypers.pair_cutoff_transition_width
        smooth, _ = pairs.smooth_cutoff(points, cutoff, width)
        return files.Pair(numbers, cutoff, width, hypers.pair_theta, hypers.pair_delta**2 * smooth, points)

    def _refuse_too_little_memory(
        self, structures: Sequence[Atoms], soap: Soap, pair_terms: Sequence[files.Pair]
    ) -> None:
        counts = reference.composition(structures, self.elements_).sum(axis=0)
        n_sparse = np.minimum(counts, self.hypers.n_sparse).astype(int)
        n_columns = int(n_sparse.sum()) + sum(len(pair.points) for pair in pair_terms)
        n_threads = len(available_cores())
        needed = fitting.expected_bytes(structures, soap, int(n_sparse.max()), n_columns, n_threads)
        refuse_too_much("gap", needed, "lower gap.n_sparse, gap.l_max, gap.n_max or gap.cutoff")

    def _pair_descriptor(self, numbers: tuple[int, int], n_distinct: int) -> str:
        """Return the pair term of two elements whose atoms are at so many different distances."""
        hypers = self.hypers
        # A single distance has no range to be uniform over.
        method = "uniform" if n_distinct > 1 else "random"
        return (
            f"distance_2b Z1={numbers[0]} Z2={numbers[1]} cutoff={hypers.pair_cutoff} "
            f"cutoff_transition_width={hypers.pair_cutoff_transition_width} covariance_type=ard_se "
            f"delta={hypers.pair_delta} theta_uniform={hypers.pair_theta} "
            f"n_sparse={min(hypers.pair_n_sparse, n_distinct)} sparse_method={method} add_species=F"
        )

    def _descriptor(self, element: str, n_sparse: int) -> str:
        """Return the SOAP descriptor of the environments of one element, with its own sparse points."""
        hypers = self.hypers
        numbers = " ".join(str(atomic_numbers[symbol]) for symbol in self.elements_)
        return (
            f"soap cutoff={hypers.cutoff} cutoff_transition_width={hypers.cutoff_transition_width} "
            f"n_max={hypers.n_max} l_max={hypers.l_max} atom_sigma={hypers.atom_sigma} zeta={hypers.zeta} "
            f"delta={hypers.delta} covariance_type=dot_product n_sparse={n_sparse} sparse_method=cur_points "
            f"Z={atomic_numbers[element]} n_species={len(self.elements_)} species_Z={{{numbers}}} "
            "add_species=F"
        )

    # -- files -----------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> None:
        files.write(folder, self.files_)

    def _read(self, folder: Path) -> None:
        self._take(files.read(folder / XML), folder / XML)

    def _take(self, content: dict[str, bytes], path: Path | str) -> None:
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
