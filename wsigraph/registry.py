"""Plugins by entry point, one loaded at a time.

A plugin is an object that an entry point of a wsigraph group names. The package's own parts register in the same way.
Names are listed without importing anything, so a plugin whose dependencies are missing only affects commands that use
it.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from wsigraph.errors import PluginError

READERS = "wsigraph.readers"
"""Classes that implement ``wsigraph.slide.opening.SlideReader``."""
ENCODERS = "wsigraph.encoders"
"""Callables that return a ``wsigraph.graph.feature.encode.Encoder``."""
NUCLEI = "wsigraph.nuclei"
"""Callables that return a ``wsigraph.graph.feature.detect.NucleusDetector``."""
STAIN_NORMALISERS = "wsigraph.stain_normalisers"
"""Callables that return a ``wsigraph.graph.tissue.normalise.StainNormaliser``."""
NETWORKS = "wsigraph.networks"
"""Networks of the user, called as ``wsigraph.torch.any_network`` says."""
POOLINGS = "wsigraph.poolings"
"""Modules that meet ``wsigraph.model.nn.pooling.Pooling``, called with the channels of a node."""
SURVIVAL_HEADS = "wsigraph.survival_heads"
"""Modules that meet ``wsigraph.model.nn.heads.SurvivalHead``, called with the channels of a slide and the intervals."""


def names(group: str) -> tuple[str, ...]:
    """Return the names of a group's plugins, sorted, importing none of them.

    Parameters
    ----------
    group : str
        Entry-point group, e.g. ``"wsigraph.readers"``.

    Returns
    -------
    tuple of str
        Names; a name registered twice appears once.
    """
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def load(group: str, name: str) -> Any:
    """Import one plugin and return it.

    Parameters
    ----------
    group : str
        Entry-point group.
    name : str
        Plugin to load.

    Returns
    -------
    object
        Whatever the entry point names.

    Raises
    ------
    PluginError
        If no plugin of that name exists, two distributions claim it, or its import fails.
    """
    points = [point for point in entry_points(group=group) if point.name == name]
    if not points:
        raise PluginError(f"no plugin {name!r} in group {group!r}; installed: {', '.join(names(group)) or 'none'}")
    if len({point.value for point in points}) > 1:
        claims = ", ".join(sorted(_claim(point) for point in points))
        raise PluginError(f"plugin {name!r} of group {group!r} is claimed twice ({claims}); uninstall one of them")
    try:
        return points[0].load()
    except (ImportError, AttributeError) as error:
        raise PluginError(f"plugin {_claim(points[0])} of group {group!r} does not load: {error}") from error


def _claim(point: EntryPoint) -> str:
    distribution = point.dist.name if point.dist else "unknown distribution"
    return f"{point.name} = {point.value} from {distribution}"
