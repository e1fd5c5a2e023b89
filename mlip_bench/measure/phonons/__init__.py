"""Phonons by finite displacements: dispersion, density of states, and vibrational free energy.

Force constants Φ = -ΔF/Δu come from displaced supercells, with as many displacements as symmetry leaves, and
frequencies ω from the eigenvalues ω² of the dynamical matrix, by phonopy (A. Togo and I. Tanaka, Scr. Mater.
108, 1 (2015), doi:10.1016/j.scriptamat.2015.07.021). Frequencies are in THz, imaginary ones negative. Direct
forces are not symmetrised: what they break shows in ``force_constant_asymmetry``. A potential without a
stress is measured at the size that the crystal has in the data, and a note says so.
"""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.dft.kpoints import parse_path_string
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from mlip_bench.errors import UserError
from mlip_bench.measure import crystals, first_principles
from mlip_bench.measure.base import Curves, Found, Measure, Metric, Subject, Value, beside
from mlip_bench.measure.crystals import Crystal
from mlip_bench.potentials.base import Progress

# Length (Å) of a displacement: forces well above a first-principles code's noise, still harmonic.
DISPLACEMENT = 0.02
MOST_DISPLACEMENTS = 300

# Points per segment of the path, and per axis of the mesh of the density of states.
SEGMENT_POINTS = 31
MESH = 20

# A frequency below this (THz) is imaginary beyond what rounding does to the acoustic modes at Γ.
IMAGINARY = -0.05
TEMPERATURE_K = 300.0

AT_SIZE_OF_DATA = "no stress is predicted, so the crystal has the size that it has in the data"

METRICS = {
    "frequency_rms_deviation": Metric("THz", "RMS deviation of frequencies", compared=False),
    "frequency_max_deviation": Metric("THz", "largest deviation of a frequency", compared=False),
    "free_energy_deviation": Metric("meV/atom", "deviation of the free energy", None, compared=False),
    "free_energy": Metric("meV/atom", "vibrational free energy, 300 K", None, compared=False),
    "highest_frequency": Metric("THz", "highest frequency", None),
    "lowest_frequency": Metric("THz", "lowest frequency", None, compared=False),
    "imaginary_share": Metric("%", "imaginary modes", compared=False),
    "force_constant_asymmetry": Metric("1", "‖Φ - Φᵀ‖ / ‖Φ‖ of the force constants", compared=False),
    "n_displacements": Metric("1", "displaced supercells", None, compared=False),
}


@dataclass(frozen=True)
class Path:
    """A path through the Brillouin zone: its segments, (n, 3) each in reciprocal coordinates, and labels."""

    segments: list[np.ndarray]
    labels: list[tuple[str, str]]


def compute(atoms: Atoms, calculator: Calculator, progress: Progress, *, symmetrised: bool = True) -> Found:
    """Return phonons of a crystal, relaxed first.

    Where ``symmetrised`` is false every atom of the primitive cell is displaced along every axis, and force
    constants stay as they are: forces that break the crystal's symmetry, or have no energy, are not made up
    for. Elsewhere they are made symmetric and translationally invariant, which takes off the noise of a
    first-principles code's grid.
    """
    crystal = crystals.relaxed(atoms, calculator, "phonons")
    phonons = force_constants(crystal, calculator, progress, symmetrised)
    as_computed = np.array(phonons.force_constants)
    if symmetrised:
        phonons.symmetrize_force_constants(use_symfc_projector=True)
    path = standard_path(crystal)
    bands = phonons.run_band_structure(path.segments)
    frequencies = np.concatenate(bands.frequencies)
    modes = phonons.run_mesh([MESH, MESH, MESH], is_gamma_center=True)
    states = phonons.run_total_dos()
    values = [
        Value("highest_frequency", float(frequencies.max())),
        Value("lowest_frequency", float(frequencies.min())),
        Value("imaginary_share", 100 * imaginary_share(modes.frequencies, modes.weights)),
        Value("force_constant_asymmetry", asymmetry(as_computed)),
        Value("n_displacements", float(len(phonons.supercells_with_displacements or []))),
        Value("free_energy", free_energy(phonons) / len(phonons.primitive)),
    ]
    curves = {
        "distance": np.concatenate(bands.distances),
        "frequency": frequencies,
        "labels": np.array(path.labels),
        "dos_frequency": np.asarray(states.frequency_points),
        # Per THz and atom: its integral is 3.
        "dos": np.asarray(states.dos) / len(phonons.primitive),
    }
    return Found(values, curves)


def force_constants(
    crystal: Crystal, calculator: Calculator, progress: Progress, symmetrised: bool = True
) -> Phonopy:
    """Return phonopy with the force constants of a relaxed crystal, in its supercell."""
    cell = crystal.conventional
    unit = PhonopyAtoms(
        numbers=cell.numbers, cell=np.array(cell.cell), scaled_positions=cell.get_scaled_positions()
    )
    try:
        phonons = Phonopy(
            unit,
            np.diag(crystals.repeats(cell)),
            # Columns are the primitive vectors in those of the conventional cell.
            primitive_matrix=np.linalg.solve(cell.cell.T, crystal.primitive.cell.T),
            is_symmetry=symmetrised,
            symprec=crystals.SYMMETRY_TOLERANCE,
        )
        phonons.generate_displacements(distance=DISPLACEMENT)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"phonons: phonopy cannot use the symmetry of {cell.symbols} ({error})") from error
    displaced = phonons.supercells_with_displacements or []
    if len(displaced) > MOST_DISPLACEMENTS:
        raise UserError(
            f"phonons: {cell.symbols} has so little symmetry that {len(displaced)} supercells are needed "
            f"(at most {MOST_DISPLACEMENTS}); give the crystal itself with --crystal"
        )
    forces = []
    for index, supercell in enumerate(displaced):
        forces.append(_forces(supercell, calculator))
        progress(0.9 * (index + 1) / len(displaced), f"{index + 1} of {len(displaced)} supercells")
    phonons.forces = forces
    phonons.produce_force_constants(show_drift=False)
    return phonons


def _forces(supercell: PhonopyAtoms, calculator: Calculator) -> np.ndarray:
    atoms = Atoms(
        supercell.numbers, cell=supercell.cell, scaled_positions=supercell.scaled_positions, pbc=True
    )
    atoms.calc = calculator
    return atoms.get_forces()


def standard_path(crystal: Crystal) -> Path:
    """Return ASE's path: that of Setyawan and Curtarolo (doi:10.1016/j.commatsci.2010.05.010)."""
    whole = crystal.primitive.cell.bandpath(npoints=0)
    points = whole.special_points
    segments, labels = [], []
    for names in parse_path_string(whole.path):
        for first, last in itertools.pairwise(names):
            segments.append(np.linspace(points[first], points[last], SEGMENT_POINTS))
            labels.append((first, last))
    return Path(segments, labels)


def imaginary_share(frequencies: np.ndarray, weights: np.ndarray) -> float:
    """Return the share of imaginary modes; frequencies (n_points, n_modes) with the points' weights."""
    imaginary = np.count_nonzero(frequencies < IMAGINARY, axis=1)
    return float(imaginary @ weights / (weights.sum() * frequencies.shape[1]))


def asymmetry(force_constants: np.ndarray) -> float:
    """Return ‖Φ - Φᵀ‖ / ‖Φ‖ of force constants (n_atoms, n_atoms, 3, 3): 0 where forces are a gradient."""
    difference = force_constants - force_constants.transpose(1, 0, 3, 2)
    return float(np.linalg.norm(difference) / np.linalg.norm(force_constants))


def free_energy(phonons: Phonopy) -> float:
    """Return the vibrational free energy (meV per primitive cell) at 300 K, of the real modes."""
    thermal = phonons.run_thermal_properties(
        temperatures=[TEMPERATURE_K], cutoff_frequency=0.0, exclude_gamma_acoustic=True
    )
    return 1e3 * float(np.asarray(thermal.free_energy)[0]) * units.kJ / units.mol


def deviations(curves: Curves, free: float, expected: Curves, expected_free: float) -> list[Value]:
    """Return how far frequencies (sorted at each point) and free energy are from those of a reference."""
    difference = np.sort(curves["frequency"], axis=1) - np.sort(expected["frequency"], axis=1)
    return [
        Value("frequency_rms_deviation", float(np.sqrt(np.mean(difference**2)))),
        Value("frequency_max_deviation", float(np.abs(difference).max())),
        Value("free_energy_deviation", free - expected_free),
    ]


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Measure a fitted potential, and compare it with the reference where there is one."""
    potential, crystal = subject.potential, subject.crystal("phonons")
    found = compute(crystal, potential.calculator(), progress, symmetrised=potential.conservative)
    values = subject.keep(found)
    expected = first_principles.of(subject.dataset.system, subject.dataset.crystal, "phonons")
    if expected is not None:
        free, expected_free = (each.value("free_energy") for each in (found, expected))
        values = deviations(found.curves, free, expected.curves, expected_free) + values
    if not potential.predicts_stress:
        values = [dataclasses.replace(value, note=AT_SIZE_OF_DATA) for value in values]
    return values


MEASURE = Measure(
    "phonons",
    METRICS,
    run,
    revision=1,
    packages=("ase", "numpy", "phonopy", "spglib"),
    of_crystal=True,
    sections=beside(__name__),
    terms=beside(__name__, "terms"),
    charts=beside(__name__, "charts"),
)
