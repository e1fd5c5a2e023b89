"""Time and memory of fits, and of errors after them, against the number of frames.

    python docs/scale/run.py --potential snap,qsnap,gap,mtp,nnp --frames 200 2000 20000

Frames are rattled and strained crystals of Mo, 54 atoms each, labelled by the published SNAP. Each fit is a
process of its own. Seconds are those of the processor over all threads, which other work on the machine
changes little; results.jsonl has those of the clock, too. Memory is the largest that the process held until
then. Lines of ``results.jsonl`` beside this file are kept; --table prints them.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from mlip_bench.data.reference import labelled
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.measure.errors import comparison, predict_each, summary
from mlip_bench.potentials import family, load, presets

RESULTS = Path(__file__).with_name("results.jsonl")


def frames(number: int) -> list[Atoms]:
    """Return rattled and strained crystals with energies, forces and stress."""
    generator = np.random.default_rng(0)
    potential = load(potentials_folder() / "Mo_Zuo_JPCA2020.snapcoeff")
    found = []
    for _ in range(number):
        atoms = bulk("Mo", cubic=True, a=3.16).repeat(3)
        atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + 0.02 * generator.normal(size=(3, 3))), True)
        atoms.rattle(0.15, rng=generator)
        (one,) = potential.predict([atoms])
        found.append(labelled(atoms, one.energy, one.forces, one.stress))
    return found


def peak_mib() -> int:
    """Return the largest memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def cpu_seconds() -> float:
    """Return the seconds of the processor of this process and those that it has ended."""
    return sum(os.times()[:4])


def measure(name: str, number: int, preset: str) -> dict[str, Any]:
    """Fit, take errors of all that was fitted, and return what both took."""
    train = frames(number)
    hypers = presets.hypers(name, preset, "Mo")
    family(name)(**hypers).fit(train[:10])  # numba compiles, or reads what it compiled
    found: dict[str, Any] = {"family": name, "preset": preset, "frames": number, "before_mib": peak_mib()}
    cpu, wall = cpu_seconds(), time.perf_counter()
    potential = family(name)(**hypers).fit(train)
    found["fit_cpu_s"] = round(cpu_seconds() - cpu, 1)
    found["fit_wall_s"] = round(time.perf_counter() - wall, 1)
    found["fit_mib"] = peak_mib()
    cpu = cpu_seconds()
    predicted = predict_each(potential, train)
    errors = summary(comparison(predicted.structures, predicted.predictions, predicted.numbers))
    found["errors_cpu_s"] = round(cpu_seconds() - cpu, 1)
    found["errors_mib"] = peak_mib()
    found["force_rmse"] = round(errors["force_rmse"], 1)
    return found


def read() -> list[dict[str, Any]]:
    """Return what was measured."""
    if not RESULTS.is_file():
        return []
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return sorted(found, key=lambda one: (one["family"], one["preset"], one["frames"]))


def table() -> str:
    """Return the results as a table in Markdown; exponents are those from the line before."""
    lines = [
        "| family, preset | frames | fit, CPU (s) | exponent | peak (MiB) | of it before "
        "the fit | errors, CPU (s) | peak then (MiB) | force RMSE, training (meV/Å) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (name, preset), group in groupby(read(), key=lambda one: (one["family"], one["preset"])):
        last = None
        for one in group:
            exponent = ""
            if last is not None:
                more = math.log(one["fit_cpu_s"] / last["fit_cpu_s"])
                exponent = f"{more / math.log(one['frames'] / last['frames']):.2f}"
            lines.append(
                f"| {name}, {preset} | {one['frames']} | {one['fit_cpu_s']} | {exponent} | "
                f"{one['fit_mib']} | {one['before_mib']} | {one['errors_cpu_s']} | "
                f"{one['errors_mib']} | {one['force_rmse']} |"
            )
            last = one
    return "\n".join(lines)


def main() -> None:
    """Measure each family and number of frames in a fresh process, and append to the file."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--potential", default="snap,qsnap,gap,mtp,nnp")
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 2000, 20_000])
    parser.add_argument("--preset", default="quick")
    parser.add_argument(
        "--one", action="store_true", help="measure here and print, for one family and number"
    )
    parser.add_argument("--table", action="store_true", help="print the results and do nothing")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    if options.one:
        print(json.dumps(measure(options.potential, options.frames[0], options.preset)))
        return
    done = {(one["family"], one["frames"], one["preset"]) for one in read()}
    for number in options.frames:
        for name in options.potential.split(","):
            if (name, number, options.preset) in done:
                continue
            asked = ["--potential", name, "--frames", str(number), "--preset", options.preset, "--one"]
            ended = subprocess.run([sys.executable, __file__, *asked], capture_output=True, text=True)
            if ended.returncode:
                print(f"{name}, {number} frames: {ended.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            line = ended.stdout.splitlines()[-1]
            print(line, flush=True)
            with RESULTS.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
