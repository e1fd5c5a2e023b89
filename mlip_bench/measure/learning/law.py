r"""A power law through errors at several numbers of structures, and how sure it is.

Fits to :math:`N_k` structures have the errors :math:`E_k` on one test set. Their logarithms are fitted by

.. math:: \log E_k = \log a - b \log N_k,

by least squares with weights :math:`N_k`: learning curves are such lines where they have not levelled off (C.
Cortes et al., Adv. Neural Inf. Process. Syst. 6, 327 (1993); of kernels for atoms, F. A. Faber et al., J.
Chem. Phys. 148, 241717 (2018), doi:10.1063/1.5020710). An offset c, to which the error falls, :math:`a N^{-b}
+ c`, is fitted where a parabola through the logarithms bends upward with its whole 95 % interval.

What is estimated is, to first order, a sum :math:`\sum_k w_k \log E_k` with weights of the least squares, so
it is uncertain in two ways. The test structures are a sample: the sum is the logarithm of a product of powers
of sums over them, and is drawn again as those of errors are (:mod:`mlip_bench.measure.errors.intervals`); an
error that all fits share on a hard structure cancels in b. And fits scatter about the law, because other
structures or seeds would have given others: by less the more structures they have, so their variance is taken
as :math:`s^2 N_0 / N_k`, that of the largest fit being s², which has as many degrees of freedom as there are
fits more than constants. It adds :math:`s^2 \sum_k w_k^2 N_0 / N_k`, and s² for a fit that is yet to be made.
As s² has what each fit alone owes to the test structures, too, this part counts twice: intervals are rather
wide. They hold for the law that was fitted: an offset that the points do not show would make what is said of
more data too hopeful.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize

from mlip_bench.measure.errors import intervals
from mlip_bench.measure.errors.intervals import Product

# Faster than any error falls.
LARGEST_EXPONENT = 5.0

# Below this share of the least error an offset is none.
LEAST_OFFSET = 1e-3


@dataclass(frozen=True)
class Estimate:
    """A number that the logarithms of errors give, and how much it follows each of them."""

    value: float
    weights: np.ndarray
    """w (n_fits,)."""
    of_one_fit: bool = False
    """Whether it is of a fit, which scatters about the law, and not of the law."""


@dataclass(frozen=True)
class Law:
    """log E = log(exp(p_0 - p_1 log(N / N_0)) + exp(p_2)); without p_2 there is no offset."""

    parameters: np.ndarray
    """p (2,) or (3,)."""
    influence: np.ndarray
    """How p follows the logarithms of the errors (n_parameters, n_fits)."""
    n_zero: float
    """N_0, the largest number of structures."""

    @property
    def exponent(self) -> Estimate:
        """The exponent b."""
        return Estimate(float(self.parameters[1]), self.influence[1])

    @property
    def log_factor(self) -> Estimate:
        """The logarithm of a, the error at one structure, without the offset."""
        far = np.log(self.n_zero)
        value = self.parameters[0] + far * self.parameters[1]
        return Estimate(float(value), self.influence[0] + far * self.influence[1])

    @property
    def log_offset(self) -> Estimate | None:
        """The logarithm of c; None without one."""
        return Estimate(float(self.parameters[2]), self.influence[2]) if len(self.parameters) > 2 else None

    def log_at(self, n_train: float) -> Estimate:
        """Return the logarithm of the error of a fit to so many structures."""
        x = np.array([np.log(n_train / self.n_zero)])
        value, slope = _logs(self.parameters, x)[0], _slopes(self.parameters, x)[0]
        return Estimate(float(value), slope @ self.influence, of_one_fit=True)

    def log_of_more(self, n_train: float, times: float) -> Estimate:
        """Return the logarithm of the factor on the error that so many times the structures bring."""
        one, more = self.log_at(n_train), self.log_at(times * n_train)
        return Estimate(more.value - one.value, more.weights - one.weights)


@dataclass(frozen=True)
class Series:
    """Errors of fits to several numbers of structures, on the same test structures in their order."""

    n_train: np.ndarray
    """N (n_fits,)."""
    numbers: np.ndarray
    """The number of each test structure in the data, from 1 (n,)."""
    groups: np.ndarray
    """Its group (n,)."""
    counts: np.ndarray
    """Its components (n,)."""
    sums: np.ndarray
    """Its sum of squared or absolute deviations, of each fit (n_fits, n)."""
    power: float
    """Of the mean: one half for an RMSE, one for an MAE."""

    @cached_property
    def logs(self) -> np.ndarray:
        """The logarithms of the errors (n_fits,)."""
        return self.power * np.log(self.sums.sum(axis=1) / self.counts.sum())

    @cached_property
    def _x(self) -> np.ndarray:
        return np.log(self.n_train / self.n_train.max())

    @cached_property
    def law(self) -> Law:
        """The law through the errors, with an offset where they have one."""
        return (self._with_offset if self._levels_off else None) or self._power_law

    @property
    def _power_law(self) -> Law:
        influence = self._influence(np.column_stack([np.ones_like(self._x), -self._x]))
        return Law(influence @ self.logs, influence, float(self.n_train.max()))

    @property
    def _sizes(self) -> np.ndarray:
        """What the deviations of fits count (n_fits,): the square of it is their weight."""
        return np.sqrt(self.n_train / self.n_train.max())

    def _influence(self, slopes: np.ndarray) -> np.ndarray:
        """Return how constants follow the logarithms, where those have such slopes by the constants."""
        return np.linalg.pinv(slopes * self._sizes[:, None]) * self._sizes

    @property
    def curvature(self) -> tuple[float, float] | None:
        """The 95 % interval of the curvature of log E over log N; None where it is not known."""
        if len(np.unique(self.n_train)) < 4:
            return None
        design = np.column_stack([np.ones_like(self._x), self._x, self._x**2])
        influence = self._influence(design)
        left = self.logs - design @ (influence @ self.logs)
        return self._ends(Estimate(float(influence[2] @ self.logs), influence[2]), left, len(left) - 3)

    @property
    def _levels_off(self) -> bool:
        ends = self.curvature
        return ends is not None and ends[0] > 0

    @property
    def _with_offset(self) -> Law | None:
        """The law with an offset; None where least squares give none that is one."""
        start = [*self._power_law.parameters, self.logs.min() - 1.0]
        low, high = self.logs.min() + np.log(LEAST_OFFSET), self.logs.max()
        found = optimize.least_squares(
            lambda p: (_logs(p, self._x) - self.logs) * self._sizes,
            np.clip(start, [-np.inf, 1e-3, low + 1e-3], [np.inf, LARGEST_EXPONENT - 1e-3, high - 1e-3]),
            jac=lambda p: _slopes(p, self._x) * self._sizes[:, None],
            bounds=([-np.inf, 0.0, low], [np.inf, LARGEST_EXPONENT, high]),
        )
        if not found.success or found.active_mask.any():
            return None
        return Law(found.x, self._influence(_slopes(found.x, self._x)), float(self.n_train.max()))

    def interval(self, estimate: Estimate, other: np.ndarray | None = None) -> tuple[float, float] | None:
        """Return the ends of the 95 % interval of an estimate; None where nothing says them.

        With ``other``, the sums of another potential on the same structures (n,), that of the logarithm of an
        error less that of the other, which has been fitted: its own scatter does not matter.
        """
        left = self.logs - _logs(self.law.parameters, self._x)
        return self._ends(estimate, left, len(left) - len(self.law.parameters), other)

    def _ends(
        self, estimate: Estimate, left: np.ndarray, n_free: int, other: np.ndarray | None = None
    ) -> tuple[float, float] | None:
        """Return the interval of an estimate, where the law leaves ``left`` of the logarithms."""
        weights, value, sums = estimate.weights, estimate.value, self.sums
        if other is not None:
            sums = np.concatenate([sums, other[None]])
            weights = np.append(weights, -1.0)
            value -= self.power * float(np.log(other.sum() / self.counts.sum()))
        sums = np.concatenate([sums, self.counts[None]])
        powers = self.power * np.append(weights, -weights.sum())
        product = Product.of_sums(sums, powers.tolist(), self.groups)
        spread = float(np.square(left * self._sizes).sum() / n_free) ** 0.5
        of_fits = float(np.square(estimate.weights / self._sizes).sum())
        scatter = spread * (of_fits + estimate.of_one_fit) ** 0.5
        found = intervals.interval(product, scatter, n_free)
        if found is None:
            return None
        # A law with an offset is no sum of logarithms, but follows them as one.
        low, high = (value + end - product.log for end in found)
        return float(low), float(high)

    def among(self, numbers: np.ndarray) -> "Series":
        """Return the errors on the structures with these numbers."""
        kept = np.isin(self.numbers, numbers)
        return Series(
            self.n_train,
            *(self.numbers[kept], self.groups[kept], self.counts[kept], self.sums[:, kept]),
            self.power,
        )


def _logs(p: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the logarithms of the errors of a law (n,) at x = log(N / N_0) (n,)."""
    falling = p[0] - p[1] * x
    return falling if len(p) == 2 else np.logaddexp(falling, p[2])


def _slopes(p: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return their derivatives by the parameters (n, n_parameters)."""
    share = np.ones_like(x) if len(p) == 2 else np.exp(p[0] - p[1] * x - _logs(p, x))
    columns = [share, -share * x, 1 - share]
    return np.column_stack(columns[: len(p)])
