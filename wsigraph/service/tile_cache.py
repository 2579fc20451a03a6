"""Encoded pictures of slides: made once in a process that opens slides, then kept in memory within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from wsigraph.config import ServiceConfig
from wsigraph.errors import NotFound
from wsigraph.geometry import Size
from wsigraph.service.catalogue import Entry
from wsigraph.service.deepzoom import DeepZoom
from wsigraph.service.isolation.pool import ReadingPool

_THUMBNAIL_PX = 512
_DESCRIPTIONS = 4096


class EncodedPictures:
    """Encoded pictures, the least recently used dropped first; safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Bound on what is held.

    Attributes
    ----------
    n_found, n_made : int
        Pictures that were there, and that had to be made.
    """

    def __init__(self, max_bytes: int) -> None:
        self.n_found = self.n_made = 0
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self._n_bytes

    def find(self, key: Hashable) -> bytes | None:
        """Return what is kept under `key`, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                self.n_found += 1
            return found

    def find_or_make(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return what is kept under `key`, made once however many ask for it at a time.

        Parameters
        ----------
        key : hashable
            Its name.
        make : callable
            Returns it.

        Returns
        -------
        bytes
            The picture.
        """
        with self._lock:
            turn = self._making.setdefault(key, threading.Lock())
        with turn:
            found = self.find(key)
            if found is None:
                try:
                    found = make()
                finally:
                    with self._lock:
                        self._making.pop(key, None)
                self._keep(key, found)
            return found

    def _keep(self, key: Hashable, encoded: bytes) -> None:
        with self._lock:
            self.n_made += 1
            if len(encoded) > self._max_bytes or key in self._kept:
                return
            self._kept[key] = encoded
            self._n_bytes += len(encoded)
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= len(self._kept.popitem(last=False)[1])


class Remembered:
    """A few plain values by name, the least recently noted dropped first; safe to use from several threads.

    Parameters
    ----------
    most : int
        How many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> dict[str, Any] | None:
        """Return what is known under `key`, or None."""
        return self._kept.get(key)

    def __setitem__(self, key: Hashable, value: dict[str, Any]) -> None:
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


class Pictures:
    """Pictures of slides.

    Parameters
    ----------
    pool : ReadingPool
        Where slides are opened.
    config : ServiceConfig
        Tiles, quality and memory.
    """

    def __init__(self, pool: ReadingPool, config: ServiceConfig) -> None:
        self._pool = pool
        self._config = config
        self.encoded = EncodedPictures(int(config.tile_cache_mb * 1e6))
        self._described = Remembered(_DESCRIPTIONS)

    def describe(self, entry: Entry) -> dict[str, Any]:
        """Return what a slide says of itself (``wsigraph.slide.inspection.inspect``), without path and digest.

        Raises
        ------
        SlideError
            If it does not read.
        TooLarge
            If it has more pixels than allowed.
        """
        found = self._described.get(entry.version)
        if found is None:
            found, _ = self._pool.ask({"op": "describe", "path": str(entry.path)})
            found = {name: value for name, value in found.items() if name not in ("path", "sha256")}
            self._described[entry.version] = found
        return found

    def pyramid(self, entry: Entry) -> DeepZoom:
        """Return the slide's pyramid.

        Raises
        ------
        SlideError
            If the slide does not read.
        """
        size = self.describe(entry)["size"]
        return DeepZoom(
            size=Size(size["height"], size["width"]),
            tile_px=self._config.tile_px,
            overlap_px=self._config.tile_overlap_px,
        )

    def kept_tile(self, entry: Entry, level: int, col: int, row: int) -> bytes | None:
        """Return a tile that is in memory, or None; costs next to nothing."""
        return self.encoded.find((entry.version, level, col, row))

    def tile(self, entry: Entry, level: int, col: int, row: int) -> bytes:
        """Return a tile as JPEG.

        Raises
        ------
        NotFound
            If there is no such tile.
        SlideError
            If the slide does not read.
        TooLarge
            If too many pixels would have to be decoded.
        """
        pyramid = self.pyramid(entry)
        box = pyramid.box(level, col, row)

        def make() -> bytes:
            return self._picture(entry, (box.y0, box.x0, box.y1, box.x1), pyramid.downsample(level))

        return self.encoded.find_or_make((entry.version, level, col, row), make)

    def thumbnail(self, entry: Entry) -> bytes:
        """Return the whole slide, its longer side 257 to 512 px, as JPEG.

        Raises
        ------
        SlideError
            If the slide does not read.
        TooLarge
            If too many pixels would have to be decoded.
        """
        pyramid = self.pyramid(entry)
        level = next(
            level for level in reversed(range(pyramid.n_levels)) if max(_sides(pyramid, level)) <= _THUMBNAIL_PX
        )
        size = pyramid.level_size(level)

        def make() -> bytes:
            return self._picture(entry, (0, 0, size.height, size.width), pyramid.downsample(level))

        return self.encoded.find_or_make((entry.version, "thumbnail"), make)

    def part(self, entry: Entry, box: tuple[int, int, int, int], downsample: int) -> bytes:
        """Return a part of a slide as JPEG; not kept.

        Parameters
        ----------
        entry : Entry
            The slide.
        box : tuple of int
            y0, x0, y1, x1 in pixels of `downsample`; white outside the slide.
        downsample : int
            Power of two: how many of the finest level's pixels one of them spans.

        Returns
        -------
        bytes
            The picture.
        """
        return self._picture(entry, box, downsample)

    def associated(self, entry: Entry, name: str) -> bytes:
        """Return a slide's label, macro or other image as JPEG.

        Raises
        ------
        NotFound
            If there is no such image.
        """
        if name not in self.describe(entry)["associated"]:
            raise NotFound(f"slide {entry.slide_id!r} holds no image {name!r}")
        request = {"op": "associated", "path": str(entry.path), "name": name}
        return self.encoded.find_or_make((entry.version, "associated", name), lambda: self._pool.ask(request)[1])

    def _picture(self, entry: Entry, box: tuple[int, int, int, int], downsample: int) -> bytes:
        request = {
            "op": "picture",
            "path": str(entry.path),
            "version": entry.version,
            "box": list(box),
            "downsample": downsample,
            "quality": self._config.tile_quality,
        }
        return self._pool.ask(request)[1]


def _sides(pyramid: DeepZoom, level: int) -> tuple[int, int]:
    size = pyramid.level_size(level)
    return size.height, size.width
