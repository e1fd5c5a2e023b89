"""Symmetry functions with and without all their derivatives, as a count and by the clock.

    python docs/direct-vs-conservative/features.py Mo lips/train.extxyz argyrodite/600K.extxyz

One core. Functions are those that ``nnp`` and ``nnff`` take: of Mo those of the preset ``standard``, else 24
of each element. A gradient needs three numbers of each function for each neighbour, and three for the atom
itself; the clock compares the kernel that a fit of ``nnp`` uses with the same without derivatives, in turn.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np

from mlip_bench.data import records, reference
from mlip_bench.data.files import read_structures
from mlip_bench.potentials import family, presets
from mlip_bench.potentials.symmetry_functions import choice
from mlip_bench.potentials.symmetry_functions.descriptors import descriptors
from mlip_bench.potentials.symmetry_functions.geometry import Neighbourhood, tables

N_LEARNT, N_TIMED, TURNS, N_FUNCTIONS = 20, 6, 7, 24


def layout(name, structures):
    """Return the functions that are taken for structures, as the kernels read them."""
    given = (
        presets.hypers("nnp", "standard", name) if not Path(name).exists() else {"n_functions": N_FUNCTIONS}
    )
    hypers = family("nnp")(**given).hypers
    elements = reference.elements(structures)
    wanted = choice.wanted(hypers, elements, structures)
    chosen = choice.informative(wanted, elements, structures, hypers.least_range, hypers.n_functions)
    return tables(chosen.functions, elements)


def seconds(work, structures):
    """Return the time of one pass over structures, by the processor."""
    begun = time.process_time()
    for atoms in structures:
        work(atoms)
    return time.process_time() - begun


def ratio(structures, functions):
    """Return the times with over those without derivatives, in turn, the neighbour lists taken off both."""

    def lists(atoms):
        Neighbourhood(functions.elements, functions.cutoff, wide=functions.wide).update(atoms)

    with_all = partial(descriptors, tables=functions, derive=True)
    values = partial(descriptors, tables=functions, derive=False)
    for work in (lists, with_all, values):
        work(structures[0])  # compiles
    found = []
    for _ in range(TURNS):
        listed = seconds(lists, structures)
        found.append((seconds(with_all, structures) - listed) / (seconds(values, structures) - listed))
    return found


def main() -> None:
    """Print a row of each data set."""
    print("| data | atoms | neighbours | functions | numbers of a gradient | time with / without |")
    print("|---|---|---|---|---|---|")
    for name in sys.argv[1:]:
        path = Path(name)
        every = read_structures(path).structures if path.exists() else records.load("mlearn", name).train
        structures = every[:: max(1, len(every) // N_LEARNT)][:N_LEARNT]
        functions = layout(name, structures)
        timed = structures[:N_TIMED]
        neighbours = np.mean([len(descriptors(one, functions).neighbours) / len(one) for one in timed])
        ratios = ratio(timed, functions)
        sizes = ", ".join(map(str, functions.n_inputs))
        print(
            f"| {path.name} | {len(timed[0])} | {neighbours:.0f} | {sizes} | {3 * (1 + neighbours):.0f} | "
            f"{np.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) |"
        )


if __name__ == "__main__":
    main()
