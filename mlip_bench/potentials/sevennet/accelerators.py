"""Packages that compute sevenn's convolutions on a GPU in place of e3nn; one of them at a time."""

import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlip_bench.errors import UserError
from mlip_bench.potentials.sevennet import backbone
from mlip_bench.potentials.sevennet.package import (
    AtomGraphSequential,
    is_cue_available,
    is_flash_available,
    is_oeq_available,
    load_checkpoint,
)


@dataclass(frozen=True)
class Accelerator:
    """One package: the switch of sevenn that turns it on, whether it works here, and how to get it."""

    switch: str
    is_available: Callable[[], bool]
    install: str


ACCELERATORS = {
    "cuequivariance": Accelerator("enable_cueq", is_cue_available, "pip install 'sevenn[cueq12]'"),
    "flashtp": Accelerator("enable_flash", is_flash_available, "build SNU-ARC/flashTP"),
    "openequivariance": Accelerator("enable_oeq", is_oeq_available, "pip install 'sevenn[oeq]'"),
}


def refuse_missing(name: str) -> None:
    """Raise :class:`UserError` where an accelerator is asked for that does not work here."""
    if name and not ACCELERATORS[name].is_available():
        raise UserError(
            f"{name} is not there, or finds no GPU: {ACCELERATORS[name].install}, or leave accelerator empty"
        )


def accelerated(name: str, config: dict[str, Any], model: AtomGraphSequential) -> AtomGraphSequential:
    """Return the same network with its convolutions by an accelerator, for prediction on a GPU.

    sevenn converts a checkpoint; modules that it does not know (heads), and those from the features to the
    energy, which may be ours, are put back in their places.
    """
    own = OrderedDict(model.named_children())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pth"
        backbone.write(path, config, backbone.plain(config, model), shifts={})
        made = load_checkpoint(str(path)).build_model(**{ACCELERATORS[name].switch: True})
    theirs = OrderedDict(made.named_children())
    modules = OrderedDict(
        (key, module if key.startswith("reduce_") else theirs.get(key, module)) for key, module in own.items()
    )
    rebuilt = AtomGraphSequential(
        modules, cutoff=model.cutoff, type_map=model.type_map, data_key_grad=model.key_grad
    )
    rebuilt.set_is_batch_data(True)
    return rebuilt.eval()
