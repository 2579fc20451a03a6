"""Generated parts of the documentation: tables of settings, and a reference page for every package.

mkdocs calls these functions. They replace ``<!-- settings: superpixel -->`` in a page by a table of that section. The
table is generated from the class, so that defaults and bounds are written only once. The public modules are listed in
``reference_modules.txt``. Each module becomes a part of the page of its package under ``reference/``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

LIST = Path(__file__).parent / "reference_modules.txt"
_MARK = re.compile(r"<!-- settings: (\w+) -->")
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "at least", "max_length": "at most"}
_UNITS = {"_um": "um", "_um2": "um²", "_px": "px", "mpp": "um/px", "_days": "days", "_s": "s", "_bytes": "bytes"}


def packages() -> dict[str, list[str]]:
    """Return the modules of the reference, dotted, by package; those directly in the root are under ``wsigraph``."""
    modules: dict[str, list[str]] = {}
    for module in LIST.read_text(encoding="utf-8").split():
        parts = module.split(".")
        modules.setdefault("wsigraph" if len(parts) == 2 else parts[1], []).append(module)
    return modules


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
    choices = re.findall(r"Literal\[(.*?)\]", str(annotation))
    return choices[0].replace("'", "") if choices else ""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of a page by tables of settings."""
    return _MARK.sub(lambda mark: settings_table(mark[1]), markdown)


def on_files(files: Files, config: Any) -> Files:
    """Add a reference page for every package."""
    for package, modules in packages().items():
        title = f"# {package}\n\nPublic functions and classes of each module, generated from the docstrings.\n"
        parts = [title, *(f"\n## {module} {{ #{module} }}\n\n::: {module}\n" for module in modules)]
        files.append(File.generated(config, f"reference/{package}.md", content="\n".join(parts)))
    return files


def on_config(config: Any) -> Any:
    """List the reference pages at the end of the navigation."""
    config["nav"].append({"Reference": [{package: f"reference/{package}.md"} for package in packages()]})
    return config
