"""Plain pictures: PNG, JPEG and TIFF in strips, decoded whole and held in memory.

They hold no microscopy metadata. A PNG or JPEG never states a pixel size that means anything here; a TIFF may, where
its resolution has a unit. What is too large to be held is refused before it is decoded.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsigraph.errors import TruncatedSlide, UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.slide import tiff_index
from wsigraph.slide.colour import WHITE, Window, apply_window, to_rgb
from wsigraph.slide.description import HOW_TO_CONVERT, HOW_TO_WINDOW, FileDescription, make_levels
from wsigraph.slide.mpp import StatedMpp
from wsigraph.slide.series import SeriesRule

MAX_IMAGE_PX = 2**27
"""Most pixels of a picture: 11,585 x 11,585, 400 MB of RGB. Larger ones belong into a tiled TIFF."""

_MAGIC = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_PNG_HEAD, _DEEP_BITS, _PNG_RGB = 26, 16, (2, 6)
"""Bytes up to the depth and colour type of a PNG, the depth of 16-bit samples, and the types of RGB and RGBA."""
_RGB_SAMPLES = 3
_TILE_PX = 512
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR = 0, 1, 2, 6


class ImageReader:
    """A plain picture, decoded when it is opened.

    Parameters
    ----------
    path : Path
        The file.
    window : tuple of int, optional
        Levels of a TIFF or PNG of 16-bit RGB that become 0 and 255; such a file is refused where left out.

    Raises
    ------
    TruncatedSlide
        If the file ends before its pixels do.
    UnreadableSlide
        If it is no picture that decodes to 8-bit grey or RGB, or has more than `MAX_IMAGE_PX` pixels.
    """

    suffixes: ClassVar[frozenset[str]] = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff"})
    series: ClassVar[tuple[SeriesRule, ...]] = ()
    takes_window: ClassVar[bool] = True

    def __init__(self, path: Path, window: Window | None = None) -> None:
        is_tiff = tiff_index.is_tiff(path)
        window = window if (_is_deep(path) if is_tiff else _png_colours(path) in _PNG_RGB) else None
        vendor, self._pixels, stated, icc = _read_tiff(path, window) if is_tiff else _read_picture(path, window)
        size = Size(*self._pixels.shape[:2])
        self.description = FileDescription(
            vendor=vendor,
            levels=make_levels([(size, Size(_TILE_PX, _TILE_PX))]),
            scales=((1,),),
            mpp=stated.x if stated else None,
            mpp_y=stated.y if stated else None,
            mpp_source=stated.source if stated else None,
            window=window,
            icc=icc,
        )

    @classmethod
    def matches(cls, path: Path) -> bool:
        """Return whether a file begins like a PNG, JPEG or TIFF."""
        return tiff_index.is_tiff(path) or _kind(path) is not None

    def read_level(self, level: int, box: Box, scale: int = 1) -> NDArray[np.uint8]:
        """Return pixels of the picture.

        Parameters
        ----------
        level : int
            0.
        box : Box
            Pixels; white outside the picture.
        scale : int
            1.

        Returns
        -------
        uint8 (h, w, 3)
            RGB.
        """
        del level, scale
        out = np.full((box.height, box.width, 3), WHITE, dtype=np.uint8)
        inside = box.clip(Size(*self._pixels.shape[:2]))
        if not inside.is_empty:
            out[inside.relative_to(box).slices] = self._pixels[inside.slices]
        return out

    def close(self) -> None:
        """Free the pixels."""
        self._pixels = np.empty((0, 0, 3), dtype=np.uint8)


def _kind(path: Path) -> str | None:
    try:
        with path.open("rb") as handle:
            head = handle.read(8)
    except OSError:
        return None
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def _png_colours(path: Path) -> int | None:
    """Return the colour type of a PNG of 16 bits a sample; None for any other picture."""
    with path.open("rb") as handle:
        head = handle.read(_PNG_HEAD)
    is_deep = len(head) == _PNG_HEAD and _MAGIC.get(head[:8]) == "png" and head[24] == _DEEP_BITS
    return head[25] if is_deep else None


def _read_deep_png(path: Path, window: Window) -> NDArray[np.uint8]:
    """Return RGB of a PNG of 16 bits by a window; Pillow would keep the upper 8 bits of each sample in silence."""
    import imagecodecs

    try:
        samples = imagecodecs.png_decode(path.read_bytes())
    except imagecodecs.PngError as error:
        raise UnreadableSlide(
            f"slide {str(path)!r} does not decode ({tiff_index.first_line(error)}); copy it again"
        ) from None
    colours = apply_window(samples[..., :3], window)
    if samples.shape[2] == _RGB_SAMPLES:
        return colours
    # how opaque a pixel is has nothing to do with the levels of its colours
    return to_rgb(np.dstack([colours, apply_window(samples[..., 3], (0, 65535))]))


def _read_picture(path: Path, window: Window | None) -> tuple[str, NDArray[np.uint8], StatedMpp | None, bytes | None]:
    kind = _kind(path)
    if kind is None:
        raise UnreadableSlide(f"slide {str(path)!r} is no PNG, JPEG or TIFF picture; check the file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            image = Image.open(path, formats=(kind.upper(),))
        with image:
            _check_area(path, image.width, image.height)
            if image.mode not in _MODES:
                raise UnreadableSlide(
                    f"slide {str(path)!r} holds pixels of mode {image.mode}, expected 8-bit grey or RGB; "
                    f"{HOW_TO_CONVERT}"
                )
            if (colours := _png_colours(path)) is not None:
                if colours not in _PNG_RGB:
                    raise UnreadableSlide(
                        f"slide {str(path)!r} is a PNG of 16 bits without colours, expected RGB; {HOW_TO_CONVERT}"
                    )
                if window is None:
                    raise UnreadableSlide(
                        f"slide {str(path)!r} holds RGB of 16 bits; {HOW_TO_WINDOW}; or {HOW_TO_CONVERT}"
                    )
            has_alpha = "A" in image.mode or "transparency" in image.info
            profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
            icc = profile if isinstance(profile, bytes) else None
            if window is not None:
                return kind, _read_deep_png(path, window), None, icc
            return kind, to_rgb(np.asarray(image.convert("RGBA" if has_alpha else "RGB"))), None, icc
    except UnidentifiedImageError:
        raise UnreadableSlide(f"slide {str(path)!r} is a damaged {kind.upper()}; copy it again") from None
    except Image.DecompressionBombError:
        raise UnreadableSlide(_too_large(path, "far too many")) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = tiff_index.first_line(error)
        kind_of_error = TruncatedSlide if "truncated" in reason else UnreadableSlide
        raise kind_of_error(f"slide {str(path)!r} does not decode ({reason}); copy it again") from None


def _is_deep(path: Path) -> bool:
    """Return whether a TIFF holds RGB of 16 bits; False where its index is damaged, which its reading reports."""
    try:
        with tiff_index.open_index(path) as tif:
            return tiff_index.is_deep_rgb(next(tiff_index.all_pages(tif)))
    except tiff_index.MALFORMED:
        return False


def _read_tiff(path: Path, window: Window | None) -> tuple[str, NDArray[np.uint8], StatedMpp | None, bytes | None]:
    try:
        with tiff_index.open_index(path) as tif:
            tiff_index.check_extents(path, tif)
            page = next(tiff_index.all_pages(tif))
            _check_area(path, page.imagewidth, page.imagelength)
            photometric = int(page.photometric)
            if tiff_index.is_deep_rgb(page) and window is None:
                raise UnreadableSlide(f"slide {str(path)!r} holds RGB of 16 bits; {HOW_TO_WINDOW}; or {HOW_TO_CONVERT}")
            if (page.dtype != np.uint8 and window is None) or photometric not in (
                _WHITE_IS_ZERO,
                _BLACK_IS_ZERO,
                _RGB,
                _YCBCR,
            ):
                raise UnreadableSlide(
                    f"slide {str(path)!r} is a TIFF of {page.dtype} with {tiff_index.colours_of(page)} colours, "
                    f"expected 8-bit grey or RGB; {HOW_TO_CONVERT}"
                )
            samples = page.asarray(maxworkers=1)
            if window is not None:
                samples = apply_window(samples, window)
            if page.samplesperpixel > 1 and int(page.planarconfig) != 1:
                samples = np.moveaxis(samples, 0, -1)
            pixels = to_rgb(samples)
            vendor = tiff_index.vendor_of(tif)
            stated, icc = tiff_index.stated_mpp(tif, vendor), tiff_index.icc_profile(tif)
    except tiff_index.MALFORMED as error:
        raise UnreadableSlide(
            f"slide {str(path)!r} does not decode ({tiff_index.first_line(error)}); copy it again"
        ) from None
    return vendor, WHITE - pixels if photometric == _WHITE_IS_ZERO else pixels, stated, icc


def _check_area(path: Path, width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PX:
        raise UnreadableSlide(_too_large(path, f"{width} x {height}"))


def _too_large(path: Path, what: str) -> str:
    return (
        f"slide {str(path)!r} is a plain picture of {what} pixels, more than the {MAX_IMAGE_PX} that are held in "
        f"memory; {HOW_TO_CONVERT}"
    )
