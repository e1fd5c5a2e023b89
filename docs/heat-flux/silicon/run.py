"""Thermal conductivity of silicon at 1000 K by fitted and empirical potentials, estimated alike.

    python docs/heat-flux/silicon/run.py WORK mtp=FOLDER qsnap=FOLDER sevennet=FOLDER

One process on one core. Stillinger-Weber and Tersoff are always there; NAME=FOLDER adds a potential that
``mlip-bench fit`` left, and NAME=fit one that is fitted here to mlearn silicon, as the standard preset does.
Trajectories are kept in WORK as they end, and each keeps its state every two minutes: the same command goes
on. Seeds are added until the standard error is a share of the conductivity or the time is over (--share,
--hours). ``results.json`` beside this file has what was found so far; --table prints it.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

from ase.build import bulk

sys.path.insert(0, str(Path(__file__).parents[1]))
from empirical import StillingerWeber, Tersoff
from kept import entry_of, keep, made, trajectory
from kept import read as entries

from mlip_bench.data import records
from mlip_bench.measure.conductivity import found_of, read
from mlip_bench.measure.conductivity.settings import Settings
from mlip_bench.potentials import Potential, family, load, presets

RESULTS = Path(__file__).with_name("results.json")
EMPIRICAL = {kind.family: kind for kind in (StillingerWeber, Tersoff)}
CRYSTAL = bulk("Si", "diamond", a=5.43, cubic=True)

# Repeats of the cubic cell of eight atoms.
SIZES = {64: (2, 2, 2), 216: (3, 3, 3)}

# The shortest period of silicon has 32 of these steps. In 100 ps the spectrum of the heat flux does not come
# to its level at zero.
CHOSEN = Settings(temperature=1000.0, length=300.0, timestep=2.0)
FEWEST_SEEDS = 2


def potential_of(name: str, source: str, work: Path) -> Potential:
    """Return a potential: an empirical one, one that was saved, or one that is fitted now and kept."""
    if name in EMPIRICAL:
        return EMPIRICAL[name].silicon()
    folder = work / "potentials" / name if source == "fit" else Path(source)
    if source == "fit" and not folder.is_dir():
        data = records.load("mlearn", "Si")
        potential = family(name)(**presets.hypers(name, "standard", "Si"))
        potential.fit(data.train, checkpoint=made(work / "checkpoints" / f"fit-{name}")).save(folder)
    return load(folder)


def conductivity(
    potential: Potential, name: str, n_atoms: int, work: Path, share: float, hours: float
) -> None:
    """Add trajectories until the error is small enough or the time is over; keep what was found."""
    done: list[Path] = []
    begun = time.monotonic()
    while True:
        settings = dataclasses.replace(CHOSEN, seed=len(done) + 1, supercell=SIZES[n_atoms])
        print(f"{name}, {n_atoms} atoms, seed {settings.seed}", flush=True)
        done.append(trajectory(potential, CRYSTAL, settings, work / f"{name}-{n_atoms}"))
        found = found_of([read(path) for path in done], settings)
        entry = entry_of(found, settings, potential=name, n_atoms=n_atoms, seeds=len(done))
        keep(RESULTS, entry, ("potential", "n_atoms"))
        print(f"  {entry}", flush=True)
        small = entry["kappa"] is not None and entry["spread"] <= share * entry["kappa"]
        if (small and len(done) >= FEWEST_SEEDS) or time.monotonic() - begun > 3600 * hours:
            return


def table() -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| potential | atoms | κ (W/mK) | STACIE (W/mK) | by scatter | observed (ps) | T (K) | "
        "drift (meV/atom/ps) | lattice constant (Å) | core hours |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in entries(RESULTS):
        kappa = one["error"] or f"{one['kappa']:.1f} ± {one['spread']:.1f}"
        fitted = one.get("kappa_stacie")
        stacie = "–" if fitted is None else f"{fitted:.1f} ± {one['kappa_stacie_spread']:.1f}"
        scatter = one.get("spread_of_runs")
        lines.append(
            f"| {one['potential']} | {one['n_atoms']} | {kappa} | {stacie} | "
            f"{'–' if scatter is None else f'± {scatter:.1f}'} | {one['time']:.0f} | "
            f"{one['temperature']:.0f} | {one['energy_drift']:+.1e} | "
            f"{(8 * one['volume'] / one['n_atoms']) ** (1 / 3):.3f} | {one['core_hours']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", help="folder of trajectories, fits and states")
    parser.add_argument("potentials", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--sizes", default="64,216", help="numbers of atoms")
    parser.add_argument("--share", type=float, default=0.15, help="standard error over conductivity")
    parser.add_argument(
        "--hours", type=float, default=1.5, help="of each potential and size, to begin a seed"
    )
    parser.add_argument("--table", action="store_true", help="print the results and do nothing")
    given = parser.parse_args()
    if given.table:
        print(table())
        return
    if given.work is None:
        sys.exit("name a folder for the trajectories")
    sources = dict.fromkeys(EMPIRICAL, "") | dict(word.split("=", 1) for word in given.potentials)
    names = given.only.split(",") if given.only else list(sources)
    for size in map(int, given.sizes.split(",")):
        for name in names:
            potential = potential_of(name, sources[name], given.work)
            conductivity(potential, name, size, given.work, given.share, given.hours)


if __name__ == "__main__":
    main()
