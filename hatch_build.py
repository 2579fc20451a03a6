"""Build hook: puts into wheels what is kept elsewhere or fetched.

That is OpenSeadragon (also in source archives, so that wheels made of those hold it too), the sample slide, and the
tested versions of all packages.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKED = {
    "tests/data/CMU-1-Small-Region.svs": "wsigraph/datasets/CMU-1-Small-Region.svs",
    "constraints.txt": "wsigraph/constraints.txt",
}
"""Files of the repository, and where a wheel holds them."""


class ViewerHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds files to a build; without npm the viewer is missing, and the build says so."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the files in place and among what is packed."""
        root = Path(self.root)
        sys.path.insert(0, str(root))
        try:
            # imports nothing but the standard library: a build has no dependencies
            from wsigraph.errors import PluginError
            from wsigraph.service import openseadragon
        finally:
            sys.path.remove(str(root))
        if not openseadragon.is_installed():
            try:
                openseadragon.install()
            except PluginError as error:
                self.app.display_warning(f"the viewer is packed without {openseadragon.NAME}: {error}")
        build_data["artifacts"] += [f"/{openseadragon.VENDOR.relative_to(root).as_posix()}/*"]
        if self.target_name == "wheel" and version != "editable":
            build_data["force_include"] |= {
                str(root / source): target for source, target in PACKED.items() if (root / source).is_file()
            }
