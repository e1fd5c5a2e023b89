"""The given stress against the predicted one: its sign and unit, which no energy tells of a single cell.

A potential that follows forces well has a stress of about the right sign and size, whether it was fitted to
stress or not. Each component is counted from its mean: a pressure that all structures share is what a
potential of one fixed cell does not know.
"""

from collections.abc import Mapping

import numpy as np

from mlip_bench.data.consistency import STRESS_UNITS

# Fewer structures do not tell.
LEAST_STRUCTURES = 10

# The forces are followed, and a scale of the stress means something, beyond this correlation.
LEAST_CORRELATION = 0.7

# A correlation is negative below this, and below three standard deviations of that of chance. A potential
# that was fitted to a turned stress is a compromise: it is not the opposite throughout. A small one that was
# not fitted to stress, of good data, had -0.28 (GAP with 100 sparse points, mlearn Mo).
NEGATIVE, DEVIATIONS = -0.5, 3.0

# A scale within this factor is what a potential that was not fitted to stress may have.
USUAL_SCALE = 5.0
# A unit is named where the scale is this near to its factor.
UNIT_TOLERANCE = 2.5


def doubt(table: Mapping[str, np.ndarray]) -> str | None:
    """Return a sentence where the given stress looks turned or of another unit, None elsewhere.

    ``table`` is the comparison of one split (:func:`mlip_bench.measure.errors.comparison`).
    """
    given, predicted = _variations(table["stress"])
    if len(given) < LEAST_STRUCTURES or _correlation(*table["force"].T) < LEAST_CORRELATION:
        return None
    correlation = _correlation(given, predicted)
    if not np.std(given):
        return None
    scale = float(np.std(predicted) / np.std(given))
    unit = _unit(scale)
    is_turned = correlation < min(NEGATIVE, -DEVIATIONS / np.sqrt(given.size))
    is_other = abs(correlation) > LEAST_CORRELATION and not 1 / USUAL_SCALE < scale < USUAL_SCALE
    if not is_turned and not is_other:
        return None
    told = (
        f"over {len(given)} structures the correlation of predicted and given stress is {correlation:.2f}, "
        f"and the predicted one varies {scale:.3g} times as much"
    )
    advice = []
    if is_turned:
        advice.append("the sign of the given stress looks turned, see --turn-stress")
    if is_other:
        named = f"it looks like {unit}, --stress-unit {unit}" if unit else "see --stress-unit"
        advice.append(f"the given stress looks like one of another unit: {named}")
    return f"{told}: {'; '.join(advice)}"


def _variations(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return given and predicted stress (n_structures, 6), each component from its mean, of finite ones."""
    by_structure = pairs.reshape(-1, 6, 2)
    finite = by_structure[np.isfinite(by_structure).all(axis=(1, 2))]
    if len(finite):
        finite = finite - finite.mean(axis=0)
    return finite[..., 0], finite[..., 1]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the coefficient of correlation of what is finite, 0 where one side does not vary."""
    first, second = first.ravel(), second.ravel()
    finite = np.isfinite(first) & np.isfinite(second)
    first, second = first[finite], second[finite]
    if len(first) < 2 or not np.ptp(first) or not np.ptp(second):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _unit(scale: float) -> str | None:
    distances = {unit: abs(np.log(scale / factor)) for unit, factor in STRESS_UNITS.items()}
    unit = min(distances, key=lambda name: distances[name])
    return unit if distances[unit] < np.log(UNIT_TOLERANCE) else None
