"""Tiles that do not decode: they are left white and listed.

A single damaged tile does not make a slide unusable. If a read fails, it is repeated tile by tile. The failing tile
is read once more through a new handle, because some libraries cannot use a handle after its first error. If that
fails too, the tile is white. Whether a tile is bad depends on its bytes alone, so every thread and process leaves the
same tiles white. If more than a given fraction of a level's tiles is bad, the slide is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import CorruptTile, UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.records import Level
from wsigraph.slide.colour import WHITE
from wsigraph.slide.opening import SlideReader

MAX_BAD_TILE_FRACTION = 0.01
"""Default fraction of a level's tiles that may be bad."""

_Key = tuple[int, int, int, int]  # level, scale, row, column

BadTileNote = tuple[int, int, int, int, str]
"""Level, scale, row, column and message of the decoder: what processes exchange of a bad tile."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class BadTile:
    """A tile that was left white.

    Attributes
    ----------
    level : int
        Level of the slide.
    row, column : int
        Position in the level's grid of native tiles.
    x0, y0 : int
        Its corner in pixels of level 0.
    reason : str
        Message of the decoder.
    """

    level: int
    row: int
    column: int
    x0: int
    y0: int
    reason: str

    def __str__(self) -> str:
        return f"tile {self.column}, {self.row} of level {self.level} (x {self.x0}, y {self.y0}): {self.reason}"


class BadTiles:
    """The bad tiles of one slide that this process has read; safe to use from several threads.

    Parameters
    ----------
    name : str
        The slide, in messages.
    levels : tuple of Level
        Its levels.
    max_fraction : float
        Fraction of a level's tiles that may be bad, 0 to 1.
    """

    def __init__(self, name: str, levels: tuple[Level, ...], max_fraction: float) -> None:
        self.max_fraction = max_fraction
        self._name = name
        self._levels = levels
        self._tiles: dict[_Key, BadTile] = {}
        self._lock = threading.Lock()

    def tiles(self) -> tuple[BadTile, ...]:
        """Return the bad tiles read so far, each once, sorted by level, row and column."""
        with self._lock:
            places = {(tile.level, tile.row, tile.column): tile for tile in sorted(self._tiles.values(), reverse=True)}
        return tuple(sorted(places.values()))

    def within(self, level: int, scale: int) -> frozenset[tuple[int, int]]:
        """Return rows and columns of the bad tiles of a level when it is read at a scale."""
        if not self._tiles:
            return frozenset()
        with self._lock:
            return frozenset(key[2:] for key in self._tiles if key[:2] == (level, scale))

    def touches(self, level: int, scale: int, box: Box) -> bool:
        """Return whether a box of a level shrunk by `scale` holds part of a bad tile."""
        tile = self._levels[level].tile
        height, width = max(1, tile.height // scale), max(1, tile.width // scale)
        return any(
            row * height < box.y1 and box.y0 < (row + 1) * height and column * width < box.x1
            and box.x0 < (column + 1) * width
            for row, column in self.within(level, scale)
        )  # fmt: skip

    def note(self, level: int, scale: int, row: int, column: int, reason: str) -> None:
        """Remember a bad tile."""
        geometry = self._levels[level]
        y0, x0 = (
            int(side * geometry.downsample) for side in (row * geometry.tile.height, column * geometry.tile.width)
        )
        tile = BadTile(level=level, row=row, column=column, x0=x0, y0=y0, reason=reason)
        with self._lock:
            self._tiles[level, scale, row, column] = tile

    def notes(self) -> tuple[BadTileNote, ...]:
        """Return all bad tiles read so far, for `merge` in another process."""
        with self._lock:
            return tuple((*key, tile.reason) for key, tile in self._tiles.items())

    def forget(self) -> None:
        """Clear the list; bad tiles that are read again are listed again."""
        with self._lock:
            self._tiles.clear()

    def merge(self, notes: Iterable[BadTileNote]) -> None:
        """Add the bad tiles of another process.

        Parameters
        ----------
        notes : iterable of BadTileNote
            From `notes` in that process.

        Raises
        ------
        UnreadableSlide
            If the fraction of bad tiles is now above the limit.
        """
        for level, scale, row, column, reason in notes:
            self.note(level, scale, row, column, reason)
            self.check(level, scale)

    def check(self, level: int, scale: int) -> None:
        """Check that the fraction of a level's bad tiles, read at a scale, is within the limit.

        Raises
        ------
        UnreadableSlide
            If it is above.
        """
        geometry = self._levels[level]
        n_tiles = -(-geometry.size.height // geometry.tile.height) * -(-geometry.size.width // geometry.tile.width)
        n_bad = len(self.within(level, scale))
        if n_bad > self.max_fraction * n_tiles:
            raise UnreadableSlide(
                f"slide {self._name!r}: {n_bad} of {n_tiles} tiles of level {level} do not decode, more than the "
                f"share of {self.max_fraction:g} that is put up with; the first is {self.tiles()[0]}; copy the slide "
                "again from its source or raise slide.max_bad_tile_fraction"
            )


class SoundReader:
    """A reader whose bad tiles are white.

    Parameters
    ----------
    reader : SlideReader
        The open file.
    reopen : callable
        Opens the same file once more.
    bad : BadTiles
        Where bad tiles are listed.
    """

    def __init__(self, reader: SlideReader, reopen: Callable[[], SlideReader], bad: BadTiles) -> None:
        self.description = reader.description
        self._reader = reader
        self._reopen = reopen
        self._bad = bad
        self._retired: list[SlideReader] = []
        self._lock = threading.Lock()

    def read_level(self, level: int, box: Box, scale: int) -> NDArray[np.uint8]:
        """Return RGB pixels of a box of a level, white outside it and where tiles do not decode.

        Parameters
        ----------
        level : int
            Index into ``description.levels``.
        box : Box
            Pixels of the level shrunk by `scale`.
        scale : int
            One of ``description.scales[level]``.

        Returns
        -------
        uint8 (h, w, 3)
            RGB.

        Raises
        ------
        UnreadableSlide
            If the file cannot be read or was cut, or more of its tiles are bad than allowed.
        """
        if not self._bad.touches(level, scale, box):
            try:
                return self._reader.read_level(level, box, scale)
            except CorruptTile:
                pass  # the read is repeated tile by tile below, which finds and reports the tile
        return self._read_by_tile(level, box, scale)

    def close(self) -> None:
        """Close the file, every handle of it."""
        with self._lock:
            for reader in (self._reader, *self._retired):
                reader.close()
            self._retired.clear()

    def _read_by_tile(self, level: int, box: Box, scale: int) -> NDArray[np.uint8]:
        geometry = self.description.levels[level]
        size = Size(-(-geometry.size.height // scale), -(-geometry.size.width // scale))
        height, width = max(1, geometry.tile.height // scale), max(1, geometry.tile.width // scale)
        out = np.full((box.height, box.width, 3), WHITE, dtype=np.uint8)
        inside = box.clip(size)
        if inside.is_empty:
            return out
        for row in range(inside.y0 // height, -(-inside.y1 // height)):
            for column in range(inside.x0 // width, -(-inside.x1 // width)):
                y0, x0 = row * height, column * width
                tile = Box(y0=y0, x0=x0, y1=y0 + height, x1=x0 + width).clip(size)
                pixels = self._tile(level, tile, scale, row, column)
                if pixels is not None:
                    part = inside.intersect(tile)
                    out[part.relative_to(box).slices] = pixels[part.relative_to(tile).slices]
        self._bad.check(level, scale)
        return out

    def _tile(self, level: int, tile: Box, scale: int, row: int, column: int) -> NDArray[np.uint8] | None:
        """Return a whole tile, or None where it is bad; a reader may fail in a part of a tile that is not needed."""
        if (row, column) in self._bad.within(level, scale):
            return None
        try:
            return self._reader.read_level(level, tile, scale)
        except CorruptTile:
            reopened = self._reopen()
        try:
            pixels = reopened.read_level(level, tile, scale)
        except CorruptTile as error:
            reopened.close()
            self._bad.note(level, scale, row, column, _reason(error))
            self._bad.check(level, scale)
            return None
        with self._lock:
            self._retired.append(self._reader)  # other threads may be reading from it
            self._reader = reopened
        return pixels


def _reason(error: CorruptTile) -> str:
    """Return the message of the decoder on one line, without the path that messages name."""
    cause = error.__cause__ or error
    return " ".join(str(cause).split()) or type(cause).__name__
