"""Options that several verbs share, spelled once."""

from __future__ import annotations

from typing import Annotated

import typer

ConfigFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings: a section file (superpixel.yaml), a file of several sections, or a directory. Repeatable.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, e.g. superpixel.spacing_um=40. Repeatable."),
]
Mpp = Annotated[
    float | None,
    typer.Option("--mpp", metavar="UM", help="Pixel size at full resolution, um/px; wins over what the file says."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
