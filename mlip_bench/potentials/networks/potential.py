"""What families of networks share: hyper-parameters of training, fit, prediction, and files.

A family gives its network (:meth:`NetworkPotential._network`) and its hyper-parameters; a torch model of
others becomes a family so in a few dozen lines, as ``docs/own-network`` shows.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ase import Atoms

from mlip_bench.data import splits
from mlip_bench.errors import UserError
from mlip_bench.hardware import available_cores
from mlip_bench.potentials.base import Potential, Prediction, Progress, require
from mlip_bench.potentials.memory import expected_edges, refuse_too_much
from mlip_bench.potentials.stepping import Stepping

if TYPE_CHECKING:
    from mlip_bench.potentials.networks.evaluation import Evaluator
    from mlip_bench.potentials.networks.graphs import Graphs
    from mlip_bench.potentials.networks.network import Network
    from mlip_bench.potentials.networks.scales import Scales
    from mlip_bench.potentials.networks.schedule import Schedule

# torch takes seconds to import, so it is imported where it is needed: a command that only looks at
# hyper-parameters stays quick.

FILE = "network.pt"


# Bytes of an edge in a graph (vector, atoms), for the estimate of memory.
BYTES_PER_EDGE = 64


@dataclass(frozen=True)
class TrainingHypers:
    """Hyper-parameters that all networks have: how far they look, and how they are trained."""

    cutoff: float = 5.0
    """Radius (Å) of the messages; information travels that far in each layer."""
    steps: int = 2000
    """Steps of the optimiser, at least."""
    epochs: float = 0.0
    """Passes over the training data, at least: large data take more than ``steps``."""
    minutes: float = 0.0
    """Time of training, which decides in place of steps and epochs; its result is not repeated exactly."""
    atoms_per_step: int = 100
    """Atoms of the structures of a step, about: fewer make more steps of the same time, and noisier ones."""
    learning_rate: float = 0.01
    """Largest learning rate of Adam."""
    huber_delta: float = 0.1
    """Error (eV, eV/Å, kbar) above which the loss grows linearly."""
    energy_weight: float = 1.0
    """Weight of the loss of the energy per atom."""
    late_energy_weight: float = 10.0
    """The same in the last quarter of the training."""
    force_weight: float = 1.0
    """Weight of the loss of the force components."""
    stress_weight: float = 0.001
    """Weight of the loss of the stress components, which are in kbar and large numbers: 0.01 holds forces
    back. Structures without stress are passed over."""
    averaging: float = 0.99
    """Decay per step of the moving average of the weights."""
    validation_fraction: float = 0.0
    """Share of the training structures that is held out to choose when the weights were best."""
    double_precision: bool = False
    """Predict in double precision; training is in single precision."""

    def __post_init__(self) -> None:
        require(self.cutoff > 0, "cutoff", self.cutoff, "must be above 0 Å")
        require(self.atoms_per_step >= 1, "atoms_per_step", self.atoms_per_step, "must be at least 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be above 0")
        require(self.huber_delta > 0, "huber_delta", self.huber_delta, "must be above 0")
        weights = ("energy_weight", "late_energy_weight", "force_weight", "stress_weight")
        for name in ("steps", "epochs", "minutes", *weights):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be at least 0")
        trains = self.trains or self.starts_trained
        require(trains, "steps", self.steps, "without a checkpoint there must be training")
        share = self.validation_fraction
        require(0 <= share < 1, "validation_fraction", share, "must be from 0 to below 1")
        require(0 <= self.averaging < 1, "averaging", self.averaging, "must be from 0 to below 1")

    @property
    def trains(self) -> bool:
        """Whether there is any training."""
        return self.steps > 0 or self.epochs > 0 or self.minutes > 0

    @property
    def starts_trained(self) -> bool:
        """Whether the network that training starts from is trained already."""
        return False


class NetworkPotential(Potential):
    """A network in torch, trained and evaluated by what all families of networks share."""

    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    bytes_per_edge_of_a_step: ClassVar[float] = 20_000
    """For the estimate of memory: what training keeps of an edge, at the size of the defaults."""

    hypers: Any

    def __init__(self, **hypers: Any):
        super().__init__(**hypers)
        self.network_: Any = None
        self._scales: Any = None
        self._ready_network: Any = None

    # -- what a family provides ------------------------------------------------------------------------

    @abstractmethod
    def _network(self, scales: "Scales") -> "Network":
        """Return a new network for ``hypers`` and ``elements_``, its weights from torch's generator."""

    # -- what follows from it --------------------------------------------------------------------------

    @property
    def fits_stress(self) -> bool:
        """Whether stress has a weight in the fit."""
        return bool(self.hypers.stress_weight > 0)

    @property
    def n_parameters(self) -> int:
        """The number of trained weights that predictions depend on."""
        return int(self.network_.n_parameters)

    @property
    def _cutoff(self) -> float:
        return float(self.hypers.cutoff)

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        import torch

        # Structures are shared among the cores; threads of torch's own in between would wait for each other.
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self._ready_network = None
        structures = self._prepared(structures)
        if self.hypers.trains:
            self._refuse_too_little_memory(structures)
            graphs = self._graphs(structures)
            self._start(structures, graphs)
            self._train(structures, graphs, seed, progress)

    def _prepared(self, structures: Sequence[Atoms]) -> Sequence[Atoms]:
        """Return structures as they are trained on, for families that start from a trained network."""
        return structures

    def _graphs(self, structures: Sequence[Atoms]) -> list["Graphs"]:
        """Return structures with their values; raises :class:`UserError` where no two atoms are near."""
        from mlip_bench.potentials.networks.graphs import labelled_graph

        graphs = [labelled_graph(atoms, self._cutoff) for atoms in structures]
        if not any(len(one.centres) for one in graphs):
            raise UserError(
                f"{self.family}: no two atoms of the data are within the cutoff of {self._cutoff:g} Å"
            )
        return graphs

    def _start(self, structures: Sequence[Atoms], graphs: Sequence["Graphs"]) -> None:
        """Set the network that training starts from."""
        from mlip_bench.potentials.networks.scales import scales_of

        self._scales = scales_of(structures, graphs)
        self.network_ = self._network(self._scales)

    def _train(
        self, structures: Sequence[Atoms], graphs: Sequence["Graphs"], seed: int, progress: Progress
    ) -> None:
        from mlip_bench.potentials.networks.training import Trainer

        held_out = splits.held_out(structures, self.hypers.validation_fraction, seed).tolist()
        n_threads = len(available_cores())
        n_atoms = sum(map(len, structures))
        trainer = Trainer(
            self.network_, graphs, held_out, self._schedule(n_atoms), seed, self.device, n_threads
        )
        trainer.run(self._checkpoint, progress)
        self.notes_ += trainer.notes

    def _schedule(self, n_atoms: int) -> "Schedule":
        """Return how training data of so many atoms is trained on."""
        from mlip_bench.potentials.networks.schedule import Schedule

        hypers = self.hypers
        return Schedule(
            steps=max(hypers.steps, math.ceil(hypers.epochs * n_atoms / hypers.atoms_per_step)),
            minutes=hypers.minutes,
            atoms_per_step=hypers.atoms_per_step,
            learning_rate=hypers.learning_rate,
            huber_delta=hypers.huber_delta,
            energy_weight=hypers.energy_weight,
            late_energy_weight=hypers.late_energy_weight,
            force_weight=hypers.force_weight,
            stress_weight=hypers.stress_weight,
            gradient_weight=getattr(hypers, "gradient_weight", 0.0),
            averaging=hypers.averaging,
        )

    def _refuse_too_little_memory(self, structures: Sequence[Atoms]) -> None:
        """Estimate the graphs of all structures and, on the CPU, what one step of training keeps of messages.

        On a GPU a step that does not fit is taken in parts.
        """
        edges = [expected_edges(atoms, self._cutoff) for atoms in structures]
        needed = BYTES_PER_EDGE * sum(edges)
        if self.device == "cpu":
            per_atom = sum(edges) / sum(map(len, structures))
            of_step = max(self.hypers.atoms_per_step * per_atom, max(edges))
            needed += self._bytes_per_edge_of_a_step() * of_step
        name = self.family
        advice = (
            f"lower {name}.atoms_per_step, {name}.channels or {name}.cutoff, or train on fewer structures"
        )
        refuse_too_much(name, needed, advice)

    def _bytes_per_edge_of_a_step(self) -> float:
        """Return what training keeps of an edge, in bytes."""
        return self.bytes_per_edge_of_a_step

    # -- predicting ------------------------------------------------------------------------------------

    def _stepper(self, stepping: Stepping) -> Callable[[Atoms], Prediction]:
        return self._evaluator(stepping)

    def on(self, device: str) -> Self:
        """Compute on ``cpu`` or ``cuda`` from now on."""
        self._ready_network = None
        return super().on(device)

    def _predict(self, structures: Sequence[Atoms]) -> list[Prediction]:
        return self._evaluator(skin=0.0).batches(structures)

    def _evaluator(self, skin: float | Stepping) -> "Evaluator":
        from mlip_bench.potentials.networks.evaluation import Evaluator, ready

        if self._ready_network is None:
            self._ready_network = ready(self._network_to_predict(), self.device, self.hypers.double_precision)
        return Evaluator(self._ready_network, self._cutoff, skin, self.device, self._number)

    @property
    def _number(self) -> Any:
        import torch

        return torch.float64 if self.hypers.double_precision else torch.float32

    def _network_to_predict(self) -> "Network":
        return self.network_

    # -- files -----------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> None:
        import torch

        state = {name: values.cpu() for name, values in self.network_.state_dict().items()}
        kept = {"hypers": asdict(self.hypers), "scales": asdict(self._scales), "network": state}
        torch.save(kept, folder / FILE)

    def _read(self, folder: Path) -> None:
        import pickle

        import torch

        from mlip_bench.potentials.networks.scales import Scales

        path = folder / FILE
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
            for name, value in asdict(self.hypers).items():
                if kept["hypers"][name] != value:
                    raise ValueError(f"its {name} is {kept['hypers'][name]!r}, not {value!r}")
            self._scales = Scales(**kept["scales"])
            self.network_ = self._network(self._scales)
            self.network_.load_state_dict(kept["network"])
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
        except (OSError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: not a network of {self.family} ({reason})") from error
