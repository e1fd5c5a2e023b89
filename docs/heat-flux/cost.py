"""What the heat flux costs beside a force call, one core: local families, SevenNet of 1 to 5 layers, 7net-0.

    python docs/heat-flux/cost.py [--repeats 5] [--quick]

One line of JSON per potential and number of atoms: seconds of a force call (energy, forces, stress as in
dynamics), and times of a force call that (a) forces and flux, (b) forces and its derivative by all velocities
take together. The three are timed in turn, and the least of the repeats counts. Last, forces and flux of a
network of 3 layers in double precision beside the unfolded form (``mlip_bench.testing.oracles``) in a
cell of 216 atoms. Weights do not matter for time: networks are trained for one step on four structures, local
families are fitted to the embedded set by their presets ``quick``.
"""

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mlip_bench.data import records
from mlip_bench.potentials import Potential, family, presets
from mlip_bench.potentials.networks.evaluation import ready
from mlip_bench.potentials.sevennet import SevenNet
from mlip_bench.testing.networks import energies_by
from mlip_bench.testing.oracles import unfold, unfolded_heat_flux

CELLS = {256: (4, 4, 8), 2000: (10, 10, 10)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="256 atoms only, and nothing unfolded")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [256] if arguments.quick else [256, 2000]
    for name, potential in itertools.chain(local(), networks()):
        for n_atoms in sizes:
            print(json.dumps({"potential": name, **cost(potential, n_atoms, arguments.repeats)}), flush=True)
    if not arguments.quick:
        print(json.dumps(unfolded()), flush=True)


def local() -> Iterator[tuple[str, Potential]]:
    """Yield potentials whose energies depend on the edges of their own atoms alone."""
    data = records.load("embedded", "Mo")
    for name in ("snap", "qsnap", "mtp", "nnp", "gap"):
        yield name, family(name)(**presets.hypers(name, "quick", "Mo")).fit(data.train)


def networks() -> Iterator[tuple[str, SevenNet]]:
    """Yield networks with the default hyper-parameters but for layers, and the published one."""
    for layers in range(1, 6):
        yield f"{layers} layers, 16 channels, lmax 1, 4.5 Å", fitted(layers=layers)
    yield "7net-0", SevenNet.from_native(Path("7net-0"))


def fitted(element: str = "Mo", **hypers: object) -> SevenNet:
    """Return a network that has seen four structures once."""
    generator = np.random.default_rng(0)
    structures = []
    for _ in range(4):
        atoms = bulk(element, cubic=True).repeat(2)
        atoms.rattle(0.1, rng=generator)
        forces = generator.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-10.0 * len(atoms), forces=forces)
        structures.append(atoms)
    return SevenNet(steps=1, **hypers).fit(structures)


def moving(atoms: Atoms) -> tuple[Atoms, np.ndarray]:
    """Return a structure off its lattice, and velocities (Å/fs)."""
    generator = np.random.default_rng(0)
    atoms.rattle(0.05, rng=generator)
    return atoms, generator.normal(scale=0.003, size=(len(atoms), 3))


def cost(potential: Potential, n_atoms: int, repeats: int) -> dict[str, float]:
    """Time a force call, forces with flux, and forces with the flux's derivative by velocities."""
    atoms, velocities = moving(bulk("Mo", cubic=True).repeat(CELLS[n_atoms]))
    force_call, stepper = potential.calculator(), potential.flux_stepper()
    calls: tuple[Callable[[], object], ...] = (
        lambda: force_call.calculate(atoms),
        lambda: (stepper.predict(atoms), stepper.potential_flux(velocities)),
        lambda: (stepper.predict(atoms), stepper.flux_by_velocities()),
    )
    torch.set_num_threads(1)  # a fit takes all cores
    alone, with_flux, with_derivative = times(calls, repeats)
    return {
        "n_atoms": n_atoms,
        "force_call_s": alone,
        "with_flux": with_flux / alone,
        "with_flux_by_velocities": with_derivative / alone,
    }


def times(calls: tuple[Callable[[], object], ...], repeats: int) -> list[float]:
    """Return the least time (s of this process) of each of some calls, made in turn."""
    for call in calls:
        call()  # compiles, and builds neighbour lists
    least = [np.inf] * len(calls)
    for _ in range(repeats):
        for index, call in enumerate(calls):
            started = time.process_time()
            call()
            least[index] = min(least[index], time.process_time() - started)
    return least


def unfolded() -> dict[str, object]:
    """Time a network of 3 layers in double precision, in 216 atoms: graph flow, and the unfolded form."""
    potential = fitted("Si", layers=3, double_precision=True)
    atoms, velocities = moving(bulk("Si", cubic=True).repeat(3))
    force_call, stepper = potential.calculator(), potential.flux_stepper()
    energies_of = energies_by(ready(potential.network_, "cpu", double_precision=True).model)
    cutoff = potential.hypers.cutoff
    results: dict[str, np.ndarray] = {}

    def graph_flow() -> None:
        stepper.predict(atoms)
        results["graph flow"] = stepper.potential_flux(velocities)

    def by_unfolding() -> None:
        results["unfolded"] = unfolded_heat_flux(energies_of, atoms, velocities, cutoff, layers=3)

    torch.set_num_threads(1)
    alone, with_flux, alone_unfolded = times(
        (lambda: force_call.calculate(atoms), graph_flow, by_unfolding), repeats=3
    )
    difference = np.abs(results["graph flow"] - results["unfolded"]).max()
    return {
        "potential": "3 layers, 16 channels, lmax 1, 4.5 Å, double precision",
        "n_atoms": len(atoms),
        "n_unfolded": len(unfold(atoms, 3 * cutoff).of),
        "force_call_s": alone,
        "with_flux": with_flux / alone,
        "unfolded_flux_alone": alone_unfolded / alone,
        "relative_difference": difference / np.abs(results["unfolded"]).max(),
    }


if __name__ == "__main__":
    main()
