"""What ``import wsigraph`` offers, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wsigraph

PACKAGE = Path(wsigraph.__file__).parent


def test_all_is_sorted_complete_and_resolves() -> None:
    assert sorted(wsigraph.__all__) == wsigraph.__all__
    assert dir(wsigraph) == wsigraph.__all__
    for name in wsigraph.__all__:
        assert getattr(wsigraph, name) is not None


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    seen = {
        alias.asname or alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*seen, "__version__"} == set(wsigraph.__all__)
    for name, module in seen.items():
        assert getattr(wsigraph, name).__module__ == module


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pool'"):
        wsigraph.pool  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    program = (
        "import sys; import wsigraph; print([m for m in ('numpy', 'pydantic', 'dask', 'torch') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_typing_is_announced() -> None:
    assert (PACKAGE / "py.typed").is_file()
