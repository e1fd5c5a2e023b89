"""Errors of energy, force and stress against the reference, on training and test data.

Energies per atom; forces and stress over components. Isolated atoms are left out: they fix a zero.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

from mlip_bench.data import structures as reference
from mlip_bench.measure.base import Measure, Metric, Subject, Value
from mlip_bench.potentials.base import Prediction, Progress

PREDICTIONS = "predictions.npz"

# Structures predicted between two reports of progress.
BATCH = 16

MEV = 1e3
GPA = 1 / units.GPa

METRICS = {
    "energy_mae": Metric("meV/atom", "mean absolute error of the energy"),
    "energy_rmse": Metric("meV/atom", "root mean square error of the energy"),
    "force_mae": Metric("meV/Å", "mean absolute error of a force component"),
    "force_rmse": Metric("meV/Å", "root mean square error of a force component"),
    "stress_mae": Metric("GPa", "mean absolute error of a stress component"),
    "stress_rmse": Metric("GPa", "root mean square error of a stress component"),
    "extrapolating_atoms": Metric("atoms", "atoms in surroundings outside those of training"),
}

SPLITS = ("train", "test")


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Predict both splits, keep the predictions, and return the errors of each split and group."""
    parts = {"train": subject.dataset.train, "test": subject.dataset.test}
    kept: dict[str, np.ndarray] = {}
    values: list[Value] = []
    total = sum(len(structures) for structures in parts.values())
    done = 0
    for split, structures in parts.items():
        predictions: list[Prediction] = []
        for start in range(0, len(structures), BATCH):
            predictions += subject.potential.predict(structures[start : start + BATCH])
            progress((done + len(predictions)) / total, f"predicting {split}")
        done += len(structures)
        table = comparison(structures, predictions)
        outside = sum(prediction.n_extrapolating for prediction in predictions)
        if outside:
            values.append(Value("extrapolating_atoms", float(outside), split=split))
        kept |= {f"{split}_{key}": value for key, value in table.items()}
        for group in (None, *np.unique(table["energy_group"]).tolist()):
            errors = summary(table, group)
            values += [Value(metric, value, split=split, group=group) for metric, value in errors.items()]
    np.savez_compressed(subject.folder / PREDICTIONS, **kept)  # type: ignore[arg-type]  # names are ours
    return values


def comparison(structures: Sequence[Atoms], predictions: Sequence[Prediction]) -> dict[str, np.ndarray]:
    """Return reference and predicted numbers, flat, in meV/atom, meV/Å and GPa, with the group of each.

    ``energy`` has one row per structure, ``force`` one per component, ``stress`` six per structure that has
    a reference; the columns are reference and prediction. ``extrapolating`` has one row per structure: its
    number (from 1) in the list, its atoms, and how many of them extrapolate. Isolated atoms are left out.
    """
    energy, force, stress, extrapolating = [], [], [], []
    groups: dict[str, list[str]] = {"energy": [], "force": [], "stress": []}
    for number, (atoms, prediction) in enumerate(zip(structures, predictions, strict=True), start=1):
        if reference.is_isolated_atom(atoms):
            continue
        group = reference.group(atoms)
        energy.append([reference.energy(atoms) / len(atoms), prediction.energy / len(atoms)])
        force.append(np.column_stack([reference.forces(atoms).ravel(), prediction.forces.ravel()]))
        extrapolating.append([number, len(atoms), prediction.n_extrapolating])
        groups["energy"].append(group)
        groups["force"] += [group] * (3 * len(atoms))
        reference_stress = reference.stress(atoms)
        if reference_stress is not None:
            stress.append(np.column_stack([reference_stress, prediction.stress]))
            groups["stress"] += [group] * 6
    return {
        "energy": MEV * np.array(energy).reshape(-1, 2),
        "force": MEV * np.concatenate([np.empty((0, 2)), *force]),
        "stress": GPA * np.concatenate([np.empty((0, 2)), *stress]),
        "extrapolating": np.array(extrapolating, dtype=int).reshape(-1, 3),
    } | {f"{quantity}_group": np.array(names, dtype=str) for quantity, names in groups.items()}


def summary(table: dict[str, np.ndarray], group: str | None = None) -> dict[str, float]:
    """Return MAE and RMSE of each quantity that has data, over one group or over all."""
    found = {}
    for quantity in ("energy", "force", "stress"):
        pairs = table[quantity]
        if group is not None:
            pairs = pairs[table[f"{quantity}_group"] == group]
        if len(pairs):
            difference = pairs[:, 1] - pairs[:, 0]
            found[f"{quantity}_mae"] = float(np.abs(difference).mean())
            found[f"{quantity}_rmse"] = float(np.sqrt(np.square(difference).mean()))
    return found


MEASURE = Measure("errors", METRICS, run)
