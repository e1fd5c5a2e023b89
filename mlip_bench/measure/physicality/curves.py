"""How smooth a curve is, from its slope at even steps."""

import numpy as np


def roughness(slopes: np.ndarray, step: float) -> float:
    r"""Return how much the second derivative of an energy changes with its step, over its largest value.

    .. math:: \max_t |k_h(t) - k_{2h}(t)| / \max_t |k_{2h}(t)|, \quad k_h(t) = [s(t + h) - s(t - h)] / 2h

    of slopes s (n,) at even steps h. Of a curve with four derivatives it is about h² s'''/(2 s'), and falls
    with the square of the step; a jump Δ of the slope adds Δ/4h, which grows without limit. 0 of a curve
    without a slope.
    """
    once = (slopes[2:] - slopes[:-2]) / (2 * step)
    twice = (slopes[4:] - slopes[:-4]) / (4 * step)
    largest = float(np.abs(twice).max()) if len(twice) else 0.0
    return float(np.abs(once[1:-1] - twice).max()) / largest if largest > 0 else 0.0
