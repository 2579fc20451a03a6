"""Stain normalisers, built in or from plugins: the colours of one laboratory turned into those of another.

The graph does not need them, because its features are expressed in the slide's own stains; an encoder that was trained
on other colours may. A normaliser is fitted to a target image and then turns images into its colours. The built-in one
follows Macenko et al. (2009)::

    C = max(OD pinv(V_own), 0)                       concentrations, (pixels, 2)
    OD' = (C * max_target / max_own) V_target        (pixels, 3)

What lies outside the plane of the two stains, such as pen ink, is lost. Other normalisers are plugins of the group
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
    """Turns images into the colours of a target image."""

    def fit(self, target: NDArray[np.uint8]) -> None:
        """Take the colours of an image, uint8 (h, w, 3), as the target."""

    def transform(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image, uint8 (h, w, 3), in the colours of the target."""


def normaliser(name: str = "macenko") -> StainNormaliser:
    """Return a stain normaliser that is not fitted yet.

    Parameters
    ----------
    name : str
        Name of a plugin of the group ``wsigraph.stain_normalisers``.

    Returns
    -------
    StainNormaliser
        Not fitted; call `fit` with a target image first.

    Raises
    ------
    PluginError
        If there is no such plugin, or a package that it needs is not installed.
    """
    return cast(StainNormaliser, registry.load(registry.STAIN_NORMALISERS, name)())


class MacenkoNormaliser:
    """Unmixes an image by its own stains and mixes it by the target's.

    Attributes
    ----------
    target : StainBasis or None
        Stains of the target; may be set instead of calling `fit`.
    """

    def __init__(self) -> None:
        self.target: StainBasis | None = None

    def fit(self, target: NDArray[np.uint8]) -> None:
        """Take the stains of an image as the target.

        Parameters
        ----------
        target : uint8 (h, w, 3)
            Image with tissue.
        """
        self.target = picture_stain(target)

    def transform(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image in the target's stains.

        Parameters
        ----------
        rgb : uint8 (h, w, 3)
            Image to normalise.

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
            raise TissueError("the stain normaliser has no target; call fit(target image) first")
        own = picture_stain(rgb)
        density = -np.log10((rgb.astype(np.float64) + 1) / 256)
        amount = np.maximum(density @ unmixing(own.vectors), 0.0)
        amount *= self.target.max_concentration / own.max_concentration
        return np.clip(np.round(256 * 10 ** -(amount @ self.target.vectors) - 1), 0, 255).astype(np.uint8)


def picture_stain(rgb: NDArray[np.uint8]) -> StainBasis:
    """Return the stains of an image.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Image; pixels of glass do not count.

    Returns
    -------
    StainBasis
        Stain vectors, and maximum concentrations over the pixels that hold stain.
    """
    histogram = empty_histogram()
    stained = -np.log10((rgb.astype(np.float64) + 1) / 256).mean(axis=2) >= 0.15
    bins, pixels = count_colours(rgb, stained)
    histogram[bins] += pixels
    return estimate_stain(histogram)
