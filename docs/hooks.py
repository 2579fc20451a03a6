"""Generated parts of the documentation, as functions that mkdocs calls.

They replace three kinds of mark in a page, ``<!-- settings: superpixel -->``, ``<!-- readme -->`` and ``<!-- readme:
Limits -->``, and add the pages of `docs.generated` and `docs.notebook_pages`. What is generated is written only once in
the project: settings in their classes, options in the commands, the first page in the README.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:  # the program `mkdocs`, other than `python -m mkdocs`, does not search the directory
    sys.path.insert(0, str(ROOT))

from docs.generated import generated_pages, readme_part, settings_table  # noqa: E402
from docs.notebook_pages import notebook_files  # noqa: E402

_SETTINGS = re.compile(r"<!-- settings: (\w+) -->")
_README = re.compile(r"<!-- readme(?:: ([^>]+?))? -->")


def on_page_markdown(markdown: str, page: Any = None, **_: Any) -> str:
    """Replace the marks of a page by tables of settings and parts of the README."""
    depth = 0 if page is None else page.file.src_uri.count("/")
    text = _README.sub(lambda mark: readme_part(ROOT, mark[1], depth), markdown)
    return _SETTINGS.sub(lambda mark: settings_table(mark[1]), text)


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and the notebooks with the outputs of their last run."""
    for name, text in generated_pages(ROOT).items():
        files.append(File.generated(config, name, content=text))
    for name, content in notebook_files(ROOT).items():
        files.append(File.generated(config, name, content=content))
    return files


def on_config(config: Any) -> Any:
    """Show a choice of versions where the site is published by mike, which sets DOCS_VERSIONS."""
    if os.environ.get("DOCS_VERSIONS"):
        config["extra"]["version"] = {"provider": "mike"}
    return config
