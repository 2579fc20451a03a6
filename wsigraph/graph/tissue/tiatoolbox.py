"""tiatoolbox's stain normalisers behind the plugin group ``wsigraph.stain_normalisers``.

Importing tiatoolbox takes many seconds, and it limits the versions of torch. So it is an extra of its own and is only
imported when one of its normalisers is loaded. Its normalisers take and return the same arrays as the built-in one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import PluginError


class TiatoolboxNormaliser:
    """One of tiatoolbox's normalisers.

    Parameters
    ----------
    method : {"macenko", "vahadane", "reinhard", "ruifrok"}
        Name of the method in tiatoolbox.

    Raises
    ------
    PluginError
        If tiatoolbox is not installed or does not import.
    """

    def __init__(self, method: str) -> None:
        try:
            stainnorm = import_module("tiatoolbox.tools.stainnorm")
        except ImportError as error:
            raise PluginError(
                f"stain normaliser 'tiatoolbox_{method}' needs the package tiatoolbox ({error}); install it in an "
                "environment of its own with: pip install 'wsigraph[tiatoolbox]'"
            ) from None
        self._normaliser: Any = stainnorm.get_normalizer(method)

    def fit(self, target: NDArray[np.uint8]) -> None:
        """Take the colours of an image, uint8 (h, w, 3), as the target."""
        self._normaliser.fit(target)

    def transform(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image, uint8 (h, w, 3), in the colours of the target."""
        # tiatoolbox's transform writes into its input
        return np.asarray(self._normaliser.transform(rgb.copy()), dtype=np.uint8)


def macenko() -> TiatoolboxNormaliser:
    """Return tiatoolbox's Macenko normaliser.

    Raises
    ------
    PluginError
        If tiatoolbox is not installed.
    """
    return TiatoolboxNormaliser("macenko")


def vahadane() -> TiatoolboxNormaliser:
    """Return tiatoolbox's Vahadane normaliser.

    Raises
    ------
    PluginError
        If tiatoolbox is not installed.
    """
    return TiatoolboxNormaliser("vahadane")


def reinhard() -> TiatoolboxNormaliser:
    """Return tiatoolbox's Reinhard normaliser.

    Raises
    ------
    PluginError
        If tiatoolbox is not installed.
    """
    return TiatoolboxNormaliser("reinhard")


def ruifrok() -> TiatoolboxNormaliser:
    """Return tiatoolbox's Ruifrok normaliser.

    Raises
    ------
    PluginError
        If tiatoolbox is not installed.
    """
    return TiatoolboxNormaliser("ruifrok")
