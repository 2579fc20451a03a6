"""A share and what chance leaves open of it.

Reference: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
"""

from __future__ import annotations

import math

_Z = 1.959963984540054


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share.

    Parameters
    ----------
    hits, n : int
        Successes, and trials.

    Returns
    -------
    low, high : float
        0 and 1 where there is no trial.
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, _Z * _Z
    centre = share + z2 / (2 * n)
    spread = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z2 / n)), min(1.0, (centre + spread) / (1 + z2 / n))
