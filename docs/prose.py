"""How long sentences are: ``python -m docs.prose [PAGE ...]`` prints a table and fails for pages with a limit.

``docs/prose_pages.txt`` lists the pages that are held to it: a mean of at most 18 words a sentence, and no sentence
above 35. Code, tables, links' targets and headings are not counted; an item of a list is a sentence of its own. Pages
that are not listed are shown when they are named. A page is added to the list when it passes, and never leaves it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).parent / "prose_pages.txt"
MAX_MEAN, MAX_WORDS = 18.0, 35
_FENCE = re.compile(r"^```.*?^```$|^---$.*?^---$|<!--.*?-->", re.M | re.S)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_END = re.compile(r"(?<=[.!?])[\"')*]*\s+(?=[\"'(*`\[A-Z0-9])")
_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|cf|vs|et al|Fig|No)\.\s")


def sentences(text: str) -> list[str]:
    """Return the sentences of a page in Markdown."""
    text = _FENCE.sub("\n\n", text)
    text = "\n".join("" if _is_no_prose(line) else line for line in text.splitlines())
    text = re.sub(r"^\s*(?:[-*]|\d+\.)\s+", "\n\n", text, flags=re.M)
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = _ABBREVIATIONS.sub(r"\1 ", _LINK.sub(r"\1", " ".join(paragraph.split())))
        found += [part for part in _END.split(line) if len(words(part)) > 1]
    return found


def _is_no_prose(line: str) -> bool:
    return line.lstrip().startswith(("|", "#", "!!!", ":::", "![")) or line.startswith("    ")


def words(sentence: str) -> list[str]:
    """Return the words of a sentence; a piece of code counts as one."""
    return re.findall(r"[\w][\w'.,/@+-]*", re.sub(r"`[^`]*`", "code", sentence))


def faults(text: str) -> list[str]:
    """Return what a page would have to change to be held to the limits."""
    found = sentences(text)
    lengths = [len(words(sentence)) for sentence in found]
    result = [f"{n} words: {s}" for s, n in zip(found, lengths, strict=True) if n > MAX_WORDS]
    if lengths and fmean(lengths) > MAX_MEAN:
        result.append(f"a mean of {fmean(lengths):.1f} words a sentence, expected at most {MAX_MEAN:g}")
    return result


def listed_pages() -> list[str]:
    """Return the pages that are held to the limits, from the root of the repository."""
    return LIST.read_text(encoding="utf-8").split()


def main(names: list[str]) -> int:
    """Print the mean and the longest sentence of each page; return 1 if a listed page breaks a limit."""
    failed = 0
    for name in names or listed_pages():
        text = (ROOT / name).read_text(encoding="utf-8")
        lengths = [len(words(sentence)) for sentence in sentences(text)] or [0]
        print(f"{name:<44} {len(lengths):4} sentences  mean {fmean(lengths):5.1f}  longest {max(lengths):3}")
        for fault in faults(text):
            failed |= name in listed_pages()
            print(f"    {fault}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
