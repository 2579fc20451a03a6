"""Reads a manifest as lines of cells, and reports every fault of form.

The file is UTF-8 with or without a byte order mark, and separated by commas, semicolons or tabs as in the header. A
record with a fault of form is left out, because its cells may be in the wrong columns. The others are still read, so
that one pass finds all faults.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsigraph.cohort.manifest.manifest_row import COLUMNS, Fault, quote
from wsigraph.errors import CohortError
from wsigraph.store.csv_file import without_guard

_KEY = "slide_id"
_DELIMITERS = (",", ";", "\t")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes
    ----------
    columns : tuple of str
        Names in the header, stripped.
    records : list of (int, list of str)
        First line of each record and its stripped cells, one per column.
    faults : list of Fault
        Faults of form.
    """

    columns: tuple[str, ...]
    records: list[tuple[int, list[str]]]
    faults: list[Fault]


def read_table(path: Path, required: Sequence[str]) -> Table:
    """Read a manifest's cells.

    Parameters
    ----------
    path : Path
        The manifest.
    required : sequence of str
        Required columns.

    Returns
    -------
    Table
        Its cells; without records if the header has faults.

    Raises
    ------
    CohortError
        If there is no such file, or it is not a table of text.
    """
    text, undecodable = _decode(_read(path))
    faults: list[Fault] = []
    lines = _records(text, faults)
    header_line, _, names = next(lines, (1, 1, []))
    if not names:
        raise CohortError(f"manifest {path} is empty, expected a header and a row for each slide")
    columns = tuple(name.strip() for name in names)
    if header_line in undecodable:
        faults.append(Fault(header_line, "", "", undecodable[header_line]))
    faults += _header_faults(header_line, columns, required)
    if faults:
        return Table(columns, [], faults)
    key, n_columns = columns.index(_KEY), len(columns)
    records: list[tuple[int, list[str]]] = []
    for first, last, cells in lines:
        stripped = [without_guard(cell.strip()) for cell in cells]
        slide_id = stripped[key] if key < len(stripped) else ""
        broken = [undecodable[line] for line in range(first, last + 1) if line in undecodable] if undecodable else []
        faults += [Fault(first, "", slide_id, message) for message in broken]
        if len(stripped) != n_columns:
            faults.append(
                Fault(
                    first,
                    "",
                    slide_id,
                    f"the row has {len(stripped)} cells, expected {n_columns} as in the header; "
                    "put cells that hold the separator in double quotes",
                )
            )
        elif not broken:
            records.append((first, stripped))
    return Table(columns, records, faults)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
            # otherwise a slide given instead of a manifest would be read as a whole
            if head.startswith(_UTF16_MARKS):
                raise CohortError(f"manifest {path} is UTF-16, expected UTF-8; save it as CSV in UTF-8")
            if b"\0" in head:
                raise CohortError(f"manifest {path} is not a table of text; give a CSV file with a column {_KEY}")
            return head + handle.read()
    except IsADirectoryError:
        raise CohortError(
            f"manifest {path} is a folder, expected a table; 'wsigraph manifest create {path}' makes one of its slides"
        ) from None
    except OSError as error:
        message = f"manifest {path} cannot be read: {error.strerror}; check the path and its permissions"
        raise CohortError(message) from None


def _decode(content: bytes) -> tuple[str, dict[int, str]]:
    """Return the text, and a message for each line that is not UTF-8."""
    try:
        return content.decode("utf-8-sig"), {}
    except UnicodeDecodeError:
        undecodable = {}
        for number, line in enumerate(content.splitlines(), start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                undecodable[number] = (
                    f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}, which is not UTF-8; "
                    "save the file as UTF-8"
                )
        return content.decode("utf-8-sig", errors="replace"), undecodable


def _records(text: str, faults: list[Fault]) -> Iterator[tuple[int, int, list[str]]]:
    """Yield first line, last line and cells of each record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.append(Fault(first, "", "", f"quotes or cells are not closed ({error}); correct the quotes"))
            continue
        if cells:
            yield first, reader.line_num, cells


def _delimiter(text: str) -> str:
    header = text.lstrip().split("\n", 1)[0]
    for delimiter in _DELIMITERS:
        if _KEY in (name.strip().strip('"') for name in header.split(delimiter)):
            return delimiter
    return ","


def _header_faults(line: int, columns: Sequence[str], required: Sequence[str]) -> Iterator[Fault]:
    for name, count in Counter(columns).items():
        if not name:
            places = ", ".join(str(place) for place, other in enumerate(columns, start=1) if not other)
            yield Fault(line, "", "", f"column {places} has no name; name it or delete it")
        elif count > 1:
            yield Fault(line, name, "", f"the header names this column {count} times, expected once; delete or rename")
    for name in dict.fromkeys((_KEY, *required)):
        if name not in columns and not (name == "path" and "features" in columns):
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"; is it {quote(near[0])}? rename it" if near else f"; it has {quote(', '.join(columns))}"
            yield Fault(line, name, "", f"the header lacks this column{hint}")


def doubtful_columns(columns: Sequence[str]) -> list[str]:
    """Return a warning for each free column that looks like a misspelt one with a meaning.

    Parameters
    ----------
    columns : sequence of str
        Names in the header.

    Returns
    -------
    list of str
        One sentence per column. An ignored column ``Split`` could let a patient into two splits.
    """
    absent = [name for name in COLUMNS if name not in columns]
    warnings = []
    for column in columns:
        if column not in COLUMNS:
            near = difflib.get_close_matches(column.lower().replace(" ", "_"), absent, n=1, cutoff=0.85)
            if near:
                warnings.append(f"column {column!r} is kept as a free column and not read as {near[0]!r}")
    return warnings
