"""Reads the dates of a clinical table, in the order of day, month and year that its column is written in."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

_EXCEL_DAY_0 = datetime.date(1899, 12, 30)
_ISO_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ].*)?")
_OTHER_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})")


def date_order(cells: Sequence[str]) -> str | None:
    """Return how the dates of a column are written.

    Parameters
    ----------
    cells : sequence of str
        Cells that are not missing.

    Returns
    -------
    str or None
        ``ymd``, ``dmy`` or ``mdy``; ``excel`` for days since 1899-12-30, as a sheet stores dates without a format;
        ``ambiguous`` if day and month cannot be told apart; None if most are no dates.
    """
    if cells and all(_is_serial(cell) for cell in cells):
        return "excel"
    iso = sum(_ISO_DATE.fullmatch(cell) is not None for cell in cells)
    others = [match for match in map(_OTHER_DATE.fullmatch, cells) if match]
    if iso + len(others) < 0.5 * max(len(cells), 1):
        return None
    if not others:
        return "ymd"
    # points divide day, month and year in this order wherever they are used
    if any(match[2] == "." or int(match[1]) > 12 for match in others):
        return "dmy"
    return "mdy" if any(int(match[3]) > 12 for match in others) else "ambiguous"


def parse_date(cell: str, order: str) -> datetime.date | None:
    """Return a date.

    Parameters
    ----------
    cell : str
        For example ``2019-03-31``, ``31.03.2019`` or ``3/31/2019``.
    order : str
        ``ymd``, ``dmy``, ``mdy`` or ``excel``; YYYY-MM-DD is read in any.

    Returns
    -------
    datetime.date or None
        None if it is no date. Two digits of a year mean the last hundred years.
    """
    if order == "excel" and _is_serial(cell):
        return _EXCEL_DAY_0 + datetime.timedelta(days=int(cell))
    try:
        if match := _ISO_DATE.fullmatch(cell):
            return datetime.date(int(match[1]), int(match[2]), int(match[3]))
        if match := _OTHER_DATE.fullmatch(cell):
            first, second, year = int(match[1]), int(match[3]), int(match[4])
            if len(match[4]) == 2:
                year += 2000 if year <= datetime.date.today().year % 100 else 1900
            return datetime.date(year, second, first) if order == "dmy" else datetime.date(year, first, second)
    except ValueError:
        return None
    return None


def _is_serial(cell: str) -> bool:
    """Return whether a cell is a day from 1954 to 2064 as a spreadsheet counts it; no follow-up in days is as long."""
    return len(cell) == 5 and cell.isascii() and cell.isdigit() and "20000" <= cell <= "60000"
