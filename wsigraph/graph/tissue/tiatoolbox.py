"""tiatoolbox's stain normalisers behind the plugin group ``wsigraph.stain_normalisers``.

Importing tiatoolbox takes many seconds and it caps the versions of torch, so it is an extra of its own and imported
when a normaliser is asked for. Its normalisers take and give the same arrays as ours do.
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
        As tiatoolbox calls it.

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
        """Take the colours of a picture, uint8 (h, w, 3), as the target."""
        self._normaliser.fit(target)

    def transform(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, uint8 (h, w, 3), in the colours of the target."""
        # its transform writes into the picture it is given
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
