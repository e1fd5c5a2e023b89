"""Samples of more structures than memory should hold: blocks of them, kept in a temporary file.

The derivatives of the symmetry functions take some 30 kB per atom. Up to ``IN_MEMORY`` bytes of them are one
block that stays in memory; more are cut into blocks of structures drawn at random, written once, and read one
after the other, so that memory does not grow with the data. Structures held out have blocks of their own.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np

from mlip_bench.errors import UserError
from mlip_bench.potentials.nnp.samples import Samples

# Bytes of derivatives: of the data that is kept in memory, and of one block of what is not.
IN_MEMORY = 768 * 2**20
PER_BLOCK = 192 * 2**20


class Stored(Sequence[Samples]):
    """Blocks of samples in a temporary file; each is read when it is asked for, until ``close``.

    The file lies in the folder for temporary files; in a study that is the folder of the task.
    """

    def __init__(self, blocks: Iterator[Samples], needed_bytes: int, device: str):
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if needed_bytes > free:
            raise UserError(
                f"nnp: derivatives of the symmetry functions take {needed_bytes / 1e9:.3g} GB on disk, and "
                f"{folder} has {free / 1e9:.3g} GB free; fewer structures or functions take less"
            )
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by close()
        self._device = device
        self._starts: list[int] = []
        try:
            for block in blocks:
                self._starts.append(self._file.tell())
                for one in fields(block):
                    np.save(self._file, getattr(block, one.name))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Samples:  # type: ignore[override]  # no slices
        self._file.seek(self._starts[index])
        block = Samples(**{one.name: np.load(self._file) for one in fields(Samples)})
        return block if self._device == "cpu" else block.on_torch(self._device)


def cut(sizes: Sequence[int], held_out: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the structures of each block, and which of them are held out.

    ``sizes`` are the bytes of derivatives of each structure, ``held_out`` indices of structures.
    """
    everything = np.arange(len(sizes))
    is_held_out = np.isin(everything, held_out)
    if sum(sizes) <= IN_MEMORY:
        return [(everything, is_held_out)]
    generator = np.random.default_rng([seed, 2])
    blocks = []
    for part in (everything[~is_held_out], everything[is_held_out]):
        shuffled = generator.permutation(part)
        total = np.cumsum([sizes[index] for index in shuffled])
        places = (total - 1) // PER_BLOCK if len(part) else total
        blocks += [np.sort(shuffled[places == place]) for place in np.unique(places)]
    return [(block, is_held_out[block]) for block in blocks]
