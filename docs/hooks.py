"""What the reference pages need beside their prose: tables of settings, and a page for every room of the package.

mkdocs calls these functions. ``<!-- settings: superpixel -->`` in a page becomes a table of that section, written from
the class itself, so that a default or a bound is typed once. Every module with something public gets a part of its
room's page under ``reference/``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "wsigraph"
_MARK = re.compile(r"<!-- settings: (\w+) -->")
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "at least", "max_length": "at most"}
_UNITS = {"_um": "um", "_um2": "um²", "_px": "px", "mpp": "um/px", "_days": "days", "_s": "s", "_bytes": "bytes"}


def rooms() -> dict[str, list[str]]:
    """Return the modules of every room, dotted, by the room's name; files of the ground floor are ``wsigraph``."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "cli" in parts or parts[-1].startswith("_") or not _has_public(path):
            continue
        room = "wsigraph" if len(parts) == 2 else parts[1]
        found.setdefault(room, []).append(".".join(parts))
    return found


def _has_public(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in tree.body)


def settings_table(section: str) -> str:
    """Return a Markdown table of a section's settings: name, default, unit, bounds, meaning."""
    from wsigraph.config import Config

    rows = ["| setting | default | unit | bounds | meaning |", "|---|---|---|---|---|"]
    for name, field in type(getattr(Config(), section)).model_fields.items():
        limits = [
            (sign, getattr(part, key)) for part in field.metadata for key, sign in _BOUNDS.items() if hasattr(part, key)
        ]
        bounds = ", ".join(f"{sign} {value:g}" for sign, value in limits if value is not None) or _choices(
            field.annotation
        )
        unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
        meaning = (field.description or "").replace("|", "\\|")
        default = "none" if field.default is None else str(field.default).replace("|", "\\|")
        rows.append(f"| `{section}.{name}` | {default} | {unit} | {bounds} | {meaning} |")
    return "\n".join(rows)


def _choices(annotation: Any) -> str:
    told = re.findall(r"Literal\[(.*?)\]", str(annotation))
    return told[0].replace("'", "") if told else ""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in tables of settings."""
    return _MARK.sub(lambda found: settings_table(found[1]), markdown)


def on_files(files: Files, config: Any) -> Files:
    """Add a reference page for every room."""
    for room, modules in rooms().items():
        parts = [f"# {room}\n", *(f"\n## {module} {{ #{module} }}\n\n::: {module}\n" for module in modules)]
        files.append(File.generated(config, f"reference/{room}.md", content="\n".join(parts)))
    return files


def on_config(config: Any) -> Any:
    """List the reference pages at the end of the navigation."""
    config["nav"].append({"Reference": [{room: f"reference/{room}.md"} for room in rooms()]})
    return config
