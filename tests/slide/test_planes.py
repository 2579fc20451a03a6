"""Red, green and blue that are stored apart are a picture; all else is refused, and no other file is opened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from wsigraph.errors import UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide.ome_xml import parse_planes
from wsigraph.slide.reader import read

BOX = Box(y0=10, x0=20, y1=150, x1=190)


def write_apart(path: Path, picture: NDArray[np.uint8], **metadata: Any) -> Path:
    """Write an OME-TIFF of one page a channel, each with its half-size level below it, as raw2ometiff does."""
    planes = np.ascontiguousarray(np.moveaxis(picture, -1, 0))
    options: dict[str, Any] = {"tile": (64, 64), "photometric": "minisblack", "compression": "deflate"}
    stated = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "\u00b5m", "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(planes, subifds=1, metadata={**stated, "PhysicalSizeYUnit": "\u00b5m", **metadata}, **options)
        tif.write(np.ascontiguousarray(planes[:, ::2, ::2]), subfiletype=1, **options)
    return path


def test_three_channels_apart_are_a_picture(texture, tmp_path: Path) -> None:
    picture = texture(300, 260)
    with read(write_apart(tmp_path / "apart.ome.tif", picture)) as slide:
        assert (slide.info.mpp, slide.info.mpp_source, len(slide.info.levels)) == (0.5, "ome.PhysicalSizeX", 2)
        np.testing.assert_array_equal(slide.read(BOX), picture[BOX.slices])
        np.testing.assert_array_equal(slide.read(Box(y0=0, x0=0, y1=150, x1=130), 1.0), picture[::2, ::2])


def test_planar_rgb_is_a_picture(texture, tmp_path: Path) -> None:
    picture = texture(300, 260)
    tifffile.imwrite(
        tmp_path / "planar.ome.tif", np.ascontiguousarray(np.moveaxis(picture, -1, 0)), tile=(64, 64),
        photometric="rgb", planarconfig="separate", compression="lzw",
        metadata={"axes": "SYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "\u00b5m"},
    )  # fmt: skip
    with read(tmp_path / "planar.ome.tif") as slide:
        assert (slide.info.reader, slide.info.mpp) == ("tiled_tiff", 0.5)
        np.testing.assert_array_equal(slide.read(BOX), picture[BOX.slices])


def test_channels_are_ordered_by_their_names(texture, tmp_path: Path) -> None:
    picture = texture(300, 260)
    path = write_apart(tmp_path / "bgr.ome.tif", picture[..., ::-1], Channel={"Name": ["Blue", "Green", "Red"]})
    with read(path) as slide:
        np.testing.assert_array_equal(slide.read(BOX), picture[BOX.slices])


def test_names_of_dyes_are_kept(texture, tmp_path: Path) -> None:
    path = write_apart(tmp_path / "if.ome.tif", texture(300, 260), Channel={"Name": ["DAPI", "CD3", "CD8"]})
    with read(path) as slide:
        assert slide.channels == ("DAPI", "CD3", "CD8")


def test_two_channels_are_refused_with_the_way_out(texture, tmp_path: Path) -> None:
    path = write_apart(tmp_path / "two.ome.tif", texture(300, 260)[..., :2])
    with pytest.raises(UnreadableSlide, match=r"it holds 2 channels apart.*bfconvert"):
        read(path)


def test_a_plane_in_another_file_is_never_opened(texture, tmp_path: Path) -> None:
    """A slide must not decide which other files are read, even where the other file is beside it."""
    picture = texture(300, 260)
    write_apart(tmp_path / "other.ome.tif", picture)
    path = write_apart(tmp_path / "apart.ome.tif", picture)
    data = path.read_bytes()
    start = data.index(b"<OME")
    start = data.rindex(b"<?xml", 0, start)
    stop = data.index(b"</OME>") + len(b"</OME>")
    xml = data[start:stop].decode()
    link = '<TiffData IFD="0"><UUID FileName="other.ome.tif">urn:uuid:1</UUID></TiffData>'
    head = re.sub(r' (xsi:schemaLocation|xmlns:xsi|UUID)="[^"]*"', "", xml[: xml.index("<TiffData")])
    changed = head + link + xml[xml.index("</Pixels>") :]
    assert len(changed.encode()) <= stop - start
    path.write_bytes(data[:start] + changed.encode().ljust(stop - start) + data[stop:])
    with pytest.raises(UnreadableSlide, match=r"planes in the file 'other\.ome\.tif', and no other file is opened"):
        read(path)


@pytest.mark.parametrize(
    "xml",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><OME>&b;</OME>',
        "<OME",
        '<OME><Image><Pixels SizeC="many"/></Image></OME>',
        '<OME><Image><Pixels SizeC="99999999"/></Image></OME>',
    ],
)
def test_a_text_that_is_no_ome_xml_is_a_value_error(xml: str) -> None:
    with pytest.raises(ValueError, match=r"OME-XML|invalid literal"):
        parse_planes(xml)


@pytest.mark.parametrize("order", ["XYCZT", "XYZCT", "XYTZC"])
def test_pages_follow_the_order_of_axes(order: str) -> None:
    xml = (
        f'<OME><Image><Pixels DimensionOrder="{order}" SizeC="3" SizeZ="4" SizeT="2">'
        + "".join(f'<Channel Name="{name}"/>' for name in "abc")
        + "<TiffData/></Pixels></Image></OME>"
    )
    pages = parse_planes(xml).pages()
    lengths = {"C": 3, "Z": 4, "T": 2}
    steps, step = {}, 1
    for axis in order[2:]:
        steps[axis], step = step, step * lengths[axis]
    assert pages == {
        (c, z, t): c * steps["C"] + z * steps["Z"] + t * steps["T"]
        for c in range(3) for z in range(4) for t in range(2)
    }  # fmt: skip
