"""A slide opened inside a worker process, with limits on its pixels.

No digest is computed, because that would read the whole file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import SlideConfig
from wsigraph.errors import TooLarge
from wsigraph.geometry import Box, Size
from wsigraph.records import SlideInfo
from wsigraph.service.upload_store import is_upload
from wsigraph.slide import files
from wsigraph.slide.icc import IccReader
from wsigraph.slide.mpp import find_problem
from wsigraph.slide.opening import open_reader
from wsigraph.slide.reader import Slide
from wsigraph.slide.resample import choose_source
from wsigraph.slide.self_contained import check_self_contained

# a viewer shows damaged tiles as white instead of refusing the slide
_MAX_BAD_TILE_FRACTION = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLimits:
    """Limits on the pixels of one request.

    Attributes
    ----------
    decoded_mpx : float
        Largest number of pixels decoded for one image, Mpx.
    slide_mpx : float
        Largest number of pixels of level 0, Mpx.
    slide : SlideConfig
        Focal plane, colour profile and window by which slides are read.
    """

    decoded_mpx: float
    slide_mpx: float
    slide: SlideConfig = field(default_factory=SlideConfig)


class IsolatedSlide:
    """A slide opened inside a worker process.

    Parameters
    ----------
    path : Path
        The slide.
    limits : PixelLimits
        Largest slide and largest decoded area.

    Raises
    ------
    TooLarge
        If the slide, or one of its native tiles, has more pixels than allowed.
    UnreadableSlide
        If no reader opens it, or if it was uploaded and its format needs more than one file.
    """

    def __init__(self, path: Path, limits: PixelLimits) -> None:
        located = files.locate(path)
        if is_upload(located):
            check_self_contained(located)
        name, reader = open_reader(located, None, limits.slide.z, limits.slide.window)
        description = reader.description
        is_icc_applied = limits.slide.icc == "apply" and description.icc is not None
        if is_icc_applied:
            reader = IccReader(reader, str(path))
        self._limits = limits
        self._scales = description.scales
        # a slide without a pixel size can be viewed, with pixels as its unit
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
            origin=(0, 0) if description.bounds is None else (description.bounds.x0, description.bounds.y0),
            plane=description.plane,
            z=description.z,
            n_z=description.n_z,
            window=description.window,
            is_icc_applied=is_icc_applied,
        )
        self._slide = Slide(info, reader, max_bad_tile_fraction=_MAX_BAD_TILE_FRACTION)
        try:
            self._check_size()
        except TooLarge:
            self._slide.close()
            raise

    @property
    def size(self) -> Size:
        """Size of level 0 in pixels."""
        return self._slide.info.levels[0].size

    def read(self, box: Box, downsample: float) -> NDArray[np.uint8]:
        """Return pixels at a downsample of level 0.

        Parameters
        ----------
        box : Box
            Region in pixels at `downsample`.
        downsample : float
            Number of level-0 pixels along one output pixel.

        Returns
        -------
        uint8 (h, w, 3)
            RGB.

        Raises
        ------
        TooLarge
            If more pixels would have to be decoded than allowed.
        UnreadableSlide
            If the file cannot be decoded.
        """
        info = self._slide.info
        target = info.mpp * downsample
        source = choose_source(info.levels, self._scales, info.mpp, target)
        window = source.window(box)
        self._check_decoded("decoding it needs", window.height * window.width)
        return self._slide.read(box, target)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def _check_size(self) -> None:
        size = self.size
        if size.area > self._limits.slide_mpx * 1e6:
            raise TooLarge(
                f"the slide has {size.width} x {size.height} pixels, more than the {self._limits.slide_mpx:g} Mpx "
                "allowed; raise service.slide_max_mpx"
            )
        for level in self._slide.info.levels:
            self._check_decoded("one of its tiles has", level.tile.area)

    def _check_decoded(self, reason: str, n_px: int) -> None:
        if n_px > self._limits.decoded_mpx * 1e6:
            raise TooLarge(
                f"the image is refused: {reason} {n_px / 1e6:.0f} Mpx, more than the {self._limits.decoded_mpx:g} Mpx "
                "allowed; the slide has no smaller level: convert it to a tiled pyramid, or raise "
                "service.decoded_max_mpx"
            )


def describe(path: Path, limits: PixelLimits) -> dict[str, Any]:
    """Return the metadata of a slide, as ``wsigraph inspect`` does, without its digest.

    Parameters
    ----------
    path : Path
        The slide.
    limits : PixelLimits
        Largest slide and largest decoded area.

    Returns
    -------
    dict
        JSON values of ``wsigraph.slide.inspection.inspect``.

    Raises
    ------
    TooLarge
        If it has more pixels than allowed.
    UnreadableSlide
        If no reader opens it.
    """
    from wsigraph.slide.inspection import inspect

    IsolatedSlide(path, limits).close()
    return inspect(path, with_digest=False, options=limits.slide)
