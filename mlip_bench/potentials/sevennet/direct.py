"""SevenNet-dFS: the backbone of SevenNet with heads that give forces and stress directly (``heads``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase import Atoms

from mlip_bench.potentials.base import Progress, require
from mlip_bench.potentials.sevennet.model import FILE, SevenNet

if TYPE_CHECKING:
    from mlip_bench.potentials.networks.graphs import Graphs


class SevenNetDirect(SevenNet):
    """SevenNet with direct heads for forces and stress; not conservative."""

    family: ClassVar[str] = "sevennet-dfs"
    revision: ClassVar[int] = 4
    look: ClassVar[tuple[str, str] | None] = ("#E69F00", "X")
    conservative: ClassVar[bool] = False
    counterpart: ClassVar[str] = "sevennet"
    native_suffix: ClassVar[str] = ""
    exemptions: ClassVar[dict[str, str]] = {
        "forces_are_gradient": "forces come from a head of their own, not from the energy",
        "stress_is_strain_derivative": "stress comes from a head of its own, not from the energy",
    }

    @dataclass(frozen=True)
    class Hypers(SevenNet.Hypers):
        """Hyper-parameters of SevenNet-dFS: those of SevenNet, and how the heads behave."""

        lmax: int = 2
        """Largest degree of the tensors; stress needs 2."""
        remove_net_force: bool = True
        """Take the mean off the forces of each structure, which no head does by itself."""
        gradient_weight: float = 0.0
        """Weight of the loss of the energy's gradient, which only training takes: errors are smaller with it,
        of energies most, and a step takes two to three times as long."""
        frozen_backbone: bool = False
        """Starting from a checkpoint, train the last layer and the heads only."""

        def __post_init__(self) -> None:
            super().__post_init__()
            require(self.lmax >= 2, "lmax", self.lmax, "must be at least 2 for the stress head")
            require(self.trains, "steps", self.steps, "heads must be trained")
            weight = self.gradient_weight
            require(weight >= 0, "gradient_weight", weight, "must be at least 0")
            starts = bool(self.checkpoint) or not self.frozen_backbone
            require(starts, "frozen_backbone", self.frozen_backbone, "needs a checkpoint to start from")

    hypers: Hypers

    @property
    def reach(self) -> float:
        """The cutoff (Å) times the layers of messages; one that the heads leave out is none."""
        from mlip_bench.potentials.sevennet.heads import HEADS

        spare = int(self.config_[HEADS].get("spare_layer", 0)) if self.config_ else 0
        return super().reach - spare * self._cutoff

    def _start(self, structures: Sequence[Atoms], graphs: Sequence["Graphs"]) -> None:
        from mlip_bench.potentials.networks.scales import scales_of
        from mlip_bench.potentials.sevennet import heads
        from mlip_bench.potentials.sevennet.network import SevenNetwork

        super()._start(structures, graphs)
        hypers, scales = self.hypers, scales_of(structures, graphs)
        self.config_ = heads.configuration(
            self.config_, heads.in_sevenns_sign(scales), hypers.remove_net_force, hypers.checkpoint
        )
        model = heads.with_heads(self.config_, gradient=hypers.gradient_weight > 0)
        if hypers.checkpoint:
            heads.take_over(model, self.model_, hypers.frozen_backbone)
        self.network_ = SevenNetwork(model)

    def _fit(self, structures: Sequence[Atoms], seed: int, progress: Progress) -> None:
        from mlip_bench.potentials.sevennet import heads
        from mlip_bench.potentials.sevennet.network import SevenNetwork

        super()._fit(structures, seed, progress)
        # All weights are the potential's own parameters again, also those that were frozen.
        model = heads.with_heads(self.config_)
        model.load_state_dict(self.model_.state_dict())
        self.network_ = SevenNetwork(model)

    def _read(self, folder: Path) -> None:
        from mlip_bench.potentials.sevennet import heads
        from mlip_bench.potentials.sevennet.network import SevenNetwork

        self.config_, model = heads.read(folder / FILE, self.trusted)
        self.network_ = SevenNetwork(model)
        self.zero_ = np.zeros(len(self.elements_))
        self._take_shift()
