"""Count how often intervals of errors hold the true error, and how often equal potentials seem to differ.

    python docs/intervals/count.py measure --out docs/intervals     errors of structures, to draw from
    python docs/intervals/count.py count --out docs/intervals       draws of 25 of them

What is drawn from: errors that follow a law whose mean is known, and errors of fitted families on mlearn and
the embedded set, of which the mean over all structures is the truth. Of the committed example (potentials of
seven families for Mo) training and test structures together; of SNAP and qSNAP those held out from training,
in five folds. Test sets have the groups in their shares, as a split has them.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import stats

from mlip_bench.data import records
from mlip_bench.data.splits import stratified_folds
from mlip_bench.measure.errors import comparison, intervals
from mlip_bench.measure.errors.intervals import Ratio
from mlip_bench.measure.errors.sums import Sums, of_split
from mlip_bench.potentials import family, presets

EXAMPLE = Path(__file__).parents[2] / "reports" / "example" / "predictions"
HELD_OUT = (
    ("snap", "mlearn", "Mo"),
    ("qsnap", "mlearn", "Mo"),
    ("snap", "mlearn", "Si"),
    ("snap", "mlearn", "Li"),
    ("snap", "embedded", "Mo"),
    ("qsnap", "embedded", "Mo"),
)
QUANTITIES = ("energy", "force")
N_TEST = 25
DRAWS = 5000
# Intervals of scipy are slow, and counted less often.
DRAWS_OF_SCIPY = 1000
ERRORS, COUNTED = "errors.json", "coverage.json"


# -- what is drawn from ----------------------------------------------------------------------------------


def measured():
    """Return the sums of structures, by potential and data."""
    found = {}
    for path in sorted(EXAMPLE.glob("*.npz")):
        kept = dict(np.load(path))
        name = path.stem.split("-")[0] + ("-dfs" if "dfs" in path.stem else "")
        found[f"{name}, mlearn Mo"] = listed([of_split(kept, split) for split in ("train", "test")])
    for name, dataset, system in HELD_OUT:
        train = records.load(dataset, system).train
        potential = family(name)(**presets.hypers(name, "standard", system))
        folds = stratified_folds(train, 5, 0)
        tables = []
        for fold, fitted in zip(range(5), potential.fits_without(train, folds), strict=False):
            held_out = [atoms for atoms, place in zip(train, folds, strict=True) if place == fold]
            tables.append(comparison(held_out, fitted.predict(held_out)))
        found[f"{name}, {dataset} {system}, held out"] = listed(tables)
        print(name, dataset, system, flush=True)
    return found


def listed(tables):
    """Return the sums of all tables as lists, five digits each."""
    found = {}
    for quantity in QUANTITIES:
        sums = [Sums.of(table, quantity) for table in tables]
        squares = np.concatenate([one.squares for one in sums])
        found[quantity] = [float(f"{value:.5g}") for value in squares]
        found[f"{quantity}_components"] = np.concatenate([one.counts for one in sums]).astype(int).tolist()
        found["group"] = np.concatenate([one.groups for one in sums]).tolist()
    return found


def known_laws(generator):
    """Yield names, and functions that draw squares and components of structures whose mean square is one."""
    one = np.ones(N_TEST)
    counts = np.array([27.0, 81.0, 162.0, 324.0, 162.0] * 5)

    def spread(width):
        scale = np.exp(generator.normal(0, width, N_TEST) - width**2)
        return scale**2 * generator.chisquare(counts), counts

    yield "energies, normal", lambda: (generator.normal(size=N_TEST) ** 2, one)
    yield "energies, normal, MAE", lambda: (np.abs(generator.normal(size=N_TEST)) * (np.pi / 2) ** 0.5, one)
    yield "forces, normal", lambda: (generator.chisquare(counts), counts)
    yield "forces, normal of spreads that vary by 30 %", lambda: spread(0.3)


def stratified(groups):
    """Return the places of each group, and how many of each a test set has: shares, rounded."""
    names, sizes = np.unique(groups, return_counts=True)
    share = N_TEST * sizes / sizes.sum()
    numbers = np.floor(share).astype(int)
    numbers[np.argsort(numbers - share)[: N_TEST - numbers.sum()]] += 1
    return [np.flatnonzero(groups == name) for name in names], numbers


def trajectory(generator, n=250, correlation=0.8, width=0.2):
    """Return mean squares (n,) of frames whose logarithmic spread is an autoregressive series."""
    series = np.empty(n)
    series[0] = generator.normal()
    for step in range(1, n):
        series[step] = correlation * series[step - 1] + (1 - correlation**2) ** 0.5 * generator.normal()
    return np.exp(2 * width * series - 2 * width**2)


# -- counting --------------------------------------------------------------------------------------------


def holds(above, below, groups, truth):
    """Tell whether the interval of a test set holds the logarithm of the truth; NaN where there is none."""
    ends = intervals.interval(Ratio.of(above, below, groups))
    return np.nan if ends is None else float(ends[0] <= truth <= ends[1])


def shares(held):
    """Return the share of intervals that hold, and of test sets without one."""
    return {"here": np.nanmean(held), "without an interval": np.mean(np.isnan(held))}


def of_scipy(above, below, method):
    """Tell for each test set (draws, n) whether an interval of scipy holds a mean square of one."""

    def log(a, b, axis=-1):
        return np.log(a.sum(axis=axis) / b.sum(axis=axis))

    found = stats.bootstrap(
        (above, below),
        log,
        paired=True,
        vectorized=True,
        method=method,
        n_resamples=999,
        batch=50,
        axis=-1,
        rng=0,
    ).confidence_interval
    return (found.low <= 0) & (found.high >= 0)


def count_known(name):
    """Return the shares of intervals that hold, here and of scipy, of errors with a law that is known."""
    generator = np.random.default_rng([1, *name.encode()])
    draw = dict(known_laws(generator))[name]
    drawn = [draw() for _ in range(DRAWS)]
    held = [holds(a, b, np.repeat("all", N_TEST), 0.0) for a, b in drawn]
    above, below = (np.array(part) for part in zip(*drawn[:DRAWS_OF_SCIPY], strict=True))
    of_others = {method: np.mean(of_scipy(above, below, method)) for method in ("percentile", "BCa")}
    return shares(held) | of_others


def count_measured(name, one, quantity):
    """Return the shares of intervals that hold, of one potential, and what one structure is of all."""
    generator = np.random.default_rng([2, *f"{name}{quantity}".encode()])
    groups = np.array(one["group"])
    places, numbers = stratified(groups)
    above, below = np.array(one[quantity]), np.array(one[f"{quantity}_components"], dtype=float)
    squares, components = (
        sum(n * values[own].mean() for own, n in zip(places, numbers, strict=True))
        for values in (above, below)
    )
    held = []
    for _ in range(DRAWS):
        chosen = drawn_of(places, numbers, generator)
        held.append(holds(above[chosen], below[chosen], groups[chosen], np.log(squares / components)))
    return shares(held) | {"largest structure": float((above / above.sum()).max())}


def drawn_of(places, numbers, generator):
    """Return the places of one test set."""
    return np.concatenate(
        [generator.choice(own, number) for own, number in zip(places, numbers, strict=True)]
    )


def count_pairs(first, second, errors, quantity):
    """Return how often one of two potentials wins that change places at random on every structure."""
    generator = np.random.default_rng([3, *f"{first}{second}{quantity}".encode()])
    both = np.array([errors[first][quantity], errors[second][quantity]])
    both[1] *= both[0].sum() / both[1].sum()
    groups = np.array(errors[first]["group"])
    places, numbers = stratified(groups)
    wins = []
    for _ in range(DRAWS):
        chosen = drawn_of(places, numbers, generator)
        turned = generator.integers(2, size=N_TEST)
        pair = both[turned, chosen], both[1 - turned, chosen]
        wins.append(intervals.p_value(Ratio.of(*pair, groups[chosen])) <= 1 - intervals.CONFIDENCE)
    return {"false winners": np.mean(wins)}


def count_trajectories(n):
    """Return the share of intervals of a trajectory of n frames that hold, and of false winners on one."""
    generator = np.random.default_rng([4, n])
    groups, below = np.repeat("all", n), np.full(n, 162.0)
    held, wins = [], []
    for _ in range(DRAWS):
        above, other = (trajectory(generator, n) * generator.chisquare(below) for _ in range(2))
        held.append(holds(above, below, groups, 0.0))
        wins.append(intervals.p_value(Ratio.of(above, other, groups)) <= 1 - intervals.CONFIDENCE)
    return shares(held) | {"false winners": np.mean(wins)}


def cases(errors):
    """Yield what is to be counted: the part of the result, its name, a function and what it is given."""
    for name, _ in known_laws(np.random.default_rng(0)):
        yield "known laws", name, count_known, (name,)
    yield "trajectories", "250 frames, correlation 0.8", count_trajectories, (250,)
    for name, one in errors.items():
        for quantity in QUANTITIES:
            yield "measured", f"{name}, {quantity}", count_measured, (name, one, quantity)
    for first, second in combinations(errors, 2):
        if errors[first]["group"] == errors[second]["group"]:
            for quantity in QUANTITIES:
                name = f"{first} and {second}, {quantity}"
                yield "pairs", name, count_pairs, (first, second, errors, quantity)


def main():
    """Measure, or count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("measure", "count"))
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    if given.what == "measure":
        (given.out / ERRORS).write_text(json.dumps(measured()) + "\n")
        return
    counted = {"draws": DRAWS, "structures": N_TEST}
    with ProcessPoolExecutor(given.jobs) as pool:
        errors = json.loads((given.out / ERRORS).read_text())
        begun = [(part, name, pool.submit(count, *asked)) for part, name, count, asked in cases(errors)]
        for part, name, future in begun:
            found = {key: round(float(value), 4) for key, value in future.result().items()}
            counted.setdefault(part, {})[name] = found
            print(part, name, found, flush=True)
    (given.out / COUNTED).write_text(json.dumps(counted, indent=1) + "\n")


if __name__ == "__main__":
    main()
