"""Structures with reference values: what is read from them, and what is refused.

A structure is an :class:`ase.Atoms` whose attached calculator holds ``energy`` (eV), ``forces``
(n_atoms, 3) (eV/Å) and, where the data has it, ``stress`` (6,) (eV/Å³, ASE's sign, positive under
tension, order xx yy zz yz xz xy).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import complete_cell
from matscipy.neighbours import neighbour_list

from mlip_bench.errors import UserError

# No two nuclei in condensed matter come closer than this (Å); H2 at its hottest stays above 0.5 Å.
SHORTEST_DISTANCE = 0.3

# Cell vectors that span less than this (Å) beyond each other are taken for flat.
FLAT = 1e-3

# A larger energy per atom (eV) means another unit: all-electron total energies reach it beyond uranium only.
LARGEST_ENERGY_PER_ATOM = 1.0e6

# Of the chemical elements.
LARGEST_NUMBER = 118

# Digits (eV) of a zero by least squares. Its last bits depend on how threads shared a sum, and a fit would
# carry that on; where the zero lies does not matter.
ZERO_DIGITS = 6

# A lone atom in a cell at least this wide (Å) in each direction, or in none, is an isolated atom. In a
# narrower one it is where the data says so.
ISOLATED_WIDTH = 8.0
ISOLATED = "isolated"


def energy(atoms: Atoms) -> float:
    """Return the reference energy of the whole structure, eV; NaN where the data has none."""
    return float(atoms.calc.results["energy"]) if has_energy(atoms) else float("nan")


def has_energy(atoms: Atoms) -> bool:
    """Tell whether a structure has a reference energy: data for forces alone has none."""
    return atoms.calc.results.get("energy") is not None


def forces(atoms: Atoms) -> np.ndarray:
    """Return the reference forces, (n_atoms, 3), eV/Å."""
    return np.asarray(atoms.calc.results["forces"])


def stress(atoms: Atoms) -> np.ndarray | None:
    """Return the reference stress, (6,), eV/Å³, or None where the data has none."""
    value = atoms.calc.results.get("stress")
    return None if value is None else np.asarray(value)


def group(atoms: Atoms) -> str:
    """Return the group that the data puts a structure in, or ``all`` where it names none."""
    return str(atoms.info.get("group", atoms.info.get("config_type", "all")))


def labelled(atoms: Atoms, energy: float | None, forces: np.ndarray, stress: np.ndarray | None) -> Atoms:
    """Attach reference values to a structure and return it; without a volume there is no stress."""
    values: dict[str, object] = {"forces": forces} if energy is None else {"energy": energy, "forces": forces}
    if stress is not None and atoms.cell.rank == 3:
        values["stress"] = stress
    atoms.calc = SinglePointCalculator(atoms, **values)
    return atoms


def elements(structures: Iterable[Atoms]) -> tuple[str, ...]:
    """Return the chemical symbols in these structures, in alphabetical order."""
    numbers = set().union(*(np.unique(atoms.numbers).tolist() for atoms in structures))
    return tuple(sorted(chemical_symbols[number] for number in numbers))


def is_isolated_atom(atoms: Atoms) -> bool:
    """Tell whether the structure is a single atom with nothing near it, by its cell or by its group."""
    if len(atoms) != 1:
        return False
    names = (str(atoms.info.get(key, "")) for key in ("group", "config_type"))
    widths = atoms.cell.lengths()[atoms.pbc]
    return bool(np.all(widths >= ISOLATED_WIDTH)) or any(
        name.strip().casefold().startswith(ISOLATED) for name in names
    )


def split_off_isolated_atoms(structures: Sequence[Atoms]) -> tuple[list[Atoms], dict[str, float]]:
    """Return the other structures, and the least energy (eV) of an isolated atom by element."""
    others = [atoms for atoms in structures if not is_isolated_atom(atoms)]
    energies: dict[str, float] = {}
    for atoms in filter(is_isolated_atom, structures):
        (symbol,) = atoms.get_chemical_symbols()
        if has_energy(atoms):
            energies[symbol] = min(energies.get(symbol, np.inf), energy(atoms))
    return others, energies


def composition(structures: Sequence[Atoms], species: Sequence[str]) -> np.ndarray:
    """Return the number of atoms of each element, (n_structures, n_elements)."""
    numbers = np.array([atomic_numbers[symbol] for symbol in species], dtype=int)
    counts = [np.bincount(atoms.numbers, minlength=LARGEST_NUMBER + 1)[numbers] for atoms in structures]
    return np.array(counts, dtype=float).reshape(len(structures), len(species))


def energies_per_element(
    structures: Sequence[Atoms], species: Sequence[str], known: Mapping[str, float] | None = None
) -> np.ndarray:
    """Return the energy per element (eV) that fits the total energies best, (n_elements,).

    Least squares of the total energies, per atom, on the composition; the solution of least norm
    where compositions do not tell elements apart. Those of the elements in ``known`` stay as they are.
    """
    known = known or {}
    shares = composition(structures, species)
    sizes = shares.sum(axis=1)
    shares /= sizes[:, None]
    solution = np.array([known.get(symbol, 0.0) for symbol in species])
    free = [index for index, symbol in enumerate(species) if symbol not in known]
    per_atom = np.array([energy(atoms) for atoms in structures]) / sizes
    # The second pass takes off what rounding left of energies of thousands of eV.
    for _ in range(2):
        rest, *_ = np.linalg.lstsq(shares[:, free], per_atom - shares @ solution, rcond=None)
        solution[free] += rest
    return solution


def energy_zero(
    structures: Sequence[Atoms], species: Sequence[str], isolated: Mapping[str, float], centred: bool
) -> np.ndarray:
    """Return the energy of each element (eV) that is taken off before a fit, (n_elements,).

    That of the isolated atom where the data has it, and least squares for the other elements. Where it is
    to be ``centred``, the mean of what then remains comes on top, again by least squares on the composition.
    """
    zero = energies_per_element(structures, species, isolated)
    if centred and isolated:
        zero = zero + energies_per_element(with_zero(structures, species, -zero), species)
    rounded = np.round(zero, ZERO_DIGITS)
    return (
        rounded if centred else np.array([isolated.get(*one) for one in zip(species, rounded, strict=True)])
    )


def with_zero(structures: Sequence[Atoms], species: Sequence[str], zero: np.ndarray) -> list[Atoms]:
    """Return copies whose energies have ``zero`` (eV), (n_elements,), added for each atom of an element."""
    added = composition(structures, species) @ zero
    return [
        labelled(
            Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=dict(atoms.info)),
            energy(atoms) + float(more),
            forces(atoms),
            stress(atoms),
        )
        for atoms, more in zip(structures, added, strict=True)
    ]


def shortest_distance(atoms: Atoms, cutoff: float) -> float:
    """Return the least distance between two atoms, periodic images included, or inf beyond ``cutoff``."""
    cell = complete_cell(atoms.cell)  # directions without a vector are open: any vector across will do
    distances = neighbour_list("d", positions=atoms.positions, cell=cell, pbc=atoms.pbc, cutoff=cutoff)
    return float(distances.min()) if len(distances) else float("inf")


def refuse_unlabelled(atoms: Atoms, where: str) -> None:
    """Raise :class:`UserError` if a structure has no atoms, or no forces of theirs; an energy may be missing.

    ``where`` names the structure in the message.
    """
    if len(atoms) == 0:
        raise UserError(f"{where}: the structure has no atoms; remove the frame")
    results = atoms.calc.results if atoms.calc is not None else {}
    if results.get("forces") is None:
        raise UserError(f"{where}: no forces; every frame needs 'energy' (eV) and 'forces' (eV/Å)")
    if forces(atoms).shape != (len(atoms), 3):
        raise UserError(f"{where}: forces have shape {forces(atoms).shape}, not ({len(atoms)}, 3)")
    for key in ("energy", "forces"):
        if results.get(key) is not None and not np.all(np.isfinite(results[key])):
            raise UserError(f"{where}: '{key}' has a NaN or infinite value; remove or repair the frame")


def refuse_unusable(atoms: Atoms, where: str) -> None:
    """Raise :class:`UserError` if a structure or its reference values cannot be used.

    ``where`` names the file and the frame in the message.
    """
    refuse_unlabelled(atoms, where)
    results = atoms.calc.results
    for key in ("energy", "forces", "stress"):
        if key in results and not np.all(np.isfinite(results[key])):
            raise UserError(f"{where}: '{key}' has a NaN or infinite value; remove or repair the frame")
    if abs(energy(atoms)) > LARGEST_ENERGY_PER_ATOM * len(atoms):
        raise UserError(
            f"{where}: energy {energy(atoms):.6g} eV for {len(atoms)} atoms is beyond "
            f"{LARGEST_ENERGY_PER_ATOM:g} eV per atom; check the unit, or subtract the free atoms"
        )
    refuse_impossible(atoms, where)


def refuse_impossible(atoms: Atoms, where: str) -> None:
    """Raise :class:`UserError` if no structure can be like that: no atoms, a flat cell, atoms too near."""
    if len(atoms) == 0:
        raise UserError(f"{where}: the structure has no atoms; remove the frame")
    for key, value in {"positions": atoms.positions, "cell": np.array(atoms.cell)}.items():
        if not np.all(np.isfinite(value)):
            raise UserError(f"{where}: '{key}' has a NaN or infinite value; remove or repair the frame")
    if not np.all((atoms.numbers >= 1) & (atoms.numbers <= LARGEST_NUMBER)):
        raise UserError(f"{where}: an atom 'X' is of no chemical element; name it, or remove the frame")
    periodic = np.array(atoms.cell)[atoms.pbc]
    if np.linalg.matrix_rank(periodic, tol=FLAT) < len(periodic):
        raise UserError(
            f"{where}: periodic along a cell vector that is zero, or lies in the plane of others; give a "
            "full cell, or set pbc to F there"
        )
    distance = shortest_distance(atoms, SHORTEST_DISTANCE)
    if distance < SHORTEST_DISTANCE:
        raise UserError(
            f"{where}: two atoms are {distance:.3f} Å apart (less than {SHORTEST_DISTANCE} Å); "
            "remove the duplicated or overlapping atoms"
        )


def fingerprint(structures: Iterable[Atoms]) -> str:
    """Return the SHA-256 of structures and reference values, independent of file format and order of keys."""
    digest = hashlib.sha256()
    for atoms in structures:
        digest.update(geometry_fingerprint(atoms).encode())
        values = [energy(atoms), forces(atoms)]
        reference_stress = stress(atoms)
        if reference_stress is not None:
            values.append(reference_stress)
        for value in values:
            digest.update(np.ascontiguousarray(value, dtype="<f8").tobytes())
        digest.update(group(atoms).encode())
    return digest.hexdigest()


def geometry_fingerprint(atoms: Atoms) -> str:
    """Return the SHA-256 of elements, positions, cell and periodicity."""
    digest = hashlib.sha256()
    for integers in (atoms.numbers, atoms.pbc):
        digest.update(np.ascontiguousarray(integers, dtype="<i8").tobytes())
    for lengths in (atoms.positions, np.array(atoms.cell)):
        digest.update(np.ascontiguousarray(lengths, dtype="<f8").tobytes())
    return digest.hexdigest()
