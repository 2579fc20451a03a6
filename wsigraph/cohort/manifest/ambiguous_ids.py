"""Finds ids that may name another slide or patient than meant: alike but for case, or rounded by a spreadsheet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from wsigraph.cohort.manifest.manifest_row import Fault, ManifestRow, quote

_ROUNDED = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{1,3}")


def find_ambiguous_ids(rows: Sequence[ManifestRow]) -> list[Fault]:
    """Return a fault for each id that differs from an earlier one in case alone, or looks rounded by a spreadsheet.

    Parameters
    ----------
    rows : sequence of ManifestRow
        All rows, in the order of the file.

    Returns
    -------
    list of Fault
        One for each such id of a slide or patient, on the first of its rows.
    """
    slides = [(row, row.slide_id) for row in rows if row.slide_id]
    # a patient without an id has the slide's, whose fault is already listed
    patients = [(row, row.patient_id) for row in rows if row.patient_id and row.patient_id != row.slide_id]
    return [*_faults("slide_id", slides), *_faults("patient_id", patients)]


def _faults(column: str, ids: Iterable[tuple[ManifestRow, str]]) -> Iterable[Fault]:
    known: set[str] = set()
    spelled: dict[str, tuple[str, int]] = {}
    for row, name in ids:
        if name in known:
            continue
        known.add(name)
        earlier, line = spelled.setdefault(_folded(name), (name, row.line))
        if earlier != name:
            what = "slide" if column == "slide_id" else "patient"
            message = (
                f"{quote(name)} differs from {quote(earlier)} on line {line} in case alone, expected one spelling for "
                f"each {what}; spell them alike if they are one {what}, else rename one"
            )
            yield Fault(row.line, column, row.slide_id, message)
        if _ROUNDED.fullmatch(name):
            message = (
                f"{quote(name)} looks like a number that a spreadsheet rounded, expected the whole id; import the "
                "column as text from the original table and save it again"
            )
            yield Fault(row.line, column, row.slide_id, message)


def _folded(name: str) -> str:
    """Return the name without case, in one Unicode composition."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
