from __future__ import annotations

from wsigraph.cohort.metrics.proportion_interval import wilson


def test_wilson_is_the_published_interval() -> None:
    low, high = wilson(81, 263)  # Newcombe, Statistics in Medicine 1998, table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20)[0] == 0.0
    assert wilson(0, 0) == (0.0, 1.0)
