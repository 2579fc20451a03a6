from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph.errors import PluginError, UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide.opening import open_reader, reader_names
from wsigraph.slide.reader import read

PLUGIN = '''
import numpy as np
from wsigraph.geometry import Size
from wsigraph.slide.description import FileDescription, make_levels


class FlatReader:
    """Reads files that begin with FLAT: an even field of the fifth byte's level."""

    def __init__(self, path):
        self.level = path.read_bytes()[4]
        levels = make_levels([(Size(80, 100), Size(10, 10))])
        self.description = FileDescription(
            vendor="flat", levels=levels, scales=((1,),), mpp=0.5, mpp_source="flat.size"
        )

    @classmethod
    def matches(cls, path):
        return path.read_bytes()[:4] == b"FLAT"

    def read_level(self, level, box, scale):
        return np.full((box.height, box.width, 3), self.level, np.uint8)

    def close(self):
        pass
'''


def _install(folder: Path, target: str) -> None:
    """Put a distribution with one reader plugin where Python finds it."""
    (folder / "flat_plugin.py").write_text(PLUGIN)
    info = folder / "flat_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flat-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[wsigraph.readers]\nflat = {target}\n")


def test_the_projects_own_readers_come_in_order() -> None:
    assert reader_names()[:3] == ("tiled_tiff", "openslide", "ome_zarr")
    assert reader_names()[-1] == "image"


def test_a_third_party_reader_is_found_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(tmp_path, "flat_plugin:FlatReader")
    monkeypatch.syspath_prepend(tmp_path)
    assert reader_names() == ("tiled_tiff", "openslide", "ome_zarr", "flat", "tiatoolbox", "image")
    path = tmp_path / "a.flat"
    path.write_bytes(b"FLAT\x42")
    with read(path) as slide:
        assert (slide.info.reader, slide.info.vendor, slide.info.mpp_source) == ("flat", "flat", "flat.size")
        assert (slide.read(Box.whole(slide.size(1.0)), 1.0) == np.uint8(0x42)).all()


def test_a_broken_plugin_does_not_stop_the_others(
    cmu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texture
) -> None:
    from PIL import Image

    _install(tmp_path, "no_such_module:FlatReader")
    monkeypatch.syspath_prepend(tmp_path)
    assert open_reader(cmu)[0] == "tiled_tiff"
    path = tmp_path / "a.png"
    Image.fromarray(texture(20, 20)).save(path)
    assert open_reader(path)[0] == "image"
    unknown = tmp_path / "a.flat"
    unknown.write_bytes(b"FLAT\x42")
    with pytest.raises(UnreadableSlide, match=r"of no format .*no_such_module"):
        open_reader(unknown)
    with pytest.raises(PluginError, match="does not load"):
        open_reader(cmu, "flat")


def write_vsi(path: Path, **options: object) -> Path:
    """Write a TIFF as an Olympus VSI begins: the header of its volume at byte 8, the first directory at the end."""
    tifffile.imwrite(path, np.full((64, 64, 3), 200, np.uint8), photometric="rgb", metadata=None, **options)
    content = path.read_bytes()
    (at,) = struct.unpack_from("<I", content, 4)
    n_bytes = 2 + 12 * struct.unpack_from("<H", content, at)[0]
    end = len(content) + len(content) % 2
    directory = content[at : at + n_bytes] + bytes(4)
    head = content[:4] + struct.pack("<I", end) + b"\x18\0IS"
    path.write_bytes(head + content[12:].ljust(end - 12, b"\0") + directory)
    return path


@pytest.mark.parametrize("name", ["a.vsi", "A.VSI", "renamed.tif"])
@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}], ids=["strips", "tiles"])
@pytest.mark.parametrize("reader", [None, "image", "tiled_tiff", "openslide"])
def test_the_overview_of_a_vsi_is_not_the_slide(
    tmp_path: Path, name: str, options: dict[str, object], reader: str | None
) -> None:
    path = write_vsi(tmp_path / name, **options)
    with pytest.raises(UnreadableSlide, match=r"Olympus VSI.*overview.*convert.*OME-TIFF.*QuPath.*bfconvert"):
        open_reader(path, reader)


def test_a_vsi_without_the_mark_of_its_volume_is_named_by_its_suffix(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.vsi", np.full((64, 64, 3), 200, np.uint8), photometric="rgb")
    with pytest.raises(UnreadableSlide, match=r"Olympus VSI.*overview"):
        read(tmp_path / "a.vsi", mpp=0.5)


@pytest.mark.parametrize("name", ["a.czi", "renamed.tif"])
def test_a_czi_that_does_not_open_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"ZISRAWFILE".ljust(544, b"\0"))
    with pytest.raises(UnreadableSlide, match=r"Zeiss CZI.*convert.*OME-TIFF.*QuPath.*bfconvert"):
        open_reader(path)
