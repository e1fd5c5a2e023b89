"""Labels structures with an ASE calculator in whatever Python has that calculator.

Run as a script by :mod:`mlip_bench.data.labels`, with a Python that need not have mlip-bench: only ASE and
numpy are imported here. One JSON object per line comes in, one goes out; the first names the calculator, the
others hold a structure and the settings it is labelled with.
"""

import json
import os
import sys
import threading
import time

import numpy as np
from ase import Atoms
from ase.calculators.calculator import get_calculator_class


def main() -> None:
    """Answer every structure on standard input until it ends."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the calculator prints is its log, not an answer
    recipe = json.loads(sys.stdin.readline())
    build = get_calculator_class(recipe["calculator"])
    calculator, before, settings = None, None, None
    for line in sys.stdin:
        content = json.loads(line)
        atoms = structure(content, recipe["magnetic_moments"])
        same_cell = before is not None and len(before) == len(atoms) and np.allclose(before.cell, atoms.cell)
        if calculator is None or not same_cell or settings != content["settings"]:
            settings = content["settings"]
            calculator = build(**settings)
        try:
            values = label(atoms, calculator, content["stress"])
        except Exception:
            # A calculator that keeps its wave functions may refuse a structure of another symmetry.
            if not same_cell:
                raise
            calculator = build(**settings)
            values = label(atoms, calculator, content["stress"])
        before = atoms
        answers.write(json.dumps(values) + "\n")
        answers.flush()


def end_with(parent: int) -> None:
    """End this process when its parent has: an answer that nobody waits for can take hours."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def structure(content: dict, magnetic_moments: dict) -> Atoms:
    """Return the structure of a request, with the start moments that the recipe gives its elements."""
    atoms = Atoms(content["numbers"], content["positions"], cell=content["cell"], pbc=content["pbc"])
    if magnetic_moments:
        atoms.set_initial_magnetic_moments([magnetic_moments.get(symbol, 0.0) for symbol in atoms.symbols])
    return atoms


def label(atoms: Atoms, calculator: object, stress: bool) -> dict:
    """Return energy (the one whose gradient the forces are), forces and, if asked for, stress."""
    atoms.calc = calculator
    forces = atoms.get_forces()
    values = {"energy": atoms.get_potential_energy(force_consistent=True), "forces": forces.tolist()}
    if stress:
        values["stress"] = atoms.get_stress().tolist()
    return values


if __name__ == "__main__":
    main()
