"""Thermal conductivity of tin selenide from the series that ``run.py`` recorded.

    python docs/heat-flux/snse/kappa.py

The seeds so far at constant energy, cut to the same length. Of the convective part, the mean energy of each
element times its velocities is taken off: in a crystal these sums come back to where they were, so they carry
no heat, and only add noise. Prints one line of JSON.
"""

import json
from pathlib import Path

import ase.io
import numpy as np
from ase.data import atomic_masses

from mlip_bench.md.green_kubo import Conductivity, FluxSeries, conductivity

HERE = Path(__file__).parent
INTERVAL = 12.0  # fs
CELLS = 32
SHORTEST = 1000  # samples (12 ps) below which a seed that still runs is left out
TIN, SELENIUM = 50, 34


def main() -> None:
    """Print κ along the axes, with what tells how the dynamics went."""
    relaxed = ase.io.read(HERE / "relaxed.extxyz")
    kept = [np.load(path) for path in sorted(HERE.glob("seed-*.npz")) if ".partial" not in path.name]
    kept = [one for one in kept if len(one["temperature"]) >= SHORTEST]
    n_samples = min(len(one["temperature"]) for one in kept)
    temperature = float(np.mean([one["temperature"][:n_samples].mean() for one in kept]))
    volume = CELLS * relaxed.cell.volume
    numbers = np.tile(relaxed.numbers, CELLS)
    both = [one["potential"] + without_means(one, numbers) for one in kept]
    potential = [one["potential"] for one in kept]
    found = {
        name: conductivity(FluxSeries.of(runs, INTERVAL, volume, temperature), isotropic=False)
        for name, runs in (("both parts", both), ("potential part", potential))
    }
    print(json.dumps(dynamics(kept, n_samples, relaxed.cell.lengths(), temperature) | said(found)))


def without_means(kept: dict[str, np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Return the convective part (n, 3) without the mean energies of elements; total momentum is zero."""
    of_atoms = kept["energies"] / len(kept["temperature"])
    tin, selenium = (of_atoms[numbers == one].mean() for one in (TIN, SELENIUM))
    velocity = kept["tin_velocity"]
    others = -velocity * atomic_masses[TIN] / atomic_masses[SELENIUM]
    return kept["convective"] - tin * velocity - selenium * others


def dynamics(
    kept: list[dict[str, np.ndarray]], n_samples: int, lengths: np.ndarray, temperature: float
) -> dict[str, object]:
    """Return what tells how the dynamics went."""
    stress = sum(one["stress"] for one in kept) / sum(len(one["temperature"]) for one in kept)
    return {
        "seeds": len(kept),
        "ps_each": n_samples * INTERVAL / 1e3,
        "lattice_constants": lengths.round(4).tolist(),
        "temperature": round(temperature, 2),
        "temperatures": [round(float(one["temperature"].mean()), 1) for one in kept],
        # The whole structure, last sample against first.
        "largest_energy_change": float(max(np.abs(one["energy"]).max() for one in kept)),
        "stress_gpa": (stress * 160.21766).round(3).tolist(),
    }


def said(found: dict[str, Conductivity]) -> dict[str, object]:
    """Return κ along the axes and its standard errors (W/mK)."""
    return {
        name: {
            "kappa_abc": np.diag(one.tensor).round(3).tolist(),
            "spread_abc": np.diag(one.tensor_spread).round(3).tolist(),
            "kappa": round(one.kappa, 3),
            "spread": round(one.spread, 3),
            "spread_of_runs": round(one.spread_of_runs, 3),
        }
        for name, one in found.items()
    }


if __name__ == "__main__":
    main()
