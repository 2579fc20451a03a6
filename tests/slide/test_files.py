from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import pytest

from wsigraph.errors import UnreadableSlide
from wsigraph.slide import dicom, files
from wsigraph.slide.reader import read


def _element(group: int, element: int, form: bytes, value: bytes, *, undefined: bool = False) -> bytes:
    length = 0xFFFFFFFF if undefined else len(value)
    head = struct.pack("<HH", group, element)
    if form in (b"OB", b"SQ", b"UN"):
        return head + form + bytes(2) + struct.pack("<I", length) + value
    return head + form + struct.pack("<H", length) + value


def _item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _instance(series: str, payload: bytes = b"", *, undefined: bool = True) -> bytes:
    """Return a DICOM file whose series stands behind a sequence that names another one."""
    other = _element(0x0020, 0x000E, b"UI", b"9.9.9\0")
    sequence = _item(other) + (SEQUENCE_END if undefined else b"")
    return (
        bytes(128)
        + b"DICM"
        + _element(0x0002, 0x0001, b"OB", b"\0\1")
        + _element(0x0008, 0x1115, b"SQ", sequence, undefined=undefined)
        + _element(0x0008, 0x2218, b"SQ", _item(_element(0x0008, 0x0100, b"SH", b"T-1\0")))
        + _element(0x0020, 0x000D, b"UI", b"1.2.3\0")
        + _element(0x0020, 0x000E, b"UI", series.encode() + b"\0" * (len(series) % 2))
        + payload
    )


@pytest.mark.parametrize("undefined", [True, False])
def test_the_series_is_the_instance_s_own(tmp_path: Path, undefined: bool) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(_instance("1.2.840.7", undefined=undefined))
    assert dicom.series_uid(path) == "1.2.840.7"


def test_implicit_encoding_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    elements = ((0x0020, 0x000D, b"1.2\0"), (0x0020, 0x000E, b"1.5\0"))
    body = b"".join(struct.pack("<HHI", group, element, len(value)) + value for group, element, value in elements)
    path.write_bytes(bytes(128) + b"DICM" + _element(0x0002, 0x0001, b"OB", b"\0\1") + body)
    assert dicom.series_uid(path) == "1.5"


def test_what_is_no_dicom_has_no_series(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    for data in (b"", b"text", bytes(128) + b"DICM", _instance("1.2")[:150], bytes(128) + b"DICM" + b"\xff" * 60):
        path.write_bytes(data)
        assert dicom.series_uid(path) is None
    path.write_bytes(bytes(128) + b"DICM" + _element(0x0028, 0x0010, b"US", b"\1\0"))
    assert dicom.series_uid(path) is None  # past the element's place without it
    assert dicom.series_files(path) == (path,)


def test_a_slide_is_the_instances_of_one_series(tmp_path: Path) -> None:
    for name, series, payload in (("b.dcm", "1.1", b"bb"), ("a.dcm", "1.1", b"a"), ("c.dcm", "1.2", b"c")):
        (tmp_path / name).write_bytes(_instance(series, payload))
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in files.slide_files(tmp_path / "b.dcm")] == ["a.dcm", "b.dcm"]
    before = files.digest(files.slide_files(tmp_path / "b.dcm"))
    (tmp_path / "a.dcm").rename(tmp_path / "z.dcm")
    assert files.digest(files.slide_files(tmp_path / "b.dcm")) == before  # names do not count
    with pytest.raises(UnreadableSlide, match="holds 2 DICOM series, expected one"):
        files.locate(tmp_path)
    (tmp_path / "c.dcm").unlink()
    assert files.locate(tmp_path) == tmp_path / "b.dcm"


def test_a_mirax_slide_counts_its_data(tmp_path: Path) -> None:
    index, data = tmp_path / "a.mrxs", tmp_path / "a"
    index.write_bytes(b"index")
    alone = files.digest(files.slide_files(index))
    data.mkdir()
    (data / "Data0000.dat").write_bytes(b"pixels")
    assert files.slide_files(index) == (index, data / "Data0000.dat")
    assert files.digest(files.slide_files(index)) != alone


def test_the_digest_of_one_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    path.write_bytes(b"some bytes")
    assert files.digest(files.slide_files(path)) == hashlib.sha256(b"some bytes").hexdigest()


def test_bad_paths_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.svs").touch()
    Path("text.svs").write_text("this is a note, not a slide")
    Path("folder").mkdir()
    os.mkfifo("pipe.svs")
    for path, words in (
        ("missing.svs", "'missing.svs' does not exist; check the path"),
        (".", "'.' is a directory without DICOM instances"),
        ("folder", "'folder' is a directory without DICOM instances"),
        ("empty.svs", r"'empty.svs' is empty \(0 bytes\)"),
        ("text.svs", "'text.svs' is of no format that the readers know .*expected a slide such as SVS"),
        ("pipe.svs", "'pipe.svs' is not a regular file"),
    ):
        with pytest.raises(UnreadableSlide, match=words) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.svs"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(UnreadableSlide, match="cannot be read"):
        read(path)
