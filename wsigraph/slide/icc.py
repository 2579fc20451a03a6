"""ICC colour profiles of scanners: named always, applied where it is asked for.

A profile says what the scanner's red, green and blue look like. Applied, colours of different scanners are closer; but
models and stain vectors are made from pixels as they are stored, so that `ignore` is the default. Colours are converted
to sRGB by Little CMS with relative colorimetric intent, which keeps white white, before pixels are averaged.
"""

from __future__ import annotations

import io
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from wsigraph.errors import UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide.description import FileDescription
from wsigraph.slide.opening import SlideReader
from wsigraph.slide.series import SeriesRule

MAX_BYTES = 2**24
"""Largest profile that is parsed."""


def profile_name(profile: bytes | None) -> str:
    """Return the description of a profile; empty where there is none, ``"unreadable"`` where it does not parse."""
    if not profile:
        return ""
    try:
        opened = _open(profile)
        return " ".join(str(ImageCms.getProfileDescription(opened)).split()) or "without a name"
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "unreadable"


class IccReader:
    """A reader whose colours are converted to sRGB.

    Parameters
    ----------
    reader : SlideReader
        The open reader; its description holds the profile.
    name : str
        Name of the slide in messages.

    Raises
    ------
    UnreadableSlide
        If the profile does not parse, or is not of RGB.
    """

    suffixes: ClassVar[frozenset[str]] = frozenset()
    series: ClassVar[tuple[SeriesRule, ...]] = ()

    def __init__(self, reader: SlideReader, name: str) -> None:
        self._reader = reader
        self.description: FileDescription = reader.description
        try:
            self._transform: Any = ImageCms.buildTransform(
                _open(reader.description.icc or b""),
                ImageCms.createProfile("sRGB"),
                "RGB",
                "RGB",
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            raise UnreadableSlide(
                f"slide {name!r} has an ICC profile that cannot be applied ({error}); read it with slide.icc=ignore"
            ) from None

    @classmethod
    def matches(cls, path: object) -> bool:
        """Return False: the reader that it wraps decides."""
        del path
        return False

    def read_level(self, level: int, box: Box, scale: int = 1) -> NDArray[np.uint8]:
        """Return pixels of a level in sRGB, uint8 (h, w, 3).

        Raises
        ------
        UnreadableSlide
            Whatever the reader raises.
        """
        pixels = self._reader.read_level(level, box, scale)
        if 0 in pixels.shape:
            return pixels
        return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), self._transform))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def _open(profile: bytes) -> Any:
    if not 0 < len(profile) <= MAX_BYTES:
        raise ValueError(f"it has {len(profile)} bytes")
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))
