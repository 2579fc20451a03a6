"""What the shell offers for options whose values are known names, as ``--stain`` and ``--until``.

Every function is called by the shell at a press of the tab key, and imports what knows the names; typer keeps those
that begin with what is typed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args


def named(*names: str) -> Callable[[], list[str]]:
    """Return a function that offers fixed names."""
    return lambda: list(names)


def stains() -> list[str]:
    """Return the stains that a slide may have."""
    from wsigraph.config import SlideConfig

    return [str(name) for name in get_args(SlideConfig.model_fields["stain"].annotation)]


def steps() -> list[str]:
    """Return the steps of a slide, in their order."""
    from wsigraph.run.steps import STEP_NAMES

    return list(STEP_NAMES)


def encoders() -> list[str]:
    """Return the encoders that are installed, built-in or as plugins."""
    from wsigraph import registry

    return list(registry.names(registry.ENCODERS))


def nucleus_detectors() -> list[str]:
    """Return what can find nuclei, built-in or as plugins, and none."""
    from wsigraph import registry

    return ["rule", *registry.names(registry.NUCLEI), "none"]
