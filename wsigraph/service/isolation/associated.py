"""Label, macro and thumbnail images of a slide. They are only served with ``--associated-images``."""

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
        Name of the image, as in the slide's metadata.
    limits : PixelLimits
        Largest slide and largest decoded area.

    Returns
    -------
    bytes
        JPEG.

    Raises
    ------
    NotFound
        If the slide has no such image, or OpenSlide cannot read the images of its format.
    """
    import openslide

    names = describe(path, limits)["associated"]
    if name not in names:
        raise NotFound(f"the slide has no image {name!r}; it has {', '.join(names) or 'none'}")
    try:
        with openslide.OpenSlide(str(path)) as handle:
            image = handle.associated_images[name].convert("RGB")
    except (openslide.OpenSlideError, KeyError):
        raise NotFound(
            f"the image {name!r} cannot be read: OpenSlide does not support associated images of this format"
        ) from None
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()
