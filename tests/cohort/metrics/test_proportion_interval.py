from __future__ import annotations

from wsigraph.cohort.metrics.proportion_interval import wilson_confidence_interval


def test_wilson_is_the_published_interval() -> None:
    low, high = wilson_confidence_interval(81, 263)  # Newcombe, Statistics in Medicine 1998, table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_confidence_interval(0, 20)[0] == 0.0
    assert wilson_confidence_interval(0, 0) == (0.0, 1.0)
