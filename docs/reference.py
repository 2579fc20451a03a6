"""The list of modules that the reference documents.

``docs/reference_modules.txt`` is committed and decides what is public: the reference has a part for each of its
modules, and a test compares it with the package. A module that is not in the list has a name that begins with an
underscore, defines nothing public, or belongs to the command line. ``python -m docs.reference`` writes the list anew.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "wsigraph"
LIST = Path(__file__).parent / "reference_modules.txt"


def listed_modules() -> list[str]:
    """Return the modules of the committed list, dotted."""
    return LIST.read_text(encoding="utf-8").split()


def modules_to_list() -> list[str]:
    """Return the modules of the package that have to be listed, dotted and sorted."""
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_private = any(part.startswith("_") for part in parts)
        if not is_private and "cli" not in parts and _has_public_names(path):
            modules.append(".".join(parts))
    return sorted(modules)


def _has_public_names(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in tree.body)


if __name__ == "__main__":
    LIST.write_text("\n".join(modules_to_list()) + "\n", encoding="utf-8")
