"""Energy, forces and stress by a trained network: of one structure after the other, or of many at once."""

import ctypes
import platform
import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Prediction
from mlip_bench.potentials.edges import Edges
from mlip_bench.potentials.sevennet import backbone, convolution
from mlip_bench.potentials.sevennet.package import AtomGraphSequential, DataLoader, keys, torch

# Of mallopt, in glibc's malloc.h.
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def ready(model: AtomGraphSequential, device: str, double_precision: bool) -> AtomGraphSequential:
    """Return a network as it predicts fastest: on a CPU with tables of weights."""
    model.to(device=device, dtype=torch.float64 if double_precision else torch.float32).eval()
    model.set_is_batch_data(True)
    if device == "cuda":
        return model
    keep_freed_memory()
    return convolution.tabulated(model)


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

    def __init__(self, model: AtomGraphSequential, elements: Sequence[str], conservative: bool, skin: float):
        weights = next(model.parameters())
        self._device, self._number = weights.device, weights.dtype
        self._model, self._conservative, self._cutoff = model, conservative, float(model.cutoff)
        self._edges = Edges(elements, self._cutoff, skin)

    def __call__(self, atoms: Atoms) -> Prediction:
        """Predict one structure."""
        return self._predictions([atoms], self.data(atoms))[0]

    def data(self, atoms: Atoms) -> dict[str, torch.Tensor]:
        """Return what the network takes of one structure."""
        vectors = self._edges.update(atoms)
        inside = np.flatnonzero((vectors**2).sum(1) < self._cutoff**2)
        pairs = np.stack([self._edges.centres[inside], self._edges.neighbours[inside]])
        numbers = torch.from_numpy(atoms.numbers.astype(np.int64))
        data = {
            keys.NODE_FEATURE: numbers,
            keys.ATOMIC_NUMBERS: numbers,
            keys.EDGE_IDX: torch.from_numpy(pairs),
            keys.EDGE_VEC: torch.from_numpy(vectors[inside]).to(self._number),
            keys.CELL_VOLUME: torch.tensor([atoms.cell.volume], dtype=self._number),
            keys.NUM_ATOMS: torch.tensor([len(atoms)]),
            keys.BATCH: torch.zeros(len(atoms), dtype=torch.int64),
        }
        return {name: value.to(self._device) for name, value in data.items()}

    def batch(self, structures: Sequence[Atoms]) -> list[Prediction]:
        """Predict many structures at once, or by halves where the GPU's memory is too small."""
        try:
            return self._batch(structures)
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

    def _batch(self, structures: Sequence[Atoms]) -> list[Prediction]:
        graphs = [backbone.graph(atoms, self._cutoff, self._number) for atoms in structures]
        (batch,) = DataLoader(graphs, len(graphs))
        return self._predictions(structures, batch.to(self._device))

    def _predictions(self, structures: Sequence[Atoms], data: dict[str, torch.Tensor]) -> list[Prediction]:
        with torch.enable_grad() if self._conservative else torch.inference_mode():
            output = self._model(data)
        sizes = [len(atoms) for atoms in structures]
        # In double precision, which sevenn's own sum of the atoms is not.
        of_atoms = output[keys.ATOMIC_ENERGY].detach().cpu().double().reshape(-1).numpy()
        # Without a single edge there is nothing to differentiate by, and sevenn leaves the forces out.
        forces, stress = np.zeros((sum(sizes), 3)), np.zeros((len(sizes), 6))
        if keys.PRED_FORCE in output:
            forces = output[keys.PRED_FORCE].detach().cpu().double().numpy()
            stress = output[keys.PRED_STRESS].detach().cpu().double().numpy()
        starts = np.cumsum(sizes)[:-1]
        parts = zip(structures, np.split(of_atoms, starts), np.split(forces, starts), stress, strict=True)
        return [
            Prediction(
                float(energies.sum()),
                force,
                backbone.stress_to_ase(tensor) if atoms.cell.rank == 3 else np.full(6, np.nan),
                energies=energies,
            )
            for atoms, energies, force, tensor in parts
        ]
