"""Small files in two vendors' layouts, as far as OpenSlide reads them, for formats of which no free sample is small.

Layouts after OpenSlide's public format pages "Hamamatsu format" and "MIRAX format"; no other reader was tried on these.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

MRXS_TILE = 128
_VERSION, _SLIDE_ID = b"01.02", b"0123456789ABCDEF0123456789ABCDEF"


def _jpeg(picture: np.ndarray, **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95, subsampling=0, **options)
    return stream.getvalue()


def write_ndpi(path: Path, levels: list[np.ndarray], mpp: float = 0.5) -> Path:
    """Write one JPEG a level, cut by restart markers, in Hamamatsu's TIFF of 8-byte offsets between directories."""
    out = bytearray(struct.pack("<2sHQ", b"II", 42, 0))
    link = 4
    for number, level in enumerate(levels):
        height, width = level.shape[:2]
        # 8 px blocks without subsampling: a restart marker after every 8 is a tile of 64 px
        coded, at = _jpeg(level, restart_marker_blocks=8), len(out)
        out += coded
        per_cm = len(out)
        out += struct.pack("<II", round(1e4 / (mpp * 2**number)), 1)
        short, long, rational, slong, real = 3, 4, 5, 9, 11
        entries = [
            (256, long, width), (257, long, height), (258, short, 8), (259, short, 7), (262, short, 6),
            (273, long, at), (277, short, 3), (278, long, height), (279, long, len(coded)),
            (282, rational, per_cm), (283, rational, per_cm), (296, short, 3),
            (65420, long, 1), (65421, real, 20.0 / 2**number), (65424, slong, 0),
        ]  # fmt: skip
        struct.pack_into("<Q", out, link, len(out))
        out += struct.pack("<H", len(entries))
        for code, kind, value in entries:
            out += struct.pack("<HHIf" if kind == real else "<HHII", code, kind, 1, value)
        link = len(out)
        # the next directory, then the high halves of all values
        out += bytes(8 + 4 * len(entries))
    path.write_bytes(out)
    return path


def write_mrxs(path: Path, levels: list[np.ndarray], mpp: float = 0.5) -> Path:
    """Write tiles into MIRAX data and index files; sides must be multiples of the tile of the coarsest level."""
    folder = path.with_suffix("")
    folder.mkdir()
    path.write_bytes(_jpeg(levels[-1]))
    rows, columns = (side // MRXS_TILE for side in levels[0].shape[:2])
    data, entries = bytearray(_VERSION + _SLIDE_ID), []
    for number, level in enumerate(levels):
        found = []
        for row in range(level.shape[0] // MRXS_TILE):
            for column in range(level.shape[1] // MRXS_TILE):
                y, x = row * MRXS_TILE, column * MRXS_TILE
                coded = _jpeg(np.ascontiguousarray(level[y : y + MRXS_TILE, x : x + MRXS_TILE]))
                found.append(((row * columns + column) << number, len(data), len(coded), 0))
                data += coded
        entries.append(found)
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Index.dat").write_bytes(_mrxs_index(entries))
    (folder / "Slidedat.ini").write_text(_mrxs_description(len(levels), rows, columns, mpp), encoding="utf-8-sig")
    return path


def _mrxs_index(entries: list[list[tuple[int, int, int, int]]]) -> bytes:
    """Return the index: roots, one pointer a level, and for each level a list of one page."""
    start = len(_VERSION) + len(_SLIDE_ID)
    hierarchy = start + 8
    lists = hierarchy + 4 * (len(entries) + 1)
    pointers, body = [], b""
    for found in entries:
        at = lists + len(body)
        pointers.append(at)
        page = struct.pack("<ii", len(found), 0) + b"".join(struct.pack("<iiii", *entry) for entry in found)
        body += struct.pack("<ii", 0, at + 8) + page
    head = _VERSION + _SLIDE_ID + struct.pack("<ii", hierarchy, hierarchy + 4 * len(entries))
    return head + struct.pack(f"<{len(pointers)}i", *pointers) + struct.pack("<i", 0) + body


def _mrxs_description(n_levels: int, rows: int, columns: int, mpp: float) -> str:
    lines = [
        "[GENERAL]", f"SLIDE_ID = {_SLIDE_ID.decode()}", f"IMAGENUMBER_X = {columns}", f"IMAGENUMBER_Y = {rows}",
        "OBJECTIVE_MAGNIFICATION = 20", "CameraImageDivisionsPerSide = 1",
        "[HIERARCHICAL]", "INDEXFILE = Index.dat", "HIER_COUNT = 1", "NONHIER_COUNT = 0",
        "HIER_0_NAME = Slide zoom level", f"HIER_0_COUNT = {n_levels}",
        *(f"HIER_0_VAL_{number}_SECTION = LEVEL_{number}" for number in range(n_levels)),
        "[DATAFILE]", "FILE_COUNT = 1", "FILE_0 = Data0000.dat",
    ]  # fmt: skip
    for number in range(n_levels):
        scale = 2**number
        lines += [
            f"[LEVEL_{number}]", "OVERLAP_X = 0", "OVERLAP_Y = 0", f"MICROMETER_PER_PIXEL_X = {mpp * scale}",
            f"MICROMETER_PER_PIXEL_Y = {mpp * scale}", "IMAGE_FORMAT = JPEG", "IMAGE_FILL_COLOR_BGR = 16777215",
            f"DIGITIZER_WIDTH = {MRXS_TILE}", f"DIGITIZER_HEIGHT = {MRXS_TILE}",
            f"IMAGE_CONCAT_FACTOR = {int(number > 0)}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"
