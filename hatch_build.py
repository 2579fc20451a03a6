"""Build hook: puts OpenSeadragon into wheels, and into source archives so that wheels made of those hold it too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ViewerHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fetches what the viewer needs; a build without npm goes on, and says what is missing."""

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
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
