"""Time and memory of a GAP fit against the number of frames: Mo of 54 atoms, labelled by the published SNAP.

    python docs/gap-fit/scale.py --frames 250 500 1000 --preset standard --out docs/gap-fit/scale.jsonl

Each fit is a process of its own on one core. Seconds are those of the processor, which other work on the
machine changes little; memory is the largest that the process held.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase.build import bulk

from mlip_bench.data.reference import labelled
from mlip_bench.lammps.loading import potentials_folder
from mlip_bench.potentials import family, load, presets


def frames(number):
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


def measure(number, preset):
    """Fit, and return what it took."""
    train = frames(number)
    hypers = presets.hypers("gap", preset, "Mo")
    family("gap")(**hypers).fit(train[:10])  # numba compiles, or reads what it compiled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu, wall = time.process_time(), time.perf_counter()
    family("gap")(**hypers).fit(train)
    return {
        "frames": number,
        "preset": preset,
        "n_sparse": hypers["n_sparse"],
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "before_mib": round(before),
    }


def main():
    """Measure each number of frames in a fresh process, and append to the file."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--frames", type=int, nargs="+", required=True)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if len(options.frames) == 1 and options.out is None:
        print(json.dumps(measure(options.frames[0], options.preset)))
        return
    for number in options.frames:
        command = [sys.executable, __file__, "--frames", str(number), "--preset", options.preset]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        line = done.stdout.splitlines()[-1]
        print(line, flush=True)
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
