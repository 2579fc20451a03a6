"""A slide opened to be looked at: within limits on pixels, and without a digest, which would read the whole file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import TooLarge
from wsigraph.geometry import Box, Size
from wsigraph.records import SlideInfo
from wsigraph.service.upload_store import is_upload
from wsigraph.slide import files
from wsigraph.slide.mpp import find_problem
from wsigraph.slide.opening import open_reader
from wsigraph.slide.reader import Slide
from wsigraph.slide.resample import choose_source
from wsigraph.slide.self_contained import check_self_contained

_ANY_BAD = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLimits:
    """What one look at a slide may cost.

    Attributes
    ----------
    decoded_mpx : float
        Most pixels that are decoded for one picture, Mpx.
    slide_mpx : float
        Most pixels of a slide's finest level, Mpx.
    """

    decoded_mpx: float
    slide_mpx: float


class OpenedSlide:
    """A slide that yields pictures of its parts.

    Parameters
    ----------
    path : Path
        The slide.
    limits : PixelLimits
        What it may cost.

    Raises
    ------
    TooLarge
        If the slide, or one of its native tiles, has more pixels than allowed.
    UnreadableSlide
        If no reader opens it, or it was uploaded and is not of a format of one file.
    """

    def __init__(self, path: Path, limits: PixelLimits) -> None:
        located = files.locate(path)
        if is_upload(located):
            check_self_contained(located)
        name, reader = open_reader(located)
        description = reader.description
        self._limits = limits
        self._scales = description.scales
        # a slide that states no pixel size can be looked at, with pixels for a unit
        mpp = 1.0 if description.mpp is None or find_problem(str(path), description) else description.mpp
        info = SlideInfo(
            slide_id="slide",
            path=str(located),
            sha256="",
            vendor=description.vendor,
            reader=name,
            mpp=mpp,
            mpp_source="",
            file_mpp=description.mpp,
            levels=description.levels,
        )
        self._slide = Slide(info, reader, max_bad_tile_fraction=_ANY_BAD)
        try:
            self._check()
        except TooLarge:
            self._slide.close()
            raise

    @property
    def size(self) -> Size:
        """Pixels of the finest level."""
        return self._slide.info.levels[0].size

    def read(self, box: Box, downsample: int) -> NDArray[np.uint8]:
        """Return pixels at a power of two of the finest level's pixel size.

        Parameters
        ----------
        box : Box
            Pixels at that size.
        downsample : int
            How many of the finest level's pixels one of them spans.

        Returns
        -------
        uint8 (h, w, 3)
            RGB.

        Raises
        ------
        TooLarge
            If more pixels would have to be decoded than allowed.
        UnreadableSlide
            If the file does not decode.
        """
        info = self._slide.info
        target = info.mpp * downsample
        source = choose_source(info.levels, self._scales, info.mpp, target)
        window = source.window(box)
        self._refuse("decoding it takes", window.height * window.width)
        return self._slide.read(box, target)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def _check(self) -> None:
        size = self.size
        if size.area > self._limits.slide_mpx * 1e6:
            raise TooLarge(
                f"the slide has {size.width} x {size.height} pixels, more than the {self._limits.slide_mpx:g} Mpx that "
                "are served; raise service.slide_max_mpx"
            )
        for level in self._slide.info.levels:
            self._refuse("one of its tiles has", level.tile.area)

    def _refuse(self, what: str, n_px: int) -> None:
        if n_px > self._limits.decoded_mpx * 1e6:
            raise TooLarge(
                f"the picture is refused: {what} {n_px / 1e6:.0f} Mpx, more than the {self._limits.decoded_mpx:g} Mpx "
                "allowed; the slide holds no smaller level, convert it to a tiled pyramid or raise "
                "service.decoded_max_mpx"
            )


def describe(path: Path, limits: PixelLimits) -> dict[str, Any]:
    """Return what a slide says of itself, as ``wsigraph inspect`` does, its digest left out.

    Parameters
    ----------
    path : Path
        The slide.
    limits : PixelLimits
        What it may cost to open it.

    Returns
    -------
    dict
        Plain values of ``wsigraph.slide.inspection.inspect``.

    Raises
    ------
    TooLarge
        If it has more pixels than allowed.
    UnreadableSlide
        If no reader opens it.
    """
    from wsigraph.slide.inspection import inspect

    OpenedSlide(path, limits).close()
    return inspect(path, with_digest=False)
