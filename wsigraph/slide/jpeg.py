"""JPEG tiles of a TIFF, at full size or shrunk while they are decoded.

A TIFF stores its tiles as abbreviated streams: the tables are in one tag, and the meaning of the components is in the
photometric tag, not in the stream. Both are inserted here, so that any JPEG decoder can read the stream. Shrinking by
2, 4 or 8 is done on the cosine coefficients of each 8 x 8 block, which saves most of the work of decoding. Dropping
coefficients is not quite averaging pixels: on stained tissue the two differ by 0.1 to 0.6 grey levels in the mean.

References
----------
ITU-T T.81 (1992), annex B: the order of marker segments. Adobe TN 5116: the marker that names the colour transform.
"""

from __future__ import annotations

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray

from wsigraph.geometry import Size

SCALES = (1, 2, 4, 8)
"""Factors by which a JPEG tile can be shrunk while it is decoded."""

_START, _ADOBE = b"\xff\xd8", b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
_APPLICATION = range(0xE0, 0xF0)


def complete(stream: bytes, tables: bytes | None, is_ycbcr: bool) -> bytes:
    """Return an abbreviated stream as a complete one whose colour transform is named.

    Parameters
    ----------
    stream : bytes
        One tile.
    tables : bytes or None
        The tag JPEGTables.
    is_ycbcr : bool
        True if the three components are luminance and chrominance, False if they are red, green and blue.

    Returns
    -------
    bytes
        A stream with its tables and without application segments but the one that names the transform. What the
        writer put there may contradict the TIFF's tag, and the tag counts.

    Raises
    ------
    ValueError
        If the stream or the tables hold no proper sequence of segments.
    """
    parts = [_START]
    if tables:
        parts += _segments(tables)[0]
    segments, scan = _segments(stream)
    parts += [*segments, _ADOBE, b"\x01" if is_ycbcr else b"\x00", scan]
    return b"".join(parts)


def decode(stream: bytes, tile: Size, scale: int = 1) -> NDArray[np.uint8]:
    """Return the pixels of a complete stream; the GIL is released while it is decoded.

    Parameters
    ----------
    stream : bytes
        From `complete`.
    tile : Size
        Most pixels that the stream may hold. A stream can state any size, and the decoder allocates what it states.
    scale : int
        1, 2, 4 or 8.

    Returns
    -------
    uint8 (h, w, 3)
        RGB, each side divided by `scale` and rounded up.

    Raises
    ------
    ValueError
        If the stream does not decode, is larger than `tile`, or is damaged though a decoder could make something
        of it.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(stream)
    if height > tile.height or width > tile.width:
        raise ValueError(f"the stream holds {width} x {height} pixels, the tile {tile.width} x {tile.height}")
    if scale == 1:
        return np.asarray(simplejpeg.decode_jpeg(stream, "RGB"))
    height, width = -(-height // scale), -(-width // scale)
    return np.asarray(simplejpeg.decode_jpeg(stream, "RGB", min_height=height, min_width=width, min_factor=scale))


def _segments(stream: bytes) -> tuple[list[bytes], bytes]:
    """Return the segments before the scan that matter to a decoder, and all from the scan on."""
    segments: list[bytes] = []
    at = 2
    if stream[:2] != _START:
        raise ValueError("the stream does not begin like a JPEG")
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # a marker may be preceded by fill bytes
            at += 1
            continue
        if marker == _SCAN:
            return segments, stream[at:]
        stop = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker not in _APPLICATION and marker != _COMMENT:
            segments.append(stream[at:stop])
        at = stop
    if stream[at : at + 2] != bytes((0xFF, _END)):
        raise ValueError("the stream ends before its scan")
    return segments, b""
