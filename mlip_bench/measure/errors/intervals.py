"""How sure an error is: its interval over test structures, and two potentials on the same structures.

An error is a ratio of sums over structures, E = Σ a_i / Σ b_i, where a_i is the sum of the squared (or
absolute) deviations of structure i and b_i the number of its components; an RMSE is the root of that. The
mean squares of two potentials on the same structures are such a ratio, too: there b_i is the sum of the
other. The logarithm θ of a ratio has the standard error σ (linearised; W. G. Cochran, Sampling Techniques,
3rd ed., 1977, chapter 6)

    σ² = Σ_h n_h / (n_h - 1) Σ_{i in h} (u_i - ū_h)²,    u_i = a_i / Σa - b_i / Σb,

where h are the groups of the data, which a test set has in fixed shares. Structures are drawn again within
each group, and (θ* - θ) / σ* of what is drawn takes the place of Student's t (bootstrap-t: P. Hall, Ann.
Statist. 16, 927 (1988), doi:10.1214/aos/1176350933): right for few structures and for skewed errors. What it
holds, beside other intervals, was counted: ``docs/intervals``.

Frames of one trajectory are no independent structures. Where errors of neighbours in the file are alike, with
correlation ρ from one to the next, blocks of neighbours are drawn: some ten, each longer than the statistical
inefficiency (1 + ρ) / (1 - ρ). The sums of blocks of L frames are correlated, too, and vary less than
independent ones, by the factor that it is for a series with correlation ρ^k at distance k (H. R. Künsch, Ann.
Statist. 17, 1217 (1989), doi:10.1214/aos/1176347265, has the general case),

    f = 1 - 2 ρ (1 - ρ^L) / (L (1 - ρ²)),

by the root of which σ is divided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Self

import numpy as np
from scipy import stats

from mlip_bench.measure.errors.sums import Sums

CONFIDENCE = 0.95
RESAMPLES = 2000

# Of fewer structures, or blocks of a trajectory, there is no interval.
FEWEST = 5

# Groups with fewer structures are drawn from together: what is drawn from one structure does not vary.
FEWEST_OF_GROUP = 4

# Fewer structures of a group do not tell whether neighbours are alike.
FEWEST_FRAMES = 10

# Of a trajectory so many blocks are made, and its neighbours are taken to be no more alike than this.
BLOCKS = 10
MOST_ALIKE = 0.98

# Of more, the quantiles are those of Student's t: nothing is drawn again.
MOST_RESAMPLED = 300

# Sums that differ by less than this share are the same.
ROUNDING = 1e-12

# How likely the structures that a comparison still needs are to decide it.
POWER = 0.8


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums over units, which count as independent: structures, or blocks of neighbours."""

    above: np.ndarray
    """a (n,) of each unit."""
    below: np.ndarray
    """b (n,) of each unit."""
    strata: tuple[np.ndarray, ...]
    """The places of the units of each group, or of small groups together."""
    n_structures: int
    block: int = 1
    """Structures of a unit, about."""
    alike: float = 0.0
    """ρ of neighbouring structures."""

    @classmethod
    def of(cls, above: np.ndarray, below: np.ndarray, groups: np.ndarray) -> Self:
        """Return the ratio of structures in the order of their file, of which neighbours may be alike."""
        length = 1
        long = [name for name in np.unique(groups).tolist() if np.sum(groups == name) >= FEWEST_FRAMES]
        alike = _correlation_of_neighbours(above, below, groups, long)
        if alike:
            n_frames = int(np.isin(groups, long).sum())
            length = max(n_frames // BLOCKS, int(np.ceil((1 + alike) / (1 - alike))))
        units = _merged(above, below, groups, dict.fromkeys(long, length))
        return cls(units[0], units[1], tuple(_strata(units[2])), len(above), length, alike)

    @property
    def is_known(self) -> bool:
        """Whether there are enough units to say how sure it is."""
        return len(self.above) >= FEWEST and self.above.sum() > 0 and self.below.sum() > 0

    @cached_property
    def log(self) -> float:
        """The logarithm θ."""
        return float(np.log(self.above.sum() / self.below.sum()))

    @cached_property
    def error(self) -> float:
        """The standard error σ of the logarithm."""
        one = [np.ones((1, len(places))) for places in self.strata]
        return float((self._log_and_variance(one)[1][0] / self.lost) ** 0.5)

    @property
    def lost(self) -> float:
        """What the variance of blocks is of that of independent ones: f."""
        rho, length = self.alike, self.block
        return 1 - 2 * rho * (1 - rho**length) / (length * (1 - rho**2))

    @property
    def n_free(self) -> int:
        """Degrees of freedom of the standard error."""
        return len(self.above) - len(self.strata)

    @cached_property
    def quantities(self) -> np.ndarray:
        """(θ* - θ) / σ* of units that were drawn again (RESAMPLES,)."""
        drawn = [_drawn(len(places)) for places in self.strata]
        logs, variances = self._log_and_variance(drawn)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (logs - self.log) / np.sqrt(variances)
        return np.nan_to_num(found, nan=0.0)

    def _log_and_variance(self, times: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return θ and σ² (m,) where the units of each stratum occur so many times, (m, n_h)."""
        sums = []
        for places, occur in zip(self.strata, times, strict=True):
            a, b = self.above[places], self.below[places]
            sums.append(occur @ np.column_stack([a, b, a * a, a * b, b * b]))
        total_a, total_b = (sum(part[:, column] for part in sums) for column in (0, 1))
        variance = np.zeros(len(total_a))
        for places, (a, b, aa, ab, bb) in zip(self.strata, (part.T for part in sums), strict=True):
            n = len(places)
            mean = a / total_a - b / total_b
            square = aa / total_a**2 - 2 * ab / (total_a * total_b) + bb / total_b**2
            variance += n / (n - 1) * np.maximum(square - mean**2 / n, 0.0)
        return np.log(total_a / total_b), variance


def interval(ratio: Ratio) -> tuple[float, float] | None:
    """Return the ends of the 95 % interval of the logarithm of a ratio; None where nothing says them."""
    if not ratio.is_known:
        return None
    tail = (1 - CONFIDENCE) / 2
    if len(ratio.above) > MOST_RESAMPLED:
        reach = float(stats.t.ppf(1 - tail, ratio.n_free))
        return ratio.log - reach * ratio.error, ratio.log + reach * ratio.error
    low, high = np.quantile(ratio.quantities, [tail, 1 - tail])
    return ratio.log - float(high) * ratio.error, ratio.log - float(low) * ratio.error


def _strata(groups: np.ndarray) -> list[np.ndarray]:
    """Return the places of each group's units; small groups are joined until they are large enough."""
    of_each = [np.flatnonzero(groups == name) for name in np.unique(groups).tolist()]
    by_size = sorted(of_each, key=len)
    found: list[np.ndarray] = []
    for places in by_size:
        if found and len(found[-1]) < FEWEST_OF_GROUP:
            found[-1] = np.concatenate([found[-1], places])
        else:
            found.append(places)
    if len(found) > 1 and len(found[-1]) < FEWEST_OF_GROUP:
        last = found.pop()
        found[-1] = np.concatenate([found[-1], last])
    return found


def _merged(
    above: np.ndarray, below: np.ndarray, groups: np.ndarray, lengths: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sums of blocks of about so many neighbours as each group has (else 1), and their groups."""
    block = np.empty(len(groups), dtype=int)
    n_blocks = 0
    for name in np.unique(groups).tolist():
        places = np.flatnonzero(groups == name)
        n_own = max(1, len(places) // lengths.get(name, 1))
        block[places] = n_blocks + np.arange(len(places)) * n_own // len(places)
        n_blocks += n_own
    _, first = np.unique(block, return_index=True)
    return np.bincount(block, above), np.bincount(block, below), groups[first]


def _correlation_of_neighbours(
    above: np.ndarray, below: np.ndarray, groups: np.ndarray, long: Sequence[str]
) -> float:
    """Return how what structures add to a ratio is correlated from one to the next within long groups.

    Of ranks, which a single large error does not decide. Zero where chance does as much in one of twenty.
    """
    n = int(np.isin(groups, long).sum())
    if not (n and above.sum() > 0 and below.sum() > 0):
        return 0.0
    parts = above / above.sum() - below / below.sum()
    along, square = 0.0, 0.0
    for name in long:
        ranks = stats.rankdata(parts[groups == name])
        ranks -= ranks.mean()
        along += float(ranks[1:] @ ranks[:-1])
        square += float(ranks @ ranks)
    found = along / square if square else 0.0
    if found <= float(stats.norm.ppf(0.95)) / n**0.5:
        return 0.0
    # A series is as long as it is, and its mean is its own: both make it seem less correlated.
    return float(min(found + len(long) * (1 + 3 * found) / n, MOST_ALIKE))


@cache
def _drawn(n: int) -> np.ndarray:
    """Return how often each of n units is drawn in n draws, (RESAMPLES, n); the same each time."""
    return np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)


@cache
def _signs(n: int) -> np.ndarray:
    """Return n signs by chance, (RESAMPLES, n); the same each time."""
    return np.random.default_rng(n).choice([-1.0, 1.0], size=(RESAMPLES, n))


def p_value(ratio: Ratio) -> float:
    """Return how probable a ratio of two potentials as far from 1 is by chance; NaN of too few structures.

    Where none is better, the two can change places on any structure: signs of the differences are drawn by
    chance (R. A. Fisher, The Design of Experiments, 1935, section 21). Of many structures the sum of
    differences with such signs is normal.
    """
    if not ratio.is_known:
        return float("nan")
    differences = ratio.above - ratio.below
    # The sum of blocks that are correlated varies more than their differences say.
    found = abs(float(differences.sum())) * ratio.lost**0.5
    size = float(np.linalg.norm(differences))
    if size == 0:
        return 1.0
    if len(differences) > MOST_RESAMPLED:
        return float(2 * stats.norm.sf(found / size))
    by_chance = np.abs(_signs(len(differences)) @ differences)
    return float((1 + np.sum(by_chance >= found * (1 - ROUNDING))) / (1 + RESAMPLES))


def still_needed(ratio: Ratio) -> float:
    """Return how many structures more would tell a ratio of this size from 1, with probability ``POWER``.

    Where the standard error falls as the root of their number; infinite where there is no difference.
    """
    if not ratio.is_known:
        return float("nan")
    if ratio.log == 0:
        return float("inf")
    reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2) + stats.norm.ppf(POWER))
    return float(max(0.0, ratio.n_structures * ((reach * ratio.error / ratio.log) ** 2 - 1)))


def of_errors(table: Mapping[str, np.ndarray], quantity: str) -> tuple[Ratio, Ratio]:
    """Return the mean square and the mean absolute error of a comparison that says its structures."""
    sums = Sums.of(table, quantity)
    assert sums is not None  # the comparison was made by this version
    squares, absolutes = (Ratio.of(one, sums.counts, sums.groups) for one in (sums.squares, sums.absolutes))
    return squares, absolutes


def remark(ratio: Ratio) -> str | None:
    """Say what a reader must know of an interval, or why there is none; None where there is nothing."""
    if not ratio.is_known and ratio.block > 1:
        return (
            f"no interval: errors of neighbours among the {ratio.n_structures} structures are alike, as in "
            f"one trajectory, and blocks long enough would be fewer than {FEWEST}"
        )
    if not ratio.is_known and ratio.above.sum() > 0:
        return f"no interval: it needs {FEWEST} structures, and there are {ratio.n_structures}"
    if ratio.is_known and ratio.block > 1:
        return (
            "errors of neighbours in the file are alike, as in a trajectory, so intervals are drawn from "
            "blocks of them"
        )
    return None
