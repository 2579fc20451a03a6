"""Pictures of one laboratory in the colours of another: stain normalisers, built in and brought along.

The graph needs none of this, as its features are expressed in the slide's own stains; an encoder that was trained on
other colours may. A normaliser is fitted to a target picture and then turns pictures into its colours. The built-in one
unmixes by the picture's own stains, scales each to the target's maximum and mixes by the target's stains (Macenko et
al. 2009); what lies off the plane of the stains is lost, pen ink for one. Others are plugins of the group
``wsigraph.stain_normalisers``: callables without arguments that return a `StainNormaliser`.
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wsigraph import registry
from wsigraph.errors import TissueError
from wsigraph.graph.tissue.stain import count_colours, empty_histogram, estimate_stain, unmixing
from wsigraph.records import StainBasis


class StainNormaliser(Protocol):
    """Turns pictures into the colours of a target picture."""

    def fit(self, target: NDArray[np.uint8]) -> None:
        """Take the colours of a picture, uint8 (h, w, 3), as the target."""

    def transform(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, uint8 (h, w, 3), in the colours of the target."""


def normaliser(name: str = "macenko") -> StainNormaliser:
    """Return a stain normaliser that is not fitted yet.

    Parameters
    ----------
    name : str
        A plugin of the group ``wsigraph.stain_normalisers``.

    Returns
    -------
    StainNormaliser
        To be fitted to a target picture.

    Raises
    ------
    PluginError
        If there is no such plugin, or what it needs is not installed.
    """
    return cast(StainNormaliser, registry.load(registry.STAIN_NORMALISERS, name)())


class MacenkoNormaliser:
    """Unmixes by a picture's own stains and mixes by the target's.

    Attributes
    ----------
    target : StainBasis or None
        Stains of the target; may be set in place of a call of `fit`.
    """

    def __init__(self) -> None:
        self.target: StainBasis | None = None

    def fit(self, target: NDArray[np.uint8]) -> None:
        """Take the stains of a picture as the target.

        Parameters
        ----------
        target : uint8 (h, w, 3)
            Picture with tissue.
        """
        self.target = picture_stain(target)

    def transform(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture in the target's stains.

        Parameters
        ----------
        rgb : uint8 (h, w, 3)
            Picture.

        Returns
        -------
        uint8 (h, w, 3)
            The same tissue in the target's colours.

        Raises
        ------
        TissueError
            If no target was given.
        """
        if self.target is None:
            raise TissueError("the stain normaliser has no target; call fit(target picture) first")
        own = picture_stain(rgb)
        density = -np.log10((rgb.astype(np.float64) + 1) / 256)
        amount = np.maximum(density @ unmixing(own.vectors), 0.0)
        amount *= self.target.max_concentration / own.max_concentration
        return np.clip(np.round(256 * 10 ** -(amount @ self.target.vectors) - 1), 0, 255).astype(np.uint8)


def picture_stain(rgb: NDArray[np.uint8]) -> StainBasis:
    """Return the stains of a picture.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Picture; glass in it does not count.

    Returns
    -------
    StainBasis
        As of a slide, maximum concentrations over the pixels that hold stain.
    """
    histogram = empty_histogram()
    stained = -np.log10((rgb.astype(np.float64) + 1) / 256).mean(axis=2) >= 0.15
    bins, pixels = count_colours(rgb, stained)
    histogram[bins] += pixels
    return estimate_stain(histogram)
