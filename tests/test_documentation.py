"""The documentation says what the code says, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from wsigraph.config import Config

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT / "docs").as_posix(): path.read_text(encoding="utf-8") for path in ROOT.glob("docs/**/*.md")
}
STAGES = sorted(name for name in PAGES if name.startswith("stages/"))
WITH_EXAMPLES = sorted(path for path in (ROOT / "wsigraph").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))
FIGURE = re.compile(r"[+-]?\d+\.\d+ \([+-]?\d\.\d+(?: to |-)[+-]?\d\.\d+\)")


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_page_says_how_what_it_costs_after_whom_and_where_not(name: str) -> None:
    heads = re.findall(r"^## (.*)$", PAGES[name], re.M)
    assert heads == ["Method", "Settings", "Cost", "Source", "Where it is not optimal"]


def test_every_setting_that_changes_an_answer_stands_in_a_page() -> None:
    shown = set(re.findall(r"<!-- settings: (\w+) -->", "".join(PAGES.values())))
    # runtime changes how fast an answer comes, never the answer
    assert shown >= set(Config.model_fields) - {"runtime"}
    assert shown <= set(Config.model_fields)


def test_tables_of_settings_are_written_from_the_classes() -> None:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    table = hooks.settings_table("superpixel")
    assert len(table.splitlines()) == 2 + len(type(Config().superpixel).model_fields)
    assert "| `superpixel.spacing_um` | 30.0 | um | " in table
    assert hooks.on_page_markdown("<!-- settings: superpixel -->") == table


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["strict"] is True
    for name in PAGES:
        assert name in text


def test_the_readmes_figures_are_those_of_the_pages() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    evidence = "".join(PAGES[name] for name in ("results.md", "benchmarks.md", "explanations.md", "coarsening.md"))
    results = readme[readme.index("## Results") : readme.index("## Speed")]
    figures = FIGURE.findall(results)
    assert len(figures) > 5
    for figure in figures:
        assert figure in evidence, f"no page says {figure} any more: take today's figure into README.md"


def test_the_citation_is_of_this_version() -> None:
    import wsigraph

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == wsigraph.__version__
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors"} <= set(citation)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings_run(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0
