"""Requests of the IIIF Image API 3.0, level 1: which part of a slide at which size.

Nothing here opens a file. A size that is not a power-of-two downsample of its region is resampled to what is requested.
Level 1 has no rotation, no percentages and no enlargement; those requests are refused with 501.

References
----------
IIIF Consortium, Image API 3.0, sections 4 (image requests) and 5 (image information), and its compliance document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from wsigraph.geometry import Box, Size

CONTEXT = "http://iiif.io/api/image/3/context.json"
TILE_PX = 512
MAX_PX = 4096
"""Largest side of an image, px."""
_REGION = re.compile(r"^(\d{1,10}),(\d{1,10}),(\d{1,10}),(\d{1,10})$")
_SIZE = re.compile(r"^(\d{0,6}),(\d{0,6})$")
_NOT_OFFERED = re.compile(r"^(\^|pct:|!)")


class IiifError(ValueError):
    """A request that cannot be answered.

    Attributes
    ----------
    status : int
        400 for a malformed request, 501 for a feature above level 1.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """A part of a slide at a size.

    Attributes
    ----------
    region : Box
        Level-0 pixels.
    size : Size
        Output pixels.
    """

    region: Box
    size: Size

    @property
    def downsample(self) -> float:
        """Number of level-0 pixels along one pixel that is read: a power of two where the size is one, else exact."""
        width, height = self.region.width, self.region.height
        for exponent in range(max(width, height).bit_length() + 1):
            step = 1 << exponent
            if self.size == Size(-(-height // step), -(-width // step)):
                return float(step)
        return max(1.0, min(width / self.size.width, height / self.size.height))


def parse_request(slide: Size, region: str, size: str, rotation: str, quality: str, suffix: str) -> ImageRequest:
    """Return what an image request asks for.

    Parameters
    ----------
    slide : Size
        Size of level 0, px.
    region, size, rotation, quality, suffix : str
        Parts of the URL.

    Returns
    -------
    ImageRequest
        The region, clipped to the slide, and the size.

    Raises
    ------
    IiifError
        If the request is malformed, outside the slide, or above level 1.
    """
    if rotation != "0":
        raise IiifError(501 if re.match(r"^!?\d{1,3}(\.\d+)?$", rotation) else 400, f"rotation {rotation!r}: only 0")
    if quality not in ("default", "color") or suffix != "jpg":
        raise IiifError(501, f"{quality}.{suffix} is not offered; ask for default.jpg")
    box = _parse_region(slide, region)
    return ImageRequest(region=box, size=_parse_size(box.size, size))


def _parse_region(slide: Size, region: str) -> Box:
    if region == "full":
        return Box(y0=0, x0=0, y1=slide.height, x1=slide.width)
    if region == "square":
        side = min(slide.height, slide.width)
        y0, x0 = (slide.height - side) // 2, (slide.width - side) // 2
        return Box(y0=y0, x0=x0, y1=y0 + side, x1=x0 + side)
    if _NOT_OFFERED.match(region):
        raise IiifError(501, f"region {region!r} is not offered; ask for full, square or x,y,w,h in pixels")
    match = _REGION.match(region)
    if match is None:
        raise IiifError(400, f"region {region[:40]!r}: expected full, square or x,y,w,h in pixels")
    x, y, width, height = map(int, match.groups())
    box = Box(y0=y, x0=x, y1=y + height, x1=x + width).clip(slide)
    if not (width and height) or box.is_empty:
        raise IiifError(400, f"region {region!r} holds no pixel of the slide")
    return box


def _parse_size(region: Size, size: str) -> Size:
    if _NOT_OFFERED.match(size):
        raise IiifError(501, f"size {size!r} is not offered; ask for max, w, or ,h or w,h")
    if size == "max":
        scale = min(1.0, MAX_PX / max(region.height, region.width))
        return Size(max(1, int(region.height * scale)), max(1, int(region.width * scale)))
    match = _SIZE.match(size)
    if match is None or size == ",":
        raise IiifError(400, f"size {size[:40]!r}: expected max, w, or ,h or w,h")
    width, height = (int(text) if text else None for text in match.groups())
    if width is None and height is not None:
        width = max(1, round(region.width * height / region.height))
    if height is None and width is not None:
        height = max(1, round(region.height * width / region.width))
    if not width or not height or width > region.width or height > region.height or max(width, height) > MAX_PX:
        raise IiifError(400, f"size {size!r}: expected 1 px to that of the region, and at most {MAX_PX} px a side")
    return Size(height, width)


def image_information(address: str, slide: Size) -> dict[str, Any]:
    """Return the image information document (``info.json``).

    Parameters
    ----------
    address : str
        URL of the image, without ``/info.json``.
    slide : Size
        Size of level 0, px.

    Returns
    -------
    dict
        JSON-LD values.
    """
    n_levels = max(1, (max(slide.height, slide.width) // TILE_PX).bit_length() + 1)
    factors = [1 << level for level in range(n_levels)]
    fitting = [factor for factor in factors if max(slide.height, slide.width) <= MAX_PX * factor]
    return {
        "@context": CONTEXT,
        "id": address,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level1",
        "width": slide.width,
        "height": slide.height,
        "maxWidth": MAX_PX,
        "maxHeight": MAX_PX,
        "tiles": [{"width": TILE_PX, "height": TILE_PX, "scaleFactors": factors}],
        "sizes": [
            {"width": -(-slide.width // factor), "height": -(-slide.height // factor)} for factor in reversed(fitting)
        ],
        "extraQualities": ["color"],
    }
