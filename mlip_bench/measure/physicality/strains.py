"""The crystal far from its volume, and crystals of its elements that no training data has.

All energies are those of fixed fractional coordinates. The crystal's own energy is the least over volumes
around its own, so that no zero of the energy and no isolated atom enters.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii

from mlip_bench.measure.base import Found, Value
from mlip_bench.measure.physicality.limits import NOT_FINITE
from mlip_bench.measure.physicality.pairs import Pair, name_of
from mlip_bench.potentials.base import Potential

# Lengths of the crystal relative to its own: about a fifth and 2.7 times the volume.
LENGTHS = np.linspace(0.6, 1.4, 41)

# Energies (eV/atom) that differ by less do not fall: near the cutoff little is left of any attraction.
LEVEL = 1e-2

OF_ENERGIES = ("compression_turn", "dilation_turn", "lowest_pressure")

# Lengths, relative to the crystal's own, where its elements are exchanged; and distances of neighbours in an
# element's own crystal, relative to the shortest in training.
EXCHANGED = np.linspace(0.8, 1.4, 31)
NEIGHBOURS = np.linspace(0.85, 1.6, 26)


def scaled(atoms: Atoms, lengths: Sequence[float] | np.ndarray) -> list[Atoms]:
    """Return copies of a structure with all lengths multiplied."""
    found = []
    for length in lengths:
        one = atoms.copy()
        one.set_cell(np.array(atoms.cell) * length, scale_atoms=True)
        found.append(one)
    return found


def compressed(potential: Potential, crystal: Atoms) -> Found:
    """Return what compression and dilation do to a crystal: energies rise, and pressures are positive."""
    predictions = potential.predict(scaled(crystal, LENGTHS))
    energies = np.array([one.energy for one in predictions]) / len(crystal)
    if not potential.predicts_energy or not np.isfinite(energies).all():
        reason = f"{potential.family} predicts no energy"
        if potential.predicts_energy:
            reason = f"the energy of the compressed or dilated crystal is {NOT_FINITE}"
        return Found([Value(metric, np.nan, error=reason) for metric in OF_ENERGIES])
    lowest = _minimum(energies, int(np.argmin(np.abs(LENGTHS - 1))))
    volumes = (LENGTHS / LENGTHS[lowest]) ** 3
    values = [
        Value("compression_turn", _falls(volumes[lowest::-1], energies[lowest::-1])),
        Value("dilation_turn", _falls(volumes[lowest:], energies[lowest:])),
    ]
    curves = {"strain volume": volumes, "strain energy": energies - energies[lowest]}
    if potential.predicts_stress:
        pressures = np.array([-one.stress[:3].mean() for one in predictions]) / units.GPa
        curves["strain pressure"] = pressures
        if lowest > 0:
            values.append(Value("lowest_pressure", float(pressures[:lowest].min())))
        else:
            reason = f"the energy falls down to {volumes[0]:.2f} of the volume"
            values.append(Value("lowest_pressure", np.nan, error=reason))
    else:
        values.append(Value("lowest_pressure", np.nan, error=f"{potential.family} predicts no stress"))
    return Found(values, curves)


def _minimum(energies: np.ndarray, start: int) -> int:
    """Return the place of the minimum that one comes to downhill from a place."""
    while True:
        neighbours = [place for place in (start - 1, start + 1) if 0 <= place < len(energies)]
        best = min(neighbours, key=lambda place: energies[place])
        if not energies[best] < energies[start]:  # NaN is no way down
            return start
        start = best


def _falls(volumes: np.ndarray, energies: np.ndarray) -> float:
    """Return the volume, over that of the minimum, from which energies fall away from it; 0 for never."""
    highest = np.maximum.accumulate(energies)
    below = np.flatnonzero(energies < highest - LEVEL)
    if not len(below):
        return 1.0 if len(energies) == 1 else 0.0
    return float(volumes[np.argmax(energies[: below[0]])])


def crystal_energy(potential: Potential, crystal: Atoms) -> float:
    """Return the energy per atom (eV) of a crystal at the minimum next to its own volume."""
    energies = [one.energy / len(crystal) for one in potential.predict(scaled(crystal, EXCHANGED))]
    lowest = _minimum(np.array(energies), int(np.argmin(np.abs(EXCHANGED - 1))))
    return float(energies[lowest])


def other_compositions(potential: Potential, crystal: Atoms, shortest: Mapping[Pair, float]) -> list[Value]:
    """Return energies of arrangements of the crystal's elements that are far from the data.

    They are the crystal with two elements exchanged, at its best volume, and its atoms as face-centred cubic
    crystals of one element each. Compositions stay as they are.
    """
    symbols = crystal.get_chemical_symbols()
    elements = sorted(set(symbols))
    own = crystal_energy(potential, crystal)
    values = []
    for pair in itertools.combinations(elements, 2):
        other = crystal.copy()
        other.symbols[:] = exchanged(symbols, pair)
        energies = [one.energy / len(other) for one in potential.predict(scaled(other, EXCHANGED))]
        values.append(Value("exchange_energy", min(energies) - own, group=name_of(pair)))
    apart = sum(_element_energy(potential, symbol, shortest) * symbols.count(symbol) for symbol in elements)
    return [*values, Value("decomposition_energy", apart / len(symbols) - own)]


def exchanged(symbols: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Return symbols with as many atoms of two elements exchanged as there are of the rarer one.

    Another composition would bring the zeros of the elements' energies in.
    """
    places = [[place for place, symbol in enumerate(symbols) if symbol == one] for one in pair]
    found = list(symbols)
    for first, second in zip(*places, strict=False):
        found[first], found[second] = pair[1], pair[0]
    return found


def _element_energy(potential: Potential, symbol: str, shortest: Mapping[Pair, float]) -> float:
    """Return the least energy per atom (eV) of a face-centred cubic crystal of one element."""
    nearest = shortest.get((symbol, symbol), 2 * covalent_radii[atomic_numbers[symbol]])
    crystals = [bulk(symbol, "fcc", a=np.sqrt(2) * nearest * ratio) for ratio in NEIGHBOURS]
    return min(one.energy for one in potential.predict(crystals))
