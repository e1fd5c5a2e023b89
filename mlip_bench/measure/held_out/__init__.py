"""Errors on structures held out from training: what a choice can rest on that leaves the test data alone.

The training data is cut into folds. For each, a potential with the same hyper-parameters is fitted to all
other folds, from nothing, and predicts the fold that was left out; the errors are those of the predictions of
all folds together. All potentials of a run have the same folds, so they can be compared structure by
structure.
With one fold asked for, a fifth of the data is held out once.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mlip_bench.data.splits import KINDS, RANDOM, folds
from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.measure.base import Found, Measure, Metric, Options, Parts, Subject, Value
from mlip_bench.measure.errors import METRICS as OF_ERRORS
from mlip_bench.measure.errors import compared, counts, lacking, named, predict_each, summary, with_intervals
from mlip_bench.measure.errors.sums import N_STRESS
from mlip_bench.potentials.base import Potential, Progress
from mlip_bench.results import HELD_OUT, write_atomically

NAME = "held-out"

FOLDS = 5

# The same for all potentials, whatever their seed.
SEED = 0

# What a part leaves.
FOLD = "fold.npz"
COUNTS = "counts.json"
FAILED = "failed.json"

SECONDS = "fold_fits_s"

# The counts that say which structures they are of.
OF_FAILED = ("non_finite", "not_predicted")

METRICS = {
    **{name: metric for name, metric in OF_ERRORS.items() if not name.endswith("_shifted")},
    SECONDS: Metric("s", "wall time of the fits to all folds but one, together"),
}


def options(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options; raises UserError where one is wrong."""
    found: dict[str, Any] = {"folds": FOLDS, "split": RANDOM} | dict(given)
    if found["folds"] < 1:
        raise UserError(f"--folds {found['folds']}: at least one share must be held out")
    if found["split"] not in KINDS:
        raise UserError(f"--split {found['split']}: not a way{did_you_mean(found['split'], KINDS)}")
    return found


def parts(chosen: Options, kind: type[Potential]) -> list[dict[str, Any]]:
    """Return the options of each part: a fold, or all of them where the family fits them together."""
    places = list(range(chosen["folds"]))
    shares = [places] if kind.fits_folds_together else [[place] for place in places]
    # What one share alone leaves is the first of all folds, if they are asked for later.
    return [dict(chosen) | {"folds": n_folds(chosen), "places": share} for share in shares]


def n_folds(chosen: Options) -> int:
    """Return the number of folds that the data is cut into, whether all are held out or one."""
    return int(chosen["folds"]) if chosen["folds"] > 1 else FOLDS


def name_of(chosen: Options) -> str:
    """Return what the user reads of a part: ``fold 3``."""
    numbers = [place + 1 for place in chosen["places"]]
    return f"fold {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} folds"


def places_of(train: Sequence[Atoms], chosen: Options) -> list[int]:
    """Return the fold of each training structure; raises UserError where there are too few."""
    return folds(train, n_folds(chosen), SEED, chosen["split"])


def run_part(subject: Subject, progress: Progress) -> None:
    """Fit without each fold of a part, predict it, and leave what was compared in the folder."""
    train, held_out = subject.dataset.train, subject.options["places"]
    places = places_of(train, subject.options)
    assert subject.unfitted is not None  # else there are no parts
    unfitted = subject.unfitted.decided_on(train)
    start = time.perf_counter()
    if len(held_out) > 1:
        fits = list(zip(held_out, unfitted.fits_without(train, places, seed=subject.seed), strict=False))
    else:
        kept = [atoms for atoms, place in zip(train, places, strict=True) if place != held_out[0]]
        fitted = unfitted.fit(kept, seed=subject.seed, progress=progress, checkpoint=subject.checkpoint)
        fits = [(held_out[0], fitted)]
    seconds = time.perf_counter() - start
    tables, counted = [], dict[str, float]()
    failed: dict[str, dict[int, str]] = {metric: {} for metric in OF_FAILED}
    for fold, potential in fits:
        numbers = [number for number, place in enumerate(places, 1) if place == fold]
        predicted = predict_each(potential, [train[number - 1] for number in numbers])
        predicted.renumber(numbers)
        tables.append(compared(predicted))
        failed["not_predicted"] |= predicted.failed
        failed["non_finite"] |= predicted.non_finite
        for count in counts(predicted):
            counted[count.metric] = counted.get(count.metric, 0.0) + count.value
    table = {key: np.concatenate([one[key] for one in tables]) for key in tables[0]}
    np.savez_compressed(subject.folder / FOLD, **table)  # type: ignore[arg-type]  # names are ours
    write_atomically(subject.folder / COUNTS, json.dumps({SECONDS: seconds} | counted) + "\n")
    write_atomically(subject.folder / FAILED, json.dumps(failed) + "\n")


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Return the errors of the predictions of all folds together, and keep the predictions."""
    if not subject.parts:
        raise UserError(f"{NAME}: a potential that was read is not fitted here, so nothing can be held out")
    tables, sums = [], dict[str, float]()
    failed: dict[str, dict[int, str]] = {metric: {} for metric in OF_FAILED}
    for part in subject.parts:
        with np.load(part / FOLD) as file:
            tables.append(dict(file))
        for name, value in json.loads((part / COUNTS).read_text()).items():
            sums[name] = sums.get(name, 0.0) + value
        for metric, which in json.loads((part / FAILED).read_text()).items():
            failed[metric] |= {int(number): why for number, why in which.items()}
    table = {key: np.concatenate([one[key] for one in tables]) for key in tables[0]}
    table = in_order(table)
    errors = [Value(*error, split=HELD_OUT) for error in summary(table).items()]
    values = with_intervals(errors, table, HELD_OUT)
    reasons = {metric: named(dict(sorted(which.items()))) for metric, which in failed.items()}
    values += [Value(name, value, split=HELD_OUT, note=reasons.get(name)) for name, value in sums.items()]
    why = "; ".join(filter(None, reasons.values()))
    values += lacking(table, why, subject.potential.predicts, HELD_OUT)
    return subject.keep(Found(values, {f"{HELD_OUT}_{key}": array for key, array in table.items()}))


def in_order(table: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a comparison with its structures in the order of the data, whatever fold each was in."""
    found = dict(table)
    structures = table["extrapolating"]
    by_number = {"energy": structures[:, 0], "extrapolating": structures[:, 0]}
    by_number["force"] = np.repeat(structures[:, 0], 3 * structures[:, 1])
    by_number["stress"] = np.repeat(table["stress_number"], N_STRESS)
    by_number["stress_number"] = table["stress_number"]
    for key, numbers in by_number.items():
        order = np.argsort(numbers, kind="stable")
        for name in (key, f"{key}_group"):
            if name in table:
                found[name] = table[name][order]
    return found


MEASURE = Measure(
    NAME,
    METRICS,
    run,
    revision=3,
    packages=("ase", "numpy", "scipy"),
    of_training=True,
    options=options,
    parts=Parts(parts, name_of, run_part, of_direct_forces=True, of_fitted=True),
    ranked=True,
)
