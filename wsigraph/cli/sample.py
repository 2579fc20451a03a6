"""``wsigraph sample``: put a copy of the sample slide into a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson

_Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to put the slide into.")]


@ends_plainly
def sample(out: _Out = Path(), as_json: AsJson = False, debug: Debug = False) -> None:
    """Copy the sample slide, which comes with wsigraph, into a folder.

    A section of skin stained with hematoxylin and eosin, 1.9 MB, in the public domain (CC0-1.0). An existing file of
    the same name is kept.
    """
    import json

    from wsigraph.datasets import sample as sample_path

    source = sample_path()
    target = out / source.name
    if not target.exists():
        out.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
    print(json.dumps({"path": str(target)}) if as_json else target)
