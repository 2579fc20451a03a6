"""``wsigraph viewer``: put the viewer's foreign part in place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say

_Package = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE]", help="openseadragon-6.1.1.tgz; fetched with npm where left out.", show_default=False
    ),
]


@ends_plainly
def viewer(package: _Package = None, debug: Debug = False) -> None:
    """Install what pans and zooms in the viewer of 'wsigraph serve': OpenSeadragon, pinned by version and digest.

    Wheels built where npm is at hand hold it already. Taken from the registry that npm is set up for, or from a file.
    """
    from wsigraph.service import openseadragon

    files = openseadragon.install(None if package is None else Path(package))
    print("\n".join(str(path) for path in files), flush=True)
    say(f"{openseadragon.NAME} {openseadragon.VERSION} is in place")
