"""``wsigraph version`` and ``wsigraph --version``."""

from __future__ import annotations

import typer

from wsigraph import __version__


def version() -> None:
    """Print the version."""
    print(f"wsigraph {__version__}")


def print_version(is_asked: bool) -> None:
    """Print the version and end the command, if the option ``--version`` is given."""
    if is_asked:
        version()
        raise typer.Exit
