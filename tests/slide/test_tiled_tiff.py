from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph.errors import CorruptTile, SlideError, TruncatedSlide, UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.slide.reader import read
from wsigraph.slide.tiled_tiff import TiledTiffReader


def _shrunk(picture: np.ndarray, factor: int) -> np.ndarray:
    height, width = (side // factor * factor for side in picture.shape[:2])
    blocks = picture[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def _read_all(reader: TiledTiffReader, level: int = 0, scale: int = 1) -> np.ndarray:
    size = reader.description.levels[level].size
    box = Box.whole(Size(-(-size.height // scale), -(-size.width // scale)))
    return reader.read_level(level, box, scale)


@pytest.mark.parametrize("kind", ["pages", "subifds", "ome"])
def test_pyramids_of_every_layout(kind: str, texture, write_pyramid) -> None:
    picture = texture(301, 402)
    levels = [picture, _shrunk(picture, 2), _shrunk(picture, 4)]
    path = write_pyramid(levels, kind)
    assert TiledTiffReader.matches(path)
    reader = TiledTiffReader(path)
    assert [level.downsample for level in reader.description.levels] == [1, 2, 4]
    assert reader.description.vendor == ("ome" if kind == "ome" else "generic-tiff")
    assert reader.description.mpp == (0.5 if kind == "ome" else None)
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(_read_all(reader, number), level)
    reader.close()


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"compression": "zstd"},
        {"compression": "jpeg2000", "compressionargs": {"level": 0, "reversible": True}},
        {"compression": "webp", "compressionargs": {"lossless": True}},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"tile": (32, 80)},
    ],
    ids=str,
)
def test_lossless_codecs_and_layouts(options: dict, texture, tmp_path: Path) -> None:
    picture = texture(150, 210)
    path = tmp_path / "slide.tif"
    writer = {key: options.pop(key) for key in ("bigtiff", "byteorder") if key in options}
    tifffile.imwrite(path, picture, photometric="rgb", metadata=None, **{"tile": (64, 64), **options}, **writer)
    reader = TiledTiffReader(path)
    np.testing.assert_array_equal(_read_all(reader), picture)
    assert reader.description.scales == ((1,),)
    reader.close()


@pytest.mark.parametrize(("photometric", "subsampling"), [("rgb", (1, 1)), ("ycbcr", (1, 1)), ("ycbcr", (2, 2))])
def test_jpeg_tiles_and_their_scales(photometric: str, subsampling: tuple[int, int], texture, tmp_path: Path) -> None:
    """Interior tiles shrink on their cosine coefficients, tiles at the border by averaging; both near the average."""
    picture = texture(301, 427)
    path = tmp_path / "slide.tif"
    options = {"subsampling": subsampling} if photometric == "ycbcr" else {}
    tifffile.imwrite(
        path, picture, tile=(64, 64), compression="jpeg", compressionargs={"level": 95}, photometric=photometric,
        metadata=None, **options,
    )  # fmt: skip
    reader = TiledTiffReader(path)
    assert reader.description.scales == ((1, 2, 4, 8),)
    full = _read_all(reader)
    if photometric == "rgb":
        np.testing.assert_array_equal(full, tifffile.imread(path))
    for scale in (2, 4, 8):
        small = _read_all(reader, scale=scale)
        assert small.shape == (-(-301 // scale), -(-427 // scale), 3)
        height, width = 301 // scale, 427 // scale
        average = _shrunk(full, scale).astype(int)
        difference = np.abs(small[:height, :width].astype(int) - average).mean()
        assert difference < 2.0  # on noise, where dropping coefficients and averaging differ most
        border = full[: height * scale, 6 * 64 : 6 * 64 + (427 - 384) // scale * scale]
        np.testing.assert_array_equal(small[:height, 384 // scale : width], _half_up(border, scale))
        corner = full[300:, (427 // scale) * scale :].reshape(-1, 3).astype(int)
        if scale != 8:  # at 8, five rows are left and not one
            assert (small[-1, -1] == np.floor(corner.mean(axis=0) + 0.5)).all()
    reader.close()


def _half_up(picture: np.ndarray, factor: int) -> np.ndarray:
    height, width = (side // factor for side in picture.shape[:2])
    blocks = picture.reshape(height, factor, width, factor, 3).astype(np.int64).sum(axis=(1, 3))
    area = factor * factor
    return ((2 * blocks + area) // (2 * area)).astype(np.uint8)


def test_missing_tiles_are_white(texture, tmp_path: Path) -> None:
    picture = texture(128, 192)
    path = tmp_path / "slide.tif"
    tiles = [picture[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64, 128)]
    tiles[1] = tiles[5] = None
    tifffile.imwrite(
        path, iter(tiles), shape=picture.shape, dtype=np.uint8, tile=(64, 64), photometric="rgb", metadata=None
    )
    expected = picture.copy()
    expected[:64, 64:128] = expected[64:, 128:] = 255
    with read(path, mpp=0.5) as slide:
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size())), expected)


def test_grey_and_transparent_samples_become_rgb(tmp_path: Path) -> None:
    grey = np.arange(100 * 70, dtype=np.uint32).reshape(100, 70).astype(np.uint8)
    for photometric, expected in (("minisblack", grey), ("miniswhite", 255 - grey)):
        path = tmp_path / f"{photometric}.tif"
        tifffile.imwrite(path, grey, tile=(32, 32), photometric=photometric, metadata=None)
        reader = TiledTiffReader(path)
        np.testing.assert_array_equal(_read_all(reader), np.repeat(expected[..., None], 3, axis=2))
        reader.close()
    rgba = np.full((64, 64, 4), 100, np.uint8)
    rgba[:32, :, 3], rgba[32:, :, 3] = 255, 0
    for kind, below in (("unassalpha", 255), ("unspecified", 100)):
        path = tmp_path / f"{kind}.tif"
        tifffile.imwrite(path, rgba, tile=(32, 32), photometric="rgb", extrasamples=[kind], metadata=None)
        reader = TiledTiffReader(path)
        pixels = _read_all(reader)
        assert (pixels[:32] == 100).all()
        assert (pixels[32:] == below).all()
        reader.close()


def test_pages_of_another_shape_are_no_level(texture, write_pyramid) -> None:
    picture = texture(300, 400)
    path = write_pyramid([picture, _shrunk(picture, 2), texture(128, 128), texture(300, 400)])
    reader = TiledTiffReader(path)
    assert [level.size for level in reader.description.levels] == [Size(300, 400), Size(150, 200)]
    reader.close()


def test_an_odd_level_keeps_its_exact_downsample(texture, write_pyramid) -> None:
    path = write_pyramid([texture(300, 400), texture(120, 160)])
    with read(path, mpp=0.4) as slide:
        assert float(slide.info.levels[1].downsample) == 2.5
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size(1.0)), 1.0), texture(120, 160))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": np.uint16}, "samples of uint16"),
        ({"shape": (128, 128, 2), "photometric": "minisblack", "planarconfig": "contig"}, "2 samples a pixel"),
        ({"photometric": "cielab"}, "colours are CIELAB"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_reason(change: dict, words: str, tmp_path: Path) -> None:
    options = {"photometric": "rgb", "tile": (64, 64), "metadata": None, **change}
    picture = np.zeros(options.pop("shape", (128, 128, 3)), options.pop("dtype", np.uint8))
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture, **options)
    with pytest.raises(UnreadableSlide, match=words):
        read(path, mpp=0.5)


def test_channels_apart_are_no_picture(texture, tmp_path: Path) -> None:
    path = tmp_path / "channels.ome.tif"
    planes = np.moveaxis(texture(128, 128), 2, 0)[[0, 1, 2, 0]]  # three are a picture: test_planes.py
    tifffile.imwrite(path, planes, tile=(64, 64), photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(UnreadableSlide, match="4 channels apart"):
        read(path, mpp=0.5)


def test_what_another_reader_does_better_is_left_to_it(texture, tmp_path: Path) -> None:
    path = tmp_path / "planar.tif"
    picture = texture(128, 128)
    tifffile.imwrite(
        path, np.moveaxis(picture, 2, 0), tile=(64, 64), photometric="rgb", planarconfig="separate", metadata=None
    )
    assert not TiledTiffReader.matches(path)
    with pytest.raises(UnreadableSlide, match="colour planes are stored apart"):
        TiledTiffReader(path)
    with read(path, mpp=0.5) as slide:
        assert slide.info.reader == "openslide"
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size())), picture)


@pytest.mark.parametrize("n_bytes", [8, 100, 1_000_000, 1_300_000, 1_900_000, 1_938_000])
def test_a_cut_svs_is_refused_when_it_is_opened(cmu: Path, tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "cut.svs"
    path.write_bytes(cmu.read_bytes()[:n_bytes])
    for reader in (None, "tiled_tiff", "openslide", "image"):
        with pytest.raises(TruncatedSlide, match=r"is cut short.*copy it again"):
            read(path, reader=reader)


@pytest.mark.parametrize("kind", ["pages", "subifds"])
def test_tiles_beyond_the_end_are_found_behind_a_whole_index(kind: str, texture, write_pyramid, tmp_path: Path) -> None:
    """The index stands in front here, so only the extents tell."""
    picture = texture(256, 256)
    path = write_pyramid([picture, _shrunk(picture, 2)], kind)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5000])
    with pytest.raises(TruncatedSlide, match="names data up to byte"):
        read(path, mpp=0.5)


def test_directories_in_a_circle_are_refused(tmp_path: Path, texture) -> None:
    path = tmp_path / "circle.tif"
    tifffile.imwrite(path, texture(64, 64), tile=(64, 64), photometric="rgb", metadata=None)
    data = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", data, 4)[0]
    n = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * n, first)
    path.write_bytes(data)
    with pytest.raises(UnreadableSlide, match="circle"):
        read(path, mpp=0.5)


def test_a_damaged_tile_is_named_and_leaves_the_others_readable(texture, tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, texture(128, 128), tile=(64, 64), compression="jpeg", photometric="ycbcr", metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages.first.dataoffsets[2], tif.pages.first.databytecounts[2]
    data = bytearray(path.read_bytes())
    data[offset + 2 : offset + count] = bytes(count - 2)
    path.write_bytes(data)
    reader = TiledTiffReader(path)
    with pytest.raises(CorruptTile, match="tile 2 of level 0 does not decode"):
        _read_all(reader)
    assert reader.read_level(0, Box(y0=0, x0=0, y1=64, x1=128)).shape == (64, 128, 3)
    reader.close()


def test_a_tile_that_claims_to_be_huge_is_not_decoded(texture, tmp_path: Path) -> None:
    """Memory would follow the stream's claim, not the index."""
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, texture(64, 64), tile=(64, 64), compression="jpeg", photometric="ycbcr", metadata=None)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0\x00\x11\x08")
    struct.pack_into(">HH", data, frame + 5, 65000, 65000)
    path.write_bytes(data)
    with read(path, mpp=0.5) as slide, pytest.raises(UnreadableSlide, match="65000 x 65000"):
        slide.read(Box(y0=0, x0=0, y1=8, x1=8))


@pytest.mark.parametrize("compression", ["jpeg", "zlib"])
def test_random_damage_gives_named_errors_only(compression: str, texture, tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    photometric = "ycbcr" if compression == "jpeg" else "rgb"
    tifffile.imwrite(
        path, texture(128, 128), tile=(64, 64), compression=compression, photometric=photometric, metadata=None
    )
    whole = path.read_bytes()
    chance = random.Random(5)
    n_refused = 0
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 4])):
            damaged[chance.choice([chance.randrange(300), chance.randrange(len(damaged))])] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            with read(path, mpp=0.5) as slide:
                slide.read(Box(y0=0, x0=0, y1=128, x1=128))
        except SlideError:
            n_refused += 1
    assert n_refused > 30
