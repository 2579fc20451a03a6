"""Confidence interval of a proportion.

Reference: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
"""

from __future__ import annotations

import math

_Z = 1.959963984540054


def wilson_confidence_interval(n_successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson confidence interval of a proportion.

    Parameters
    ----------
    n_successes, n : int
        Successes, and trials.

    Returns
    -------
    low, high : float
        0 and 1 if there is no trial.
    """
    if n == 0:
        return 0.0, 1.0
    fraction, z2 = n_successes / n, _Z * _Z
    centre = fraction + z2 / (2 * n)
    half_width = _Z * math.sqrt(fraction * (1 - fraction) / n + z2 / (4 * n * n))
    return max(0.0, (centre - half_width) / (1 + z2 / n)), min(1.0, (centre + half_width) / (1 + z2 / n))
