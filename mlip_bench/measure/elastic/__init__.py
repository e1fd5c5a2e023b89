"""Elastic constants from stresses of strained cells, and the moduli that follow.

C_ij is the slope of stress i over strain j (Voigt order xx yy zz yz xz xy, engineering shear strains), by
linear regression with :func:`matscipy.elasticity.fit_elastic_constants`. Positions are relaxed in each
strained cell. Moduli are those of a polycrystal (R. Hill, Proc. Phys. Soc. A 65, 349 (1952),
doi:10.1088/0370-1298/65/5/307): B and G the means of the bounds of Voigt and Reuss, E = 9 B G / (3 B + G).
"""

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator

from mlip_bench.errors import UserError
from mlip_bench.measure import crystals
from mlip_bench.measure.base import Found, Measure, Metric, Subject, Value, beside
from mlip_bench.potentials.base import Progress

# Strains of -0.5, 0 and 0.5 per cent.
N_STRAINS = 3
STRAIN = 0.005

# Of strained cells, positions are relaxed to this force (eV/Å): in a soft crystal a strain of half a per cent
# makes forces of less than 2e-3.
FORCE_TOLERANCE = 1e-4

ALL = {f"c{i + 1}{j + 1}": (i, j) for i in range(6) for j in range(i, 6)}

# The last space group of each class of crystals, and the constants that its symmetry leaves independent, in
# the standard setting (J. F. Nye, Physical Properties of Crystals, Oxford 1957, table 9).
INDEPENDENT = {
    2: tuple(ALL),
    15: ("c11", "c12", "c13", "c15", "c22", "c23", "c25", "c33", "c35", "c44", "c46", "c55", "c66"),
    74: ("c11", "c12", "c13", "c22", "c23", "c33", "c44", "c55", "c66"),
    88: ("c11", "c12", "c13", "c16", "c33", "c44", "c66"),
    142: ("c11", "c12", "c13", "c33", "c44", "c66"),
    148: ("c11", "c12", "c13", "c14", "c15", "c33", "c44"),
    167: ("c11", "c12", "c13", "c14", "c33", "c44"),
    194: ("c11", "c12", "c13", "c33", "c44"),
    230: ("c11", "c12", "c44"),
}

# Constants (GPa) of less are told apart by their difference, not by their ratio.
NEAR_ZERO = 1.0

MODULI = {
    "bulk_modulus": Metric("GPa", "bulk modulus (Hill)", None),
    "shear_modulus": Metric("GPa", "shear modulus (Hill)", None),
    "youngs_modulus": Metric("GPa", "Young's modulus (Hill)", None),
}
METRICS = {name: Metric("GPa", name.upper(), None, near_zero=NEAR_ZERO) for name in ALL} | MODULI


def compute(
    atoms: Atoms, calculator: Calculator, progress: Progress, *, force_tolerance: float = FORCE_TOLERANCE
) -> Found:
    """Return moduli (GPa) of a crystal and its elastic constants, those that symmetry leaves independent.

    In each strained cell atoms move until no force exceeds ``force_tolerance`` (eV/Å). A crystal that is not
    stable against every strain has no moduli, but a sentence that says so.
    """
    # It takes most of a second to import, which a command that measures something else need not wait for.
    from matscipy.elasticity import fit_elastic_constants, generate_strained_configs

    crystal = crystals.relaxed(atoms, calculator, "elastic")
    symmetry = "cubic" if crystal.is_cubic else "triclinic"
    constants = independent(crystal.space_group)
    strained = generate_strained_configs(crystal.primitive, symmetry, N_STRAINS, STRAIN)
    kept = []
    for index, cell in enumerate(strained):
        kept.append(_with_stress(cell, crystal.primitive, calculator, force_tolerance))
        progress(min(0.99, (index + 1) / (N_STRAINS * len(constants))), f"{index + 1} strained cells")
    stiffness, _ = fit_elastic_constants(kept, symmetry, N_STRAINS, STRAIN, verbose=False)
    stiffness = stiffness / units.GPa
    values = [Value(name, float(stiffness[ALL[name]])) for name in constants]
    if np.linalg.eigvalsh(stiffness).min() > 0:
        values += [Value(name, value) for name, value in moduli(stiffness).items()]
    else:
        unstable = f"elastic: {atoms.symbols} is not stable against strain, so it has no moduli"
        values += [Value(name, np.nan, error=unstable) for name in MODULI]
    return Found(values)


def independent(space_group: int) -> tuple[str, ...]:
    """Return the names of the elastic constants that the symmetry of a space group leaves independent."""
    return INDEPENDENT[min(last for last in INDEPENDENT if space_group <= last)]


def _with_stress(strained: Atoms, unstrained: Atoms, calculator: Calculator, force_tolerance: float) -> Atoms:
    """Return a strained cell with its stress attached; raises UserError, naming the strain, if it fails."""
    gradient = np.linalg.solve(unstrained.cell, strained.cell) - np.eye(3)
    strain = np.array2string(50 * (gradient + gradient.T), precision=2, suppress_small=True).replace("\n", "")
    cell = strained.copy()
    cell.calc = calculator
    try:
        crystals.relax_positions(cell, force_tolerance, "elastic")
        stress = cell.get_stress()
    except UserError as error:
        raise UserError(f"elastic, at a strain of {strain} %: {error}") from error
    if not np.all(np.isfinite(stress)):
        raise UserError(f"elastic: the potential has no finite stress at a strain of {strain} %")
    strained.positions[:] = cell.positions
    strained.calc = SinglePointCalculator(strained, stress=stress)
    return strained


def moduli(stiffness: np.ndarray) -> dict[str, float]:
    """Return bulk, shear and Young's modulus (Hill) of elastic constants (6, 6), in their unit."""
    compliance = np.linalg.inv(stiffness)
    bulk = (_bulk(stiffness) + 1 / (9 * _bulk(compliance))) / 2
    normal, cross, shear = _parts(stiffness)
    voigt = (normal - cross + 3 * shear) / 5
    normal, cross, shear = _parts(compliance)
    reuss = 5 / (4 * (normal - cross) + 3 * shear)
    mean = (voigt + reuss) / 2
    return {
        "bulk_modulus": bulk,
        "shear_modulus": mean,
        "youngs_modulus": 9 * bulk * mean / (3 * bulk + mean),
    }


def _bulk(matrix: np.ndarray) -> float:
    return float(matrix[:3, :3].sum()) / 9


def _parts(matrix: np.ndarray) -> tuple[float, float, float]:
    """Return the means of the diagonal of normal strains, of what couples them, and of the shears."""
    normal = float(np.trace(matrix[:3, :3])) / 3
    cross = (float(matrix[:3, :3].sum()) - 3 * normal) / 6
    return normal, cross, float(np.trace(matrix[3:, 3:])) / 3


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Measure a fitted potential."""
    return subject.keep(compute(subject.crystal("elastic"), subject.potential.calculator(), progress))


MEASURE = Measure(
    "elastic",
    METRICS,
    run,
    revision=2,
    packages=("ase", "matscipy", "numpy", "spglib"),
    of_crystal=True,
    needs=frozenset({"stress"}),
    sections=beside(__name__),
    terms=beside(__name__, "terms"),
)
