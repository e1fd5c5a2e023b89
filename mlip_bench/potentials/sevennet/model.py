r"""SevenNet: an equivariant message-passing network, by the package ``sevenn``.

Features of each atom are scalars, vectors and higher tensors; in each layer an atom takes messages from its
neighbours (Park et al., doi:10.1021/acs.jctc.4c00190; NequIP, doi:10.1038/s41467-022-29939-5):

.. math:: m_{ij} = x_j ⊗ Y(r_{ij}) \text{ weighted by an MLP of } |r_{ij}|, \quad
          E = \sum_i (s\, e_i + E_0^{z_i})

with e_i linear in the scalars of the last layer or a small network of them (``readout_nodes``), s the RMS
force of the training data and E_0 the energy per element by least squares. Forces and stress are the
gradient. Model, graphs, losses and checkpoints are sevenn's; the training loop is ours (``training``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.errors import UserError
from mlip_bench.hardware import available_cores
from mlip_bench.potentials.base import Potential, Prediction, Progress, require
from mlip_bench.potentials.heat_flux import FluxStepper
from mlip_bench.potentials.memory import expected_edges, refuse_too_much

if TYPE_CHECKING:
    from mlip_bench.potentials.sevennet import inference, training

# torch and sevenn take seconds to import, so they are imported where they are needed: a command that only
# looks at hyper-parameters stays quick.

FILE = "model.pth"

# Neighbour skin (Å) in molecular dynamics: the list is rebuilt every few tens of steps at 300 K.
SKIN = 0.5

# Atoms of a training step, where the number of structures is not given: fewer leave more time to the
# overhead of torch, more make fewer steps of an epoch.
ATOMS_PER_STEP = 100

# Atoms predicted at once: enough to fill the cores, little enough for a laptop's memory.
ATOMS_PER_BATCH = 500


# For the estimate of memory: bytes of an edge in a graph (vector, atoms, shift), and of a component of a
# message while forces are trained: it is kept for two derivatives, in single precision.
BYTES_PER_EDGE = 64
BYTES_PER_MESSAGE = 24


class SevenNet(Potential):
    """Equivariant graph network with forces and stress as the gradient of the energy."""

    family: ClassVar[str] = "sevennet"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = (
        "ase",
        "e3nn",
        "llvmlite",
        "matscipy",
        "numba",
        "numpy",
        "scipy",
        "sevenn",
        "torch",
        "torch-geometric",
    )
    look: ClassVar[tuple[str, str] | None] = ("#000000", "P")
    native_suffix: ClassVar[str] = ".pth"
    reads_pickles: ClassVar[bool] = True
    set_on_reading: ClassVar[tuple[str, ...]] = ("modal", "double_precision", "accelerator")
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    file_hypers: ClassVar[tuple[str, ...]] = ("checkpoint",)

    @dataclass(frozen=True)
    class Hypers:
        """Hyper-parameters of SevenNet: the network, the training, and where it starts."""

        cutoff: float = 4.5
        """Radius (Å) of the messages; information travels that far in each layer."""
        channels: int = 16
        """Features of each kind (scalars, vectors, ...)."""
        lmax: int = 1
        """Largest degree of the tensors."""
        layers: int = 3
        """Layers of messages."""
        radial_nodes: list[int] = field(default_factory=list)
        """Nodes of hidden layers between the Bessel functions of a distance and the weights of its message;
        without any the weights are linear in them. sevenn's own default is 64 and 64."""
        readout_nodes: list[int] = field(default_factory=list)
        """Nodes of hidden layers between the features of an atom and its energy; without any the energy is
        linear in them, as in SevenNet-0."""
        checkpoint: str = ""
        """Where training starts: empty for random weights, a ``.pth`` file of sevenn, or a pretrained model
        of the package, e.g. ``7net-0``. Network and cutoff are then those of the checkpoint."""
        modal: str = ""
        """Level of theory of a multi-fidelity checkpoint, e.g. PBE or R2SCAN of ``7net-mf-0``; it alone is
        kept and trained."""
        epochs: int = 100
        """Passes over the training data; 0 with a checkpoint measures it as it is."""
        batch: int = 0
        """Structures per step of training; 0 takes as many as have about 100 atoms together."""
        learning_rate: float = 0.02
        """Largest learning rate of Adam."""
        huber_delta: float = 0.1
        """Error (eV, eV/Å, kbar) above which the loss grows linearly."""
        energy_weight: float = 1.0
        """Weight of the loss of the energy per atom."""
        late_energy_weight: float = 10.0
        """The same in the last quarter of the epochs."""
        force_weight: float = 1.0
        """Weight of the loss of the force components."""
        stress_weight: float = 0.001
        """Weight of the loss of the stress components, which are in kbar and large numbers: 0.01 holds forces
        back. Structures without stress are passed over."""
        averaging: float = 0.99
        """Decay per step of the moving average of the weights."""
        validation_fraction: float = 0.1
        """Share of the training structures that is held out to choose the epoch."""
        double_precision: bool = False
        """Predict in double precision; training is in single precision."""
        accelerator: str = ""
        """Package that predicts on a GPU in place of e3nn: cuequivariance, flashtp or openequivariance."""

        def __post_init__(self) -> None:
            require(self.cutoff > 0, "cutoff", self.cutoff, "must be above 0 Å")
            for name in ("channels", "layers"):
                require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
            for name in ("radial_nodes", "readout_nodes"):
                positive = all(nodes > 0 for nodes in getattr(self, name))
                require(positive, name, getattr(self, name), "must be above 0")
            for name in ("lmax", "epochs", "batch"):
                require(getattr(self, name) >= 0, name, getattr(self, name), "must be at least 0")
            trains = self.epochs > 0 or bool(self.checkpoint)
            require(trains, "epochs", self.epochs, "without a checkpoint there must be training")
            known = ("", "cuequivariance", "flashtp", "openequivariance")
            wanted = "must be one of " + ", ".join(known[1:])
            require(self.accelerator in known, "accelerator", self.accelerator, wanted)
            share = self.validation_fraction
            require(0 <= share < 1, "validation_fraction", share, "must be from 0 to below 1")
            require(0 <= self.averaging < 1, "averaging", self.averaging, "must be from 0 to below 1")

    hypers: Hypers

    def __init__(self, **hypers: Any):
        super().__init__(**hypers)
        self.config_: dict[str, Any] = {}
        self.model_: Any = None
        self._ready_model: Any = None

    @property
    def fits_stress(self) -> bool:
        """Whether stress has a weight in the fit."""
        return bool(self.hypers.stress_weight > 0)

    @property
    def n_parameters(self) -> int:
        """The number of trained weights that predictions depend on."""
        from mlip_bench.potentials.sevennet import convolution

        trained = sum(weights.numel() for weights in self.model_.parameters() if weights.requires_grad)
        return trained - convolution.n_unused(self.model_)

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        import torch

        from mlip_bench.potentials.sevennet import accelerators, backbone, training

        accelerators.refuse_missing(self.hypers.accelerator)
        torch.set_num_threads(len(available_cores()))
        torch.manual_seed(seed)
        self._ready_model = None
        self._start(structures)
        if self.hypers.epochs:
            self._refuse_too_little_memory(structures)
            if self.hypers.checkpoint:
                structures = self._refit_zero(structures)
                self.model_.float()  # predicting may have made it double
                self._ready_model = None
            graphs = [backbone.labelled_graph(atoms, self._cutoff) for atoms in structures]
            held_out = reference.held_out(structures, self.hypers.validation_fraction, seed)
            training.train(
                self.model_,
                graphs,
                held_out.tolist(),
                self._schedule(structures),
                seed,
                self.device,
                self._checkpoint,
                progress,
            )
            self._take_shift()  # training may have moved it

    def _refuse_too_little_memory(self, structures: Sequence[Atoms]) -> None:
        """Estimate the graphs of all structures and, on the CPU, what one step of training keeps of messages.

        On a GPU a step that does not fit is taken in parts.
        """
        edges = [expected_edges(atoms, self._cutoff) for atoms in structures]
        needed = BYTES_PER_EDGE * sum(edges)
        if self.device == "cpu":
            config = self.config_
            channels, lmax, layers = (config[key] for key in ("channel", "lmax", "num_convolution_layer"))
            of_message = channels * layers * (lmax + 1) ** 3
            of_step = self._schedule(structures).batch * max(edges)
            needed += BYTES_PER_MESSAGE * of_message * of_step
        name = self.family
        advice = f"lower {name}.batch, {name}.channels or {name}.cutoff, or train on fewer structures"
        refuse_too_much(name, needed, advice)

    def _start(self, structures: Sequence[Atoms]) -> None:
        """Build a network for the data, or read the checkpoint."""
        from mlip_bench.potentials.sevennet import backbone

        hypers = self.hypers
        if hypers.checkpoint:
            self.config_, self.model_ = backbone.read(hypers.checkpoint, hypers.modal, self.trusted)
            shifts = backbone.take_shift(self.config_, self.model_)
            known = backbone.elements(self.config_)
            foreign = sorted(set(self.elements_) - set(known))
            if foreign:
                raise UserError(
                    f"{hypers.checkpoint} knows {', '.join(known)}, not {', '.join(foreign)} of the data"
                )
            if not hypers.epochs:  # measured as it is
                self.zero_ = np.array([shifts[symbol] for symbol in self.elements_])
            return
        forces = np.concatenate([reference.forces(atoms).ravel() for atoms in structures])
        graphs = [backbone.graph(atoms, hypers.cutoff) for atoms in structures]
        self.config_ = backbone.configuration(
            self.elements_,
            hypers.cutoff,
            hypers.channels,
            hypers.lmax,
            hypers.layers,
            hypers.radial_nodes,
            hypers.readout_nodes,
            scale=float(np.sqrt(np.mean(forces**2))) or 1.0,
            neighbours=backbone.mean_neighbours(graphs),
        )
        self.model_ = backbone.build(self.config_)

    @property
    def _cutoff(self) -> float:
        return float(self.config_["cutoff"])

    def _schedule(self, structures: Sequence[Atoms]) -> "training.Schedule":
        from mlip_bench.potentials.sevennet import training

        hypers = self.hypers
        return training.Schedule(
            hypers.epochs,
            hypers.batch or max(1, round(ATOMS_PER_STEP * len(structures) / sum(map(len, structures)))),
            hypers.learning_rate,
            hypers.huber_delta,
            hypers.energy_weight,
            hypers.late_energy_weight,
            hypers.force_weight,
            hypers.stress_weight,
            hypers.averaging,
        )

    # -- predicting ------------------------------------------------------------------------------------

    def _stepper(self) -> Callable[[Atoms], Prediction]:
        return self._evaluator(SKIN)

    def on(self, device: str) -> Self:
        """Compute on ``cpu`` or ``cuda`` from now on."""
        self._ready_model = None
        return super().on(device)

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        evaluator = self._evaluator(skin=0.0)
        found: list[Prediction] = []
        batch: list[Atoms] = []
        for atoms in structures:
            if batch and sum(map(len, batch)) + len(atoms) > ATOMS_PER_BATCH:
                found += evaluator.batch(batch)
                batch = []
            batch.append(atoms)
        return found + evaluator.batch(batch)

    def _evaluator(self, skin: float) -> "inference.Evaluator":
        from mlip_bench.potentials.sevennet import accelerators, inference

        if self._ready_model is None:
            model = self.model_
            accelerators.refuse_missing(self.hypers.accelerator)
            if self.hypers.accelerator:
                model = accelerators.accelerated(self.hypers.accelerator, self.config_, model)
            self._ready_model = inference.ready(model, self.device, self.hypers.double_precision)
        return inference.Evaluator(self._ready_model, self.elements_, self.conservative, skin)

    def _flux_stepper(self) -> FluxStepper:
        from mlip_bench.potentials.sevennet import flow, inference

        evaluator = self._evaluator(SKIN)
        if not self.hypers.accelerator:
            return flow.GraphFlow(self._ready_model, evaluator.data)
        # By sevenn's own convolutions: those of accelerators tell nothing of single edges.
        plain = inference.ready(self.model_, self.device, self.hypers.double_precision)
        return flow.GraphFlow(plain, evaluator.data)

    # -- files -----------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> None:
        from mlip_bench.potentials.sevennet import backbone

        shifts = dict(zip(self.elements_, self.zero_.tolist(), strict=True))
        backbone.write(folder / FILE, self.config_, self.model_, shifts)

    def _read(self, folder: Path) -> None:
        from mlip_bench.potentials.sevennet import backbone

        # Of several levels of theory the one that was chosen is kept, and no other.
        self.config_, self.model_ = backbone.read(folder / FILE, trust=self.trusted)
        self.zero_ = np.zeros(len(self.elements_))
        self._take_shift()

    def _take_shift(self) -> None:
        """Move the network's shift of each element into the zero."""
        from mlip_bench.potentials.sevennet import backbone

        shifts = backbone.take_shift(self.config_, self.model_)
        self.zero_ = self.zero_ + np.array([shifts[symbol] for symbol in self.elements_])

    @classmethod
    def from_native(cls, path: Path, *, trust: bool = False, **hypers: Any) -> Self:
        """Read a checkpoint of sevenn; ``hypers`` are those of ``set_on_reading``."""
        from mlip_bench.potentials.sevennet import backbone
        from mlip_bench.potentials.sevennet.package import keys

        config, model = backbone.read(path, hypers.get("modal", ""), trust)
        potential = cls(
            **hypers,
            cutoff=float(config[keys.CUTOFF]),
            channels=config[keys.NODE_FEATURE_MULTIPLICITY],
            lmax=config[keys.LMAX],
            layers=config[keys.NUM_CONVOLUTION],
        )
        potential.elements_ = backbone.elements(config)
        potential.config_, potential.model_ = config, model
        potential.zero_ = np.zeros(len(potential.elements_))
        potential._take_shift()
        return potential
