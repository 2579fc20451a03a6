"""Decode every tile of a level once, to find those that do not decode.

Bad tiles that this process has read are in ``Slide.bad_tiles``. A scan finds all of them, for the cost of decoding the
level once; use it before a long run, or where other processes read the slide.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from wsigraph.geometry import Box, grid
from wsigraph.slide.damage import BadTile
from wsigraph.slide.map_boxes import Progress, map_chunks
from wsigraph.slide.reader import Slide
from wsigraph.store import Destination, read_document, save_document

_CHUNK_PX = 2048
_NAMED = 3


def scan_tiles(slide: Slide, mpp: float | None = None, *, progress: Progress | None = None) -> tuple[BadTile, ...]:
    """Return the tiles that do not decode when a slide is read at a pixel size.

    Parameters
    ----------
    slide : Slide
        The slide.
    mpp : float, optional
        um/px; that of level 0 where left out. It decides which level is read.
    progress : callable, optional
        Told (stage, done, total).

    Returns
    -------
    tuple of BadTile
        Sorted by level, row and column; the same for every scheduler.

    Raises
    ------
    UnreadableSlide
        If the file cannot be read, or more of its tiles fail to decode than allowed.
    SlideError
        If `mpp` is not a positive number.
    """
    target = slide.info.mpp if mpp is None else mpp
    boxes = grid(slide.size(target), _CHUNK_PX)
    tiles_per_box = map_chunks(_scan, boxes, slide, target, stage="scan", progress=progress)
    return tuple(sorted({tile for tiles in tiles_per_box for tile in tiles}))


def _scan(box: Box, slide: Slide, mpp: float) -> tuple[BadTile, ...]:
    slide.read(box, mpp)
    return slide.bad_tiles


def save_bad_tiles(path: Path, tiles: tuple[BadTile, ...]) -> None:
    """Write the tiles that were left white; no tile, no file.

    Parameters
    ----------
    path : Path
        JSON file.
    tiles : tuple of BadTile
        Sorted.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    if tiles:
        save_document(Destination(path), "BadTiles", {"tiles": [asdict(tile) for tile in tiles]})
    else:
        path.unlink(missing_ok=True)


def load_bad_tiles(path: Path) -> tuple[BadTile, ...]:
    """Return the tiles that `save_bad_tiles` wrote; none where there is no file.

    Parameters
    ----------
    path : Path
        JSON file.

    Returns
    -------
    tuple of BadTile
        Sorted.

    Raises
    ------
    StoreError
        If the file is damaged or holds another record.
    """
    if not path.exists():
        return ()
    _, fields = read_document(path, "BadTiles")
    return tuple(BadTile(**tile) for tile in fields["tiles"])


def describe_bad_tiles(tiles: tuple[BadTile, ...]) -> tuple[str, ...]:
    """Return one warning about tiles that were left white, or none."""
    if not tiles:
        return ()
    named = "; ".join(str(tile) for tile in tiles[:_NAMED])
    more = f"; and {len(tiles) - _NAMED} more, listed in bad_tiles.json" if len(tiles) > _NAMED else ""
    what = "1 tile does not decode and was" if len(tiles) == 1 else f"{len(tiles)} tiles do not decode and were"
    return (f"{what} read as white: {named}{more}",)
