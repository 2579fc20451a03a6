"""What a user says of the tissue: a mask in place of the one that is found, and regions that limit it.

Both are sampled at the centre of each cell of the low-power grid.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import NoTissue
from wsigraph.geometry import Box, Size
from wsigraph.slide.reader import Slide
from wsigraph.slide.roi import Roi, as_roi


def limit_tissue(
    slide: Slide,
    mask: NDArray[np.bool_],
    mpp: float,
    *,
    roi: Roi | Path | str | None,
    tissue_mask: Roi | Path | str | None,
) -> NDArray[np.bool_]:
    """Return the tissue that is used.

    Parameters
    ----------
    slide : Slide
        The slide.
    mask : bool (h, w)
        Tissue that was found on the low-power grid.
    mpp : float
        Spacing of the grid, um.
    roi : Roi, Path, str or None
        Regions outside which no tissue is used.
    tissue_mask : Roi, Path, str or None
        Regions that are the tissue, whatever was found.

    Returns
    -------
    bool (h, w)
        The tissue.

    Raises
    ------
    NoTissue
        If no cell of the grid is left.
    RegionError
        If a file of regions does not fit the slide.
    """
    box = Box.whole(Size(*mask.shape))
    if tissue_mask is not None:
        given = as_roi(tissue_mask, slide)
        mask = given.inside(box, mpp)
        if not mask.any():
            raise NoTissue(f"the tissue mask {given.name!r} holds no cell of {mpp:g} um; draw a larger area")
    if roi is None:
        return mask
    regions = as_roi(roi, slide)
    inside = mask & regions.inside(box, mpp)
    if mask.any() and not inside.any():
        raise NoTissue(
            f"the regions {regions.name!r} hold no tissue of slide {slide.info.slide_id!r}; draw them on tissue, or "
            "give the tissue with --tissue-mask"
        )
    return inside
