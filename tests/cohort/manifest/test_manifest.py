"""A manifest is read whole, or refused with every fault it has."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wsigraph.cohort.manifest.ambiguous_ids import find_ambiguous_ids
from wsigraph.cohort.manifest.manifest import (
    Fault,
    Findings,
    ManifestRow,
    check_manifest,
    read_manifest,
    write_manifest,
)
from wsigraph.cohort.manifest.missing_values import MISSING_WORDS
from wsigraph.errors import CohortError

STAGES = ("I", "II", "III", "IV")


def check(folder: Path, text: str | bytes, **options: object) -> Findings:
    path = folder / "data_manifest.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return check_manifest(path, stage_names=STAGES, **options)


def told(faults: Sequence[Fault]) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.slide_id, fault.column) for fault in faults]


def test_a_full_row_is_read_cell_by_cell(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"slide")
    header = "slide_id,patient_id,site,path,mpp,stage,grade,time_days,event,split,sha256,age"
    (row,) = check(tmp_path, f"{header}\na,P1,Basel,a.svs,0.25,II,G2,730.5,1,train,,61\n").rows
    assert row == ManifestRow(
        line=2,
        slide_id="a",
        patient_id="P1",
        site="Basel",
        path=tmp_path / "a.svs",
        mpp=0.25,
        stage="II",
        grade="G2",
        time_days=730.5,
        event=True,
        split="train",
        sha256=None,
        free={"age": "61"},
    )


def test_empty_cells_and_absent_columns_are_allowed(tmp_path: Path) -> None:
    found = check(tmp_path, "slide_id,stage,time_days,event\na,,,\nb,I,400,0\n")
    assert not found.faults
    assert not found.warnings
    first, second = found.rows
    assert (first.patient_id, first.stage, first.split, first.path, first.event) == ("a", None, None, None, None)
    assert (second.line, second.stage, second.time_days, second.event) == (3, "I", 400.0, False)


@pytest.mark.parametrize(
    ("column", "cell", "met"),
    [
        ("time_days", "-1", "negative"),
        ("time_days", "two years", "not a number"),
        ("time_days", "1_000", "not a number"),
        ("time_days", "1e999", "too large"),
        ("event", "2", "no event"),
        ("event", "yes", "no event"),
        ("stage", "V", "is not a stage in the settings, expected one of I, II, III, IV"),
        ("mpp", "0.01", "out of range"),
        ("mpp", "896", "out of range"),
        ("mpp", "fine", "not a number"),
        ("sha256", "abc", "no digest"),
        ("sha256", "g" * 64, "no digest"),
        ("path", "nowhere.svs", "there is no"),
        ("path", "a\0b", "zero byte"),
        ("slide_id", "", "empty"),
        ("slide_id", "..", "cannot name a folder"),
        ("slide_id", ".hidden", "cannot name a folder"),
        ("slide_id", "a/b", "cannot name a folder"),
        ("slide_id", "a\\b", "cannot name a folder"),
        ("slide_id", "x" * 201, "cannot name a folder"),
        ("slide_id", "a:b", "cannot name a folder"),
    ],
)
def test_a_cell_that_cannot_stand_is_told_with_its_row(tmp_path: Path, column: str, cell: str, met: str) -> None:
    cells = {"slide_id": "a", "time_days": "5", "event": "1"} | {column: cell}
    filler = "# " + "long enough a text that what follows is not in the first bytes " * 80
    text = f"{','.join(cells)},note\nfirst,{',' * (len(cells) - 1)}{filler}\n{','.join(cells.values())},\n"
    (fault,) = check(tmp_path, text).faults
    assert (fault.line, fault.slide_id, fault.column) == (3, cells["slide_id"], column)
    assert met in fault.message


@pytest.mark.parametrize(
    ("cell", "event"),
    [("0", False), ("1", True), ("true", True), ("False", False), ("TRUE", True), ("1.0", True), ("0.0", False)],
)
def test_events_are_read_as_tables_write_them(tmp_path: Path, cell: str, event: bool) -> None:
    assert check(tmp_path, f"slide_id,time_days,event\na,5,{cell}\n").rows[0].event is event


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    text = (
        "slide_id,patient_id,path,mpp,stage,time_days,event,split,sha256\n"
        "a,P1,,,,,,train,\n"
        "a,P1,,,,,,test,\n"
        "b,P2,gone.svs,0.01,V,-3,1,,\n"
        "c,P3,,,,,1,,\n"
        "d,P4,,\n"
        "e,P5,,,,ten,maybe,,xyz\n"
    )
    found = check(tmp_path, text)
    assert told(found.faults) == [
        (3, "a", "slide_id"),
        (3, "a", "split"),
        (4, "b", "mpp"),
        (4, "b", "path"),
        (4, "b", "stage"),
        (4, "b", "time_days"),
        (5, "c", "event"),
        (6, "d", ""),
        (7, "e", "event"),
        (7, "e", "sha256"),
        (7, "e", "time_days"),
    ]
    with pytest.raises(CohortError) as caught:
        read_manifest(found.path, stage_names=STAGES)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"manifest {found.path} has 11 faults:"
    assert lines[1:] == [f"  {fault}" for fault in found.faults]
    assert "line 5 (c): event: an event is given without time_days" in lines[7]


def test_a_message_is_bounded_and_the_error_travels(tmp_path: Path) -> None:
    found = check(tmp_path, "slide_id,stage\n" + "".join(f"s{n},V\n" for n in range(500)))
    assert len(found.faults) == 500
    with pytest.raises(CohortError, match="has 500 faults") as caught:
        read_manifest(found.path, stage_names=STAGES)
    assert len(str(caught.value).splitlines()) == 22
    assert "and 480 more" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_cells_cannot_flood_or_steer_a_terminal(tmp_path: Path) -> None:
    long, steering = "x" * 50_000, "\x1b[2Jline\nend"
    found = check(tmp_path, f'slide_id,stage,path\n"{steering}",I,\na,{long},{long}\n')
    assert len(found.faults) == 3
    assert all(len(str(fault)) < 400 and str(fault).isprintable() for fault in found.faults)
    assert r"(\x1b[2Jline\nend)" in str(found.faults[0])


def test_a_patient_without_a_name_is_the_slide(tmp_path: Path) -> None:
    found = check(tmp_path, "slide_id,patient_id,split\na,,train\nb,a,test\n")
    assert told(found.faults) == [(3, "b", "split")]
    assert "patient 'a' is in 'test' here and in 'train' on line 2" in found.faults[0].message


def test_a_command_may_need_a_column(tmp_path: Path) -> None:
    found = check(tmp_path, "slide_id,path\na,\n", requires=("path", "event"))
    assert told(found.faults) == [(1, "", "event")]
    assert told(check(tmp_path, "slide_id,path\na,\n", requires=("path",)).faults) == [(2, "a", "path")]


def test_what_is_doubtful_is_a_warning(tmp_path: Path) -> None:
    text = (
        "slide_id,patient_id,site,time_days,event,Split\n"
        "a,P,X,500,1,x\ne,P,X,600,0,y\nb,,,700,,\nc,P,Y,500,1,\nd,P,Z,,,\n"
    )
    found = check(tmp_path, text)
    assert not found.faults
    assert found.warnings == (
        "column 'Split' is kept as a free column and not read as 'split'",
        "time_days without event: no survival can be learned from the row (line 4)",
        "another time_days or event than an earlier slide of the patient (line 3)",
        "another site than an earlier slide of the patient; a split by site joins the two (lines 5, 6)",
    )


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_marks_separators_and_line_ends_of_spreadsheets(
    tmp_path: Path, separator: str, mark: bytes, ending: str
) -> None:
    lines = ["slide_id,site,stage", 'a,"Basel, Ost; Süd",II', "", "b,,V"]
    text = ending.join(lines).replace(",", separator).replace(f"Basel{separator}", "Basel,")
    found = check(tmp_path, mark + text.encode())
    assert [(row.line, row.slide_id, row.site) for row in found.rows] == [(2, "a", "Basel, Ost; Süd"), (4, "b", None)]
    assert told(found.faults) == [(4, "b", "stage")]


def test_a_decimal_comma_is_named(tmp_path: Path) -> None:
    (fault,) = check(tmp_path, "slide_id;mpp\na;0,25\n").faults
    assert "decimal comma" in fault.message


def test_bytes_that_are_not_text_are_told_by_line(tmp_path: Path) -> None:
    found = check(tmp_path, "slide_id,site\na,Zürich\nb,Genf\nc,Köln\n".encode("latin-1"))
    assert told(found.faults) == [(2, "a", ""), (4, "c", "")]
    assert "byte 4 of the line is 0xfc, which is not UTF-8" in found.faults[0].message
    assert [row.slide_id for row in found.rows] == ["b"]


def test_quotes_that_do_not_close_are_told_where_they_open(tmp_path: Path) -> None:
    found = check(tmp_path, 'slide_id,site\na,x\nb,"open\nc,y\n')
    assert [fault.line for fault in found.faults] == [3]
    assert "correct the quotes" in found.faults[0].message


def test_a_record_over_several_lines_keeps_the_count(tmp_path: Path) -> None:
    found = check(tmp_path, 'slide_id,note,stage\na,"one\ntwo",I\nb,,V\n')
    assert [row.line for row in found.rows] == [2, 4]
    assert told(found.faults) == [(4, "b", "stage")]


@pytest.mark.parametrize(
    ("header", "met"),
    [
        ("slide,path", "slide_id: the header lacks this column; is it 'slide'? rename it"),
        ("slide_id,mpp,mpp", "mpp: the header names this column 2 times"),
        (",slide_id", "column 1 has no name"),
    ],
)
def test_a_header_that_cannot_stand(tmp_path: Path, header: str, met: str) -> None:
    found = check(tmp_path, f"{header}\na,b\n")
    assert not found.rows
    assert [fault.line for fault in found.faults] == [1]
    assert met in str(found.faults[0])


@pytest.mark.parametrize(
    ("content", "met"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        ("slide_id\na\n".encode("utf-16"), "UTF-16"),
        (b"II*\0\x08\0\0\0", "not a table of text"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, met: str) -> None:
    with pytest.raises(CohortError, match=met):
        check(tmp_path, content)


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="No such file"):
        read_manifest(tmp_path / "none.csv", stage_names=STAGES)
    with pytest.raises(CohortError, match="is a folder, expected a table"):
        read_manifest(tmp_path, stage_names=STAGES)


def test_a_manifest_of_a_hundred_thousand_rows_is_read_in_seconds(tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    for number in range(20):
        (slides / f"{number}.svs").write_bytes(bytes([number]) * (number + 1))
    header = "slide_id,patient_id,site,path,mpp,stage,time_days,event,split,risk"
    rows = (
        f"s{n},P{n // 2},site {n % 9},,0.25,II,{n % 3000},{n % 2},{'train' if n % 10 < 8 else 'test'},0.5\n"
        for n in range(100_000)
    )
    started = time.process_time()
    found = check(tmp_path, f"{header}\n{''.join(rows)}")
    assert not found.faults
    assert len(found.rows) == 100_000
    assert time.process_time() - started < 15  # 3 s of processor time on the machine it was written on


names = st.text(
    st.characters(codec="utf-8", exclude_characters='/\\<>:"|?*', exclude_categories=["C", "Z"]), min_size=1
)
names = names.filter(lambda name: name.lower() not in MISSING_WORDS)
safe = names.filter(lambda name: not name.startswith(".") and not name.endswith(".") and len(name.encode()) <= 200)
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])).map(str.strip)
text = text.filter(lambda cell: cell.lower() not in MISSING_WORDS)
optional = st.none() | text.filter(bool)


@st.composite
def manifest_rows(draw: st.DrawFn, folder: Path) -> list[ManifestRow]:
    slide_ids = draw(st.lists(safe, unique=True, min_size=1, max_size=5))
    days = st.none() | st.floats(0, 1e6, allow_subnormal=False)
    return [
        ManifestRow(
            line=number,
            slide_id=slide_id,
            patient_id=draw(optional) or slide_id,
            site=draw(optional),
            path=draw(st.none() | safe.map(lambda name: folder / "slides" / name)),
            mpp=draw(st.none() | st.floats(0.05, 20)),
            stage=draw(st.none() | st.sampled_from(STAGES)),
            grade=draw(optional),
            time_days=(time_days := draw(days)),
            event=None if time_days is None else draw(st.booleans()),
            split=None,
            sha256=None,
            free={"note": draw(text)},
        )
        for number, slide_id in enumerate(slide_ids, start=2)
    ]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_again(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("written")
    rows = data.draw(manifest_rows(folder))
    assume(not find_ambiguous_ids(rows))
    path = folder / "data_manifest.csv"
    write_manifest(rows, path)
    first = path.read_bytes()
    read = check_manifest(path, stage_names=STAGES, check_files=False)
    assert not read.faults
    assert list(read.rows) == rows
    write_manifest(read.rows, path)
    assert path.read_bytes() == first


def test_paths_are_written_from_the_manifest_s_folder(tmp_path: Path) -> None:
    row = check(tmp_path, "slide_id,path\na,b/../c.svs\n", check_files=False).rows[0]
    assert row.path == tmp_path / "c.svs"
    write_manifest([row], tmp_path / "deep" / "m.csv")
    header, line = (tmp_path / "deep" / "m.csv").read_text().splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["path"] == "../c.svs"


def test_a_free_column_cannot_take_a_meaning(tmp_path: Path) -> None:
    row = check(tmp_path, "slide_id\na\n").rows[0]
    row.free["stage"] = "I"  # type: ignore[index]
    with pytest.raises(CohortError, match="stage"):
        write_manifest([row], tmp_path / "m.csv")
