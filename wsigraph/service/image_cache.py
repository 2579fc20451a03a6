"""Encoded images of slides: rendered in an isolated process, then cached in memory up to a fixed size."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from cachetools import LRUCache

from wsigraph.config import ServiceConfig
from wsigraph.errors import NotFound
from wsigraph.geometry import Size
from wsigraph.service.catalogue import Entry
from wsigraph.service.deepzoom import DeepZoom
from wsigraph.service.isolation.pool import IsolationPool

_THUMBNAIL_PX = 512
_MAX_DESCRIPTIONS = 4096


class EncodedImageCache:
    """A least-recently-used cache of encoded images. It is safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Largest total size of the cached images.

    Attributes
    ----------
    n_found, n_made : int
        Number of cache hits, and of images that had to be made.
    """

    def __init__(self, max_bytes: int) -> None:
        self.n_found = self.n_made = 0
        self._images: LRUCache[Hashable, bytes] = LRUCache(max_bytes, getsizeof=len)
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """Total size of the cached images."""
        return int(self._images.currsize)

    def find(self, key: Hashable) -> bytes | None:
        """Return the image cached under `key`, or None."""
        with self._lock:
            image = self._images.get(key)
            if image is not None:
                self.n_found += 1
            return image

    def get_or_create(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the image cached under `key`. If several threads ask at once, only one of them makes it.

        Parameters
        ----------
        key : hashable
            Cache key.
        make : callable
            Returns the image. Called when it is not cached.

        Returns
        -------
        bytes
            The encoded image.
        """
        with self._lock:
            key_lock = self._making.setdefault(key, threading.Lock())
        with key_lock:
            image = self.find(key)
            if image is None:
                try:
                    image = make()
                finally:
                    with self._lock:
                        self._making.pop(key, None)
                self._add(key, image)
            return image

    def _add(self, key: Hashable, image: bytes) -> None:
        with self._lock:
            self.n_made += 1
            # the cache raises for a value that is larger than all of it
            if len(image) <= self._images.maxsize and key not in self._images:
                self._images[key] = image


class DescriptionCache:
    """A least-recently-used cache of JSON values. It is safe to use from several threads.

    Parameters
    ----------
    max_entries : int
        Largest number of values.
    """

    def __init__(self, max_entries: int) -> None:
        self._values: LRUCache[Hashable, dict[str, Any]] = LRUCache(max_entries)
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> dict[str, Any] | None:
        """Return the value cached under `key`, or None."""
        with self._lock:
            return self._values.get(key)

    def __setitem__(self, key: Hashable, value: dict[str, Any]) -> None:
        with self._lock:
            self._values[key] = value


class SlideImages:
    """Renders and caches tiles, thumbnails and associated images of slides.

    Parameters
    ----------
    pool : IsolationPool
        Processes that open the slides.
    config : ServiceConfig
        Tile size, JPEG quality and size of the cache.
    """

    def __init__(self, pool: IsolationPool, config: ServiceConfig) -> None:
        self._pool = pool
        self._config = config
        self.encoded = EncodedImageCache(int(config.tile_cache_mb * 1e6))
        self._descriptions = DescriptionCache(_MAX_DESCRIPTIONS)

    def describe(self, entry: Entry) -> dict[str, Any]:
        """Return the metadata of a slide (``wsigraph.slide.inspection.inspect``) without its path and digest.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        TooLarge
            If it has more pixels than allowed.
        """
        description = self._descriptions.get(entry.version)
        if description is None:
            response, _ = self._pool.request({"op": "describe", "path": str(entry.path)})
            description = {name: value for name, value in response.items() if name not in ("path", "sha256")}
            self._descriptions[entry.version] = description
        return description

    def pyramid(self, entry: Entry) -> DeepZoom:
        """Return the Deep Zoom pyramid of a slide.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        """
        size = self.describe(entry)["size"]
        return DeepZoom(
            size=Size(size["height"], size["width"]),
            tile_px=self._config.tile_px,
            overlap_px=self._config.tile_overlap_px,
        )

    def cached_tile(self, entry: Entry, level: int, col: int, row: int) -> bytes | None:
        """Return a tile if it is cached, else None. Never opens the slide."""
        return self.encoded.find((entry.version, level, col, row))

    def tile(self, entry: Entry, level: int, col: int, row: int) -> bytes:
        """Return a Deep Zoom tile as JPEG.

        Raises
        ------
        NotFound
            If there is no such tile.
        SlideError
            If the slide cannot be read.
        TooLarge
            If too many pixels would have to be decoded.
        """
        pyramid = self.pyramid(entry)
        box = pyramid.box(level, col, row)

        def make() -> bytes:
            return self._render(entry, (box.y0, box.x0, box.y1, box.x1), pyramid.downsample(level))

        return self.encoded.get_or_create((entry.version, level, col, row), make)

    def thumbnail(self, entry: Entry) -> bytes:
        """Return the whole slide as JPEG. Its longer side has 257 to 512 pixels.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        TooLarge
            If too many pixels would have to be decoded.
        """
        pyramid = self.pyramid(entry)
        level = next(
            level for level in reversed(range(pyramid.n_levels)) if max(_sides(pyramid, level)) <= _THUMBNAIL_PX
        )
        size = pyramid.level_size(level)

        def make() -> bytes:
            return self._render(entry, (0, 0, size.height, size.width), pyramid.downsample(level))

        return self.encoded.get_or_create((entry.version, "thumbnail"), make)

    def part(self, entry: Entry, box: tuple[int, int, int, int], downsample: int) -> bytes:
        """Return a part of a slide as JPEG. The result is not cached.

        Parameters
        ----------
        entry : Entry
            The slide.
        box : tuple of int
            y0, x0, y1, x1 in pixels at `downsample`. White outside the slide.
        downsample : int
            Number of level-0 pixels along one output pixel. A power of two.

        Returns
        -------
        bytes
            JPEG.
        """
        return self._render(entry, box, downsample)

    def associated(self, entry: Entry, name: str) -> bytes:
        """Return the label, macro or another associated image of a slide as JPEG.

        Raises
        ------
        NotFound
            If there is no such image.
        """
        if name not in self.describe(entry)["associated"]:
            raise NotFound(f"slide {entry.slide_id!r} has no image {name!r}; GET /v1/slides/SLIDE_ID lists its images")
        request = {"op": "associated", "path": str(entry.path), "name": name}
        return self.encoded.get_or_create((entry.version, "associated", name), lambda: self._pool.request(request)[1])

    def _render(self, entry: Entry, box: tuple[int, int, int, int], downsample: int) -> bytes:
        request = {
            "op": "picture",
            "path": str(entry.path),
            "version": entry.version,
            "box": list(box),
            "downsample": downsample,
            "quality": self._config.tile_quality,
        }
        return self._pool.request(request)[1]


def _sides(pyramid: DeepZoom, level: int) -> tuple[int, int]:
    size = pyramid.level_size(level)
    return size.height, size.width
