"""Sentences are short, and the checker that says so can fail."""

from __future__ import annotations

import pytest

from docs.prose import MAX_WORDS, ROOT, faults, listed_pages, sentences

NEW = ("tutorials", "howto", "reference", "explanation", "about")


@pytest.mark.parametrize("name", listed_pages())
def test_a_listed_page_has_short_sentences(name: str) -> None:
    assert faults((ROOT / name).read_text(encoding="utf-8")) == []


def test_every_page_that_teaches_is_listed() -> None:
    pages = {path.relative_to(ROOT).as_posix() for name in NEW for path in (ROOT / "docs" / name).glob("*.md")}
    assert {"README.md", "CONTRIBUTING.md", *pages} <= set(listed_pages())


def test_a_long_sentence_is_found() -> None:
    text = "word " * MAX_WORDS + "end."
    assert f"{MAX_WORDS + 1} words: {text}" in faults(text)
    assert len(faults(f"{text}\n\nA short one. And another.")) == 1
    assert faults("word " * 10 + "end. " + "Word " * 10 + "end.") == []


def test_a_high_mean_is_found() -> None:
    assert faults("Word " * 19 + "end. " + "Word " * 20 + "end.") == [
        "a mean of 20.5 words a sentence, expected at most 18"
    ]


def test_what_is_no_prose_is_not_counted() -> None:
    text = "# A heading\n\n| a | table |\n\n```bash\na command\n```\n\n- One item.\n- Two `code . with` words.\n"
    assert sentences(text) == ["One item.", "Two `code . with` words."]
