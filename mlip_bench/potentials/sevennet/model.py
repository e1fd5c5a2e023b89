r"""SevenNet: an equivariant message-passing network, by the package ``sevenn``.

Features of each atom are scalars, vectors and higher tensors; in each layer an atom takes messages from its
neighbours (Park et al., doi:10.1021/acs.jctc.4c00190; NequIP, doi:10.1038/s41467-022-29939-5):

.. math:: m_{ij} = x_j ⊗ Y(r_{ij}) \text{ weighted by an MLP of } |r_{ij}|, \quad
          E = \sum_i (s\, e_i + E_0^{z_i})

with e_i linear in the scalars of the last layer or a small network of them (``readout_nodes``), s the RMS
force of the training data and E_0 the energy per element by least squares. Forces and stress are the
gradient. Model and checkpoints are sevenn's; graphs and training are those of all networks (``networks``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from ase import Atoms

from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Progress, require
from mlip_bench.potentials.heat_flux import FluxStepper
from mlip_bench.potentials.networks.potential import NetworkPotential, TrainingHypers
from mlip_bench.potentials.stepping import Stepping

if TYPE_CHECKING:
    from mlip_bench.potentials.networks.graphs import Graphs
    from mlip_bench.potentials.networks.network import Network
    from mlip_bench.potentials.networks.scales import Scales

# torch and sevenn take seconds to import, so they are imported where they are needed: a command that only
# looks at hyper-parameters stays quick.

FILE = "model.pth"

# For the estimate of memory: bytes of a component of a message while forces are trained: it is kept for two
# derivatives, in single precision.
BYTES_PER_MESSAGE = 24


class SevenNet(NetworkPotential):
    """Equivariant graph network with forces and stress as the gradient of the energy."""

    family: ClassVar[str] = "sevennet"
    revision: ClassVar[int] = 4
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
    )
    look: ClassVar[tuple[str, str] | None] = ("#000000", "P")
    native_suffix: ClassVar[str] = ".pth"
    reads_pickles: ClassVar[bool] = True
    set_on_reading: ClassVar[tuple[str, ...]] = ("modal", "double_precision", "accelerator")
    file_hypers: ClassVar[tuple[str, ...]] = ("checkpoint",)

    @dataclass(frozen=True)
    class Hypers(TrainingHypers):
        """Hyper-parameters of SevenNet: the network, where it starts, and those of every training."""

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
        of the package, e.g. ``7net-0``. Network and cutoff are then those of the checkpoint, and without
        steps it is measured as it is."""
        modal: str = ""
        """Level of theory of a multi-fidelity checkpoint, e.g. PBE or R2SCAN of ``7net-mf-0``; it alone is
        kept and trained."""
        learning_rate: float = 0.02
        """Largest learning rate of Adam."""
        accelerator: str = ""
        """Package that predicts on a GPU in place of e3nn: cuequivariance, flashtp or openequivariance."""

        def __post_init__(self) -> None:
            super().__post_init__()
            for name in ("channels", "layers"):
                require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
            for name in ("radial_nodes", "readout_nodes"):
                positive = all(nodes > 0 for nodes in getattr(self, name))
                require(positive, name, getattr(self, name), "must be above 0")
            require(self.lmax >= 0, "lmax", self.lmax, "must be at least 0")
            known = ("", "cuequivariance", "flashtp", "openequivariance")
            wanted = "must be one of " + ", ".join(known[1:])
            require(self.accelerator in known, "accelerator", self.accelerator, wanted)

        @property
        def starts_trained(self) -> bool:
            """Whether the network that training starts from is a checkpoint."""
            return bool(self.checkpoint)

    hypers: Hypers

    def __init__(self, **hypers: Any):
        super().__init__(**hypers)
        self.config_: dict[str, Any] = {}

    @property
    def model_(self) -> Any:
        """The network as sevenn has it."""
        return self.network_.model

    # -- fitting ---------------------------------------------------------------------------------------

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        from mlip_bench.potentials.sevennet import accelerators

        accelerators.refuse_missing(self.hypers.accelerator)
        if self.hypers.modal and not self.hypers.checkpoint:
            raise UserError(
                f"{self.family}.modal: {self.hypers.modal} is a level of theory of a checkpoint, and there "
                f"is none; name it with {self.family}.checkpoint"
            )
        super()._fit(structures, seed, progress)
        if self.hypers.trains:
            self._take_shift()  # training may have moved it

    def _prepared(self, structures: Sequence[Atoms]) -> Sequence[Atoms]:
        if not self.hypers.checkpoint:
            return structures
        shifts = self._read_checkpoint()
        if not self.hypers.trains:  # measured as it is
            self.zero_ = np.array([shifts[symbol] for symbol in self.elements_])
            return structures
        structures = self._refit_zero(structures)
        self.network_.float()  # predicting may have made it double
        self._ready_network = None
        return structures

    def _read_checkpoint(self) -> dict[str, float]:
        """Set the network to that of the checkpoint, and return its shifts of the energy by elements (eV)."""
        from mlip_bench.potentials.sevennet import backbone
        from mlip_bench.potentials.sevennet.network import SevenNetwork

        hypers = self.hypers
        path = self.copies.get("checkpoint", hypers.checkpoint)
        self.config_, model = backbone.read(path, hypers.modal, self.trusted)
        self.network_ = SevenNetwork(model)
        shifts = backbone.take_shift(self.config_, model)
        known = backbone.elements(self.config_)
        foreign = sorted(set(self.elements_) - set(known))
        if foreign:
            raise UserError(
                f"{hypers.checkpoint} knows {', '.join(known)}, not {', '.join(foreign)} of the data"
            )
        return shifts

    def _start(self, structures: Sequence[Atoms], graphs: Sequence["Graphs"]) -> None:
        if not self.hypers.checkpoint:
            super()._start(structures, graphs)

    def _network(self, scales: "Scales") -> "Network":
        from mlip_bench.potentials.sevennet import backbone
        from mlip_bench.potentials.sevennet.network import SevenNetwork

        hypers = self.hypers
        self.config_ = backbone.configuration(
            self.elements_,
            hypers.cutoff,
            hypers.channels,
            hypers.lmax,
            hypers.layers,
            hypers.radial_nodes,
            hypers.readout_nodes,
            scales.force,
            scales.neighbours,
        )
        return SevenNetwork(backbone.build(self.config_))

    def _bytes_per_edge_of_a_step(self) -> float:
        channels, lmax, layers = self.hypers.channels, self.hypers.lmax, self.hypers.layers
        if self.hypers.checkpoint:
            sizes = ("channel", "lmax", "num_convolution_layer")
            channels, lmax, layers = (self.config_[key] for key in sizes)
        return float(BYTES_PER_MESSAGE * channels * layers * (lmax + 1) ** 3)

    @property
    def _pair_cutoff(self) -> float | None:
        # A checkpoint has learnt of more pairs than are in the data.
        return None if self.hypers.starts_trained else super()._pair_cutoff

    @property
    def _cutoff(self) -> float:
        return float(self.config_["cutoff"]) if self.config_ else float(self.hypers.cutoff)

    @property
    def reach(self) -> float:
        """The cutoff (Å) times the layers of messages."""
        from mlip_bench.potentials.sevennet.package import keys

        layers = self.config_[keys.NUM_CONVOLUTION] if self.config_ else self.hypers.layers
        return self._cutoff * float(layers)

    # -- predicting ------------------------------------------------------------------------------------

    def _network_to_predict(self) -> "Network":
        from mlip_bench.potentials.sevennet import accelerators
        from mlip_bench.potentials.sevennet.network import SevenNetwork

        name = self.hypers.accelerator
        accelerators.refuse_missing(name)
        if not name:
            return self.network_
        return SevenNetwork(accelerators.accelerated(name, self.config_, self.model_))

    def _flux_stepper(self, stepping: Stepping) -> FluxStepper:
        from mlip_bench.potentials.networks.evaluation import ready
        from mlip_bench.potentials.sevennet import flow
        from mlip_bench.potentials.sevennet.network import SevenNetwork, data_of

        evaluator = self._evaluator(stepping)
        network = self._ready_network
        if self.hypers.accelerator:
            # By sevenn's own convolutions: those of accelerators tell nothing of single edges.
            network = ready(SevenNetwork(self.model_), self.device, self.hypers.double_precision)
        return flow.GraphFlow(network.model, lambda atoms: data_of(evaluator.graph(atoms)))

    # -- files -----------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> None:
        from mlip_bench.potentials.sevennet import backbone

        shifts = dict(zip(self.elements_, self.zero_.tolist(), strict=True))
        backbone.write(folder / FILE, self.config_, self.model_, shifts)

    def _read(self, folder: Path) -> None:
        from mlip_bench.potentials.sevennet import backbone
        from mlip_bench.potentials.sevennet.network import SevenNetwork

        # Of several levels of theory the one that was chosen is kept, and no other.
        self.config_, model = backbone.read(folder / FILE, trust=self.trusted)
        self.network_ = SevenNetwork(model)
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
        from mlip_bench.potentials.sevennet.network import SevenNetwork
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
        potential.config_, potential.network_ = config, SevenNetwork(model)
        potential.zero_ = np.zeros(len(potential.elements_))
        potential._take_shift()
        return potential
