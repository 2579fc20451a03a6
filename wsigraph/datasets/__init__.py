"""Slides to try things with.

`sample` returns the path of a real, small slide: a stained section of skin from the OpenSlide test data, dedicated to
the public domain (CC0-1.0). It comes with the package, so nothing is downloaded.
"""

from __future__ import annotations

from wsigraph.datasets.sample_slide import sample

__all__ = ["sample"]
