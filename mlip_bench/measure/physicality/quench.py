"""Random starts that come to rest: a potential with a hole in it lets atoms fall together.

Atoms of the crystal's composition are put at random into a cubic box of the crystal's volume per atom, none
nearer to another than a share of the shortest distance in training, and brought to rest by FIRE (E. Bitzek et
al., Phys. Rev. Lett. 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers, covalent_radii
from ase.optimize import FIRE
from matscipy.neighbours import neighbour_list

from mlip_bench.errors import NotFinite
from mlip_bench.measure.base import Value
from mlip_bench.measure.physicality.limits import NOT_FINITE
from mlip_bench.measure.physicality.pairs import Pair, pairs_of
from mlip_bench.potentials.base import Potential, PotentialCalculator

# The box has at least so many atoms.
N_ATOMS = 32

# Atoms begin no nearer than this share of the shortest distance in training.
START = 0.9

# As many places are tried for an atom before the box begins anew with less room between atoms.
TRIES = 2000
LESS_ROOM = 0.95

# Steps to rest, the force (eV/Å) that is rest, and the longest step (Å).
MOST_STEPS = 150
REST = 0.05
LONGEST_STEP = 0.1

# Atoms are looked for within so many of the shortest distances in training.
FARTHEST_RATIO = 2.0

# The same for all potentials, whatever their seed.
SEED = 0


def random_start(crystal: Atoms, nearest: Mapping[Pair, float], seed: int) -> Atoms:
    """Return atoms at random in a cubic box, as dense as the crystal and of its composition.

    ``nearest`` has the distance (Å) of each pair of elements that none of them begins within.
    """
    n_cells = -(-N_ATOMS // len(crystal))
    numbers = np.tile(crystal.numbers, n_cells)
    length = (crystal.get_volume() * n_cells) ** (1 / 3)
    generator = np.random.default_rng(seed)
    box = Atoms(cell=[length] * 3, pbc=True)
    symbols = Atoms(numbers).get_chemical_symbols()
    room = 1.0
    while len(box) < len(numbers):
        box = Atoms(cell=[length] * 3, pbc=True)
        for symbol in symbols:
            limits = np.array(
                [nearest.get((min(symbol, other), max(symbol, other)), 0.0) for other in box.symbols]
            )
            for place in length * generator.random((TRIES, 3)):
                away = box.positions - place
                away -= length * np.round(away / length)
                if (np.linalg.norm(away, axis=1) >= room * limits).all():
                    box += Atoms(symbol, positions=[place])
                    break
            else:
                room *= LESS_ROOM
                break
    return box


def quenched(
    potential: Potential,
    crystal: Atoms,
    crystal_energy: float,
    shortest: Mapping[Pair, float],
    n_starts: int,
) -> list[Value]:
    """Return the worst of several random starts: nearest atoms, and the energy above the crystal's.

    Where one ends in what is not finite, nearest atoms are an error, and the energy is that of the others.
    """
    ratios, energies, failed = [], [], None
    for start in range(n_starts):
        atoms = random_start(crystal, _room(crystal, shortest), SEED + start)
        atoms.calc = _calculator(potential)
        try:
            FIRE(atoms, logfile=None, maxstep=LONGEST_STEP).run(fmax=REST, steps=MOST_STEPS)
        except NotFinite as failure:
            failed = f"a random start ends where the prediction is {NOT_FINITE}: {failure}"
            continue
        ratios.append(nearest_ratio(atoms, shortest))
        if potential.predicts_energy:
            energies.append(atoms.get_potential_energy() / len(atoms) - crystal_energy)
    nearest = Value("quench_distance", np.nan if failed else min(ratios), error=failed)
    if energies:
        return [nearest, Value("quench_energy", min(energies))]
    reason = f"{potential.family} predicts no energy" if not potential.predicts_energy else failed
    return [nearest, Value("quench_energy", np.nan, error=reason)]


def _room(crystal: Atoms, shortest: Mapping[Pair, float]) -> dict[Pair, float]:
    """Return how far from each other (Å) atoms begin; those never near in training by their radii."""
    pairs = pairs_of(sorted(set(crystal.get_chemical_symbols())))
    return {pair: START * shortest.get(pair, _bond_length(pair)) for pair in pairs}


def _bond_length(pair: Pair) -> float:
    """Return the sum of the covalent radii (Å) of two elements."""
    return float(sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair))


def _calculator(potential: Potential) -> Calculator:
    """Return a calculator that FIRE can ask for an energy, which it does only to print it."""
    if potential.predicts_energy:
        return potential.calculator()
    predicted = frozenset({"energy", "forces"})
    return PotentialCalculator(
        lambda atoms: dataclasses.replace(potential.predict([atoms])[0], energy=0.0), predicted
    )


def nearest_ratio(atoms: Atoms, shortest: Mapping[Pair, float]) -> float:
    """Return the least distance of two atoms over what is near for their elements; 2 at most.

    That is the shortest distance in training, or the sum of covalent radii where that is less.
    """
    first, second, distances = neighbour_list("ijd", atoms, FARTHEST_RATIO * max(shortest.values()))
    symbols = np.array(atoms.get_chemical_symbols())
    least = FARTHEST_RATIO
    for pair in pairs_of(sorted(set(atoms.get_chemical_symbols()))):
        own = distances[(symbols[first] == pair[0]) & (symbols[second] == pair[1])]
        if len(own) and pair in shortest:
            least = min(least, float(own.min()) / min(shortest[pair], _bond_length(pair)))
    return least
