"""docs/features.md lists every feature, with its unit and with moments that exist, and no other feature."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

from wsigraph.graph.feature.interpret import FEATURE_GROUPS, FEATURE_NAMES, FEATURE_UNITS
from wsigraph.graph.feature.moments import MOMENT_NAMES

PAGE = (Path(__file__).parents[3] / "docs" / "features.md").read_text(encoding="utf-8")


def rows():
    """Return (group, name, unit, moments) of every table row on the page."""
    group, table_rows = "", []
    for line in PAGE.splitlines():
        if line.startswith("## "):
            group = line[3:].lower()
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and cells[0].startswith("`"):
            table_rows.append((group, cells[0].strip("`"), cells[1], re.findall(r"`([^`]+)`", cells[3])))
    return table_rows


def test_the_page_lists_the_features_in_order_with_unit_and_group():
    listed = [(group, name, unit) for group, name, unit, _ in rows()]
    assert listed == list(zip(FEATURE_GROUPS, FEATURE_NAMES, FEATURE_UNITS, strict=True))


def test_every_moment_named_exists():
    for _, name, _, moments in rows():
        assert moments, name
        for pattern in moments:
            assert any(fnmatchcase(moment, pattern) for moment in MOMENT_NAMES), (name, pattern)
