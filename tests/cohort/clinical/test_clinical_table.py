"""Clinical tables of all usual forms are read as the same text, and others are refused with what to do."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from wsigraph.cohort.clinical.clinical_table import read_clinical_table
from wsigraph.errors import CohortError

ROWS = [["Fall", "Größe (cm)"], ["A-1", "1,5"], ["A-2", "20"]]


def written(folder: Path, kind: str) -> Path:
    """Write `ROWS` in one of the usual forms."""
    path = folder / f"table.{kind.split('-')[0]}"
    lines = {"csv": ";", "tsv": "\t", "txt": "|"}
    if path.suffix == ".xlsx":
        import openpyxl

        book = openpyxl.Workbook()
        for row in [["Klinik Nord"], [], *ROWS] if kind.endswith("title") else ROWS:
            book.active.append(row)
        book.save(path)
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({name: [row[k] for row in ROWS[1:]] for k, name in enumerate(ROWS[0])}), path)
    else:
        text = "".join(lines[path.suffix[1:]].join(row) + "\r\n" for row in ROWS)
        encoding = {"latin1": "cp1252", "bom": "utf-8-sig", "utf16": "utf-16"}.get(kind.rpartition("-")[2], "utf-8")
        path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "kind", ["csv", "csv-latin1", "csv-bom", "csv-utf16", "tsv", "txt", "xlsx", "xlsx-title", "parquet"]
)
def test_every_form_gives_the_same_cells(tmp_path: Path, kind: str) -> None:
    table = read_clinical_table(written(tmp_path, kind))
    assert table.columns == ("Fall", "Größe (cm)")
    assert table.rows == (("A-1", "1,5"), ("A-2", "20"))
    assert bool(table.notes) == (kind in ("csv-latin1", "xlsx-title"))


def test_commas_in_remarks_do_not_hide_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id;remark\n1;a, b, c\n2;d, e, f\n3;g\n", encoding="utf-8")
    assert read_clinical_table(path).columns == ("id", "remark")


def test_comments_and_repeated_headers_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "data_clinical.txt"
    path.write_text(
        "#Patient\tStatus\n#STRING\tSTRING\nPATIENT_ID\tOS_STATUS\nCDE_ID:1\tCDE_ID:2\nP1\t1:DECEASED\n",
        encoding="utf-8",
    )
    table = read_clinical_table(path)
    assert table.rows == (("P1", "1:DECEASED"),)
    assert len(table.notes) == 2


def test_dates_numbers_and_truths_of_excel_are_text(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["id", "date", "number", "dead"])
    book.active.append([7, datetime.datetime(2020, 1, 31), 12.0, True])
    book.active.append([8, datetime.date(2020, 2, 1), 0.5, False])
    book.save(tmp_path / "table.xlsx")
    table = read_clinical_table(tmp_path / "table.xlsx")
    assert table.rows == (("7", "2020-01-31", "12", "TRUE"), ("8", "2020-02-01", "0.5", "FALSE"))


def test_a_sheet_is_chosen_and_the_others_are_named(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "a"
    for sheet in (book.active, book.create_sheet("b")):
        sheet.append(["id", "value"])
        sheet.append([sheet.title, "x"])
    book.save(tmp_path / "table.xlsx")
    first = read_clinical_table(tmp_path / "table.xlsx")
    assert first.rows == (("a", "x"),)
    assert "'b'" in first.notes[0]
    assert read_clinical_table(tmp_path / "table.xlsx", sheet="b").rows == (("b", "x"),)
    with pytest.raises(CohortError, match="no sheet 'c', expected one of 'a', 'b'"):
        read_clinical_table(tmp_path / "table.xlsx", sheet="c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no table"),
        (b"id,value\n", "no row below it"),
        (b"id,value\n1,2,3\n", "1 rows have more cells than the 2 of the header"),
        (b"\x00\x01\x02\x03", "is not a table of text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "save it as .xlsx or CSV"),
        (b"PK\x03\x04 no archive", "no Excel file that can be read"),
        (b"PAR1 broken", "no Parquet file that can be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(CohortError, match=message):
        read_clinical_table(path)


def test_a_column_is_found_in_any_case_and_others_are_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("ID,id value,value,Value\n1,2,3,4\n", encoding="utf-8")
    table = read_clinical_table(path)
    assert table.columns == ("ID", "id value", "value", "Value (2)")
    assert table.column("id") == ["1"]
    with pytest.raises(CohortError, match="no column 'age', expected one of 'ID'"):
        table.column("age")
