"""Predictions by a trained network: of one structure after the other, or of many at once."""

import ctypes
import platform
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from mlip_bench.errors import UserError
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.networks.graphs import Graphs, graph_of, joined
from mlip_bench.potentials.networks.network import Network
from mlip_bench.potentials.prediction import Prediction
from mlip_bench.potentials.stepping import Stepping

# Of mallopt, in glibc's malloc.h.
TRIM_THRESHOLD, MMAP_MAX = -1, -4

ATOMS_PER_BATCH = 500
"""Atoms predicted at once: enough to fill the cores, little enough for a laptop's memory."""


def ready(network: Network, device: str, double_precision: bool) -> Network:
    """Return a network as it predicts fastest on a device."""
    network.to(device=device, dtype=torch.float64 if double_precision else torch.float32)
    if device == "cpu":
        keep_freed_memory()
    return network.ready()


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its next step.

    torch frees arrays of all edges in every step, glibc hands them back to the system, and getting them anew
    is a page fault per 4 KiB: a third of a step of 11664 atoms, and nothing at 2000.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, -1)


class Evaluator:
    """A network that is ``ready``, with a neighbour list that is kept while the skin allows."""

    def __init__(
        self, network: Network, cutoff: float, skin: float | Stepping, device: str, number: torch.dtype
    ):
        self._network, self._cutoff = network, cutoff
        self._device, self._number = device, number
        self._edges = Edges([], cutoff, skin)

    def graph(self, atoms: Atoms) -> Graphs:
        """Return what the network takes of one structure."""
        return graph_of(atoms, self._edges, self._cutoff).to(self._device, self._number)

    def __call__(self, atoms: Atoms) -> Prediction:
        """Predict one structure."""
        return self._predictions([atoms], self.graph(atoms))[0]

    def batches(self, structures: Sequence[Atoms]) -> list[Prediction]:
        """Predict any number of structures, some hundred atoms at once."""
        found: list[Prediction] = []
        batch: list[Atoms] = []
        for atoms in structures:
            if batch and sum(map(len, batch)) + len(atoms) > ATOMS_PER_BATCH:
                found += self.batch(batch)
                batch = []
            batch.append(atoms)
        return found + self.batch(batch)

    def batch(self, structures: Sequence[Atoms]) -> list[Prediction]:
        """Predict many structures at once, or by halves where the GPU's memory is too small."""
        try:
            return self._predictions(structures, joined([self.graph(atoms) for atoms in structures]))
        except torch.OutOfMemoryError as error:
            if len(structures) == 1:
                raise UserError(
                    f"the memory of {self._device} is too small for {structures[0].symbols}: {error}"
                ) from error
            half = len(structures) // 2
            message = f"GPU memory is full: {half} structures are predicted at once instead of {2 * half}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            torch.cuda.empty_cache()
        return self.batch(structures[:half]) + self.batch(structures[half:])

    def _predictions(self, structures: Sequence[Atoms], graphs: Graphs) -> list[Prediction]:
        with torch.no_grad():  # networks whose forces are a gradient turn it on for themselves
            output = self._network(graphs)
        energies, forces, stresses = (
            values.detach().cpu().double().numpy()
            for values in (output.energies, output.forces, output.stresses)
        )
        starts = np.cumsum([len(atoms) for atoms in structures])[:-1]
        parts = zip(structures, np.split(energies, starts), np.split(forces, starts), stresses, strict=True)
        return [
            Prediction(
                # In double precision, whatever the network computes in.
                float(of_atoms.sum()),
                force,
                stress if atoms.cell.rank == 3 else np.full(6, np.nan),
                energies=of_atoms,
            )
            for atoms, of_atoms, force, stress in parts
        ]
