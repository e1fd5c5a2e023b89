"""How sure an error is: its interval over test structures, and two potentials on the same structures.

An error is a ratio of sums over structures, E = Σ a_i / Σ b_i, where a_i is the sum of the squared (or
absolute) deviations of structure i and b_i the number of its components; an RMSE is the root of that. The
mean squares of two potentials on the same structures are such a ratio, too: there b_i is the sum of the
other. The logarithm θ of a ratio has the standard error σ (linearised; W. G. Cochran, Sampling Techniques,
3rd ed., 1977, chapter 6)

    σ² = Σ_h n_h / (n_h - 1) Σ_{i in h} (u_i - ū_h)²,    u_i = a_i / Σa - b_i / Σb,

where h are the groups of the data, which a test set has in fixed shares. It is so for any product of powers
of such sums, as a law through several errors is one: see :class:`Product`. Structures are drawn again within
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

# Values of Student's t that are added to what each of them gives, where there is another scatter.
SCATTERED = 25

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

# An interval whose ends are further off, as logarithms, says nothing: a structure or two have all the error.
FARTHEST = 20.0

# How likely the structures that a comparison still needs are to decide it.
POWER = 0.8


@dataclass(frozen=True)
class Product:
    """A product of powers of sums over units, which count as independent: structures, or blocks of them.

    Its logarithm is θ = Σ_p c_p log Σ_i z_pi, and u_i = Σ_p c_p z_pi / Σ_j z_pj.
    """

    sums: np.ndarray
    """z (n_sums, n) of each unit."""
    powers: np.ndarray
    """c (n_sums,)."""
    strata: tuple[np.ndarray, ...]
    """The places of the units of each group, or of small groups together."""
    n_structures: int
    block: int = 1
    """Structures of a unit, about."""
    alike: float = 0.0
    """ρ of neighbouring structures."""

    @classmethod
    def of_sums(cls, sums: np.ndarray, powers: Sequence[float], groups: np.ndarray) -> Self:
        """Return the product of structures in the order of their file, of which neighbours may be alike."""
        length, sizes = 1, np.asarray(powers, dtype=float)
        long = [name for name in np.unique(groups).tolist() if np.sum(groups == name) >= FEWEST_FRAMES]
        alike = _correlation_of_neighbours(sums, sizes, groups, long)
        if alike:
            n_frames = int(np.isin(groups, long).sum())
            length = max(n_frames // BLOCKS, int(np.ceil((1 + alike) / (1 - alike))))
        merged, names = _merged(sums, groups, dict.fromkeys(long, length))
        return cls(merged, sizes, tuple(_strata(names)), len(groups), length, alike)

    @property
    def is_known(self) -> bool:
        """Whether there are enough units to say how sure it is."""
        return self.sums.shape[1] >= FEWEST and bool((self.sums.sum(axis=1) > 0).all())

    @cached_property
    def log(self) -> float:
        """The logarithm θ."""
        return float(np.log(self.sums.sum(axis=1)) @ self.powers)

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
        return self.sums.shape[1] - len(self.strata)

    @cached_property
    def quantities(self) -> np.ndarray:
        """(θ* - θ) / σ* of units that were drawn again (RESAMPLES,); of very many units Student's t."""
        if self.sums.shape[1] > MOST_RESAMPLED:
            return np.asarray(stats.t.ppf((np.arange(RESAMPLES) + 0.5) / RESAMPLES, self.n_free))
        drawn = [_drawn(len(places)) for places in self.strata]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs, variances = self._log_and_variance(drawn)
            off = logs - self.log
            off[np.abs(off) < ROUNDING] = 0.0
            found = off / np.sqrt(variances)
        # Of structures that are all alike, or have no error at all, σ* is 0 or unknown: infinitely far off.
        lost = np.isnan(found)
        found[lost] = np.where(np.nan_to_num(off[lost]) == 0, 0.0, np.copysign(np.inf, off[lost]))
        return np.asarray(found)

    def _log_and_variance(self, times: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return θ and σ² (m,) where the units of each stratum occur so many times, (m, n_h)."""
        n_sums = len(self.sums)
        one, other = np.triu_indices(n_sums)
        moments = np.concatenate([self.sums, self.sums[one] * self.sums[other]])
        drawn = [occur @ moments[:, places].T for places, occur in zip(self.strata, times, strict=True)]
        totals = np.sum([part[:, :n_sums] for part in drawn], axis=0)
        shares = self.powers / totals
        squares = np.where(one == other, 1, 2) * shares[:, one] * shares[:, other]
        variance = np.zeros(len(totals))
        for places, part in zip(self.strata, drawn, strict=True):
            n = len(places)
            mean = (shares * part[:, :n_sums]).sum(axis=1)
            square = (squares * part[:, n_sums:]).sum(axis=1)
            variance += n / (n - 1) * np.maximum(square - mean**2 / n, 0.0)
        return np.log(totals) @ self.powers, variance


class Ratio(Product):
    """A ratio of two sums over units."""

    @classmethod
    def of(cls, above: np.ndarray, below: np.ndarray, groups: np.ndarray) -> Self:
        """Return the ratio of structures in the order of their file, of which neighbours may be alike."""
        return cls.of_sums(np.stack([above, below]), (1, -1), groups)

    @property
    def above(self) -> np.ndarray:
        """Of each unit, a (n,)."""
        return np.asarray(self.sums[0])

    @property
    def below(self) -> np.ndarray:
        """Of each unit, b (n,)."""
        return np.asarray(self.sums[1])


@dataclass(frozen=True)
class Scatter:
    """What makes the logarithm of an error uncertain beside structures: fits that differ in their seed."""

    error: float = 0.0
    """The standard error of a mean over fits."""
    n_free: float = np.inf
    """Its degrees of freedom."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return that of the mean of one number per fit; of a single fit nobody knows it."""
        n = len(values)
        if n < 2 or min(values) <= 0:
            return cls()
        return cls(float(np.std(np.log(values), ddof=1) / n**0.5), n - 1)

    @property
    def reach(self) -> float:
        """Half the 95 % interval by Student's t; 0 without scatter."""
        return self.error * float(stats.t.ppf(0.5 + CONFIDENCE / 2, self.n_free)) if self.error else 0.0

    def __add__(self, other: "Scatter") -> "Scatter":
        """Return that of the difference of two means (B. L. Welch, Biometrika 34, 28 (1947))."""
        square = self.error**2 + other.error**2
        if square == 0:
            return Scatter()
        return Scatter(square**0.5, square**2 / sum(one.error**4 / one.n_free for one in (self, other)))


NO_SCATTER = Scatter()


def interval(product: Product, scatter: float = 0.0, n_free: float = np.inf) -> tuple[float, float] | None:
    """Return the ends of the 95 % interval of the logarithm of a product; None where nothing says them.

    ``scatter`` is the standard error of what else makes it uncertain, independent of structures, with
    ``n_free`` degrees of freedom: σ T + ``scatter`` t then takes the place of σ T (R. A. Fisher, Ann.
    Eugenics 6, 391 (1935), doi:10.1111/j.1469-1809.1935.tb02120.x, adds two such).
    """
    if not product.is_known:
        return None
    tail = (1 - CONFIDENCE) / 2
    if scatter == 0 and product.sums.shape[1] > MOST_RESAMPLED:
        reach = float(stats.t.ppf(1 - tail, product.n_free))
        return product.log - reach * product.error, product.log + reach * product.error
    off = product.error * product.quantities
    if scatter > 0:
        off = np.repeat(off, SCATTERED) + scatter * _students(n_free)
    with np.errstate(invalid="ignore"):  # between two that are infinitely far off
        low, high = np.quantile(off, [tail, 1 - tail])
    if not max(abs(low), abs(high)) <= FARTHEST:
        return None
    return product.log - float(high), product.log - float(low)


@cache
def _students(n_free: float) -> np.ndarray:
    """Return values of Student's t in an order by chance (RESAMPLES * SCATTERED,); the same each time."""
    n = RESAMPLES * SCATTERED
    return np.random.default_rng(n).permutation(stats.t.ppf((np.arange(n) + 0.5) / n, n_free))


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
    sums: np.ndarray, groups: np.ndarray, lengths: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of blocks of about so many neighbours as each group has (else 1), and their groups."""
    block = np.empty(len(groups), dtype=int)
    n_blocks = 0
    for name in np.unique(groups).tolist():
        places = np.flatnonzero(groups == name)
        n_own = max(1, len(places) // lengths.get(name, 1))
        block[places] = n_blocks + np.arange(len(places)) * n_own // len(places)
        n_blocks += n_own
    _, first = np.unique(block, return_index=True)
    return np.stack([np.bincount(block, one) for one in sums]), groups[first]


def _correlation_of_neighbours(
    sums: np.ndarray, powers: np.ndarray, groups: np.ndarray, long: Sequence[str]
) -> float:
    """Return how what structures add to a product is correlated from one to the next within long groups.

    Of ranks, which a single large error does not decide. Zero where chance does as much in one of twenty; and
    where only levels differ, as of temperatures one after the other in one group, which draws within groups
    have in their variance already. Differences of neighbours tell: of independent ones about any levels they
    have the correlation -1/2 (and more in one of a hundred), of a series with correlation ρ to the next
    -(1 - ρ) / 2.
    """
    n, totals = int(np.isin(groups, long).sum()), sums.sum(axis=1)
    if not (n and (totals > 0).all()):
        return 0.0
    parts = powers @ (sums / totals[:, None])
    along, square = np.zeros(2), np.zeros(2)
    for name in long:
        ranks = stats.rankdata(parts[groups == name])
        for place, values in enumerate((ranks - ranks.mean(), np.diff(ranks))):
            along[place] += values[1:] @ values[:-1]
            square[place] += values @ values
    if not square.all():
        return 0.0
    found, of_differences = along / square
    by_chance, surely = stats.norm.ppf([0.95, 0.99]) / n**0.5
    if found <= by_chance or 1 + 2 * of_differences <= 2**0.5 * surely:
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


def p_value(ratio: Ratio, scatter: Scatter = NO_SCATTER) -> float:
    """Return how probable a ratio of two potentials as far from 1 is by chance; NaN of too few structures.

    Where fits scatter, it is no less than that of Student's t with the variances of structures and fits.

    Where none is better, the two can change places on any structure: signs of the differences are drawn by
    chance (R. A. Fisher, The Design of Experiments, 1935, section 21). Of many structures the sum of
    differences with such signs is normal.
    """
    if not ratio.is_known:
        return float("nan")
    of_structures = _by_signs(ratio)
    if scatter.error == 0:
        return of_structures
    whole = scatter + Scatter(ratio.error, ratio.n_free)
    return max(of_structures, float(2 * stats.t.sf(abs(ratio.log) / whole.error, whole.n_free)))


def _by_signs(ratio: Ratio) -> float:
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


def still_needed(ratio: Ratio, scatter: Scatter = NO_SCATTER) -> float:
    """Return how many structures more would tell a ratio of this size from 1, with probability ``POWER``.

    Where the standard error falls as the root of their number; infinite where there is no difference, or one
    that the scatter of fits hides.
    """
    if not ratio.is_known:
        return float("nan")
    if ratio.log == 0:
        return float("inf")
    reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2) + stats.norm.ppf(POWER))
    room = (ratio.log / reach) ** 2 - scatter.error**2
    if room <= 0:
        return float("inf")
    return float(max(0.0, ratio.n_structures * (ratio.error**2 / room - 1)))


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
    if ratio.is_known and interval(ratio) is None:
        return "no interval: the errors of a few structures decide this one, or those of most are zero"
    if ratio.is_known and ratio.block > 1:
        return (
            "errors of neighbours in the file are alike, as in a trajectory, so intervals are drawn from "
            "blocks of them"
        )
    return None
