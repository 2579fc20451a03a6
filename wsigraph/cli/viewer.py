"""``wsigraph viewer``: install the viewer's JavaScript."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say

_Package = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE]", help="openseadragon-6.1.1.tgz; by default it is fetched with npm.", show_default=False
    ),
]


@ends_plainly
def viewer(package: _Package = None, debug: Debug = False) -> None:
    """Install the JavaScript of the viewer of 'wsigraph serve': OpenSeadragon, pinned by version and digest.

    It is fetched from the registry that npm is set up for, or read from a file. Wheels built with npm contain it.
    """
    from wsigraph.service import openseadragon

    files = openseadragon.install(None if package is None else Path(package))
    print("\n".join(str(path) for path in files), flush=True)
    say(f"{openseadragon.NAME} {openseadragon.VERSION} is installed")
