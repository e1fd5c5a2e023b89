"""Equation of state: energy over volume, and the energies of other structures of the element.

Birch-Murnaghan, third order (F. Birch, Phys. Rev. 71, 809 (1947), doi:10.1103/PhysRev.71.809), in the form
that :class:`ase.eos.EquationOfState` fits: E(V) with E0, V0, B0 and B0' as its parameters.
"""

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.eos import EquationOfState
from ase.neighborlist import neighbor_list

from mlip_bench.errors import UserError
from mlip_bench.measure import crystals
from mlip_bench.measure.base import Found, Measure, Metric, Subject, Value, beside
from mlip_bench.measure.crystals import Crystal
from mlip_bench.potentials.base import Progress

# Volumes, relative to the relaxed one.
VOLUMES = np.linspace(0.94, 1.06, 7)

# Structures of an element with the number of nearest neighbours of an atom.
STRUCTURES = {"bcc": 8, "fcc": 12, "hcp": 12, "sc": 6, "diamond": 4}

METRICS = {
    "volume_per_atom": Metric("Å³/atom", "volume per atom", None),
    "volume_change": Metric("%", "change of volume on relaxing", None, compared=False),
    "lattice_constant": Metric("Å", "lattice constant", None),
    "bulk_modulus_eos": Metric("GPa", "bulk modulus of E(V)", None),
    "bulk_modulus_derivative": Metric("1", "its derivative by pressure", None),
    "structure_energy": Metric("meV/atom", "energy above the crystal", None, near_zero=10.0),
}


def compute(atoms: Atoms, calculator: Calculator, progress: Progress, *, structures: bool = True) -> Found:
    """Return the equation of state of a crystal, and the energies of the element's other structures.

    ``structures`` leaves these out where it is false; crystals of several elements have none.
    """
    crystal = crystals.relaxed(atoms, calculator, "eos")
    volumes, energies = energy_curve(crystal, calculator)
    progress(0.5, f"{len(volumes)} volumes")
    values = [
        Value("volume_per_atom", crystal.primitive.get_volume() / len(crystal.primitive)),
        Value(
            "volume_change",
            100
            * (len(atoms) / len(crystal.primitive) * crystal.primitive.get_volume() / atoms.get_volume() - 1),
        ),
    ]
    middle = len(volumes) // 2
    volume, energy = float(volumes[middle]), float(energies[middle])
    try:
        volume, energy, modulus, derivative = birch_murnaghan(volumes, energies)
        values.append(Value("bulk_modulus_eos", modulus / units.GPa))
        values.append(Value("bulk_modulus_derivative", derivative))
    except UserError as error:
        values += [
            Value(name, np.nan, error=str(error)) for name in ("bulk_modulus_eos", "bulk_modulus_derivative")
        ]
    if crystal.is_cubic:
        values.append(Value("lattice_constant", crystal.lattice_constant))
    if structures and crystal.is_element:
        values += structure_energies(crystal, calculator, energy)
    curves = {"volume": volumes, "energy": energies, "minimum": np.array([volume, energy])}
    return Found(values, curves)


def birch_murnaghan(volumes: np.ndarray, energies: np.ndarray) -> tuple[float, float, float, float]:
    """Return V0, E0, B0 and B0' of energies over volume, in their units.

    Raises UserError where the energies have no minimum within the volumes.
    """
    fit = EquationOfState(volumes, energies, "birchmurnaghan")
    try:
        volume, energy, modulus = fit.fit(warn=False)
    except (RuntimeError, ValueError):
        volume, energy, modulus = np.nan, np.nan, np.nan
    if not (modulus > 0 and volumes.min() < volume < volumes.max()):
        raise UserError(
            f"eos: the energy has no minimum between {volumes.min():.2f} and {volumes.max():.2f} Å³/atom"
        )
    return float(volume), float(energy), float(modulus), float(fit.eos_parameters[2])


def energy_curve(crystal: Crystal, calculator: Calculator) -> tuple[np.ndarray, np.ndarray]:
    """Return volumes (Å³/atom) and energies (eV/atom) around the relaxed crystal.

    At each volume shape and positions are those of least energy that the symmetry allows.
    """
    volumes, energies = [], []
    for factor in VOLUMES:
        scaled = crystal.primitive.copy()
        scaled.set_cell(scaled.cell * factor ** (1 / 3), scale_atoms=True)
        scaled.calc = calculator
        name = f"eos, volume times {factor:.2f}"
        if not crystal.is_cubic:
            crystals.relax_shape(scaled, name)
        crystals.relax_positions(scaled, crystals.FORCE_TOLERANCE, name)
        volumes.append(scaled.get_volume() / len(scaled))
        energies.append(crystals.per_atom(scaled))
    return np.array(volumes), np.array(energies)


def structure_energies(crystal: Crystal, calculator: Calculator, energy: float) -> list[Value]:
    """Return the energies (meV/atom, above ``energy`` in eV/atom) of the structures, each relaxed.

    A structure in which the potential does not hold has no energy, but a sentence that says so.
    """
    symbol = crystal.primitive.get_chemical_symbols()[0]
    distances = neighbor_list("d", crystal.conventional, 6.0)
    nearest = distances.min()
    neighbours = np.count_nonzero(distances < 1.05 * nearest) / len(crystal.conventional)
    found = []
    for name, coordination in STRUCTURES.items():
        # Bonds are longer the more of them an atom has; relaxing does the rest.
        start = at_distance(symbol, name, nearest * (coordination / neighbours) ** 0.125)
        if crystals.equivalent(crystals.standard(start), crystal):
            continue
        try:
            relaxed = crystals.relaxed(start, calculator, f"eos, {name}").primitive
        except UserError as error:
            found.append(Value("structure_energy", np.nan, group=name, error=str(error)))
            continue
        relaxed.calc = calculator
        found.append(Value("structure_energy", 1e3 * (crystals.per_atom(relaxed) - energy), group=name))
    return found


def at_distance(symbol: str, structure: str, distance: float) -> Atoms:
    """Return a structure of an element whose nearest neighbours are ``distance`` (Å) apart."""
    # Without an ideal ratio, ASE takes that of the element's own hexagonal crystal.
    ratio = {"covera": np.sqrt(8 / 3)} if structure == "hcp" else {}
    unit = bulk(symbol, structure, a=1.0, **ratio)
    return bulk(symbol, structure, a=distance / neighbor_list("d", unit, 1.5).min(), **ratio)


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Measure a fitted potential."""
    return subject.keep(compute(subject.crystal("eos"), subject.potential.calculator(), progress))


MEASURE = Measure(
    "eos",
    METRICS,
    run,
    revision=1,
    packages=("ase", "numpy", "spglib"),
    of_crystal=True,
    needs=frozenset({"energy", "stress"}),
    sections=beside(__name__),
    terms=beside(__name__, "terms"),
    cautions=beside(__name__, "cautions"),
    charts=beside(__name__, "charts"),
)
