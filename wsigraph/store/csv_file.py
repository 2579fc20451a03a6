"""The one writer of CSV files: UTF-8, line ends of one character, and no cell that a spreadsheet takes for a formula.

A file name or a cell of a clinical table is written by strangers. A spreadsheet that opens ``=HYPERLINK(...)`` as a
formula carries it out. Such a cell begins with an apostrophe in the file, as spreadsheets themselves mark text; numbers
with a sign stay numbers. `without_guard` gives the cell back.

References
----------
OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence

_FORMULA = "=+-@\t\r"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|nan)")


def encode_csv(header: Sequence[str], rows: Iterable[Sequence[object]], *, separator: str = ",") -> bytes:
    """Return a table as CSV.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : iterable of sequence
        Cells; None and NaN are written as empty ones.
    separator : str
        Between two cells.

    Returns
    -------
    bytes
        UTF-8 without a byte order mark.

    Examples
    --------
    >>> encode_csv(["name", "change"], [["=1+1", -0.5]]).decode().split()
    ['name,change', "'=1+1,-0.5"]
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", delimiter=separator)
    writer.writerow([plain_cell(name) for name in header])
    writer.writerows([plain_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def plain_cell(cell: object) -> object:
    """Return a cell that a spreadsheet does not take for a formula; a NaN becomes an empty cell."""
    if isinstance(cell, float) and math.isnan(cell):
        return ""
    if not isinstance(cell, str):
        return cell
    # a cell that has an apostrophe of its own gets another, so that one can be taken away again
    inner = cell.lstrip("'")
    if len(inner) < 2 or inner[0] not in _FORMULA or _NUMBER.fullmatch(inner):
        return cell
    return f"'{cell}"


def without_guard(cell: str) -> str:
    """Return a cell as it was before `plain_cell`."""
    return cell[1:] if cell[:1] == "'" and plain_cell(cell[1:]) == cell else cell
