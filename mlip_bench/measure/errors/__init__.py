"""Errors of energy, force and stress against the reference, on training and test data.

Energies per atom; forces and stress over components. Isolated atoms are left out before anything is
predicted: they fix a zero. A structure that cannot be predicted, or whose energy or forces are not finite, is
counted and named, and kept out of the sums.

A potential that was read, not fitted to the data, may count energies from another zero: another code's, or
another level of theory's. Its energies have errors as they are and, beside them, after a shift per element,
the least squares of reference minus prediction on the composition of the training structures alone.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units

from mlip_bench.data import reference
from mlip_bench.errors import LammpsError, UserError
from mlip_bench.measure import stress_doubt
from mlip_bench.measure.base import Measure, Metric, Subject, Value, beside
from mlip_bench.measure.errors import intervals, ranking
from mlip_bench.measure.errors.intervals import Ratio
from mlip_bench.measure.errors.sums import N_STRESS
from mlip_bench.potentials.base import Potential, Prediction, Progress
from mlip_bench.results import TEST, TRAIN

PREDICTIONS = "predictions.npz"

# Structures predicted between two reports of progress.
BATCH = 16

# Of structures without a finite prediction no more than these are named.
MOST_NAMED = 3

# What a potential raises of a structure that it cannot predict: our own sentences, those of LAMMPS, QUIP and
# torch, and numbers beyond their range. Anything else is a fault of the code, and ends the task.
CANNOT_PREDICT = (
    UserError,
    LammpsError,
    RuntimeError,
    MemoryError,
    FloatingPointError,
    np.linalg.LinAlgError,
)

MEV = 1e3
GPA = 1 / units.GPa

METRICS = {
    "energy_mae": Metric("meV/atom", "mean absolute error of the energy"),
    "energy_rmse": Metric("meV/atom", "root mean square error of the energy"),
    "force_mae": Metric("meV/Å", "mean absolute error of a force component"),
    "force_rmse": Metric("meV/Å", "root mean square error of a force component"),
    "stress_mae": Metric("GPa", "mean absolute error of a stress component"),
    "stress_rmse": Metric("GPa", "root mean square error of a stress component"),
    "energy_mae_shifted": Metric(
        "meV/atom", "mean absolute error of the energy after a shift per element, fitted to the training data"
    ),
    "energy_rmse_shifted": Metric(
        "meV/atom", "root mean square error of the energy after that shift per element"
    ),
    "extrapolating_atoms": Metric("atoms", "atoms in surroundings outside those of training"),
    "non_finite": Metric(
        "structures", "structures with a prediction that is not finite, kept out of the errors"
    ),
    "not_predicted": Metric("structures", "structures that the potential failed on, kept out of the errors"),
}

SPLITS = (TRAIN, TEST)


@dataclass
class Predicted:
    """The structures of a split that are compared, with their numbers in the data (from 1)."""

    numbers: list[int] = field(default_factory=list)
    structures: list[Atoms] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    """Why structures could not be predicted, by their numbers."""
    predicts: frozenset[str] = Potential.predicts
    """What the family predicts at all."""

    def renumber(self, numbers: Sequence[int]) -> None:
        """Give the structures other numbers: ``numbers`` has those of all that were to be predicted."""
        self.numbers = [numbers[number - 1] for number in self.numbers]
        self.failed = {numbers[number - 1]: reason for number, reason in self.failed.items()}

    @property
    def non_finite(self) -> dict[int, str]:
        """Which quantities of structures are not finite, by their numbers."""
        pairs = zip(self.numbers, self.structures, self.predictions, strict=True)
        return {n: names for n, atoms, one in pairs if (names := _not_finite(atoms, one, self.predicts))}


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Predict both splits, keep the predictions, and return the errors of each split and group."""
    parts = {TRAIN: subject.dataset.train, TEST: subject.dataset.test}
    kept: dict[str, np.ndarray] = {}
    values: list[Value] = []
    total = sum(len(structures) for structures in parts.values())
    done = 0
    shift: dict[str, float] | None = None
    for split, structures in parts.items():
        before = done

        def tell(n_done: int, before: int = before, split: str = split) -> None:
            progress((before + n_done) / total, f"predicting {split}")

        predicted = predict_each(subject.potential, structures, tell)
        done += len(structures)
        table = compared(predicted)
        kept |= {f"{split}_{key}": value for key, value in table.items()}
        values += counts(predicted, split)
        values += with_intervals(_errors(table, split), table, split)
        values += lacking(table, named(predicted.failed | predicted.non_finite), predicted.predicts, split)
        if not subject.fitted and subject.potential.predicts_energy:
            # The training data comes first, and it alone decides.
            shift = shift_per_element(predicted) if shift is None else shift
            values += shifted_errors(predicted, table, shift, split)
    np.savez_compressed(subject.folder / PREDICTIONS, **kept)  # type: ignore[arg-type]  # names are ours
    return values


def _errors(table: dict[str, np.ndarray], split: str) -> list[Value]:
    """Return the errors of a split and of its groups."""
    values = []
    for group in _groups_of(table):
        noted = {"stress_rmse": stress_doubt.doubt(table)} if group is None else {}
        values += [
            Value(metric, value, split=split, group=group, note=noted.get(metric))
            for metric, value in summary(table, group).items()
        ]
    return values


def errors_of(predicted: Predicted) -> list[Value]:
    """Return the errors of structures that nothing was fitted to, with intervals."""
    table = compared(predicted)
    return with_intervals([Value(*error) for error in summary(table).items()], table, TEST)


def with_intervals(values: Sequence[Value], table: dict[str, np.ndarray], split: str) -> list[Value]:
    """Return the errors of a split, those of all its structures with intervals, or a note why there is none.

    Training errors have none: they are of the structures that the potential was fitted to, not of others.
    """
    if split == TRAIN:
        return list(values)
    quantities = {value.metric.split("_")[0] for value in values}
    ratios = {quantity: intervals.of_errors(table, quantity) for quantity in quantities}
    return [
        value if value.group is not None else _with_interval(value, *ratios[value.metric.split("_")[0]])
        for value in values
    ]


def _with_interval(value: Value, squares: Ratio, absolutes: Ratio) -> Value:
    """Return an error with its interval; an RMSE is the root of a ratio."""
    is_root = "_rmse" in value.metric
    ratio = squares if is_root else absolutes
    notes = [value.note, intervals.remark(ratio)]
    ends = intervals.interval(ratio)
    low, high = (None, None) if ends is None else (float(np.exp(end / (1 + is_root))) for end in ends)
    return dataclasses.replace(value, low=low, high=high, note="; ".join(filter(None, notes)) or None)


def _groups_of(table: dict[str, np.ndarray]) -> list[str | None]:
    """Return None, which is all structures together, and the name of each group."""
    return [None, *np.unique(table["energy_group"]).tolist()]


def shift_per_element(predicted: Predicted) -> dict[str, float]:
    """Return the energy (eV) of each element that, added to the predictions, fits the references best.

    Least squares per atom, over the structures whose predicted energy is finite; of none it is empty.
    """
    missing = []
    for atoms, prediction in zip(predicted.structures, predicted.predictions, strict=True):
        if np.isfinite(prediction.energy) and reference.has_energy(atoms):
            rest = reference.energy(atoms) - prediction.energy
            missing.append(reference.labelled(atoms.copy(), rest, reference.forces(atoms), None))
    if not missing:
        return {}
    species = reference.elements(missing)
    return dict(zip(species, reference.energies_per_element(missing, species).tolist(), strict=True))


def shifted_errors(
    predicted: Predicted, table: dict[str, np.ndarray], shift: dict[str, float], split: str
) -> list[Value]:
    """Return the errors of the energy after a shift per element (eV), of a split and its groups.

    ``table`` is the comparison of ``predicted``. A structure with an element that has no shift is left out,
    and a note says so; where none remains, the values say why.
    """
    names = ("energy_mae_shifted", "energy_rmse_shifted")
    known = np.array([set(atoms.symbols) <= set(shift) for atoms in predicted.structures], dtype=bool)
    note, values = None, []
    if not known.all():
        foreign = sorted(set().union(*(atoms.symbols for atoms in predicted.structures)) - set(shift))
        note = (
            f"the energy errors after a shift per element leave out {(~known).sum()} of {len(known)} "
            f"structures: the training data gives no shift for {', '.join(foreign)}"
        )
    species = list(shift)
    kept = [atoms for atoms, one in zip(predicted.structures, known, strict=True) if one]
    shares = reference.composition(kept, species)
    shifts = shares @ np.array([shift[symbol] for symbol in species]) / shares.sum(axis=1)
    pairs = table["energy"][known].copy()
    pairs[:, 1] += MEV * shifts
    moved = {
        "energy": pairs,
        "energy_group": table["energy_group"][known],
        "extrapolating": table["extrapolating"][known],
    }
    for group in _groups_of(moved):
        values += [
            Value(f"{metric}_shifted", value, split=split, group=group, note=note if group is None else None)
            for metric, value in summary(moved, group).items()
        ]
    values = with_intervals(values, moved, split)
    if values or not len(table["energy"]):
        return values
    reason = f"{split}: no energy after a shift per element ({note or 'no predicted energy is finite'})"
    return [Value(name, float("nan"), split=split, error=reason) for name in names]


def predict_each(
    potential: Potential, structures: Sequence[Atoms], tell: Callable[[int], None] = lambda n_done: None
) -> Predicted:
    """Predict all structures but isolated atoms, in batches; where one fails, its batch one by one."""
    found = Predicted(predicts=potential.predicts)
    for start in range(0, len(structures), BATCH):
        batch = [
            (number, atoms)
            for number, atoms in enumerate(structures[start : start + BATCH], start=start + 1)
            if not reference.is_isolated_atom(atoms)
        ]
        try:
            predictions = potential.predict([atoms for _, atoms in batch])
        except CANNOT_PREDICT:  # one structure must not lose the others
            predictions = None
        for place, (number, atoms) in enumerate(batch):
            try:
                one = potential.predict([atoms])[0] if predictions is None else predictions[place]
            except CANNOT_PREDICT as error:
                found.failed[number] = " ".join(f"{error or type(error).__name__}".split())
                continue
            found.numbers.append(number)
            found.structures.append(atoms)
            found.predictions.append(one)
        tell(start + len(structures[start : start + BATCH]))
    return found


def counts(predicted: Predicted, split: str | None = None) -> list[Value]:
    """Return how many structures extrapolate, are not finite, or failed: only what there is, with names."""
    values = []
    outside = sum(prediction.n_extrapolating for prediction in predicted.predictions)
    if outside:
        values.append(Value("extrapolating_atoms", float(outside), split=split))
    for metric, which in (("non_finite", predicted.non_finite), ("not_predicted", predicted.failed)):
        if which:
            values.append(Value(metric, float(len(which)), split=split, note=named(which)))
    return values


def named(which: Mapping[int, str]) -> str:
    """Name the first structures, each with what is wrong with it."""
    names = [f"structure {number}: {reason}" for number, reason in list(which.items())[:MOST_NAMED]]
    more = len(which) - len(names)
    return "; ".join([*names, *([f"and {more} more"] if more else [])])


def _not_finite(atoms: Atoms, prediction: Prediction, predicts: frozenset[str]) -> str:
    """Name the quantities that are not finite; a stress that is NaN throughout is not predicted at all."""
    found = [] if np.isfinite(prediction.energy) or "energy" not in predicts else ["energy"]
    if not np.isfinite(prediction.forces).all():
        found.append("forces")
    stress = np.asarray(prediction.stress)
    if atoms.pbc.all() and not np.isfinite(stress).all() and not (np.isnan(stress).all() and not found):
        found.append("stress")
    return ", ".join(found)


def lacking(table: dict[str, np.ndarray], reason: str, predicts: frozenset[str], split: str) -> list[Value]:
    """Return the errors that a split has references for but no finite prediction, each with the reason."""
    if not reason:
        return []
    there = summary(table)
    known = [one for one in ("energy", "force") if _has_reference(table[one])]
    return [
        Value(
            metric, float("nan"), split=split, error=f"{split}: no finite {quantity} is predicted ({reason})"
        )
        for quantity in known
        if quantity == "force" or quantity in predicts
        for metric in (f"{quantity}_mae", f"{quantity}_rmse")
        if metric not in there
    ]


def _has_reference(pairs: np.ndarray) -> bool:
    """Tell whether rows of reference and prediction have any reference; where there are none, it may be."""
    return not len(pairs) or bool(np.isfinite(pairs[:, 0]).any())


def compared(predicted: Predicted) -> dict[str, np.ndarray]:
    """Return the comparison of what was predicted; a structure with anything not finite has no numbers.

    Its other atoms would count as if the worst of it were not there.
    """
    spoilt = predicted.non_finite
    predictions = [
        dataclasses.replace(
            one, energy=np.nan, forces=np.full_like(one.forces, np.nan), stress=np.full(N_STRESS, np.nan)
        )
        if number in spoilt
        else one
        for number, one in zip(predicted.numbers, predicted.predictions, strict=True)
    ]
    return comparison(predicted.structures, predictions, predicted.numbers)


def comparison(
    structures: Sequence[Atoms], predictions: Sequence[Prediction], numbers: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """Return reference and predicted numbers, flat, in meV/atom, meV/Å and GPa, with the group of each.

    ``energy`` has one row per structure, ``force`` one per component, ``stress`` six per structure that has
    a reference; the columns are reference and prediction. ``extrapolating`` has one row per structure: its
    number (from 1, in the list unless ``numbers`` gives it), its atoms, and how many of them extrapolate;
    ``stress_number`` has the numbers of those with a reference of the stress. Isolated atoms are left out.
    """
    energy, force, stress, extrapolating = [], [], [], []
    stress_number: list[int] = []
    groups: dict[str, list[str]] = {"energy": [], "force": [], "stress": []}
    numbers = range(1, len(structures) + 1) if numbers is None else numbers
    for number, atoms, prediction in zip(numbers, structures, predictions, strict=True):
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
            stress_number.append(number)
    return {
        "energy": MEV * np.array(energy).reshape(-1, 2),
        "force": MEV * np.concatenate([np.empty((0, 2)), *force]),
        "stress": GPA * np.concatenate([np.empty((0, 2)), *stress]),
        "stress_number": np.array(stress_number, dtype=int),
        "extrapolating": np.array(extrapolating, dtype=int).reshape(-1, 3),
    } | {f"{quantity}_group": np.array(names, dtype=str) for quantity, names in groups.items()}


def summary(table: dict[str, np.ndarray], group: str | None = None) -> dict[str, float]:
    """Return MAE and RMSE of each quantity with data, over the finite predictions of one group or of all."""
    found = {}
    for quantity in ("energy", "force", "stress"):
        if quantity not in table:
            continue
        pairs = table[quantity]
        if group is not None:
            pairs = pairs[table[f"{quantity}_group"] == group]
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        if len(pairs):
            difference = pairs[:, 1] - pairs[:, 0]
            found[f"{quantity}_mae"] = float(np.abs(difference).mean())
            found[f"{quantity}_rmse"] = float(np.sqrt(np.square(difference).mean()))
    return found


MEASURE = Measure(
    "errors",
    METRICS,
    run,
    revision=4,
    packages=("ase", "numpy", "scipy"),
    sections=beside(__name__),
    ranked=True,
    errors=(ranking.FORCE, ranking.ENERGY),
    columns=ranking.COLUMNS,
    compared=beside(__name__, "compared"),
    adjusted=beside(__name__, "adjusted"),
    terms=beside(__name__, "terms"),
    charts=beside(__name__, "charts"),
)
