"""The code and its texts use the words of the field."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import words

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "wsigraph").rglob("*.py"))
CODE = [*MODULES, *sorted((ROOT / "pipelines").glob("*.py"))]
TEXTS = [
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    *sorted((ROOT / "wsigraph").rglob("*.html")),
    *sorted((ROOT / "wsigraph").rglob("*.js")),
    *sorted((ROOT / "configs").glob("*.yaml")),
]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that a module gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def parts(name: str) -> list[str]:
    """Return the words of a name in snake or camel case, in lower case."""
    return [part for part in re.split(r"_+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()) if part]


def strings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def private_names(code: str, path: str = "x.py") -> list[str]:
    """Return the names in `code` that the list of words forbids."""
    allowed = words.NAMES_ALLOWED.get(path, set())
    return [
        f"{path}:{line}: {name}"
        for name, line in names(ast.parse(code))
        if name not in allowed and (name in words.EXACT or any(part in words.NAMES for part in parts(name)))
    ]


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_no_name_is_a_private_word(path: Path) -> None:
    assert private_names(path.read_text(encoding="utf-8"), relative(path)) == []


@pytest.mark.parametrize(
    "code", ["told = 1", "def tell_rivals(): ...", "class Gate: ...", "def f(each): ...", "a.heard_at = 1"]
)
def test_a_private_word_is_noticed(code: str) -> None:
    assert private_names(code)


def test_no_file_has_a_private_stem() -> None:
    assert [relative(path) for path in CODE if path.stem in words.STEMS] == []


def test_two_files_share_no_stem_with_two_meanings() -> None:
    by_stem = defaultdict(list)
    for path in MODULES:
        if path.stem not in ("__init__", "__main__") and path.parent.name not in ("cli", "config"):
            by_stem[path.stem].append(relative(path))
    shared = {stem: paths for stem, paths in by_stem.items() if len(paths) > 1 and stem not in words.SHARED_STEMS}
    assert shared == {}


@pytest.mark.parametrize("word", words.FINDABLE)
def test_a_word_of_the_field_is_part_of_a_name(word: str) -> None:
    wanted = [alternative.replace(" ", "") for alternative in word.split("|")]
    given = set()
    for path in MODULES:
        given.add(path.stem)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        given |= {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        }
    joined = {name: parts(name) for name in given}
    # a short word must be a whole part: "ema" is not in "schema"
    assert any(
        (alternative in own) if len(alternative) < 4 else (alternative in "".join(own))
        for own in joined.values()
        for alternative in wanted
    ), word


def test_a_word_that_nothing_is_named_by_is_noticed() -> None:
    with pytest.raises(AssertionError):
        test_a_word_of_the_field_is_part_of_a_name("zeppelin hangar")


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_no_text_has_a_private_phrase(path: Path) -> None:
    text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8")).lower()
    assert [phrase for phrase in words.PHRASES if re.search(rf"\b{re.escape(phrase)}\b", text)] == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_message_or_docstring_has_a_private_phrase(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    faults = [
        f"{relative(path)}:{line}: {phrase}"
        for text, line in strings(tree)
        for phrase in words.PHRASES
        if re.search(rf"\b{re.escape(phrase)}\b", re.sub(r"\s+", " ", text).lower())
    ]
    assert faults == []
