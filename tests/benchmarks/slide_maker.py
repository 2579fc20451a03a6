"""Slides of any size in Aperio layout, made in seconds from one square of real tissue.

The square is mirrored into four elliptical sections that cover 39 % of the slide, on a slightly noisy white background,
with levels at 1x, 4x and 16x in JPEG tiles. The square is inside tissue (98 % of it is stained). Blocks wholly inside
or outside the sections repeat, so each distinct block is encoded once; only blocks at the border of a section are
encoded one by one, on all cores. Memory holds a row of encoded blocks and the encoded upper levels. The slides test
scale, not biology: the tissue repeats, and a 20x scan is labelled as 40x, so nuclei have half their size.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

SOURCE = Path(__file__).parents[1] / "data" / "CMU-1-Small-Region.svs"
TISSUE_FRACTION = 0.39
"""Fraction of a made slide that its sections cover."""
_CORNER = (1943, 720)
_BLOCK, _TILE, _STEP = 1024, 256, 4
_SECTIONS = (
    (0.27, 0.33, 0.2125, 0.2167),
    (0.73, 0.66, 0.225, 0.2333),
    (0.75, 0.19, 0.10, 0.10),
    (0.2, 0.8, 0.125, 0.1167),
)
"""Centre x, y and half axes x, y as fractions of width and height."""
_WHITE, _NOISE = 242, 1.2

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Block:
    """Encoded tiles of a block at level 0, in raster order by row, and its pixels at 4x and 16x."""

    rows: tuple[tuple[bytes, ...], ...]
    quarter: bytes
    sixteenth: Pixels


class _Painter:
    """Paints and encodes the blocks of one slide."""

    def __init__(self, width: int, height: int, quality: int) -> None:
        self.width, self.height, self.quality = width, height, quality
        with tifffile.TiffFile(SOURCE) as tif:
            y, x = _CORNER
            square = tif.pages[0].asarray()[y : y + _BLOCK, x : x + _BLOCK]
        self.tissue = [[square, square[:, ::-1]], [square[::-1], square[::-1, ::-1]]]
        noise = np.random.default_rng(0).normal(0, _NOISE, (_BLOCK, _BLOCK, 3))
        self.ground = np.clip(np.round(_WHITE + noise), 0, 255).astype(np.uint8)
        self.repeated = lru_cache(maxsize=None)(self._encode_plain)

    def block(self, row: int, column: int) -> _Block:
        """Return one encoded block."""
        y, x = row * _BLOCK, column * _BLOCK
        height, width = min(_BLOCK, self.height - y), min(_BLOCK, self.width - x)
        inside = self._inside(y, x, height, width)
        if inside.all() or not inside.any():
            mirror = (row % 2, column % 2) if inside.any() else None
            return self.repeated(mirror, height, width)
        tissue = self.tissue[row % 2][column % 2][:height, :width]
        return self._encode(np.where(inside[..., None], tissue, self.ground[:height, :width]))

    def _inside(self, y: int, x: int, height: int, width: int) -> NDArray[np.bool_]:
        rows, columns = np.arange(y, y + height)[:, None], np.arange(x, x + width)
        inside = np.zeros((height, width), bool)
        for centre_x, centre_y, half_x, half_y in _SECTIONS:
            across = (columns - centre_x * self.width) / (half_x * self.width)
            down = (rows - centre_y * self.height) / (half_y * self.height)
            inside |= across**2 + down**2 < 1
        return inside

    def _encode_plain(self, mirror: tuple[int, int] | None, height: int, width: int) -> _Block:
        source = self.ground if mirror is None else self.tissue[mirror[0]][mirror[1]]
        return self._encode(source[:height, :width])

    def _encode(self, pixels: Pixels) -> _Block:
        tiles = tuple(
            tuple(self.jpeg(pixels[y : y + _TILE, x : x + _TILE]) for x in range(0, pixels.shape[1], _TILE))
            for y in range(0, pixels.shape[0], _TILE)
        )
        quarter = shrink(pixels)
        return _Block(tiles, self.jpeg(quarter), shrink(quarter))

    def jpeg(self, tile: Pixels) -> bytes:
        """Return a tile, padded to its full size, as a JPEG stream."""
        padding = ((0, _TILE - tile.shape[0]), (0, _TILE - tile.shape[1]), (0, 0))
        whole = np.ascontiguousarray(np.pad(tile, padding, "edge"))
        return bytes(
            imagecodecs.jpeg8_encode(
                whole, level=self.quality, colorspace="rgb", outcolorspace="ycbcr", subsampling="420"
            )
        )


def shrink(pixels: Pixels) -> Pixels:
    """Return pixels averaged fourfold along both axes."""
    rows, columns = pixels.shape[0] // _STEP, pixels.shape[1] // _STEP
    cut = pixels[: rows * _STEP, : columns * _STEP].reshape(rows, _STEP, columns, _STEP, 3)
    return np.asarray(cut.mean((1, 3)).round().astype(np.uint8))


def make_slide(path: Path, width: int, height: int, *, mpp: float = 0.25, quality: int = 70) -> Path:
    """Write a slide and return its path.

    Parameters
    ----------
    path : Path
        File to write.
    width, height : int
        Pixels of level 0; rounded down to multiples of 16.
    mpp : float
        Pixel size to write, um/px.
    quality : int
        Quality of the JPEG tiles.

    Returns
    -------
    Path
        `path`.
    """
    width, height = width // 16 * 16, height // 16 * 16
    painter = _Painter(width, height, quality)
    description = (
        f"Aperio Image Library v11.2.1 \r\n{width}x{height} [0,0 {width}x{height}] ({_TILE}x{_TILE}) "
        f"JPEG/RGB Q={quality}|AppMag = {round(10 / mpp)}|MPP = {mpp}|Filename = mirrored"
    )
    quarter: list[bytes] = []
    sixteenth = np.full((height // 16, width // 16, 3), _WHITE, np.uint8)

    def tiles(pool: ThreadPoolExecutor) -> Iterator[bytes]:
        for row in range(-(-height // _BLOCK)):
            blocks = list(pool.map(lambda column: painter.block(row, column), range(-(-width // _BLOCK))))  # noqa: B023
            for column, block in enumerate(blocks):
                part = block.sixteenth
                y, x = row * _BLOCK // 16, column * _BLOCK // 16
                sixteenth[y : y + part.shape[0], x : x + part.shape[1]] = part
            quarter.extend(block.quarter for block in blocks)
            for tile_row in range(len(blocks[0].rows)):
                for block in blocks:
                    yield from block.rows[tile_row]

    options: dict[str, Any] = {
        "dtype": np.uint8, "tile": (_TILE, _TILE), "photometric": "ycbcr", "compression": "jpeg", "subsampling": (2, 2),
        "planarconfig": "contig", "metadata": None, "description": description,
    }  # fmt: skip
    with ThreadPoolExecutor() as pool, tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(tiles(pool), shape=(height, width, 3), **options)
        thumbnail = sixteenth[:: max(1, height // 4096), :: max(1, height // 4096)].copy()
        writer.write(thumbnail, photometric="rgb", description=description, metadata=None, rowsperstrip=16)
        writer.write(iter(quarter), shape=(height // 4, width // 4, 3), **options)
        cuts = [
            painter.jpeg(sixteenth[y : y + _TILE, x : x + _TILE])
            for y in range(0, sixteenth.shape[0], _TILE)
            for x in range(0, sixteenth.shape[1], _TILE)
        ]
        writer.write(iter(cuts), shape=sixteenth.shape, **options)
    return path


def made(folder: Path, width: int, height: int) -> Path:
    """Return the made slide of a size in a folder; make it if it does not exist."""
    path = folder / f"made_{width}x{height}.svs"
    return path if path.is_file() else make_slide(path, width, height)
