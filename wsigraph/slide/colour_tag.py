"""Whether the JPEG streams of a TIFF hold the colours that its tag states.

A TIFF's photometric tag says if three components are red, green and blue, or luminance and chrominance. Some writers
state one and store the other; tissue is then pink on green, by up to 96 grey levels. Two signs are certain enough to
follow the stream instead: components of different resolution, which red, green and blue never have, and the colour of
the glass. Bright glass is (240, 240, 240) in one case and (240, 128, 128) in the other.

A slide without glass whose chrominance has full resolution is not noticed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Size
from wsigraph.slide import jpeg

_BRIGHT, _NEUTRAL, _SPREAD = 200, 128, 12
_BRIGHT_FRACTION = 0.02
_START_OF_FRAME = frozenset({0xC0, 0xC1, 0xC2})


def find_contradiction(streams: Iterable[tuple[bytes, bytes | None]], tile: Size, is_ycbcr: bool) -> str:
    """Return how JPEG tiles contradict their tag; empty where they do not.

    Parameters
    ----------
    streams : iterable of (bytes, bytes or None)
        Some tiles of three components, with the tag JPEGTables.
    tile : Size
        Most pixels that a stream may hold.
    is_ycbcr : bool
        Whether the tag says luminance and chrominance.

    Returns
    -------
    str
        The reason, for a warning.

    Raises
    ------
    ValueError
        If a stream does not decode.
    """
    components = []
    for stream, tables in streams:
        if not is_ycbcr and _is_subsampled(stream):
            return "its tag says RGB, and its JPEG streams hold chrominance of lower resolution"
        components.append(jpeg.decode(jpeg.complete(stream, tables, is_ycbcr=False), tile).reshape(-1, 3))
    glass = _glass(np.concatenate(components)) if components else None
    if glass is None:
        return ""
    shown = ", ".join(f"{value:.0f}" for value in glass)
    if not is_ycbcr and (np.abs(glass[1:] - _NEUTRAL) <= _SPREAD).all():
        return f"its tag says RGB, and its glass is ({shown}), as of luminance and chrominance"
    if is_ycbcr and (glass >= _BRIGHT).all():
        return f"its tag says YCbCr, and its glass is ({shown}), as of red, green and blue"
    return ""


def _glass(components: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Return the median of the pixels whose first component is bright, float64 (3,); None where they are few."""
    bright = components[components[:, 0] >= _BRIGHT]
    if len(bright) < max(1, _BRIGHT_FRACTION * len(components)):
        return None
    return np.asarray(np.median(bright, axis=0), np.float64)


def _is_subsampled(stream: bytes) -> bool:
    """Return whether the second of three components has a lower resolution than the first."""
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in _START_OF_FRAME:
            # segment: length, precision, height, width, number of components, then id, sampling, table of each
            frame = stream[at + 4 : at + 2 + length]
            return len(frame) >= 15 and frame[5] == 3 and frame[7] != frame[10]
        at += 1 if marker == 0xFF else 2 + length
    return False
