"""Reads a clinical table as text: CSV in any dialect, Excel or Parquet.

Nothing is interpreted here but the form: the encoding, the separator, the row of the header, and lines of comments.
Every decision that is not plain, such as a guessed encoding or a skipped title, becomes a note for the user.
"""

from __future__ import annotations

import csv
import datetime
import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsigraph.errors import CohortError

TABLE_BYTES_MAX = 200_000_000
"""Largest table that is read, bytes, also after decompression."""

_DELIMITERS = (",", ";", "\t", "|")
_EXCEL = (".xlsx", ".xlsm")
_HEADER_ROWS = 30
"""Rows among which the header is searched."""
_FAULTS_LISTED = 5
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalTable:
    """A table of text.

    Attributes
    ----------
    path : Path
        The file.
    columns : tuple of str
        Names in the header, stripped, none twice and none empty.
    rows : tuple of tuple of str
        Stripped cells, one per column. Rows without any text are left out.
    notes : tuple of str
        How the file was read, where that was not plain.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column.

        Parameters
        ----------
        name : str
            Name in the header; upper and lower case count as one if that is unambiguous.

        Returns
        -------
        list of str
            One for each row.

        Raises
        ------
        CohortError
            If there is no such column.
        """
        place = self.place(name)
        return [row[place] for row in self.rows]

    def place(self, name: str) -> int:
        """Return the index of a column.

        Parameters
        ----------
        name : str
            As for `column`.

        Returns
        -------
        int
            Its place in every row.

        Raises
        ------
        CohortError
            If there is no such column.
        """
        if name in self.columns:
            return self.columns.index(name)
        alike = [place for place, column in enumerate(self.columns) if column.casefold() == name.strip().casefold()]
        if len(alike) == 1:
            return alike[0]
        raise CohortError(
            f"{self.path} has no column {name!r}, expected one of {', '.join(map(repr, self.columns))}; "
            "give the name as in the header"
        )


def read_clinical_table(path: Path | str, *, sheet: str | None = None) -> ClinicalTable:
    """Read a clinical table.

    Parameters
    ----------
    path : Path or str
        CSV, TSV or other separated text (UTF-8, UTF-16 with its mark, or Windows-1252), Excel (.xlsx) or Parquet.
    sheet : str, optional
        Sheet of an Excel file; by default the first that holds a table.

    Returns
    -------
    ClinicalTable
        Its cells as text. Dates of Excel and Parquet are written as YYYY-MM-DD.

    Raises
    ------
    CohortError
        If the file cannot be read, is no table, or has rows of different lengths.
    """
    path = Path(path)
    try:
        if path.stat().st_size > TABLE_BYTES_MAX:
            raise CohortError(f"{path} has more than {TABLE_BYTES_MAX / 1e6:.0f} MB, expected a clinical table")
        if path.is_dir():
            raise CohortError(f"clinical table {path} is a folder, expected a CSV, TSV, Excel or Parquet file")
        with path.open("rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise CohortError(f"clinical table {path} cannot be read: {error.strerror}; check the path") from None
    suffix = path.suffix.lower()
    notes: list[str] = []
    if head.startswith(b"PAR1"):
        cells = _parquet_cells(path)
    elif head.startswith(b"PK") or suffix in _EXCEL:
        cells, notes = _excel_cells(path, sheet)
    elif head.startswith(b"\xd0\xcf\x11\xe0"):
        raise CohortError(f"{path} is an Excel file of the old kind (.xls), expected .xlsx; save it as .xlsx or CSV")
    else:
        cells, notes = _text_cells(path)
    return _table(path, cells, notes)


def _table(path: Path, cells: list[list[str]], notes: list[str]) -> ClinicalTable:
    """Return the table that begins at the header, without repeated headers and empty rows."""
    first = _header_row(cells)
    if first is None:
        raise CohortError(f"{path} holds no table, expected a header and a row for each patient")
    if first:
        notes.append(f"the header is row {first + 1}; what stands above it is ignored")
    columns = _distinct_names(cells[first], notes)
    rows, short = [], []
    for number, row in enumerate(cells[first + 1 :], start=first + 2):
        if not any(row):
            continue
        if len(row) < len(columns):
            row = [*row, *[""] * (len(columns) - len(row))]
        if any(row[len(columns) :]):
            short.append(number)
        elif _repeats_header(row, cells[first]):
            notes.append(f"row {number} repeats or describes the header and is left out")
        else:
            rows.append(tuple(row[: len(columns)]))
    _drop_remarks(rows, len(columns), notes)
    if short:
        shown = ", ".join(map(str, short[:_FAULTS_LISTED]))
        raise CohortError(
            f"{path}: {len(short)} rows have more cells than the {len(columns)} of the header (row {shown}"
            f"{' ...' if len(short) > _FAULTS_LISTED else ''}); put cells that hold the separator in double quotes"
        )
    if not rows:
        raise CohortError(f"{path} has a header and no row below it, expected a row for each patient")
    return ClinicalTable(path=path, columns=columns, rows=tuple(rows), notes=tuple(notes))


def _drop_remarks(rows: list[tuple[str, ...]], n_columns: int, notes: list[str]) -> None:
    """Leave out last rows of one cell below rows of several, such as the date of an export."""
    while rows and n_columns > 2 and sum(map(bool, rows[-1])) == 1 and sum(map(bool, rows[0])) > 1:
        remark = next(filter(None, rows.pop()))
        notes.append(f"the last row holds one cell alone, {remark!r}, and is left out as a remark")


def _header_row(cells: Sequence[Sequence[str]]) -> int | None:
    """Return the first row that is about as full as the fullest nearby, and mostly words; None without any."""
    head = cells[:_HEADER_ROWS]
    full = [sum(map(bool, row)) for row in head]
    if not full or max(full) == 0:
        return None
    for number, row in enumerate(head):
        words = sum(any(letter.isalpha() for letter in cell) for cell in row)
        if full[number] >= max(1, 0.6 * max(full)) and words >= 0.5 * full[number]:
            return number
    return None


def _distinct_names(names: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    used = list(names)
    while used and not used[-1]:
        used.pop()
    counts: Counter[str] = Counter()
    distinct = []
    for place, name in enumerate(used, start=1):
        named = " ".join(name.split()) or f"column {place}"
        counts[named.casefold()] += 1
        again = counts[named.casefold()]
        if again > 1:
            notes.append(f"column {named!r} occurs more than once; number {again} is named {named!r} ({again})")
            named = f"{named} ({again})"
        distinct.append(named)
    return tuple(distinct)


def _repeats_header(row: Sequence[str], header: Sequence[str]) -> bool:
    """Return whether a row below the header is part of it, as in the tables of TCGA's biotab."""
    filled = [(cell, name) for cell, name in zip(row, header, strict=False) if cell]
    same = sum(cell.casefold() == name.casefold() for cell, name in filled)
    identifiers = sum(cell.startswith("CDE_ID:") for cell, _ in filled)
    return bool(filled) and len(filled) > 1 and (same + identifiers) >= 0.5 * len(filled)


def _text_cells(path: Path) -> tuple[list[list[str]], list[str]]:
    content = path.read_bytes()
    text, notes = _decode(path, content)
    lines = text.splitlines()
    comments = 0
    while comments < len(lines) and lines[comments].startswith("#"):
        comments += 1
    if comments and comments < len(lines):
        notes.append(f"{comments} lines that begin with # are left out")
        text = "\n".join(lines[comments:])
    delimiter = _delimiter(text)
    try:
        cells = [
            [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        ]
    except csv.Error as error:
        raise CohortError(f"{path} is not a table of text: {error}; save it as CSV in UTF-8") from None
    return cells, notes


def _decode(path: Path, content: bytes) -> tuple[str, list[str]]:
    if content.startswith(_UTF16_MARKS):
        try:
            return content.decode("utf-16"), []
        except UnicodeDecodeError:
            raise CohortError(f"{path} begins like UTF-16 and is not; save it as CSV in UTF-8") from None
    if b"\0" in content[:4096]:
        raise CohortError(f"{path} is not a table of text, expected CSV, TSV, Excel (.xlsx) or Parquet")
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace"), ["the file is not UTF-8 and is read as Windows-1252"]


def _delimiter(text: str) -> str:
    """Return the separator that divides the first lines into the most columns of one number."""
    best, best_score = ",", 0.0
    sample = "\n".join(text.splitlines()[:_HEADER_ROWS])
    for delimiter in _DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if any(row)]
        except csv.Error:
            continue
        if not widths:
            continue
        width, count = Counter(widths).most_common(1)[0]
        # lines that agree count most: decimal commas and commas in remarks divide lines unevenly
        score = (width - 1) * (count / len(widths)) ** 2
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _excel_cells(path: Path, sheet: str | None) -> tuple[list[list[str]], list[str]]:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > TABLE_BYTES_MAX:
                raise CohortError(f"{path} unpacks to more than {TABLE_BYTES_MAX / 1e6:.0f} MB; save the sheet as CSV")
        # formulas are not evaluated: their last value, as Excel has stored it, is read
        book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, OSError) as error:
        raise CohortError(f"{path} is no Excel file that can be read ({error}); save it as .xlsx or CSV") from None
    try:
        names = list(book.sheetnames)
        if sheet is not None and sheet not in names:
            raise CohortError(f"{path} has no sheet {sheet!r}, expected one of {', '.join(map(repr, names))}")
        tables = {}
        for name in [sheet] if sheet is not None else names:
            rows = [[_cell_text(value) for value in row] for row in book[name].iter_rows(values_only=True)]
            if _header_row(rows) is not None and len(rows) > 1:
                tables[name] = rows
    finally:
        book.close()
    if not tables:
        raise CohortError(f"{path} holds no table in its sheets {', '.join(map(repr, names))}")
    chosen = next(iter(tables))
    others = [name for name in tables if name != chosen]
    notes = [f"sheet {chosen!r} is read, not {', '.join(map(repr, others))}; --sheet chooses"] if others else []
    return tables[chosen], notes


def _parquet_cells(path: Path) -> list[list[str]]:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    try:
        table = pq.read_table(path)
        columns = [[_cell_text(value) for value in column.to_pylist()] for column in table.columns]
    except (ArrowException, OSError, ValueError) as error:
        raise CohortError(f"{path} is no Parquet file that can be read: {error}") from None
    return [list(table.column_names), *map(list, zip(*columns, strict=True))]


def _cell_text(value: Any) -> str:
    """Return a cell of Excel or Parquet as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float):
        if value != value:
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value).strip()
