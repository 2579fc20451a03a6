"""Matches slides with the patients of a clinical table.

The first rule that finds a patient decides: the slide's name in the table, an expression given by the user, a TCGA
barcode, or the patient's id as a whole part of the file name. Two patients that fit equally well are no match, and
what remains unmatched on either side is listed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsigraph.cohort.clinical.table_mapping import ClinicalRow
from wsigraph.errors import CohortError
from wsigraph.slide.discover import DiscoveredSlide

_BARCODE = re.compile(r"TCGA-[0-9A-Z]{2}-[0-9A-Z]{4}(?![0-9A-Z])", re.IGNORECASE)
_SHORT = 3
"""An id of digits that is shorter is searched for at the beginning of a name only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideMatches:
    """Slides and their rows.

    Attributes
    ----------
    pairs : tuple of (DiscoveredSlide, ClinicalRow)
        Slides that have a patient, in their order.
    unmatched_slides : tuple of (DiscoveredSlide, str)
        The others, and why.
    unmatched_patients : tuple of str
        Patients of the table without a slide.
    rules : dict of str to int
        How many slides each rule matched.
    """

    pairs: tuple[tuple[DiscoveredSlide, ClinicalRow], ...]
    unmatched_slides: tuple[tuple[DiscoveredSlide, str], ...]
    unmatched_patients: tuple[str, ...]
    rules: dict[str, int]


def match_slides(
    slides: Sequence[DiscoveredSlide], rows: Sequence[ClinicalRow], *, pattern: str | None = None
) -> SlideMatches:
    """Match slides with rows of a clinical table.

    Parameters
    ----------
    slides : sequence of DiscoveredSlide
        Slide files.
    rows : sequence of ClinicalRow
        The mapped table. Of several rows of a patient the first is used, unless they name slides.
    pattern : str, optional
        Regular expression whose first group, searched in the file name, is the patient's id.

    Returns
    -------
    SlideMatches
        Pairs, and what has no partner.

    Raises
    ------
    CohortError
        If `pattern` is no regular expression with a group.
    """
    expression = _compiled(pattern)
    by_slide = _unique({_key(Path(row.slide).name): [] for row in rows if row.slide}, rows)
    patients: dict[str, ClinicalRow] = {}
    for row in rows:
        name = row.patient or row.slide
        if name is not None:
            patients.setdefault(name, row)
    finder = _PatientFinder(patients, expression)
    pairs: list[tuple[DiscoveredSlide, ClinicalRow]] = []
    unmatched: list[tuple[DiscoveredSlide, str]] = []
    rules: dict[str, int] = {}
    for slide in slides:
        named = by_slide.get(_key(slide.path.name)) or by_slide.get(_key(slide.slide_id))
        row, rule = (named, "name of the slide") if named else finder.find(slide.path.name)
        if row is None:
            unmatched.append((slide, rule))
        else:
            pairs.append((slide, row))
            rules[rule] = rules.get(rule, 0) + 1
    matched = {row.patient or row.slide for _, row in pairs}
    return SlideMatches(
        pairs=tuple(pairs),
        unmatched_slides=tuple(unmatched),
        unmatched_patients=tuple(name for name in patients if name not in matched),
        rules=rules,
    )


class _PatientFinder:
    """Finds the patient of a file name."""

    def __init__(self, patients: dict[str, ClinicalRow], expression: re.Pattern[str] | None) -> None:
        self._rows = patients
        self._expression = expression
        self._keys: dict[str, list[str]] = {}
        for name in patients:
            self._keys.setdefault(_key(name), []).append(name)
        # the first word of every id, so that a name is compared with few of many patients
        self._by_word: dict[str, list[str]] = {}
        for key in self._keys:
            self._by_word.setdefault(key.split("-")[0], []).append(key)
        self._without_zeros: dict[str, list[str]] = {}
        for key in self._keys:
            if key.isdigit():
                self._without_zeros.setdefault(key.lstrip("0") or "0", []).append(key)

    def find(self, file_name: str) -> tuple[ClinicalRow | None, str]:
        """Return the patient's row and the rule; or None and why there is none."""
        if self._expression is not None:
            match = self._expression.search(file_name)
            if match is None or match.group(1) is None:
                return None, f"--match {self._expression.pattern!r} does not occur in the name"
            return self._row(_key(match.group(1)), "--match", f"no patient {match.group(1)!r} in the table")
        barcode = _BARCODE.search(file_name)
        if barcode and _key(barcode.group()) in self._keys:
            return self._row(_key(barcode.group()), "TCGA barcode", "")
        words = _key(file_name).split("-")
        found = [
            (place, key)
            for place in range(len(words))
            for key in self._by_word.get(words[place], ())
            if words[place : place + key.count("-") + 1] == key.split("-")
            and (place == 0 or not key.isdigit() or len(key) >= _SHORT)
        ]
        if not found and words[0].isdigit():
            zeros = self._without_zeros.get(words[0].lstrip("0") or "0", [])
            if len(zeros) == 1:
                return self._row(zeros[0], "id without leading zeros", "")
        if not found:
            return None, "no patient of the table is part of the name"
        # the longest id, then the one that begins the name
        found.sort(key=lambda item: (-len(item[1]), item[0]))
        best = [key for place, key in found if len(key) == len(found[0][1]) and (place == 0) == (found[0][0] == 0)]
        if len(set(best)) > 1:
            return None, f"several patients are part of the name: {', '.join(sorted(set(best))[:5])}"
        return self._row(best[0], "patient in the file name", "")

    def _row(self, key: str, rule: str, reason: str) -> tuple[ClinicalRow | None, str]:
        names = self._keys.get(key, [])
        if len(names) == 1:
            return self._rows[names[0]], rule
        return None, f"patients {', '.join(map(repr, names))} differ in punctuation alone" if names else reason


def _unique(keys: dict[str, list[ClinicalRow]], rows: Sequence[ClinicalRow]) -> dict[str, ClinicalRow]:
    """Return the rows by the slide that they name, with and without its suffix; a slide with two rows is left out."""
    for row in rows:
        if row.slide:
            keys[_key(Path(row.slide).name)].append(row)
    return {key: listed[0] for key, listed in keys.items() if len(listed) == 1}


def _key(name: str) -> str:
    """Return a name without case and suffix, in words of letters and digits joined by hyphens."""
    stem = re.sub(
        r"\.(?:ome\.)?(?:svs|tiff?|ndpi|mrxs|scn|bif|vms|svslide|dcm|zarr|png|jpe?g|h5|pt|czi|vsi|isyntax)$",
        "",
        name,
        flags=re.IGNORECASE,
    )
    words = re.findall(r"\w+", unicodedata.normalize("NFC", stem).casefold().replace("_", " "))
    return "-".join(words)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise CohortError(f"--match {pattern!r} is no regular expression: {error}") from None
    if expression.groups < 1:
        raise CohortError(f"--match {pattern!r} has no group, expected one around the patient's id, as in '^([0-9]+)_'")
    return expression
