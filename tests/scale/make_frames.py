"""Write a large extended XYZ file: trajectories of 50 atoms on springs, with energies, forces and stress.

Usage: python make_frames.py FILE [N_FRAMES]
"""

import sys
from pathlib import Path

import numpy as np

N_ATOMS = 50
SPRING = 3.0  # eV/Å²
AMPLITUDE = 0.12  # Å
# Share of a displacement that is left in the next frame.
MEMORY = 0.9
GROUPS = ("solid", "liquid", "surface", "alloy")
SITE = 2.9  # Å

ROW = "{:<2} " + " ".join(["%.8f"] * 6) + "\n"


def write(path: Path, n_frames: int) -> None:
    """Write a trajectory of each group, one after the other."""
    generator = np.random.default_rng(0)
    sites = SITE * np.array(list(np.ndindex(5, 5, 2)), dtype=float)
    lengths = SITE * np.array([5, 5, 2])
    symbols = ["Si" if index % 3 else "O" for index in range(N_ATOMS)]
    rows = "".join(ROW.format(symbol) for symbol in symbols)
    moved = AMPLITUDE * generator.normal(size=(N_ATOMS, 3))
    with path.open("w") as file:
        for frame in range(n_frames):
            noise = generator.normal(size=(N_ATOMS, 3))
            moved = MEMORY * moved + AMPLITUDE * np.sqrt(1 - MEMORY**2) * noise
            group = GROUPS[len(GROUPS) * frame // n_frames]
            file.write(_frame(sites + moved, lengths, moved, group) + rows % _numbers(sites + moved, moved))


def _frame(positions: np.ndarray, lengths: np.ndarray, moved: np.ndarray, group: str) -> str:
    stress = np.diag(SPRING * np.sum(moved**2, axis=0) / np.prod(lengths))
    lattice = " ".join(f"{value:.8f}" for value in np.diag(lengths).ravel())
    return (
        f'{len(positions)}\nLattice="{lattice}" Properties=species:S:1:pos:R:3:forces:R:3 '
        f"energy={0.5 * SPRING * np.sum(moved**2):.8f} config_type={group} "
        f'stress="{" ".join(f"{value:.8f}" for value in stress.ravel())}" pbc="T T T"\n'
    )


def _numbers(positions: np.ndarray, moved: np.ndarray) -> tuple[float, ...]:
    return tuple(np.hstack([positions, -SPRING * moved]).ravel().tolist())


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
