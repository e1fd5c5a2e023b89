"""SevenNet-dFS: the backbone of SevenNet with heads that give forces and stress directly (``heads``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ase import Atoms

from mlip_bench.potentials.base import require
from mlip_bench.potentials.sevennet.model import FILE, SevenNet


class SevenNetDirect(SevenNet):
    """SevenNet with direct heads for forces and stress; not conservative."""

    family: ClassVar[str] = "sevennet-dfs"
    conservative: ClassVar[bool] = False
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

        def __post_init__(self) -> None:
            super().__post_init__()
            require(self.lmax >= 2, "lmax", self.lmax, "must be at least 2 for the stress head")
            require(
                not self.checkpoint, "checkpoint", self.checkpoint, "sevennet-dfs starts from random weights"
            )

    hypers: Hypers

    def _start(self, structures: Sequence[Atoms]) -> None:
        from mlip_bench.potentials.sevennet import heads
        from mlip_bench.potentials.sevennet.package import keys

        super()._start(structures)
        # All layers keep their tensors, also the last, from which the heads read.
        hidden = " + ".join(f"{self.hypers.channels}x{degree}e" for degree in range(self.hypers.lmax + 1))
        first = f"{self.hypers.channels}x0e"
        self.config_ |= {
            keys.IRREPS_MANUAL: [first, *[hidden] * self.hypers.layers],
            heads.HEADS: {
                "scales": vars(heads.scales(structures)),
                "remove_net_force": self.hypers.remove_net_force,
            },
        }
        self.model_ = heads.with_heads(self.config_)

    def _read(self, folder: Path) -> None:
        from mlip_bench.potentials.sevennet import heads

        self.config_, self.model_ = heads.read(folder / FILE)
