r"""NNFF: forces from a network directly, without an energy and without any derivative of a fingerprint.

The force on an atom is made of axes that turn with the structure, with coefficients that do not (Mailoa et
al., doi:10.1038/s42256-019-0098-0, "direct covariant forces"):

.. math:: F_i = \sum_k c_k(G_i) A_{k,i} + \sum_j \sum_f d_f(G_j) g_f(r_{ij}) u_{ij}

G_i are the symmetry functions of the atom (:mod:`mlip_bench.potentials.symmetry_functions`), c the network
of its element (``networks``), and A its axes (``covariant_axes``): moments of its neighbours, smooth, or as
in the paper the unit vectors to the nearest ones, for which the network gives the projections of the force,
S_k = F · A_k, and F = (AᵀA + ε 1)⁻¹ Aᵀ S. Where forces are two-sided, the second sum is there, too: what the
neighbours do by their own fingerprints, with the terms g_f of their radial functions. The paper has none of
it; the gradient of an energy has it, and reaches as far as two cutoffs by it.

Forces are exactly covariant under rotation and inversion. They are the gradient of nothing: there is no
energy, and no stress.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms

from mlip_bench.data import reference, splits
from mlip_bench.errors import UserError
from mlip_bench.potentials.atom_ranges import over_atoms
from mlip_bench.potentials.base import Potential, Prediction, Progress, require
from mlip_bench.potentials.memory import DOUBLE, expected_edges, refuse_too_much
from mlip_bench.potentials.nnff import covariant_axes, kernel
from mlip_bench.potentials.nnff.covariant_axes import (
    KINDS,
    MOMENTS,
    MOST_ATOMS,
    RANKED,
    Axes,
    Moments,
    Ranked,
)
from mlip_bench.potentials.nnff.networks import Network, in_units
from mlip_bench.potentials.stepping import Stepping
from mlip_bench.potentials.symmetry_functions import choice
from mlip_bench.potentials.symmetry_functions.descriptors import Scaling
from mlip_bench.potentials.symmetry_functions.functions import Angular, Radial, Switch, SymmetryFunctions
from mlip_bench.potentials.symmetry_functions.geometry import tables
from mlip_bench.potentials.symmetry_functions.kernel import RANGE_TOLERANCE

if TYPE_CHECKING:
    from mlip_bench.potentials.nnff import samples, training


# Copies of the axes of all atoms that a fit holds at a time.
COPIES = 3

# Ranked axes span space with so many neighbours at least.
LEAST_RANKED = 3

# Those that it takes where nobody says how many.
N_RANKED = 6

STATE, FUNCTIONS = "networks.npz", "functions.json"


class NNFF(Potential):
    """Direct forces from symmetry functions and covariant axes; no energy, no stress."""

    family: ClassVar[str] = "nnff"
    revision: ClassVar[int] = 3
    packages: ClassVar[tuple[str, ...]] = (
        "ase",
        "llvmlite",
        "matscipy",
        "numba",
        "numpy",
        "scipy",
        "torch",
    )
    look: ClassVar[tuple[str, str] | None] = ("#44AA99", "v")
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    conservative: ClassVar[bool] = False
    counterpart: ClassVar[str] = "nnp"
    predicts: ClassVar[frozenset[str]] = frozenset({"forces"})
    exemptions: ClassVar[dict[str, str]] = {
        "forces_are_gradient": "forces are predicted directly, and there is no energy",
        "stress_is_strain_derivative": "there is no energy and no stress",
    }

    @dataclass(frozen=True)
    class Hypers:
        """Hyper-parameters of NNFF: a grid of symmetry functions, the axes, the networks, their training."""

        cutoff: float = 5.5
        """Radius (Å) of all symmetry functions and axes."""
        radial_etas: list[float] = field(default_factory=list)
        """η (Å⁻²) of the radial functions; if empty, 0.25, 0.5 and 1.25 over the square of the typical
        nearest distance of the data."""
        radial_shifts: list[float] = field(default_factory=lambda: [0.0, 1.0, 2.0, 3.0, 4.0])
        """R_s (Å) of the radial functions; those beyond the cutoff are left out."""
        angular_etas: list[float] = field(default_factory=list)
        """η (Å⁻²) of the angular functions; if empty, as for the radial ones."""
        zetas: list[float] = field(default_factory=lambda: [1.0, 2.0, 4.0, 16.0])
        """ζ of the angular functions, each with λ = 1 and -1."""
        least_range: float = 0.001
        """Functions that vary by less over the training data are left out."""
        n_functions: int = 0
        """Functions kept per element, those that the others explain least; 0 keeps all."""
        axes: str = MOMENTS
        """``moments``, or ``ranked`` as in the paper."""
        n_axes: int = 0
        """Moments kept per element, those that the others explain least; 0 keeps all."""
        two_sided: bool = True
        """Let neighbours pull by their own fingerprints, too; without, a force depends on nothing beyond the
        cutoff. Ranked axes, as in the paper, go without."""
        n_ranked: int = N_RANKED
        """Nearest neighbours whose directions are the ranked axes."""
        regularisation: float = 0.01
        """ε of the inverse of the ranked axes."""
        hidden: list[int] = field(default_factory=lambda: [32, 32])
        """Nodes of each hidden layer."""
        invariant_epochs: int = 5
        """Epochs of Adam on the projections of the forces; with 0 training is end to end."""
        epochs: int = 35
        """Epochs of Adam on the forces themselves."""
        batch: int = 160
        """Atoms per step of Adam, in whole structures."""
        learning_rate: float = 0.003
        """Largest learning rate of Adam."""
        lbfgs_iterations: int = 600
        """Iterations of L-BFGS on all training data after that."""
        patience: int = 100
        """Iterations without a better validation error after which L-BFGS stops."""
        validation_fraction: float = 0.1
        """Share of the training structures that is held out to choose the epoch."""
        remove_net_force: bool = True
        """Take the mean off the forces of each structure, which nothing here does by itself."""

        def __post_init__(self) -> None:
            require(self.cutoff > 0, "cutoff", self.cutoff, "must be above 0 Å")
            require(self.axes in KINDS, "axes", self.axes, f"must be {' or '.join(KINDS)}")
            require(self.n_axes >= 0, "n_axes", self.n_axes, "must not be negative")
            require(self.n_functions >= 0, "n_functions", self.n_functions, "must not be negative")
            require(
                self.n_ranked >= LEAST_RANKED, "n_ranked", self.n_ranked, f"must be at least {LEAST_RANKED}"
            )
            is_ranked = self.axes != MOMENTS
            require(is_ranked or self.n_ranked == N_RANKED, "n_ranked", self.n_ranked, "is for axes = ranked")
            require(self.n_axes == 0 or not is_ranked, "n_axes", self.n_axes, "is for axes = moments")
            require(self.regularisation > 0, "regularisation", self.regularisation, "must be above 0")
            require(min(self.hidden, default=1) >= 1, "hidden", self.hidden, "must be at least 1 each")
            n_first = self.invariant_epochs
            require(n_first >= 0, "invariant_epochs", n_first, "must not be negative")
            require(self.epochs >= 0, "epochs", self.epochs, "must not be negative")
            n_last = self.lbfgs_iterations
            require(n_last >= 0, "lbfgs_iterations", n_last, "must not be negative")
            require(
                self.epochs + n_last > 0,
                "epochs",
                self.epochs,
                "without lbfgs_iterations there is no training",
            )
            require(self.patience >= 1, "patience", self.patience, "must be at least 1")
            require(self.batch >= 1, "batch", self.batch, "must be at least 1")
            require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be above 0")
            share = self.validation_fraction
            require(0 <= share < 1, "validation_fraction", share, "must be from 0 to below 1")
            require(min(self.zetas, default=1) >= 1, "zetas", self.zetas, "must be at least 1")

    hypers: Hypers

    def __init__(self, **hypers: Any):
        super().__init__(**hypers)
        self.functions_ = SymmetryFunctions((), ())
        self.ranges_ = Scaling([], [])
        self.networks_: list[Network] = []
        """One network per element, from fingerprints scaled to 0..1 to coefficients in eV/Å per axis."""

    @property
    def fits_stress(self) -> bool:
        """Whether stress is fitted: there is none."""
        return False

    @property
    def n_parameters(self) -> int:
        """The number of weights and biases of all networks."""
        return sum(network.n_weights for network in self.networks_)

    @property
    def axes_(self) -> Axes:
        """The axes of all elements."""
        layout = tables(self.functions_, self.elements_)
        if self.hypers.axes == RANKED:
            return Ranked(layout, self.hypers.n_ranked)
        return Moments(layout)

    @property
    def two_sided(self) -> bool:
        """Whether neighbours pull by their own fingerprints."""
        return self.hypers.two_sided and self.hypers.axes == MOMENTS

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        if self.device == "cuda":
            from mlip_bench.potentials.nnff.on_torch import TorchEvaluator

            return TorchEvaluator(self, "cuda", stepping)
        return Evaluator(self, stepping)

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        if self.device == "cuda":
            from mlip_bench.potentials.nnff.on_torch import TorchEvaluator

            on_gpu = TorchEvaluator(self, "cuda")
            return [on_gpu(atoms) for atoms in structures]
        evaluator = Evaluator(self, skin=0.0)
        return [evaluator(atoms) for atoms in structures]

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        from mlip_bench.potentials.nnff import samples, training

        progress(0.0, "symmetry functions and axes")
        hypers = self.hypers
        chosen = choice.informative(
            choice.wanted(hypers, self.elements_, structures),
            self.elements_,
            structures,
            hypers.least_range,
            hypers.n_functions,
        )
        self.functions_, self.ranges_ = chosen.functions, chosen.ranges
        kept = self._choose_axes(structures, seed)
        self._refuse_too_large(structures, kept)
        axes = self.axes_
        parts = [samples.described(axes, atoms, kept, self.two_sided) for atoms in structures]
        n_inputs, n_axes = [len(low) for low in self.ranges_.low], list(map(len, kept))
        n_pulls = [len(radial) if self.two_sided else 0 for radial in axes.layout.radial]
        scale = samples.scales(samples.joined(parts), n_inputs, n_axes, n_pulls)
        unit = float(np.sqrt(np.mean(np.concatenate([reference.forces(a) for a in structures]) ** 2))) or 1.0
        data = samples.samples(structures, parts, axes, scale, unit, hypers.regularisation, self.device)
        held_out = np.zeros(len(structures), bool)
        held_out[splits.held_out(structures, hypers.validation_fraction, seed)] = True
        trainer = training.Trainer(
            data,
            held_out,
            n_inputs,
            n_axes,
            n_pulls,
            self._schedule(),
            seed,
            hypers.remove_net_force,
        )
        trainer.train(
            self._checkpoint,
            lambda share, what, error: progress(min(1.0, share), f"{what}: {1e3 * unit * error:.0f} meV/Å"),
        )
        self.networks_ = [
            self._in_units(trainer.network(kind, which), kind, scale, unit) for kind, which in enumerate(kept)
        ]

    def _schedule(self) -> "training.Schedule":
        from mlip_bench.potentials.nnff import training

        hypers = self.hypers
        return training.Schedule(
            hypers.hidden,
            hypers.invariant_epochs,
            hypers.epochs,
            hypers.batch,
            hypers.learning_rate,
            hypers.lbfgs_iterations,
            hypers.patience,
        )

    def _in_units(self, network: Network, kind: int, scale: "samples.Scales", unit: float) -> Network:
        """Return a network of inputs scaled to 0..1, with outputs in eV/Å, where it was of scaled numbers."""
        low, factor = self.ranges_.low[kind], self.ranges_.factors[kind]
        length = scale.length[kind] if self.hypers.axes == MOMENTS else np.ones(len(network.kept))
        pull = scale.pull[kind] if self.two_sided else np.empty(0)
        outputs = unit / np.concatenate([length, pull])
        width = scale.width[kind]
        return in_units(network, 1 / (factor * width), (low - scale.mean[kind]) / width, outputs)

    def _choose_axes(self, structures: Sequence[Atoms], seed: int) -> list[np.ndarray]:
        """Return which axes of each element to keep; a drawn part of the atoms decides."""
        if self.hypers.axes == RANKED:
            self._note_ranked(structures)
            return [np.arange(n) for n in self.axes_.n_axes]
        axes = self.axes_
        generator = np.random.default_rng([seed, 1])
        found: list[list[np.ndarray]] = [[] for _ in self.elements_]
        for index in generator.permutation(len(structures)):
            species, _, vectors = covariant_axes.described(axes, structures[index])
            for kind, n_axes in enumerate(axes.n_axes):
                if sum(map(len, found[kind])) < MOST_ATOMS:
                    found[kind].append(vectors[species == kind, :n_axes])
        return [covariant_axes.kept(np.concatenate(parts), self.hypers.n_axes) for parts in found]

    def _note_ranked(self, structures: Sequence[Atoms]) -> None:
        """Refuse atoms with too few neighbours, and count those whose ranked axes lie nearly in a plane."""
        n_flat = n_atoms = 0
        for index, atoms in enumerate(structures):
            _, _, axes = covariant_axes.described(self.axes_, atoms)
            counts = (axes != 0).any(axis=2).sum(axis=1)
            if counts.min() < LEAST_RANKED:
                raise UserError(
                    f"{self.family}: training structure {index + 1} ({atoms.symbols}) has an atom with "
                    f"{counts.min()} neighbours within {self.hypers.cutoff:g} Å, and ranked axes need "
                    f"{LEAST_RANKED}; take a larger cutoff, or nnff.axes=moments"
                )
            n_flat += covariant_axes.n_nearly_coplanar(axes)
            n_atoms += len(atoms)
        if n_flat:
            self.notes_.append(
                f"the {self.hypers.n_ranked} ranked axes of {n_flat} of {n_atoms} training atoms lie nearly "
                f"in a plane (least singular value below {covariant_axes.NEARLY_COPLANAR:g}); across it, "
                f"forces are held down by the regularisation {self.hypers.regularisation:g}"
            )

    def _refuse_too_large(self, structures: Sequence[Atoms], kept: Sequence[np.ndarray]) -> None:
        """Raise :class:`UserError` where what the networks see of all atoms exceeds the memory."""
        layout = self.axes_.layout
        n_atoms = sum(map(len, structures))
        of_atoms = n_atoms * (max(layout.n_inputs) + 3 * max(map(len, kept)))
        of_edges = 0.0
        if self.two_sided:
            n_edges = sum(expected_edges(atoms, layout.cutoff) for atoms in structures)
            of_edges = n_edges * (2 * max(map(len, layout.radial)) / len(self.elements_) + 5)
        refuse_too_much(
            self.family,
            COPIES * (of_atoms + of_edges) * DOUBLE,
            "fewer structures, functions (nnff.n_functions) or axes (nnff.n_axes) need less, and so does "
            "nnff.two_sided=false",
        )

    @property
    def reach(self) -> float:
        """The cutoff (Å); twice that where a neighbour pulls by its own surroundings, too."""
        return self.hypers.cutoff * (2 if self.two_sided else 1)

    # -- files -----------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> None:
        functions = {
            "switch": int(self.functions_.switch),
            "alpha": self.functions_.alpha,
            "radial": [asdict(f) for f in self.functions_.radial],
            "angular": [asdict(f) for f in self.functions_.angular],
        }
        (folder / FUNCTIONS).write_text(json.dumps(functions, indent=1) + "\n")
        arrays: dict[str, np.ndarray] = {}
        for symbol, low, high, network in zip(
            self.elements_, self.ranges_.low, self.ranges_.high, self.networks_, strict=True
        ):
            arrays |= {f"{symbol}_low": low, f"{symbol}_high": high, f"{symbol}_axes": network.kept}
            for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
                arrays |= {f"{symbol}_weight_{layer}": weight, f"{symbol}_bias_{layer}": bias}
        np.savez(folder / STATE, **arrays)  # type: ignore[arg-type]  # names are ours

    def _read(self, folder: Path) -> None:
        content = json.loads((folder / FUNCTIONS).read_text())
        angular = [f | {"neighbours": tuple(f["neighbours"])} for f in content["angular"]]
        self.functions_ = SymmetryFunctions(
            tuple(Radial(**f) for f in content["radial"]),
            tuple(Angular(**f) for f in angular),
            Switch(content["switch"]),
            content["alpha"],
        )
        n_layers = len(self.hypers.hidden) + 1
        with np.load(folder / STATE) as arrays:
            self.ranges_ = Scaling(
                [arrays[f"{symbol}_low"] for symbol in self.elements_],
                [arrays[f"{symbol}_high"] for symbol in self.elements_],
            )
            self.networks_ = [
                Network(
                    [arrays[f"{symbol}_weight_{layer}"] for layer in range(n_layers)],
                    [arrays[f"{symbol}_bias_{layer}"] for layer in range(n_layers)],
                    arrays[f"{symbol}_axes"],
                )
                for symbol in self.elements_
            ]
        self.zero_ = np.zeros(len(self.elements_))


def forces_only(forces: np.ndarray, n_extrapolating: int, remove_net_force: bool) -> Prediction:
    """Return a prediction of forces (n_atoms, 3) alone, their mean taken off where that is asked for."""
    if remove_net_force:
        forces = forces - forces.mean(axis=0)
    return Prediction(float("nan"), forces, np.full(6, np.nan), n_extrapolating)


class Evaluator:
    """Forces of one structure after the other, by the kernels and small matrix products."""

    def __init__(self, potential: NNFF, skin: float | Stepping):
        self._axes, self._hypers = potential.axes_, potential.hypers
        self._around = covariant_axes.Surroundings(potential.elements_, self._axes.layout.cutoff, skin)
        self._ranges = list(zip(potential.ranges_.low, potential.ranges_.factors, strict=True))
        self._networks, self._two_sided = potential.networks_, potential.two_sided

    def __call__(self, atoms: Atoms) -> Prediction:
        """Predict one structure; an atom extrapolates where an input left its range in training."""
        around, layout = self._around, self._axes.layout
        edges = covariant_axes.edge_tables(layout, around.update(atoms))
        values, axes = self._axes(around, edges)
        forces, n_outside = np.zeros((len(atoms), 3)), 0
        pulls = np.zeros((len(atoms), max(map(len, layout.radial))))
        for kind, network in enumerate(self._networks):
            mine = np.flatnonzero(around.species == kind)
            low, factor = self._ranges[kind]
            inputs = (values[mine, : len(low)] - low) * factor
            outside = (inputs < -RANGE_TOLERANCE) | (inputs > 1 + RANGE_TOLERANCE)
            n_outside += int(outside.any(axis=1).sum())
            outputs = network(inputs)
            own, told = np.split(outputs, [len(network.kept)], axis=1)
            forces[mine] = self._combined(own, axes[mine][:, network.kept])
            pulls[mine, : told.shape[1]] = told
        if self._two_sided:

            def pushes(begin: int, end: int) -> tuple[np.ndarray, ...]:
                given = around.first, around.neighbours, around.species, edges, layout.radial, pulls
                found = np.zeros_like(forces)
                kernel.add_pushes((begin, end), *given, found)
                return (found,)

            (of_neighbours,) = over_atoms(len(atoms), around.stepping.threads, pushes)
            forces += of_neighbours
        return forces_only(forces, n_outside, self._hypers.remove_net_force)

    def _combined(self, outputs: np.ndarray, axes: np.ndarray) -> np.ndarray:
        """Return forces (n_atoms, 3) of outputs (n_atoms, n_axes) and axes (n_atoms, n_axes, 3)."""
        if self._hypers.axes == RANKED:
            inverse = covariant_axes.inverse(axes, self._hypers.regularisation)
            return (inverse @ outputs[:, :, None])[:, :, 0]
        return (outputs[:, None, :] @ axes)[:, 0]
