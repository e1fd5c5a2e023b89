"""Conductivities of Lennard-Jones systems that others have published, by the estimates of this package.

    python docs/heat-flux/ladder.py WORK [RUNG ...]

One process on one core; trajectories are kept in WORK as they end, and the same command goes on.
``ladder.json`` beside this file has what was found; --table prints it.

- ``liquid``: density 0.8442 and temperature 0.722 in reduced units, cut off at 2.5. Published: 6.934 ± 0.028
  (documentation of STACIE, https://molmod.github.io/stacie, 1372 atoms, 100 runs of 300 τ).
- ``liquid-driven``: the same by a field.
- ``argon``: the crystal at 70 K with a lattice constant of 5.376 Å, 256 atoms. Published: about 0.29 W/mK
  (LAMMPS's manual, compute heat/flux); repeated runs of it scatter from 0.29 to 0.38 W/mK.
"""

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from empirical import LennardJonesCut
from kept import entry_of, keep, trajectory
from kept import read as entries

from mlip_bench.md.driver import Simulation
from mlip_bench.measure.conductivity import found_of, read
from mlip_bench.measure.conductivity.settings import DRIVEN, Settings, split
from mlip_bench.measure.conductivity.transport import Observed

RESULTS = Path(__file__).with_name("ladder.json")

# Of argon: ε (eV), σ (Å), and what follows from them.
EPSILON, SIGMA = 0.010325, 3.405
MASS = 39.948
TAU = SIGMA * np.sqrt(MASS / EPSILON) / units.fs  # fs
UNIT = units._k / (SIGMA * 1e-10) ** 2 * np.sqrt(EPSILON * units._e / (MASS * units._amu))  # W/mK

DENSITY, REDUCED_TEMPERATURE, REDUCED_STEP = 0.8442, 0.722, 0.003
REPEATS = 5

# A crystal at this reduced temperature melts within a few τ.
MELTING = 5.0
MELTING_STEPS = 3000

# The target for which times are quoted.
TARGET = 0.1


@dataclass(frozen=True)
class Rung:
    """A system, how it is observed, and what was published (W/mK, or reduced)."""

    potential: LennardJonesCut
    structure: Callable[[LennardJonesCut], Atoms]
    settings: Settings
    seeds: int
    published: str
    unit: float = 1.0


def liquid(potential: LennardJonesCut) -> Atoms:
    """Return a frame of the liquid: a crystal of its density, melted and cooled."""
    a = (4 / DENSITY) ** (1 / 3) * SIGMA
    atoms = bulk("Ar", "fcc", a=a, cubic=True).repeat(REPEATS)
    temperature = REDUCED_TEMPERATURE * EPSILON / units.kB
    hot = MELTING * EPSILON / units.kB
    with Simulation(potential, atoms, 1, "nvt", 2 * hot, REDUCED_STEP * TAU) as simulation:
        simulation.switch("nvt", hot)
        simulation.run(MELTING_STEPS)
        simulation.switch("nvt", temperature)
        simulation.run(MELTING_STEPS)
        atoms.positions = simulation.positions()
    return atoms


LIQUID = Rung(
    LennardJonesCut.argon(EPSILON, SIGMA, 2.5 * SIGMA),
    liquid,
    Settings(
        temperature=REDUCED_TEMPERATURE * EPSILON / units.kB,
        length=float(100 * TAU / 1e3),
        supercell=(1, 1, 1),
        keep_cell=True,
        timestep=float(REDUCED_STEP * TAU),
    ),
    4,
    "6.934 ± 0.028",
    UNIT,
)
DRIVEN_LIQUID = dataclasses.replace(LIQUID.settings, method=DRIVEN, field=0.08, length=float(20 * TAU / 1e3))
ARGON = Rung(
    LennardJonesCut.argon(EPSILON, SIGMA, 13.0),
    lambda potential: bulk("Ar", "fcc", a=5.376, cubic=True),
    Settings(temperature=70.0, length=100.0, supercell=(4, 4, 4), keep_cell=True, timestep=4.0),
    4,
    "0.29 to 0.38",
)
RUNGS = {
    "liquid": LIQUID,
    "liquid-driven": dataclasses.replace(LIQUID, settings=DRIVEN_LIQUID),
    "argon": ARGON,
}


def climb(name: str, rung: Rung, work: Path) -> None:
    """Record the trajectories of a rung that are missing, and keep what they gave after each."""
    structure = rung.structure(rung.potential)
    parts = [Settings.of(part) for part in split(vars(rung.settings) | {"seeds": rung.seeds})]
    done: list[Observed] = []
    for settings in parts:
        print(f"{name}, seed {settings.seed}", flush=True)
        done.append(read(trajectory(rung.potential, structure, settings, work / name)))
        entry = entry_with_published(name, rung, done)
        keep(RESULTS, entry, ("rung",))
        print(entry, flush=True)


def entry_with_published(name: str, rung: Rung, done: list[Observed]) -> dict[str, Any]:
    """Return what trajectories gave, in the units of what was published, and the time to the target."""
    entry = entry_of(found_of(done, rung.settings), rung.settings, rung=name, seeds=len(done))
    entry |= {"n_atoms": done[0].n_atoms, "field": rung.settings.field, "published": rung.published}
    if entry["kappa"] is None:
        return entry
    share = entry["spread"] / entry["kappa"]
    return entry | {
        "kappa_as_published": float(entry["kappa"] / rung.unit),
        "spread_as_published": float(entry["spread"] / rung.unit),
        "core_seconds_to_a_tenth": 3600 * entry["core_hours"] * (share / TARGET) ** 2,
    }


def table() -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| rung | atoms | observed (ps) | κ | published | STACIE (W/mK) | κ (W/mK) | ps to 10 % | "
        "core seconds to 10 % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in entries(RESULTS):
        if one["kappa"] is None:
            lines.append(
                f"| {one['rung']} | {one['n_atoms']} | {one['time']:.0f} | {one['error']} | | | | | |"
            )
            continue
        fitted = one.get("kappa_stacie")
        stacie = "–" if fitted is None else f"{fitted:.3f} ± {one['kappa_stacie_spread']:.3f}"
        lines.append(
            f"| {one['rung']} | {one['n_atoms']} | {one['time']:.0f} | {one['kappa_as_published']:.3g} ± "
            f"{one['spread_as_published']:.2g} | {one['published']} | {stacie} | {one['kappa']:.3f} ± "
            f"{one['spread']:.3f} | {one['time'] * (one['spread'] / one['kappa'] / TARGET) ** 2:.0f} | "
            f"{one['core_seconds_to_a_tenth']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", help="folder of trajectories and states")
    parser.add_argument("rungs", nargs="*", help=f"of {', '.join(RUNGS)}; default all")
    parser.add_argument("--table", action="store_true", help="print the results and do nothing")
    given = parser.parse_args()
    if given.table:
        print(table())
        return
    for name in given.rungs or RUNGS:
        climb(name, RUNGS[name], given.work)


if __name__ == "__main__":
    main()
