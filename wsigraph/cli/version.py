"""``wsigraph version``."""

from __future__ import annotations

from wsigraph import __version__


def version() -> None:
    """Print the version."""
    print(f"wsigraph {__version__}")
