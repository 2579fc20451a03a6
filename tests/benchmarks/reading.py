"""Reading pixels: this product compared with the raw decoder, OpenSlide and tiatoolbox.

The floor is the time that libjpeg-turbo needs to decode the tiles that a request touches, from memory into an array
each: no file access, no assembly. At reduced pixel sizes the floor decodes the level that is read, at the decoder's
reduced scale if it has one. Every method starts with a newly opened file, so no cache of decoded tiles is used; the
operating system's file cache is warm for all.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import simplejpeg  # type: ignore[import-untyped]
import tifffile
from PIL import Image

from tests.benchmarks.measure import Method, Times, compare
from tests.benchmarks.table import Table
from wsigraph.geometry import Box, Size, grid
from wsigraph.slide import jpeg
from wsigraph.slide.reader import Slide, read
from wsigraph.slide.resample import choose_source

OPENSLIDE_BLOCKS = (256, 1024, 2048)
OUR_BLOCK = 2048
_LEAST_BLOCK = 512
_NATIVE_PX = 96_000_000


@dataclass(frozen=True, slots=True)
class _Request:
    """A box at a pixel size, and the level and decoder scale that serve it."""

    path: Path
    mpp: float
    box: Box
    level: int
    scale: int
    level_box: Box

    @classmethod
    def of(cls, path: Path, mpp: float | None) -> _Request:
        """Return the request for the part of a slide that the benchmark reads, in whole native tiles."""
        with read(path) as slide:
            mpp_read = slide.info.mpp if mpp is None else mpp
            size = slide.size(mpp_read)
            side = int(_NATIVE_PX**0.5) // OUR_BLOCK * OUR_BLOCK
            if size.area > 1.25 * _NATIVE_PX:
                y0, x0 = ((length - side) // 2 // OUR_BLOCK * OUR_BLOCK for length in (size.height, size.width))
                box = Box(y0=y0, x0=x0, y1=y0 + side, x1=x0 + side)
            else:
                box = Box.whole(size)
            source = choose_source(slide.info.levels, slide._open().description.scales, slide.info.mpp, mpp_read)
            window = source.window(box)
            level = slide.info.levels[source.level]
            grown = Box(**{name: getattr(window, name) * source.scale for name in ("y0", "x0", "y1", "x1")})
            return cls(path, mpp_read, box, source.level, source.scale, grown.clip(level.size))


def streams(request: _Request) -> tuple[list[bytes], Size]:
    """Return the complete JPEG streams of the tiles that a request touches, and the size of a tile."""
    with tifffile.TiffFile(request.path) as tif:
        pages: Any = tif.pages
        page = [page for page in pages if page.is_tiled][request.level]
        tile = Size(page.tilelength, page.tilewidth)
        columns = -(-page.imagewidth // tile.width)
        box, tiles = request.level_box, []
        for row in range(box.y0 // tile.height, -(-box.y1 // tile.height)):
            for column in range(box.x0 // tile.width, -(-box.x1 // tile.width)):
                at = row * columns + column
                tif.filehandle.seek(page.dataoffsets[at])
                stream = tif.filehandle.read(page.databytecounts[at])
                tiles.append(jpeg.complete(stream, page.jpegtables, int(page.photometric) == 6))
    return tiles, tile


def _decoders(tile: Size, scale: int) -> dict[str, Callable[[bytes], Any]]:
    if scale == 1:
        return {"simplejpeg": simplejpeg.decode_jpeg, "imagecodecs": imagecodecs.jpeg8_decode}
    least = {"min_height": -(-tile.height // scale), "min_width": -(-tile.width // scale), "min_factor": scale}
    return {"simplejpeg": partial(simplejpeg.decode_jpeg, **least)}


def _decode_all(tiles: list[bytes], decode: Callable[[bytes], Any], threads: int) -> None:
    if threads == 1:
        for stream in tiles:
            decode(stream)
        return
    with ThreadPoolExecutor(threads) as pool:
        parts = [tiles[start :: 8 * threads] for start in range(8 * threads)]
        list(pool.map(lambda part: [decode(stream) is None for stream in part], parts))


def _decode_sample(tiles: list[bytes], decode: Callable[[bytes], Any], _: object) -> None:
    _decode_all(tiles, decode, 1)


def _our_block(request: _Request, threads: int) -> int:
    """Return the side of the blocks that we read: 2048 px, halved until no block is half of a thread's part."""
    block = OUR_BLOCK
    while threads > 1 and block > _LEAST_BLOCK and 2 * threads * block**2 > request.box.size.area:
        block //= 2
    return block


def _our_boxes(request: _Request, threads: int) -> list[Box]:
    inner = request.box
    return [
        Box(y0=b.y0 + inner.y0, x0=b.x0 + inner.x0, y1=b.y1 + inner.y0, x1=b.x1 + inner.x0)
        for b in grid(inner.size, _our_block(request, threads))
    ]


def _read_ours(request: _Request, slide: Slide, threads: int) -> None:
    boxes = _our_boxes(request, threads)
    if threads == 1:
        for box in boxes:
            slide.read(box, request.mpp)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda box: slide.read(box, request.mpp).shape, boxes))


def _read_dask(request: _Request, slide: Slide, threads: int) -> None:
    box = request.box
    pixels = slide.pixels(request.mpp, chunk_px=_our_block(request, threads))[box.y0 : box.y1, box.x0 : box.x1]
    corners = pixels.map_blocks(lambda block: block[:1, :1, :1].copy(), chunks=(1, 1, 1), dtype=np.uint8)
    corners.compute(scheduler="threads", num_workers=threads)


def _read_openslide(request: _Request, handle: openslide.OpenSlide, block: int, threads: int) -> None:
    factor = handle.level_downsamples[request.level]
    box = request.level_box
    ratio = handle_ratio(request)

    def one(part: Box) -> None:
        at = (round((part.x0 + box.x0) * factor), round((part.y0 + box.y0) * factor))
        image = handle.read_region(at, request.level, (part.width, part.height))
        if ratio > 1:
            image = image.resize(
                (max(1, round(part.width / ratio)), max(1, round(part.height / ratio))), Image.Resampling.BOX
            )
        np.asarray(image)

    if threads == 1:
        for part in grid(box.size, block):
            one(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, grid(box.size, block)))


def _read_block(request: _Request, block: int, handle: openslide.OpenSlide) -> None:
    _read_openslide(request, handle, block, 1)


def handle_ratio(request: _Request) -> float:
    """Return how many pixels of the level that is read span one pixel of the request."""
    return request.level_box.width / request.box.width


def _tiatoolbox(request: _Request) -> dict[str, Method]:
    """Return the method by tiatoolbox, or nothing if it is not installed."""
    try:
        from tiatoolbox.wsicore.wsireader import WSIReader
    except ImportError:
        return {}

    def run(reader: Any) -> None:
        for box in _our_boxes(request, 1):
            factor = request.mpp / float(np.mean(reader.info.mpp))
            reader.read_rect(
                (round(box.x0 * factor), round(box.y0 * factor)),
                (box.width, box.height),
                resolution=request.mpp,
                units="mpp",
            )

    return {"tiatoolbox": Method(run, lambda: WSIReader.open(request.path))}


def _fastest(request: _Request, tiles: list[bytes], tile: Size) -> tuple[str, Callable[[bytes], Any], int]:
    """Return the fastest raw decoder and OpenSlide's best block for this request, one run each after warming."""
    decoders = _decoders(tile, request.scale)
    sample = tiles[:: max(1, len(tiles) // 400)]
    times = compare({name: Method(partial(_decode_sample, sample, decode)) for name, decode in decoders.items()}, 3)
    codec = min(times, key=lambda name: times[name].wall)
    blocks = {
        str(block): Method(
            partial(_read_block, request, block),
            lambda: openslide.OpenSlide(request.path),
            openslide.OpenSlide.close,
        )
        for block in OPENSLIDE_BLOCKS
    }
    by_block = compare(blocks, 1, warm=False)
    return codec, decoders[codec], int(min(by_block, key=lambda name: by_block[name].wall))


def one_table(path: Path, mpp: float | None, repeats: int, threads: int = 2) -> Table:
    """Return the times of every method for one slide at one pixel size; None is the native one."""
    request = _Request.of(path, mpp)
    tiles, tile = streams(request)
    codec, decode, block = _fastest(request, tiles, tile)
    mine = (lambda: read(path), Slide.close)
    openslide_file = (lambda: openslide.OpenSlide(path), openslide.OpenSlide.close)
    methods = {
        "raw decode": Method(lambda _: _decode_all(tiles, decode, 1)),
        "Slide.read": Method(lambda slide: _read_ours(request, slide, 1), *mine),
        "OpenSlide": Method(lambda handle: _read_openslide(request, handle, block, 1), *openslide_file),
        **_tiatoolbox(request),
        f"raw decode, {threads} threads": Method(lambda _: _decode_all(tiles, decode, threads)),
        f"Slide.read, {threads} threads": Method(lambda slide: _read_ours(request, slide, threads), *mine),
        f"Slide.pixels (dask), {threads} threads": Method(lambda slide: _read_dask(request, slide, threads), *mine),
        f"OpenSlide, {threads} threads": Method(
            lambda handle: _read_openslide(request, handle, block, threads), *openslide_file
        ),
    }
    times = compare(methods, repeats)
    return _tabulate(request, times, len(tiles), codec, block, threads)


def _tabulate(request: _Request, times: dict[str, Times], n_tiles: int, codec: str, block: int, threads: int) -> Table:
    pixel_size = "native level" if request.scale == 1 and request.level == 0 else f"{request.mpp:g} um/px"
    table = Table(
        f"Reading {request.path.name}, {pixel_size}",
        (
            "method",
            "time over floor",
            "CPU over floor",
            "OpenSlide over it",
            "in CPU",
            "Mpx/s of the level",
            "s",
            "CPU s",
        ),
    )
    for name, time in times.items():
        several = f", {threads} threads" if name.endswith("threads") else ""
        table.rows.append(
            (
                name,
                time.over(times["raw decode" + several]),
                time.cpu_over(times["raw decode" + several]),
                times["OpenSlide" + several].over(time),
                times["OpenSlide" + several].cpu_over(time),
                request.level_box.size.area / 1e6 / time.wall,
                time.wall,
                time.cpu,
            )
        )
    table.notes.append(
        f"{request.box.width} x {request.box.height} px; {n_tiles} tiles of level {request.level} decoded at "
        f"1/{request.scale}; floor: {codec}; OpenSlide in blocks of {block} px, the best of "
        f"{', '.join(map(str, OPENSLIDE_BLOCKS))}, shrunk by a box filter where the level is finer; ours "
        f"{_our_block(request, 1)} px, and {_our_block(request, threads)} px with {threads} threads; "
        f"medians of {len(times['raw decode'].wall_s)} rounds"
    )
    if "tiatoolbox" not in times:
        table.notes.append("tiatoolbox is not installed here and was left out")
    return table


def benchmark(slides: list[Path], repeats: int, threads: int = 2) -> list[Table]:
    """Return the tables of reading for each slide at native, 1.0 and 2.0 um/px."""
    tables = []
    for path in slides:
        for mpp in (None, 1.0, 2.0):
            with suppress(openslide.OpenSlideUnsupportedFormatError):
                tables.append(one_table(path, mpp, repeats, threads))
    return tables
