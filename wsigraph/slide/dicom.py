"""Which files make one DICOM slide.

A DICOM slide is a series: one file (instance) a level or associated image, usually in one folder. All that is needed
here is each file's series, so this reads element headers up to that one and leaves the rest to OpenSlide.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

SOP_CLASS, TRANSFER_SYNTAX = (0x0002, 0x0002), (0x0002, 0x0010)
"""Elements of the file meta information: what the file is, and how its data are encoded."""
_PREAMBLE_BYTES = 128
_META_GROUP = 0x0002
_META_VALUE_BYTES_MAX = 1024
_SERIES_INSTANCE_UID = (0x0020, 0x000E)
_SEQUENCE_END = (0xFFFE, 0xE0DD)
_ITEM_GROUP = 0xFFFE
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_FORMS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
"""Value representations whose length takes four bytes after two that are reserved."""


def series_uid(path: Path) -> str | None:
    """Return the series that a DICOM file belongs to.

    Parameters
    ----------
    path : Path
        File to look into.

    Returns
    -------
    str or None
        SeriesInstanceUID; None where the file is not DICOM, is damaged before that element, or names no series.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as handle:
        if handle.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] != b"DICM":
            return None
        return _find_series(handle)


def file_meta(path: Path) -> dict[tuple[int, int], str]:
    """Return the texts of a DICOM file's meta information, which is in explicit little endian in every file.

    Parameters
    ----------
    path : Path
        File to look into.

    Returns
    -------
    dict of (int, int) to str
        Value by group and element; empty where the file is not DICOM.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    values: dict[tuple[int, int], str] = {}
    with path.open("rb") as handle:
        if handle.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] != b"DICM":
            return values
        while len(head := handle.read(8)) == 8:
            group, element = struct.unpack_from("<HH", head)
            length = _value_length(group, head, handle)
            if group != _META_GROUP or length is None or length == _UNDEFINED_LENGTH:
                return values
            value = handle.read(min(length, _META_VALUE_BYTES_MAX))
            values.setdefault((group, element), value.decode("ascii", errors="replace").strip(" \0"))
            handle.seek(length - len(value), 1)
    return values


def series_files(path: Path) -> tuple[Path, ...]:
    """Return the files beside `path` that belong to its series, `path` among them, sorted by name.

    Parameters
    ----------
    path : Path
        One instance.

    Returns
    -------
    tuple of Path
        The instances; `path` alone where it is not DICOM.

    Raises
    ------
    OSError
        If the folder or a DICOM file in it cannot be read.
    """
    own = series_uid(path)
    if own is None:
        return (path,)
    return tuple(sorted(other for other in path.parent.iterdir() if other.is_file() and series_uid(other) == own))


def folder_series(folder: Path) -> dict[str, Path]:
    """Return one instance of each DICOM series in a folder, the first by name.

    Parameters
    ----------
    folder : Path
        Folder whose ``*.dcm`` files are looked at.

    Returns
    -------
    dict of str to Path
        First instance by SeriesInstanceUID.

    Raises
    ------
    OSError
        If the folder or a file in it cannot be read.
    """
    instances: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() == ".dcm" and path.is_file():
            uid = series_uid(path)
            if uid is not None:
                instances.setdefault(uid, path)
    return instances


def _find_series(handle: BinaryIO) -> str | None:
    depth = 0  # a referenced series inside a sequence is another one
    while len(head := handle.read(8)) == 8:
        tag = struct.unpack_from("<HH", head)
        if tag == _SEQUENCE_END:
            depth -= 1
            continue
        length = _value_length(tag[0], head, handle)
        if length is None or (depth == 0 and tag > _SERIES_INSTANCE_UID):
            return None
        if length == _UNDEFINED_LENGTH:
            depth += tag[0] != _ITEM_GROUP
        elif tag == _SERIES_INSTANCE_UID and depth == 0:
            return handle.read(length).decode("ascii", errors="replace").strip(" \0") or None
        elif tag[0] != _ITEM_GROUP:
            handle.seek(length, 1)
    return None


def _value_length(group: int, head: bytes, handle: BinaryIO) -> int | None:
    """Return the length of the value that follows an element's head, whichever way the head is encoded."""
    form = head[4:6]
    if group == _ITEM_GROUP or not (form.isalpha() and form.isupper()):
        return int(struct.unpack_from("<I", head, 4)[0])
    if form not in _LONG_FORMS:
        return int(struct.unpack_from("<H", head, 6)[0])
    rest = handle.read(4)
    return int(struct.unpack("<I", rest)[0]) if len(rest) == 4 else None
