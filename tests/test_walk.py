"""The commands of tutorials and how-to pages do what the pages say, and the script that types them can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.walk import DOCS, FOLDERS, WalkError, blocks_of, check_commands, check_output, is_slow, shim, walk

QUICK = {"tutorials/first_slide.md", "tutorials/your_tissue.md", "howto/slurm.md", "howto/nginx.md", "howto/backup.md"}
"""Pages that are typed in every run of the tests; the others are slow, together about three minutes."""
PAGES = [path.relative_to(DOCS).as_posix() for name in FOLDERS for path in sorted((DOCS / name).glob("*.md"))]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in PAGES]
)
def test_a_page_is_walked(name: str, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    walk(DOCS / name, tmp_path / "page", shim(tmp_path))


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_page_exists(name: str) -> None:
    for block in blocks_of((DOCS / name).read_text(encoding="utf-8")):
        if block.language in ("bash", "console"):
            check_commands(block.text, name)


def test_every_quick_page_is_there() -> None:
    assert set(PAGES) >= QUICK
    assert not any(is_slow(DOCS / name) for name in QUICK)


def test_a_wrong_command_is_found() -> None:
    with pytest.raises(WalkError, match=r"no command 'wsigraph pedict a\.svs'"):
        check_commands("$ wsigraph pedict a.svs\n", "page")
    with pytest.raises(WalkError, match="has no option --mmp"):
        check_commands("wsigraph predict a.svs --mmp 0.5\n", "page")
    check_commands("wsigraph predict a.svs --mpp=0.5 --set a.b=1\n", "page")


def test_a_wrong_output_is_found() -> None:
    check_output("risk 1.336 (higher ...\n", "x\nrisk   1.337 (higher is worse)\n", "page")
    with pytest.raises(WalkError, match=r"not printed:\nrisk 1\.4"):
        check_output("risk 1.4\n", "risk 1.336\n", "page")


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\necho one\nfalse\n```\n", encoding="utf-8")
    with pytest.raises(WalkError, match="exit code 1"):
        walk(page, tmp_path, shim(tmp_path))
    page.write_text("```bash\necho one\n```\n\n```text\ntwo\n```\n", encoding="utf-8")
    with pytest.raises(WalkError, match="not printed"):
        walk(page, tmp_path, shim(tmp_path / "again"))


def test_what_installs_is_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- walk: install -->\n```bash\nfalse\n```\n\n```bash\ntrue\n```\n", encoding="utf-8")
    assert walk(page, tmp_path, shim(tmp_path)) == 1
    with pytest.raises(WalkError):
        walk(page, tmp_path, shim(tmp_path / "again"), fresh=True)
