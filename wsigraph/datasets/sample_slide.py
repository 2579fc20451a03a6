"""The slide that comes with the package.

A wheel holds the file beside this module. In a clone it is the test slide, which is kept once. The digest of the bytes
is checked before the path is returned, so that a damaged copy is never taken for a fault of the library.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from wsigraph.errors import StoreError

NAME = "CMU-1-Small-Region.svs"
SHA256 = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"
_PLACES = (Path(__file__).parent / NAME, Path(__file__).parents[2] / "tests" / "data" / NAME)


def sample() -> Path:
    """Return the path of a small slide, 2,220 x 2,967 px at 0.499 um/px, stained with hematoxylin and eosin.

    Returns
    -------
    Path
        An Aperio SVS file of 1.9 MB. It is part of the installation: read it there, or copy it.

    Raises
    ------
    StoreError
        If the file is missing from the installation, or its bytes are not those of the slide.

    Notes
    -----
    Source: OpenSlide test data, CMU-1-Small-Region, CC0-1.0.

    Examples
    --------
    >>> import wsigraph.datasets
    >>> wsigraph.datasets.sample().name
    'CMU-1-Small-Region.svs'
    """
    path = next((place for place in _PLACES if place.is_file()), None)
    if path is None:
        raise StoreError(f"the sample slide {NAME} is not in this installation; install wsigraph again from a wheel")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise StoreError(
            f"the sample slide {path} has SHA-256 {digest[:12]}..., expected {SHA256[:12]}...; install wsigraph again"
        )
    return path
