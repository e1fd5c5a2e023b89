"""LEIGNN as a family: direct forces, or forces that are the gradient of the energy (``network``)."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mlip_bench.errors import UserError
from mlip_bench.potentials.base import require
from mlip_bench.potentials.heat_flux import FluxStepper
from mlip_bench.potentials.networks.potential import NetworkPotential, TrainingHypers
from mlip_bench.potentials.stepping import Stepping

if TYPE_CHECKING:
    from mlip_bench.potentials.leignn.shape import Shape
    from mlip_bench.potentials.networks.network import Network
    from mlip_bench.potentials.networks.scales import Scales

UPDATES = ("nmu", "painn")

# For the estimate of memory: numbers of single precision that training keeps for an edge, a channel and a
# layer: weights of three blocks, and where forces are trained as gradients their derivatives.
NUMBERS_PER_CHANNEL = 24


class LEIGNNGradient(NetworkPotential):
    """Scalars and vectors, and a global node; forces and stress are the gradient of the energy."""

    family: ClassVar[str] = "leignn-gradient"
    revision: ClassVar[int] = 3
    packages: ClassVar[tuple[str, ...]] = ("ase", "llvmlite", "matscipy", "numba", "numpy", "scipy", "torch")
    look: ClassVar[tuple[str, str] | None] = ("#E377C2", "h")
    exemptions: ClassVar[dict[str, str]] = dict.fromkeys(
        (
            "flux_stepper_predicts_the_same",
            "flux_moves_the_energy",
            "flux_rotates",
            "flux_ignores_numbering_and_faces",
            "flux_is_extensive",
            "flux_is_linear_in_velocities",
            "flux_of_one_atom",
            "flux_is_refused",
        ),
        "energies of atoms depend on all atoms of the cell by the global node: there is no heat flux",
    )

    @dataclass(frozen=True)
    class Hypers(TrainingHypers):
        """Hyper-parameters of LEIGNN: the network, and those of every training."""

        channels: int = 64
        """Scalars and vectors of each atom; 512 in the public implementation."""
        layers: int = 4
        """Layers of messages."""
        radial: int = 32
        """Gaussians of a distance that messages are linear in; the public implementation has 128."""
        update: str = "nmu"
        """How atoms combine their scalars and vectors: as in LEIGNN ("nmu") or in PaiNN ("painn")."""
        global_node: bool = True
        """Let all atoms of a structure exchange scalars and vectors with a node that has their means. An
        energy is then extensive for equal cells side by side, not for unlike parts far from each other."""
        learning_rate: float = 0.003
        """Largest learning rate of Adam."""

        def __post_init__(self) -> None:
            super().__post_init__()
            for name in ("channels", "layers"):
                require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
            require(self.radial >= 2, "radial", self.radial, "must be at least 2")
            known = self.update in UPDATES
            require(known, "update", self.update, "must be one of " + ", ".join(UPDATES))

    def _network(self, scales: "Scales") -> "Network":
        from mlip_bench.potentials.leignn.network import GradientLEIGNN

        return GradientLEIGNN(self._shape, scales)

    @property
    def _shape(self) -> "Shape":
        from mlip_bench.potentials.leignn.shape import Shape

        hypers = self.hypers
        return Shape(
            hypers.cutoff, hypers.channels, hypers.layers, hypers.radial, hypers.update, hypers.global_node
        )

    @property
    def reach(self) -> float:
        """The cutoff (Å) times the layers; infinite with a global node."""
        hypers = self.hypers
        return math.inf if hypers.global_node else float(hypers.cutoff * hypers.layers)

    def _bytes_per_edge_of_a_step(self) -> float:
        return float(4 * NUMBERS_PER_CHANNEL * self.hypers.channels * self.hypers.layers)

    def flux_stepper(self, stepping: Stepping | None = None) -> FluxStepper:
        """Refuse a heat flux: with a global node it has none, without one it is not built."""
        if not self.conservative:
            return super().flux_stepper(stepping)
        self._refuse_unfitted()
        if self.hypers.global_node:
            raise UserError(
                f"{self.family} has a global node: the energy of each atom depends on all atoms of the cell, "
                "however far, so energy does not flow along edges and there is no heat flux"
            )
        raise UserError(f"{self.family} passes messages, and no heat flux of its layers is implemented")


class LEIGNN(LEIGNNGradient):
    """LEIGNN as published, with direct heads for forces, and for stress; not conservative."""

    family: ClassVar[str] = "leignn"
    revision: ClassVar[int] = 3
    look: ClassVar[tuple[str, str] | None] = ("#8C564B", "p")
    conservative: ClassVar[bool] = False
    exemptions: ClassVar[dict[str, str]] = {
        "forces_are_gradient": "forces come from a head of their own, not from the energy",
        "stress_is_strain_derivative": "stress comes from a head of its own, not from the energy",
    }

    @dataclass(frozen=True)
    class Hypers(LEIGNNGradient.Hypers):
        """Hyper-parameters of LEIGNN, and how its heads behave."""

        stress_weight: float = 0.01
        """Weight of the loss of the stress components, which are in kbar."""
        remove_net_force: bool = True
        """Take the mean off the forces of each structure, which no head does by itself."""

    def _network(self, scales: "Scales") -> "Network":
        from mlip_bench.potentials.leignn.network import DirectLEIGNN

        return DirectLEIGNN(self._shape, scales, self.hypers.remove_net_force)
