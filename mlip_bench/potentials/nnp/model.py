r"""NNP: Behler-Parrinello neural networks on atom-centred symmetry functions.

The energy of an atom is the output of the network of its element (Behler and Parrinello,
doi:10.1103/PhysRevLett.98.146401), with the symmetry functions G of Zuo et al.,
doi:10.1021/acs.jpca.9b08723, equations 1 to 3, each scaled to 0..1 on the training data:

.. math:: E_i = E_0^μ + w_3 · \tanh(W_2 \tanh(W_1 G_i + b_1) + b_2) + b_3

Forces and stress are its analytic gradient. Trained by the extended Kalman filter and Gauss-Newton
(``training``) and evaluated by numba kernels (``kernel``); read and written as the files of n2p2 (``n2p2``).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from array_api_compat import to_device
from ase import Atoms
from threadpoolctl import threadpool_limits

from mlip_bench.data import reference, splits
from mlip_bench.hardware import available_cores
from mlip_bench.potentials.atom_ranges import over_atoms
from mlip_bench.potentials.base import Potential, Prediction, Progress, require
from mlip_bench.potentials.heat_flux import EdgeGradients
from mlip_bench.potentials.memory import DOUBLE, refuse_too_much
from mlip_bench.potentials.nnp import n2p2, training
from mlip_bench.potentials.nnp.blocks import IN_MEMORY, Stored, cut
from mlip_bench.potentials.nnp.kalman import N_PARTS, Kalman
from mlip_bench.potentials.nnp.networks import ACTIVATIONS, Network
from mlip_bench.potentials.nnp.samples import Samples, join
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.potentials.symmetry_functions import choice, kernel
from mlip_bench.potentials.symmetry_functions.descriptors import Scaling, descriptors
from mlip_bench.potentials.symmetry_functions.functions import SymmetryFunctions
from mlip_bench.potentials.symmetry_functions.geometry import Neighbourhood, tables

if TYPE_CHECKING:
    from mlip_bench.potentials.nnp.on_torch import BatchEvaluator


# For the estimate of a fit's memory: neighbours of an atom, and copies of the large arrays at a time.
EDGES_PER_ATOM = 100
COPIES = 3

# Bytes of a derivative, and of all that is stored over those of the derivatives (index tables, sums).
SINGLE = 4
DISK_PER_DERIVATIVES = 1.2


class NNP(Potential):
    """Behler-Parrinello neural network potential with symmetry functions."""

    family: ClassVar[str] = "nnp"
    revision: ClassVar[int] = 3
    packages: ClassVar[tuple[str, ...]] = (
        "array-api-compat",
        "ase",
        "matscipy",
        "numba",
        "numpy",
        "scipy",
        "torch",
    )
    look: ClassVar[tuple[str, str] | None] = ("#009E73", "^")
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    native_suffix: ClassVar[str] = "input.nn"
    set_on_reading: ClassVar[tuple[str, ...]] = ("units",)
    retired: ClassVar[tuple[str, ...]] = ("lbfgs_iterations",)

    @dataclass(frozen=True)
    class Hypers:
        """Hyper-parameters of NNP: a grid of symmetry functions, the networks, and the Kalman filter."""

        cutoff: float = 5.5
        """Radius (Å) of all symmetry functions."""
        radial_etas: list[float] = field(default_factory=list)
        """η (Å⁻²) of the radial functions; if empty, 0.25, 0.5 and 1.25 over the square of the typical
        nearest distance of the data, the ratios that Zuo et al. use for Mo."""
        radial_shifts: list[float] = field(default_factory=lambda: [0.0, 1.0, 2.0, 3.0, 4.0])
        """R_s (Å) of the radial functions; those beyond the cutoff are left out."""
        angular_etas: list[float] = field(default_factory=list)
        """η (Å⁻²) of the angular functions; if empty, as for the radial ones."""
        zetas: list[float] = field(default_factory=lambda: [1.0, 2.0, 4.0, 16.0])
        """ζ of the angular functions, each with λ = 1 and -1."""
        least_range: float = 0.001
        """Functions that vary by less over the training data are left out: scaled to 0..1 they would blow up
        the smallest step out of the training range. n2p2 has ``nnp-prune`` for the same purpose."""
        n_functions: int = 0
        """Functions kept per element; 0 keeps all. They are the first columns of a QR decomposition with
        pivoting of the scaled functions of all training atoms: each is the one that those before it explain
        least. Imbalzano et al. (doi:10.1063/1.5024611) select by CUR to the same end."""
        hidden: list[int] = field(default_factory=lambda: [16, 16])
        """Nodes of the two hidden layers."""
        epochs: int = 60
        """Largest number of epochs of the Kalman filter; the one with the least validation error is kept."""
        patience: int = 15
        """Epochs without a better validation error after which the filter stops."""
        gauss_newton_steps: int = 20
        """Largest number of steps of Gauss and Newton on all training data after the filter; with 0 epochs
        they train alone."""
        validation_fraction: float = 0.1
        """Share of the training structures that is held out to choose the epoch."""
        energy_weight: float = 30.0
        """Weight of the energy per atom (eV) against a force component (eV/Å)."""
        force_fraction: float = 0.1
        """Share of the force components that each epoch takes; those with large errors are preferred."""
        batch: int = 32
        """Observations per Kalman update."""
        kalman_epsilon: float = 0.01
        """Inverse of the covariance that the filter starts with."""
        kalman_q0: float = 0.01
        """Process noise at the start; it falls by e in ``kalman_qtau`` epochs, down to ``kalman_qmin``."""
        kalman_qtau: float = 2.302
        kalman_qmin: float = 1e-6
        kalman_eta: float = 0.01
        """Learning rate at the start; it grows by e in ``kalman_etatau`` epochs, up to ``kalman_etamax``."""
        kalman_etatau: float = 2.302
        kalman_etamax: float = 1.0
        units: str = ""
        """Units of files of n2p2 that are read, such as angstrom-eV or bohr-hartree; if empty, those that the
        files name, and bohr and hartree where they name none. Ours always name theirs."""

        def __post_init__(self) -> None:
            require(self.cutoff > 0, "cutoff", self.cutoff, "must be above 0 Å")
            require(len(self.hidden) == 2, "hidden", self.hidden, "must be two numbers of nodes")
            require(min(self.hidden) >= 1, "hidden", self.hidden, "must be at least 1 each")
            require(self.epochs >= 0, "epochs", self.epochs, "must be at least 0")
            n_steps = self.gauss_newton_steps
            require(n_steps >= 0, "gauss_newton_steps", n_steps, "must be at least 0")
            require(self.epochs + n_steps > 0, "epochs", 0, "without gauss_newton_steps there is no training")
            require(self.batch >= 1, "batch", self.batch, "must be at least 1")
            require(self.patience >= 1, "patience", self.patience, "must be at least 1")
            require(self.energy_weight >= 0, "energy_weight", self.energy_weight, "must not be negative")
            for name in ("epsilon", "qtau", "eta", "etatau", "etamax"):
                value = getattr(self, f"kalman_{name}")
                require(value > 0, f"kalman_{name}", value, "must be above 0")
            for name in ("kalman_q0", "kalman_qmin"):
                require(getattr(self, name) >= 0, name, getattr(self, name), "must not be negative")
            require(self.n_functions >= 0, "n_functions", self.n_functions, "must not be negative")
            share = self.validation_fraction
            require(0 <= share < 1, "validation_fraction", share, "must be from 0 to below 1")
            require(
                0 < self.force_fraction <= 1, "force_fraction", self.force_fraction, "must be from 0 to 1"
            )
            require(min(self.zetas, default=1) >= 1, "zetas", self.zetas, "must be at least 1")

    hypers: Hypers

    def __init__(self, **hypers: Any):
        super().__init__(**hypers)
        self.functions_ = SymmetryFunctions((), ())
        self.ranges_ = Scaling([], [])
        self.networks_: list[Network] = []
        """One network per element, with energies in eV."""

    @property
    def fits_stress(self) -> bool:
        """Whether stress is fitted: never, only energies and forces are."""
        return False

    @property
    def n_parameters(self) -> int:
        """The number of weights and biases of all networks."""
        return sum(network.n_weights for network in self.networks_)

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        if self.device == "cuda":
            return self._on_torch("cuda").one_by_one(stepping)
        return Evaluator(self, stepping)

    def _edge_stepper(self, stepping: Stepping) -> Callable[[Atoms], EdgeGradients]:
        return (
            self._on_torch("cuda").with_edges
            if self.device == "cuda"
            else Evaluator(self, stepping).with_edges
        )

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        if self.device == "cuda":
            return self._in_batches(structures, "cuda")
        evaluator = Evaluator(self, skin=0.0)
        return [evaluator(atoms) for atoms in structures]

    def _in_batches(self, structures: Sequence[Atoms], device: str) -> list[Prediction]:
        """Predict by torch; ``device`` is one of torch's."""
        return self._on_torch(device)(structures)

    def _on_torch(self, device: str) -> "BatchEvaluator":
        from mlip_bench.potentials.nnp.on_torch import BatchEvaluator

        layout = tables(self.functions_, self.elements_)
        return BatchEvaluator(layout, self.ranges_, self.networks_, device)

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        progress(0.0, "symmetry functions")
        n_edges = self._learn_functions(structures)
        all_forces = np.concatenate([reference.forces(atoms).ravel() for atoms in structures])
        unit = float(np.sqrt(np.mean(all_forces**2))) or 1.0
        held_out = splits.held_out(structures, self.hypers.validation_fraction, seed)
        n_inputs = max(tables(self.functions_, self.elements_).n_inputs)
        sizes = [n * 3 * n_inputs * SINGLE for n in n_edges]
        parts = cut(sizes, held_out, seed)
        masks = [mask for _, mask in parts]
        with ExitStack() as opened:
            samples = self._samples(structures, [block for block, _ in parts], sum(sizes), unit, opened)
            if self.device == "cuda":
                networks = self._train(samples, masks, seed, unit, None, progress)
            else:
                # The matrices of an update are small: BLAS was seen to take four times as long on two cores
                # as on one, most of it waiting. The threads here share the work in larger pieces.
                threads = opened.enter_context(ThreadPoolExecutor(len(available_cores())))
                opened.enter_context(threadpool_limits(limits=1, user_api="blas"))
                networks = self._train(samples, masks, seed, unit, threads, progress)
        self.networks_ = [_in_units(network, unit) for network in networks]

    def _learn_functions(self, structures: Sequence[Atoms]) -> list[int]:
        """Choose the functions and learn their ranges; return the number of edges of each structure."""
        hypers = self.hypers
        self.functions_ = choice.wanted(hypers, self.elements_, structures)
        self._refuse_too_large(sum(map(len, structures)))
        chosen = choice.informative(
            self.functions_, self.elements_, structures, hypers.least_range, hypers.n_functions
        )
        self.functions_, self.ranges_ = chosen.functions, chosen.ranges
        return [int(one.first[-1]) for one in chosen.described]

    def _samples(
        self,
        structures: Sequence[Atoms],
        blocks: Sequence[np.ndarray],
        n_bytes: int,
        unit: float,
        opened: ExitStack,
    ) -> Sequence[Samples]:
        """Return the training data in blocks of structures; several are on disk as long as ``opened``."""
        layout = tables(self.functions_, self.elements_)

        def joined(block: np.ndarray) -> Samples:
            mine = [structures[index] for index in block]
            return join(mine, [descriptors(atoms, layout) for atoms in mine], self.ranges_, unit)

        if len(blocks) > 1:
            on_disk = Stored(map(joined, blocks), round(DISK_PER_DERIVATIVES * n_bytes), self.device)
            return opened.enter_context(closing(on_disk))
        (block,) = blocks
        return [joined(block) if self.device == "cpu" else joined(block).on_torch(self.device)]

    def _train(
        self,
        samples: Sequence[Samples],
        held_out: Sequence[np.ndarray],
        seed: int,
        unit: float,
        threads: ThreadPoolExecutor | None,
        progress: Progress,
    ) -> list[Network]:
        trainer = self._trainer(samples, held_out, seed, threads)
        trainer.train(unit, self._checkpoint, progress)
        return trainer.networks

    def _refuse_too_large(self, n_atoms: int) -> None:
        """Raise :class:`UserError` where values, derivatives and the covariance exceed the memory."""
        n_inputs = tables(self.functions_, self.elements_).n_inputs
        hidden = (self.hypers.hidden[0], self.hypers.hidden[1])
        n_weights = sum(Network(n, hidden).n_weights for n in n_inputs)
        values = n_atoms * max(n_inputs) * DOUBLE
        derivatives = min(n_atoms * EDGES_PER_ATOM * 3 * max(n_inputs) * SINGLE, IN_MEMORY)
        squares = (N_PARTS + COPIES) * n_weights**2 * DOUBLE
        needed = COPIES * (values + derivatives) + squares
        refuse_too_much(
            self.family,
            needed,
            "fewer structures, smaller networks (nnp.hidden) or fewer functions (nnp.zetas) need less",
        )

    def _trainer(
        self,
        samples: Sequence[Samples],
        held_out: Sequence[np.ndarray],
        seed: int,
        threads: ThreadPoolExecutor | None,
    ) -> training.Trainer:
        hypers = self.hypers
        layout = tables(self.functions_, self.elements_)
        generator = np.random.default_rng([seed, 1])
        networks = [Network(n, (hypers.hidden[0], hypers.hidden[1])) for n in layout.n_inputs]
        for network in networks:
            network.randomise(generator)
        n_weights = sum(network.n_weights for network in networks)
        kalman = Kalman(
            np.eye(n_weights) / hypers.kalman_epsilon,
            q0=hypers.kalman_q0,
            q_tau=hypers.kalman_qtau,
            q_min=hypers.kalman_qmin,
            eta0=hypers.kalman_eta,
            eta_tau=hypers.kalman_etatau,
            eta_max=hypers.kalman_etamax,
            threads=threads,
        )
        schedule = training.Schedule(
            hypers.epochs,
            hypers.patience,
            hypers.gauss_newton_steps,
            hypers.energy_weight,
            hypers.force_fraction,
            hypers.batch,
        )
        return training.Trainer(samples, held_out, networks, schedule, kalman, generator)

    @property
    def reach(self) -> float:
        """The largest cutoff (Å) of the symmetry functions."""
        return float(self.functions_.cutoffs[-1])

    # -- files -----------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> None:
        layout = tables(self.functions_, self.elements_)
        n2p2.write(folder, layout, self.ranges_, self.networks_, self.zero_)

    def _read(self, folder: Path) -> None:
        self._take(n2p2.read(folder))

    def _take(self, content: "n2p2.Content") -> None:
        self.elements_ = content.elements
        self.functions_, self.ranges_ = content.functions, content.ranges
        self.networks_, self.zero_ = content.networks, content.baseline

    @classmethod
    def from_native(cls, path: Path, units: str = "") -> Self:
        """Read a folder of n2p2, named by its ``input.nn``; ``units`` as in the hyper-parameters."""
        content = n2p2.read(path.parent, units)
        radial, angular = content.functions.radial, content.functions.angular
        potential = cls(
            cutoff=content.functions.cutoffs[-1],
            radial_etas=sorted({f.eta for f in radial}),
            radial_shifts=sorted({f.shift for f in radial}),
            angular_etas=sorted({f.eta for f in angular}),
            zetas=sorted({f.zeta for f in angular}),
            hidden=list(content.networks[0].hidden),
            units=units,
        )
        potential._take(content)
        potential.notes_ = content.notes
        return potential


class Evaluator:
    """Energy, forces and stress of one structure after the other, by the kernels."""

    def __init__(self, potential: NNP, skin: float | Stepping):
        self._layout = tables(potential.functions_, potential.elements_)
        self._around = Neighbourhood(potential.elements_, self._layout.cutoff, skin, self._layout.wide)
        self._offsets = tuple(potential.ranges_.low)
        self._factors = tuple(potential.ranges_.factors)
        self._layers = tuple(
            (*network.layers(), *map(ACTIVATIONS.index, network.activations))
            for network in potential.networks_
        )

    def __call__(self, atoms: Atoms) -> Prediction:
        """Predict one structure; an atom extrapolates where an input left its range in training."""
        return self._predict(atoms, self._around.update(atoms), np.empty((0, 3)))

    def with_edges(self, atoms: Atoms) -> EdgeGradients:
        """Predict one structure, with the derivative of its energy by each edge."""
        around = self._around
        vectors = around.update(atoms)
        gradients = np.zeros_like(vectors)
        prediction = self._predict(atoms, vectors, gradients)
        return EdgeGradients(prediction, around.centres, around.neighbours, vectors, gradients)

    def _predict(self, atoms: Atoms, vectors: np.ndarray, gradients: np.ndarray) -> Prediction:
        layout, around = self._layout, self._around

        def of_range(begin: int, end: int) -> tuple[np.ndarray, ...]:
            found: tuple[np.ndarray, ...] = kernel.evaluate(
                (begin, end),
                around.first,
                around.neighbours,
                around.species,
                vectors,
                around.start,
                around.triples,
                around.pair,
                layout.cutoffs,
                layout.switch,
                layout.etas,
                layout.shapes,
                layout.radial,
                layout.angular,
                layout.blocks,
                self._offsets,
                self._factors,
                self._layers,
                gradients,
            )
            return found

        energies, forces, virial, outside = over_atoms(len(atoms), around.stepping.threads, of_range)
        return Prediction.of_atoms(atoms, energies, forces, virial, int((outside > 0).sum()))


def _in_units(network: Network, unit: float) -> Network:
    """Scale the output of a network trained in units of ``unit`` to eV."""
    weights = np.array(to_device(network.weights, "cpu"))
    weights[-(network.hidden[1] + 1) :] *= unit
    return replace(network, weights=weights)
