"""Defects of an element's crystal: vacancy, its migration, and surfaces.

The formation energy of a vacancy is E(N-1 atoms, relaxed at fixed cell) - (N-1)/N E(N). The barrier of
migration is the highest energy on the path of least energy from a vacancy to a neighbouring site, above its
start, by a climbing-image nudged elastic band (G. Henkelman, B. P. Uberuaga and H. Jónsson, J. Chem. Phys.
113, 9901 (2000), doi:10.1063/1.1329672). A surface energy is (E(slab, relaxed) - N E_bulk) / (2 A).
"""

from collections.abc import Callable

import numpy as np
from ase import Atoms, units
from ase.build import (
    bcc100,
    bcc110,
    bcc111,
    diamond100,
    diamond111,
    fcc100,
    fcc110,
    fcc111,
    hcp0001,
)
from ase.calculators.calculator import Calculator
from ase.mep import NEB
from ase.optimize import BFGS, FIRE

from mlip_bench.errors import UserError
from mlip_bench.measure import crystals
from mlip_bench.measure.base import Found, Measure, Metric, Subject, Value, beside
from mlip_bench.measure.crystals import Crystal
from mlip_bench.potentials.base import Progress

# Largest force (eV/Å) where atoms are relaxed, and along the band.
FORCE_TOLERANCE = 0.01
BAND_TOLERANCE = 0.05

# What the optimiser takes for the stiffness (eV/Å²) of every atom's place before it has moved one; ASE's.
STIFFNESS = 70.0
MOST_STEPS = 300

# Images between the two ends of the band, as many as in maml's (seven with the ends).
IMAGES = 5

# Slabs are at least this thick and this far apart (Å).
THICKNESS = 14.0
VACUUM = 12.0

# Builders of slabs by space group and atoms of the primitive cell; size and lattice constant they are told.
BODY_CENTRED, FACE_CENTRED, DIAMOND, HEXAGONAL = (229, 1), (225, 1), (227, 2), (194, 2)
SURFACES: dict[tuple[int, int], dict[str, Callable[..., Atoms]]] = {
    BODY_CENTRED: {"(100)": bcc100, "(110)": bcc110, "(111)": bcc111},
    FACE_CENTRED: {"(100)": fcc100, "(110)": fcc110, "(111)": fcc111},
    DIAMOND: {"(100)": diamond100, "(111)": diamond111},
    HEXAGONAL: {"(0001)": hcp0001},
}

# Neighbours of the nearest shell are no farther than so many times the nearest: hcp has two distances.
SHELL = 1.15

METRICS = {
    "vacancy_formation": Metric("eV", "vacancy formation", None),
    "vacancy_formation_unrelaxed": Metric("eV", "vacancy formation, unrelaxed", None),
    "vacancy_migration": Metric("eV", "vacancy migration (hcp: in the basal plane)", None),
    "surface_energy": Metric("J/m²", "surface energy", None),
}


def compute(
    atoms: Atoms,
    calculator: Calculator,
    progress: Progress,
    *,
    migration: bool = True,
    surfaces: bool = True,
    force_tolerance: float = FORCE_TOLERANCE,
    stiffness: float = STIFFNESS,
) -> Found:
    """Return the energies of defects; ``migration`` and ``surfaces`` leave these out where they are false.

    Atoms around a vacancy are relaxed until no force exceeds ``force_tolerance`` (eV/Å). The nearer
    ``stiffness`` (eV/Å²) is to that of the crystal, the fewer steps that takes.
    """
    crystal = crystals.relaxed(atoms, calculator, "defects")
    if not crystal.is_element:
        raise UserError(
            f"defects: {atoms.symbols} has several elements, whose chemical potentials are not known"
        )
    bulk = crystals.supercell(crystal)
    bulk.calc = calculator
    per_atom = crystals.per_atom(bulk)
    vacancy = bulk.copy()
    del vacancy[0]
    vacancy.calc = calculator
    which = None if crystal.n_sites == 1 else f"of the first of {crystal.n_sites} sites that are not alike"
    energy = vacancy.get_potential_energy() - per_atom * len(vacancy)
    values = [Value("vacancy_formation_unrelaxed", energy, note=which)]
    _relax(vacancy, "a vacancy", force_tolerance, stiffness)
    energy = vacancy.get_potential_energy() - per_atom * len(vacancy)
    values.insert(0, Value("vacancy_formation", energy, note=which))
    progress(0.2, "vacancy")
    if migration:
        neighbour = nearest_site(bulk, crystal.is_cubic)
        try:
            barrier = migration_barrier(bulk, vacancy, neighbour, calculator)
            values.append(Value("vacancy_migration", barrier, note=which))
        except UserError as error:
            values.append(Value("vacancy_migration", np.nan, error=str(error)))
    progress(0.7, "migration")
    if surfaces:
        values += surface_energies(crystal, calculator)
    return Found(values)


def nearest_site(bulk: Atoms, is_cubic: bool) -> int:
    """Return the place of a nearest neighbour of atom 0.

    In a crystal that is not cubic it is the one of the nearest shell that lies most in the plane across the
    third axis. Which of the six neighbours in the basal plane of hcp and the six outside it are nearest hangs
    on the ratio of the axes, which each potential has its own of.
    """
    hops = bulk.get_distances(0, range(1, len(bulk)), mic=True, vector=True)
    lengths = np.linalg.norm(hops, axis=1)
    if is_cubic:
        return 1 + int(np.argmin(lengths))
    shell = np.flatnonzero(lengths < SHELL * lengths.min())
    return 1 + int(shell[np.argmin(np.abs(hops[shell, 2]).round(1))])


def migration_barrier(bulk: Atoms, vacancy: Atoms, neighbour: int, calculator: Calculator) -> float:
    """Return the barrier (eV) of a hop of the vacancy that atom 0 of ``bulk`` left to a neighbour's site."""
    # The end is the start with one atom moved: relaxed displacements and all, shifted by the hop.
    hop = bulk.get_distance(neighbour, 0, mic=True, vector=True)
    end = vacancy.copy()
    end.positions[neighbour - 1] = bulk.positions[neighbour] + hop
    end.calc = calculator
    _relax(end, "a vacancy that has moved")
    images = [vacancy, *(vacancy.copy() for _ in range(IMAGES)), end]
    for image in images:
        image.calc = calculator
    band = NEB(images, climb=False, allow_shared_calculator=True, method="improvedtangent")
    band.interpolate(mic=True)
    # Coarse first without climbing, so that the climbing image is near the saddle.
    for climb, tolerance in ((False, 4 * BAND_TOLERANCE), (True, BAND_TOLERANCE)):
        band.climb = climb
        if not FIRE(band, logfile=None).run(fmax=tolerance, steps=MOST_STEPS):
            raise UserError(
                f"defects: the band of a vacancy's migration does not settle in {MOST_STEPS} steps"
            )
    energies = [image.get_potential_energy() for image in images]
    return float(max(energies) - energies[0])


def surface_energies(crystal: Crystal, calculator: Calculator) -> list[Value]:
    """Return the energies (J/m²) of relaxed low-index surfaces.

    A structure of which no slabs can be built, and a surface on which the potential does not bring the atoms
    to rest, has no energy, but a sentence that says so.
    """
    bulk = crystal.primitive.copy()
    bulk.calc = calculator
    per_atom = crystals.per_atom(bulk)
    symbol = crystal.primitive.get_chemical_symbols()[0]
    found = []
    builders = SURFACES.get((crystal.space_group, len(crystal.primitive)), {})
    if not builders:
        group = crystal.space_group
        unknown = f"defects: slabs are of bcc, fcc, hcp and diamond, not of {symbol} in space group {group}"
        return [Value("surface_energy", np.nan, error=unknown)]
    for plane, build in builders.items():
        slab = _slab(build, crystal)
        slab.calc = calculator
        try:
            _relax(slab, f"the surface {plane}")
        except UserError as error:
            found.append(Value("surface_energy", np.nan, group=plane, error=str(error)))
            continue
        area = float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
        excess = slab.get_potential_energy() - per_atom * len(slab)
        energy = excess / (2 * area) / (units.J / units.m**2)
        found.append(Value("surface_energy", energy, group=plane))
    return found


def _slab(build: Callable[..., Atoms], crystal: Crystal) -> Atoms:
    """Return the smallest cell of a surface, thick enough; layers are added until it is."""
    symbol = crystal.primitive.get_chemical_symbols()[0]
    lengths = {"a": crystal.lattice_constant}
    if build is hcp0001:
        lengths["c"] = float(crystal.conventional.cell.lengths()[2])
    layers = 4
    while True:
        slab = build(symbol, size=(1, 1, layers), vacuum=VACUUM / 2, **lengths)
        if build is diamond111:
            # Crystals cleave between double layers, where an atom loses one of its four bonds and not three.
            slab = slab[1:-1]
            slab.center(vacuum=VACUUM / 2, axis=2)
        if np.ptp(slab.positions[:, 2]) >= THICKNESS:
            slab.pbc = True
            return slab
        layers += 2


def _relax(
    atoms: Atoms, what: str, force_tolerance: float = FORCE_TOLERANCE, stiffness: float = STIFFNESS
) -> None:
    """Relax positions; a potential that throws atoms apart is a UserError."""
    optimiser = BFGS(atoms, logfile=None, alpha=stiffness)
    if not optimiser.run(fmax=force_tolerance, steps=MOST_STEPS):
        raise UserError(f"defects: the atoms around {what} do not come to rest within {MOST_STEPS} steps")


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Measure a fitted potential."""
    return subject.keep(compute(subject.crystal("defects"), subject.potential.calculator(), progress))


MEASURE = Measure(
    "defects",
    METRICS,
    run,
    revision=2,
    packages=("ase", "numpy", "spglib"),
    of_crystal=True,
    needs=frozenset({"energy", "stress"}),
    sections=beside(__name__),
    terms=beside(__name__, "terms"),
)
