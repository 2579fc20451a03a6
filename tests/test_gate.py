"""What the gate runs can fail: a fault planted in a copy is found by the gate's own commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.__main__ import parts
from tests.other_processors import CHOSEN, environment

ROOT = Path(__file__).parent.parent
TOLD = """
import json, numpy, torch
from numba.core.registry import cpu_target
print(json.dumps({
    "torch": torch.backends.cpu.get_cpu_capability(),
    "numba": cpu_target.target_context.codegen().magic_tuple()[1],
    "numpy": numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", []),
}))
"""


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Copy pages and settings; without the package beside them no reference is built, which saves most of the time."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("notebooks/*.ipynb")):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = parts([])["documentation"]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_pages_as_they_are_pass(pages: Path) -> None:
    done = build(pages)
    assert done.returncode == 0, done.stdout
    assert (pages / "build" / "site" / "results" / "index.html").is_file()


@pytest.mark.parametrize(
    "link",
    ["[a page](gone.md)", "[a part](results.md#gone)", "[a folder](results/)", "![a picture](pictures/gone.png)"],
    ids=lambda link: link[: link.index("]")].strip("![]"),
)
def test_a_broken_link_fails_the_gate(pages: Path, link: str) -> None:
    page = pages / "docs" / "glossary.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{link}\n", encoding="utf-8")
    done = build(pages)
    assert done.returncode != 0
    # this fault and no other
    assert "Aborted with 1 warning" in done.stdout, done.stdout
    assert "'glossary.md' contains a" in done.stdout
    assert link[link.index("(") + 1 : -1] in done.stdout


@pytest.mark.parametrize("name", CHOSEN)
def test_the_tests_for_other_processors_are_there(name: str) -> None:
    assert (ROOT / "tests" / name).is_file()


def test_libraries_take_the_code_for_other_processors() -> None:
    command = [sys.executable, "-W", "error::ImportWarning", "-c", TOLD]
    done = subprocess.run(command, env={**os.environ, **environment()}, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"torch": "DEFAULT", "numba": "generic", "numpy": []}
