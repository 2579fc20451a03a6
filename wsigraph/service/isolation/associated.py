"""Label, macro and thumbnail images that lie beside a slide's pixels; served where the service was started so."""

from __future__ import annotations

import io
from pathlib import Path

from wsigraph.errors import NotFound
from wsigraph.service.isolation.slide import PixelLimits, describe


def encode_associated(path: Path, name: str, limits: PixelLimits) -> bytes:
    """Return an associated image as JPEG.

    Parameters
    ----------
    path : Path
        The slide.
    name : str
        One of those that the slide says it holds.
    limits : PixelLimits
        What it may cost.

    Returns
    -------
    bytes
        The picture.

    Raises
    ------
    NotFound
        If the slide holds no such image, or is of a format whose associated images are not read.
    """
    import openslide

    names = describe(path, limits)["associated"]
    if name not in names:
        raise NotFound(f"the slide holds no image {name!r}; it holds {', '.join(names) or 'none'}")
    try:
        with openslide.OpenSlide(str(path)) as handle:
            image = handle.associated_images[name].convert("RGB")
    except (openslide.OpenSlideError, KeyError):
        raise NotFound(f"the image {name!r} is of a format whose associated images are not read") from None
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()
