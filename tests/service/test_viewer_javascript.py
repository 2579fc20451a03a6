"""The viewer's JavaScript: unit tests in Node, layout, lint and types."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wsigraph.service.app import VIEWER

_ROOT = VIEWER.parents[2]
_CHECKED = ("package.json", "package-lock.json", ".npmrc", "tsconfig.json", "eslint.config.js")
_MAX_COLUMNS = 120
_FILES = sorted(path for path in VIEWER.iterdir() if path.suffix in (".js", ".css", ".html"))


def run(words: list[str], folder: Path) -> None:
    """Run a command and fail with what it printed."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"


def test_unit_tests_in_node() -> None:
    """Needs Node 20 or later, nothing else."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"node {version.strip()} is older than 20")
    run([node, "--test", *map(str, sorted((_ROOT / "tests/viewer").glob("*.test.js")))], _ROOT)


def test_layout_lint_and_types(tmp_path: Path) -> None:
    """Needs npm, and the packages of the lock file: installed at the root, or from npm's registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    for name in _CHECKED:
        shutil.copy(_ROOT / name, tmp_path)
    for folder in ("wsigraph/service/viewer", "tests/viewer"):
        shutil.copytree(_ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("vendor"))
    if (_ROOT / "node_modules").is_dir():
        (tmp_path / "node_modules").symlink_to(_ROOT / "node_modules")
    else:
        words = [npm, "ci", "--silent", "--prefer-offline", "--fetch-retries=1"]
        try:
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=240, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install prettier, eslint and typescript in 240 s")
        if done.returncode:
            pytest.skip("npm cannot install prettier, eslint and typescript")
    for check in ("format", "lint", "types"):
        run([npm, "run", "--silent", f"check:{check}"], tmp_path)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_no_line_is_long(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > _MAX_COLUMNS] == []
