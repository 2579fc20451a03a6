"""Notebooks are committed without outputs, hold no code worth testing, and use what is public."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FOUNDATIONS = {"matplotlib", "numpy", "pandas", "lifelines", "pathlib", "subprocess", "sys", "warnings", "wsigraph"}
MAX_FUNCTION_LINES = 10


def code_of(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_five() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_committed_without_outputs(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    for cell in code_of(path):
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_function_is_long_and_nothing_private_is_used(path: Path) -> None:
    tree = ast.parse("\n".join(cell.source for cell in code_of(path)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        for name in names:
            module = node.module if isinstance(node, ast.ImportFrom) else name
            assert module is not None
            assert module.split(".")[0] in FOUNDATIONS
            assert not any(part.startswith("_") for part in f"{module}.{name}".split("."))
            if isinstance(node, ast.ImportFrom) and module.startswith("wsigraph"):
                # renamed in the package, renamed here
                has_name = hasattr(importlib.import_module(module), name)
                assert has_name or importlib.util.find_spec(f"{module}.{name}")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_user_changes_is_in_the_first_cell_of_code(path: Path) -> None:
    first = ast.parse(code_of(path)[0].source)
    assert all(isinstance(node, ast.Assign) for node in first.body)
    assert "# yours" in code_of(path)[0].source
